"""What a part of the suite found out about a model, as it lies on disk. Letters: N items, K what is known of each."""

import hashlib
import io
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinydistil.base.errors import InputError, require
from tinydistil.base.files import read_json, write_atomic, write_json
from tinydistil.evaluate.intervals import bootstrap_interval

Rows = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Figure:
    """A number; where they are known, the bounds of its 95 % interval over test items, and its deviation over seeds."""

    value: float
    low: float | None = None
    high: float | None = None
    deviation: float | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            known = isinstance(value, int | float) and not isinstance(value, bool)
            require(known or (value is None and name != "value"), f"{name} is no number: {str(value)[:40]!r}")


@dataclass(frozen=True, slots=True)
class PartResult:
    """The figures of one part for one model, the one that counts first; `protocol` says in a line how they came about.

    rows (N, K): the evidence of the figure that counts, for comparing two models on the same items; may be empty.
    """

    figures: Mapping[str, Figure]
    protocol: str
    rows: Rows

    def save(self, path: Path, origin: Mapping[str, object]) -> None:
        """Write `path` (.json) and beside it the rows (.npy). origin: what the figures depend on."""
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = io.BytesIO()
        np.save(rows, self.rows)
        write_atomic(path.with_suffix(".npy"), rows.getvalue())
        figures = {name: asdict(figure) for name, figure in self.figures.items()}
        # The JSON file last: where it holds figures, the part is done.
        write_json(
            path, {"origin": origin, "protocol": self.protocol, "figures": figures, "rows": _hash(rows.getvalue())}
        )


def begin(path: Path, origin: Mapping[str, object]) -> None:
    """Write into `path` that a part is being measured, so that what lies beside it is known to be of this origin."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"origin": origin})


def load(path: Path) -> tuple[Mapping[str, object], PartResult | None]:
    """The origin in `path`, and the result, None where the part was only begun. Raises InputError for damaged files."""
    values = read_json(path)
    origin, figures, protocol = (values.get(name) for name in ("origin", "figures", "protocol"))
    if origin is None and isinstance(figures, dict):
        origin = {}  # as an earlier version wrote it
    if not isinstance(origin, dict):
        raise InputError("it has no origin")
    if "figures" not in values:
        return origin, None
    try:
        data = path.with_suffix(".npy").read_bytes()
        require(not origin or _hash(data) == values.get("rows"), f"{path.with_suffix('.npy').name} is another's")
        if not isinstance(figures, dict) or not figures or not isinstance(protocol, str):
            raise InputError("figures or protocol are missing")
        found = {str(name): Figure(**figure) for name, figure in figures.items()}
        return origin, PartResult(found, protocol, np.load(io.BytesIO(data), allow_pickle=False))
    except (TypeError, ValueError, OSError, EOFError) as error:
        raise InputError(str(error)) from None


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def with_interval(statistic: Callable[[Rows], float], rows: Rows) -> Figure:
    """The statistic of the rows with its bootstrap interval."""
    found = bootstrap_interval(statistic, rows)
    return Figure(found.value, found.low, found.high)
