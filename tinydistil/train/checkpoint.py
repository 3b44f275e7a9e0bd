"""Checkpoints: no pickle, whole or absent, with a hash of every file.

checkpoints/step-00001200/
    learner.safetensors     student and projection
    optimizer.safetensors   AdamW's moments, by parameter name
    state.json              where the run stands, and "score", the validation loss of these very weights
    hashes.json             SHA-256 of the three others
"""

import math
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from tinydistil.base.config import INT64, NonNegative, Range, Whole, from_mapping
from tinydistil.base.errors import InputError, require
from tinydistil.base.files import read_json, readable, sha256_of, sync, write_json
from tinydistil.distill.step import StepResult


@dataclass
class LoopState:
    """Where a run stands.

    steps: taken; cursor: global batches drawn, one more for each step that was not taken: bad_steps of them for a
    number that was not finite, overflows for a float16 scale that was too high. best_step: that of best_loss.
    validated_at: the step that validation_loss is of.
    """

    steps: Whole = 0
    cursor: Whole = 0
    bad_in_a_row: Whole = 0
    bad_steps: Whole = 0
    overflows: Whole = 0
    tokens: Annotated[int, Range(0, INT64)] = 0
    seconds: NonNegative = 0.0
    best_loss: float | None = None
    best_step: Whole = 0
    validations_since_best: Whole = 0
    validation_loss: float | None = None
    validated_at: Whole = 0
    stopped_early: bool = False


def state_from(saved: Mapping[str, object]) -> LoopState:
    """The state that a checkpoint holds. Raises InputError for a number of another type or out of range."""
    require({"steps", "cursor"} <= saved.keys(), "state.json lacks steps or cursor")
    known = {field.name for field in fields(LoopState)} & saved.keys()
    loss = saved.get("validation_loss")
    diverged = isinstance(loss, float) and not math.isfinite(loss)  # which no option may be, but a loss may
    values = {name: saved[name] for name in known if not (diverged and name == "validation_loss")}
    state = from_mapping(LoopState, values, where="state.json: ")
    drawn = state.steps + state.bad_steps + state.overflows
    require(state.cursor == drawn, f"state.json: cursor {state.cursor} is not the {drawn} batches of its steps")
    if isinstance(loss, float) and diverged:
        state.validation_loss = loss
    return state


@dataclass
class Window:
    """Sums over the steps since the last line. A checkpoint keeps them, so that a resumed run writes the same line."""

    steps: int = 0
    gradient_norm: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=dict)

    def add(self, result: StepResult) -> None:
        """Count a step that was taken."""
        self.steps += 1
        self.gradient_norm += result.gradient_norm
        for name, count in result.counts.items():
            self.counts[name] = self.counts.get(name, 0.0) + count
            self.sums[name] = self.sums.get(name, 0.0) + result.sums[name]

    def means(self) -> dict[str, float]:
        """Each term's mean over all that was counted, and the gradient norm's over steps."""
        terms = {name: self.sums[name] / max(count, 1.0) for name, count in self.counts.items()}
        return {**terms, "gradient_norm": self.gradient_norm / max(self.steps, 1)}


def restored(values: object) -> Window:
    """The window whose `dataclasses.asdict` is `values`, an empty one where a checkpoint has none.

    Raises InputError for anything else.
    """
    if values is None:
        return Window()
    try:
        window = Window(**values)  # type: ignore[arg-type]
        numbers = [window.steps, window.gradient_norm, *window.sums.values(), *window.counts.values()]
        sound = window.sums.keys() == window.counts.keys() and all(type(each) in (int, float) for each in numbers)
    except (TypeError, AttributeError):
        sound = False
    require(sound, "state.json: window is not what was saved")
    return window


