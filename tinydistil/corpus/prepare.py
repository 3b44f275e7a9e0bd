"""From raw files to a corpus of token shards: counted, resumable, the same bytes for any number of workers.

The caller's process only cuts files into records and takes outcomes in order; workers do everything that
looks at one document alone (`step`). What looks at all documents, finding duplicates, happens here.
"""

import gc
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple, TypeAlias

from tinydistil.base.config import to_mapping
from tinydistil.base.errors import InputError, optional, require
from tinydistil.base.files import read_json, write_atomic, write_json
from tinydistil.batches.manifest import FORMAT_VERSION, SPLITS, check_fit
from tinydistil.batches.shards import ShardBuilder, TokenShards
from tinydistil.corpus.corpus_folder import CONFIG, SAMPLES, TABLE, OutputFolder
from tinydistil.corpus.document_step import DocumentStep, single_words
from tinydistil.corpus.duplicates import DuplicateIndex, EvaluationNgrams
from tinydistil.corpus.pool import Batch, Mapped, available_cores, cut_batches, worker_pool
from tinydistil.corpus.prepare_config import PrepareConfig, described, find_files
from tinydistil.corpus.progress import Progress
from tinydistil.corpus.readers import read_items
from tinydistil.corpus.records import PROBE_BYTES, DamagedFile, kind_of, open_stream, unpacked_bytes
from tinydistil.corpus.segment import Counts, Samples, Segment, make_table, packing_efficiency
from tinydistil.tokenizer.tokenizer import Tokenizer

# Gives batches of the input with their outcomes, given how many items lie before them.
OutcomeSource: TypeAlias = Callable[[int, Iterable[Batch]], Mapped]


@dataclass(frozen=True)
class Job:
    """A preparation to be done: what to read, with which options, tokenizers (by name) and evaluation sets."""

    files: tuple[Path, ...]
    evaluation_files: tuple[Path, ...]
    tokenizers: tuple[tuple[str, Tokenizer], ...]
    config: PrepareConfig

    @classmethod
    def of(
        cls,
        inputs: Sequence[str],
        tokenizers: Sequence[tuple[str, Tokenizer]],
        config: PrepareConfig,
        evaluation_sets: Sequence[str] = (),
    ) -> "Job":
        """Resolve files, folders and globs. Raises InputError for what does not exist or cannot be read."""
        for name in evaluation_sets:
            require(Path(name).is_file(), f"evaluation set {name!r} does not exist; give an existing file")
        wanting = f"single_words is {config.single_words}, but only a corpus with two tokenizations knows its words"
        remedy = "give a second one (scripts/prepare.py --student-tokenizer), or leave single_words out"
        require(config.single_words == 0 or len(tokenizers) == 2, f"{wanting}; {remedy}")
        if "mojibake" not in config.clean.skip:
            # Asked for now: a worker would miss it only at the first damaged document, perhaps hours later.
            optional("ftfy", needed_by="cleaning rule 'mojibake'", extra="corpus")
        return cls(tuple(find_files(inputs)), tuple(map(Path, evaluation_sets)), tuple(tokenizers), config)

    def plain_bytes(self) -> int | None:
        """Raw bytes of the input, estimated where files are compressed; None where one is Parquet."""
        parquet = any(kind_of(path) == "parquet" for path in self.files)
        return None if parquet else sum(map(unpacked_bytes, self.files))

    def notes(self) -> str:
        """What a user may want to read otherwise; "" where nothing looks wrong."""
        for path in self.files:
            if kind_of(path) == "txt" and self.config.read.txt_mode == "lines" and looks_wrapped(path):
                return (
                    f"{path} looks wrapped, and each line is a document; for documents between blank lines set "
                    "read.txt_mode=blocks (prepare.read.txt_mode for distill.py and pretrain.py)"
                )
        return ""

    def origin(self) -> dict[str, object]:
        """Everything that the bytes of the corpus depend on: runs with equal origins write equal bytes."""
        names = [
            {"folder": name, "fingerprint": tokenizer.fingerprint, "vocab_size": tokenizer.vocab_size}
            for name, tokenizer in self.tokenizers
        ]
        return {
            "version": FORMAT_VERSION,
            "tokenizer": names[0],
            "student_tokenizer": names[1] if len(names) == 2 else None,
            "inputs": list(map(described, self.files)),
            "evaluation_sets": list(map(described, self.evaluation_files)),
            "config": to_mapping(self.config),
        }

    def step(self) -> DocumentStep:
        """The work on one document; reads the evaluation sets."""
        files, words = self.evaluation_files, self.config.ngram_words
        ngrams = EvaluationNgrams.from_files(files, ngram_words=words) if files else None
        return DocumentStep(self.config, [tokenizer for _, tokenizer in self.tokenizers], ngrams)


def looks_wrapped(path: Path) -> bool:
    """Whether lines of a .txt file, by its first 64 KiB, are parts of paragraphs: of one length, going on in small."""
    try:
        with open_stream(path) as stream:
            head = stream.peek(PROBE_BYTES)[:PROBE_BYTES].decode(errors="ignore").replace("\r\n", "\n")
    except DamagedFile:
        return False
    blocks = [block.strip().split("\n") for block in re.split(r"\n\s*\n", head)]
    broken = [len(line) for block in blocks for line in block[:-1]]
    going_on = [line.lstrip()[:1].islower() for block in blocks for line in block[1:]]
    longest = max(broken, default=0)
    alike = sum(length > 0.6 * longest for length in broken)
    return 30 < longest < 200 and len(broken) >= 3 and alike > 0.8 * len(broken) and sum(going_on) > 0.5 * len(broken)


