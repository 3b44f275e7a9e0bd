"""Masked LM in units that no vocabulary chooses: loss per word, and bits per character.

A loss per token cannot compare two vocabularies: one that cuts words into more pieces has easier pieces to guess. So
the same words are hidden from every model, all pieces of a word at once, and the losses of the pieces are summed. A
word is what stands between white space, where every tokenizer cuts.

A vocabulary that lower-cases has no capitals or accents to guess; that flatters its figures.
Shapes: S texts.
"""

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Encoding
from torch.nn import functional as F

from tinydistil.base.errors import require
from tinydistil.evaluate.inference import check_match
from tinydistil.evaluate.masked_lm import logit_parts
from tinydistil.model.heads import BertForMaskedLM
from tinydistil.tokenizer.tokenizer import Tokenizer, collate

_WORD = re.compile(r"\S+")
Span = tuple[int, int]  # first character and the one after the last


@dataclass(frozen=True, slots=True)
class WordLoss:
    """sums (S, 3) of each text: losses in nats, hidden words, their characters."""

    sums: NDArray[np.float64]

    @property
    def loss_per_word(self) -> float:
        """Nats per hidden word, summed over its pieces."""
        return float(self.sums[:, 0].sum() / self.sums[:, 1].sum())

    @property
    def bits_per_character(self) -> float:
        """Bits per character of the hidden words."""
        return float(self.sums[:, 0].sum() / self.sums[:, 2].sum() / math.log(2))


def choose_words(
    texts: Sequence[str], tokenizers: Sequence[Tokenizer], *, max_length: int = 128, rate: float = 0.15
) -> list[tuple[Span, ...]]:
    """The words to hide in each text, by the hash of the text: the same for every model.

    Words that one of `tokenizers` does not know, or that lie beyond its first `max_length` tokens, are left out for
    all.
    """
    require(0 < rate < 1, f"rate must be in (0, 1), got {rate}")
    known = [{(m.start(), m.end()) for m in _WORD.finditer(text)} for text in texts]
    for tokenizer in tokenizers:
        encodings = tokenizer.encode_all(texts, max_length=max_length)
        known = [
            _known(encoding, text, spans, tokenizer.unk_id)
            for text, spans, encoding in zip(texts, known, encodings, strict=True)
        ]
    chosen = []
    for text, spans in zip(texts, known, strict=True):
        # Rounded by chance, so that short texts have their share too.
        quota = int(len(spans) * rate + _draw(text, -1))
        draws = {span: _draw(text, span[0]) for span in spans}
        chosen.append(tuple(sorted(sorted(draws, key=draws.__getitem__)[:quota])))
    return chosen


@torch.inference_mode()
def word_loss(
    model: BertForMaskedLM,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    hidden_words: Sequence[tuple[Span, ...]],
    *,
    max_length: int = 128,
    batch_size: int = 32,
) -> WordLoss:
    """The loss over `hidden_words`, from `choose_words` with this tokenizer among its own.

    Raises InputError where no word is hidden.
    """
    check_match(model, tokenizer)
    require(any(hidden_words), "no word to hide: give more or longer texts")
    device = next(model.parameters()).device
    encodings = tokenizer.encode_all(texts, max_length=max_length)
    sums = np.array([[0.0, len(spans), sum(end - start for start, end in spans)] for spans in hidden_words])
    order = sorted((i for i, spans in enumerate(hidden_words) if spans), key=lambda i: len(encodings[i].ids))
    for first in range(0, len(order), batch_size):
        chosen = order[first : first + batch_size]
        batch = collate([encodings[i] for i in chosen], tokenizer.pad_id)
        pieces = [_pieces(encodings[i], texts[i], hidden_words[i]) for i in chosen]
        width = batch.input_ids.shape[1]
        positions = torch.tensor([row * width + piece for row, each in enumerate(pieces) for piece in each])
        owners = np.repeat(chosen, [len(each) for each in pieces])
        targets = batch.input_ids.flatten()[positions]
        masked = batch.input_ids.flatten().index_fill(0, positions, tokenizer.mask_id).view_as(batch.input_ids)
        hidden = model(masked.to(device), batch.attention_mask.to(device)).last_hidden
        for part, logits in logit_parts(model, hidden, positions):
            losses = F.cross_entropy(logits, targets[part].to(device), reduction="none")
            np.add.at(sums[:, 0], owners[part], losses.double().cpu().numpy())
    return WordLoss(sums)


def _known(encoding: Encoding, text: str, spans: set[Span], unk_id: int) -> set[Span]:
    """The words that lie within the encoding and are spelt by known pieces only."""
    marks = bytearray(len(text))  # of each character: 0 in no piece, 1 in a known one, 2 in an unknown one
    reached = 0
    for piece, (start, end), special in zip(encoding.ids, encoding.offsets, encoding.special_tokens_mask, strict=True):
        # In some tokenizers the unknown token counts as special too.
        if piece == unk_id or not special:
            marks[start:end] = (b"\2" if piece == unk_id else b"\1") * (end - start)
            reached = max(reached, end)
    return {
        (start, end) for start, end in spans if end <= reached and 2 not in marks[start:end] and 1 in marks[start:end]
    }


def _pieces(encoding: Encoding, text: str, spans: tuple[Span, ...]) -> list[int]:
    """The positions in the encoding of these words' pieces."""
    marks = bytearray(len(text))
    for start, end in spans:
        marks[start:end] = b"\1" * (end - start)
    offsets = zip(encoding.offsets, encoding.special_tokens_mask, strict=True)
    return [
        position for position, ((start, end), special) in enumerate(offsets) if not special and 1 in marks[start:end]
    ]


def _draw(text: str, number: int) -> float:
    """A number in [0, 1) that depends on the text and `number`."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), key=number.to_bytes(8, "little", signed=True))
    return int.from_bytes(digest.digest()[:7], "little") * 2.0**-56
