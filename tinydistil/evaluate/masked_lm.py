"""How well a model guesses masked tokens, and hidden words. What is masked is drawn from a text's own content, so it is
the same in every run, batch and order.

A loss per token cannot compare two vocabularies: one that cuts words into more pieces has easier pieces to guess. So
for `word_loss` the same words are hidden from every model, all pieces of a word at once, and the losses of the pieces
are summed: loss per word, bits per character. A word is what stands between white space, where every tokenizer cuts.
A vocabulary that lower-cases has no capitals or accents to guess; that flatters its figures.

Shapes: B sequences, T tokens, D hidden size, M masked positions, V vocabulary, S sequences or texts of the whole set,
W words of a text.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Encoding
from torch import Tensor
from torch.nn import functional as F

from tinydistil.base.errors import require
from tinydistil.batches.sampling import MaskConfig, by_length, mask_tokens, pad_with_special
from tinydistil.evaluate.inference import check_match
from tinydistil.model.bert import BertForMaskedLM
from tinydistil.tokenizer.tokenizer import Tokenizer, collate

# Devlin et al. 2019, 3.1: 15 % of the tokens, of these 80 % hidden, 10 % replaced, 10 % left.
EVALUATION_MASK = MaskConfig()
# Logits in memory at a time: 16 MiB in float32, whatever the vocabulary. Larger blocks are no faster on a CPU.
LOGITS_AT_ONCE = 2**22
Sequences = Sequence[NDArray[np.integer]]  # token ids without special ones
Span = tuple[int, int]  # first character and the one after the last


@dataclass(frozen=True, slots=True)
class EvaluationBatch:
    """input_ids, attention_mask (B, T); positions (M,) into B * T with their targets (M,), and the number of the
    sequence that each is of, sequences (M,)."""

    input_ids: Tensor
    attention_mask: Tensor
    positions: Tensor
    targets: Tensor
    sequences: NDArray[np.int64]


def ratio(sums: NDArray[np.float64], column: int, count: int) -> float:
    """The sum of one column of `sums` by the sum of another: a mean over all that is counted."""
    return float(sums[:, column].sum() / sums[:, count].sum())


def encode_sequences(texts: Sequence[str], tokenizer: Tokenizer, *, max_length: int = 128) -> list[NDArray[np.integer]]:
    """Each text as one sequence of token ids without special ones, cut so that with them it has `max_length`."""
    require(max_length >= 3, f"max_length must be >= 3 (two special tokens and one more), got {max_length}")
    encodings = tokenizer.encode_all(texts, add_special=False)
    return [np.array(encoding.ids[: max_length - 2], np.int64) for encoding in encodings]


def evaluation_batches(
    sequences: Sequences, tokenizer: Tokenizer, *, batch_size: int = 32
) -> Iterator[EvaluationBatch]:
    """The sequences with their fixed masks, from the shortest to the longest."""
    special = {tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id, tokenizer.mask_id, tokenizer.unk_id}
    ordinary_ids = np.array([i for i in range(tokenizer.vocab_size) if i not in special])
    lengths = {i: length for i in range(len(sequences)) if (length := len(sequences[i]))}
    for chosen in by_length(lengths, batch_size):
        ids, valid, text = pad_with_special(tokenizer, [sequences[i] for i in chosen])  # (B, T)
        # The key of a mask is a hash of the sequence: unlike its number, the same in whatever set it stands.
        hashes = [hashlib.blake2b(sequences[i].astype("<i8").tobytes(), digest_size=8).digest() for i in chosen]
        masked = mask_tokens(
            ids,
            text & (ids != tokenizer.unk_id),
            np.array([int.from_bytes(each, "little") >> 1 for each in hashes], np.int64),
            EVALUATION_MASK,
            mask_id=tokenizer.mask_id,
            ordinary_ids=ordinary_ids,
            seed=0,
            epoch=0,
        )
        yield EvaluationBatch(
            torch.from_numpy(masked.input_ids),
            torch.from_numpy(valid.astype(np.int64)),
            torch.from_numpy(masked.rows),
            torch.from_numpy(masked.targets),
            np.array(chosen)[masked.rows // ids.shape[1]],
        )


@torch.inference_mode()
def masked_lm_scores(
    model: BertForMaskedLM, tokenizer: Tokenizer, sequences: Sequences, *, batch_size: int = 32
) -> NDArray[np.float64]:
    """Sums (S, 4) over the fixed masks of each of `sequences`, which an interval resamples.

    They are: losses in nats, first guesses that are right, targets among the first five guesses, masked tokens. Call
    `.eval()` first. Memory does not grow with the vocabulary times the tokens. Raises InputError where nothing can be
    masked, or tokenizer and model do not belong together.
    """
    check_match(model, tokenizer)
    sums = np.zeros((len(sequences), 4))
    batches = evaluation_batches(sequences, tokenizer, batch_size=batch_size)
    for numbers, logits, targets, losses in _predictions(model, batches):
        hits = logits.topk(min(5, logits.shape[1])).indices == targets.unsqueeze(1)  # (M', 5)
        columns = [losses, hits[:, 0].double(), hits.any(1).double(), torch.ones_like(losses)]
        np.add.at(sums, numbers, torch.stack(columns, 1).cpu().numpy())
    require(sums[:, 3].sum() > 0, "no token to mask: the sequences are empty, or too few and short for a rate of 15 %")
    return sums


def _predictions(
    model: BertForMaskedLM, batches: Iterable[EvaluationBatch]
) -> Iterator[tuple[NDArray[np.int64], Tensor, Tensor, Tensor]]:
    """The sequences, float32 logits (M', V), targets and float64 losses (M',) of some masked positions at a time."""
    device, size = next(model.parameters()).device, max(1, LOGITS_AT_ONCE // model.config.vocab_size)
    for batch in batches:
        hidden = model(batch.input_ids.to(device), batch.attention_mask.to(device)).last_hidden  # (B, T, D)
        for start in range(0, len(batch.positions), size):
            part = slice(start, start + size)
            logits = model.logits_at(hidden, batch.positions[part].to(device)).float()
            targets = batch.targets[part].to(device)
            losses = F.cross_entropy(logits, targets, reduction="none").double()
            yield batch.sequences[part], logits, targets, losses


def choose_words(
    texts: Sequence[str], tokenizers: Sequence[Tokenizer], *, max_length: int = 128, rate: float = 0.15
) -> list[tuple[Span, ...]]:
    """The words to hide in each text, by the hash of the text: the same for every model.

    Words that one of `tokenizers` does not know, or that lie beyond its first `max_length` tokens, are left out for
    all.
    """
    require(0 < rate < 1, f"rate must be in (0, 1), got {rate}")
    known = [[match.span() for match in re.finditer(r"\S+", text)] for text in texts]
    for tokenizer in tokenizers:
        for number, encoding in enumerate(tokenizer.encode_all(texts, max_length=max_length)):
            reached = max((end for _, end in encoding.offsets), default=0)
            spans = [span for span in known[number] if span[1] <= reached]
            pieces = _pieces(encoding, spans, tokenizer.unk_id)
            is_unknown = np.array(encoding.ids) == tokenizer.unk_id
            spelt = np.any(pieces, axis=1) & ~np.any(pieces & is_unknown, axis=1)
            known[number] = list(compress(spans, spelt.tolist()))
    chosen = []
    for text, spans in zip(texts, known, strict=True):
        # Rounded by chance, so that short texts have their share too.
        quota = int(len(spans) * rate + _draw(text, -1))
        chosen.append(tuple(sorted(sorted(spans, key=lambda span: _draw(text, span[0]))[:quota])))
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
) -> NDArray[np.float64]:
    """Sums (S, 3) over the hidden words of each text: losses in nats of all their pieces, words, characters.

    hidden_words: from `choose_words` with this tokenizer among its own. Raises InputError where no word is hidden.
    """
    check_match(model, tokenizer)
    require(any(hidden_words), "no word to hide: give more or longer texts")
    encodings = tokenizer.encode_all(texts, max_length=max_length)
    sums = np.array([[0.0, len(spans), sum(end - start for start, end in spans)] for spans in hidden_words])
    lengths = {i: len(encodings[i].ids) for i, spans in enumerate(hidden_words) if spans}

    def batches() -> Iterator[EvaluationBatch]:
        for chosen in by_length(lengths, batch_size):
            batch = collate([encodings[i] for i in chosen], tokenizer.pad_id)
            pieces = [np.flatnonzero(_pieces(encodings[i], hidden_words[i], tokenizer.unk_id).any(0)) for i in chosen]
            ids, width = batch.input_ids.flatten(), batch.input_ids.shape[1]
            positions = torch.from_numpy(np.concatenate([i * width + each for i, each in enumerate(pieces)]))
            masked = ids.index_fill(0, positions, tokenizer.mask_id).view_as(batch.input_ids)
            numbers = np.repeat(chosen, [len(each) for each in pieces])
            yield EvaluationBatch(masked, batch.attention_mask, positions, ids[positions], numbers)

    for numbers, _, _, losses in _predictions(model, batches()):
        np.add.at(sums[:, 0], numbers, losses.cpu().numpy())
    return sums


def _pieces(encoding: Encoding, spans: Sequence[Span], unk_id: int) -> NDArray[np.bool_]:
    """Which tokens spell a part of which of W words: (W, T)."""
    # In some tokenizers the unknown token counts as special too.
    is_text = (np.array(encoding.special_tokens_mask) == 0) | (np.array(encoding.ids) == unk_id)  # (T,)
    first, last = np.array(spans, np.int64).reshape(-1, 2, 1).swapaxes(0, 1)  # (W, 1)
    starts, ends = np.array(encoding.offsets, np.int64).reshape(-1, 2).T  # (T,)
    touching: NDArray[np.bool_] = is_text & (np.maximum(starts, first) < np.minimum(ends, last))
    return touching


def _draw(text: str, number: int) -> float:
    """A number in [0, 1) that depends on the text and `number`."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), key=number.to_bytes(8, "little", signed=True))
    return int.from_bytes(digest.digest()[:7], "little") * 2.0**-56
