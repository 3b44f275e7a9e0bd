"""Records cut into batches, and an ordered, bounded map of them over worker processes.

Not ProcessPoolExecutor: its spawned workers outlive a killed parent, start one after the other, and die without their
signal being reported. 6.5 MB with 2 workers take 1.16 times as long with it, 1.02 times without the start (medians of 7
in turns on 2 shared cores).
"""

import gc
import os
import queue
import subprocess
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import islice
from multiprocessing.connection import Connection, Pipe
from typing import NamedTuple, TypeAlias, cast

from tinydistil.base.errors import InputError
from tinydistil.corpus.document_step import Outcome
from tinydistil.corpus.records import BadRecord, Record

Item: TypeAlias = Record | BadRecord
Step: TypeAlias = Callable[[Item], Outcome]

# A quarter of a second of work: small beside a segment, large beside the cost of sending it. Bad records weigh nothing,
# so that their number is bounded, too.
_BATCH_BYTES, _BATCH_ITEMS = 1 << 19, 4096
# One batch in work and one waiting: a worker never idles while the parent writes a shard. The second number bounds the
# results that wait for a slow document before them.
_BATCHES_PER_WORKER, _AHEAD_PER_WORKER = 2, 4
# The parallelism is one process per core; threads below it would only fight for the same cores.
_ONE_THREAD = {"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class Batch(NamedTuple):
    """Consecutive records. `bytes` are those of the records; `ends_segment` marks a segment's last batch."""

    items: tuple[Item, ...]
    bytes: int
    ends_segment: bool


Mapped: TypeAlias = Iterator[tuple[Batch, Sequence[Outcome]]]


def cut_batches(items: Iterator[Item], segment_bytes: int, *, skip: int = 0) -> Iterator[Batch]:
    """Batches of the items after the first `skip`; a segment ends with the record that fills `segment_bytes`.

    Where segments end depends on the records alone: a run that starts after a whole number of segments
    (`skip` is the number of their items) cuts the rest as an uninterrupted run does.
    """
    segment = size = 0
    batch: list[Item] = []
    for item in islice(items, skip, None):
        batch.append(item)
        # Raw bytes, since they are known before any work is done; tokens would depend on the rules.
        size += len(item.data) if isinstance(item, Record) else 0
        full = segment + size >= segment_bytes
        if full or size >= _BATCH_BYTES or len(batch) >= _BATCH_ITEMS:
            yield Batch(tuple(batch), size, full)
            segment = 0 if full else segment + size
            size, batch = 0, []
    # The last segment is closed by an empty batch where the records end with a full batch.
    if batch or segment:
        yield Batch(tuple(batch), size, True)


def available_cores() -> int:
    """Cores this process may run on, which a container may limit."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def worker_pool(step: Step, workers: int) -> Iterator[Callable[[Iterable[Batch]], Mapped]]:
    """A map of batches over `workers` processes that apply `step`; 0 and 1 mean this process.

    It gives each batch with the outcomes of its items, in the order of the batches, which it reads lazily. It raises
    what `step` raised if that is an InputError, RuntimeError with the worker's traceback for anything else, InputError
    where a worker was killed. Leaving the context, by whatever exception, kills the workers and waits for them.
    """
    if workers < 2:
        # No processes at all: easier to debug and to profile, and the reference for all other numbers.
        yield lambda batches: ((batch, list(map(step, batch.items))) for batch in batches)
        return
    # A thread for each batch that a worker has; whoever is free first gets the next: documents differ a thousandfold.
    free: queue.SimpleQueue[_Worker] = queue.SimpleQueue()

    def ask(items: tuple[Item, ...]) -> Sequence[Outcome]:
        worker = free.get()
        try:
            return worker.ask(items)
        finally:
            free.put(worker)

    def mapped(batches: Iterable[Batch]) -> Mapped:
        # Others may finish first; their results wait, since duplicates are decided in input order.
        waiting: deque[tuple[Batch, Future[Sequence[Outcome]]]] = deque()
        for batch in batches:
            waiting.append((batch, threads.submit(ask, batch.items)))
            if len(waiting) == _AHEAD_PER_WORKER * workers:
                first, outcomes = waiting.popleft()
                yield first, outcomes.result()
        for batch, outcomes in waiting:
            yield batch, outcomes.result()

    with ThreadPoolExecutor(_BATCHES_PER_WORKER * workers) as threads, ExitStack() as cleanup:
        started = [cleanup.enter_context(_Worker()) for _ in range(workers)]
        # All start up side by side before the first is waited for.
        for worker in started:
            worker.connection.send(step)
        for worker in started * _BATCHES_PER_WORKER:
            free.put(worker)
        yield mapped


class _Worker:
    """One process and the parent's end of its socket."""

    def __init__(self) -> None:
        self.connection, theirs = Pipe()
        self._sending, self._receiving = threading.Lock(), threading.Lock()
        # Its own session: Ctrl-C on a terminal reaches the parent alone, which then decides. Not
        # multiprocessing's spawn, which imports the calling script again, and torch with it if it does so.
        with theirs:  # only the child may hold its end, or neither side would see the other go
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | _ONE_THREAD,
            )

    def ask(self, items: tuple[Item, ...]) -> Sequence[Outcome]:
        """The outcomes of `items`, in any thread."""
        try:
            # One lock is taken before the other is let go, so that threads receive in the order in which they sent.
            with self._sending:
                self.connection.send(items)
                self._receiving.acquire()
            try:
                reply = self.connection.recv()
            finally:
                self._receiving.release()
        except (EOFError, OSError):
            code = self._process.wait()
            cause = f"signal {-code}" if code < 0 else f"exit code {code}"
            raise InputError(
                f"a worker process was ended ({cause}), most often for lack of memory; "
                "run the same command again with fewer --workers, it goes on after the last whole segment"
            ) from None
        # A user's mistake or a bug: either way it is raised here as it was there.
        if isinstance(reply, Exception):
            raise reply
        return cast(Sequence[Outcome], reply)

    def __enter__(self) -> "_Worker":
        return self

    def __exit__(self, *_: object) -> None:
        # SIGKILL, not SIGTERM: a worker holds nothing, and in the midst of a long document it would be late.
        self._process.kill()
        self._process.wait()


def work(connection: Connection) -> None:
    """In a worker: serve the parent at the other end of `connection`, first the step, then batches, until it closes."""
    # Documents leave no cycles behind, and looking for some in tables of 270,000 words costs a tenth of the time.
    gc.disable()
    inbox: queue.SimpleQueue[object] = queue.SimpleQueue()

    def receive() -> None:
        """Always reading, so that the parent's sends never wait for a batch in progress (a deadlock where the worker,
        too, waits to send), and so that the parent's end is seen at once."""
        while True:
            try:
                inbox.put(connection.recv())
            except (EOFError, OSError):
                os._exit(0)  # not sys.exit, which ends this thread alone while the other works on for nobody

    threading.Thread(target=receive, daemon=True).start()
    step = cast(Step, inbox.get())
    while True:
        try:
            reply: object = list(map(step, cast(tuple[Item, ...], inbox.get())))
        except InputError as error:
            reply = error
        except Exception:
            # As text: the exception itself may not pickle, and its traceback never does.
            reply = RuntimeError(f"worker failed:\n{traceback.format_exc()}")
        try:
            connection.send(reply)
        except OSError:
            os._exit(0)  # the parent has gone; nobody is left to report to


if __name__ == "__main__":
    work(Connection(int(sys.argv[1])))
