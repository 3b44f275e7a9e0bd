"""What fine-tuning minimises: the loss of the task, and the distance from a fine-tuned teacher where there is one.

Shapes: B examples, T tokens, C classes.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tinydistil.distill.losses import IGNORED, soft_targets
from tinydistil.distill.terms.base import Loss
from tinydistil.model.heads import (
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    SpanLogits,
)
from tinydistil.tasks.task_batches import TaskBatch

# The logit of an answer in the padding; finite, for 0 * inf would make a divergence NaN.
NOWHERE = -1e30

TaskModel = BertForSequenceClassification | BertForTokenClassification | BertForQuestionAnswering


class TaskObjective(nn.Module):
    """The model and its loss, an `Objective` of the one loop.

    Terms: "task", the cross-entropy of classes per text or per token, or of the positions of an answer's two ends, or
    the squared error of a number; "soft", the divergence from the teacher's predictions that the batch carries.
    """

    class_weights: Tensor | None

    def __init__(
        self, model: TaskModel, *, class_weights: Tensor | None = None, soft: float = 0.0, temperature: float = 2.0
    ) -> None:
        super().__init__()
        self.model, self.temperature = model, temperature
        self.finds_answers = isinstance(model, BertForQuestionAnswering)
        self.is_regression = model.config.problem_type == "regression"
        # Not in the checkpoint: it is a function of the training set.
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.weights = {name: weight for name, weight in (("task", 1 - soft), ("soft", soft)) if weight > 0}
        self.reports = {name: name for name in self.weights}

    def at(self, progress: float) -> Mapping[str, float]:
        """The weights of the terms that count, which stay."""
        return self.weights

    def counts(self, batch: TaskBatch) -> Mapping[str, int]:
        """Examples, labelled tokens or ends of answers of a micro-batch: both terms are divided by the same number."""
        return dict.fromkeys(self.weights, int(self._labelled(batch).sum()))

    def forward(self, batch: TaskBatch, teacher: None = None) -> dict[str, Loss]:
        """The terms of one micro-batch."""
        output = self.model(batch.input_ids, batch.attention_mask, batch.token_type_ids)
        # What is chosen from stands last: (B, C), for tagging (B, T, C), for the ends of answers (B, 2, T).
        logits = (
            _ends(torch.stack([output.first, output.last], -1), batch) if isinstance(output, SpanLogits) else output
        )
        logits, labelled = logits.flatten(0, -2).float(), self._labelled(batch).flatten()  # (M, C), (M,)
        parts = {}
        if "task" in self.weights:
            losses = self._losses(logits, batch.targets.flatten())
            parts["task"] = Loss(torch.where(labelled, losses, 0.0).sum())
        if "soft" in self.weights:
            assert batch.soft is not None, "soft targets need a teacher"
            soft = (_ends(batch.soft, batch) if self.finds_answers else batch.soft).flatten(0, -2)
            parts["soft"] = Loss(self._soft(logits, soft, labelled))
        return parts

    def _losses(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits (M, C) and targets (M,) to losses (M,)."""
        if self.is_regression:
            return (logits.squeeze(-1) - targets).square()
        return F.cross_entropy(logits, targets, weight=self.class_weights, ignore_index=IGNORED, reduction="none")

    def _soft(self, logits: Tensor, teacher_logits: Tensor, labelled: Tensor) -> Tensor:
        if self.is_regression:
            return torch.where(labelled, (logits - teacher_logits).square().squeeze(-1), 0.0).sum()
        return soft_targets(logits, teacher_logits, labelled, temperature=self.temperature)

    def _labelled(self, batch: TaskBatch) -> Tensor:
        """What counts: examples (B,), for tagging tokens (B, T), of answers both ends (B, 2)."""
        if isinstance(self.model, BertForTokenClassification):
            return (batch.targets != IGNORED) & batch.counted.unsqueeze(1)
        return batch.counted.unsqueeze(1).expand(-1, 2) if self.finds_answers else batch.counted


def _ends(logits: Tensor, batch: TaskBatch) -> Tensor:
    """Logits (B, T, 2) as the choice of two positions, (B, 2, T), none of them in the padding."""
    padding = (batch.attention_mask == 0).unsqueeze(1)  # (B, 1, T)
    return logits.float().transpose(1, 2).masked_fill(padding, NOWHERE)
