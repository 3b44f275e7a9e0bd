"""Fine-tuning on the one loop: a model with a head, training examples, and a figure to raise."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from tinydistil.base.ranks import Ranks
from tinydistil.distill.step import Trainer, check_precision
from tinydistil.tasks.examples import TaskBatch, TaskBatches, TaskExample
from tinydistil.tasks.finetune_config import FineTuneConfig
from tinydistil.tasks.parameters import freeze, make_task_optimizer
from tinydistil.tasks.task_objective import TaskModel, TaskObjective
from tinydistil.train.checkpoint import CheckpointStore
from tinydistil.train.loop import Loop
from tinydistil.train.records import Records


def fine_tune(
    model: TaskModel,
    examples: Sequence[TaskExample],
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

    figure: what to raise on the development set, between two passes; with it the best weights are put back at the
    end; `figure_name` is what the person is told it is. `checkpoints` is a folder for them. `resume` goes on from its
    latest.
    Raises InputError where the loss is not finite for several steps (an absurd learning rate, say).
    """
    check_precision(config.precision)
    freeze(model, embeddings=config.freeze_embeddings, layers=config.freeze_layers)
    batches = TaskBatches(examples, pad_id=pad_id, batch_size=config.batch_size, seed=config.seed)
    # Parts without an example would only be waited for: a million of them for minutes.
    parts = min(config.accumulation, batches.batch_size)
    settings = replace(config, accumulation=parts).train_config(batches.batches_per_epoch)
    objective = TaskObjective(model, class_weights=class_weights, soft=config.soft, temperature=config.temperature).to(
        ranks.device
    )
    optimizer = make_task_optimizer(model, settings.optimizer, config.layer_decay)
    trainer: Trainer[TaskBatch, None] = Trainer(
        objective, optimizer, ranks, precision=config.precision, clip_norm=settings.optimizer.clip_norm
    )
    store = CheckpointStore(checkpoints, keep_last=1, say=records.say)
    validate = None if figure is None else lambda: _to_lower(figure(model))
    loop: Loop[TaskBatch, None] = Loop(
        trainer, batches, settings, store, records, validate=validate, named=lambda x: (figure_name, _figure_of(x))
    )
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


# As a loss, an undefined figure (the correlation of constant predictions) is worse than any: figures are in [-1, 1].
_UNDEFINED = 2.0


def _to_lower(figure: float) -> float:
    """What the loop minimises."""
    return _UNDEFINED if math.isnan(figure) else -figure


def _figure_of(loss: float) -> float | None:
    """The figure that `_to_lower` made `loss` of; None where it was undefined."""
    return None if loss == _UNDEFINED else -loss
