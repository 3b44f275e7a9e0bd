"""The folder of a fine-tuning run: what it was begun with, by content, and whether it holds work worth keeping."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tinydistil.base.claim import Ownership, refuse_strangers
from tinydistil.base.config import to_mapping
from tinydistil.base.errors import require
from tinydistil.base.hub import fingerprint_of
from tinydistil.tasks.finetune_config import FineTuneConfig
from tinydistil.tasks.folder import TASK_FILE

RECORD = "run.json"
METRICS, CHECKPOINTS, GRID, FIGURES, SUMMARY, DETAILS = (
    "metrics.jsonl", "checkpoints", "grid.json", "figures.json", "summary.json", "details.json",
)  # fmt: skip
_OURS = re.compile(
    "|".join(map(re.escape, (METRICS, CHECKPOINTS, GRID, FIGURES, SUMMARY, DETAILS, TASK_FILE))) + r"|seed-\d+"
)
# Without one of these a run has not got anywhere: a refused or killed first step leaves no claim behind.
_WORK = (f"{CHECKPOINTS}/step-*", GRID, TASK_FILE, f"seed-*/{CHECKPOINTS}/step-*", f"seed-*/{TASK_FILE}")


def origin_of(
    chosen: Mapping[str, object],
    config: FineTuneConfig,
    *,
    folder: Path,
    labels: Sequence[str] = (),
    rows: Mapping[str, Sequence[object]] | None = None,
    teacher: Path | None = None,
) -> dict[str, object]:
    """What a run is bound to: options, and the content of rows, model and teacher, wherever the files lie.

    rows: by the option that names their file; without them, before they are read, content is left out.
    """
    origin: dict[str, object] = {**chosen, **to_mapping(config)}
    if rows is not None:
        origin["content"] = {
            "labels": list(labels),
            **{name: _fingerprint_of_rows(each) for name, each in rows.items()},
            "model": fingerprint_of(folder),
            "teacher": "" if teacher is None else fingerprint_of(teacher),
        }
    return origin


def check_output(output: Path, origin: Mapping[str, object], *, resume: bool) -> None:
    """Raise InputError where `output` is no place for a run of these options; content is compared where it is known."""
    _look(output, resume)
    if _holds_work(output):
        _ownership(output).check(output, origin)


@contextmanager
def claimed(output: Path, origin: Mapping[str, object], *, resume: bool) -> Iterator[None]:
    """Hold `output` for a run of this origin; nothing is written where it is refused."""

    def look() -> None:
        _look(output, resume)
        if not _holds_work(output):
            (output / RECORD).unlink(missing_ok=True)

    with _ownership(output).claim(output, origin, prepare=look):
        yield


def _look(output: Path, resume: bool) -> None:
    require(not output.exists() or output.is_dir(), f"output {str(output)!r} is a file; name a folder")
    require(
        resume or not _holds_work(output),
        f"output {str(output)!r} holds a run already; go on with --resume, or choose another folder",
    )
    refuse_strangers(output, _ownership(output).is_ours)


def _ownership(output: Path) -> Ownership:
    # The model's files go by names that others' models have too: they are ours beside what only we write.
    tuned = (output / TASK_FILE).is_file() or (output / CHECKPOINTS).is_dir()
    return Ownership(RECORD, lambda name: tuned or _OURS.fullmatch(name) is not None)


def _holds_work(output: Path) -> bool:
    return any(next(output.glob(pattern), None) is not None for pattern in _WORK)


def _fingerprint_of_rows(rows: Sequence[object]) -> str:
    """How many rows, and 16 hexadecimal digits of what they hold; nothing for none."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(f"{row!r}\n".encode("utf-8", "surrogatepass"))
    return f"{len(rows):,} rows, {digest.hexdigest()[:16]}" if rows else ""
