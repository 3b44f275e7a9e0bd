"""Where the time of a step goes: to data, teacher, student, backward, optimizer, or to waiting for other ranks.

A step is a line cut by marks, so its parts always add up to the whole. On CUDA the marks are events of the stream: they
cost no wait, and a part is the time in which the device worked on it or idled for it (data, say).
"""

import time

import torch

PARTS = ("data", "teacher", "student", "backward", "optimizer", "communication")


class Stopwatch:
    """The parts of the steps since the last reading."""

    def __init__(self, device: torch.device) -> None:
        self._on_device = device.type == "cuda"
        self._seconds = dict.fromkeys(PARTS, 0.0)
        self._steps = 0
        self._last: float | torch.cuda.Event = 0.0
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    def start(self) -> None:
        """A step begins; what lies between it and the one before (validation, a checkpoint) is no part of either."""
        self._steps += 1
        self._last = self._now()

    def mark(self, part: str) -> None:
        """Everything since the last mark was `part`."""
        now, before = self._now(), self._last
        if isinstance(now, float):
            assert isinstance(before, float)
            self._seconds[part] += now - before
        else:
            assert not isinstance(before, float)
            self._events.append((part, before, now))
        self._last = now

    def read(self) -> dict[str, float]:
        """Seconds a step of each part since the last reading; starts anew. Waits for the device."""
        if self._events:
            # The only wait for the device, once a line of metrics; the stream is in order, so the last event suffices.
            self._events[-1][2].synchronize()
            for part, before, now in self._events:
                self._seconds[part] += before.elapsed_time(now) / 1000
            self._events.clear()
        means = {part: seconds / max(self._steps, 1) for part, seconds in self._seconds.items()}
        self._seconds, self._steps = dict.fromkeys(PARTS, 0.0), 0
        return means

    def _now(self) -> "float | torch.cuda.Event":
        if not self._on_device:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event
