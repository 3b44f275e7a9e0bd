"""What a run leaves behind while it goes: metrics.jsonl, and a line or a bar for the person who watches."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from tqdm import tqdm

from tinydistil.files import write_atomic


class Records:
    """Writes the metrics of rank 0; on other ranks it is silent.

    With `events`, a folder, TensorBoard can show the same figures. After a resume, lines of steps that the checkpoint
    does not know yet are dropped, so each step stands there once.
    """

    def __init__(self, path: Path | None, *, events: Path | None = None) -> None:
        self._path = path
        self._events = None
        if path is not None and events is not None:
            # Not at the top: TensorBoard is an optional extra, and slow to import.
            from torch.utils.tensorboard import SummaryWriter

            self._events = SummaryWriter(events)
        self._bar: tqdm[object] | None = None

    def begin(self, first_step: int) -> None:
        """A run goes on from `first_step`, 0 for a new one: drop the lines of later steps, show a bar on a terminal."""
        if self._path is None:
            return
        if self._path.is_file():
            lines = self._path.read_text(encoding="utf-8").splitlines()
            # A killed run may have written further than its last checkpoint, and half a line.
            kept = [line for line in lines if (step := _step_of(line)) is not None and step <= first_step]
            write_atomic(self._path, "".join(f"{line}\n" for line in kept).encode())
        if sys.stderr.isatty():
            self._bar = tqdm(initial=first_step, unit=" steps", file=sys.stderr)

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
        if self._bar is not None:
            # A budget in minutes or tokens is planned anew as the pace becomes known.
            self._bar.total = total_steps
            self._bar.update(steps - self._bar.n)
            if shown is not None:
                self._bar.set_postfix({name: f"{value:.4g}" for name, value in shown.items()})
        elif shown is not None:
            figures = "  ".join(f"{name} {value:.4g}" for name, value in shown.items())
            print(f"step {steps}  {figures}  {left_s:.0f} s left", file=sys.stderr, flush=True)

    def say(self, message: str) -> None:
        """A sentence for the person, above the bar."""
        if self._path is not None:
            tqdm.write(message, file=sys.stderr)

    def close(self) -> None:
        """Leave the terminal tidy."""
        if self._bar is not None:
            self._bar.close()
        if self._events is not None:
            self._events.close()


def _step_of(line: str) -> int | None:
    """The step of a metrics line; None for half a line, as a kill leaves it."""
    try:
        step = json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return None
    return step if isinstance(step, int) else None
