"""What a prepared corpus is made with: every value that changes its bytes, and no other."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tinydistil.base.config import LONGEST, Checked, Range, Seed, Whole
from tinydistil.base.errors import require
from tinydistil.base.files import sha256_of_ends
from tinydistil.corpus.clean import CleanConfig
from tinydistil.corpus.duplicates import DuplicateConfig
from tinydistil.corpus.readers import ReadConfig
from tinydistil.train.run_config import RunConfig, resolve_run


@dataclass(frozen=True)
class PrepareConfig(Checked):
    """The options of one preparation; see the classes of its tables for those of each stage.

    max_length: tokens of a sequence, [CLS] and [SEP] included. pack: join sentences up to that length, else each is a
    sequence of its own (for the recipe "partial", which compares sentences). single_words: every word that the training
    text holds at least so often becomes a training sequence of its own too, 0 for none (for sentence encoders; it needs
    a second tokenizer). validation_share: of documents, chosen by hash. segment_mb: raw megabytes between two points
    that a restart can go on from. ngram_words: length of the word sequence that a document may not share with an
    evaluation set. sample_dropped: examples kept per rule.
    """

    max_length: Annotated[int, Range(8, LONGEST)] = 128
    pack: bool = True
    single_words: Whole = 0
    validation_share: Annotated[float, Range(0, 1, without=(1,))] = 0.1
    seed: Seed = 0
    # 64 MB is half a minute of one core's work to lose at a kill, and shards of some 25 MB.
    segment_mb: Annotated[float, Range(0.001, 4096)] = 64.0
    # 13 words, as GPT-3 (appendix C): shorter ones hit proverbs and legal formulas.
    ngram_words: Annotated[int, Range(2, 100)] = 13
    sample_dropped: Annotated[int, Range(0, 10_000)] = 0
    read: ReadConfig = field(default_factory=ReadConfig)
    clean: CleanConfig = field(default_factory=CleanConfig)
    duplicates: DuplicateConfig = field(default_factory=DuplicateConfig)

    @property
    def capacity(self) -> int:
        """Tokens of text in a full sequence, which [CLS] and [SEP] are added to."""
        return self.max_length - 2


def described(path: Path) -> dict[str, object]:
    """An input file's name and what distinguishes it from another of that name; instant for files of any size."""
    # Not the time of change, which a copy alters, nor a hash of all bytes, which would be read twice.
    return {"file": str(path), "bytes": path.stat().st_size, "sha256_of_ends": sha256_of_ends(path)}


@dataclass(frozen=True)
class RawRunConfig(RunConfig):
    """A whole run. Its text comes from `shards` (made by scripts/prepare.py) or from `corpus`, prepared as `prepare`
    describes, without what overlaps with `evaluation_sets`."""

    corpus: tuple[str, ...] = ()
    evaluation_sets: tuple[str, ...] = ()
    prepare: PrepareConfig = field(default_factory=PrepareConfig)

    def _check_text(self) -> None:
        require(
            not (self.shards and self.corpus),
            "give --corpus (raw text) or --shards (prepared by scripts/prepare.py), not both",
        )
        require(bool(self.shards or self.corpus), "no text: give --corpus FILE ... or --shards DIR")
        require(
            not (self.shards and self.evaluation_sets),
            "--eval-set cleans raw text of evaluation texts; shards are made already: give it to scripts/prepare.py",
        )


def resolve_raw(values: Mapping[str, object]) -> RawRunConfig:
    """The configuration from nested values, as `resolve_run` does it."""
    require(
        not (values.get("shards") and values.get("prepare")),
        "options of prepare (--max-length ...) are for raw text, but --shards are prepared; leave them out",
    )
    return resolve_run(values, RawRunConfig)
