"""One step of training, in the order in which it happens: `Trainer.step` is the whole of distillation.

The gradient is that of the objective over the *global* batch: each term's sum over ranks and micro-batches divided by
its count over ranks and micro-batches. So 1 process, N processes and accumulation agree to rounding. Fine-tuning is
another objective of the same step.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Generic, Protocol, Self, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import GradBucket  # type: ignore[attr-defined]
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from tinydistil.base.errors import InputError, require
from tinydistil.base.ranks import Ranks
from tinydistil.distill.terms.base import Loss

PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
# Where the time of a step goes.
PARTS = ("data", "teacher", "student", "backward", "optimizer", "communication")


class Batch(Protocol):
    """One rank's share of a step, or a part of that share."""

    @property
    def tokens(self) -> int:
        """Tokens that are neither padding nor put there to keep a rank in step: what throughput and budgets count."""

    def to(self, device: torch.device) -> Self:
        """The batch on `device`."""


BatchT = TypeVar("BatchT", bound=Batch)
_BatchIn = TypeVar("_BatchIn", contravariant=True)


class Objective(Protocol[_BatchIn]):
    """A torch module whose forward pass gives the terms of a loss by name, each as a sum."""

    @property
    def reports(self) -> Mapping[str, str]:
        """The numbers that are reported, each with the term whose count divides it."""

    def counts(self, batch: _BatchIn, /) -> Mapping[str, int]:
        """What each term of this micro-batch is divided by, known before any pass and without a device's help."""

    def __call__(self, batch: _BatchIn, teacher: Any, progress: float, /) -> Mapping[str, Loss]:
        """The terms of one micro-batch. `teacher` is what the teacher has computed of it, None without one; `progress`
        the share of all steps that are done, for what follows a schedule."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step did, the same on every rank.

    sums, counts: of each reported number over the global batch; tokens: of the batch; gradient_norm: before clipping.
    taken: whether the weights moved. overflowed: they did not, but only because the scale of float16 was too high.
    bad_ranks: those whose own loss was not finite.
    """

    sums: dict[str, float]
    counts: dict[str, float]
    tokens: int
    gradient_norm: float
    taken: bool
    overflowed: bool
    bad_ranks: tuple[int, ...]

    @property
    def terms(self) -> dict[str, float]:
        """Each number's mean over the global batch."""
        return {name: total / max(self.counts[name], 1.0) for name, total in self.sums.items()}


