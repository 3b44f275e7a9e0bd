"""What teacher and student can do, side by side: words behind a mask, and the passages nearest to a sentence."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinydistil.demo.measures import Scores, vectors
from tinydistil.evaluate.inference import fill_mask
from tinydistil.model.bert import BertForMaskedLM, BertModel
from tinydistil.tokenizer.tokenizer import Tokenizer

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


MASKED = (
    "Rubião olhou para a [MASK] e não disse nada.",
    "O marido e a [MASK] saíram de casa às dez horas da noite.",
    "Naquele [MASK], Capitu foi ter com a mãe.",
)
SENTENCE = "A moça abriu a carta, leu e começou a chorar."
_WIDTH, _NEAREST, _GUESSES = 52, 2, 3


def show(models: Sequence[tuple[str, Path]], passages: Sequence[str]) -> str:
    """A column for each (title, folder): three guesses per sentence, then the nearest of `passages`."""
    guesses, nearest = zip(*(_of(folder, passages) for _, folder in models), strict=True)
    lines = ["", "".join(title.ljust(_WIDTH + 2) for title, _ in models).rstrip()]
    for sentence, *columns in zip(MASKED, *guesses, strict=True):
        lines += [f"> {sentence}", _beside(columns)]
    lines.append(f"> passages nearest to: {SENTENCE}")
    lines += [_beside(columns) for columns in zip(*nearest, strict=True)]
    return "\n".join(lines)


def _of(folder: Path, passages: Sequence[str]) -> tuple[list[str], list[str]]:
    """Guesses for each masked sentence, and the nearest passages."""
    tokenizer = Tokenizer.from_pretrained(folder)
    model = BertForMaskedLM.from_pretrained(folder, heads="require")
    found = [fill_mask(model, tokenizer, text, top_k=_GUESSES)[0] for text in MASKED]
    guesses = ["  ".join(f"{each.token} {each.probability:.2f}" for each in candidates) for candidates in found]
    units = _units(model.bert, tokenizer, [SENTENCE, *passages])
    order = np.argsort(-(units[1:] @ units[0]))[:_NEAREST]
    return guesses, [passages[i] for i in order]


def _units(encoder: BertModel, tokenizer: Tokenizer, texts: Sequence[str]) -> NDArray[np.float32]:
    found = vectors(encoder, tokenizer, texts)
    units: NDArray[np.float32] = found / np.linalg.norm(found, axis=1, keepdims=True)
    return units


def _beside(columns: Sequence[str]) -> str:
    lines = (" ".join(text.split("\n")) for text in columns)
    short = (text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…" for text in lines)
    return "".join(f"  {text.ljust(_WIDTH)}" for text in short).rstrip()
