"""Floor 0: the one kind of error that is the user's to mend, and how scripts report it."""

import io
import sys
from collections.abc import Callable


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
    except InputError as error:
        _leave(f"error: {error}", 2)
    except BrokenPipeError:
        # The reader (say `head`) has gone. Without this redirect Python complains again at exit.
        sys.stdout = None
        sys.exit(0)
    except OSError as error:
        _leave(f"error: {error.strerror or error}: {error.filename or ''}".rstrip(": "), 2)
    except KeyboardInterrupt:
        _leave("interrupted", 130)


def _leave(message: str, code: int) -> None:
    print(message, file=sys.stderr)
    sys.exit(code)
