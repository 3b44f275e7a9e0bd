"""A live teacher in int8, and what that does to what it says."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tinydistil.batches.masked_batches import MaskedBatch
from tinydistil.distill.fused import fused_vocabulary_loss
from tinydistil.distill.teacher.live import LiveTeacher
from tinydistil.distill.terms.base import ModelStates
from tinydistil.distill.terms.vocabulary import Distribution
from tinydistil.model.quantised import quantise


@dataclass(frozen=True, slots=True)
class QuantisationError:
    """How far int8 is from float32 on `tokens` tokens of text: the mean cosine of their hidden states.

    divergence: where the distribution is read, the mean KL(float32 || int8) over `positions` at its `temperature`.
    """

    tokens: int
    cosine: float
    positions: int
    divergence: float
    temperature: float

    def __str__(self) -> str:
        soft = f", KL at T = {self.temperature:g} {self.divergence:.4f} at {self.positions:,} positions"
        words = soft if self.positions else ""
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
    before = _read(teacher, batches)
    views = [batch.teacher or batch for batch in batches]
    shown = [view.input_ids if teacher.sees == "masked" else view.original_ids for view in views]
    inputs = [(ids, view.attention_mask) for ids, view in zip(shown, views, strict=True)]
    quantise(teacher.model, inputs, agree=agree)
    after = _read(teacher, batches)
    cosines, divergence, positions, temperature = [], 0.0, 0, 1.0
    for batch, (exact, exact_words), (rough, rough_words) in zip(batches, before, after, strict=True):
        text = (batch.teacher or batch).valid_mask
        cosines.append(F.cosine_similarity(exact.hidden[text], rough.hidden[text], dim=-1))
        for (state, p), (_, q) in zip(exact_words, rough_words, strict=True):
            temperature = state.temperature
            any_target = torch.zeros(len(q.rows), dtype=torch.int64, device=text.device)
            found = fused_vocabulary_loss(q, any_target, p, hard=0.0, soft=1.0, temperature=temperature, compiled=False)
            divergence += float(found.total) / temperature**2  # the loss is scaled up by T^2
            positions += len(any_target)
    together = torch.cat(cosines)
    return QuantisationError(
        len(together), float(together.mean()), positions, divergence / max(positions, 1), temperature
    )


def _read(teacher: LiveTeacher, batches: list[MaskedBatch]) -> list[tuple[ModelStates, list[tuple[Distribution, Any]]]]:
    """Hidden states, and distributions where they are read."""
    kept = [state for states in teacher.states.values() for state in states.values() if isinstance(state, Distribution)]
    found = []
    for batch in batches:
        read = teacher.read(batch)
        found.append((read, [(state, state.take(read, batch)) for state in kept]))
    return found
