"""Steps for the pool's tests: in a file of its own, so that workers can import it."""

import os
import signal
import time

from tinydistil.base.errors import InputError
from tinydistil.corpus.document_step import Outcome
from tinydistil.corpus.records import BadRecord, Record


def lengths(item: Record | BadRecord) -> Outcome:
    """The record's size; work takes longer for some, so that batches finish out of order."""
    assert isinstance(item, Record)
    time.sleep(0.02 if item.line % 7 == 0 else 0)
    return Outcome(len(item.data), dropped_by=str(item.line))


def troubled(item: Record | BadRecord) -> Outcome:
    """Does what the record says."""
    assert isinstance(item, Record)
    word = item.data.decode()
    if word == "input":
        raise InputError("campo 'texto' falta")
    if word == "bug":
        raise KeyError("bug")
    if word == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if word == "sleep":
        time.sleep(60)
    return Outcome(0, dropped_by=str(os.getpid()))
