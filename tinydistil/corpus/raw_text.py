"""Raw text that a run begins with: its vocabulary and its token shards are made before the first step."""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from tinydistil.base.config import override, to_mapping
from tinydistil.base.errors import InputError, require, stopping
from tinydistil.base.files import difference, read_json, write_json
from tinydistil.base.ranks import Ranks
from tinydistil.batches.manifest import MANIFEST
from tinydistil.corpus.clean import clean_document
from tinydistil.corpus.pool import available_cores
from tinydistil.corpus.prepare import Job, prepare
from tinydistil.corpus.prepare_config import PrepareConfig, RawRunConfig, described, find_files, resolve_raw
from tinydistil.corpus.progress import Progress
from tinydistil.corpus.readers import parse_record, read_items
from tinydistil.corpus.records import BadRecord
from tinydistil.corpus.segment import describe
from tinydistil.tokenizer.tokenizer import Tokenizer, train_wordpiece
from tinydistil.train.plan import CONFIG_FILE, SHARDS, VOCABULARY, Plan, TokenText, as_before, make_plan, ownership
from tinydistil.train.run import run_command

_RECORD = "trained_on.json"
# Word counts have settled long before; and the trainer holds every distinct word in memory.
MOST_CHARACTERS = 100_000_000
# Network disks show a file that another machine wrote within seconds.
_SEEN_WITHIN_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RawText(TokenText):
    """Text that becomes token shards by `job`."""

    job: Job

    def prepare(
        self,
        ranks: Ranks,
        *,
        workers: int | None,
        say: Callable[[str], None],
        later: Callable[[int], float] | None = None,
    ) -> None:
        """Make the shards, or find them finished. Rank 0 works, with all cores that it may use where no `workers` are
        given, and tells how far it is; the others wait as long as it takes, and say so. later: see `Progress`.

        Training cannot begin on the first segments: its order is a permutation of all sequences, so already the first
        batch may need the last one.
        """
        with ranks.agreed("prepare the corpus"):
            if ranks.is_main:
                if notes := self.job.notes():
                    print(f"note: {notes}", file=sys.stderr)
                with closing(Progress(self.job.plain_bytes(), later=later)) as progress, stopping():
                    # Not torch's threads, of which torchrun gives each rank one.
                    processes = available_cores() if workers is None else workers
                    prepared = prepare(self.job, self.shards, workers=processes, progress=progress)
                if not prepared.was_finished:
                    say(describe(prepared.manifest))
        _require_seen(self.shards / MANIFEST, ranks)


def plan_raw(config: RawRunConfig, output: Path, *, resume: bool, device: str = "auto") -> Plan:
    """`make_plan` for a run that may begin with raw text."""

    def raw_text(tokenizers: Sequence[tuple[str, Tokenizer]]) -> TokenText:
        job = Job.of(config.corpus, tokenizers, config.prepare, config.evaluation_sets)
        return RawText(
            shards=output / SHARDS,
            fingerprints=tuple(tokenizer.fingerprint for _, tokenizer in tokenizers),
            longest=config.prepare.max_length,
            mean_tokens=0.0,
            raw=config.corpus,
            files=len(job.files),
            job=job,
        )

    return make_plan(config, output, resume=resume, device=device, text=raw_text if config.corpus else None)


def run_raw(arguments: argparse.Namespace, values: dict[str, object]) -> None:
    """The run of a command line whose option values are `values`; a vocabulary is trained first if one is asked for."""
    output, vocab_size, lowercase = arguments.output, arguments.vocab_size, arguments.lowercase
    if vocab_size is not None:
        require(bool(values.get("corpus")), "--vocab-size trains a vocabulary on raw text; give --corpus")
        given = bool(resolve_raw(values).student.tokenizer)
        require(not given, "--vocab-size trains a vocabulary, --tokenizer names one; give one of them")
        override(values, [], {"student.tokenizer": str(output / VOCABULARY)})
    config = resolve_raw(values)

    def plan_of(ranks: Ranks, resume: bool) -> Plan:
        with ExitStack() as stack:
            read = config
            if vocab_size is not None and arguments.dry_run:
                folder = Path(stack.enter_context(TemporaryDirectory()))
                _train(config, folder, vocab_size, lowercase)
                read = replace(config, student=replace(config.student, tokenizer=str(folder / VOCABULARY)))
            elif vocab_size is not None:
                make_vocabulary(config, output, vocab_size, ranks, lowercase=lowercase, resume=resume)
            # All look before one writes: what is found wrong is found by every rank, and told by one.
            with ranks.agreed():
                return plan_raw(read, output, resume=resume, device=arguments.device)

    run_command(arguments, plan_of)


