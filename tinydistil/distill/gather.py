"""A step of two passes, for what compares every sequence with all others of the global batch."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from tinydistil.base.ranks import Ranks
from tinydistil.distill.recipe import Part
from tinydistil.distill.step import BatchT, StepResult, Trainer
from tinydistil.distill.terms.base import Learner, Term
from tinydistil.distill.terms.batchwise import Gathering


class GatheringTrainer(Trainer[BatchT]):
    """A step that begins by gathering what its micro-batches are compared with.

    That pass has no gradient and is outside DistributedDataParallel; the step after it draws the same dropout. Both ask
    the teacher: to keep what it says of all micro-batches would take the memory that accumulation saves. Where one
    micro-batch is the global batch, there is one pass.
    """

    def step(self, micro_batches: Sequence[BatchT], learning_rate: float, progress: float = 0.0) -> StepResult:
        """As of every objective."""
        gathering = [module for module in self.module.modules() if isinstance(module, Gathering)]
        if len(micro_batches) * self.ranks.world_size > 1:
            self._gather(gathering, micro_batches, progress)
        try:
            return super().step(micro_batches, learning_rate, progress)
        finally:
            for each in gathering:
                each.whole = None

    @torch.no_grad()
    def _gather(self, gathering: list[Gathering], micro_batches: Sequence[BatchT], progress: float) -> None:
        device, precision, mark = self.ranks.device, self.autocast_dtype, self.watch.mark
        mark("data")
        for each in gathering:
            each.seen = []
        autocast = torch.autocast(device.type, precision, enabled=precision is not None)
        same_dropout = torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])
        with autocast, same_dropout, parts_alone(self.module, lambda _, term: isinstance(term, Gathering)):
            for batch in (each.to(device) for each in micro_batches):
                teacher = None if self.teacher is None else self.teacher(batch)
                mark("teacher")
                self.module(batch, teacher, progress)
                mark("student")
        for each in gathering:
            assert each.seen is not None
            (each.whole, each.start), each.seen = _of_all_ranks(torch.cat(each.seen), self.ranks), None
        mark("communication")


def _of_all_ranks(mine: Tensor, ranks: Ranks) -> tuple[Tensor, int]:
    """The rows of all ranks, one rank's after another's, and where this one's begin."""
    sizes = torch.zeros(ranks.world_size, dtype=torch.int64)  # of the host, which need not wait for its device
    sizes[ranks.rank] = len(mine)
    ends = ranks.sum_(sizes).cumsum(0).tolist()
    whole, start = mine.new_zeros(ends[-1], *mine.shape[1:]), ends[ranks.rank] - len(mine)
    whole[start : ends[ranks.rank]] = mine
    return ranks.sum_(whole), start


@contextmanager
def parts_alone(objective: nn.Module, wanted: Callable[[Part, Term], bool]) -> Iterator[None]:
    """Leave out the terms of a learner that are not `wanted`: vocabularies are large."""
    if not isinstance(objective, Learner):
        yield
        return
    parts = objective.parts
    objective.parts = tuple(part for part in parts if wanted(part, objective.terms[part.name]))
    try:
        yield
    finally:
        objective.parts = parts
