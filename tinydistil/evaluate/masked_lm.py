"""How well a model guesses masked tokens, and hidden words. What is masked is drawn from a text's own content, so it is
the same in every run, batch and order.

A loss per token cannot compare two vocabularies: one that cuts words into more pieces has easier pieces to guess. So
for `word_loss` the same words are hidden from every model, all pieces of a word at once, and the losses of the pieces
are summed: loss per word, bits per character. A word is what stands between white space, where every tokenizer cuts.
A vocabulary that lower-cases has no capitals or accents to guess; that flatters its figures.

Shapes: B sequences, T tokens, D hidden size, M masked positions, V vocabulary, S sequences or texts of the whole set.
"""

import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Encoding
from torch import Tensor
from torch.nn import functional as F

from tinydistil.base.errors import require
from tinydistil.batches.masked_batches import pad_with_special
from tinydistil.batches.sampling import MaskConfig, by_length, mask_tokens
from tinydistil.evaluate.inference import check_match
from tinydistil.model.bert import BertForMaskedLM
from tinydistil.tokenizer.tokenizer import Tokenizer, collate

# Devlin et al. 2019, 3.1: 15 % of the tokens, of these 80 % hidden, 10 % replaced, 10 % left.
EVALUATION_MASK = MaskConfig()
# Logits in memory at a time: 16 MiB in float32, whatever the vocabulary. Larger blocks are no faster on a CPU.
LOGITS_AT_ONCE = 2**22
_WORD = re.compile(r"\S+")
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


@dataclass(frozen=True, slots=True)
class MaskedLMScores:
    """sums (S, 4) over each sequence's masked tokens: losses in nats, first guesses that are right, targets among the
    first five guesses, and their number. They are what an interval resamples."""

    sums: NDArray[np.float64]

    @property
    def loss(self) -> float:
        """Cross-entropy per masked token, in nats."""
        return mean_of(self.sums, 0)

    @property
    def perplexity(self) -> float:
        """exp(loss), infinite where that overflows."""
        return math.exp(self.loss) if self.loss < 709 else math.inf


def mean_of(sums: NDArray[np.float64], column: int) -> float:
    """A column's sum per masked token: 0 the loss, 1 accuracy@1, 2 accuracy@5."""
    return float(sums[:, column].sum() / sums[:, -1].sum())


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


def encode_sequences(texts: Sequence[str], tokenizer: Tokenizer, *, max_length: int = 128) -> list[NDArray[np.integer]]:
    """Each text as one sequence of token ids without special ones, cut so that with them it has `max_length`."""
    require(max_length >= 3, f"max_length must be >= 3 (two special tokens and one more), got {max_length}")
    encodings = tokenizer.encode_all(texts, add_special=False)
    return [np.array(encoding.ids[: max_length - 2], np.int64) for encoding in encodings]


