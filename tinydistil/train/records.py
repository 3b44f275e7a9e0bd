"""What a run leaves behind while it goes: metrics.jsonl, a line or a bar for the person who watches, checkpoints.

checkpoints/step-00001200/
    learner.safetensors     student and projection
    optimizer.safetensors   AdamW's moments, by parameter name
    state.json              where the run stands, and "score", the validation loss of these very weights
    hashes.json             SHA-256 of the three others; no pickle, whole or absent
"""

import json
import math
import os
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from tinydistil.base.config import INT64, NonNegative, Range, Whole, from_mapping
from tinydistil.base.console import LANGUAGE, duration, figure, perplexity
from tinydistil.base.errors import InputError, require
from tinydistil.base.files import read_json, readable, sha256_of, sync, write_json, write_text

# What a figure of a step is called on the terminal, the room for its number, its unit; others go by their own names.
_SHOWN = {
    **{name: (called, 8, " nats") for name, called in LANGUAGE.items()},
    "soft": ("soft", 8, " nats"),
    "gradient_norm": ("gradient", 9, ""),
    "learning_rate": ("rate", 11, ""),
    "tokens_per_second": ("", 9, " tokens/s"),
}
_FILES = ("learner.safetensors", "optimizer.safetensors", "state.json")


class Records:
    """Writes the metrics of rank 0; without a `path`, as on other ranks, it is silent.

    events: a folder in which TensorBoard finds the same figures. label: what the lines on the terminal begin with.
    still_to_come: work of the same command after this run, as a multiple of it, for the time left.
    """

    def __init__(
        self, path: Path | None, *, events: Path | None = None, label: str = "", still_to_come: float = 0.0
    ) -> None:
        self._path, self._label, self._still_to_come = path, f"{label}: " if label else "", still_to_come
        self._bar: tqdm[object] | None = None
        self._events, self._whole_s = None, 0.0
        if path is not None and events is not None:
            from torch.utils.tensorboard import SummaryWriter  # an optional extra, and slow to import

            self._events = SummaryWriter(events)

    def begin(self, first_step: int) -> None:
        """A run goes on from `first_step`, -1 for a new one: drop lines of later steps, show a bar on a terminal."""
        if self._path is None:
            return
        if self._path.is_file():
            kept = ""
            for line in self._path.read_text(encoding="utf-8", errors="replace").splitlines():
                # A killed run may have written further than its last checkpoint, and half a line, or zeros.
                with suppress(ValueError, KeyError, TypeError):
                    kept += f"{line}\n" if json.loads(line)["step"] <= first_step else ""
            write_text(self._path, kept)
        if sys.stderr.isatty():
            self._bar = tqdm(
                desc=self._label.removesuffix(": ") or None,
                initial=max(first_step, 0),
                file=sys.stderr,
                # without tqdm's own time left, which knows of this run alone
                bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} steps  {elapsed} gone, {postfix}",
            )

    def write(self, values: Mapping[str, object]) -> None:
        """Append one line of metrics."""
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(values) + "\n")
        if self._events is not None:
            for name, value in values.items():
                if name != "step" and isinstance(value, int | float):
                    self._events.add_scalar(name, value, values["step"])

    def step_done(self, steps: int, total_steps: int, left_s: float, shown: Mapping[str, float] | None) -> None:
        """One step more; `shown` are figures for the person, on the steps that are logged."""
        if self._path is None:
            return
        if steps < total_steps:
            self._whole_s = left_s * total_steps / (total_steps - steps)
        left = f"{duration(left_s + self._still_to_come * self._whole_s)} left"
        if self._bar is not None:
            self._bar.total = total_steps  # in minutes or tokens planned anew as the pace becomes known
            self._bar.update(steps - self._bar.n)
            if shown is not None:
                self._bar.set_postfix_str("  ".join([left, *figures_of(shown)]))
        elif shown is not None:
            total = f"{total_steps:,}"
            self.say("  ".join([f"step {steps:>{len(total)},} of {total}", *figures_of(shown), left]))

    def say(self, message: str) -> None:
        """A sentence for the person, above the bar."""
        if self._path is not None:
            tqdm.write(f"{self._label}{message}", file=sys.stderr)
            sys.stderr.flush()

    def close(self) -> None:
        """Leave the terminal tidy."""
        for each in (self._bar, self._events):
            if each is not None:
                each.close()