class Trainer(Generic[BatchT]):
    """Holds what a step needs. `module` is the objective as a module, `model` that wrapped where ranks are several.

    `teacher` is called on each micro-batch, outside autograd and outside DistributedDataParallel.
    """

    def __init__(
        self,
        objective: Objective[BatchT],
        optimizer: torch.optim.Optimizer,
        ranks: Ranks,
        *,
        teacher: Callable[[BatchT], Any] | None = None,
        precision: str = "float32",
        clip_norm: float = 1.0,
    ) -> None:
        assert isinstance(objective, nn.Module)
        self.objective, self.optimizer, self.ranks, self.teacher = objective, optimizer, ranks, teacher
        self.clip_norm = clip_norm
        self.autocast_dtype = PRECISIONS[precision]
        # Gradients of float16 underflow without a scale; those of bfloat16 do not.
        self.scaler = torch.amp.GradScaler(ranks.device.type, enabled=precision == "float16")
        self.module: nn.Module = objective
        self.model: nn.Module = objective
        self.watch = Stopwatch(ranks.device)
        self.distributed: DistributedDataParallel | None = None
        if ranks.world_size > 1:
            self.model = self.distributed = DistributedDataParallel(self.module)
            # Buffers are fixed (a PCA, position numbers): having travelled once, here, they need not do so every step.
            self.distributed.broadcast_buffers = False
            self.distributed.register_comm_hook(None, self._all_reduce)

    def step(self, micro_batches: Sequence[BatchT], learning_rate: float, progress: float = 0.0) -> StepResult:
        """Take one step over this rank's `micro_batches`, with the share `progress` of all steps done before.

        Where a loss or the gradient is not finite on any rank, all ranks leave the weights as they are.
        """
        objective, device, several, mark = self.objective, self.ranks.device, self.distributed, self.watch.mark
        # Of each term over all ranks and micro-batches; the host knows them, so the device need not wait.
        counted = [{**objective.counts(batch), "": batch.tokens} for batch in micro_batches]
        summed = torch.tensor([list(each.values()) for each in counted], dtype=torch.float64).sum(0)
        mark("data")
        if several is not None:
            self.ranks.sum_(summed)
        counts = dict(zip(counted[0], summed.tolist(), strict=True))
        mark("communication")
        sums = torch.zeros(len(objective.reports), dtype=torch.float64, device=device)
        for number, batch in enumerate(micro_batches, start=1):
            is_last, batch = number == len(micro_batches), batch.to(device)
            mark("data")
            # Gradients travel once a step, with the last micro-batch.
            with nullcontext() if several is None or is_last else several.no_sync():
                with torch.autocast(device.type, self.autocast_dtype, enabled=self.autocast_dtype is not None):
                    teacher = None
                    if self.teacher is not None:
                        with torch.no_grad():  # not inference_mode: losses keep these states for their backward pass
                            teacher = self.teacher(batch)
                        mark("teacher")
                    losses: Mapping[str, Loss] = self.model(batch, teacher, progress)
                # Each term is a sum, divided once, by its count over all ranks and micro-batches. times world_size:
                # DistributedDataParallel averages gradients over ranks, where we want their sum.
                loss = torch.stack([
                    each.weight * each.total * (self.ranks.world_size / max(counts[name], 1.0))
                    for name, each in losses.items()
                ]).sum()  # fmt: skip
                mark("student")
                self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
                mark("backward" if several is None or not is_last else "communication")
            numbers = [losses[term].numbers.get(name, losses[term].total) for name, term in objective.reports.items()]
            sums += torch.stack([each.detach().double() for each in numbers])
        self.scaler.unscale_(self.optimizer)  # before clipping, or the limit would be on scaled gradients
        gradient_norm = nn.utils.clip_grad_norm_(self.module.parameters(), self.clip_norm or float("inf"))
        result = self._agreed(sums, gradient_norm, counts)
        if result.taken:
            # A group may learn at a share of the rate (layer-wise rates in fine-tuning).
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate * group.get("lr_scale", 1.0)
            self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        mark("optimizer")
        return result

    def restore_scale(self, saved: object) -> None:
        """Go on with the gradient scale of a checkpoint; nothing to do where either run is not in float16.

        Raises InputError where it is none.
        """
        if self.scaler.is_enabled() and saved:
            state = saved if isinstance(saved, dict) else {}
            sound = state.keys() == self.scaler.state_dict().keys()
            sound = sound and all(type(each) in (int, float) for each in state.values())
            require(sound and 0 < state["scale"] < math.inf, "state.json: scaler is not what was saved")
            self.scaler.load_state_dict(state)

    def _agreed(self, sums: Tensor, gradient_norm: Tensor, counts: dict[str, float]) -> StepResult:
        """Sum the numbers over ranks and decide, alike on all, whether the step is taken."""
        bad = torch.zeros(self.ranks.world_size, dtype=torch.float64, device=sums.device)
        bad[self.ranks.rank] = ~torch.isfinite(sums).all()
        self.watch.mark("optimizer")
        everywhere = torch.cat([sums, bad, gradient_norm.detach().double()[None]])
        if self.distributed is not None:
            # DistributedDataParallel averages nothing, without a word, while it waits for a parameter no term reaches.
            parameters = self.module.named_parameters()
            missing = [name for name, each in parameters if each.requires_grad and each.grad is None]
            assert not missing, f"no term reaches {', '.join(missing)}; the objective must freeze them"
            self.ranks.sum_(everywhere)
        # The step's one wait for the device: no rank may update before all know that all may.
        values = everywhere.tolist()
        self.watch.mark("communication")
        bad_ranks = tuple(rank for rank, flag in enumerate(values[len(sums) : -1]) if flag)
        norm = values[-1] / self.ranks.world_size  # each rank holds the whole gradient
        taken = not bad_ranks and math.isfinite(norm)
        # At a scale of 1 or less it is the gradient itself that is too large.
        overflowed = not taken and not bad_ranks and self.scaler.is_enabled() and self.scaler.get_scale() > 1
        reports = self.objective.reports
        by_name = {name: counts[term] for name, term in reports.items()}
        return StepResult(
            dict(zip(reports, values, strict=False)), by_name, int(counts[""]), norm, taken, overflowed, bad_ranks
        )

    def _all_reduce(self, _state: object, bucket: GradBucket) -> torch.futures.Future[Tensor]:
        """Average a bucket of gradients over ranks. Once the last one is full, the rest is waiting for others."""
        if bucket.is_last():
            self.watch.mark("backward")
        return allreduce_hook(dist.group.WORLD, bucket)  # type: ignore[arg-type]


class Stopwatch:
    """The time of steps by `PARTS`. A step is a line cut by marks, so its parts always add up to the whole.

    On CUDA the marks are events of the stream: they cost no wait, and a part is the time in which the device worked on
    it or idled for it (data, say).
    """

    def __init__(self, device: torch.device) -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self._on_device, self._steps = device.type == "cuda", 0
        self._last: Any = None
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    def mark(self, part: str) -> None:
        """Everything since the last mark was `part`; since "" it was no part of a step, and one begins."""
        before = self._last if part else None
        self._steps += not part
        if self._on_device:
            self._last = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            self._last.record()
            if before is not None:
                self._events.append((part, before, self._last))
        else:
            self._last = time.perf_counter()
            if before is not None:
                self.seconds[part] += self._last - before

    def read(self) -> dict[str, float]:
        """Seconds a step of each part since the last reading; starts anew. Waits for the device."""
        if self._events:
            # The only wait for the device, once a line of metrics; the stream is in order, so the last event suffices.
            self._events[-1][2].synchronize()
            for part, before, now in self._events:
                self.seconds[part] += before.elapsed_time(now) / 1000
            self._events.clear()
        means = {part: seconds / max(self._steps, 1) for part, seconds in self.seconds.items()}
        self.seconds, self._steps = dict.fromkeys(PARTS, 0.0), 0
        return means


def check_precision(precision: str) -> None:
    """Raise InputError for a precision that is unknown. CPUs train in all of them, if slowly in float16."""
    if precision not in PRECISIONS:
        raise InputError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
