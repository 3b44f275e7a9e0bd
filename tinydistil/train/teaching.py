"""The teacher of a run: loaded, and brought to the precision that was asked for."""

import time
from collections.abc import Callable

import torch

from tinydistil.base.ranks import Ranks
from tinydistil.batches.batch import MaskedBatch
from tinydistil.batches.masked_batches import MaskedBatches
from tinydistil.distill.learner import Learner
from tinydistil.distill.projected import project_teacher
from tinydistil.distill.teacher.int8 import quantise_teacher
from tinydistil.distill.teacher.live import LiveTeacher
from tinydistil.model.bert import BertModel
from tinydistil.model.heads import BertForMaskedLM
from tinydistil.train.plan import Plan
from tinydistil.train.train_config import TrainConfig

# For int8 to see how large channels get.
_CALIBRATION_SEQUENCES = 32
_TRIAL_SEQUENCES = 8
# For a projected start: a feed-forward layer of 2 x 128 has 512 neurons to be fitted. Of BERT-base, more tokens would
# take gigabytes.
_PROJECTION_SEQUENCES, _PROJECTION_TOKENS = 256, 32_768


def load_teacher(plan: Plan) -> BertForMaskedLM | BertModel:
    """The teacher, every weight of it from its folder, in float32."""
    assert plan.teacher is not None
    if plan.teacher.predicts_words:
        return BertForMaskedLM.from_pretrained(plan.teacher.folder, heads="require", attention="packed")
    return BertModel.from_pretrained(plan.teacher.folder, attention="packed")


def start_projected(
    plan: Plan, student: BertForMaskedLM, teacher: BertForMaskedLM | BertModel, batches: MaskedBatches, ranks: Ranks
) -> None:
    """Give `student` its teacher's weights in fewer dimensions, the same on every rank."""
    assert plan.teacher is not None, "checked by RunConfig"
    own = plan.config.student_vocabulary == "own"
    count = min(_PROJECTION_SEQUENCES, -(-_PROJECTION_TOKENS * batches.batch_size // int(batches.mean_tokens)))
    sample = _sample(batches, count).to(ranks.device)
    project_teacher(
        student,
        teacher.to(ranks.device),
        sample.teacher or sample,
        (plan.teacher.tokenizer, plan.student.tokenizer) if own else None,
    )
    ranks.broadcast_(tensor.data for tensor in student.parameters())


def live_teacher(
    plan: Plan,
    model: BertForMaskedLM | BertModel,
    learner: Learner,
    batches: MaskedBatches,
    ranks: Ranks,
    say: Callable[[str], None],
) -> LiveTeacher:
    """`model` as the live teacher of `learner` in a run over `batches`, in the precision of the plan.

    For int8 the model is changed in place, so whatever takes weights from it must have done so; `say` hears the error.
    What int8 is calibrated by is that of rank 0.
    """
    precision = plan.config.teacher_precision
    sees = plan.config.recipe.teacher_sees
    teacher = LiveTeacher(model.to(ranks.device), learner.states(), sees=sees, precision=precision)
    if precision == "int8":
        sample = [_sample(batches, _CALIBRATION_SEQUENCES)]
        say(f"teacher in int8: {quantise_teacher(teacher, sample, agree=ranks.broadcast_)}")
    return teacher


def training_s(
    learner: Learner, teacher: LiveTeacher, batches: MaskedBatches, config: TrainConfig, ranks: Ranks
) -> float:
    """Seconds of all steps of a run whose teacher costs nothing, from a trial that leaves no trace."""
    batch, took = _sample(batches, _TRIAL_SEQUENCES).to(ranks.device), 0.0
    states, before = teacher(batch), torch.get_rng_state()
    for _ in range(2):  # the first compiles
        began = time.monotonic()
        totals = [loss.total.float() for loss in learner(batch, states).values()]
        torch.autograd.backward(torch.stack(totals).sum())
        if ranks.device.type == "cuda":
            torch.cuda.synchronize()
        took = time.monotonic() - began
    learner.zero_grad(set_to_none=True)
    torch.set_rng_state(before)
    pace, tokens = took / len(batch.input_ids) / ranks.world_size, batches.mean_tokens / batches.batch_size
    return config.seconds_at(pace, len(batches.candidates), tokens)


def _sample(batches: MaskedBatches, count: int) -> MaskedBatch:
    """`count` sequences from all over the text: the same on every rank, after a resume and for any size of a batch."""
    return batches.collate(batches.candidates[:: -(-len(batches.candidates) // count)], 0)
