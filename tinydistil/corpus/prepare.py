"""From raw files to a corpus of token shards: counted, resumable, the same bytes for any number of workers.

The caller's process only cuts files into records and takes outcomes in order; workers do everything that
looks at one document alone (`step`). What looks at all documents, finding duplicates, happens here.
"""

import gc
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

from tinydistil.base.config import to_mapping
from tinydistil.base.errors import InputError, optional, require
from tinydistil.base.files import read_json, write_atomic, write_json
from tinydistil.batches.manifest import FORMAT_VERSION, SPLITS, check_fit
from tinydistil.batches.shards import ShardBuilder, TokenShards
from tinydistil.corpus.corpus_folder import CONFIG, SAMPLES, TABLE, OutputFolder
from tinydistil.corpus.document_step import UNREADABLE, DocumentStep, single_words
from tinydistil.corpus.duplicates import DuplicateIndex
from tinydistil.corpus.ngrams import EvaluationNgrams
from tinydistil.corpus.pool import check_workers, cut_batches, worker_pool
from tinydistil.corpus.prepare_config import PrepareConfig, described
from tinydistil.corpus.progress import Progress
from tinydistil.corpus.readers import looks_wrapped, read_items
from tinydistil.corpus.record_stream import unpacked_bytes
from tinydistil.corpus.rules_table import Counts, make_table, packing_efficiency
from tinydistil.corpus.segment import Samples, Segment
from tinydistil.corpus.text_files import find_files, kind_of
from tinydistil.tokenizer.tokenizer import Tokenizer