_FILES = ("learner.safetensors", "optimizer.safetensors", "state.json")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint that was found whole: its tensors by name, and its state."""

    folder: Path
    learner: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    state: dict[str, object]


class CheckpointStore:
    """The checkpoints of one run. Keeps the last `keep_last` and the one of the lowest score."""

    def __init__(self, folder: Path, *, keep_last: int, say: Callable[[str], None]) -> None:
        self.folder, self.keep_last, self.say = folder, keep_last, say

    def save(
        self,
        step: int,
        learner: Mapping[str, Tensor],
        optimizer: Mapping[str, Tensor],
        state: Mapping[str, object],
        *,
        score: float | None,
    ) -> Path:
        """Write a checkpoint: first under a temporary name, synced to disk, then renamed.

        score: None where these weights were not validated. A failure (a full disk, say) raises InputError and leaves
        the older checkpoints as they were.
        """
        target, partial = self.folder / f"step-{step:08d}", self.folder / f".partial-{os.getpid()}"
        # What a killed run left half-written. Only one process writes to a run's folder.
        for left in self.folder.glob(".partial-*"):
            shutil.rmtree(left, ignore_errors=True)
        try:
            partial.mkdir(parents=True)
            for file, tensors in zip(_FILES, (learner, optimizer), strict=False):
                plain = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
                with readable(partial / file):
                    save_file(plain, partial / file)
            write_json(partial / "state.json", {**state, "score": score})
            write_json(partial / "hashes.json", {file: sha256_of(partial / file) for file in _FILES})
            # Without it a power cut may keep the rename and lose the bytes.
            for path in partial.iterdir():
                sync(path)
            # A run that goes on from before comes by here again; rename replaces no folder that holds something.
            shutil.rmtree(target, ignore_errors=True)
            partial.replace(target)
            sync(self.folder)
        except (OSError, SafetensorError) as error:
            # On a full disk this room is what the user needs first.
            shutil.rmtree(partial, ignore_errors=True)
            raise InputError(
                f"cannot write checkpoint {str(target)!r}: {error}; free some space, then run the same command again; "
                "distill.py, pretrain.py and finetune.py with --resume auto"
            ) from None
        folders = self._folders()
        best = min(folders, key=_score)
        for folder in folders[: -self.keep_last]:
            # Where nothing was validated there is no best, and the oldest is no better than others.
            if folder != best or _score(folder) == math.inf:
                shutil.rmtree(folder, ignore_errors=True)
        return target

    def latest(self) -> Checkpoint | None:
        """The newest whole checkpoint, None where there is none; damaged ones are skipped with a warning."""
        return self._first_whole(reversed(self._folders()))

    def best(self) -> Checkpoint | None:
        """The whole checkpoint of the lowest validation loss, the newest of equals."""
        return self._first_whole(sorted(reversed(self._folders()), key=_score))

    def load(self, folder: Path) -> Checkpoint:
        """The checkpoint in `folder`. Raises InputError naming the file that is missing or damaged."""
        hashes = read_json(folder / "hashes.json")
        for file in _FILES:
            if not (folder / file).is_file() or sha256_of(folder / file) != hashes.get(file):
                raise InputError(f"checkpoint {str(folder)!r}: {file} is missing or damaged")
        try:
            learner, optimizer = (load_file(folder / file) for file in _FILES[:2])
        except SafetensorError as error:
            raise InputError(f"checkpoint {str(folder)!r}: {error}") from None
        return Checkpoint(folder, learner, optimizer, read_json(folder / "state.json"))

    def _first_whole(self, folders: Iterable[Path]) -> Checkpoint | None:
        for folder in folders:
            try:
                return self.load(folder)
            except InputError as error:
                self.say(f"passed over: {error}")
        return None

    def _folders(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("step-*") if path.is_dir())


def _score(folder: Path) -> float:
    """The validation loss that a checkpoint was saved with; infinite where there is none."""
    try:
        score = read_json(folder / "state.json").get("score")
    except (OSError, InputError):
        return math.inf
    return float(score) if isinstance(score, int | float) and math.isfinite(score) else math.inf
