"""The folder of a fine-tuning run: what it was begun with, whether it holds work, its figures and details."""

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tinydistil.base.errors import InputError, require
from tinydistil.base.files import Ownership, read_json, refuse_strangers
from tinydistil.tasks.folder import TASK_FILE

# More does not fit a terminal.
_WIDEST_MATRIX, _LONGEST_TABLE = 10, 40
RECORD = "run.json"
METRICS, CHECKPOINTS, GRID, FIGURES, SUMMARY, DETAILS, TRANSFER, SAMPLE = (
    "metrics.jsonl", "checkpoints", "grid.json", "figures.json", "summary.json", "details.json", "transfer",
    "transfer_sample.txt",
)  # fmt: skip
_OURS = re.compile(
    rf"(metrics\.jsonl|{CHECKPOINTS}|(grid|figures|summary|details|task)\.json|seed-\d+|{TRANSFER}|transfer_sample\.txt)"
)
# Without one of these a run has not got anywhere: a refused or killed first step leaves no claim behind.
_WORK = (f"{CHECKPOINTS}/step-*", GRID, TASK_FILE, f"seed-*/{CHECKPOINTS}/step-*", f"seed-*/{TASK_FILE}")


def check_output(output: Path, origin: Mapping[str, object], *, resume: bool) -> None:
    """Raise InputError where `output` is no place for a run of these options; content is compared where it is known."""
    owner = _owner_of(output, resume)
    if _holds_work(output):
        owner.check(output, origin)


def claimed(output: Path, origin: Mapping[str, object], *, resume: bool) -> AbstractContextManager[None]:
    """Hold `output` for a run of this origin; nothing is written where it is refused."""

    def prepare() -> None:
        _owner_of(output, resume)
        if not _holds_work(output):
            (output / RECORD).unlink(missing_ok=True)

    return _owner_of(output, resume).claim(output, origin, prepare=prepare)


def _owner_of(output: Path, resume: bool) -> Ownership:
    # The model's files go by names that others' models have too: they are ours beside what only we write.
    tuned = (output / TASK_FILE).is_file() or (output / CHECKPOINTS).is_dir()
    owner = Ownership(RECORD, lambda name: tuned or _OURS.fullmatch(name) is not None)
    require(not output.exists() or output.is_dir(), f"output {str(output)!r} is a file; name a folder")
    require(
        resume or not _holds_work(output),
        f"output {str(output)!r} holds a run already; go on with --resume, or choose another folder",
    )
    refuse_strangers(output, owner.is_ours)
    return owner


def _holds_work(output: Path) -> bool:
    return any(next(output.glob(pattern), None) is not None for pattern in _WORK)


def finite_or_none(values: object) -> object:
    """Nested figures for JSON, which knows no NaN or infinity: null stands for them."""
    if isinstance(values, Mapping):
        return {name: finite_or_none(each) for name, each in values.items()}
    if isinstance(values, list | tuple):
        return [finite_or_none(each) for each in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values


def read_figures(path: Path) -> dict[str, Any]:
    """The tables or lists of figures in a JSON file, null as NaN; nothing where it is absent or damaged."""

    def figure(value: Any) -> float:
        return math.nan if value is None else float(value)

    try:
        tables: dict[str, Any] = read_json(path)
        return {
            key: dict(zip(each, map(figure, each.values()), strict=True))
            if isinstance(each, dict)
            else [*map(figure, each)]
            for key, each in tables.items()
        }
    except (InputError, TypeError, ValueError):
        return {}


def shown_details(path: Path) -> list[str]:
    """A file of details as lines for a terminal; none where it is missing or damaged."""
    try:
        found: dict[str, Any] = read_json(path)
        return [f"{split:>5} {line}" for split, details in found.items() for line in detail_lines(details)]
    except (InputError, LookupError, TypeError, ValueError, AttributeError):
        return []


def detail_lines(details: Mapping[str, Any]) -> Iterator[str]:
    """A table of classes or types, and the matrix; of what is too long or too wide, the file has the rest."""
    for part, title in (("classes", "class"), ("types", "entity type")):
        table: dict[str, dict[str, float]] = details.get(part, {})
        often = sorted(table, key=lambda name: -table[name]["count"])[:_LONGEST_TABLE]
        if often:
            width = max(len(title), *(len(_printable(name)) for name in often))
            yield f"{title:<{width}}  precision  recall      f1    count"
        for name in (name for name in table if name in often):
            each = table[name]
            scores = f"{each['precision']:9.4f} {each['recall']:7.4f} {each['f1']:7.4f}"
            yield f"{_printable(name):<{width}}  {scores} {int(each['count']):8,}"
    if isinstance(auc := details.get("auc"), float):
        yield f"area under the ROC curve, mean over classes: {auc:.4f}"
    names = [_printable(name) for name in details.get("labels", [])]
    if 0 < len(names) <= _WIDEST_MATRIX:
        title, width = "gold below, predicted right", max(8, *map(len, names))
        left = max(width, len(title))
        yield f"{title:<{left}} " + " ".join(f"{name:>{width}}" for name in names)
        for name, counts in zip(names, details["confusion"], strict=True):
            yield f"{name:<{left}} " + " ".join(f"{count:>{width},}" for count in counts)


def _printable(name: str) -> str:
    return name if name.isprintable() else repr(name)
