"""What is drawn of a corpus: order, masks and lengths of batches, as pure functions of (seed, epoch, sequence id).

No generator has a state here: a mask depends on nothing but these three and the position of the token, so it is the
same for any number of workers and ranks, and after any restart. Shapes: B sequences, T tokens, R positions, G sequences
in a global batch.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, TypeVar

import numpy as np
from numpy.typing import NDArray

from tinydistil.base.config import LONGEST, Checked, Range, Share
from tinydistil.base.errors import InputError, require

if TYPE_CHECKING:  # --help reads this file
    from tinydistil.tokenizer.rules import WordStarts
    from tinydistil.tokenizer.tokenizer import Tokenizer

# The increment, odd, and the two multipliers of the finaliser.
STEP, FIRST, SECOND = (np.uint64(each) for each in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def splitmix64(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser: one changed bit of a value changes half of its result's."""
    values = (values ^ (values >> np.uint64(30))) * FIRST
    values = (values ^ (values >> np.uint64(27))) * SECOND
    return values ^ (values >> np.uint64(31))


Ids = NDArray[np.int64]
Tokens = NDArray[np.unsignedinteger]
_DAMAGED = "the shards are damaged: check them with scripts/prepare.py --verify, or prepare the corpus again"
_Number = TypeVar("_Number", bound=np.generic)


@dataclass(frozen=True)
class OrderConfig(Checked, table="order"):
    """Which sequences are read, and which of them together.

    sequences: of the corpus, spread evenly over it; 0 for all. shortest, longest: tokens of a sequence at least and at
    most, [CLS] and [SEP] included; others are left out, 0 for none. window: so many global batches are drawn at random
    and then dealt out by length, which spares padding; 1 deals at random.
    """

    sequences: Annotated[int, Range(0, 10**12)] = 0
    shortest: Annotated[int, Range(0, LONGEST)] = 0
    longest: Annotated[int, Range(0, LONGEST)] = 0
    window: Annotated[int, Range(1, 1_000_000)] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.longest == 0 or self.longest >= 3, f"order.longest must be 0 or >= 3, got {self.longest}")
        above = f"order.shortest must be <= order.longest ({self.longest}), got {self.shortest}"
        require(self.longest == 0 or self.shortest <= self.longest, above)


