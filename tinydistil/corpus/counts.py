"""The counted trail of a preparation: what was read, dropped by which rule, removed, kept."""

from dataclasses import dataclass, field
from typing import Annotated, cast

from tinydistil.base.config import INT64, Range, from_mapping, table_of
from tinydistil.base.errors import require
from tinydistil.batches.manifest import AGAIN, SPLITS
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

    read: all documents with their characters as they came. dropped: those that each rule dropped. removed:
    the characters that rules took out of documents that were kept, and of how many. kept: by split,
    characters after cleaning. changed: characters that kept documents lost (or gained, < 0) otherwise, by
    repairs.
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
        for mine, theirs in (
            (self.dropped, other.dropped),
            (self.removed, other.removed),
            (self.kept, other.kept),
        ):
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
