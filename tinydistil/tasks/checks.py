"""What a fine-tuning run would be refused for, refused before anything is trained."""

import sys
from collections import Counter
from collections.abc import Sequence
from typing import cast

from tinydistil.base.errors import InputError, require
from tinydistil.distill.step import check_precision
from tinydistil.tasks.augment import check_copies
from tinydistil.tasks.finetune import Material, held_out
from tinydistil.tasks.finetune_config import FineTuneConfig
from tinydistil.tasks.folder import new_model
from tinydistil.tasks.task import AnyTask, Row, unseen_labels
from tinydistil.tasks.task_records import LabelledText
from tinydistil.tasks.text_task import TextTask


def check(material: Material, configs: Sequence[FineTuneConfig], folds: int | None) -> None:
    """Raise InputError for what a run with any of `configs`, or any of its `folds`, would end in."""
    task, training = material.task, material.training
    model = new_model(material.folder, task, pooling=configs[0].pooling, seed=configs[0].seed)
    depth = model.config.num_hidden_layers
    for config in configs:
        check_precision(config.precision)
        require(material.teacher is not None or config.soft == 0, "soft > 0 needs --teacher, a fine-tuned model")
        require(config.freeze_layers <= depth, f"freeze_layers must be <= {depth}, got {config.freeze_layers}")
    for name, rows in (("--train", training), ("--dev", material.dev), ("--test", material.test)):
        if rows:
            check_rows(task, rows, name, "" if name == "--train" else f"; leave {name} out")
    if isinstance(task, TextTask):
        check_copies(cast(Sequence[LabelledText], training), configs[0].augment, task.max_length)
        usable = [True] * len(training)
    else:
        # A question whose answer no window holds, a sentence of control characters.
        usable = [bool(task.examples([row])) for row in training]
    require(any(usable), "--train: no training example is left")
    balanced = any(config.class_weights == "balanced" for config in configs)
    require(not balanced or task.kind in ("classify", "tag"), f"class_weights need classes; the task is to {task.kind}")
    counts = Counter(task.labels_of(training))
    parts = [] if folds is None else held_out(len(training), folds, configs[0].seed)
    for number, part in enumerate(parts, start=1):
        left_out, name = [training[i] for i in part], f"with {folds} folds, fold {number}"
        check_rows(task, left_out, name, "; choose fewer folds")
        require(sum(usable) > sum(usable[i] for i in part), f"{name}: no training example is left without it")
        for label, count in Counter(task.labels_of(left_out)).items() if balanced else ():
            # Found now, not when that fold's turn comes.
            require(
                count < counts[label],
                f"class_weights 'balanced' needs every class in training; {name} holds out all of {label!r}",
            )


def check_rows(task: AnyTask, rows: Sequence[Row], name: str, remedy: str) -> None:
    """Raise InputError, which begins with `name` and ends with `remedy`, where `task` cannot be measured on `rows`.

    Labels that training lacks are printed on standard error.
    """
    try:
        if isinstance(task, TextTask):
            task.check(cast(Sequence[LabelledText], rows))
        unseen = unseen_labels(task, rows)
    except InputError as error:
        raise InputError(f"{name}: {error}{remedy}") from None
    if unseen:
        print(f"{name}: {unseen}", file=sys.stderr)
