"""Numbers of a recipe that may change over a run: weights and the temperature."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

from tinydistil.base.config import Checked, OneOf
from tinydistil.base.errors import require

SHAPES = ("linear", "cosine", "points")


@dataclass(frozen=True)
class Schedule(Checked, table="schedule"):
    """A number by the share of a run's steps that are done: {shape = "cosine", start = 4.0, end = 1.0}.

    linear, cosine: from `start` to `end`. points: straight lines through (share, value), shares rising within [0, 1];
    the first and the last value hold before and after. What is constant is written as a plain number.
    """

    shape: Annotated[str, OneOf(SHAPES)] = "linear"
    start: float = 0.0
    end: float = 0.0
    points: tuple[tuple[float, ...], ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        pairs = self.points if all(len(each) == 2 for each in self.points) else ()
        shares = [each[0] for each in pairs]
        rising = all(a < b for a, b in pairwise(shares)) and all(0 <= a <= 1 for a in shares)
        require(
            (self.shape == "points") == bool(self.points) and (not self.points or (bool(pairs) and rising)),
            "schedule.points are pairs [share, value] with shares rising from 0 to 1, for the shape 'points' alone, "
            f"got {self.points} for {self.shape!r}",
        )

    @property
    def values(self) -> tuple[float, ...]:
        """The values between which it stays."""
        return tuple(each[1] for each in self.points) or (self.start, self.end)

    def at(self, progress: float) -> float:
        """The value once the share `progress` of the steps is done."""
        if self.shape == "points":
            before = [each for each in self.points if each[0] <= progress] or [self.points[0]]
            after = [each for each in self.points if each[0] > progress] or [self.points[-1]]
            (x, low), (y, high) = before[-1], after[0]
            return low if x >= y else low + (high - low) * (progress - x) / (y - x)
        passed = min(max(progress, 0.0), 1.0)
        share = (1 - math.cos(math.pi * passed)) / 2 if self.shape == "cosine" else passed
        return self.start + (self.end - self.start) * share


def values_of(number: float | Schedule) -> tuple[float, ...]:
    """What the number can be."""
    return number.values if isinstance(number, Schedule) else (number,)


def written(number: float | Schedule) -> str:
    """For a person: 2, or 4 to 1."""
    return " to ".join(f"{each:g}" for each in values_of(number))
