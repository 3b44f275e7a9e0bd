"""A preparation in parts writes the bytes of one machine, whatever its parts are and wherever they break off."""

import json
import pickle
import random
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from tests.corpus.test_preparation import Silent, contents
from tinydistil.base.config import from_mapping
from tinydistil.base.errors import InputError
from tinydistil.corpus.merge import merge
from tinydistil.corpus.parts import Part, Shares, make_part
from tinydistil.corpus.prepare import Job, prepare
from tinydistil.corpus.prepare_config import PrepareConfig
from tinydistil.corpus.readers import read_items
from tinydistil.corpus.units import read_unit, write_unit
from tinydistil.tokenizer.tokenizer import Tokenizer

MakeJob = Callable[..., Job]


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinydistil.corpus.pool._BATCH_BYTES", 4000)


@pytest.fixture(scope="module")
def corpus(
    tmp_path_factory: pytest.TempPathFactory, write_text: Callable[[random.Random], str], cased: Tokenizer
) -> Path:
    """1,000 documents in files of very different sizes, one empty; copies, near-copies and broken lines across them."""
    source, folder = random.Random(0), tmp_path_factory.mktemp("parts")
    texts = [write_text(source) for _ in range(940)]
    texts += source.choices(texts, k=30) + [f"{text} Fim." for text in source.choices(texts, k=26)]
    source.shuffle(texts)
    lines = [json.dumps({"text": text}, ensure_ascii=False) for text in texts]
    for place in (5, 300, 301, 900):
        lines.insert(place, "{broken")
    bounds = [0, 3, 40, 800, 800, len(lines)]
    for number, (first, last) in enumerate(pairwise(bounds)):
        (folder / f"{number}.jsonl").write_text("\n".join(lines[first:last]))
    (folder / "held_out.txt").write_text(texts[7].split("\n")[0] + "\n")
    return folder


@pytest.fixture
def make_job(corpus: Path, cased: Tokenizer, uncased: Tokenizer) -> MakeJob:
    """Everything at once: two tokenizations, words alone, near-duplicates, an evaluation set, samples, segments."""

    def make(tokenizers: Sequence[Tokenizer] = (cased, uncased), **changes: object) -> Job:
        options = {"max_length": 64, "segment_mb": 0.1, "sample_dropped": 2, "clean": {"skip": ["repeated_ngrams"]}}
        words = {"single_words": 2} if len(tokenizers) == 2 else {}
        named = [(f"tokenizer {number}", each) for number, each in enumerate(tokenizers)]
        config = from_mapping(PrepareConfig, {**options, **words, **changes})
        return Job.of([str(corpus / "*.jsonl")], named, config, [str(corpus / "held_out.txt")])

    return make


def make_parts(job: Job, output: Path, of: int, *, workers: int = 0) -> None:
    numbers = list(range(1, of + 1))
    random.Random(of).shuffle(numbers)
    for number in numbers:
        make_part(job, output, Part(number, of), workers=workers, progress=Silent())


@pytest.mark.parametrize(("of", "workers"), [(1, 0), (4, 2), (7, 0), (40, 0)])
def test_the_bytes_are_those_of_one_machine(make_job: MakeJob, tmp_path: Path, of: int, workers: int) -> None:
    job = make_job()
    whole = prepare(job, tmp_path / "whole", workers=0, progress=Silent())
    counts = whole.manifest["counts"]
    assert isinstance(counts, dict)
    dropped = {rule: tally["documents"] for rule, tally in counts["dropped"].items()}
    assert dropped.keys() >= {"exact_duplicate", "near_duplicate", "evaluation_overlap", "unreadable"}
    assert counts["read"]["documents"] == 1000 and len(whole.manifest["shards"]) > 10
    make_parts(job, tmp_path / "parts", of, workers=workers)
    assert merge(job, tmp_path / "parts", progress=Silent()).manifest == whole.manifest
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


@pytest.mark.parametrize("changes", [{"duplicates": {"near": False}}, {"pack": False, "phrases": 0.5}])
def test_with_one_tokenization(make_job: MakeJob, cased: Tokenizer, tmp_path: Path, changes: dict[str, object]) -> None:
    job = make_job([cased], **changes)
    prepare(job, tmp_path / "whole", workers=0, progress=Silent())
    make_parts(job, tmp_path / "parts", 3)
    merge(job, tmp_path / "parts", progress=Silent())
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_parts_and_merge_go_on_where_they_broke_off(make_job: MakeJob, tmp_path: Path) -> None:
    job, output, part = make_job(), tmp_path / "parts", Part(2, 3)
    prepare(job, tmp_path / "whole", workers=0, progress=Silent())
    make_parts(job, tmp_path / "other", 3)
    starts = []
    for stop_after in (12, 12, 12, None):
        progress = Silent(stop_after)
        try:
            make_part(job, output, part, workers=0, progress=progress)
        except KeyboardInterrupt:
            assert stop_after is not None
        starts.append(progress.started[0])
    assert starts[0] == 0 and starts == sorted({*starts})  # more of it was there each time
    assert contents(output / "parts" / part.folder) == contents(tmp_path / "other" / "parts" / part.folder)
    make_parts(job, output, 3)
    for stop_after in (30, 30, None):
        progress = Silent(stop_after)
        try:
            merge(job, output, progress=progress)
        except KeyboardInterrupt:
            starts.append(progress.started[0])
    assert starts[-1] > starts[-2] == 0
    assert contents(output) == contents(tmp_path / "whole")


