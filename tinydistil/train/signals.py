"""SIGTERM and SIGINT ask a run to save and leave; the second one ends it at once."""

import signal
from types import FrameType

# Distinct from 2 (bad input) and 1 (a bug): the run was asked to stop, saved, and can go on with --resume auto.
STOPPED_EXIT_CODE = 75


class StopRequest:
    """Whether this process was asked to stop. Use it as a context manager around the loop."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> "StopRequest":
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _ask(self, number: int, _frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
