"""Metrics of a test set: classes, numbers, entities, and answers to questions.

Each equals scikit-learn's, scipy's or seqeval's to rounding (tests hold them to 1e-12), degenerate inputs included.
Shapes: N items, C classes.
"""

import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import isotonic_regression
from scipy.stats import pearsonr, rankdata, spearmanr

from tinydistil.base.errors import require
from tinydistil.tasks.tagged import entity_starts

_ARTICLES = frozenset("o a os as um uma uns umas".split())


@dataclass(frozen=True, slots=True)
class Scores:
    """Precision, recall and F1. Where one is 0 / 0 it counts as 0, as scikit-learn's `zero_division=0`."""

    precision: float
    recall: float
    f1: float

    @classmethod
    def of(cls, correct: float, predicted: float, gold: float) -> "Scores":
        """The scores of so many correct among those predicted and those in gold."""
        ratios = ((correct, predicted), (correct, gold), (2 * correct, predicted + gold))
        return cls(*(float(part / whole) if whole else 0.0 for part, whole in ratios))


def accuracy(gold: ArrayLike, predicted: ArrayLike) -> float:
    """The share of N items whose class was predicted. Raises InputError for N = 0 or unequal lengths."""
    return float(np.mean(np.equal(*_paired(gold, predicted))))


def confusion_matrix(gold: ArrayLike, predicted: ArrayLike, num_classes: int) -> NDArray[np.int64]:
    """How often class i was predicted as j: (C, C) counts of classes numbered 0 to C - 1."""
    pairs = np.stack(_paired(gold, predicted)).astype(np.int64)  # (2, N)
    known = pairs.min() >= 0 and pairs.max() < num_classes
    require(known, f"classes must be in 0..{num_classes - 1}, got {pairs.min()} to {pairs.max()}")
    counts = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(counts, tuple(pairs), 1)
    return counts


def precision_recall_f1(gold: ArrayLike, predicted: ArrayLike, *, average: Literal["macro", "weighted"]) -> Scores:
    """The mean of the scores of all classes in `gold` or `predicted`; "weighted" by how often each is in `gold`."""
    first, second = _paired(gold, predicted)
    classes = np.union1d(first, second).tolist()
    weights = [np.sum(first == each) if average == "weighted" else 1 for each in classes]
    scores = [astuple(each) for each in scores_by_class(first, second, classes)]
    return Scores(*map(float, np.average(scores, axis=0, weights=weights)))


def scores_by_class(gold: ArrayLike, predicted: ArrayLike, classes: Iterable[float]) -> list[Scores]:
    """The scores of each of `classes`, whether it occurs or not."""
    first, second = _paired(gold, predicted)
    sides = [(first == number, second == number) for number in classes]
    return [Scores.of(np.sum(true & found), found.sum(), true.sum()) for true, found in sides]


def roc_auc(gold: ArrayLike, scores: ArrayLike) -> float:
    """The area under the ROC curve: how often an item of `gold` 1 has a higher score than one of 0, ties half.

    NaN where all are of one class.
    """
    first, second = _paired(gold, scores)
    positive, ones = first.astype(bool), np.count_nonzero(first)
    if ones in (0, len(first)):
        return math.nan
    return float((rankdata(second)[positive].sum() - ones * (ones + 1) / 2) / (ones * (len(first) - ones)))


def roc_auc_of_classes(gold: ArrayLike, probabilities: ArrayLike) -> float:
    """The mean over the classes in `gold` of each one's area against the others ("ovr", "macro"), NaN for one class.

    probabilities (N, C); of two classes both areas are the same.
    """
    columns = enumerate(np.asarray(probabilities).T)
    areas = [roc_auc(np.equal(gold, number), column) for number, column in columns]
    defined = [area for area in areas if not math.isnan(area)]
    return float(np.mean(defined)) if defined else math.nan


def pearson(gold: ArrayLike, predicted: ArrayLike) -> float:
    """Pearson's correlation; NaN where one side is constant. Raises InputError for fewer than two items."""
    first, second = _numbers(gold, predicted)
    return float(pearsonr(first, second).statistic) if np.ptp(first) and np.ptp(second) else math.nan


def spearman(gold: ArrayLike, predicted: ArrayLike) -> float:
    """Pearson's correlation of ranks, ties given their mean rank; NaN where one side is constant."""
    first, second = _numbers(gold, predicted)
    return float(spearmanr(first, second).statistic) if np.ptp(first) and np.ptp(second) else math.nan


def mean_squared_error(gold: ArrayLike, predicted: ArrayLike) -> float:
    """The mean of (gold - predicted)^2 over N >= 1 items."""
    first, second = (side.astype(np.float64) for side in _paired(gold, predicted))
    return float(np.mean((first - second) ** 2))