def figures_of(shown: Mapping[str, float]) -> list[str]:
    """The figures of a step as columns: name, right-aligned value, unit; perplexity behind nats per token."""
    columns = []
    for key, value in shown.items():
        name, width, unit = _SHOWN.get(key, (key, 8, ""))
        columns.append(f"{name} {figure(value):>{width}}{unit}".removeprefix(" "))
        if key in LANGUAGE:
            columns[-1] += f" (perplexity {perplexity(value):>9})"
    return columns


class Pace:
    """How long the rest of a run takes: steps at their pace, and what interrupts them (validations, saves) apart."""

    def __init__(self) -> None:
        self._began, self._steps, self._asides = time.monotonic(), 0, defaultdict[str, list[float]](list)

    @contextmanager
    def aside(self, kind: str) -> Iterator[None]:
        """Time what is no step."""
        began = time.monotonic()
        yield
        self._asides[kind].append(time.monotonic() - began)

    def left_s(self, steps: int, asides: Mapping[str, int]) -> float:
        """Seconds for so many steps and asides to come; called after each step. An aside not yet met counts nothing."""
        self._steps += 1
        gone = time.monotonic() - self._began - sum(map(sum, self._asides.values()))
        mean = {kind: sum(each) / len(each) for kind, each in self._asides.items()}
        return gone / self._steps * steps + sum(count * mean.get(kind, 0.0) for kind, count in asides.items())


@dataclass
class Window:
    """Sums over the steps since the last line of metrics, kept so that a resumed run writes the same line."""

    steps: int = 0
    gradient_norm: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require(self.sums.keys() == self.counts.keys(), "state.json: window is not what was saved")


@dataclass
class LoopState:
    """Where a run stands.

    steps: taken; cursor: global batches drawn, one more for each step that was not taken: bad_steps for a number that
    was not finite, overflows for a float16 scale that was too high. validated_at: the step of validation_loss.
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
    window: Window = field(default_factory=Window)

    @classmethod
    def restored(cls, saved: Mapping[str, object]) -> "LoopState":
        """The state that a checkpoint holds. Raises InputError for a number of another type or out of range."""
        require({"steps", "cursor"} <= saved.keys(), "state.json lacks steps or cursor")
        values = {each.name: saved[each.name] for each in fields(cls) if each.name in saved}
        loss = values.get("validation_loss")
        diverged = isinstance(loss, float) and not math.isfinite(loss)  # which no option may be, but a loss may
        state = from_mapping(cls, values | ({"validation_loss": None} if diverged else {}), where="state.json: ")
        state.validation_loss = loss if isinstance(loss, float) else state.validation_loss
        drawn = state.steps + state.bad_steps + state.overflows
        require(state.cursor == drawn, f"state.json: cursor {state.cursor} is not the {drawn} batches of its steps")
        return state


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

        score: None where these weights were not validated. Raises InputError, say on a full disk; the older ones stay.
        """
        target, partial = self.folder / f"step-{step:08d}", self.folder / f".partial-{os.getpid()}"
        for left in self.folder.glob(".partial-*"):  # what a killed run left; one process writes to a run's folder
            shutil.rmtree(left, ignore_errors=True)
        try:
            partial.mkdir(parents=True)
            for file, tensors in zip(_FILES, (learner, optimizer), strict=False):
                plain = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
                with readable(partial / file):
                    save_file(plain, partial / file)
            write_json(partial / "state.json", {**state, "score": score})
            write_json(partial / "hashes.json", {file: sha256_of(partial / file) for file in _FILES})
            for path in partial.iterdir():
                sync(path)
            shutil.rmtree(target, ignore_errors=True)  # where a run that goes on from before comes by again
            partial.replace(target)
            sync(self.folder)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(partial, ignore_errors=True)  # on a full disk this room is what the user needs first
            again = "run the same command again; distill.py, pretrain.py and finetune.py with --resume auto"
            raise InputError(
                f"cannot write checkpoint {str(target)!r}: {error}; free some space, then {again}"
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
                self.say(f"skipped: {error}")
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
