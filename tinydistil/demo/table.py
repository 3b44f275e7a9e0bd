"""The closing table of the demonstration."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

from tinydistil.demo.measures import Scores

_COLUMNS = ("model", "parameters", "vocabulary", "MLM loss", "bits/char", "next passage", "work F1", "order")


@dataclass(frozen=True, slots=True)
class Row:
    """A model: its scores for each seed it was trained with, one where there is nothing to draw."""

    title: str
    parameters: int
    vocabulary: str
    scores: tuple[Scores, ...]

    def of(self, measure: str) -> tuple[float, float | None]:
        """Mean and standard deviation over seeds; the latter None for a single one."""
        values = [getattr(each, measure) for each in self.scores]
        return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None

    def as_json(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)


def render(rows: Sequence[Row]) -> str:
    """The table as aligned text."""
    cells: list[tuple[str, ...]] = [_COLUMNS]
    for row in rows:
        figures = [_figure(*row.of(field.name)) for field in fields(Scores)]
        cells.append((row.title, f"{row.parameters / 1e6:.2f} M", row.vocabulary, *figures))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) if i == 1 else cell.ljust(width)
                  for i, (cell, width) in enumerate(zip(line, widths, strict=True))).rstrip()
        for line in cells
    )  # fmt: skip


def _figure(mean: float, deviation: float | None) -> str:
    return f"{mean:.3f}" if deviation is None else f"{mean:.3f} ±{deviation:.3f}"
