"""A fine-tuning run from data to folder: one seed, several seeds, and cross-validation of settings."""

import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch

from tinydistil.base.errors import InputError, require
from tinydistil.base.files import write_json
from tinydistil.base.ranks import Ranks
from tinydistil.base.stop import Interrupted
from tinydistil.model.heads import BertForSequenceClassification
from tinydistil.tasks.augment import Synonyms, augmented
from tinydistil.tasks.examples import TaskExample, class_weights
from tinydistil.tasks.finetune_config import FineTuneConfig
from tinydistil.tasks.folder import TASK_FILE, load, new_model, save
from tinydistil.tasks.predict import predict
from tinydistil.tasks.task import PRIMARY, AnyTask, Evidence, Row, primary_metric
from tinydistil.tasks.task_objective import TaskModel
from tinydistil.tasks.task_output import CHECKPOINTS, DETAILS, FIGURES, METRICS, finite_or_none, read_figures
from tinydistil.tasks.task_records import LabelledText
from tinydistil.tasks.task_teacher import SoftTargets
from tinydistil.tasks.text_task import TextTask
from tinydistil.tasks.train_task import fine_tune
from tinydistil.train.records import Records


@dataclass(frozen=True)
class Material:
    """What a run learns from and is measured by: the model's folder, the task, and rows of its form.

    dev chooses the best weights, and may be empty; test is looked at once, at the end. synonyms: for augmentation.
    teacher: whose predictions are learnt from too.
    """

    folder: Path
    task: AnyTask
    training: Sequence[Row]
    dev: Sequence[Row]
    test: Sequence[Row]
    synonyms: Synonyms = field(default_factory=dict)
    teacher: SoftTargets | None = None


def run_seed(
    material: Material,
    config: FineTuneConfig,
    output: Path,
    ranks: Ranks,
    *,
    resume: bool,
    label: str = "",
    still_to_come: float = 0.0,
) -> dict[str, dict[str, float]] | None:
    """Fine-tune once and write the model to `output`; its figures on dev and test, by set and name.

    None where it was asked to stop: the same call with `resume` goes on. A run that is done is not repeated, and one
    that ended while its model was measured goes on with that. What is in `output` must be of the same material.
    label, still_to_come: as `Records` has them.
    """
    if resume and (known := read_figures(output / FIGURES)):
        return cast(dict[str, dict[str, float]], known)
    output.mkdir(parents=True, exist_ok=True)
    model = _whole_model(material.task.kind, output, ranks) if resume else None
    if model is None:
        records = Records(output / METRICS, label=label, still_to_come=still_to_come)
        model = _trained(material, config, output / CHECKPOINTS, ranks, records, resume=resume)
        records.close()
        if model is None:
            return None
        # Before it is measured: whatever happens then, the work is not lost.
        save(model, material.task, output)
    sets = {name: rows for name, rows in (("dev", material.dev), ("test", material.test)) if rows}
    found = {name: measured(material.task, model, rows) for name, rows in sets.items()}
    figures = {name: dict(each.figures) for name, each in found.items()}
    details = {name: material.task.details(rows, found[name].predictions) for name, rows in sets.items()}
    write_json(output / DETAILS, details)
    write_json(output / FIGURES, finite_or_none(figures))
    # Of use only to a run that is not done; for BERT-base they are two gigabytes.
    shutil.rmtree(output / CHECKPOINTS, ignore_errors=True)
    return figures


def _whole_model(kind: str, output: Path, ranks: Ranks) -> TaskModel | None:
    """The trained model of a run that ended while it was measured; None where there is none."""
    if not (output / TASK_FILE).is_file():  # which is written last
        return None
    try:
        return load(output, (kind,)).model.to(ranks.device)
    except InputError as error:
        print(f"trained again, as the model is damaged: {error}", file=sys.stderr)
        return None


class Measured(NamedTuple):
    """A model's predictions, the evidence of how good they are, and the figures."""

    evidence: Evidence
    figures: Mapping[str, float]
    predictions: Sequence[object]