def make_vocabulary(
    config: RawRunConfig, output: Path, size: int, ranks: Ranks, *, lowercase: bool = False, resume: bool
) -> None:
    """A WordPiece vocabulary of at most `size` tokens in `output`/vocabulary, trained on the corpus of `config`.

    Rank 0 works, the others wait for it. One of an earlier start is taken as it is; where that began no run, any other
    is replaced. Raises InputError for a corpus without text, and where a run in `output` was begun with another one.
    """
    with ranks.agreed("train the vocabulary"):
        if ranks.is_main:
            origin = to_mapping(as_before(config, output, resume=resume, device=ranks.device.type))
            with ownership(config, output).claim(output, origin, resume=resume, record_now=False):
                _train(config, output, size, lowercase)
    _require_seen(output / VOCABULARY / _RECORD, ranks)


def _require_seen(path: Path, ranks: Ranks) -> None:
    """Raise InputError, on every rank, where a rank does not see the file `path` that rank 0 has written."""
    with ranks.agreed(f"see {path.name}"):
        until = time.monotonic() + _SEEN_WITHIN_S
        while not path.exists() and time.monotonic() < until:
            time.sleep(0.5)
        require(
            path.exists(),
            f"rank {ranks.rank} does not see {str(path)!r}, which rank 0 has written; put --output on a disk that all "
            "machines share, or copy it to them and run the same command again",
        )


def _train(config: RawRunConfig, output: Path, size: int, lowercase: bool) -> None:
    folder, files = output / VOCABULARY, find_files(config.corpus)
    record: dict[str, object] = {
        "vocab_size": size,
        "lowercase": lowercase,
        "corpus": list(map(described, files)),
        "read": to_mapping(config.prepare.read),
        "clean": to_mapping(config.prepare.clean),
    }
    if (folder / _RECORD).exists():
        differing = difference(read_json(folder / _RECORD), record)
        if differing is None:
            return
        name, before, now = differing
        was = f"{str(folder)!r} was trained with {name} = {before!r}, now it is {now!r}"
        require(not (output / CONFIG_FILE).exists(), f"{was}; give the same value, or another --output")
        (folder / _RECORD).unlink()
    print(f"training a vocabulary of {size:,} tokens on {len(files)} files", file=sys.stderr, flush=True)
    texts = list(_texts(files, config.prepare))
    named = f"corpus {', '.join(config.corpus)}"
    require(bool(texts), f"{named} holds no text that the cleaning rules keep; see scripts/prepare.py")
    try:
        train_wordpiece(texts, size, lowercase=lowercase).save_pretrained(folder)
        write_json(folder / _RECORD, record)  # last: it says that all of it is there
    except OSError as error:
        raise InputError(f"cannot write {str(folder)!r}: {error.strerror}") from None


def _texts(files: list[Path], prepare: PrepareConfig) -> Iterator[str]:
    """Clean documents, up to `MOST_CHARACTERS` in all."""
    left = MOST_CHARACTERS
    for record in read_items(files, prepare.read):
        document = parse_record(record, prepare.read)
        if isinstance(document, BadRecord):
            continue
        cleaned = clean_document(document, prepare.clean)
        if cleaned.dropped_by is None:
            yield cleaned.document.text
            left -= len(cleaned.document.text)
        if left <= 0:
            return