def evaluation_batches(
    sequences: Sequences, tokenizer: Tokenizer, *, batch_size: int = 32
) -> Iterator[EvaluationBatch]:
    """The sequences with their fixed masks, from the shortest to the longest."""
    require(batch_size >= 1, f"batch_size must be >= 1, got {batch_size}")
    special = {tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id, tokenizer.mask_id, tokenizer.unk_id}
    ordinary_ids = np.array([i for i in range(tokenizer.vocab_size) if i not in special])
    lengths = {i: length for i in range(len(sequences)) if (length := len(sequences[i]))}
    for chosen in by_length(lengths, batch_size):
        numbers = np.array(chosen)
        ids, valid, text = pad_with_special(tokenizer, [sequences[i] for i in chosen])  # (B, T)
        masked = mask_tokens(
            ids,
            text & (ids != tokenizer.unk_id),
            np.array([_key(sequences[i]) for i in numbers], np.int64),
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
            numbers[masked.rows // ids.shape[1]],
        )


def _key(sequence: NDArray[np.integer]) -> int:
    """63 bits of the hash of a sequence's ids: unlike its number, the same in whatever set it stands."""
    digest = hashlib.blake2b(sequence.astype("<i8").tobytes(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


@torch.inference_mode()
def masked_lm_scores(
    model: BertForMaskedLM, tokenizer: Tokenizer, sequences: Sequences, *, batch_size: int = 32
) -> MaskedLMScores:
    """Loss, accuracy@1 and @5 over the fixed masks of `sequences`.

    The model is used as it stands: call `.eval()` first. Memory does not grow with the vocabulary times the tokens.
    Raises InputError where nothing can be masked, or tokenizer and model do not belong together.
    """
    check_match(model, tokenizer)
    sums = np.zeros((len(sequences), 4))
    batches = evaluation_batches(sequences, tokenizer, batch_size=batch_size)
    for numbers, logits, targets, losses in _predictions(model, batches):
        hits = logits.topk(min(5, logits.shape[1])).indices == targets.unsqueeze(1)  # (M', 5)
        columns = [losses, hits[:, 0].double(), hits.any(1).double(), torch.ones_like(losses)]
        np.add.at(sums, numbers, torch.stack(columns, 1).cpu().numpy())
    require(sums[:, 3].sum() > 0, "no token to mask: the sequences are empty, or too few and short for a rate of 15 %")
    return MaskedLMScores(sums)


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
    known = [[(m.start(), m.end()) for m in _WORD.finditer(text)] for text in texts]
    for tokenizer in tokenizers:
        encodings = tokenizer.encode_all(texts, max_length=max_length)
        known = [_known(*each, tokenizer.unk_id) for each in zip(encodings, texts, known, strict=True)]
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
) -> WordLoss:
    """The loss over `hidden_words`, from `choose_words` with this tokenizer among its own.

    Raises InputError where no word is hidden.
    """
    check_match(model, tokenizer)
    require(any(hidden_words), "no word to hide: give more or longer texts")
    encodings = tokenizer.encode_all(texts, max_length=max_length)
    sums = np.array([[0.0, len(spans), sum(end - start for start, end in spans)] for spans in hidden_words])
    lengths = {i: len(encodings[i].ids) for i, spans in enumerate(hidden_words) if spans}

    def batches() -> Iterator[EvaluationBatch]:
        for chosen in by_length(lengths, batch_size):
            batch = collate([encodings[i] for i in chosen], tokenizer.pad_id)
            pieces = [_pieces(encodings[i], texts[i], hidden_words[i]) for i in chosen]
            ids, width = batch.input_ids.flatten(), batch.input_ids.shape[1]
            positions = torch.tensor([i * width + piece for i, each in enumerate(pieces) for piece in each])
            masked = ids.index_fill(0, positions, tokenizer.mask_id).view_as(batch.input_ids)
            numbers = np.repeat(chosen, [len(each) for each in pieces])
            yield EvaluationBatch(masked, batch.attention_mask, positions, ids[positions], numbers)

    for numbers, _, _, losses in _predictions(model, batches()):
        np.add.at(sums[:, 0], numbers, losses.cpu().numpy())
    return WordLoss(sums)


def _known(encoding: Encoding, text: str, spans: Sequence[Span], unk_id: int) -> list[Span]:
    """The words that lie within the encoding and are spelt by known pieces only."""
    marks = bytearray(len(text))  # of each character: 0 in no piece, 1 in a known one, 2 in an unknown one
    reached = 0
    for piece, (start, end), special in zip(encoding.ids, encoding.offsets, encoding.special_tokens_mask, strict=True):
        # In some tokenizers the unknown token counts as special too.
        if piece == unk_id or not special:
            marks[start:end] = (b"\2" if piece == unk_id else b"\1") * (end - start)
            reached = max(reached, end)
    return [(a, b) for a, b in spans if b <= reached and 2 not in marks[a:b] and 1 in marks[a:b]]


def _pieces(encoding: Encoding, text: str, spans: tuple[Span, ...]) -> list[int]:
    """The positions in the encoding of these words' pieces."""
    marks = bytearray(len(text))
    for start, end in spans:
        marks[start:end] = b"\1" * (end - start)
    offsets = enumerate(zip(encoding.offsets, encoding.special_tokens_mask, strict=True))
    return [position for position, ((start, end), special) in offsets if not special and 1 in marks[start:end]]


def _draw(text: str, number: int) -> float:
    """A number in [0, 1) that depends on the text and `number`."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), key=number.to_bytes(8, "little", signed=True))
    return int.from_bytes(digest.digest()[:7], "little") * 2.0**-56
