"""Scripts run in forked children of one process in which all that they import is loaded: a start takes milliseconds."""

import contextlib
import gc
import importlib
import os
import resource
import runpy
import signal
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SCRIPTS = Path(__file__).parents[2] / "scripts"
LIMIT_S = 20
# Address space beyond what the parent has; a child that asks for more is told that there is no memory.
_MEMORY = 6 << 30
_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
_WARM = (
    "torch", "torch._dynamo", "numpy", "scipy.stats", "safetensors.torch", "tokenizers", "tqdm", "pyarrow.parquet",
    "ftfy", "zstandard", "tinydistil.train.estimate", "tinydistil.corpus.raw_text", "tinydistil.tasks.finetune",
    "tinydistil.tasks.folder", "tinydistil.demo.run", "tinydistil.evaluate.evaluation",
)  # fmt: skip


@dataclass(frozen=True)
class Left:
    """How a script left: exit code (negative: a signal), None where it was ended at the limit."""

    code: int | None
    out: str
    err: str
    seconds: float

    @property
    def verdict(self) -> str:
        """accepted, refused, or what is wrong: hang, traceback, lines (no single line of error), memory."""
        if self.code is None:
            return "hang"
        if "Traceback (most recent call last)" in self.err or self.code not in (0, 2):
            return "traceback"
        if self.code == 0:
            return "accepted"
        errors = [line for line in self.err.splitlines() if line.startswith("error: ")]
        last = (self.err.splitlines() or [""])[-1]
        if errors != [last] or len(last) > 1500:
            return "lines"
        return "memory" if "out of memory" in last else "refused"


def warm() -> None:
    """Import what scripts import."""
    for name in _WARM:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


def call(
    script: str,
    arguments: Sequence[str],
    folder: Path,
    *,
    limit_s: float = LIMIT_S,
    environment: Mapping[str, str] | None = None,
) -> Left:
    """Run scripts/SCRIPT.py with `arguments` in `folder`; nothing is read from standard input."""
    out, err = folder.with_suffix(".out"), folder.with_suffix(".err")
    started = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of threads that a fork leaves behind: none of them holds a lock here
        child = os.fork()
    if child == 0:
        os.environ.update(environment or {})
        _run(script, arguments, folder, out, err)
    code: int | None = None
    try:
        while time.monotonic() - started < limit_s:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                code = os.waitstatus_to_exitcode(status)
                break
            time.sleep(0.01)
    finally:
        _end_group(child, waited=code is not None)
    seconds = time.monotonic() - started
    return Left(code, out.read_text(errors="replace"), err.read_text(errors="replace"), seconds)


def _end_group(child: int, *, waited: bool) -> None:
    """End the child and whatever it has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
    if not waited:
        os.waitpid(child, 0)


def _run(script: str, arguments: Sequence[str], folder: Path, out: Path, err: Path) -> None:
    """What the child does; it never returns."""
    code = 70
    try:
        os.setsid()
        os.chdir(folder)
        for number, (path, flags) in enumerate(((os.devnull, os.O_RDONLY), (out, _NEW), (err, _NEW))):
            os.dup2(os.open(path, flags, 0o666), number)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + _MEMORY, used + _MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        sys.stdin, sys.stdout, sys.stderr = (os.fdopen(n, "r" if n == 0 else "w", encoding="utf-8") for n in range(3))
        sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr  # type: ignore[misc]
        sys.argv = [f"{script}.py", *arguments]
        runpy.run_path(str(SCRIPTS / f"{script}.py"), run_name="__main__")
        code = 0
    except SystemExit as leave:
        code = leave.code if isinstance(leave.code, int) else 0 if leave.code is None else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        code = 1
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)