def measured(task: AnyTask, model: TaskModel, rows: Sequence[Row]) -> Measured:
    """The model's predictions on `rows`, with evidence and figures."""
    predictions = task.predict(model, rows)
    evidence = task.evidence(rows, predictions)
    return Measured(evidence, task.figures(evidence), predictions)


def summary(runs: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, tuple[float, float]]]:
    """Mean and sample standard deviation of each figure over seeds; 0 for one seed."""
    return {
        split: {name: mean_and_deviation([run[split][name] for run in runs]) for name in runs[0][split]}
        for split in runs[0]
    }


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation, 0 for one value; NaN where any value is."""
    # statistics.stdev fails on NaN
    return statistics.fmean(values), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def held_out(num_rows: int, folds: int, seed: int) -> list[list[int]]:
    """Which of the training rows each of `folds` parts holds out, dealt out by `seed`: each row once."""
    require(2 <= folds <= num_rows, f"folds must be in 2..{num_rows}, got {folds}")
    order = np.random.default_rng(seed).permutation(num_rows)
    return [sorted(order[fold::folds].tolist()) for fold in range(folds)]


def cross_validated(
    material: Material, config: FineTuneConfig, *, folds: int, ranks: Ranks, done: int = 0
) -> Iterator[float]:
    """The primary metric on each of `folds` parts of the training rows, but the first `done`, trained on the others.

    Rows are dealt out by `config.seed`. Raises Interrupted where it was asked to stop.
    """
    rows = material.training
    for part in held_out(len(rows), folds, config.seed)[done:]:
        left_out = set(part)
        others = replace(material, training=[row for i, row in enumerate(rows) if i not in left_out], dev=[])
        with tempfile.TemporaryDirectory() as checkpoints:
            model = _trained(others, config, Path(checkpoints), ranks, Records(None), resume=False)
        if model is None:
            raise Interrupted
        yield primary_metric(measured(material.task, model, [rows[i] for i in part]).figures)


def _trained(
    material: Material,
    config: FineTuneConfig,
    checkpoints: Path,
    ranks: Ranks,
    records: Records,
    *,
    resume: bool,
) -> TaskModel | None:
    task = material.task
    model = new_model(material.folder, task, pooling=config.pooling, seed=config.seed)
    examples = _examples(material, config)
    if task.kind == "regress" and isinstance(model, BertForSequenceClassification):
        # From the mean of the labels: half of the first epoch would else go into finding it.
        with torch.no_grad():
            model.classifier.bias.fill_(float(np.mean([example.target for example in examples])))
    balanced = config.class_weights == "balanced"
    weights = class_weights([example.target for example in examples], task.labels) if balanced else None
    validate = (lambda current: primary_metric(measured(task, current, material.dev).figures)) if material.dev else None
    done = fine_tune(
        model,
        examples,
        config,
        pad_id=task.tokenizer.pad_id,
        checkpoints=checkpoints,
        ranks=ranks,
        records=records,
        figure=validate,
        figure_name=f"dev_{PRIMARY[task.kind]}",
        class_weights=weights,
        resume=resume,
    )
    if not done:
        return None
    # Refuses weights that the last step broke, before they are written.
    predict(model, examples[:8], pad_id=task.tokenizer.pad_id)
    return model


def _examples(material: Material, config: FineTuneConfig) -> list[TaskExample]:
    """The training examples, with augmented copies and a teacher's logits where there are any."""
    teacher = material.teacher
    if not isinstance(material.task, TextTask):
        examples = material.task.examples(material.training)
        soft = teacher.of_tokens(examples) if teacher else []
    else:
        # Here and not earlier, so that no copy of a held-out row gets into training.
        rows = augmented(cast(Sequence[LabelledText], material.training), config.augment, material.synonyms)
        examples = material.task.examples(rows)
        soft = teacher.of_texts(rows) if teacher else []
    if teacher is None:
        return examples
    return [replace(each, soft=logits) for each, logits in zip(examples, soft, strict=True)]
