"""One segment in the making: in input order, each document is found a duplicate or kept in a split, and counted.

The counts end in a table. Samples, a few documents that each rule dropped or changed, are for a person to judge by.
"""

import hashlib
from bisect import insort
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from tinydistil.base.config import INT64, Range, from_mapping, table_of
from tinydistil.base.console import text_table
from tinydistil.base.errors import require
from tinydistil.batches.manifest import AGAIN, SPLITS, ShardEntry, entries_of
from tinydistil.batches.shards import ShardBuilder
from tinydistil.corpus.clean import clean_document
from tinydistil.corpus.document_step import Kept, Outcome
from tinydistil.corpus.duplicates import KEY_BYTES, DuplicateIndex
from tinydistil.corpus.prepare_config import PrepareConfig
from tinydistil.corpus.readers import parse_record
from tinydistil.corpus.records import BadRecord, Record
from tinydistil.tokenizer.word_encoder import WordEncoder

_Sum = Annotated[int, Range(0, INT64)]
# Enough of a sample to judge it by, little enough to read twenty.
_MAX_CHARACTERS, _MAX_LINES = 2000, 40


@dataclass
class Tally:
    """Documents and characters."""

    documents: _Sum = 0
    characters: _Sum = 0

    def add(self, documents: int, characters: int) -> None:
        """Count more."""
        self.documents += documents
        self.characters += characters


@dataclass
class Counts:
    """Sums over records, of a segment or of a whole corpus.

    items: what the reader gave, good or bad; a restart skips that many. read: documents with their characters as they
    came. dropped: those that each rule dropped. removed: the characters that rules took out of documents that were
    kept, and of how many. kept: by split, characters after cleaning. changed: characters that kept documents lost (or
    gained, < 0) otherwise, by repairs.
    """

    items: _Sum = 0
    bytes: _Sum = 0
    read: Tally = field(default_factory=Tally)
    dropped: dict[str, Tally] = field(default_factory=dict)
    removed: dict[str, Tally] = field(default_factory=dict)
    kept: dict[str, Tally] = field(default_factory=lambda: {split: Tally() for split in SPLITS})
    changed: int = 0
    replaced_bytes: Tally = field(default_factory=Tally)
    first_unreadable: str | None = None

    def drop(self, outcome: Outcome, rule: str) -> None:
        """Count a document that `rule` dropped."""
        self._read(outcome)
        self.dropped.setdefault(rule, Tally()).add(1, outcome.characters)
        # The first only: with a million broken lines a list would be the largest thing in memory.
        if outcome.bad is not None and self.first_unreadable is None:
            self.first_unreadable = str(outcome.bad)

    def keep(self, outcome: Outcome, kept: Kept, split: str) -> None:
        """Count a document that went to `split`."""
        self._read(outcome)
        self.kept[split].add(1, kept.characters)
        # What is left of the difference when the rules' own counts are taken off belongs to no rule.
        self.changed += outcome.characters - kept.characters - sum(characters for _, characters in kept.removed)
        for rule, characters in kept.removed:
            self.removed.setdefault(rule, Tally()).add(1, characters)

    def _read(self, outcome: Outcome) -> None:
        self.items += 1
        self.read.add(1, outcome.characters)
        if outcome.replaced:
            self.replaced_bytes.add(1, outcome.replaced)

    def merge(self, other: "Counts") -> None:
        """Add the sums of `other`, which come after these."""
        self.items += other.items
        self.bytes += other.bytes
        self.changed += other.changed
        self.first_unreadable = self.first_unreadable or other.first_unreadable
        self.read.add(other.read.documents, other.read.characters)
        self.replaced_bytes.add(other.replaced_bytes.documents, other.replaced_bytes.characters)
        for mine, theirs in ((self.dropped, other.dropped), (self.removed, other.removed), (self.kept, other.kept)):
            for name, tally in theirs.items():
                mine.setdefault(name, Tally()).add(tally.documents, tally.characters)


def counts_from(values: object) -> Counts:
    """Counts from their JSON. Raises InputError where it is not what `asdict` of Counts gives."""
    tables = ("dropped", "removed", "kept")
    known = isinstance(values, dict) and all(isinstance(values.get(name), dict) for name in tables)
    require(known, f"counts must be a table with {', '.join(tables)}; {AGAIN}")
    return from_mapping(Counts, cast(dict[str, object], values), where="counts.")


