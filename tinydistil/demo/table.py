"""The closing table of a demonstration."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Marks:
    """What one model achieved.

    parameters; masked_lm: loss in nats a masked token, to be compared within one vocabulary; bits: a character of
    hidden words, to be compared between vocabularies; similarity: Pearson of cosines with the true scores, without
    training for it; sentiment, entailment: F1 (macro; of "entails") after a short fine-tuning.
    """

    title: str
    parameters: int
    vocabulary: str
    masked_lm: float
    bits: float
    similarity: float
    sentiment: float
    entailment: float

    def as_json(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)


_COLUMNS = (
    "model",
    "parameters",
    "vocabulary",
    "MLM loss",
    "bits/char",
    "similarity r",
    "sentiment F1",
    "entailment F1",
)


def render(rows: Sequence[Marks]) -> str:
    """The table as aligned text."""
    cells = [_COLUMNS]
    cells += [
        (row.title, f"{row.parameters / 1e6:.2f} M", row.vocabulary, f"{row.masked_lm:.3f}", f"{row.bits:.3f}",
         f"{row.similarity:.3f}", f"{row.sentiment:.3f}", f"{row.entailment:.3f}")
        for row in rows
    ]  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) if place in (0, 2) else cell.rjust(width)
                  for place, (cell, width) in enumerate(zip(line, widths, strict=True))).rstrip()
        for line in cells
    )  # fmt: skip
