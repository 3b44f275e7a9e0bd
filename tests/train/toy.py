"""A small learner in float64, and the gradient of one global batch with very uneven masks."""

import os
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from tinydistil.data.masked_batches import MaskedBatches
from tinydistil.data.masking import MaskConfig
from tinydistil.distill.learner import Learner
from tinydistil.distill.projection import Projection
from tinydistil.distill.recipe import Recipe
from tinydistil.distill.recipe import recipe as recipe_of
from tinydistil.distill.teacher import LiveTeacher, TeacherSignal
from tinydistil.model.batch import MaskedBatch
from tinydistil.model.config import BertConfig
from tinydistil.model.heads import BertForMaskedLM
from tinydistil.ranks import Ranks
from tinydistil.text.train_wordpiece import train_wordpiece
from tinydistil.train.optimizer import OptimizerConfig, make_optimizer
from tinydistil.train.step import Trainer

TEXT = ["o gato dorme no sofá da sala e a gata corre na rua com os gatinhos"] * 3
CASES: dict[str, Recipe] = {
    "mlm": recipe_of("mlm"),
    "total": recipe_of("total"),
    "partial": recipe_of("partial"),
    "distilbert": recipe_of("distilbert", projection="teacher-to-student"),
    "reverse all pooled mse": recipe_of(
        "total", divergence="reverse", soft_positions="all", unit="pooled", distance="mse", projection="pca"
    ),
    "jensen-shannon only": Recipe(hard=0.0, soft=1.0, divergence="jensen-shannon"),
    "hidden only": Recipe(hard=0.0, hidden=1.0, projection="student-to-teacher"),
}


# Part C is being built: until a restart that hung once in gloo's start is understood, these runs are asked for.
SEVERAL_PROCESSES = pytest.mark.skipif(
    os.environ.get("TINYDISTIL_DISTRIBUTED") != "1", reason="starts several processes; set TINYDISTIL_DISTRIBUTED=1"
)
# One long sequence, most of one or two tokens: many slices of a batch of 11 hold no masked token at all.
UNEVEN = (40, 1, 1, 2, 1, 1, 9, 1, 1, 1, 1)


class Rows:
    """Sequences of random tokens, of the lengths given."""

    def __init__(self, vocab_size: int, lengths: Sequence[int]) -> None:
        random = np.random.default_rng(0)
        self.rows = [random.integers(5, vocab_size, length).astype(np.uint16) for length in lengths]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> NDArray[np.uint16]:
        return self.rows[index]


class Repeating:
    """Forty sequences of one token each, one of four: quickly learnt, and only by learning."""

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> NDArray[np.uint16]:
        return np.full(5 + 7 * (index % 5), 10 + index % 4, np.uint16)


class Teach:
    """The teacher, asked for what the learner compares."""

    def __init__(self, teacher: LiveTeacher, learner: Learner) -> None:
        self.teacher, self.learner = teacher, learner

    def __call__(self, batch: MaskedBatch) -> TeacherSignal:
        return self.teacher(batch, self.learner.soft_rows(batch))


def toy_trainer(
    recipe: Recipe, ranks: Ranks, *, dropout: float = 0.0, precision: str = "float64", learning_rate: float = 0.0
) -> tuple[Trainer, MaskedBatches]:
    """Student 2 x 8, teacher 2 x 12; gradients alone (SGD at rate 0) or a real optimizer."""
    torch.manual_seed(0)
    tokenizer = train_wordpiece(TEXT, 60)
    shape = {"vocab_size": tokenizer.vocab_size, "num_hidden_layers": 2, "num_attention_heads": 2,
             "max_position_embeddings": 64, "hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout,
             "initializer_range": 0.2}  # fmt: skip
    student = BertForMaskedLM(BertConfig(hidden_size=8, intermediate_size=16, **shape)).double().train()
    teacher = BertForMaskedLM(BertConfig(hidden_size=12, intermediate_size=24, **shape)).double()
    projection = None
    if recipe.hidden:
        kind = "student-to-teacher" if recipe.projection == "none" else recipe.projection
        projection = Projection(kind, 8, 12).double()
        if kind == "pca":
            projection.fit_pca(torch.randn(200, 12, dtype=torch.float64))
    learner = Learner(student, recipe, projection)
    teach = Teach(LiveTeacher(teacher, wants_logits=recipe.soft > 0), learner) if recipe.needs_teacher else None
    optimizer: torch.optim.Optimizer = torch.optim.SGD(learner.parameters(), lr=0.0)
    if precision != "float64":
        learner.float()
        teacher.float()
        optimizer = make_optimizer([learner], OptimizerConfig(learning_rate=learning_rate))
    batches = MaskedBatches(Rows(tokenizer.vocab_size, UNEVEN), tokenizer, MaskConfig(), batch_size=11, seed=4)
    precision = "float32" if precision == "float64" else precision
    clip_norm = float(learning_rate > 0)
    return Trainer(learner, optimizer, ranks, teach=teach, precision=precision, clip_norm=clip_norm), batches


def gradients_of(case: str, ranks: Ranks, accumulation: int) -> tuple[dict[str, Tensor], dict[str, float]]:
    """The gradient of the first global batch and its terms' means."""
    trainer, batches = toy_trainer(CASES[case], ranks)
    micro_batches = batches.micro_batches(0, rank=ranks.rank, world_size=ranks.world_size, accumulation=accumulation)
    kept: dict[str, Tensor] = {}

    def keep(*_: object) -> None:
        kept.update({n: p.grad.clone() for n, p in trainer.objective.named_parameters() if p.grad is not None})

    trainer.optimizer.register_step_pre_hook(keep)
    result = trainer.step(micro_batches, learning_rate=0.0)
    assert result.taken
    return kept, result.terms
