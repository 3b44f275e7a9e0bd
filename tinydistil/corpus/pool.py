"""An ordered, bounded map over worker processes.

Not concurrent.futures: spawned workers of its ProcessPoolExecutor outlive a killed parent, start one after the
other, and die without their signal being reported. 6.5 MB with 2 workers take 1.16 times as long with it, 1.02 times
without the start (medians of 7 in turns on 2 shared cores).
"""

import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.connection import Pipe, wait
from types import TracebackType
from typing import cast

from tinydistil.base.errors import InputError, require
from tinydistil.corpus.document import BadRecord, Record
from tinydistil.corpus.document_step import Outcome
from tinydistil.corpus.input_batches import Batch

Step = Callable[[Record | BadRecord], Outcome]

# One batch in work and one waiting: a worker never idles while the parent writes a shard.
_BATCHES_PER_WORKER = 2
# Bounds the results that wait for a slow document before them.
_AHEAD_PER_WORKER = 4
_WORKERS_PER_CORE = 16


def available_cores() -> int:
    """Cores this process may run on, which a container may limit."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_workers(workers: int) -> None:
    """Raise InputError for so many processes that starting them, 0.3 s of a core each, takes longer than work."""
    most = _WORKERS_PER_CORE * available_cores()
    message = f"--workers must be <= {most}, {_WORKERS_PER_CORE} for each core of this machine, got {workers}"
    require(workers <= most, message)


class WorkerPool:
    """`workers` processes that apply `step`; with 0 or 1 the work is done here, in the caller's process.

    A context manager: leaving it, by whatever exception, kills the workers and waits for them.
    """

    def __init__(self, step: Step, workers: int) -> None:
        self._step = step
        self._count = workers if workers > 1 else 0
        self._workers: list[_Worker] = []

    def __enter__(self) -> "WorkerPool":
        try:
            for _ in range(self._count):
                self._workers.append(_Worker())
            # All start up side by side before the first is waited for.
            for worker in self._workers:
                worker.send(self._step)
        except BaseException:
            self._kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kill()

    def _kill(self) -> None:
        for worker in self._workers:
            worker.kill()

    def map(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, Sequence[Outcome]]]:
        """Each batch with the outcomes of its items, in the order of `batches`, which is read lazily.

        Raises what `step` raised if that is an InputError, RuntimeError with the worker's traceback for
        anything else, InputError where a worker was killed.
        """
        # No processes at all: easier to debug and to profile, and the reference for all other numbers.
        if not self._workers:
            yield from ((batch, [self._step(item) for item in batch.items]) for batch in batches)
            return
        source = iter(batches)
        waiting: deque[Batch] = deque()  # sent, not yet yielded, in order
        done: dict[int, Sequence[Outcome]] = {}
        while True:
            self._feed(source, waiting)
            if not waiting:
                return
            # Others may finish first; their results wait, since duplicates are decided in input order.
            while waiting[0].number not in done:
                self._collect(done)
                self._feed(source, waiting)
            batch = waiting.popleft()
            yield batch, done.pop(batch.number)

    def _feed(self, source: Iterator[Batch], waiting: deque[Batch]) -> None:
        while len(waiting) < _AHEAD_PER_WORKER * len(self._workers):
            # Whoever has least: documents differ a thousandfold in length, so turns would leave some idle.
            worker = min(self._workers, key=lambda each: len(each.numbers))
            batch = next(source, None) if len(worker.numbers) < _BATCHES_PER_WORKER else None
            if batch is None:
                return
            worker.numbers.append(batch.number)
            worker.send(batch.items)
            waiting.append(batch)

    def _collect(self, done: dict[int, Sequence[Outcome]]) -> None:
        ready = wait([worker.connection for worker in self._workers if worker.numbers])
        for worker in self._workers:
            if worker.connection in ready:
                reply = worker.receive()
                done[worker.numbers.popleft()] = reply


class _Worker:
    """One process and the parent's end of its socket."""

    def __init__(self) -> None:
        self.connection, theirs = Pipe()
        self.numbers: deque[int] = deque()  # of the batches it has, oldest first
        # Its own session: Ctrl-C on a terminal reaches the parent alone, which then decides. Not
        # multiprocessing's spawn, which imports the calling script again, and torch with it if it does so.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tinydistil.corpus.worker", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | _ONE_THREAD,
        )
        # Only the child may hold its end, or neither side would see the other go.
        theirs.close()

    def send(self, message: object) -> None:
        try:
            self.connection.send(message)
        except OSError:
            raise self._gone() from None

    def receive(self) -> Sequence[Outcome]:
        try:
            reply = self.connection.recv()
        except (EOFError, OSError):
            raise self._gone() from None
        # A user's mistake or a bug: either way it is raised here as it was there.
        if isinstance(reply, Exception):
            raise reply
        return cast(Sequence[Outcome], reply)

    def kill(self) -> None:
        # SIGKILL, not SIGTERM: a worker holds nothing, and in the midst of a long document it would be late.
        self._process.kill()
        self._process.wait()
        self.connection.close()

    def _gone(self) -> InputError:
        code = self._process.wait()
        cause = f"signal {-code}" if code < 0 else f"exit code {code}"
        return InputError(
            f"a worker process was ended ({cause}), most often for lack of memory; "
            "run the same command again with fewer --workers, it goes on after the last whole segment"
        )


# The parallelism is one process per core; threads below it would only fight for the same cores.
_ONE_THREAD = {"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
