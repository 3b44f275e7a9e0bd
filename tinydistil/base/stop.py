"""SIGTERM and SIGINT, for all scripts: what loops can finish a step before they stop, others where they stand.

A loop looks at a `StopRequest` between steps, saves and leaves; work that commits as it goes is left by an exception
(`stopping`). Either way the script ends with STOPPED_EXIT_CODE, and the same command goes on.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# Distinct from 2 (bad input) and 1 (a bug): the run was asked to stop, saved, and can go on.
STOPPED_EXIT_CODE = 75
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Schedulers signal every process of a job and torchrun passes its own on: what comes so close together is one request.
_SAME_REQUEST_S = 3.0


class Interrupted(Exception):
    """What all ranks were at is left, together, because one of them was asked to stop."""


class StopRequest:
    """Whether this process was asked to stop. Use it as a context manager around the loop.

    grace_s: where it is given, the process ends by itself (as if the signal had not been caught) if `answered` is not
    called so many seconds after the request. A rank that waits for a dead one inside a collective runs no Python, so a
    thread has to do that.
    """

    def __init__(self, *, grace_s: float | None = None) -> None:
        self.asked = False
        self._asked_at = 0.0
        self._grace_s = grace_s
        self._answered = threading.Event()

    def __enter__(self) -> "StopRequest":
        _open.append(self)
        self._before = {number: signal.signal(number, self._ask) for number in _SIGNALS}
        if self._grace_s is not None:
            # Python's handlers run between two bytecodes of the main thread, this descriptor is written at once.
            self._reader, self._writer = os.pipe()
            os.set_blocking(self._writer, False)
            signal.set_wakeup_fd(self._writer)
            threading.Thread(target=self._leave_unless_answered, args=(self._grace_s,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        _open.remove(self)
        self.answered()
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._grace_s is not None:
            signal.set_wakeup_fd(-1)
            os.close(self._writer)  # ends the thread

    def answered(self) -> None:
        """The run is leaving, and takes the time it needs to save."""
        self._answered.set()

    def _ask(self, number: int, _frame: FrameType | None) -> None:
        if self.asked and time.monotonic() - self._asked_at > _SAME_REQUEST_S:
            raise KeyboardInterrupt
        if not self.asked:
            self.asked, self._asked_at = True, time.monotonic()

    def _leave_unless_answered(self, grace_s: float) -> None:
        number = os.read(self._reader, 1)
        os.close(self._reader)
        if number and not self._answered.wait(grace_s):
            os._exit(128 + number[0])


# Signals belong to the process, so does the question whether one came.
_open: list[StopRequest] = []


def stop_asked() -> bool:
    """Whether this process was asked to stop, by a request that is still open."""
    return any(request.asked for request in _open)


class Stopped(KeyboardInterrupt):
    """Somebody asked this process to stop. Not an Exception, so that no handler of errors swallows it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)


@contextmanager
def stopping() -> Iterator[None]:
    """Inside, the first SIGINT or SIGTERM raises Stopped where the program stands; further ones do nothing.

    Cleaning up after the first takes milliseconds, and a second exception in the midst of it would undo it.
    """

    def stop(number: int, _: FrameType | None) -> None:
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise Stopped(number)

    before = {each: signal.signal(each, stop) for each in _SIGNALS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
