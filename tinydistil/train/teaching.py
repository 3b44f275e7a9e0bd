"""The teacher of a run: loaded, and brought to the precision that was asked for."""

from collections.abc import Callable, Iterator

import torch

from tinydistil.data.masked_batches import MaskedBatches
from tinydistil.distill.int8_teacher import quantise_teacher
from tinydistil.distill.teacher import LiveTeacher
from tinydistil.model.batch import MaskedBatch
from tinydistil.model.bert import BertModel
from tinydistil.model.heads import BertForMaskedLM
from tinydistil.train.plan import Plan

# Of the training text, for int8 to see how large channels get.
_CALIBRATION_SEQUENCES = 32


def load_teacher(plan: Plan) -> BertForMaskedLM | BertModel:
    """The teacher, every weight of it from its folder, in float32."""
    assert plan.teacher is not None
    if plan.teacher.predicts_words:
        return BertForMaskedLM.from_pretrained(plan.teacher.folder, heads="require", attention="packed")
    return BertModel.from_pretrained(plan.teacher.folder, attention="packed")


def live_teacher(
    plan: Plan,
    model: BertForMaskedLM | BertModel,
    batches: MaskedBatches,
    device: torch.device,
    say: Callable[[str], None],
) -> LiveTeacher:
    """`model` as the live teacher of a run over `batches`, in the precision of the plan.

    For int8 the model is changed in place, so whatever takes weights from it must have done so; `say` hears the error.
    """
    precision = plan.config.teacher_precision
    teacher = LiveTeacher(model.to(device), plan.config.recipe, precision=precision)
    if precision == "int8":
        say(f"teacher in int8: {quantise_teacher(teacher, _first(batches, _CALIBRATION_SEQUENCES))}")
    return teacher


def _first(batches: MaskedBatches, count: int) -> Iterator[MaskedBatch]:
    """The first `count` sequences of the first epoch, the same on every rank and after a resume."""
    for cursor in range(batches.batches_per_epoch):
        epoch, sequence_ids = batches.global_batch(cursor)
        yield batches.collate(sequence_ids[:count], epoch)
        count -= len(sequence_ids)
        if count <= 0:
            return
