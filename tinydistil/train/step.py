"""One step of training: teach, learn, compare, update.

The gradient is that of the objective over the *global* batch: each term's sum over ranks and micro-batches divided by
its count over ranks and micro-batches. So 1 process, N processes and accumulation agree to rounding.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Generic

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tinydistil.distill.losses import average, weighted
from tinydistil.errors import InputError
from tinydistil.ranks import Ranks
from tinydistil.train.objective import BatchT, Objective, SignalT

PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step did: each term's mean over the global batch, its tokens, the gradient's norm, and if it was taken."""

    terms: dict[str, float]
    tokens: int
    gradient_norm: float
    taken: bool


class Trainer(Generic[BatchT, SignalT]):
    """Holds what a step needs. `module` is the objective as a module, `model` that wrapped where ranks are several.

    `teach` is called on each micro-batch, outside autograd and outside DistributedDataParallel.
    """

    def __init__(
        self,
        objective: Objective[BatchT, SignalT],
        optimizer: torch.optim.Optimizer,
        ranks: Ranks,
        *,
        teach: Callable[[BatchT], SignalT] | None = None,
        precision: str = "float32",
        clip_norm: float = 1.0,
    ) -> None:
        assert isinstance(objective, nn.Module)
        self.objective, self.optimizer, self.ranks, self.teach = objective, optimizer, ranks, teach
        self.clip_norm = clip_norm
        self.autocast_dtype = PRECISIONS[precision]
        # Gradients of float16 underflow without a scale; those of bfloat16 do not.
        self.scaler = torch.amp.GradScaler(ranks.device.type, enabled=precision == "float16")
        self.module: nn.Module = objective
        self.model = DistributedDataParallel(self.module) if ranks.world_size > 1 else self.module

    def step(self, micro_batches: Sequence[BatchT], learning_rate: float) -> StepResult:
        """Take one step over this rank's `micro_batches` at `learning_rate`.

        Where a loss or the gradient is not finite on any rank, all ranks leave the weights as they are.
        """
        counts, tokens = self._counts(micro_batches)
        totals = torch.zeros(len(counts), dtype=torch.float64, device=self.ranks.device)
        for place, batch in enumerate(micro_batches):
            # Gradients travel once a step, with the last micro-batch.
            with nullcontext() if place == len(micro_batches) - 1 else self._no_sync():
                totals += self._backward(batch.to(self.ranks.device), counts)
        self.scaler.unscale_(self.optimizer)  # before clipping, or the limit would be on scaled gradients
        gradient_norm = nn.utils.clip_grad_norm_(self.module.parameters(), self.clip_norm or float("inf"))
        finite = self.ranks.all_agree(torch.isfinite(totals).all() & torch.isfinite(gradient_norm))
        if finite:
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate
            self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        means = self.ranks.sum_(totals) / torch.stack(list(counts.values())).clamp(min=1)
        return StepResult(dict(zip(counts, means.tolist(), strict=True)), tokens, float(gradient_norm), finite)

    def _backward(self, batch: BatchT, counts: Mapping[str, Tensor]) -> Tensor:
        """Add one micro-batch's gradient; returns its terms' sums (len(counts),), detached."""
        with self._autocast():
            taught = None
            if self.teach is not None:
                with torch.no_grad():
                    taught = self.teach(batch)
            parts = self.model(batch, taught)
        losses = {name: average(parts[name], count, self.ranks.world_size) for name, count in counts.items()}
        self.scaler.scale(weighted(losses, self.objective.weights)).backward()  # type: ignore[no-untyped-call]
        return torch.stack([parts[name].total.detach().double() for name in counts])

    def _counts(self, micro_batches: Sequence[BatchT]) -> tuple[dict[str, Tensor], int]:
        """Each term's count over all ranks and micro-batches, known before any pass, and the tokens of the step."""
        names = list(self.objective.weights)
        rows = [[self.objective.counts(batch)[name] for name in names] + [batch.tokens] for batch in micro_batches]
        everywhere = self.ranks.sum_(torch.tensor(rows, dtype=torch.float64, device=self.ranks.device).sum(0))
        return dict(zip(names, everywhere, strict=False)), int(everywhere[-1])

    def _autocast(self) -> AbstractContextManager[object]:
        if self.autocast_dtype is None:
            return nullcontext()
        return torch.autocast(self.ranks.device.type, self.autocast_dtype)

    def _no_sync(self) -> AbstractContextManager[object]:
        return self.model.no_sync() if isinstance(self.model, DistributedDataParallel) else nullcontext()


def check_precision(precision: str, device: torch.device) -> None:
    """Raise InputError for a precision that is unknown or that `device` cannot train in."""
    if precision not in PRECISIONS:
        raise InputError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    if precision == "float16" and device.type == "cpu":
        raise InputError("precision float16 needs a CUDA device; choose bfloat16 or float32")
