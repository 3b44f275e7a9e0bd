"""What fine-tuning minimises: the loss of the task, and the distance from a fine-tuned teacher where there is one.

Letters: B examples, T tokens, C classes.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tinydistil.distill.losses import IGNORED, SumCount, soft_targets
from tinydistil.finetune.examples import TaskBatch
from tinydistil.model.heads import (
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
)

TaskModel = BertForSequenceClassification | BertForTokenClassification | BertForQuestionAnswering


class TaskObjective(nn.Module):
    """The model and its loss, an `Objective` of the one loop.

    Terms: "task", the cross-entropy of classes a text, a token, or of an answer's two ends (their mean), or the
    squared error of a number; "soft", the divergence from the teacher's predictions that the batch carries.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        model: TaskModel,
        *,
        class_weights: Tensor | None = None,
        soft: float = 0.0,
        temperature: float = 2.0,
    ) -> None:
        super().__init__()
        assert soft == 0 or isinstance(model, BertForSequenceClassification), "soft targets are those of texts"
        self.model, self.soft, self.temperature = model, soft, temperature
        self.is_regression = model.config.problem_type == "regression"
        # Not in the checkpoint: it is a function of the training set.
        self.register_buffer("class_weights", class_weights, persistent=False)

    @property
    def weights(self) -> Mapping[str, float]:
        """The weights of the terms that count."""
        return {name: weight for name, weight in (("task", 1 - self.soft), ("soft", self.soft)) if weight > 0}

    def counts(self, batch: TaskBatch) -> Mapping[str, int]:
        """Examples, or labelled tokens, of a micro-batch: both terms are divided by the same number."""
        return dict.fromkeys(self.weights, int(self._labelled(batch).sum()))

    def forward(self, batch: TaskBatch, taught: None = None) -> dict[str, SumCount]:
        """The terms of one micro-batch."""
        assert taught is None, "what the teacher says lies in the batch"
        output = self.model(batch.input_ids, batch.attention_mask, batch.token_type_ids)
        labelled = self._labelled(batch).flatten()  # (B,) or (B * T,)
        parts = {}
        if self.soft < 1:
            losses = (
                _ends(output.first, output.last, batch.targets)
                if isinstance(self.model, BertForQuestionAnswering)
                else self._losses(output, batch.targets)
            )
            parts["task"] = SumCount(torch.where(labelled, losses, 0.0).sum(), labelled.sum())
        if self.soft > 0:
            assert batch.soft is not None, "soft targets need a teacher"
            parts["soft"] = self._soft(output, batch.soft, labelled)
        return parts

    def _losses(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits (B, C) or (B, T, C) and their targets to losses (B,) or (B * T,)."""
        if self.is_regression:
            return (logits.squeeze(-1).float() - targets).square()
        return F.cross_entropy(
            logits.flatten(0, -2).float(),
            targets.flatten(),
            weight=self.class_weights,
            ignore_index=IGNORED,
            reduction="none",
        )

    def _soft(self, logits: Tensor, taught: Tensor, labelled: Tensor) -> SumCount:
        if self.is_regression:
            errors = (logits.float() - taught).square().squeeze(-1)
            return SumCount(torch.where(labelled, errors, 0.0).sum(), labelled.sum())
        return soft_targets(logits, taught, labelled, temperature=self.temperature)

    def _labelled(self, batch: TaskBatch) -> Tensor:
        """What counts: examples (B,), or for tagging tokens (B, T)."""
        if isinstance(self.model, BertForTokenClassification):
            return (batch.targets != IGNORED) & batch.counted.unsqueeze(1)
        return batch.counted


def _ends(first: Tensor, last: Tensor, targets: Tensor) -> Tensor:
    """The mean loss (B,) of where answers begin and end; logits (B, T), targets (B, 2)."""
    begin = F.cross_entropy(first.float(), targets[:, 0], reduction="none")
    return (begin + F.cross_entropy(last.float(), targets[:, 1], reduction="none")) / 2
