"""The one kind of error that is the user's to mend, and how scripts report it."""

import errno
import importlib
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, ModuleType
from typing import NoReturn

# How long a rank that has nothing to say waits for the one that has.
_SPEAKING_S = 5


class InputError(ValueError):
    """Something a user gave is wrong. The message names the field, the value and the remedy."""


def require(condition: bool, message: str) -> None:
    """Raise InputError(message) unless `condition` holds."""
    if not condition:
        raise InputError(message)


@contextmanager
def translated(message: str, remedy: str) -> Iterator[None]:
    """Raise InputError("message (reason); remedy") for whatever a library raises inside.

    For borders beyond which the set of errors is not known: `tokenizers` raises bare Exception and, where its Rust
    panics, a BaseException. Errors of the system, of memory and of ours pass unchanged.
    """
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
        # By its own name: tinydistil itself may have been installed from a folder, under no name that pip can look up.
        install = f"pip install {package.partition('.')[0]} (part of tinydistil[{extra}])"
        raise InputError(f"{needed_by} needs the package {package!r}; {install}") from None


def run_script(main: Callable[[], object], *, ranks: bool = False, pipe: bool = False) -> None:
    """Call a script's `main` and leave with its exit code.

    0 done; 2 the input is at fault (one line on standard error, no traceback); 75 asked to stop, saved;
    130 interrupted. Any other exception is a bug of ours and keeps its traceback.

    ranks: whether torchrun may start several processes of it. pipe: whether what it prints is its result, so that it
    ends, quietly, once the reader (say `head`) has gone; any other script goes on without one.
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
    except BrokenPipeError:
        # Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except (InputError, OSError) as error:
        if pipe and isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None:
            error.filename = "standard output"  # all other files are named where they are written
        _leave(f"error: {reason_of(error)}", 2, several=ranks)
    except (MemoryError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else "no more memory"
        if reason.startswith("Symlink loop"):  # of Path.resolve, no OSError before Python 3.13
            _leave(f"error: {error}; name a folder", 2, several=ranks)
        # Python's own, CUDA's (a RuntimeError of that name), and that of torch's allocator on the CPU.
        named = type(error).__name__ in ("MemoryError", "OutOfMemoryError", "_ArrayMemoryError")
        if not named and "can't allocate memory" not in str(error):
            raise
        _leave(f"error: out of memory ({reason}); choose a smaller batch, length or model", 2, several=ranks)
    except KeyboardInterrupt:
        _leave("interrupted", 130, several=ranks)


@contextmanager
def importing(parse: Callable[[], object] | None = None) -> Iterator[None]:
    """Round the slow imports of a script: Ctrl-C in them ends the process as in `run_script`, with one line, code 130.

    By a handler, not by KeyboardInterrupt, which a library that is being imported may turn into an error of its own.
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
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        remedy = "start with torchrun, or unset WORLD_SIZE"
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


class _Persistent(io.TextIOWrapper):
    """A stream whose reader may go away: what is written from then on is lost, and nothing else."""

    def write(self, text: str, /) -> int:
        with self._diverted():
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with self._diverted():
            super().flush()

    @contextmanager
    def _diverted(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            # The descriptor, not the object: child processes, and what is in the buffer still, go there too.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())


def _open_streams(pipe: bool) -> None:
    """Make both output streams writable for all of the script's life. `pipe` as in `run_script`."""
    closed = [name for name in ("stdout", "stderr") if getattr(sys, name) is None]
    for number, name in enumerate(("stdout", "stderr"), start=1):
        stream = getattr(sys, name)
        if name in closed:
            # The next file to be opened would get this number, and be printed into.
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)
            setattr(sys, name, open(number, "w", encoding="utf-8", closefd=False))  # noqa: SIM115
        elif type(stream) is io.TextIOWrapper and stream is getattr(sys, f"__{name}__") and not pipe:
            encoding, lines = stream.encoding, stream.line_buffering
            lasting = _Persistent(stream.detach(), encoding, errors="backslashreplace", line_buffering=lines)
            setattr(sys, name, lasting)
            setattr(sys, f"__{name}__", lasting)
        elif isinstance(stream, io.TextIOWrapper):
            # A terminal that cannot show "ã" shows an escape rather than ending the run.
            stream.reconfigure(errors="backslashreplace")
    if pipe and "stdout" in closed:
        _leave("error: standard output is closed; redirect it to a file or /dev/null", 2, several=False)


def reason_of(error: InputError | OSError) -> str:
    """What to tell a user, on one line; for the system's own errors, what it refused and for which file."""
    reason = str(error)
    if isinstance(error, OSError):
        reason = f"{error.strerror or error}: {error.filename or ''}".rstrip(": ")
    reason = " ".join(reason.splitlines())  # a file's name or value may hold line breaks
    return reason if len(reason) <= 1000 else f"{reason[:700]} ... {reason[-250:]}"  # the remedy stands at the end


def leave_quietly(code: int) -> NoReturn:
    """End this process with `code` because another one of the run, which reports the reason, ends too.

    Not at once: torchrun ends all processes as soon as the first has left, and the one that speaks must come to it.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    signal.sigtimedwait({signal.SIGTERM}, _SPEAKING_S)
    sys.exit(code)


def _leave(message: str, code: int, *, several: bool) -> NoReturn:
    # Under torchrun every rank reads the same command and files, and finds the same fault: rank 0 tells it.
    if several and _is_silent_rank():
        leave_quietly(code)
    print(message, file=sys.stderr)
    sys.exit(code)


def _is_silent_rank() -> bool:
    """Whether another rank tells what is wrong; where the ranks themselves are wrong, all do."""
    try:
        return rank_and_world_size()[0] != 0
    except InputError:
        return False
