"""What a run costs in floating-point operations: the products of one real step, and a budget in sequences and steps."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from tinydistil.base.config import override
from tinydistil.base.errors import require
from tinydistil.base.ranks import Ranks
from tinydistil.distill.gather import GatheringTrainer
from tinydistil.distill.teacher.live import LiveTeacher
from tinydistil.distill.terms.base import Learner
from tinydistil.train.models import build_student, load_teachers, make_optimizer, sample_of
from tinydistil.train.plan import Plan, make_batches, make_plan
from tinydistil.train.run_config import RunConfig, resolve_run

CPU = torch.device("cpu")
# By the shapes of their arguments, products on a CPU that torch's counter does not know.
PRODUCTS = {
    torch.ops.aten.addmm_: lambda _, left, right, **__: 2 * left[0] * left[1] * right[1],
    torch.ops.mkldnn._linear_pointwise: lambda rows, weight, *_, **__: 2 * math.prod(rows) * weight[0],
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda *args, **_: sdpa_flop_count(*args[:3]),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda *args, **_: sdpa_backward_flop_count(*args[:4])
    ),
}


@dataclass(frozen=True)
class Cost:
    """FLOPs of a stage: of the student's step and of the teacher per sequence, and before the first step; how many
    sequences there are, and how many a step reads."""

    student: float
    teacher: float
    before: float
    there: int
    batch_size: int

    def plan(self, budget: float, passes: int) -> tuple[int, int, float]:
        """Sequences, steps and FLOPs within `budget`: of a teacher's cache each sequence is read `passes` times, or
        more where all are read. Raises InputError where it has no room for a batch."""
        left = budget - self.before
        count = min(self.there, int(left / (self.teacher + (passes if self.teacher else 1) * self.student)))
        room = f"--budget: of {budget / 1e12:g} TFLOP {self.before / 1e12:.2g} go before the first step"
        require(count >= self.batch_size, f"{room}, and the rest is less than a batch of {self.batch_size}; give more")
        steps = int((left - count * self.teacher) / (self.batch_size * self.student))
        return count, steps, self.before + count * self.teacher + steps * self.batch_size * self.student


def plan_of(settings: Sequence[str]) -> Plan:
    """Of the run with these settings. Raises InputError where it cannot be."""
    return make_plan(resolve_run(override({}, settings), RunConfig), Path("nowhere"), resume=False, device="cpu")


def cost_of(plan: Plan) -> Cost:
    """Counted of one step of a run, in float32, on a batch from all over the text."""
    batches, config, teacher = make_batches(plan, "train"), plan.config, None
    assert batches is not None, "checked by the plan"
    if plan.teacher is not None:
        (teacher,) = load_teachers(plan)
    learner = Learner(build_student(plan, teacher), config.recipe, plan.shapes)
    count, of_teacher, before, states = config.train.batch_size, 0.0, 0.0, list[Any]()
    batch = sample_of(batches, count)
    if plan.teacher is not None and teacher is not None:
        live = LiveTeacher(teacher, learner.states(), sees=config.recipe.teacher_sees)
        of_teacher = flops_of(lambda: states.append(live(batch)))
        per_token = of_teacher / int((batch.teacher or batch).valid_mask.sum())
        fitted = max((each.to_be_fitted() for each in learner.terms.values() if not each.fits_kept), default=0)
        before = of_teacher * fitted / count
        if config.student.embeddings == "encoded":
            words = plan.student.tokenizer
            texts = [words.spelling(number) for number in range(words.vocab_size)]
            before += per_token * sum(len(each.ids) for each in plan.teacher.tokenizer.encode_all(texts))
    optimizer, taught = make_optimizer([learner], config.train.optimizer), (lambda _: states[0]) if states else None
    trainer = GatheringTrainer(learner, optimizer, Ranks(0, 1, CPU), teacher=taught)
    # A batch is a small sample of lengths: as all sequences are in the mean.
    lengths = batches.lengths()
    share = float(lengths[batches.candidates].mean() / lengths[batch.sequence_ids.numpy()].mean()) / count
    of_student = flops_of(lambda: trainer.step([batch], 0.0))
    return Cost(share * of_student, share * of_teacher, before, len(batches.candidates), count)


def flops_of(work: Callable[[], object]) -> float:
    """Those of all products in `work`, on this processor."""
    with FlopCounterMode(display=False, custom_mapping=PRODUCTS) as counter:
        work()
    return float(counter.get_total_flops())
