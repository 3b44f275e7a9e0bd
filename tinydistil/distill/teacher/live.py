"""The teacher as a model: frozen, in eval mode, outside DistributedDataParallel and outside autograd."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cache, partial

import torch

from tinydistil.base.config import nearest
from tinydistil.base.errors import InputError, require
from tinydistil.batches.masked_batches import MaskedBatch
from tinydistil.distill.terms.base import ModelStates, State, TeacherStates, between
from tinydistil.distill.terms.layerwise import read_between
from tinydistil.model.bert import BertForMaskedLM, BertModel
from tinydistil.model.layers import has_bfloat16, instructions
from tinydistil.model.quantised import check_engine

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
        self.compares = between(state for of_term in states.values() for state in of_term.values())
        self.encoder = model.encoder
        self.sees, self.precision = sees, precision
        half = partial(torch.autocast, dtype=torch.bfloat16, enabled=precision == "bfloat16")
        self.autocast: Callable[[str], AbstractContextManager[object]] = half if precision else nullcontext

    @torch.no_grad()
    def __call__(self, batch: MaskedBatch) -> TeacherStates:
        """The states for `batch`, on the model's device."""
        read = cache(partial(self.read, batch))  # each text once
        with self.autocast(batch.input_ids.device.type):
            return {
                term: {name: state.take(read(state.sees or self.sees), batch) for name, state in states.items()}
                for term, states in self.states.items()
            }

    @torch.no_grad()
    def read(self, batch: MaskedBatch, sees: str = "") -> ModelStates:
        """What the model computes of the tokens that are shown to it, before anything is taken of it."""
        assert not self.model.training, "the teacher must stay in eval mode"
        view = batch.teacher or batch
        ids = view.input_ids if (sees or self.sees) == "masked" else view.original_ids  # (B, T')
        with self.autocast(ids.device.type):
            if self.compares is not None:
                return read_between(self.model, ids, view.attention_mask, self.compares)
            return ModelStates(self.model, self.encoder(ids, view.attention_mask).last_hidden)


def fastest_precision(device: torch.device) -> str:
    """What `device` computes fastest in, by the instructions that it has."""
    # Of e5-small, short sentences per second on two cores of an AMD EPYC: int8 864, bfloat16 594, float32 410. Its
    # pooled vectors in int8 and in float32 have a mean cosine of 0.9996, of 0.997 without what all have in common.
    has = instructions()
    if device.type == "cpu" and not has.get("amx_bf16") and (has.get("avx512_vnni") or has.get("avx_vnni")):
        return "int8"
    return "bfloat16" if has_bfloat16(device) else "float32"


def check_teacher_precision(precision: str, device: torch.device) -> None:
    """Raise InputError for a precision that is unknown, or of no use or unsupported on `device`."""
    if precision not in ("", *PRECISIONS):
        raise InputError(f"teacher_precision {precision!r} is unknown{nearest(precision, (*PRECISIONS, FASTEST))}")
    require(
        precision != "bfloat16" or has_bfloat16(device),
        "teacher_precision 'bfloat16' is for CUDA and for CPUs that have instructions for it; this one would take "
        "several times as long as for float32. Leave it out, or choose int8",
    )
    if precision == "int8":
        require(device.type == "cpu", "teacher_precision 'int8' is for the CPU; choose bfloat16 on CUDA")
        check_engine()
