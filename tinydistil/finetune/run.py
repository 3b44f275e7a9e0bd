"""A fine-tuning run from data to folder: one seed, several seeds, and cross-validation of settings."""

import shutil
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, TypeVar, cast

import numpy as np
import torch

from tinydistil.config import from_mapping, to_mapping
from tinydistil.errors import require
from tinydistil.files import read_json, write_json
from tinydistil.finetune.augment import Synonyms, augmented
from tinydistil.finetune.examples import TaskExample, class_weights
from tinydistil.finetune.folder import new_model, save
from tinydistil.finetune.forms import AnyTask
from tinydistil.finetune.objective import TaskModel
from tinydistil.finetune.settings import FineTuneConfig
from tinydistil.finetune.task import Evidence, Task, headline
from tinydistil.finetune.teacher import SoftTargets
from tinydistil.finetune.text_task import TextTask
from tinydistil.finetune.train import fine_tune
from tinydistil.model.heads import BertForSequenceClassification
from tinydistil.ranks import Ranks
from tinydistil.text.tasks.records import LabelledText, Question, TaggedSentence
from tinydistil.train.records import Records

RowT = TypeVar("RowT", LabelledText, TaggedSentence, Question)
FIGURES_FILE = "figures.json"


@dataclass(frozen=True)
class Material(Generic[RowT]):
    """What a run learns from and is measured by: the model's folder, the task, and rows.

    dev chooses the best weights, and may be empty; test is looked at once, at the end. synonyms: for augmentation.
    teacher: whose predictions are learnt from too.
    """

    folder: Path
    task: Task[RowT, object]
    training: Sequence[RowT]
    dev: Sequence[RowT]
    test: Sequence[RowT]
    synonyms: Synonyms = field(default_factory=dict)
    teacher: SoftTargets | None = None


def run_seed(
    material: Material[RowT],
    config: FineTuneConfig,
    output: Path,
    ranks: Ranks,
    *,
    resume: bool,
    label: str = "",
    still_to_come: float = 0.0,
) -> dict[str, dict[str, float]] | None:
    """Fine-tune once and write the model to `output`; its figures on dev and test, by set and name.

    None where it was asked to stop: the same call with `resume` goes on. A run that is done is not repeated.
    label, still_to_come: as `Records` has them.
    """
    if resume and (output / FIGURES_FILE).is_file():
        return cast(dict[str, dict[str, float]], read_json(output / FIGURES_FILE))
    output.mkdir(parents=True, exist_ok=True)
    records = Records(output / "metrics.jsonl" if ranks.is_main else None, label=label, still_to_come=still_to_come)
    model = _trained(material, config, output / "checkpoints", ranks, records, resume=resume)
    records.close()
    if model is None:
        return None
    sets = {"dev": material.dev, "test": material.test}
    figures = {name: dict(measured(material.task, model, rows)[1]) for name, rows in sets.items() if rows}
    if ranks.is_main:
        save(model, cast(AnyTask, material.task), output)
        write_json(output / FIGURES_FILE, figures)
        # Of use only to a run that is not done; for BERT-base they are two gigabytes.
        shutil.rmtree(output / "checkpoints")
    return figures


def measured(task: Task[RowT, object], model: TaskModel, rows: Sequence[RowT]) -> tuple[Evidence, Mapping[str, float]]:
    """The evidence of the model's predictions on `rows`, and its figures."""
    evidence = task.evidence(rows, task.predict(model, rows))
    return evidence, task.figures(evidence)


def summary(runs: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, tuple[float, float]]]:
    """Mean and sample standard deviation of each figure over seeds; 0 for one seed."""
    return {
        split: {
            name: (
                statistics.fmean(run[split][name] for run in runs),
                statistics.stdev(run[split][name] for run in runs) if len(runs) > 1 else 0.0,
            )
            for name in runs[0][split]
        }
        for split in runs[0]
    }


def cross_validated(
    material: Material[RowT], config: FineTuneConfig, changes: Mapping[str, object], *, folds: int, ranks: Ranks
) -> list[float]:
    """The figure that counts on each of `folds` parts of the training rows, after training on the others.

    changes: fields of `config` to replace. Rows are dealt out by `config.seed`, alike for any changes.
    """
    require(2 <= folds <= len(material.training), f"folds must be in 2..{len(material.training)}, got {folds}")
    chosen = from_mapping(FineTuneConfig, {**to_mapping(config), **changes})
    order = np.random.default_rng(config.seed).permutation(len(material.training))
    found = []
    for fold in range(folds):
        held_out = set(order[fold::folds].tolist())
        rows = [row for place, row in enumerate(material.training) if place not in held_out]
        part = replace(material, training=rows, dev=[])
        with tempfile.TemporaryDirectory() as checkpoints:
            model = _trained(part, chosen, Path(checkpoints), ranks, Records(None), resume=False)
        if model is None:
            raise KeyboardInterrupt
        _, figures = measured(material.task, model, [material.training[place] for place in sorted(held_out)])
        found.append(headline(figures))
    return found


def _trained(
    material: Material[RowT],
    config: FineTuneConfig,
    checkpoints: Path,
    ranks: Ranks,
    records: Records,
    *,
    resume: bool,
) -> TaskModel | None:
    task = cast(AnyTask, material.task)
    model = new_model(material.folder, task, pooling=config.pooling, seed=config.seed)
    examples = _examples(material, config)
    if task.kind == "regress" and isinstance(model, BertForSequenceClassification):
        # From the mean of the labels: half of the first epoch would else go into finding it.
        with torch.no_grad():
            model.classifier.bias.fill_(float(np.mean([example.target for example in examples])))
    weights = None
    if config.class_weights == "balanced":
        require(task.kind in ("classify", "tag"), f"class_weights need classes; the task is to {task.kind}")
        weights = class_weights([example.target for example in examples], task.labels)
    done = fine_tune(
        model,
        examples,
        config,
        pad_id=task.tokenizer.pad_id,
        checkpoints=checkpoints,
        ranks=ranks,
        records=records,
        figure=(lambda current: headline(measured(material.task, current, material.dev)[1])) if material.dev else None,
        class_weights=weights,
        resume=resume,
    )
    return model if done else None


def _examples(material: Material[RowT], config: FineTuneConfig) -> list[TaskExample]:
    """The training examples, with changed copies and a teacher's logits where they are asked for."""
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