def test_a_finished_part_and_a_finished_corpus_are_left_as_they_are(make_job: MakeJob, tmp_path: Path) -> None:
    job, output, part = make_job(), tmp_path / "parts", Part(1, 2)
    first = make_part(job, output, part, workers=0, progress=Silent())
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    again = make_part(job, output, part, workers=0, progress=Silent())
    assert first is not None and again == first._replace(was_finished=True)
    after = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    folder = output / "parts" / part.folder  # whose time the lock changes
    assert after == before | {folder: after[folder]}
    make_parts(job, output, 2)
    assert not merge(job, output, progress=Silent()).was_finished
    assert make_part(job, output, part, workers=0, progress=Silent()) is None
    assert merge(job, output, progress=Silent()).was_finished and not (output / "parts").exists()


def test_a_damaged_unit_is_named_and_the_part_makes_it_again(make_job: MakeJob, tmp_path: Path) -> None:
    job, output = make_job(), tmp_path / "parts"
    prepare(job, tmp_path / "whole", workers=0, progress=Silent())
    make_parts(job, output, 3)
    units = sorted(output.glob("parts/2-of-3/*.unit"))
    for unit, damage in ((units[0], b""), (units[1], units[2].read_bytes()[:-1]), (units[2], b"{}\n[")):
        unit.write_bytes(damage)
        with pytest.raises(InputError, match=rf"{unit.name} of part 2/3 is damaged; run .*prepare.py --part 2/3 with"):
            merge(job, output, progress=Silent())
        make_part(job, output, Part(2, 3), workers=0, progress=Silent())
    units[3].unlink()
    with pytest.raises(InputError, match=rf"{units[3].name} of part 2/3 is missing; run .*--part 2/3"):
        merge(job, output, progress=Silent())
    make_part(job, output, Part(2, 3), workers=0, progress=Silent())
    merge(job, output, progress=Silent())
    assert contents(output) == contents(tmp_path / "whole")


def test_input_that_changed_in_its_middle_is_told(make_job: MakeJob, corpus: Path, tmp_path: Path) -> None:
    """As many bytes, the same ends: what `described` does not see, and one document less."""
    job, output = make_job(), tmp_path / "parts"
    make_parts(job, output, 2)
    path = corpus / "2.jsonl"
    data = path.read_bytes()
    middle = data.index(b"\n", len(data) // 2)
    try:
        path.write_bytes(data[:middle] + b" " + data[middle + 1 :])
        with pytest.raises(InputError, match=r"parts in '.*parts' hold other documents than the input does now"):
            merge(job, output, progress=Silent())
    finally:
        path.write_bytes(data)


@pytest.mark.parametrize(("sizes", "of"), [((100,), 8), ((0, 5, 3000, 0, 7, 900), 5), ((1,) * 20, 6), ((3,), 9)])
def test_every_unit_has_one_part_and_parts_are_even(tmp_path: Path, sizes: tuple[int, ...], of: int) -> None:
    files = [tmp_path / f"{number}.txt" for number in range(len(sizes))]
    for path, size in zip(files, sizes, strict=True):
        path.write_bytes(b"x" * size)
    shares, units = Shares(files, of), Counter[int]()
    for file, size in enumerate(sizes):
        for unit in range(size):  # a byte a unit
            assert shares.part_of(file, unit) in shares.readers(file)
            units[shares.part_of(file, unit)] += 1
    assert {*units} <= {*range(1, of + 1)}
    # Uneven by the rest of whole units, and by what the golden ratio leaves: the logarithm of their number.
    assert all(abs(units[number] - sum(sizes) / of) <= 5 for number in range(1, of + 1)), units


def test_a_unit_holds_all_of_its_outcomes(make_job: MakeJob, cased: Tokenizer, tmp_path: Path) -> None:
    for job in (make_job(), make_job([cased], duplicates={"near": False})):
        step = job.step()
        outcomes = list(map(step, read_items(job.files, job.config.read)))
        write_unit(tmp_path / "unit", outcomes, 3)
        assert list(map(pickle.dumps, read_unit(tmp_path / "unit"))) == list(map(pickle.dumps, outcomes))