class Row(NamedTuple):
    """A line of the table; `share` is of the characters read."""

    effect: str
    rule: str
    documents: int
    characters: int
    share: float


def make_table(counts: Counts) -> list[Row]:
    """Rows that add up: in characters read = dropped + removed + changed + kept, in documents read = dropped + kept.

    Dropped are whole documents, removed parts of kept ones; changed is what repairs took from these, < 0 if they grew.
    """
    found = [("read", "all", counts.read)]
    for effect, tallies in (("dropped", counts.dropped), ("removed", counts.removed)):
        largest_first = sorted(tallies.items(), key=lambda each: (-each[1].characters, -each[1].documents, each[0]))
        found += [(effect, rule, tally) for rule, tally in largest_first]
    found += [("changed", "repairs", Tally(0, counts.changed))]
    found += [("kept", split, counts.kept[split]) for split in SPLITS]
    # 1 for an input without a character, whose shares are all 0.
    total = max(1, counts.read.characters)
    return [
        Row(name, of, each.documents, each.characters, round(each.characters / total, 6)) for name, of, each in found
    ]


def packing_efficiency(shards: Iterable[ShardEntry], capacity: int) -> dict[str, float]:
    """Tokens by the tokens that full sequences would hold, for each side."""
    # A full sequence leaves no room; [CLS] and [SEP] are not counted on either side.
    room = max(1, _sum(shards := list(shards), "sequences") * capacity)
    shares = {name: round(_sum(shards, name) / room, 6) for name in ("tokens", "student_tokens")}
    return {name: share for name, share in shares.items() if share or name == "tokens"}


def _sum(shards: Iterable[ShardEntry], name: str) -> int:
    return sum(getattr(each, name) for each in shards)


def describe(manifest: Mapping[str, object]) -> str:
    """The report of a finished run: the table, what could not be read, and what the shards hold."""
    counts, entries = counts_from(manifest.get("counts")), entries_of(manifest, Path())
    cells = [
        (row.effect, row.rule, f"{row.documents:,}", f"{row.characters:,}", f"{row.share:.2%}")
        for row in make_table(counts)
    ]
    lines, damaged = [text_table(Row._fields, cells, left=2)], counts.replaced_bytes
    if counts.first_unreadable:
        lines.append(f"first unreadable: {counts.first_unreadable}")
    if damaged.documents:
        found = f"{damaged.characters:,} in {damaged.documents:,} documents"
        lines.append(f"undecodable bytes replaced: {found}; if many, set read.encoding, perhaps to cp1252")
    for split in SPLITS:
        shards = [each for each in entries if each.split == split]
        student_tokens = _sum(shards, "student_tokens")
        twice = f" ({student_tokens:,} of the student's)" if student_tokens else ""
        tokens = f"{_sum(shards, 'sequences'):,} sequences, {_sum(shards, 'tokens'):,} tokens{twice}"
        lines.append(f"{split}: {tokens}, {len(shards)} shards, {_sum(shards, 'bytes'):,} bytes")
    efficiency = table_of(manifest.get("packing_efficiency", {}), "packing_efficiency")
    numbers = all(isinstance(share, int | float) for share in efficiency.values())
    require(numbers, f"packing_efficiency must hold numbers; {AGAIN}")
    packing = (f"{share:.1%} of room for {name}" for name, share in efficiency.items())
    return "\n".join([*lines, f"packing: {', '.join(packing)}"])


@dataclass(frozen=True, slots=True, order=True)
class Sample:
    """A document's beginning as it came, and the `lines` that cleaning took out or rewrote."""

    rank: int
    rule: str
    effect: str  # "dropped", "changed" or "kept"
    place: str
    text: str
    lines: tuple[str, ...]


