"""The counted trail of a preparation (read, dropped by which rule, removed, kept), and the closing table of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, cast

from tinydistil.base.config import INT64, Range, from_mapping, table_of
from tinydistil.base.console import text_table
from tinydistil.base.errors import require
from tinydistil.batches.manifest import AGAIN, SPLITS, ShardEntry, entries_of
from tinydistil.corpus.document_step import Outcome

_Sum = Annotated[int, Range(0, INT64)]


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

    read: all documents with their characters as they came. dropped: those that each rule dropped. removed: the
    characters that rules took out of documents that were kept, and of how many. kept: by split, characters after
    cleaning. changed: characters that kept documents lost (or gained, < 0) otherwise, by repairs.
    """

    # Items are what the reader gave, good or bad: a restart skips that many.
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

    def keep(self, outcome: Outcome, split: str) -> None:
        """Count a document that went to `split`."""
        assert outcome.kept is not None
        self._read(outcome)
        self.kept[split].add(1, outcome.kept.characters)
        # What is left of the difference when the rules' own counts are taken off belongs to no rule.
        self.changed += outcome.characters - outcome.kept.characters
        for rule, characters in outcome.kept.removed:
            self.removed.setdefault(rule, Tally()).add(1, characters)
            self.changed -= characters

    def _read(self, outcome: Outcome) -> None:
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
    require(
        isinstance(values, dict) and all(isinstance(values.get(name), dict) for name in tables),
        f"counts must be a table with {', '.join(tables)}; {AGAIN}",
    )
    plain = {name: value for name, value in cast(dict[str, object], values).items() if name not in tables}
    # Tables by rule have names that no dataclass can list, so they are converted one entry at a time.
    counts = from_mapping(Counts, plain)
    for name in tables:
        for rule, tally in cast(dict[str, dict[str, object]], values)[name].items():
            getattr(counts, name)[rule] = from_mapping(Tally, table_of(tally, f"counts.{name}.{rule}"))
    return counts


@dataclass(frozen=True, slots=True)
class Row:
    """One line. `effect` is read, dropped (whole documents), removed (parts of kept documents), changed (length of
    kept documents by repairs; negative where they grew) or kept; `share` is of the characters read."""

    effect: str
    rule: str
    documents: int
    characters: int
    share: float


def make_table(counts: Counts) -> list[Row]:
    """Rows that add up. In characters read = dropped + removed + changed + kept; in documents read = dropped + kept."""
    # 1 for an input without a character, whose shares are all 0.
    total = max(1, counts.read.characters)

    def row(effect: str, rule: str, tally: Tally) -> Row:
        return Row(effect, rule, tally.documents, tally.characters, round(tally.characters / total, 6))

    rows = [row("read", "all", counts.read)]
    for effect, tallies in (("dropped", counts.dropped), ("removed", counts.removed)):
        largest_first = sorted(tallies, key=lambda rule: (-tallies[rule].characters, -tallies[rule].documents, rule))
        rows += [row(effect, rule, tallies[rule]) for rule in largest_first]
    rows.append(row("changed", "repairs", Tally(0, counts.changed)))
    return rows + [row("kept", split, counts.kept[split]) for split in SPLITS]


def packing_efficiency(shards: Iterable[ShardEntry], capacity: int) -> dict[str, float]:
    """Tokens by the tokens that full sequences would hold, for each side."""
    shards = list(shards)
    # A full sequence leaves no room; [CLS] and [SEP] are not counted on either side.
    room = max(1, sum(each.sequences for each in shards) * capacity)
    shares = {"tokens": sum(each.tokens for each in shards) / room}
    if student_tokens := sum(each.student_tokens for each in shards):
        shares["student_tokens"] = student_tokens / room
    return {name: round(share, 6) for name, share in shares.items()}


def render(rows: Sequence[Row]) -> str:
    """The table as aligned text."""
    cells = [(row.effect, row.rule, f"{row.documents:,}", f"{row.characters:,}", f"{row.share:.2%}") for row in rows]
    return text_table(("effect", "rule", "documents", "characters", "share"), cells, left=2)


def describe(manifest: Mapping[str, object]) -> str:
    """The report of a finished run: the table, what could not be read, and what the shards hold."""
    counts = counts_from(manifest.get("counts"))
    lines = [render(make_table(counts))]
    if counts.first_unreadable:
        lines.append(f"first unreadable: {counts.first_unreadable}")
    if (damaged := counts.replaced_bytes).documents:
        lines.append(
            f"undecodable bytes replaced: {damaged.characters:,} in {damaged.documents:,} documents; "
            "if many, set read.encoding, perhaps to cp1252"
        )
    entries = entries_of(manifest, Path())
    for split in SPLITS:
        shards = [each for each in entries if each.split == split]
        tokens, student_tokens = sum(each.tokens for each in shards), sum(each.student_tokens for each in shards)
        twice = f" ({student_tokens:,} of the student's)" if student_tokens else ""
        sequences, size = sum(each.sequences for each in shards), sum(each.bytes for each in shards)
        lines.append(
            f"{split}: {sequences:,} sequences, {tokens:,} tokens{twice}, {len(shards)} shards, {size:,} bytes"
        )
    efficiency = table_of(manifest.get("packing_efficiency", {}), "packing_efficiency")
    numbers = all(isinstance(share, int | float) for share in efficiency.values())
    require(numbers, f"packing_efficiency must hold numbers; {AGAIN}")
    lines.append("packing: " + ", ".join(f"{share:.1%} of room for {name}" for name, share in efficiency.items()))
    return "\n".join(lines)
