"""Sentence similarity without training: cosines of vectors beside people's scores.

Letters: N pairs, D hidden size.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from tinydistil.base.errors import InputError, require
from tinydistil.evaluate.inference import check_match, embed
from tinydistil.evaluate.metrics import (
    isotonic_mean_squared_error,
    pearson,
    scaled_mean_squared_error,
    spearman,
)
from tinydistil.model.bert import BertModel
from tinydistil.tokenizer.tokenizer import Tokenizer

_WORD = re.compile(r"\w+")
# Two vectors of any sentences: enough pairs that the mean cosine stands to about 0.002.
RANDOM_PAIRS = 10_000


@dataclass(frozen=True, slots=True)
class SimilarityScores:
    """What N predicted similarities say of N gold ones.

    pearson, spearman: NaN where all predictions are equal. mse_linear, mse_isotonic: what is left of the gold scores'
    variance after the best line, and after the best rising function, each fitted to these pairs. anisotropy: the mean
    cosine of random pairs, near 1 where all vectors point one way; NaN for word overlap, which has no vectors. rows
    (N, 2): gold and predicted, what `intervals` resamples.
    """

    pearson: float
    spearman: float
    mse_linear: float
    mse_isotonic: float
    anisotropy: float
    rows: NDArray[np.float64]


def cosine_similarity(
    model: BertModel,
    tokenizer: Tokenizer,
    first: Sequence[str],
    second: Sequence[str],
    gold: ArrayLike,
    *,
    pooling: str = "mean",
    batch_size: int = 64,
    prefix: str = "",
) -> SimilarityScores:
    """Cosines of the pooled vectors of N pairs of sentences, against gold scores (N,); zero-shot.

    pooling: "mean", "max", "cls", or "pooler" where the model has one. `prefix` stands before every sentence, for
    encoders trained with one ("query: "). Sentences are cut to what the model takes.
    """
    _check_pairs(first, second, gold)
    check_match(model, tokenizer)
    texts = list(dict.fromkeys([*first, *second]))  # many sentences stand in several pairs
    found = embed(model, tokenizer, [prefix + text for text in texts], pooling=pooling, batch_size=batch_size,
                  truncate=True)  # fmt: skip
    vectors = np.array([each.vector for each in found], np.float64)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    place = {text: i for i, text in enumerate(texts)}
    left, right = (vectors[[place[text] for text in side]] for side in (first, second))  # (N, D)
    return _scores(gold, (left * right).sum(1), anisotropy(vectors))


def word_overlap(first: Sequence[str], second: Sequence[str], gold: ArrayLike) -> SimilarityScores:
    """The floor without a model: shared words over all words of a pair (Jaccard), in lower case."""
    _check_pairs(first, second, gold)
    shares = []
    for one, other in zip(first, second, strict=True):
        words, others = (set(_WORD.findall(text.lower())) for text in (one, other))
        shares.append(len(words & others) / max(len(words | others), 1))
    return _scores(gold, np.array(shares), float("nan"))


def untrained_copy(model: BertModel, *, seed: int = 0) -> BertModel:
    """The other floor: a model of the same shape with random weights, which still sees which words are shared."""
    before = torch.get_rng_state()
    torch.manual_seed(seed)
    copy = BertModel(model.config, pooler=model.pooler is not None, attention=model.attention).eval()
    torch.set_rng_state(before)
    return copy.to(next(model.parameters()).device)


def anisotropy(vectors: NDArray[np.float64], *, pairs: int = RANDOM_PAIRS, seed: int = 0) -> float:
    """The mean cosine of random pairs of different unit vectors (N, D) (Ethayarajh 2019, 4.1); NaN for one vector."""
    if len(vectors) < 2:
        return float("nan")
    random = np.random.default_rng(seed)
    one = random.integers(0, len(vectors), pairs)
    other = (one + random.integers(1, len(vectors), pairs)) % len(vectors)  # never itself
    return float((vectors[one] * vectors[other]).sum(1).mean())


def _scores(gold: ArrayLike, predicted: NDArray[np.float64], spread: float) -> SimilarityScores:
    gold = np.asarray(gold, np.float64)
    return SimilarityScores(
        pearson(gold, predicted),
        spearman(gold, predicted),
        scaled_mean_squared_error(gold, predicted),
        isotonic_mean_squared_error(gold, predicted),
        spread,
        np.column_stack([gold, predicted]),
    )


def _check_pairs(first: Sequence[str], second: Sequence[str], gold: ArrayLike) -> None:
    if not len(first) == len(second) == len(np.asarray(gold)):
        raise InputError(
            f"first, second and gold must be equally many, got {len(first)}, {len(second)} and {len(np.asarray(gold))}"
        )
    require(len(first) >= 2, f"similarity needs at least 2 pairs, got {len(first)}")
