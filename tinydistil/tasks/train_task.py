"""Fine-tuning on the one loop: batches, a model with its loss, which weights learn, and a figure to raise.

Shapes: B examples, T tokens, C classes, M = B, B * T or B * 2 of what is labelled.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from tinydistil.base.errors import require
from tinydistil.base.ranks import Ranks
from tinydistil.batches.sampling import epoch_order
from tinydistil.distill.gather import GatheringTrainer
from tinydistil.distill.losses import IGNORED, soft_targets
from tinydistil.distill.step import Trainer, check_precision
from tinydistil.distill.terms.base import Loss
from tinydistil.model.heads import BertForQuestionAnswering, BertForTokenClassification, SpanLogits
from tinydistil.model.pairs import BertForCosine
from tinydistil.tasks.cosent import LARGEST_BATCH, CosentObjective
from tinydistil.tasks.finetune_config import FineTuneConfig
from tinydistil.tasks.task import EncodedExample, TaskBatch, TaskModel, collate
from tinydistil.train.loop import Loop
from tinydistil.train.records import CheckpointStore, Records
from tinydistil.train.run_config import OptimizerConfig

# Examples of like length are dealt into one batch within windows of so many batches: on ASSIN 2 padding falls from
# 26 % of the tokens to 2 %, and batches still differ from epoch to epoch.
WINDOW_BATCHES = 20
# As a loss, an undefined figure (the correlation of constant predictions) is worse than any: figures are in [-1, 1].
_UNDEFINED = 2.0
# The logit of an answer in the padding; finite, for 0 * inf would make a divergence NaN.
NOWHERE = -1e30


class TaskBatches:
    """The batches of a training set: pure functions of (seed, cursor), examples of like length together."""

    def __init__(self, examples: Sequence[EncodedExample], *, pad_id: int, batch_size: int, seed: int) -> None:
        require(len(examples) >= 1, "no training example is left")
        self.examples, self.pad_id, self.seed = examples, pad_id, seed
        self.batch_size = min(batch_size, len(examples))
        self.batches_per_epoch = len(examples) // self.batch_size
        self._lengths = np.array([len(example.ids) for example in examples])
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))

    @property
    def mean_tokens(self) -> float:
        """Tokens of a global batch on average."""
        return float(self._lengths.mean() * self.batch_size)

    def global_batch(self, cursor: int) -> tuple[int, NDArray[np.int64]]:
        """The epoch and the numbers of the examples of the `cursor`-th batch since the start of the run."""
        epoch, index = divmod(cursor, self.batches_per_epoch)
        if self._order[0] != epoch:
            everyone = np.arange(len(self.examples))
            order = epoch_order(everyone, self._lengths, self.batch_size, WINDOW_BATCHES, seed=self.seed, epoch=epoch)
            self._order = (epoch, order)
        return epoch, self._order[1][index * self.batch_size : (index + 1) * self.batch_size]

    def micro_batches(self, cursor: int, *, rank: int, world_size: int, accumulation: int) -> list[TaskBatch]:
        """This rank's share of the `cursor`-th global batch, in `accumulation` parts; some may count no example."""
        ids, parts = self.global_batch(cursor)[1], world_size * accumulation
        shares = [ids[rank * accumulation + part :: parts] for part in range(accumulation)]
        return [
            collate([self.examples[i] for i in (share if len(share) else ids[:1])], self.pad_id, counted=len(share) > 0)
            for share in shares
        ]


