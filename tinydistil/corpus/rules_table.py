"""The closing table: how many documents and characters each rule took, and what is left."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tinydistil.base.config import table_of
from tinydistil.base.errors import require
from tinydistil.batches.manifest import AGAIN, SPLITS, ShardEntry, entries_of
from tinydistil.corpus.counts import Counts, Tally, counts_from


@dataclass(frozen=True, slots=True)
class Row:
    """One line. `effect` is read, dropped (whole documents), removed (parts of kept documents), changed
    (length of kept documents by repairs; negative where they grew) or kept; `share` is of the characters
    read.
    """

    effect: str
    rule: str
    documents: int
    characters: int
    share: float


def make_table(counts: Counts) -> list[Row]:
    """Rows that add up: read = dropped + removed + changed + kept, in characters; in documents without the
    middle two."""
    # 1 for an input without a character, whose shares are all 0.
    total = max(1, counts.read.characters)

    def row(effect: str, rule: str, tally: Tally) -> Row:
        return Row(effect, rule, tally.documents, tally.characters, round(tally.characters / total, 6))

    rows = [row("read", "all", counts.read)]
    rows += [row("dropped", rule, tally) for rule, tally in _largest_first(counts.dropped)]
    rows += [row("removed", rule, tally) for rule, tally in _largest_first(counts.removed)]
    rows.append(row("changed", "repairs", Tally(0, counts.changed)))
    return rows + [row("kept", split, counts.kept[split]) for split in SPLITS]


def _largest_first(tallies: Mapping[str, Tally]) -> list[tuple[str, Tally]]:
    return sorted(tallies.items(), key=lambda pair: (-pair[1].characters, -pair[1].documents, pair[0]))


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
    cells = [("effect", "rule", "documents", "characters", "share")]
    cells += [(row.effect, row.rule, f"{row.documents:,}", f"{row.characters:,}", f"{row.share:.2%}") for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if position < 2 else cell.rjust(width)
            for position, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    )


def describe(manifest: Mapping[str, object]) -> str:
    """What a finished run says: the table, what could not be read, and what the shards hold."""
    counts = counts_from(manifest.get("counts"))
    lines = [render(make_table(counts))]
    if counts.first_unreadable:
        lines.append(f"first unreadable: {counts.first_unreadable}")
    if (damaged := counts.replaced_bytes).documents:
        lines.append(
            f"undecodable bytes replaced: {damaged.characters:,} in {damaged.documents:,} documents; "
            "if many, set read.encoding, perhaps to cp1252"
        )
    shards = entries_of(manifest, Path())
    lines += [_shard_line(split, [each for each in shards if each.split == split]) for split in SPLITS]
    efficiency = table_of(manifest.get("packing_efficiency", {}), "packing_efficiency")
    numbers = all(isinstance(share, int | float) for share in efficiency.values())
    require(numbers, f"packing_efficiency must hold numbers; {AGAIN}")
    lines.append("packing: " + ", ".join(f"{share:.1%} of room for {name}" for name, share in efficiency.items()))
    return "\n".join(lines)


def _shard_line(split: str, shards: Sequence[ShardEntry]) -> str:
    tokens, student_tokens = sum(each.tokens for each in shards), sum(each.student_tokens for each in shards)
    twice = f" ({student_tokens:,} of the student's)" if student_tokens else ""
    sequences, size = sum(each.sequences for each in shards), sum(each.bytes for each in shards)
    return f"{split}: {sequences:,} sequences, {tokens:,} tokens{twice}, {len(shards)} shards, {size:,} bytes"
