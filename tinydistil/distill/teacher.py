"""The teacher: frozen, in eval mode, outside DistributedDataParallel and outside autograd.

Letters: B sequences, T tokens, T' tokens of the teacher's own, E width, R rows, V vocabulary.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from tinydistil.base.config import nearest
from tinydistil.base.errors import InputError, require
from tinydistil.batches.batch import MaskedBatch
from tinydistil.distill.recipe import Recipe
from tinydistil.distill.vocabulary_loss import SparseTargets
from tinydistil.model.bert import BertModel
from tinydistil.model.heads import BertForMaskedLM, Decoding
from tinydistil.model.quantised_linear import check_engine

PRECISIONS = ("float32", "bfloat16", "int8")


@dataclass(frozen=True, slots=True)
class TeacherSignal:
    """What the teacher says of a batch.

    hidden (B, T', E): its last hidden states, None where they come from a cache; T' is T where teacher and student have
    one vocabulary. words: its distribution at R rows, those of `soft_rows`, where that is asked for: the whole of it,
    by what makes its logits, or its top tokens. vectors: prepared already (see `Projection.prepare`), by term.
    """

    hidden: Tensor | None
    words: Decoding | SparseTargets | None
    vectors: Mapping[str, Tensor] | None = None


class LiveTeacher:
    """A model that answers batch by batch: with `recipe.soft` a masked language model, else any encoder.

    precision: one of PRECISIONS, whatever autocast it is called under; "" is that autocast's. For "int8" the model must
    be quantised, see `int8_teacher`.
    """

    def __init__(self, model: BertForMaskedLM | BertModel, recipe: Recipe, *, precision: str = "") -> None:
        self.model, self.recipe, self.precision = model.eval().requires_grad_(False), recipe, precision

    @torch.no_grad()
    def __call__(self, batch: MaskedBatch) -> TeacherSignal:
        """The signal for `batch`, on the model's device."""
        assert not self.model.training, "the teacher must stay in eval mode"
        with self._autocast(batch.input_ids.device.type):
            hidden = self.model(self.ids_of(batch), batch.teacher_view.attention_mask).last_hidden
            if self.recipe.soft == 0:
                return TeacherSignal(hidden, None)
            assert isinstance(self.model, BertForMaskedLM) and batch.teacher is None, "see build.check_pair"
            return TeacherSignal(hidden, self.model.decoding_at(hidden, soft_rows(self.recipe, batch)))

    def ids_of(self, batch: MaskedBatch) -> Tensor:
        """The tokens (B, T') that the recipe shows to the teacher."""
        view = batch.teacher_view
        return view.input_ids if self.recipe.teacher_sees == "masked" else view.original_ids

    def _autocast(self, device: str) -> AbstractContextManager[object]:
        if self.precision == "":
            return nullcontext()
        return torch.autocast(device, torch.bfloat16, enabled=self.precision == "bfloat16")


def soft_rows(recipe: Recipe, batch: MaskedBatch) -> Tensor:
    """The flattened tokens (R,) at which the teacher's distribution is compared."""
    return batch.rows if recipe.soft_positions == "masked" else batch.counted.flatten().nonzero().squeeze(1)


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
