"""What teacher and student can do, side by side: words behind a mask, and the passages nearest to a sentence."""

import statistics
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

from tinydistil.demo.measures import Scores, cosines, vectors
from tinydistil.evaluate.inference import fill_mask
from tinydistil.model.bert import BertForMaskedLM
from tinydistil.tokenizer.tokenizer import Tokenizer

_COLUMNS = ("model", "parameters", "vocabulary", "MLM loss", "bits/char", "next passage", "work F1", "order")


@dataclass(frozen=True, slots=True)
class Row:
    """A model: its scores for each seed it was trained with, one where there is nothing to draw."""

    title: str
    parameters: int
    vocabulary: str
    scores: tuple[Scores, ...]


def render(rows: Sequence[Row]) -> str:
    """The table as aligned text, with mean and standard deviation over seeds."""
    cells: list[tuple[str, ...]] = [_COLUMNS]
    for row in rows:
        figures = []
        for values in zip(*map(astuple, row.scores), strict=True):
            deviation = f" ±{statistics.stdev(values):.3f}" if len(values) > 1 else ""
            figures.append(f"{statistics.mean(values):.3f}{deviation}")
        cells.append((row.title, f"{row.parameters / 1e6:.2f} M", row.vocabulary, *figures))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    aligned = [f"{{:{'>' if i == 1 else '<'}{width}}}" for i, width in enumerate(widths)]
    return "\n".join("  ".join(aligned).format(*line).rstrip() for line in cells)


MASKED = (
    "Rubião olhou para a [MASK] e não disse nada.",
    "O marido e a [MASK] saíram de casa às dez horas da noite.",
    "Naquele [MASK], Capitu foi ter com a mãe.",
)
SENTENCE = "A moça abriu a carta, leu e começou a chorar."
_WIDTH, _GUESSES = 52, 3


def show(models: Sequence[tuple[str, Path]], passages: Sequence[str]) -> str:
    """A column for each (title, folder): three guesses per sentence, then the nearest of `passages`."""
    titles, folders = zip(*models, strict=True)
    sentences = [*MASKED, f"passages nearest to: {SENTENCE}", ""]
    lines = ["", "".join(title.ljust(_WIDTH + 2) for title in titles).rstrip()]
    for sentence, *columns in zip(sentences, *(_of(folder, passages) for folder in folders), strict=True):
        lines += [f"> {sentence}"] if sentence else []
        short = (text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…" for text in columns)
        lines.append("".join(f"  {text.ljust(_WIDTH)}" for text in short).rstrip())
    return "\n".join(lines)


def _of(folder: Path, passages: Sequence[str]) -> list[str]:
    """Guesses for each masked sentence, and the two nearest passages, each in one line."""
    tokenizer = Tokenizer.from_pretrained(folder)
    model = BertForMaskedLM.from_pretrained(folder, heads="require")
    found = [fill_mask(model, tokenizer, text, top_k=_GUESSES)[0] for text in MASKED]
    guesses = ["  ".join(f"{each.token} {each.probability:.2f}" for each in candidates) for candidates in found]
    query, others = (vectors(model.bert, tokenizer, texts) for texts in ([SENTENCE], passages))
    order = np.argsort(-cosines(others, query)[:, 0])[:2]
    return guesses + [passages[i].replace("\n", " ") for i in order]
