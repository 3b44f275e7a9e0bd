"""What a test set says of predictions: classes and numbers. Entities: `entities`; answers: `answers`.

Each function equals scikit-learn's or scipy's to rounding (tests hold them to 1e-12), degenerate inputs included.
Letters: N items, C classes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import isotonic_regression
from scipy.stats import rankdata

from tinydistil.base.config import nearest
from tinydistil.base.errors import InputError, require

AVERAGES = ("binary", "macro", "weighted", "micro")


@dataclass(frozen=True, slots=True)
class Scores:
    """Precision, recall and F1. Where one is 0 / 0 it counts as 0, as scikit-learn's `zero_division=0`."""

    precision: float
    recall: float
    f1: float


def accuracy(gold: ArrayLike, predicted: ArrayLike) -> float:
    """The share of N items whose class was predicted. Raises InputError for N = 0 or unequal lengths."""
    first, second = _paired(gold, predicted)
    return float(np.mean(first == second))


def confusion_matrix(gold: ArrayLike, predicted: ArrayLike, num_classes: int) -> NDArray[np.int64]:
    """How often class i was predicted as j: (C, C) counts of classes numbered 0 to C - 1."""
    first, second = _paired(gold, predicted)
    least, most = min(first.min(), second.min()), max(first.max(), second.max())
    require(least >= 0 and most < num_classes, f"classes must be in 0..{num_classes - 1}, got {least} to {most}")
    cells = np.bincount(first.astype(np.int64) * num_classes + second.astype(np.int64), minlength=num_classes**2)
    return cells.reshape(num_classes, num_classes)


def precision_recall_f1(gold: ArrayLike, predicted: ArrayLike, *, average: str = "macro", positive: int = 1) -> Scores:
    """Scores over classes 0, 1, ...

    average: "binary" of class `positive` alone; "macro" the mean over classes; "weighted" the mean by how often a
    class is in `gold`; "micro" over all decisions. A class counts if it is in `gold` or `predicted`.
    """
    if average not in AVERAGES:
        raise InputError(f"average {average!r} is unknown{nearest(average, AVERAGES)}")
    first, second = _paired(gold, predicted)
    classes = np.array([positive]) if average == "binary" else np.union1d(first, second)
    hits = np.array([np.sum((first == c) & (second == c)) for c in classes], np.float64)
    claimed = np.array([np.sum(second == c) for c in classes], np.float64)
    there = np.array([np.sum(first == c) for c in classes], np.float64)
    if average == "micro":
        hits, claimed, there = hits.sum(keepdims=True), claimed.sum(keepdims=True), there.sum(keepdims=True)
    parts = (ratio(hits, claimed), ratio(hits, there), ratio(2 * hits, claimed + there))
    weights = there / there.sum() if average == "weighted" else np.full(len(hits), 1 / len(hits))
    precision, recall, f1 = (float(part @ weights) for part in parts)
    return Scores(precision, recall, f1)


def scores_by_class(gold: ArrayLike, predicted: ArrayLike, num_classes: int) -> list[Scores]:
    """The scores of each class 0 to C - 1, whether it occurs or not; other numbers are of no class."""
    first, second = _paired(gold, predicted)
    return [precision_recall_f1(first == number, second == number, average="binary") for number in range(num_classes)]


def roc_auc(gold: ArrayLike, scores: ArrayLike) -> float:
    """The area under the ROC curve: how often an item of `gold` 1 has a higher score than one of 0, ties half.

    NaN where all are of one class.
    """
    first, second = _paired(gold, scores)
    positive, ranks = first.astype(bool), rankdata(second)
    ones, zeros = int(positive.sum()), int((~positive).sum())
    if not ones or not zeros:
        return math.nan
    return float((ranks[positive].sum() - ones * (ones + 1) / 2) / (ones * zeros))


def roc_auc_of_classes(gold: ArrayLike, probabilities: ArrayLike) -> float:
    """The mean over classes of each one's area against the others ("ovr", "macro"); probabilities (N, C).

    Of two classes it is the area of the second, which is that of the first. Classes that `gold` lacks do not count;
    NaN where none is left.
    """
    first, columns = np.asarray(gold), np.asarray(probabilities).T
    areas = [roc_auc(first == number, column) for number, column in enumerate(columns)]
    defined = [area for area in areas if not math.isnan(area)]
    return float(np.mean(defined)) if defined else math.nan


