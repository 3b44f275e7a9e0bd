"""Fine-tuning on the one loop: a model with a head, what it minimises, which weights learn, and a figure to raise.

Shapes: B examples, T tokens, C classes, M = B, B * T or B * 2 of what is labelled.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tinydistil.base.errors import require
from tinydistil.base.ranks import Ranks
from tinydistil.distill.losses import IGNORED, soft_targets
from tinydistil.distill.step import Trainer, check_precision
from tinydistil.distill.terms.base import Loss
from tinydistil.model.heads import BertForQuestionAnswering, BertForTokenClassification, SpanLogits
from tinydistil.tasks.finetune_config import FineTuneConfig
from tinydistil.tasks.task_batches import EncodedExample, TaskBatch, TaskBatches, TaskModel
from tinydistil.train.loop import Loop
from tinydistil.train.records import CheckpointStore, Records
from tinydistil.train.run_config import OptimizerConfig

# As a loss, an undefined figure (the correlation of constant predictions) is worse than any: figures are in [-1, 1].
_UNDEFINED = 2.0
# The logit of an answer in the padding; finite, for 0 * inf would make a divergence NaN.
NOWHERE = -1e30


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

    def counts(self, batch: TaskBatch) -> Mapping[str, int]:
        """Examples, labelled tokens or ends of answers of a micro-batch: both terms are divided by the same number."""
        return dict.fromkeys(self.weights, int(self._labelled(batch).sum()))

    def forward(self, batch: TaskBatch, teacher: None = None, progress: float = 0.0) -> dict[str, Loss]:
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
            parts["task"] = Loss(torch.where(labelled, losses, 0.0).sum(), weight=self.weights["task"])
        if "soft" in self.weights:
            assert batch.soft is not None, "soft targets need a teacher"
            soft = (_ends(batch.soft, batch) if self.finds_answers else batch.soft).flatten(0, -2)
            parts["soft"] = Loss(self._soft(logits, soft, labelled), weight=self.weights["soft"])
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


def fine_tune(
    model: TaskModel,
    examples: Sequence[EncodedExample],
    config: FineTuneConfig,
    *,
    pad_id: int,
    checkpoints: Path,
    ranks: Ranks,
    records: Records,
    figure: Callable[[TaskModel], float] | None = None,
    figure_name: str = "figure",
    class_weights: Tensor | None = None,
    resume: bool = False,
) -> bool:
    """Train `model` in place; False if asked to stop before the end (everything is saved then).

    figure: what to raise on the development set, called `figure_name`, between two passes; with it the best weights
    are put back at the end. checkpoints: a folder for them; `resume` goes on from its latest.
    Raises InputError where the loss is not finite for several steps (an absurd learning rate, say).
    """
    check_precision(config.precision)
    freeze(model, embeddings=config.freeze_embeddings, layers=config.freeze_layers)
    batches = TaskBatches(examples, pad_id=pad_id, batch_size=config.batch_size, seed=config.seed)
    # Parts without an example would only be waited for: a million of them for minutes.
    parts = min(config.accumulation, batches.batch_size)
    settings = replace(config, accumulation=parts).train_config(batches.batches_per_epoch)
    objective = TaskObjective(model, class_weights=class_weights, soft=config.soft, temperature=config.temperature)
    optimizer = make_task_optimizer(model, settings.optimizer, config.layer_decay)
    trainer: Trainer[TaskBatch] = Trainer(
        objective.to(ranks.device),
        optimizer,
        ranks,
        precision=config.precision,
        clip_norm=settings.optimizer.clip_norm,
    )
    store = CheckpointStore(checkpoints, keep_last=1, say=records.say)
    validate = None if figure is None else lambda: _to_lower(figure(model))

    def told(loss: float) -> tuple[str, float | None, str]:
        value = _figure_of(loss)
        shown = "undefined" if value is None else f"{value:.4f}"
        return figure_name, value, f"{figure_name.replace('_', ' ', 1)} {shown}"

    loop: Loop[TaskBatch] = Loop(trainer, batches, settings, store, records, validate=validate, told=told)
    if resume and (found := store.latest()) is not None:
        loop.resume(found)
    if not loop.run():
        return False
    if figure is not None:
        loop.take_best_weights()
        state, best = loop.state, _figure_of(_UNDEFINED if loop.state.best_loss is None else loop.state.best_loss)
        at = f"step {state.best_step}, epoch {state.best_step / batches.batches_per_epoch:.3g} of {config.epochs:g}"
        records.say(
            f"{figure_name} was undefined throughout (constant predictions?); the last weights are kept"
            if best is None
            else f"best {figure_name} {best:.4f} at {at}{' (stopped early)' if state.stopped_early else ''}; "
            "these weights are kept"
        )
    model.eval()
    return True


def _to_lower(figure: float) -> float:
    """What the loop minimises."""
    return _UNDEFINED if math.isnan(figure) else -figure


def _figure_of(loss: float) -> float | None:
    """The figure that `_to_lower` made `loss` of; None where it was undefined."""
    return None if loss == _UNDEFINED else -loss


def freeze(model: TaskModel, *, embeddings: bool, layers: int) -> None:
    """Leave the embeddings, and the first `layers` layers, as they are. Raises InputError where there are fewer."""
    bert = model.bert
    require(layers <= len(bert.layers), f"freeze_layers must be <= {len(bert.layers)}, got {layers}")
    frozen: list[nn.Module] = [*bert.layers[:layers]]
    for module in [bert.embeddings, *frozen] if embeddings else frozen:
        module.requires_grad_(False)


def make_task_optimizer(model: TaskModel, config: OptimizerConfig, layer_decay: float) -> torch.optim.AdamW:
    """AdamW with `lr_scale` in each group: 1 for head and pooler, `layer_decay` a layer down, the embeddings lowest.

    No weight decay on biases and LayerNorm, as in `train.models`. Frozen parameters are left out.
    """
    bert, depth = model.bert, len(model.bert.layers)
    scales = {id(p): layer_decay ** (depth + 1) for p in bert.embeddings.parameters()}
    for number, layer in enumerate(bert.layers):
        scales |= {id(p): layer_decay ** (depth - number) for p in layer.parameters()}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            decay = config.weight_decay if parameter.dim() >= 2 else 0.0
            groups.setdefault((scales.get(id(parameter), 1.0), decay), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "weight_decay": decay, "lr_scale": scale}
            for (scale, decay), parameters in groups.items()
        ],
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
        fused=True,
    )