def candidates_of(count: int, lengths: NDArray[np.int64] | None, config: OrderConfig) -> Ids:
    """The numbers, ascending, of the sequences that are read of `count`; `lengths` of all, where these are limited."""
    candidates = np.arange(count)
    if config.longest or config.shortest:
        assert lengths is not None, "limits of lengths need lengths"
        candidates = np.flatnonzero((lengths >= config.shortest) & (lengths <= (config.longest or LONGEST)))
    if 0 < config.sequences < len(candidates):
        candidates = candidates[np.arange(config.sequences) * len(candidates) // config.sequences]
    return candidates


def epoch_order(
    candidates: Ids, lengths: NDArray[np.int64] | None, batch_size: int, window: int, *, seed: int, epoch: int
) -> Ids:
    """The numbers of an epoch's sequences in the order they are read, a whole number of batches of G = `batch_size`.

    candidates: the numbers to choose from; lengths: of all sequences, needed where `window` is above 1.
    """
    random = np.random.default_rng((seed, epoch))
    order: Ids = candidates[random.permutation(len(candidates))]
    order = order[: len(order) // batch_size * batch_size]
    if window > 1:
        assert lengths is not None, "a window needs lengths"
        for start in range(0, len(order), window * batch_size):
            part = order[start : start + window * batch_size]
            batches = part[np.argsort(lengths[part], kind="stable")].reshape(-1, batch_size)
            # Batches themselves at random, or every window would begin with its shortest.
            order[start : start + len(part)] = batches[random.permutation(len(batches))].reshape(-1)
    return order


def pad(arrays: Sequence[NDArray[_Number]], fill: int) -> NDArray[_Number]:
    """Arrays that differ in their first dimension as one (B, T, ...), padded on the right with `fill`.

    Arrays without dimensions are stacked: (B,).
    """
    if arrays[0].ndim == 0:
        return np.stack(arrays)
    padded = np.full((len(arrays), max(map(len, arrays)), *arrays[0].shape[1:]), fill, arrays[0].dtype)
    for target, array in zip(padded, arrays, strict=True):
        target[: len(array)] = array
    return padded


@dataclass(frozen=True, slots=True)
class Padded:
    """B sequences with special tokens, padded to the longest; all (B, T).

    ids; valid: False at padding; text: False at padding and special tokens; words: each token's word in its sequence,
    -1 where there is no text.
    """

    ids: NDArray[np.int64]
    valid: NDArray[np.bool_]
    text: NDArray[np.bool_]
    words: NDArray[np.int64]


def padded(
    tokenizer: "Tokenizer",
    sequences: Sequence[Tokens],
    words: "WordStarts | Sequence[Tokens]",
    prefix: Tokens | None = None,
) -> Padded:
    """Sequences of tokens. words: the pieces of each word (W,) of each, or how the spelling of tokens tells them.

    prefix: stands before each, and is no text.
    """
    first = 1 + (0 if prefix is None else len(prefix))
    if prefix is not None and first > 1:
        sequences = [np.concatenate([prefix, tokens]) for tokens in sequences]
    ids, valid, text = pad_with_special(tokenizer, sequences)
    text[:, 1:first] = False
    if callable(words):
        # A word that was cut at the sequence's start belongs to no word of it: -1.
        return Padded(ids, valid, text, np.where(text, np.cumsum(text & words(ids), 1) - 1, -1))
    index = np.full(ids.shape, -1, np.int64)
    for row, (tokens, pieces) in enumerate(zip(sequences, words, strict=True)):
        whole = int(pieces.sum()) == len(tokens) + 1 - first
        require(whole, f"a sequence's words do not add up to its tokens; {_DAMAGED}")
        index[row, first : len(tokens) + 1] = np.repeat(np.arange(len(pieces)), pieces)
    return Padded(ids, valid, text, index)


def pad_with_special(
    tokenizer: "Tokenizer", sequences: Sequence[NDArray[np.integer]]
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Ids between [CLS] and [SEP], padded to the longest; which are no padding, which are text: all (B, T).

    Raises InputError for ids beyond the tokenizer's vocabulary.
    """
    lengths = np.array([len(tokens) for tokens in sequences])[:, None]  # (B, 1)
    positions = np.arange(lengths.max() + 2)
    ids = np.full((len(sequences), len(positions)), tokenizer.pad_id, np.int64)
    ids[:, 0] = tokenizer.cls_id
    for row, tokens in enumerate(sequences):
        ids[row, 1 : len(tokens) + 1] = tokens
        ids[row, len(tokens) + 1] = tokenizer.sep_id
    # Beyond its vocabulary a model may still have embeddings (tables are filled up), of which nothing was ever learnt.
    most = int(ids.max())
    if most >= tokenizer.vocab_size:
        raise InputError(
            f"a sequence holds id {most}, the vocabulary that reads it ends at {tokenizer.vocab_size - 1}; {_DAMAGED}"
        )
    return ids, positions < lengths + 2, (positions > 0) & (positions <= lengths)


def by_length(lengths: Mapping[int, int], batch_size: int) -> Iterator[list[int]]:
    """The keys of `lengths` in batches of like length, the shortest first: little padding to compute."""
    order = sorted(lengths, key=lengths.__getitem__)
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


# Streams of random numbers that must not tell of each other.
_CHOICE, _ROUNDING, _FATE, _WORD, _SPAN, CUT, LABEL, PARTNER = range(8)


@dataclass(frozen=True)
class MaskConfig(Checked, table="mask"):
    """How tokens are chosen and what becomes of them (Devlin et al. 2019, 3.1 and appendix A.1).

    rate: share of the ordinary tokens chosen, 0 for none. Of these, `mask_share` become [MASK], `random_share` a random
    ordinary token, the rest stay. whole_words: choose words, all their pieces together. longest_span: choose stretches
    of 1 to so many neighbouring words, lengths being geometric with p = 0.2 (SpanBERT, Joshi et al. 2020, 3.1, which
    has 10). epochs: so many passes over the corpus have masks of their own, and then the first ones come again (1:
    static masks, as BERT's were); 0 for new masks each time (dynamic ones, as RoBERTa's, Liu et al. 2019, 4.1).
    final_rate: to which the rate goes in a straight line over the first `rate_epochs` passes (Ankner et al. 2024); 0
    where it stays.
    """

    rate: Annotated[float, Range(0, 1, without=(1,))] = 0.15
    mask_share: Share = 0.8
    random_share: Share = 0.1
    whole_words: bool = False
    longest_span: Annotated[int, Range(0, 1000)] = 0
    epochs: Annotated[int, Range(0, 1_000_000)] = 0
    final_rate: Annotated[float, Range(0, 1, without=(1,))] = 0.0
    rate_epochs: Annotated[float, Range(0, 1_000_000, without=(0,))] = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        # One token of a thousand is none in most sequences: what is meant is another unit, or 0.
        require(self.rate == 0 or self.rate >= 0.001, f"mask.rate must be 0 or >= 0.001, got {self.rate}")
        total = self.mask_share + self.random_share
        require(total <= 1 + 1e-9, f"mask.mask_share + mask.random_share must be <= 1, got {total}")
        both = f"mask.longest_span {self.longest_span} chooses whole words already; leave mask.whole_words out"
        require(not (self.longest_span and self.whole_words), both)
        end, first = self.final_rate, f"mask.rate goes to mask.final_rate {self.final_rate}"
        require(end == 0 or end >= 0.001, f"mask.final_rate must be 0 or >= 0.001, got {end}")
        require(end == 0 or self.rate > 0, f"{first}, but mask.rate is 0; give it where to begin")
        again = "so no masks come again, as mask.epochs and a teacher's cache ask; leave these or mask.final_rate out"
        require(end == 0 or self.epochs == 0, f"{first}, {again}")
        idle = f"mask.rate_epochs {self.rate_epochs} is how long mask.rate takes to mask.final_rate; give that too"
        require(end > 0 or self.rate_epochs == 1.0, idle)

    def rate_at(self, passes: float) -> float:
        """The rate once the corpus has been read `passes` times, where there is a final one."""
        return self.rate + (self.final_rate - self.rate) * min(passes / self.rate_epochs, 1.0)


@dataclass(frozen=True, slots=True)
class MaskedTokens:
    """input_ids (B, T) after masking; the chosen tokens' rows in B * T and their own ids, both (R,), in row order."""

    input_ids: NDArray[np.int64]
    rows: NDArray[np.int64]
    targets: NDArray[np.int64]


def mask_tokens(
    ids: NDArray[np.int64],
    ordinary: NDArray[np.bool_],
    sequence_ids: NDArray[np.int64],
    config: MaskConfig,
    *,
    mask_id: int,
    ordinary_ids: NDArray[np.int64],
    seed: int,
    epoch: int,
    word_index: NDArray[np.int64] | None = None,
    rate: float | None = None,
) -> MaskedTokens:
    """Choose and mask tokens of ids (B, T).

    ordinary (B, T): False at special tokens and padding, which are never chosen. sequence_ids (B,): each sequence's
    number in the corpus. ordinary_ids: the ids that a random token is drawn from. word_index (B, T): each token's
    word in its sequence, for whole words. rate: in place of that of `config`.

    Of n ordinary tokens, n * rate are chosen, rounded up or down at random so that the share is right on average for
    short sequences too; never more than one token more.
    """
    places = np.arange(ids.shape[1], dtype=np.uint64)
    key = mix(mix(np.uint64(seed), np.uint64(epoch)), sequence_ids.astype(np.uint64))[:, None]  # (B, 1)
    quota = ordinary.sum(1) * (config.rate if rate is None else rate) + uniform(key[:, 0], np.uint64(0), _ROUNDING)
    quota = np.floor(quota).astype(np.int64)  # (B,)
    if config.whole_words or config.longest_span:
        assert word_index is not None, "whole words need word_index"
        lengths = None
        if config.longest_span:
            lengths = span_lengths(uniform(key, places, _SPAN), config.longest_span)
        chosen = _choose_words(word_index, ordinary, uniform(key, places, _CHOICE), quota, lengths)
    else:
        order = np.where(ordinary, uniform(key, places, _CHOICE), 2.0).argsort(1, kind="stable")
        rank = np.empty_like(order)
        np.put_along_axis(rank, order, np.broadcast_to(np.arange(ids.shape[1]), ids.shape), 1)
        chosen = (rank < quota[:, None]) & ordinary
    fate = uniform(key, places, _FATE)
    replacements = ordinary_ids[(uniform(key, places, _WORD) * len(ordinary_ids)).astype(np.int64)]
    masked = np.where(chosen & (fate < config.mask_share), mask_id, ids)
    to_random = chosen & (fate >= config.mask_share) & (fate < config.mask_share + config.random_share)
    masked = np.where(to_random, replacements, masked)
    rows = np.flatnonzero(chosen)
    return MaskedTokens(masked, rows, ids.reshape(-1)[rows])


def span_lengths(draws: NDArray[np.float64], longest: int) -> NDArray[np.int64]:
    """Lengths in 1..longest from uniform `draws`, geometric with p = 0.2 and longer ones left out."""
    tail = 1 - 0.8**longest
    lengths: NDArray[np.int64] = 1 + np.floor(np.log1p(-draws * tail) / np.log(0.8)).astype(np.int64)
    return lengths.clip(1, longest)


def _choose_words(
    word_index: NDArray[np.int64],
    ordinary: NDArray[np.bool_],
    draws: NDArray[np.float64],
    quota: NDArray[np.int64],
    lengths: NDArray[np.int64] | None,
) -> NDArray[np.bool_]:
    """Whole words in random order, as long as their pieces fit the quota; one that does not is skipped.

    lengths (B, T): where words come in spans, that of the one which begins with the word of this token.
    """
    chosen = np.zeros_like(ordinary)
    for row in range(len(ordinary)):
        places = np.flatnonzero(ordinary[row])
        words, first, pieces = np.unique(word_index[row, places], return_index=True, return_counts=True)
        left, is_free = int(quota[row]), np.ones(len(words), bool)
        for start in np.argsort(draws[row, places[first]], kind="stable"):
            length = 1 if lengths is None else int(lengths[row, places[first[start]]])
            for word in range(start, min(start + length, len(words))):
                # A span ends before a word that is chosen already, that does not fit, or that is no neighbour.
                gap = words[word] - words[start] != word - start
                if gap or not is_free[word] or pieces[word] > left:
                    break
                left, is_free[word] = left - int(pieces[word]), False
                chosen[row, places[word_index[row, places] == words[word]]] = True
    return chosen


def uniform(key: NDArray[np.uint64], place: NDArray[np.uint64] | np.uint64, stream: int) -> NDArray[np.float64]:
    """A number in [0, 1) for each (key, place): the top 53 bits of their hash."""
    mixed = mix(mix(key, np.uint64(stream)), place)
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53


def mix(key: NDArray[np.uint64] | np.uint64, value: NDArray[np.uint64] | np.uint64) -> NDArray[np.uint64]:
    with np.errstate(over="ignore"):  # arithmetic modulo 2^64 is meant
        return splitmix64(np.asarray(key, np.uint64) * STEP + np.asarray(value, np.uint64) + STEP)
