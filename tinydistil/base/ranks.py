"""Who this process is among those of a run, and what all of them know together.

Under `torchrun` each process is a rank; alone it is rank 0 of 1, and every function here is then a no-op that
costs nothing. Numbers of the host travel over gloo, those of CUDA devices over NCCL.
"""

import hashlib
import importlib.metadata
import os
import platform
import re
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import NoReturn
from uuid import uuid4

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from tinydistil.base.errors import InputError, leave_quietly, rank_and_world_size, reason_of, whole_from_environment

# How long ranks wait to meet, and for each other's gradients on CUDA, where a rank that died may go unnoticed. On the
# host one may prepare a corpus meanwhile, and a rank that *dies* is noticed at once, by its closed connections.
TIMEOUT, HOST_TIMEOUT = timedelta(minutes=10), timedelta(days=365)
_NOTICE_S = 5  # after which a rank that meets nobody says so; the others of a node start within a second or two
_TOLD_AFTER_S = 60.0  # after which a wait is told of, and again each time that it has doubled
_ASKED_EVERY_S = 0.05  # whether rank 0 has answered
# torchrun believes a machine that went alive for 15 s after its last sign, and would let the others meet it again.
_FORGOTTEN_S = 30.0
_PIECE = timedelta(seconds=1)  # of a wait, between which signals are handled


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process (`rank` of `world_size`), the device it computes on, and the group in which hosts talk.

    A wait for the others takes as long as it takes, and says from time to time what they have yet to do (`doing`).
    """

    rank: int
    world_size: int
    device: torch.device
    group: dist.ProcessGroup | None = None

    @property
    def is_main(self) -> bool:
        """Whether this rank speaks and writes for all."""
        return self.rank == 0

    def sum_(self, values: Tensor) -> Tensor:
        """`values`, replaced in place by their sum over all ranks; any shape, the same on every rank."""
        return self._reduced(values, dist.ReduceOp.SUM, "reach the same step")

    def all_agree(self, condition: bool, doing: str = "reach the same point") -> bool:
        """Whether `condition` holds on every rank; every rank gets the same answer, and waits for it."""
        return bool(self._reduced(torch.tensor(int(condition)), dist.ReduceOp.MIN, doing))

    def barrier(self, doing: str = "reach the same point") -> None:
        """Wait until every rank is here."""
        self.all_agree(True, doing)

    @contextmanager
    def agreed(self, doing: str = "reach the same point") -> Iterator[None]:
        """What only some ranks do inside (write a file, say), but whose failure is everybody's.

        An InputError of any rank ends all: the first one that failed raises it, the others leave without a word and
        with the same exit code.
        """
        failure: InputError | None = None
        try:
            yield
        except InputError as error:
            failure = error
        # An error of another kind is a bug: it passes, this process ends, and its closed connections end the others.
        mine = torch.tensor(self.world_size if failure is None else self.rank)
        speaker = int(self._reduced(mine, dist.ReduceOp.MIN, doing))
        if speaker < self.world_size:
            self._end(failure, speaker)

    def require_same(self, what: str, parts: Iterable[bytes | memoryview]) -> None:
        """End all ranks with an InputError where `what`, given as its bytes, differs between them."""
        digest = hashlib.sha256()
        for part in parts if self.world_size > 1 else ():
            digest.update(part)
        number = int.from_bytes(digest.digest()[:7], "big")
        least, most = self._reduced(torch.tensor([number, -number]), dist.ReduceOp.MIN, "reach the same point").tolist()
        if least != -most:
            self.refuse(f"{what} differs between ranks; give every machine the same files and versions")

    def broadcast_(self, tensors: Iterable[Tensor]) -> None:
        """Replace `tensors` in place by those of rank 0; by way of the host, so on any device."""
        for tensor in tensors if self.world_size > 1 else ():
            host = tensor.detach().cpu().contiguous()
            dist.broadcast(host, 0, group=self.group)
            tensor.copy_(host)

    def refuse(self, message: str) -> NoReturn:
        """End all ranks with InputError(message); every rank calls it, the main one speaks."""
        self._end(InputError(message), 0)

    def _reduced(self, values: Tensor, operation: dist.ReduceOp.RedOpType, doing: str) -> Tensor:
        """`values`, reduced in place over all ranks."""
        if self.world_size == 1:
            return values
        if values.device.type != "cpu":
            dist.all_reduce(values, op=operation)
            return values
        began, told_after_s = time.monotonic(), _TOLD_AFTER_S
        work = dist.all_reduce(values, op=operation, group=self.group, async_op=True)
        while not work.is_completed():
            with suppress(RuntimeError):  # where this piece of the wait is over; an error is raised below
                work.wait(_PIECE)
            waited_s = time.monotonic() - began
            if waited_s >= told_after_s:
                told_after_s *= 2
                told = f"rank {self.rank}: waiting for other ranks to {doing}, {waited_s:.0f} s so far"
                print(told, file=sys.stderr, flush=True)
        work.wait()
        return values

    def _end(self, failure: InputError | None, speaker: int) -> NoReturn:
        if self.rank != speaker or failure is None:
            leave_quietly(2)
        raise failure


def attempt() -> int:
    """How often `torchrun --max-restarts` has started this run before."""
    return whole_from_environment("TORCHELASTIC_RESTART_COUNT")


def device_of(name: str, *, numbered: bool = False) -> torch.device:
    """The device that "cpu", "cuda" (the one of this process's local rank) or "auto" (cuda where there is one) means.

    numbered: "cuda:N" is allowed too, for a script of one process.
    Raises InputError where CUDA is asked for and absent, or has fewer devices than this machine has ranks.
    """
    number = re.fullmatch(r"cuda:(\d{1,4})", name, re.ASCII) if numbered else None
    if number is None and name not in ("auto", "cpu", "cuda"):
        raise InputError(f"device must be auto, cpu or cuda{'[:N]' if numbered else ''}, got {name!r}")
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    index, there = whole_from_environment("LOCAL_RANK") if number is None else int(number[1]), torch.cuda.device_count()
    if index >= there:
        remedy = "use device cpu" if numbered else "lower --nproc-per-node or use device cpu"
        raise InputError(f"device cuda:{index} is not there: this machine has {there} CUDA devices; {remedy}")
    return torch.device("cuda", index)


@contextmanager
def joined(device: str = "auto") -> Iterator[Ranks]:
    """This process's place among the ranks, from the variables that `torchrun` sets; alone without them.

    device: as in `device_of`. What goes wrong inside ends every rank: an InputError or OSError is told by the one that
    raised it (exit code 2), and a rank that lost another leaves with exit code 1.
    """
    rank, world_size = rank_and_world_size()
    group = _join(rank, world_size) if world_size > 1 else None
    try:
        # After meeting, so that a device that only one rank lacks ends all of them.
        with Ranks(rank, world_size, torch.device("cpu"), group).agreed():
            chosen = device_of(device)
        if chosen.type == "cuda":
            torch.cuda.set_device(chosen)
        yield Ranks(rank, world_size, chosen, group)
    except (InputError, OSError) as error:
        if world_size == 1:
            raise
        print(f"error: {reason_of(error)}", file=sys.stderr, flush=True)
        raise SystemExit(2) from None
    except RuntimeError as error:
        if not isinstance(error, dist.DistBackendError | dist.DistNetworkError) and "gloo" not in str(error).lower():
            raise
        # The one that went has told its reason; fifty lines of traceback here would bury it.
        gone = f"has not answered for {TIMEOUT}" if "timed out" in str(error).lower() else "has gone"
        print(f"rank {rank}: another rank {gone}, leaving", file=sys.stderr, flush=True)
        # Where its machine lives, torchrun ends this wait with the new meeting.
        leave_quietly(1, _FORGOTTEN_S if whole_from_environment("GROUP_WORLD_SIZE", least=1) > 1 else 0)
    if world_size > 1 and dist.is_initialized():
        dist.destroy_process_group()


def _join(rank: int, world_size: int) -> dist.ProcessGroup | None:
    """Meet the other ranks. Returns the group of the hosts, where that is not the default one.

    torchrun keeps one store over restarts. Under the same keys a restarted rank would find the addresses of the dead
    (`--master-port` does so, torch 2.13) and wait for them, so each meeting gets keys of its own.
    """
    place = ":".join(os.environ.get(name, "") for name in ("MASTER_ADDR", "MASTER_PORT"))
    waiting = f"rank {rank} waits for {world_size - 1} others at {place}, {TIMEOUT.total_seconds() / 60:.0f} minutes"
    notice = threading.Timer(_NOTICE_S, print, [waiting], {"file": sys.stderr, "flush": True})
    notice.daemon = True
    notice.start()
    try:
        store, _, _ = next(rendezvous("env://", rank, world_size, timeout=TIMEOUT))
        store = PrefixStore(_meeting(store, rank, world_size), store)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"rank {rank} has not met the others at {place} ({reason}); start with torchrun") from None
    finally:
        notice.cancel()
    cuda = torch.cuda.is_available() and dist.is_nccl_available()
    backend, timeout = ("cpu:gloo,cuda:nccl", TIMEOUT) if cuda else ("gloo", HOST_TIMEOUT)
    dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=timeout)
    return dist.new_group(backend="gloo", timeout=HOST_TIMEOUT) if cuda else None


def _meeting(store: Store, rank: int, world_size: int) -> str:
    """A name that the ranks which meet now have in common, and no meeting before: rank 0 makes it, and answers each.

    The number of restarts is none: torchrun counts it for each machine, from 0 on one that is new, and does not count
    those for a machine that came back.
    """
    if rank == 0:
        name = f"tinydistil/{uuid4().hex}"
        store.set("tinydistil", name)
        for other in range(1, world_size):
            store.set(f"{name}/answer/{other}", store.get(f"{name}/call/{other}").decode())
        return name
    mine, until = uuid4().hex, time.monotonic() + TIMEOUT.total_seconds()
    while time.monotonic() < until:
        # It may still be that of a rank 0 that is dead, and answers nobody.
        name = store.get("tinydistil").decode()
        store.set(f"{name}/call/{rank}", mine)
        time.sleep(_ASKED_EVERY_S)
        if store.check([f"{name}/answer/{rank}"]) and store.get(f"{name}/answer/{rank}").decode() == mine:
            return name
    raise RuntimeError("rank 0 does not answer")


def environment(ranks: Ranks) -> dict[str, object]:
    """What the figures of a run depend on beside its configuration, for environment.json."""
    try:  # which Linux tells in a file only
        found = re.search(
            r"^model name\s*:\s*(.*?)\s*$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE
        )
        processor = found[1] if found else "unknown"
    except OSError:
        processor = platform.processor()
    packages = ("torch", "tokenizers", "numpy", "safetensors", "scipy")
    return {
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in packages},
        "platform": platform.platform(),
        "processor": processor,
        "cores": os.cpu_count(),
        "cuda_device": torch.cuda.get_device_name(ranks.device) if ranks.device.type == "cuda" else None,
        "world_size": ranks.world_size,
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }
