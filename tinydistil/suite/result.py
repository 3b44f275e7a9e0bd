"""What a part of the suite found out about a model, as it lies on disk. Letters: N items, K what is known of each."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinydistil.errors import InputError
from tinydistil.evaluate.intervals import bootstrap_interval
from tinydistil.files import read_json, write_json

Rows = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Figure:
    """A number; where they are known, the bounds of its 95 % interval over test items, and its deviation over seeds."""

    value: float
    low: float | None = None
    high: float | None = None
    deviation: float | None = None


@dataclass(frozen=True, slots=True)
class PartResult:
    """The figures of one part for one model, the one that counts first; `protocol` says in a line how they came about.

    rows (N, K): the evidence of the figure that counts, for comparing two models on the same items; may be empty.
    """

    figures: Mapping[str, Figure]
    protocol: str
    rows: Rows

    def save(self, path: Path) -> None:
        """Write `path` (.json) and beside it the rows (.npy)."""
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path.with_suffix(".npy"), self.rows)
        figures = {name: asdict(figure) for name, figure in self.figures.items()}
        # The JSON file last: where it is there, the part is done.
        write_json(path, {"protocol": self.protocol, "figures": figures})

    @classmethod
    def load(cls, path: Path) -> "PartResult":
        """The result in `path`. Raises InputError where it is damaged."""
        values = read_json(path)
        try:
            figures = {name: Figure(**figure) for name, figure in values["figures"].items()}  # type: ignore[attr-defined]
            return cls(figures, str(values["protocol"]), np.load(path.with_suffix(".npy"), allow_pickle=False))
        except (KeyError, TypeError, AttributeError, ValueError, OSError) as error:
            raise InputError(f"result {str(path)!r} is damaged ({error}); remove it to measure again") from None


def with_interval(statistic: Callable[[Rows], float], rows: Rows) -> Figure:
    """The statistic of the rows with its bootstrap interval."""
    found = bootstrap_interval(statistic, rows)
    return Figure(found.value, found.low, found.high)
