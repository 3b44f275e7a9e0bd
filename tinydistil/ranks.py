"""Floor 0: who this process is among those of a run, and what all of them know together.

Under `torchrun` each process is a rank; alone it is rank 0 of 1, and every function here is then a no-op that
costs nothing. Numbers of the host travel over gloo, those of CUDA devices over NCCL.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import NoReturn

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from tinydistil.errors import InputError, leave_quietly, rank_and_world_size, reason_of

# How long ranks wait for one of them: a validation or a checkpoint of rank 0 must fit. A rank that *dies* is noticed at
# once, by its closed connections.
PATIENCE = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process (`rank` of `world_size`) and the device it computes on."""

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this rank speaks and writes for all."""
        return self.rank == 0

    def sum_(self, values: Tensor) -> Tensor:
        """`values`, replaced in place by their sum over all ranks; any shape, the same on every rank."""
        if self.world_size > 1:
            dist.all_reduce(values, op=dist.ReduceOp.SUM)
        return values

    def min_(self, value: int) -> int:
        """The least of all ranks' values."""
        least = torch.tensor(value)
        if self.world_size > 1:
            dist.all_reduce(least, op=dist.ReduceOp.MIN)
        return int(least)

    def all_agree(self, condition: bool) -> bool:
        """Whether `condition` holds on every rank; every rank gets the same answer (and waits for it)."""
        return bool(self.min_(int(condition)))

    @contextmanager
    def agreed(self) -> Iterator[None]:
        """What only some ranks do inside (write a file, say), but whose failure is everybody's.

        An InputError of any rank ends all: the first one that failed raises it, the others leave without a word and
        with the same exit code. Without this they would wait for the one that failed.
        """
        failure: InputError | None = None
        try:
            yield
        except InputError as error:
            failure = error
        # An error of another kind is a bug: it passes, this process ends, and its closed connections end the others.
        speaker = self.min_(self.world_size if failure is None else self.rank)
        if speaker < self.world_size:
            self._end(failure, speaker)

    def refuse(self, message: str) -> NoReturn:
        """End all ranks with InputError(message); every rank calls it, the main one speaks."""
        self._end(InputError(message), 0)

    def barrier(self) -> None:
        """Wait until every rank is here."""
        self.all_agree(True)

    def leave(self) -> None:
        """End the process group, if this run has one."""
        if self.world_size > 1 and dist.is_initialized():
            dist.destroy_process_group()

    def _end(self, failure: InputError | None, speaker: int) -> NoReturn:
        if self.rank != speaker or failure is None:
            leave_quietly(2)
        raise failure


def restarted() -> bool:
    """Whether `torchrun --max-restarts` has started this run before."""
    return _attempt() > 0


def _attempt() -> int:
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def device_of(name: str) -> torch.device:
    """The device that "cpu", "cuda" (the one of this process's local rank) or "auto" (cuda where there is one) means.

    Raises InputError where CUDA is asked for and absent, or has fewer devices than this machine has ranks.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise InputError(f"device must be auto, cpu or cuda, got {name!r}")
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    if local_rank >= torch.cuda.device_count():
        raise InputError(
            f"device cuda:{local_rank} is not there: this machine has {torch.cuda.device_count()} CUDA devices; "
            "lower --nproc-per-node or use device cpu"
        )
    return torch.device("cuda", local_rank)


@contextmanager
def joined(device: str = "auto") -> Iterator[Ranks]:
    """This process's place among the ranks, from the variables that `torchrun` sets; alone without them.

    device: as in `device_of`. What goes wrong inside ends every rank: an InputError or OSError is told by the one that
    raised it (exit code 2), and a rank that lost another leaves with exit code 1.
    """
    rank, world_size = rank_and_world_size()
    if world_size > 1:
        _join(rank, world_size)
    ranks = Ranks(rank, world_size, torch.device("cpu"))
    try:
        # After meeting, so that a device that only one rank lacks ends all of them.
        with ranks.agreed():
            chosen = device_of(device)
        if chosen.type == "cuda":
            torch.cuda.set_device(chosen)
        yield Ranks(rank, world_size, chosen)
    except (InputError, OSError) as error:
        if world_size == 1:
            raise
        print(f"error: {reason_of(error)}", file=sys.stderr, flush=True)
        raise SystemExit(2) from None
    except RuntimeError as error:
        if not _lost_another(error):
            raise
        # The one that went has told its reason; fifty lines of traceback here would bury it.
        print(f"rank {rank}: another rank has gone, leaving", file=sys.stderr, flush=True)
        raise SystemExit(1) from None
    ranks.leave()


def _join(rank: int, world_size: int) -> None:
    """Meet the other ranks.

    torchrun keeps one store over restarts. Under the same keys a restarted rank would find the addresses of the dead
    (`--master-port` does so, torch 2.13) and wait for them, so each attempt gets keys of its own.
    """
    store, _, _ = next(rendezvous("env://", rank, world_size, timeout=PATIENCE))
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
    dist.init_process_group(
        backend,
        store=PrefixStore(f"tinydistil/{_attempt()}", store),
        rank=rank,
        world_size=world_size,
        timeout=PATIENCE,
    )


def _lost_another(error: RuntimeError) -> bool:
    """Whether `error` says that a connection to another rank broke."""
    return isinstance(error, dist.DistBackendError | dist.DistNetworkError) or "gloo" in str(error).lower()
