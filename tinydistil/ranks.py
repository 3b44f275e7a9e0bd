"""Floor 0: who this process is among those of a run, and what all of them know together.

Under `torchrun` each process is a rank; alone it is rank 0 of 1, and every function here is then a no-op that
costs nothing. Collectives run over gloo on CPUs and NCCL on CUDA devices.
"""

import os
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from tinydistil.errors import InputError


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

    def all_agree(self, condition: bool | Tensor) -> bool:
        """Whether `condition` holds on every rank; every rank gets the same answer (and waits for it)."""
        held = torch.as_tensor(condition, device=self.device).to(torch.int32)
        if self.world_size > 1:
            dist.all_reduce(held, op=dist.ReduceOp.MIN)
        return bool(held)

    def barrier(self) -> None:
        """Wait until every rank is here."""
        if self.world_size > 1:
            dist.barrier()

    def leave(self) -> None:
        """End the process group, if this run has one."""
        if self.world_size > 1 and dist.is_initialized():
            dist.destroy_process_group()


def join(device: str = "auto") -> Ranks:
    """Take this process's place, from the variables that `torchrun` sets; alone without them.

    device: "cpu", "cuda" (the one of this process's local rank) or "auto" (cuda where there is one).
    Raises InputError where CUDA is asked for and absent, or has fewer devices than local ranks.
    """
    world_size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(f"device must be auto, cpu or cuda, got {device!r}")
    use_cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    if use_cuda and local_rank >= torch.cuda.device_count():
        raise InputError(
            f"device cuda:{local_rank} is not there: this machine has {torch.cuda.device_count()} CUDA devices; "
            "lower --nproc-per-node or use device cpu"
        )
    chosen = torch.device("cuda", local_rank) if use_cuda else torch.device("cpu")
    if use_cuda:
        torch.cuda.set_device(chosen)
    if world_size > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if use_cuda else "gloo")
    return Ranks(rank, world_size, chosen)
