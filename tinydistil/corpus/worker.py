"""A worker process: takes batches from its parent, gives back outcomes. Started by `pool.WorkerPool`.

It holds nothing that matters, so it may be killed at any moment, and it leaves by itself, at once, when its
parent has gone, however the parent went.
"""

import gc
import os
import queue
import sys
import threading
import traceback
from multiprocessing.connection import Connection

from tinydistil.base.errors import InputError


def main(descriptor: int) -> None:
    """Serve the parent at the other end of socket `descriptor`: first the step, then batches, until it
    closes.
    """
    # Documents leave no cycles behind, and looking for some in tables of 270,000 words costs a tenth of the time.
    gc.disable()
    connection = Connection(descriptor)
    inbox: queue.SimpleQueue[object] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(connection, inbox), daemon=True).start()
    step = inbox.get()
    assert callable(step)
    while True:
        batch = inbox.get()
        assert isinstance(batch, tuple)
        try:
            reply: object = [step(item) for item in batch]
        except InputError as error:
            reply = error
        except Exception:
            # As text: the exception itself may not pickle, and its traceback never does.
            reply = RuntimeError(f"worker failed:\n{traceback.format_exc()}")
        try:
            connection.send(reply)
        except OSError:
            # The parent has gone; nobody is left to report to.
            os._exit(0)


def _receive(connection: Connection, inbox: "queue.SimpleQueue[object]") -> None:
    """Always reading, so that the parent's sends never wait for a batch in progress (a deadlock where the
    worker, too, waits to send), and so that the parent's end is seen at once."""
    while True:
        try:
            inbox.put(connection.recv())
        except (EOFError, OSError):
            # Not sys.exit, which ends this thread alone while the other works on for nobody.
            os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