def scaled_mean_squared_error(gold: ArrayLike, predicted: ArrayLike) -> float:
    """MSE after the best line a * predicted + b, var(gold) * (1 - r^2): what no choice of scale or origin can hide."""
    first, second = _numbers(gold, predicted)
    correlation = pearson(first, second)
    return float(first.var() * (1 - (0.0 if math.isnan(correlation) else correlation**2)))


def isotonic_mean_squared_error(gold: ArrayLike, predicted: ArrayLike) -> float:
    """MSE after the best rising step function of `predicted`: what no rising scale, straight or not, can hide.

    Fitted to the very items it is judged by (pool adjacent violators, Barlow et al. 1972), so this is a lower bound.
    """
    first, second = _numbers(gold, predicted)
    values, index, counts = np.unique(second, return_inverse=True, return_counts=True)
    # A function gives equal predictions one value: their mean, weighted by how many they are.
    means = np.bincount(index, weights=first, minlength=len(values)) / counts
    fitted = isotonic_regression(means, weights=counts).x[index]
    return float(np.mean((first - fitted) ** 2))


@dataclass(frozen=True, slots=True)
class Entity:
    """An entity of type `kind` over the tokens `first` to `last`, both included."""

    kind: str
    first: int
    last: int


def entities_of(tags: Sequence[str]) -> list[Entity]:
    """The entities of one sentence, as conlleval counts them (Tjong Kim Sang & De Meulder 2003).

    Tags are IOB2, or others that `tasks.tagged` knows. An "I-" after "O" or after another type begins an entity.
    """
    found: list[Entity] = []
    for position, (kind, begins) in enumerate(entity_starts(tags)):
        if begins:
            found.append(Entity(kind, position, position))
        elif kind:
            found[-1] = replace(found[-1], last=position)
    return found


def count_entities(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> NDArray[np.int64]:
    """For each of N sentences, the entities that are correct, predicted, and in gold: (N, 3).

    An entity is correct if its type and both ends are. Raises InputError where lengths differ.
    """
    same = len(gold) == len(predicted)
    require(same, f"gold and predicted must be as many sentences, got {len(gold)} and {len(predicted)}")
    counts = np.zeros((len(gold), 3), np.int64)
    for number, (first, second) in enumerate(zip(gold, predicted, strict=True)):
        same = len(first) == len(second)
        require(same, f"sentence {number + 1} has {len(first)} gold tags and {len(second)} predicted ones")
        true, found = set(entities_of(first)), set(entities_of(second))
        counts[number] = len(true & found), len(found), len(true)
    return counts


def scores_of(counts: NDArray[np.int64] | NDArray[np.float64]) -> Scores:
    """Precision, recall and F1 (conlleval's headline figure) over all entities of `counts` (N, 3)."""
    return Scores.of(*counts.sum(0).tolist())


def entity_scores_by_type(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> dict[str, Scores]:
    """The scores of each type that is in `gold` or `predicted`, by name, sorted."""
    true, found = (
        {(i, each) for i, tags in enumerate(side) for each in entities_of(tags)} for side in (gold, predicted)
    )
    correct, claimed, there = (Counter(entity.kind for _, entity in each) for each in (true & found, found, true))
    return {kind: Scores.of(correct[kind], claimed[kind], there[kind]) for kind in sorted(claimed | there)}


def normalise(answer: str) -> str:
    """Composed (NFC) lower case, no punctuation (Unicode's, so « and “ too), no articles, single spaces.

    As SQuAD compares answers (Rajpurkar et al. 2016, 6.1), with the Portuguese articles.
    """
    composed = unicodedata.normalize("NFC", answer.lower())
    kept = "".join(c for c in composed if not unicodedata.category(c).startswith("P"))
    return " ".join(word for word in kept.split() if word not in _ARTICLES)


def exact_match(answer: str, accepted: Sequence[str]) -> float:
    """1.0 where `answer` equals one of the accepted answers after normalising, else 0.0."""
    return float(any(normalise(answer) == normalise(other) for other in accepted))


def word_f1(answer: str, accepted: Sequence[str]) -> float:
    """The best F1 of words shared with an accepted answer; two answers without a word agree (1.0)."""
    words, others = Counter(normalise(answer).split()), [Counter(normalise(each).split()) for each in accepted]
    scores = [Scores.of((words & other).total(), words.total(), other.total()).f1 for other in others]
    return max([*scores, float(any(not words and not other for other in others))])


def _paired(gold: ArrayLike, predicted: ArrayLike) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    first, second = np.asarray(gold), np.asarray(predicted)
    require(
        first.ndim == 1 and first.shape == second.shape and len(first) > 0,
        f"gold and predicted must be two lists of equal length >= 1, got shapes {first.shape} and {second.shape}",
    )
    return first, second


def _numbers(gold: ArrayLike, predicted: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first, second = _paired(gold, predicted)
    require(len(first) >= 2, "a correlation needs at least 2 items, got 1")
    numbers = first.astype(np.float64), second.astype(np.float64)
    require(all(np.isfinite(side).all() for side in numbers), "gold and predicted must be finite numbers")
    return numbers
