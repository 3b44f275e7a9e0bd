"""A live teacher brought to int8 on a sample of the run's own text, and what that costs, measured there."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from tinydistil.batches.batch import MaskedBatch
from tinydistil.distill.fused import fused_vocabulary_losses
from tinydistil.distill.teacher import LiveTeacher, TeacherSignal
from tinydistil.model.heads import Decoding
from tinydistil.model.quantised import quantise


@dataclass(frozen=True, slots=True)
class QuantisationError:
    """How far int8 is from float32 on `tokens` real tokens: the mean cosine of their hidden states.

    divergence: where the recipe has soft targets, the mean KL(float32 || int8) over `rows` rows at its `temperature`.
    """

    tokens: int
    cosine: float
    rows: int
    divergence: float
    temperature: float

    def __str__(self) -> str:
        words = f", KL at T = {self.temperature:g} {self.divergence:.4f} at {self.rows:,} rows" if self.rows else ""
        return f"mean token cosine with float32 {self.cosine:.4f} on {self.tokens:,} tokens{words}"


@torch.no_grad()
def quantise_teacher(
    teacher: LiveTeacher,
    sample: Iterable[MaskedBatch],
    *,
    agree: Callable[[Iterable[Tensor]], None] = lambda tensors: None,
) -> QuantisationError:
    """Quantise the model of `teacher` in place, smoothed by the batches of `sample`, and compare it with before.

    A pure function of model and sample: ranks, and resumed runs, that draw the same sample get the same teacher. agree:
    as in `model.quantised.quantise`, which raises InputError.
    """
    batches = list(sample)
    before = [teacher(batch) for batch in batches]
    quantise(
        teacher.model, [(teacher.ids_of(batch), batch.teacher_view.attention_mask) for batch in batches], agree=agree
    )
    after = [teacher(batch) for batch in batches]
    return _error(teacher, batches, before, after)


def _error(
    teacher: LiveTeacher, batches: list[MaskedBatch], before: list[TeacherSignal], after: list[TeacherSignal]
) -> QuantisationError:
    temperature = teacher.recipe.temperature
    cosines, divergence, rows = [], 0.0, 0
    for batch, exact, rough in zip(batches, before, after, strict=True):
        real = batch.teacher_view.counted
        assert exact.hidden is not None and rough.hidden is not None, "a live teacher has hidden states"
        cosines.append(F.cosine_similarity(exact.hidden[real], rough.hidden[real], dim=-1))
        if isinstance(exact.words, Decoding) and isinstance(rough.words, Decoding):
            any_target = torch.zeros(len(rough.words.rows), dtype=torch.int64, device=real.device)
            part = fused_vocabulary_losses(
                rough.words, any_target, exact.words, hard=0.0, soft=1.0, temperature=temperature, compiled=False
            ).soft
            assert part is not None
            divergence += float(part.total) / temperature**2  # the loss is scaled up by T^2
            rows += int(part.count)
    together = torch.cat(cosines)
    return QuantisationError(len(together), float(together.mean()), rows, divergence / max(rows, 1), temperature)
