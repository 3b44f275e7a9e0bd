"""What a run leaves behind while it goes: metrics.jsonl, and a line or a bar for the person who watches."""

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from tinydistil.base.console import duration, figure, perplexity
from tinydistil.base.files import write_atomic

# What a figure of a step is called on the terminal, the room for its number, its unit; others go by their own names.
_SHOWN = {
    "hard": ("masked LM", 8, " nats"),
    "soft": ("soft", 8, " nats"),
    "gradient_norm": ("gradient", 9, ""),
    "learning_rate": ("rate", 11, ""),
    "tokens_per_second": ("", 9, " tokens/s"),
}


class Records:
    """Writes the metrics of rank 0; without a `path`, as on other ranks, it is silent.

    events: a folder in which TensorBoard finds the same figures. label: what the lines on the terminal begin with.
    still_to_come: work of the same command after this run, as a multiple of it, for the time left.
    """

    def __init__(
        self, path: Path | None, *, events: Path | None = None, label: str = "", still_to_come: float = 0.0
    ) -> None:
        self._path, self._label, self._still_to_come = path, f"{label}: " if label else "", still_to_come
        self._events = None
        if path is not None and events is not None:
            from torch.utils.tensorboard import SummaryWriter  # an optional extra, and slow to import

            self._events = SummaryWriter(events)
        self._bar: tqdm[object] | None = None
        self._whole_s = 0.0

    def begin(self, first_step: int) -> None:
        """A run goes on from `first_step`, -1 for a new one: drop lines of later steps, show a bar on a terminal."""
        if self._path is None:
            return
        if self._path.is_file():
            lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines()
            # A killed run may have written further than its last checkpoint, and half a line, or zeros.
            kept = [f"{line}\n" for line in lines if (step := _step_of(line)) is not None and step <= first_step]
            write_atomic(self._path, "".join(kept).encode())
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
            # A budget in minutes or tokens is planned anew as the pace becomes known.
            self._bar.total = total_steps
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


def _step_of(line: str) -> int | None:
    try:
        step = json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return None
    return step if isinstance(step, int) else None


def figures_of(shown: Mapping[str, float]) -> list[str]:
    """The figures of a step as columns: name, right-aligned value, unit; perplexity behind a masked LM loss."""
    columns = []
    for key, value in shown.items():
        name, width, unit = _SHOWN.get(key, (key, 8, ""))
        columns.append(f"{name} {figure(value):>{width}}{unit}".removeprefix(" "))
        if key == "hard":
            columns[-1] += f" (perplexity {perplexity(value):>9})"
    return columns


class Pace:
    """How long the rest of a run takes: steps at their pace, and what interrupts them (validations, saves) apart."""

    def __init__(self) -> None:
        self._began, self._steps = time.monotonic(), 0
        self._asides: dict[str, list[float]] = {}

    @contextmanager
    def aside(self, kind: str) -> Iterator[None]:
        """Time what is no step."""
        began = time.monotonic()
        yield
        self._asides.setdefault(kind, []).append(time.monotonic() - began)

    def left_s(self, steps: int, asides: Mapping[str, int]) -> float:
        """Seconds for so many steps and asides to come; called after each step. An aside not yet met counts nothing."""
        self._steps += 1
        gone = time.monotonic() - self._began - sum(map(sum, self._asides.values()))
        mean = {kind: sum(each) / len(each) for kind, each in self._asides.items()}
        return gone / self._steps * steps + sum(count * mean.get(kind, 0.0) for kind, count in asides.items())
