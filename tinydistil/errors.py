"""Floor 0: the one kind of error that is the user's to mend, and how scripts report it."""

import io
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

# How long a rank that has nothing to say waits for the one that has.
_SPEAKING_S = 5


class InputError(ValueError):
    """Something a user gave is wrong. The message names the field, the value and the remedy."""


def require(condition: bool, message: str) -> None:
    """Raise InputError(message) unless `condition` holds."""
    if not condition:
        raise InputError(message)


def run_script(main: Callable[[], None]) -> None:
    """Call a script's `main` and leave with its exit code.

    0 done; 2 the input is at fault (one line on standard error, no traceback); 130 interrupted.
    Any other exception is a bug of ours and keeps its traceback.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that cannot show "ã" shows an escape rather than ending the run.
            stream.reconfigure(errors="backslashreplace")
    try:
        if sys.stdout is None:
            raise InputError("standard output is closed; redirect it to a file or /dev/null")
        main()
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader (say `head`) has gone. Without this redirect Python complains again at exit.
        sys.stdout = None
        sys.exit(0)
    except (InputError, OSError) as error:
        _leave(f"error: {reason_of(error)}", 2)
    except KeyboardInterrupt:
        _leave("interrupted", 130)


def reason_of(error: InputError | OSError) -> str:
    """What to tell a user; for the system's own errors, what it refused and for which file."""
    if isinstance(error, OSError):
        return f"{error.strerror or error}: {error.filename or ''}".rstrip(": ")
    return str(error)


def leave_quietly(code: int) -> NoReturn:
    """End this process with `code` because another one of the run, which reports the reason, ends too.

    Not at once: torchrun ends all processes as soon as the first has left, and the one that speaks must come to it.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    signal.sigtimedwait({signal.SIGTERM}, _SPEAKING_S)
    sys.exit(code)


def _leave(message: str, code: int) -> NoReturn:
    # Under torchrun every rank reads the same command and files, and finds the same fault: rank 0 tells it.
    if os.environ.get("RANK", "0") != "0":
        leave_quietly(code)
    print(message, file=sys.stderr)
    sys.exit(code)
