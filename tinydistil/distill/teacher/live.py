"""The teacher as a model: frozen, in eval mode, outside DistributedDataParallel and outside autograd."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from tinydistil.base.config import nearest
from tinydistil.base.errors import InputError, require
from tinydistil.batches.batch import MaskedBatch
from tinydistil.distill.terms.base import ModelStates, State, TeacherStates
from tinydistil.model.bert import BertModel
from tinydistil.model.heads import BertForMaskedLM
from tinydistil.model.quantised import check_engine

PRECISIONS = ("float32", "bfloat16", "int8")


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
        self.sees, self.precision = sees, precision

    @torch.no_grad()
    def __call__(self, batch: MaskedBatch) -> TeacherStates:
        """The states for `batch`, on the model's device."""
        read = self.read(batch)
        with self._autocast(batch.input_ids.device.type):
            return {
                term: {name: state.take(read, batch) for name, state in states.items()}
                for term, states in self.states.items()
            }

    @torch.no_grad()
    def read(self, batch: MaskedBatch) -> ModelStates:
        """What the model computes of the tokens that are shown to it, before anything is taken of it."""
        assert not self.model.training, "the teacher must stay in eval mode"
        with self._autocast(batch.input_ids.device.type):
            mask = (batch.teacher or batch).attention_mask
            return ModelStates(self.model, self.model(self.ids_of(batch), mask).last_hidden)

    def ids_of(self, batch: MaskedBatch) -> Tensor:
        """The tokens (B, T') that are shown to the teacher."""
        view = batch.teacher or batch
        return view.input_ids if self.sees == "masked" else view.original_ids

    def _autocast(self, device: str) -> AbstractContextManager[object]:
        if self.precision == "":
            return nullcontext()
        return torch.autocast(device, torch.bfloat16, enabled=self.precision == "bfloat16")


def check_teacher_precision(precision: str, device: torch.device) -> None:
    """Raise InputError for a precision that is unknown, or of no use or unsupported on `device`."""
    if precision not in ("", *PRECISIONS):
        raise InputError(f"teacher_precision {precision!r} is unknown{nearest(precision, PRECISIONS)}")
    require(
        precision != "bfloat16" or device.type == "cuda",
        # Measured on AVX2: 5 to 7 times the time of float32.
        "teacher_precision 'bfloat16' is for CUDA; most CPUs take several times as long for it as for float32. "
        "Leave it out, or choose int8",
    )
    if precision == "int8":
        require(device.type == "cpu", "teacher_precision 'int8' is for the CPU; choose bfloat16 on CUDA")
        check_engine()
