"""How a script ends: by wrong input, the one kind of error that is the user's to mend, by a signal, without a reader.

A loop looks at a `StopRequest` between steps, saves and leaves; work that commits as it goes is left by an exception
(`stopping`). Either way the script ends with STOPPED_EXIT_CODE, and the same command goes on.
"""

import errno
import importlib
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, ModuleType
from typing import Any, NoReturn

# Distinct from 2 (bad input) and 1 (a bug): the run was asked to stop, saved, and can go on.
STOPPED_EXIT_CODE = 75
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Schedulers signal every process of a job and torchrun passes its own on: what comes so close together is one request.
_SAME_REQUEST_S = 3.0
# How long a rank that has nothing to say waits for the one that has.
_SPEAKING_S = 5


class InputError(ValueError):
    """Something a user gave is wrong. The message names the field, the value and the remedy."""


class Interrupted(Exception):
    """What all ranks were at is left, together, because one of them was asked to stop."""


class Stopped(KeyboardInterrupt):
    """Somebody asked this process to stop. Not an Exception, so that no handler of errors swallows it."""


def require(condition: bool, message: str) -> None:
    """Raise InputError(message) unless `condition` holds."""
    if not condition:
        raise InputError(message)


@contextmanager
def translated(message: str, remedy: str) -> Iterator[None]:
    """Raise InputError("message (reason); remedy") for whatever a library raises inside: `tokenizers` raises bare
    Exception and, where its Rust panics, a BaseException. Errors of the system, of memory and of ours pass."""
    try:
        yield
    except (InputError, MemoryError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        if isinstance(error, OSError) and error.filename is not None:  # torch calls a damaged zip "Invalid argument"
            raise
        lines = str(error).split(" In PyTorch")[0].splitlines()
        raise InputError(f"{message} ({lines[0] if lines else type(error).__name__}); {remedy}") from None


def optional(package: str, *, needed_by: str, extra: str) -> ModuleType:
    """Import optional `package`. Raises InputError saying what needs it and how to install it."""
    try:
        return importlib.import_module(package)
    except ImportError:
        # By its own name: tinydistil itself may have been installed under no name that pip can look up.
        install = f"pip install {package.partition('.')[0]} (part of tinydistil[{extra}])"
        raise InputError(f"{needed_by} needs the package {package!r}; {install}") from None


def run_script(main: Callable[[], object], *, ranks: bool = False, pipe: bool = False) -> None:
    """Call a script's `main` and leave with its exit code.

    0 done; 2 the input is at fault (one line on standard error, no traceback); 75 asked to stop, saved; 130
    interrupted. Any other exception is a bug of ours and keeps its traceback. ranks: whether torchrun may start several
    processes of it. pipe: whether what it prints is its result, so that it ends, quietly, once the reader (say `head`)
    has gone; any other script goes on without one.
    """
    _open_streams(pipe)
    try:
        world_size = rank_and_world_size()[1]
        require(
            ranks or world_size == 1,
            f"this runs in one process, and WORLD_SIZE is {world_size}; start it without torchrun, or unset WORLD_SIZE",
        )
        main()
        sys.stdout.flush()
        if world_size > 1:
            # Without Python's own end: a thread of torch's may abort the process in it, and torchrun all that is done.
            os._exit(0)
        return
    except BrokenPipeError:
        _discard(sys.stdout.fileno())  # or Python would complain again at exit
        sys.exit(0)
    except (InputError, OSError) as error:
        if pipe and isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None:
            error.filename = "standard output"  # all other files are named where they are written
        message, code = f"error: {reason_of(error)}", 2
    except (MemoryError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else "no more memory"
        # Python's own, CUDA's (a RuntimeError of that name), and that of torch's allocator on the CPU.
        named = type(error).__name__ in ("MemoryError", "OutOfMemoryError", "_ArrayMemoryError")
        if named or "can't allocate memory" in str(error):
            message, code = f"error: out of memory ({reason}); choose a smaller batch, length or model", 2
        elif reason.startswith("Symlink loop"):  # of Path.resolve, no OSError before Python 3.13
            message, code = f"error: {error}; name a folder", 2
        else:
            raise
    except KeyboardInterrupt:
        message, code = "interrupted", 130
    # Under torchrun every rank reads the same command and files, and finds the same fault: rank 0 tells it.
    if ranks and _is_silent_rank():
        leave_quietly(code)
    print(message, file=sys.stderr)
    sys.exit(code)


@contextmanager
def importing(parse: Callable[[], object] | None = None) -> Iterator[None]:
    """Round the slow imports of a script: Ctrl-C in them ends the process as in `run_script`, by a handler, since a
    library that is being imported may turn KeyboardInterrupt into an error of its own.

    parse: the script's parser, which answers --help before them.
    """
    if parse is not None and {"-h", "--help"} & {*sys.argv[1:]}:
        run_script(parse, ranks=True)

    def leave(number: int, _: FrameType | None) -> None:
        if not _is_silent_rank():
            print("interrupted", file=sys.stderr, flush=True)
        os._exit(130)

    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # ignored under nohup, say, it stays so
        signal.signal(signal.SIGINT, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def rank_and_world_size() -> tuple[int, int]:
    """This process among those that torchrun started, from RANK and WORLD_SIZE; 0 of 1 without WORLD_SIZE.

    Raises InputError where they contradict each other or lack what they need to meet.
    """
    world_size, rank = whole_from_environment("WORLD_SIZE", least=1), whole_from_environment("RANK")
    if world_size == 1:
        return 0, 1  # a RANK left over from another program
    require(rank < world_size, f"the environment has RANK={rank} and WORLD_SIZE={world_size}; start with torchrun")
    remedy = "start with torchrun, or unset WORLD_SIZE"
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        require(name in os.environ, f"the environment has WORLD_SIZE={world_size} but no {name}; {remedy}")
    whole_from_environment("MASTER_PORT", most=65_535)
    return rank, world_size


def whole_from_environment(name: str, *, least: int = 0, most: int = 2**31 - 1) -> int:
    """Variable `name` of torchrun, `least` where it is not set. Raises InputError for what is no such number."""
    text = os.environ.get(name, str(least))
    sound = text.isascii() and text.isdigit() and len(text) < 11 and least <= int(text) <= most
    wanted = f"no whole number >= {least} and <= {most}; unset it, or start with torchrun"
    require(sound, f"the environment has {name}={text!r}, which is {wanted}")
    return int(text)


class _Persistent(io.FileIO):
    """A file whose reader may go away: what is written from then on is lost, and nothing else."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data) or 0
        except BrokenPipeError:
            _discard(self.fileno())
            return len(data)


def _discard(descriptor: int) -> None:
    """Lose what is written to `descriptor`, by child processes or out of a buffer too."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


def _open_streams(pipe: bool) -> None:
    """Make both output streams writable for all of the script's life. `pipe` as in `run_script`."""
    was_closed = sys.stdout is None
    for number, name in enumerate(("stdout", "stderr"), start=1):
        stream = getattr(sys, name)
        if stream is None:
            # The next file to be opened would get this number, and be printed into.
            _discard(number)
            setattr(sys, name, open(number, "w", encoding="utf-8", closefd=False))  # noqa: SIM115
        elif type(stream) is io.TextIOWrapper and stream is getattr(sys, f"__{name}__") and not pipe:
            stream.flush()
            raw = io.BufferedWriter(_Persistent(number, "w", closefd=False))
            # Of what is unbuffered (PYTHONUNBUFFERED) each line is shown when it is there.
            encoding, by_line = stream.encoding, stream.line_buffering or stream.write_through
            setattr(sys, name, io.TextIOWrapper(raw, encoding, "backslashreplace", line_buffering=by_line))
        elif isinstance(stream, io.TextIOWrapper):
            # A terminal that cannot show "ã" shows an escape rather than ending the run.
            stream.reconfigure(errors="backslashreplace")
    if pipe and was_closed:
        print("error: standard output is closed; redirect it to a file or /dev/null", file=sys.stderr)
        sys.exit(2)


def reason_of(error: InputError | OSError) -> str:
    """What to tell a user, on one line; for the system's own errors, what it refused and for which file."""
    reason = str(error)
    if isinstance(error, OSError):
        reason = f"{error.strerror or error}: {error.filename or ''}".rstrip(": ")
    reason = " ".join(reason.splitlines())  # a file's name or value may hold line breaks
    return reason if len(reason) <= 1000 else f"{reason[:700]} ... {reason[-250:]}"  # the remedy stands at the end


def leave_quietly(code: int, after_s: float = _SPEAKING_S) -> NoReturn:
    """End this process with `code` because another one of the run ends too, and reports the reason; not at once, since
    torchrun ends all of them as soon as the first has left, but at SIGTERM."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    signal.sigtimedwait({signal.SIGTERM}, after_s)
    sys.exit(code)


def _is_silent_rank() -> bool:
    """Whether another rank tells what is wrong; where the ranks are, all do."""
    try:
        return rank_and_world_size()[0] != 0
    except InputError:
        return False


class StopRequest:
    """Whether this process was asked to stop (`asked`). Use it as a context manager around the loop.

    grace_s: where it is given, a thread ends the process, as the signal would have, if `answered` is not set so many
    seconds after it: a rank that waits for a dead one inside a collective runs no Python.
    """

    def __init__(self, *, grace_s: float | None = None) -> None:
        self.asked, self._asked_at, self._grace_s = False, 0.0, grace_s
        self.answered = threading.Event()  # the run is leaving, and takes the time it needs to save

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
        self.answered.set()
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._grace_s is not None:
            signal.set_wakeup_fd(-1)
            os.close(self._writer)  # ends the thread

    def _ask(self, number: int, _frame: FrameType | None) -> None:
        if not self.asked:
            self.asked, self._asked_at = True, time.monotonic()
        elif time.monotonic() - self._asked_at > _SAME_REQUEST_S:
            raise KeyboardInterrupt

    def _leave_unless_answered(self, grace_s: float) -> None:
        number = os.read(self._reader, 1)
        os.close(self._reader)
        if number and not self.answered.wait(grace_s):
            os._exit(128 + number[0])


# Signals belong to the process, so does the question whether one came.
_open: list[StopRequest] = []


def stop_asked() -> bool:
    """Whether this process was asked to stop, by a request that is still open."""
    return any(request.asked for request in _open)


@contextmanager
def stopping() -> Iterator[None]:
    """Inside, the first SIGINT or SIGTERM raises Stopped where the program stands; further ones, which would break the
    cleaning up after it, do nothing."""

    def stop(number: int, _: FrameType | None) -> None:
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise Stopped(signal.Signals(number).name)

    before = {each: signal.signal(each, stop) for each in _SIGNALS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