def ratio(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    """numerator / denominator, element by element, and 0 where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.zeros_like(numerator, np.float64), where=denominator != 0)


def pearson(gold: ArrayLike, predicted: ArrayLike) -> float:
    """Pearson's correlation. NaN where one side is constant: no line has a slope there.

    Raises InputError for fewer than two items.
    """
    first, second = _numbers(gold, predicted)
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return math.nan
    correlation = float(_direction(first) @ _direction(second))
    return max(-1.0, min(1.0, correlation))


def _direction(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The unit vector of the deviations from the mean."""
    deviations = values - values.mean()
    # The largest becomes 1 first: squares of numbers near 1e-160 would underflow.
    deviations = deviations / np.abs(deviations).max()
    return deviations / np.linalg.norm(deviations)  # type: ignore[no-any-return]


def spearman(gold: ArrayLike, predicted: ArrayLike) -> float:
    """Pearson's correlation of ranks, ties given their mean rank; NaN where one side is constant."""
    first, second = _numbers(gold, predicted)
    return pearson(rankdata(first), rankdata(second))


def mean_squared_error(gold: ArrayLike, predicted: ArrayLike) -> float:
    """The mean of (gold - predicted)^2 over N >= 1 items."""
    first, second = _paired(gold, predicted)
    return float(np.mean((first.astype(np.float64) - second.astype(np.float64)) ** 2))


def perplexity(loss: float) -> float:
    """exp(loss) of a mean loss in nats a token; infinite where that overflows."""
    return math.exp(loss) if loss < 709 else math.inf


def scaled_mean_squared_error(gold: ArrayLike, predicted: ArrayLike) -> float:
    """MSE after the best line a * predicted + b: what no choice of scale or origin can hide.

    Closed form: var(gold) * (1 - r^2); where `predicted` is constant the best line is flat, and this is var(gold).
    """
    first, second = _numbers(gold, predicted)
    correlation = pearson(first, second)
    return float(first.var() * (1 - (0.0 if math.isnan(correlation) else correlation**2)))


def isotonic_mean_squared_error(gold: ArrayLike, predicted: ArrayLike) -> float:
    """MSE after the best rising step function of `predicted`: what no rising scale, straight or not, can hide.

    The function is fitted to the very items it is judged by (pool adjacent violators, Barlow et al. 1972), so this is
    a lower bound. Where `predicted` is constant, or falls wherever `gold` rises, the best is flat: var(gold).
    """
    first, second = _numbers(gold, predicted)
    values, place, times = np.unique(second, return_inverse=True, return_counts=True)
    # A function gives equal predictions one value: their mean, weighted by how many they are.
    means = np.bincount(place, weights=first, minlength=len(values)) / times
    fitted = isotonic_regression(means, weights=times).x[place]
    return float(np.mean((first - fitted) ** 2))


def class_numbers(labels: Sequence[str], names: Sequence[str]) -> NDArray[np.int64]:
    """The number of each of N labels among the C `names`. Raises InputError for a label that is not there."""
    number = {name: i for i, name in enumerate(names)}
    for label in labels:
        if label not in number:
            raise InputError(f"label {label!r} is unknown{nearest(label, names)}")
    return np.array([number[label] for label in labels], np.int64)


def _paired(gold: ArrayLike, predicted: ArrayLike) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    first, second = np.asarray(gold), np.asarray(predicted)
    if first.ndim != 1 or first.shape != second.shape or len(first) == 0:
        raise InputError(
            f"gold and predicted must be two lists of equal length >= 1, got shapes {first.shape} and {second.shape}"
        )
    return first, second


def _numbers(gold: ArrayLike, predicted: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first, second = _paired(gold, predicted)
    require(len(first) >= 2, "a correlation needs at least 2 items, got 1")
    numbers = first.astype(np.float64), second.astype(np.float64)
    require(all(np.isfinite(side).all() for side in numbers), "gold and predicted must be finite numbers")
    return numbers