# Raw bytes of one unit of the option segment_mb.
_MEGABYTE = 1_000_000


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
        require(
            config.single_words == 0 or len(tokenizers) == 2,
            f"single_words is {config.single_words}, but only a corpus with two tokenizations knows its words; "
            "give a second one (scripts/prepare.py --student-tokenizer), or leave single_words out",
        )
        if "mojibake" not in config.clean.skip:
            # Asked for now: a worker would miss it only at the first damaged document, perhaps hours later.
            optional("ftfy", needed_by="cleaning rule 'mojibake'", extra="corpus")
        files, evaluation_files = tuple(find_files(inputs)), tuple(map(Path, evaluation_sets))
        return cls(files, evaluation_files, tuple(tokenizers), config)

    def plain_bytes(self) -> int | None:
        """Raw bytes of the input, estimated where files are compressed; None where one is Parquet."""
        if any(kind_of(path) == "parquet" for path in self.files):
            return None
        return sum(map(unpacked_bytes, self.files))

    def notes(self) -> str:
        """What a user may want to read otherwise; "" where nothing looks wrong."""
        if self.config.read.txt_mode == "lines":
            for path in self.files:
                if kind_of(path) == "txt" and looks_wrapped(path):
                    return (
                        f"{path} looks wrapped, and each line is a document; "
                        "for documents between blank lines set read.txt_mode=blocks "
                        "(prepare.read.txt_mode for distill.py and pretrain.py)"
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
        ngrams = None
        if self.evaluation_files:
            ngrams = EvaluationNgrams.from_files(self.evaluation_files, ngram_words=self.config.ngram_words)
        return DocumentStep(self.config, [tokenizer for _, tokenizer in self.tokenizers], ngrams)


@dataclass(frozen=True)
class Prepared:
    """A finished corpus: its manifest, and whether it was so before this run."""

    manifest: Mapping[str, object]
    was_finished: bool


def prepare(job: Job, output: Path, *, workers: int, progress: Progress, overwrite: bool = False) -> Prepared:
    """Make, go on making, or just find finished, the corpus of `job` in folder `output`.

    `workers` processes do the work, 0 and 1 mean this process alone; they change nothing but the time it
    takes. Raises InputError for whatever is wrong with input, options or output, and where no document is
    kept. After an exception of any kind the same call goes on behind the last committed segment.
    """
    check_workers(workers)
    # Both may refuse; only then is the output folder touched.
    step, origin = job.step(), _under_old_names(job.origin(), output)
    collecting = gc.isenabled()
    gc.disable()  # documents leave no reference cycles, and looking for some costs a tenth of the time
    try:
        with OutputFolder.claim(output, origin, overwrite=overwrite) as folder:
            was_finished = folder.finished
            if not was_finished:
                _make_segments(job, step, folder, workers, progress)
                _finish(job, step, folder, origin)
            for split in SPLITS if was_finished else ():
                TokenShards.open(output, split=split)  # for what has happened to it since
            return Prepared(check_fit(output, None, None), was_finished)
    finally:
        if collecting:
            gc.enable()


def _under_old_names(origin: dict[str, object], output: Path) -> dict[str, object]:
    """`origin` with its tokenizers named as in `output`, where they are the same: their folders may have moved."""
    record = read_json(output / CONFIG) if (output / CONFIG).is_file() else {}
    for side in ("tokenizer", "student_tokenizer"):
        before, now = record.get(side), origin[side]
        if isinstance(before, dict) and isinstance(now, dict) and before.get("fingerprint") == now["fingerprint"]:
            now["folder"] = before.get("folder")
    return origin


def _make_segments(job: Job, step: DocumentStep, folder: OutputFolder, workers: int, progress: Progress) -> None:
    done = _total(folder)
    progress.start(done.read.documents, done.bytes)
    # Exactly what an uninterrupted run would know here: the kept documents, in their order.
    index = DuplicateIndex(job.config.duplicates)
    for state in folder.states():
        signatures = state["signatures"]
        for number, key in enumerate(state["keys"]):
            index.add(key.tobytes(), signatures[number] if len(signatures) else None)
    segment = Segment(job.config, step.encoder, index)
    # Skipping decompresses again, at some 80 MB/s; positions in a .gz would save that and cost an index.
    items = read_items(job.files, job.config.read)
    with worker_pool(step, workers) as mapped:
        for batch, outcomes in mapped(cut_batches(items, round(job.config.segment_mb * _MEGABYTE), skip=done.items)):
            for item, outcome in zip(batch.items, outcomes, strict=True):
                segment.take(item, outcome)
            segment.counts.bytes += batch.bytes
            progress.advance(len(outcomes), batch.bytes)
            if batch.ends_segment:
                folder.commit(segment.write(folder.folder, len(folder.committed)), segment.state())
                segment = Segment(job.config, step.encoder, index)


def _total(folder: OutputFolder) -> Counts:
    total = Counts()
    for segment in folder.committed:
        total.merge(segment.counts)
    return total


def _finish(job: Job, step: DocumentStep, folder: OutputFolder, origin: Mapping[str, object]) -> None:
    """Table, samples, words alone and, last, the manifest."""
    counts = _total(folder)
    shards = [entry for segment in folder.committed for entry in segment.shards]
    # The table is there even where the corpus is not: it shows why nothing was kept.
    write_json(folder.folder / TABLE, {"rows": list(map(asdict, make_table(counts)))})
    if not shards:
        # Not in a `require`: the notes look into every file.
        reasons = "; ".join(filter(None, [_worst(counts), job.notes()]))
        raise InputError(f"no document of {counts.read.documents:,} was kept; {reasons}")
    if job.config.sample_dropped:
        samples = Samples(job.config)
        for sample in chain.from_iterable(segment.samples for segment in folder.committed):
            samples.add(sample)
        text = "".join(json.dumps(asdict(sample), ensure_ascii=False) + "\n" for sample in samples)
        write_atomic(folder.folder / SAMPLES, text.encode("utf-8", "replace"))
    efficiency = packing_efficiency(shards, job.config.capacity)
    if job.config.single_words:
        # A training shard behind those of all segments, which holds the training text's words one by one.
        train = TokenShards(folder.folder, "train", [each for each in shards if each.split == "train"])
        builder = ShardBuilder(step.encoder)
        builder.add(single_words(train, job.config.single_words))
        entry = builder.write(folder.folder, "train", len(folder.committed))
        shards += [] if entry is None else [entry]
    manifest = {"counts": asdict(counts), "packing_efficiency": efficiency, "shards": list(map(asdict, shards))}
    folder.finish({**origin, **manifest})


def _worst(counts: Counts) -> str:
    """What a user should look at where nothing is left."""
    if not counts.dropped:
        return "the input holds no document"
    rule = max(counts.dropped, key=lambda name: counts.dropped[name].documents)
    first = f", first {counts.first_unreadable}" if rule == UNREADABLE else ""
    if rule == "undecodable":
        first = "; if the files have another encoding, say so: read.encoding, perhaps cp1252"
    return f"{counts.dropped[rule].documents:,} were dropped by rule {rule!r}{first}; see {TABLE}"
