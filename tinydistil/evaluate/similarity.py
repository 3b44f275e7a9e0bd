"""Sentence similarity without training: cosines of vectors beside human scores, and its two floors.

Shapes: N pairs, D size of a vector.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from tinydistil.base.errors import require
from tinydistil.evaluate.inference import check_match, embed
from tinydistil.evaluate.metrics import isotonic_mean_squared_error, pearson, scaled_mean_squared_error, spearman
from tinydistil.model.bert import BertModel
from tinydistil.model.sentence_folder import SentenceVectors
from tinydistil.tokenizer.tokenizer import Tokenizer

# Two vectors of any sentences: enough pairs that the mean cosine stands to about 0.002.
RANDOM_PAIRS = 10_000


@dataclass(frozen=True, slots=True)
class SimilarityScores:
    """What N predicted similarities are worth beside N gold ones.

    pearson, spearman: NaN where all predictions are equal. mse_linear, mse_isotonic: what is left of the gold scores'
    variance after the best line, and after the best rising function, each fitted to these pairs. anisotropy: the mean
    cosine of random pairs, near 1 where all vectors point one way; NaN for word overlap, which has no vectors. items
    (N, 2): gold and predicted, what an interval resamples.
    """

    pearson: float
    spearman: float
    mse_linear: float
    mse_isotonic: float
    anisotropy: float
    items: NDArray[np.float64]


def cosine_similarity(
    model: BertModel,
    tokenizer: Tokenizer,
    first: Sequence[str],
    second: Sequence[str],
    gold: ArrayLike,
    *,
    pooling: str | SentenceVectors = "mean",
    prefix: str = "",
) -> SimilarityScores:
    """Cosines of the pooled vectors of N pairs of sentences, against gold scores (N,); zero-shot.

    pooling: as in `embed`. `prefix` stands before every sentence, for encoders trained with one ("query: "). Sentences
    are cut to what the model takes.
    """
    pairs = _pairs(first, second, gold)
    check_match(model, tokenizer)
    texts = list(dict.fromkeys([*first, *second]))  # many sentences stand in several pairs
    found = embed(model, tokenizer, [prefix + text for text in texts], pooling=pooling, batch_size=64, truncate=True)
    vectors = np.array([each.vector for each in found], np.float64)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    units = dict(zip(texts, vectors, strict=True))
    cosines = [(units[one] * units[other]).sum() for one, other in pairs]
    return _scores(gold, cosines, anisotropy(vectors))


def words_in(text: str) -> list[str]:
    """The words of a text in their order, in lower case."""
    return re.findall(r"\w+", text.lower())


def words_of(text: str) -> set[str]:
    """The different words of a text, in lower case."""
    return set(words_in(text))


def jaccard(one: set[str], other: set[str]) -> float:
    """Shared words over all words of both; 0 where there are none."""
    return len(one & other) / max(len(one | other), 1)


def word_overlap(first: Sequence[str], second: Sequence[str], gold: ArrayLike) -> SimilarityScores:
    """The floor without a model: shared words over all words of a pair (Jaccard), in lower case."""
    overlaps = [jaccard(words_of(one), words_of(other)) for one, other in _pairs(first, second, gold)]
    return _scores(gold, overlaps, float("nan"))


def untrained_copy(model: BertModel, *, seed: int = 0) -> BertModel:
    """The other floor: a model of the same shape with random weights, which still sees which words are shared."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        copy = BertModel(model.config, pooler=model.pooler is not None, attention=model.attention).eval()
    return copy.to(next(model.parameters()).device)


def anisotropy(vectors: NDArray[np.float64]) -> float:
    """The mean cosine of random pairs of different unit vectors (N, D) (Ethayarajh 2019, 4.1); NaN for one vector."""
    if len(vectors) < 2:
        return float("nan")
    random = np.random.default_rng(0)
    one = random.integers(0, len(vectors), RANDOM_PAIRS)
    other = (one + random.integers(1, len(vectors), RANDOM_PAIRS)) % len(vectors)  # never itself
    return float((vectors[one] * vectors[other]).sum(1).mean())


def _pairs(first: Sequence[str], second: Sequence[str], gold: ArrayLike) -> Sequence[tuple[str, str]]:
    counts = len(first), len(second), len(np.asarray(gold))
    require(len(set(counts)) == 1, "first, second and gold must be equally many, got {}, {} and {}".format(*counts))
    require(len(first) >= 2, f"similarity needs at least 2 pairs, got {len(first)}")
    return list(zip(first, second, strict=True))


def _scores(gold: ArrayLike, predicted: Sequence[float], spread: float) -> SimilarityScores:
    both = np.array([gold, predicted], np.float64)
    return SimilarityScores(
        pearson(*both),
        spearman(*both),
        scaled_mean_squared_error(*both),
        isotonic_mean_squared_error(*both),
        spread,
        both.T.copy(),
    )