class TaskObjective(nn.Module):
    """The model and its loss, an `Objective` of the one loop.

    Terms: "task", the cross-entropy of classes per text or per token, or of the positions of an answer's two ends, or
    the squared error of a number; "soft", the divergence from the teacher's predictions that the batch carries, also
    for its examples without a label. joint: the model gives a number and the logits of classes, whose two losses are
    added.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        model: TaskModel,
        *,
        class_weights: Tensor | None = None,
        soft: float = 0.0,
        temperature: float = 2.0,
        joint: bool = False,
    ) -> None:
        super().__init__()
        self.model, self.temperature = model, temperature
        self.finds_answers = isinstance(model, BertForQuestionAnswering)
        # How many of the model's outputs are a number, 0 or 1, and whether the others are classes.
        self.num_numbers = int(joint or model.config.problem_type == "regression")
        self.has_classes = joint or not self.num_numbers
        # Not in the checkpoint: it is a function of the training set.
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.weights = {name: weight for name, weight in (("task", 1 - soft), ("soft", soft)) if weight > 0}
        self.reports = {name: name for name in self.weights}

    def counts(self, batch: TaskBatch) -> Mapping[str, int]:
        """Examples, labelled tokens or ends of answers of a micro-batch, for each term."""
        return {term: int(self._counted(batch, term).sum()) for term in self.weights}

    def forward(self, batch: TaskBatch, teacher: None = None, progress: float = 0.0) -> dict[str, Loss]:
        """The terms of one micro-batch."""
        output = self.model(batch.input_ids, batch.attention_mask, batch.token_type_ids)
        # What is chosen from stands last: (B, C), for tagging (B, T, C), for the ends of answers (B, 2, T).
        if isinstance(output, SpanLogits):
            output = _ends(torch.stack([output.first, output.last], -1), batch)
        logits, targets, count = output.flatten(0, -2).float(), batch.targets, self.num_numbers  # (M, C)
        counted, parts = {term: self._counted(batch, term).flatten() for term in self.weights}, {}
        if "task" in self.weights:
            both = count and self.has_classes
            scores, classes = targets.unbind(1) if both else (targets, targets.flatten())  # (M,)
            sums = self._of_number(logits, scores, counted["task"])
            if self.has_classes:
                losses = F.cross_entropy(
                    logits[:, count:], classes.long(), self.class_weights, ignore_index=IGNORED, reduction="none"
                )
                sums.append(torch.where(counted["task"], losses, 0.0).sum())
            parts["task"] = Loss(torch.stack(sums).sum(), weight=self.weights["task"])
        if "soft" in self.weights:
            assert batch.soft is not None, "soft targets need a teacher"
            soft = (_ends(batch.soft, batch) if self.finds_answers else batch.soft).flatten(0, -2)
            sums = self._of_number(logits, soft[:, 0], counted["soft"])
            if self.has_classes:
                chosen = logits[:, count:], soft[:, count:], counted["soft"]
                sums.append(soft_targets(*chosen, temperature=self.temperature))
            parts["soft"] = Loss(torch.stack(sums).sum(), weight=self.weights["soft"])
        return parts

    def _of_number(self, logits: Tensor, targets: Tensor, counted: Tensor) -> list[Tensor]:
        """The squared error of the first output, where that is a number."""
        if not self.num_numbers:
            return []
        return [torch.where(counted, (logits[:, 0] - targets).square(), 0.0).sum()]

    def _counted(self, batch: TaskBatch, term: str) -> Tensor:
        """What counts: examples (B,), for tagging tokens (B, T), of answers both ends (B, 2); "task" needs a label."""
        counted = batch.counted & batch.labelled if term == "task" else batch.counted
        if isinstance(self.model, BertForTokenClassification):
            return (batch.targets != IGNORED) & counted.unsqueeze(1)
        return counted.unsqueeze(1).expand(-1, 2) if self.finds_answers else counted


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
    resume: bool = False,
    joint: bool = False,
) -> bool:
    """Train `model` in place; False if asked to stop before the end (everything is saved then).

    figure: what to raise on the development set, called `figure_name`, between two passes; with it the best weights
    are put back at the end. checkpoints: a folder for them; `resume` goes on from its latest.
    Raises InputError where the loss is not finite for several steps (an absurd learning rate, say).
    """
    check_precision(config.precision)
    freeze(model, embeddings=config.freeze_embeddings, layers=config.freeze_layers)
    batches = TaskBatches(examples, pad_id=pad_id, batch_size=config.batch_size, seed=config.seed)
    settings = config.train_config(batches.batches_per_epoch, batches.batch_size)
    balanced = config.class_weights == "balanced"
    targets, labels = [each.target for each in examples if each.made_of is None], model.config.labels
    if joint:
        targets, labels = [target[1:] for target in targets], labels[1:]
    weights = class_weights(targets, labels) if balanced else None
    by_cosine = isinstance(model, BertForCosine)
    small = not by_cosine or batches.batch_size <= LARGEST_BATCH
    each = "as CoSENT compares each row with each"
    require(small, f"batch_size must be <= {LARGEST_BATCH:,}, {each}, got {batches.batch_size:,}")
    objective = (
        CosentObjective(model, soft=config.soft)
        if by_cosine
        else TaskObjective(model, class_weights=weights, soft=config.soft, temperature=config.temperature, joint=joint)
    )
    optimizer = make_task_optimizer(model, settings.optimizer, config.layer_decay)
    clip_norm = settings.optimizer.clip_norm
    trainer: Trainer[TaskBatch] = (GatheringTrainer if by_cosine else Trainer)(
        objective.to(ranks.device), optimizer, ranks, precision=config.precision, clip_norm=clip_norm
    )
    store = CheckpointStore(checkpoints, keep_last=1, say=records.say)

    def figure_of(loss: float) -> float | None:
        return None if loss == _UNDEFINED else -loss

    def validate() -> float:
        found = math.nan if figure is None else figure(model)
        return _UNDEFINED if math.isnan(found) else -found

    def told(loss: float) -> tuple[str, float | None, str]:
        value = figure_of(loss)
        shown = "undefined" if value is None else f"{value:.4f}"
        return figure_name, value, f"{figure_name.replace('_', ' ', 1)} {shown}"

    loop: Loop[TaskBatch] = Loop(trainer, batches, settings, store, records, validate=figure and validate, told=told)
    if resume and (found := store.latest()) is not None:
        loop.resume(found)
    if not loop.run():
        return False
    if figure is not None:
        loop.take_best_weights()
        state, best = loop.state, figure_of(_UNDEFINED if loop.state.best_loss is None else loop.state.best_loss)
        at = f"step {state.best_step}, epoch {state.best_step / batches.batches_per_epoch:.3g} of {config.epochs:g}"
        records.say(
            f"{figure_name} was undefined throughout (constant predictions?); the last weights are kept"
            if best is None
            else f"best {figure_name} {best:.4f} at {at}{' (stopped early)' if state.stopped_early else ''}; "
            "these weights are kept"
        )
    model.eval()
    return True


def class_weights(targets: Sequence[NDArray[np.generic]], labels: Sequence[str]) -> Tensor:
    """Inverse shares of the C classes `labels`, (C,) float32, of mean 1 over the training set.

    Raises InputError for a class that no training example has: it could not be learnt.
    """
    every = np.concatenate([np.atleast_1d(target) for target in targets]).astype(np.int64)
    counts = np.bincount(every[every != IGNORED], minlength=len(labels))
    missing = labels[int(counts.argmin())]
    require(bool(counts.all()), f"class_weights 'balanced' needs every class in training; {missing!r} is not there")
    return torch.from_numpy((counts.sum() / (len(labels) * counts)).astype(np.float32))


def freeze(model: TaskModel, *, embeddings: bool, layers: int) -> None:
    """Leave the embeddings, and the first `layers` layers, as they are. Raises InputError where there are fewer."""
    bert = model.bert
    require(layers <= len(bert.layers), f"freeze_layers must be <= {len(bert.layers)}, got {layers}")
    frozen: list[nn.Module] = [*bert.layers[:layers], *([bert.embeddings] if embeddings else [])]
    for module in frozen:
        module.requires_grad_(False)


def make_task_optimizer(model: TaskModel, config: OptimizerConfig, layer_decay: float) -> torch.optim.AdamW:
    """AdamW with `lr_scale` in each group: 1 for head and pooler, `layer_decay` a layer down, the embeddings lowest.

    No weight decay on biases and LayerNorm, as in `train.models`. Frozen parameters are left out.
    """
    scales: dict[int, float] = {}
    for down, module in enumerate([*reversed(model.bert.layers), model.bert.embeddings], start=1):
        scales |= {id(parameter): layer_decay**down for parameter in module.parameters()}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            decay = config.weight_decay if parameter.dim() >= 2 else 0.0
            groups.setdefault((scales.get(id(parameter), 1.0), decay), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": each, "weight_decay": decay, "lr_scale": scale} for (scale, decay), each in groups.items()],
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
        fused=True,
    )
