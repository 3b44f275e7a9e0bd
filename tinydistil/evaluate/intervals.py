"""How sure a figure is: bootstrap intervals, and whether two models differ.

Both see a test set as rows (N, K), one an item (gold and predicted class, or counts of entities, or a score), and a
statistic that turns any choice of rows into a number. What is drawn depends on the seed alone.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinydistil.base.errors import require

Statistic = Callable[[NDArray[np.float64]], float]


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure over all items, and the bounds between which `level` of the resampled figures lie."""

    value: float
    low: float
    high: float


def bootstrap_interval(
    statistic: Statistic, rows: NDArray[np.float64], *, resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> Interval:
    """The percentile bootstrap (Efron & Tibshirani 1993, ch. 13): items drawn again with replacement.

    Draws where the statistic is NaN (a correlation of N equal items) are left out. A test set of one item has no
    spread to speak of: its bounds are its value.
    """
    require(len(rows) >= 1, "an interval needs at least one item, got none")
    require(resamples >= 1, f"resamples must be >= 1, got {resamples}")
    require(0 < level < 1, f"level must be in (0, 1), got {level}")
    value = statistic(rows)
    if len(rows) == 1:
        return Interval(value, value, value)
    random = np.random.default_rng(seed)
    drawn = np.array([statistic(rows[random.integers(0, len(rows), len(rows))]) for _ in range(resamples)])
    drawn = drawn[~np.isnan(drawn)]
    if len(drawn) == 0:
        return Interval(value, value, value)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high))


def paired_significance(
    statistic: Statistic,
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> float:
    """How often chance alone would part two models as far: approximate randomisation (Noreen 1989), two-sided.

    first, second (N, K): two models' rows for the same items, in the same order. Each item's rows change sides with
    probability 1/2; p = (1 + draws at least as far apart) / (1 + draws), never 0.
    """
    require(first.shape == second.shape and len(first) >= 1, "both models must have rows for the same items")
    require(resamples >= 1, f"resamples must be >= 1, got {resamples}")
    apart = abs(statistic(first) - statistic(second))
    random = np.random.default_rng(seed)
    as_far = 0
    for _ in range(resamples):
        change = (random.random(len(first)) < 0.5).reshape(-1, *[1] * (first.ndim - 1))
        ours, theirs = np.where(change, second, first), np.where(change, first, second)
        # The slack keeps differences that are equal on paper from falling apart by rounding.
        as_far += abs(statistic(ours) - statistic(theirs)) >= apart - 1e-12
    return (1 + as_far) / (1 + resamples)