class Samples:
    """For each (rule, effect) the documents with the smallest hash: the same for any order of arrival."""

    def __init__(self, config: PrepareConfig, samples: Iterable[Sample] = ()) -> None:
        self._config = config
        self._chosen: dict[tuple[str, str], list[Sample]] = {}  # by rank, ascending
        for sample in samples:
            self._add(sample)

    def __iter__(self) -> Iterator[Sample]:
        for key in sorted(self._chosen):
            yield from self._chosen[key]

    def _add(self, sample: Sample) -> None:
        chosen = self._chosen.setdefault((sample.rule, sample.effect), [])
        insort(chosen, sample)
        del chosen[self._config.sample_dropped :]

    def offer(self, item: Record | BadRecord, rule: str, effect: str) -> None:
        """Consider one document. Only if it enters, some size * ln(n / size) times, it is parsed again."""
        size = self._config.sample_dropped
        if size == 0:
            return
        # By its line, not by its text: the copies of an exact duplicate must not all be drawn together.
        place = f"{item.file}:{item.line}"
        line = f"{self._config.seed} {place}".encode("utf-8", "surrogateescape")
        rank = int.from_bytes(hashlib.blake2b(line, digest_size=6).digest(), "big")
        chosen = self._chosen.get((rule, effect), [])
        if len(chosen) == size and rank >= chosen[-1].rank:
            return
        document = parse_record(item, self._config.read)
        if isinstance(document, BadRecord):
            text, lines = (
                (item.data[:_MAX_CHARACTERS].decode(errors="replace") if isinstance(item, Record) else ""),
                [document.reason],
            )
        else:
            # Cleaning is pure, so doing it again shows what was done in the worker, which sent no text.
            left = set(clean_document(document, self._config.clean).document.text.split("\n"))
            text, lines = document.text, [line for line in document.text.split("\n") if line not in left]
        shown = tuple(line[:_MAX_CHARACTERS] for line in lines[:_MAX_LINES])
        self._add(Sample(rank, rule, effect, place, text[:_MAX_CHARACTERS], shown))


class Segment:
    """What committing one segment writes. `index` outlives it: duplicates are found across segments."""

    def __init__(self, config: PrepareConfig, encoder: WordEncoder, index: DuplicateIndex) -> None:
        self.config, self.counts, self.samples = config, Counts(), Samples(config)
        self._index = index
        self._builders = {split: ShardBuilder(encoder) for split in SPLITS}
        self._kept: list[Kept] = []

    def take(self, item: Record | BadRecord, outcome: Outcome) -> None:
        """Decide about one document and count it."""
        kept, rule = outcome.kept, outcome.dropped_by
        # An outcome names at most one rule of its own; only who passed them all is compared with others.
        if kept is not None and self._index.seen_exact(kept.key):
            rule = "exact_duplicate"
        elif kept is not None and kept.signature is not None and self._index.seen_near(kept.signature):
            rule = "near_duplicate"
        if kept is None or rule is not None:
            self.counts.drop(outcome, str(rule))
            self.samples.offer(item, str(rule), "dropped")
            return
        # Only kept documents are remembered: one that looks like a dropped one may still be the first kept.
        self._index.add(kept.key, kept.signature)
        self._kept.append(kept)
        # By its own hash: where it stands in which file does not matter, and the key makes another seed another split.
        digest = hashlib.blake2b(kept.key, key=str(self.config.seed).encode(), digest_size=8).digest()
        split = SPLITS[int.from_bytes(digest, "big") < self.config.validation_share * 2.0**64]
        self._builders[split].add(kept.sequences)
        self.counts.keep(outcome, kept, split)
        self.samples.offer(item, "kept", "kept")
        for changed_by, _ in kept.removed:
            self.samples.offer(item, changed_by, "changed")

    def write(self, folder: Path, number: int) -> list[ShardEntry]:
        """Write the shards of this segment."""
        return [entry for split in SPLITS if (entry := self._builders[split].write(folder, split, number))]

    def state(self) -> dict[str, NDArray[np.unsignedinteger]]:
        """What later documents, after a restart, are compared with: keys (N, 16) uint8, signatures (N, P) uint32 of the
        documents kept; without near-duplicates (0, 0). Not the index's own tables, which may change."""
        keys = np.frombuffer(b"".join(each.key for each in self._kept), np.uint8).reshape(-1, KEY_BYTES)
        signatures = [each.signature for each in self._kept if each.signature is not None]
        return {"keys": keys, "signatures": np.stack(signatures) if signatures else np.empty((0, 0), np.uint32)}
