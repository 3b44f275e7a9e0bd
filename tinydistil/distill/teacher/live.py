"""The teacher as a model: frozen, in eval mode, outside DistributedDataParallel and outside autograd."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tinydistil.base.config import nearest
from tinydistil.base.errors import InputError, require
from tinydistil.batches.masked_batches import MaskedBatch
from tinydistil.distill.fused import fused_vocabulary_loss
from tinydistil.distill.terms.base import ModelStates, State, TeacherStates
from tinydistil.distill.terms.vocabulary import Distribution
from tinydistil.model.bert import BertForMaskedLM, BertModel
from tinydistil.model.quantised import check_engine, quantise

PRECISIONS = ("float32", "bfloat16", "int8")
FASTEST = "fastest"


class LiveTeacher:
    """A model that reads batch by batch, and gives `states` of it: by term, then by name.

    sees: the "masked" text, as the student does, or the "original". precision: one of PRECISIONS, whatever autocast it
    is called under; "" is that autocast's. For "int8" the model must be quantised, see `int8`.
    """

    def __init__(
        self,
        model: BertForMaskedLM | BertModel,
        states: Mapping[str, Mapping[str, State]],
        *,
        sees: str = "masked",
        precision: str = "",
    ) -> None:
        self.model, self.states = model.eval().requires_grad_(False), states
        self.encoder = model.bert if isinstance(model, BertForMaskedLM) else model
        self.sees, self.precision = sees, precision
        half = partial(torch.autocast, dtype=torch.bfloat16, enabled=precision == "bfloat16")
        self.autocast: Callable[[str], AbstractContextManager[object]] = half if precision else nullcontext

    @torch.no_grad()
    def __call__(self, batch: MaskedBatch) -> TeacherStates:
        """The states for `batch`, on the model's device."""
        with self.autocast(batch.input_ids.device.type):
            read = self.read(batch)
            return {
                term: {name: state.take(read, batch) for name, state in states.items()}
                for term, states in self.states.items()
            }

    @torch.no_grad()
    def read(self, batch: MaskedBatch) -> ModelStates:
        """What the model computes of the tokens that are shown to it, before anything is taken of it."""
        assert not self.model.training, "the teacher must stay in eval mode"
        view = batch.teacher or batch
        ids = view.input_ids if self.sees == "masked" else view.original_ids  # (B, T')
        with self.autocast(ids.device.type):
            return ModelStates(self.model, self.encoder(ids, view.attention_mask).last_hidden)


def fastest_precision(device: torch.device) -> str:
    """What `device` computes fastest in, by the instructions that it has."""
    # Of e5-small, short sentences per second on two cores of an AMD EPYC: int8 864, bfloat16 594, float32 410. Its
    # pooled vectors in int8 and in float32 have a mean cosine of 0.9996, of 0.997 without what all have in common.
    has = _instructions()
    if device.type == "cpu" and not has.get("amx_bf16") and (has.get("avx512_vnni") or has.get("avx_vnni")):
        return "int8"
    return "bfloat16" if _has_bfloat16(device) else "float32"


def _has_bfloat16(device: torch.device) -> bool:
    # On AVX2 it takes 5 to 7 times the time of float32.
    has = _instructions()
    return device.type == "cuda" or bool(has.get("avx512_bf16") or has.get("amx_bf16"))


def _instructions() -> Mapping[str, object]:
    found: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # which torch 2.10 may lack
    return found


def check_teacher_precision(precision: str, device: torch.device) -> None:
    """Raise InputError for a precision that is unknown, or of no use or unsupported on `device`."""
    if precision not in ("", *PRECISIONS):
        raise InputError(f"teacher_precision {precision!r} is unknown{nearest(precision, (*PRECISIONS, FASTEST))}")
    require(
        precision != "bfloat16" or _has_bfloat16(device),
        "teacher_precision 'bfloat16' is for CUDA and for CPUs that have instructions for it; this one would take "
        "several times as long as for float32. Leave it out, or choose int8",
    )
    if precision == "int8":
        require(device.type == "cpu", "teacher_precision 'int8' is for the CPU; choose bfloat16 on CUDA")
        check_engine()


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
