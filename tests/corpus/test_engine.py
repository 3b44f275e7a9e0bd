"""Past one machine: the step runs unchanged as a map in datatrove, and its outcomes make the same shards.

datatrove, since a plain function is a pipeline step to it, the same pipeline runs as local processes or as
Slurm jobs, and it installs in seconds; Ray and Spark bring a cluster runtime that this map does not need.
"""

import json
import pickle
import random
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from tinydistil.corpus.document_step import Outcome
from tinydistil.corpus.duplicates import DuplicateIndex
from tinydistil.corpus.prepare import Job
from tinydistil.corpus.prepare_config import PrepareConfig
from tinydistil.corpus.readers import read_items
from tinydistil.corpus.records import BadRecord, Record
from tinydistil.corpus.segment import Segment
from tinydistil.tokenizer.tokenizer import Tokenizer

Writer = Callable[[random.Random], str]
Worked = Iterator[tuple[Record | BadRecord, Outcome]]


@pytest.fixture
def job(tmp_path: Path, write_text: Writer, cased: Tokenizer) -> Job:
    """Three files, with copies across them and a broken line."""
    source = random.Random(3)
    texts = [write_text(source) for _ in range(45)]
    for number in range(3):
        mine = [*texts[number * 15 : number * 15 + 15], texts[0], texts[20]]
        lines = [json.dumps({"text": text}) for text in mine] + ["{broken"]
        (tmp_path / f"part{number}.jsonl").write_text("\n".join(lines))
    return Job.of([str(tmp_path)], [("cased", cased)], PrepareConfig(max_length=64))


def write_shards(job: Job, worked: Iterable[tuple[Record | BadRecord, Outcome]], folder: Path) -> Segment:
    """The part that sees all documents: duplicates, split, shards."""
    folder.mkdir()
    segment = Segment(job.config, job.step().encoder, DuplicateIndex(job.config.duplicates))
    for item, outcome in worked:
        segment.take(item, outcome)
    segment.write(folder, 0)
    return segment


def test_the_step_runs_as_a_map_in_datatrove(job: Job, tmp_path: Path) -> None:
    executor = pytest.importorskip("datatrove.executor", reason="datatrove is not installed")
    step, results = job.step(), tmp_path / "results"
    results.mkdir()

    def read(data: None, rank: int, world_size: int) -> Iterator[Record | BadRecord]:
        return read_items(job.files[rank::world_size], job.config.read)

    def work(data: Iterator[Record | BadRecord], rank: int, world_size: int) -> Worked:
        return ((item, step(item)) for item in data)

    def save(data: Worked, rank: int, world_size: int) -> None:
        (results / f"{rank:03d}").write_bytes(pickle.dumps(list(data)))

    pipeline = [read, work, save]
    executor.LocalPipelineExecutor(pipeline, tasks=3, workers=2, logging_dir=str(tmp_path / "logs")).run()
    worked = [pair for path in sorted(results.iterdir()) for pair in pickle.loads(path.read_bytes())]
    segment = write_shards(job, worked, tmp_path / "engine")

    plain = ((item, step(item)) for item in read_items(job.files, job.config.read))
    expected = write_shards(job, plain, tmp_path / "plain")
    assert segment.counts == expected.counts
    assert segment.counts.dropped["unreadable"].documents == 3
    assert segment.counts.dropped["exact_duplicate"].documents == 6
    for path in (tmp_path / "plain").iterdir():
        assert path.read_bytes() == (tmp_path / "engine" / path.name).read_bytes()


def test_step_and_outcomes_pickle(job: Job) -> None:
    step = pickle.loads(pickle.dumps(job.step()))
    items = list(read_items(job.files, job.config.read))
    outcomes = list(map(job.step(), items))
    assert pickle.dumps(list(map(step, items))) == pickle.dumps(outcomes)
    assert len(pickle.loads(pickle.dumps(outcomes))) == len(items) == 54