class Prepared(NamedTuple):
    """A finished corpus: its manifest, and whether it was so before this run."""

    manifest: Mapping[str, object]
    was_finished: bool


def prepare(
    job: Job,
    output: Path,
    *,
    workers: int,
    progress: Progress,
    overwrite: bool = False,
    made: OutcomeSource | None = None,
) -> Prepared:
    """Make, go on making, or just find finished, the corpus of `job` in folder `output`.

    `workers` processes do the work, 0 and 1 mean this process alone; they change nothing but the time it takes. made:
    gives outcomes that were made elsewhere (see `parts`), behind so many items of the input. Raises InputError for
    whatever is wrong with input, options or output, and where no document is kept. After an exception of any kind the
    same call goes on behind the last committed segment.
    """
    check_workers(workers)
    # Both may refuse; only then is the output folder touched.
    step, origin = job.step(), same_tokenizers(job.origin(), output)
    with (
        without_collecting(),
        OutputFolder.claim(output, origin, overwrite=overwrite, merges=made is not None) as folder,
    ):
        was_finished = folder.finished
        if not was_finished:
            _make_segments(job, step, folder, workers, progress, made)
            _finish(job, step, folder, origin)
        for split in SPLITS if was_finished else ():
            TokenShards.open(output, split=split)  # for what has happened to it since
        return Prepared(check_fit(output, None, None), was_finished)


def check_workers(workers: int) -> None:
    """Raise InputError for more processes than could be of use."""
    most = 16 * available_cores()  # starting a process takes 0.3 s of a core
    require(workers <= most, f"--workers must be <= {most}, 16 for each core of this machine, got {workers}")


def same_tokenizers(origin: dict[str, object], folder: Path) -> dict[str, object]:
    """`origin` with the tokenizers' folders of the record in `folder`, where they are the same and have moved."""
    record = read_json(folder / CONFIG) if (folder / CONFIG).is_file() else {}
    for side in ("tokenizer", "student_tokenizer"):
        before, now = record.get(side), origin[side]
        if isinstance(before, dict) and isinstance(now, dict) and before.get("fingerprint") == now["fingerprint"]:
            now["folder"] = before.get("folder")
    return origin


@contextmanager
def without_collecting() -> Iterator[None]:
    """Documents leave no reference cycles, and looking for some costs a tenth of the time."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _make_segments(
    job: Job, step: DocumentStep, folder: OutputFolder, workers: int, progress: Progress, made: OutcomeSource | None
) -> None:
    config, done = job.config, folder.counts()
    progress.start(done.read.documents, done.bytes)
    # Exactly what an uninterrupted run would know here: the kept documents, in their order.
    index = DuplicateIndex(config.duplicates)
    for state in folder.states():
        signatures = state["signatures"]
        for number, key in enumerate(state["keys"]):
            index.add(key.tobytes(), signatures[number] if len(signatures) else None)
    segment = Segment(config, step.encoder, index)
    # Skipping decompresses again, at some 80 MB/s; positions in a .gz would save that and cost an index.
    batches = cut_batches(read_items(job.files, config.read), round(config.segment_mb * 1_000_000), skip=done.items)
    with worker_pool(step, workers) if made is None else nullcontext(partial(made, done.items)) as mapped:
        for batch, outcomes in mapped(batches):
            for item, outcome in zip(batch.items, outcomes, strict=True):
                segment.take(item, outcome)
            segment.counts.bytes += batch.bytes
            progress.advance(len(outcomes), batch.bytes)
            if batch.ends_segment:
                folder.commit(segment)
                segment = Segment(config, step.encoder, index)


def _finish(job: Job, step: DocumentStep, folder: OutputFolder, origin: Mapping[str, object]) -> None:
    """Table, samples, words alone and, last, the manifest."""
    config, path, counts = job.config, folder.folder, folder.counts()
    shards = [entry for segment in folder.committed for entry in segment.shards]
    # The table is there even where the corpus is not: it shows why nothing was kept.
    write_json(path / TABLE, {"rows": [row._asdict() for row in make_table(counts)]})
    if not shards:
        # Not in a `require`: the notes look into every file.
        reasons = "; ".join(filter(None, [_worst(counts), job.notes()]))
        raise InputError(f"no document of {counts.read.documents:,} was kept; {reasons}")
    if config.sample_dropped:
        samples = Samples(config, chain.from_iterable(segment.samples for segment in folder.committed))
        text = "".join(json.dumps(asdict(sample), ensure_ascii=False) + "\n" for sample in samples)
        write_atomic(path / SAMPLES, text.encode("utf-8", "replace"))
    efficiency = packing_efficiency(shards, config.capacity)
    if config.single_words:
        # A training shard behind those of all segments, which holds the training text's words one by one.
        train = TokenShards(path, "train", [each for each in shards if each.split == "train"])
        builder = ShardBuilder(step.encoder)
        builder.add(single_words(train, config.single_words))
        shards += filter(None, [builder.write(path, "train", len(folder.committed))])
    manifest = {"counts": asdict(counts), "packing_efficiency": efficiency, "shards": list(map(asdict, shards))}
    folder.finish({**origin, **manifest})


def _worst(counts: Counts) -> str:
    """What a user should look at where nothing is left."""
    if not counts.dropped:
        return "the input holds no document"
    rule = max(counts.dropped, key=lambda name: counts.dropped[name].documents)
    remedies = {
        "unreadable": f", first {counts.first_unreadable}",
        "undecodable": "; if the files have another encoding, say so: read.encoding, perhaps cp1252",
    }
    return f"{counts.dropped[rule].documents:,} were dropped by rule {rule!r}{remedies.get(rule, '')}; see {TABLE}"
