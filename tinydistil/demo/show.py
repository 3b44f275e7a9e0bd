"""What teacher and student can do, side by side: words behind a mask, and the passages nearest to a sentence."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinydistil.demo.measures import vectors
from tinydistil.evaluate.inference import fill_mask
from tinydistil.model.bert import BertModel
from tinydistil.model.heads import BertForMaskedLM
from tinydistil.tokenizer.tokenizer import Tokenizer

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
