"""Candidates in processes of their own, asked in turn: honest memory for each, and rounds that are still interleaved.

A candidate that has run first leaves the allocator warm for the next; in a process of its own it cannot. All are
alive at once and one works at a time, so a busy machine slows all alike.
"""

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, Protocol

import torch

# glibc gives back a large block at once and maps it anew at the next use, every page of it zeroed by the kernel. So set
# it keeps what it has. The default threshold cannot be raised above 32 MiB, hence no mapping at all.
KEEPING = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 36), "MALLOC_TOP_PAD_": str(1 << 26)}
ALLOCATORS: dict[str, dict[str, str]] = {"default": {}, "keeping": KEEPING}


class Asked(Protocol):
    """Whoever answers questions: a process, several as one, or (in tests) none at all."""

    name: str

    def ask(self, question: str) -> dict[str, float]:
        """The answer, once it is there."""


class Candidate:
    """A script that serves (see `serve`), started with `arguments`; standard error passes through."""

    def __init__(self, name: str, script: str, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, script, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TOKENIZERS_PARALLELISM": "false", **environment},
        )

    def send(self, question: str) -> None:
        """Ask, without waiting for the answer."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(question + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self._gone()

    def answer(self) -> dict[str, float]:
        """The answer to the oldest open question."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._gone()
        return {name: float(value) for name, value in json.loads(line).items()}

    def ask(self, question: str) -> dict[str, float]:
        """Send and wait."""
        self.send(question)
        return self.answer()

    def end(self) -> None:
        """Let it go; a served script ends with its questions."""
        self._process.kill()
        self._process.wait()

    def _gone(self) -> NoReturn:
        raise SystemExit(f"candidate {self.name!r} ended with code {self._process.wait()}; see its message above")


@contextmanager
def running(
    names: Mapping[str, Mapping[str, str]] | Sequence[str],
    script: str,
    arguments: Sequence[str],
    *,
    allocator: str = "default",
) -> Iterator[list[Candidate]]:
    """A process for each name, started as `script arguments --serve NAME`, one after the other.

    A mapping gives what is added to the environment of each.
    """
    environments = names if isinstance(names, Mapping) else {name: {} for name in names}
    candidates: list[Candidate] = []
    try:
        for name, environment in environments.items():
            added = {**ALLOCATORS[allocator], **environment}
            candidates.append(Candidate(name, script, [*arguments, "--serve", name], added))
            candidates[-1].ask("ready")  # two that load at once would only be in each other's way
        yield candidates
    finally:
        for candidate in candidates:
            candidate.end()


def serve(make: Callable[[], Callable[[str], Mapping[str, float]]]) -> None:
    """Answer each line of standard input by what `make` returns, as JSON, until there is no more; "ready" by {}."""
    # Libraries print what they like; only answers may reach whoever asks.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    answer = make()
    for line in sys.stdin:
        question = line.strip()
        print(json.dumps({} if question == "ready" else dict(answer(question))), file=answers)


def start_peak() -> float:
    """Count peak memory from here on; returns what is held now, in MiB (of the device, where it is CUDA; else Linux).

    Blocks that malloc keeps for later go back first, or they would count as held and hide what is needed. The next
    calls must map them anew: memory and time are not to be taken of the same call.
    """
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / 2**20
    ctypes.CDLL(None).malloc_trim(0)
    # Not getrusage: its maximum is never reset, and a child begins with its parent's.
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak_mib() -> float:
    """The most memory held since `start_peak`, in MiB."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return _status("VmHWM")


def _status(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024
