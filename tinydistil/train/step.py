"""One step of training: teach, learn, compare, update.

The gradient is that of the recipe over the *global* batch: each term's sum over ranks and micro-batches divided by
its count over ranks and micro-batches. So 1 process, N processes and accumulation agree to rounding.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tinydistil.distill.learner import Learner
from tinydistil.distill.losses import IGNORED, average
from tinydistil.distill.teacher import LiveTeacher
from tinydistil.errors import InputError
from tinydistil.model.batch import MaskedBatch
from tinydistil.ranks import Ranks

PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step did: each term's mean over the global batch, the gradient's norm, and whether it was taken."""

    terms: dict[str, float]
    gradient_norm: float
    taken: bool


class Trainer:
    """Holds what a step needs. `model` is the learner, wrapped where there are several ranks."""

    def __init__(
        self,
        learner: Learner,
        teacher: LiveTeacher | None,
        optimizer: torch.optim.Optimizer,
        ranks: Ranks,
        *,
        precision: str = "float32",
        clip_norm: float = 1.0,
    ) -> None:
        self.learner, self.teacher, self.optimizer, self.ranks = learner, teacher, optimizer, ranks
        self.clip_norm = clip_norm
        self.autocast_dtype = PRECISIONS[precision]
        # Gradients of float16 underflow without a scale; those of bfloat16 do not.
        self.scaler = torch.amp.GradScaler(ranks.device.type, enabled=precision == "float16")
        self.model: nn.Module = learner
        if ranks.world_size > 1:
            self.model = DistributedDataParallel(learner)

    def step(self, micro_batches: Sequence[MaskedBatch], learning_rate: float) -> StepResult:
        """Take one step over this rank's `micro_batches` at `learning_rate`.

        Where a loss or the gradient is not finite on any rank, all ranks leave the weights as they are.
        """
        names, counts = self._counts(micro_batches)
        totals = torch.zeros_like(counts)
        for place, batch in enumerate(micro_batches):
            # Gradients travel once a step, with the last micro-batch.
            with nullcontext() if place == len(micro_batches) - 1 else self._no_sync():
                totals += self._backward(batch.to(self.ranks.device), names, counts)
        self.scaler.unscale_(self.optimizer)  # before clipping, or the limit would be on scaled gradients
        gradient_norm = nn.utils.clip_grad_norm_(self.learner.parameters(), self.clip_norm or float("inf"))
        finite = self.ranks.all_agree(torch.isfinite(totals).all() & torch.isfinite(gradient_norm))
        if finite:
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate
            self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        means = self.ranks.sum_(totals) / counts.clamp(min=1)
        return StepResult(dict(zip(names, means.tolist(), strict=True)), float(gradient_norm), finite)

    def _backward(self, batch: MaskedBatch, names: Sequence[str], counts: Tensor) -> Tensor:
        """Add one micro-batch's gradient; returns its terms' sums (len(names),), detached."""
        with self._autocast():
            taught = None if self.teacher is None else self.teacher(batch, self.learner.soft_rows(batch))
            parts = self.model(batch, taught)
        recipe, world_size = self.learner.recipe, self.ranks.world_size
        loss = torch.stack(
            [
                getattr(recipe, name) * average(parts[name], count, world_size)
                for name, count in zip(names, counts, strict=True)
            ]
        ).sum()
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        return torch.stack([parts[name].total.detach().double() for name in names])

    def _counts(self, micro_batches: Sequence[MaskedBatch]) -> tuple[tuple[str, ...], Tensor]:
        """The names of the recipe's terms and their counts over all ranks and micro-batches, known before any pass."""
        names = tuple(name for name in ("hard", "soft", "hidden") if getattr(self.learner.recipe, name) > 0)
        counts = [[count_of(name, batch, self.learner) for name in names] for batch in micro_batches]
        return names, self.ranks.sum_(torch.tensor(counts, dtype=torch.float64, device=self.ranks.device).sum(0))

    def _autocast(self) -> AbstractContextManager[object]:
        if self.autocast_dtype is None:
            return nullcontext()
        return torch.autocast(self.ranks.device.type, self.autocast_dtype)

    def _no_sync(self) -> AbstractContextManager[object]:
        return self.model.no_sync() if isinstance(self.model, DistributedDataParallel) else nullcontext()


def count_of(term: str, batch: MaskedBatch, learner: Learner) -> int:
    """What `term` of `batch` is divided by: the count that its loss returns, without computing the loss."""
    if term == "hard":
        return int((batch.targets != IGNORED).sum())
    if term == "soft":
        return len(learner.soft_rows(batch))
    unit = learner.recipe.unit
    if unit == "token":
        return int(batch.counted.sum())
    if unit == "pooled":
        return int(batch.counted.any(1).sum())
    return int((batch.word_index.amax(1) + 1).sum())


def check_precision(precision: str, device: torch.device) -> None:
    """Raise InputError for a precision that is unknown or that `device` cannot train in."""
    if precision not in PRECISIONS:
        raise InputError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    if precision == "float16" and device.type == "cpu":
        raise InputError("precision float16 needs a CUDA device; choose bfloat16 or float32")
