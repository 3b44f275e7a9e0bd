"""A fine-tuning run from data to folder: what is refused, each seed, and a grid of settings with its folds."""

import shutil
import statistics
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import torch

from tinydistil.base.errors import InputError, Interrupted, require
from tinydistil.base.files import write_json
from tinydistil.base.hub import fingerprint_of
from tinydistil.base.ranks import Ranks
from tinydistil.distill.step import check_precision
from tinydistil.tasks.examples import Example, Synonyms, augmented, check_copies, rows_and_hash
from tinydistil.tasks.finetune_config import FineTuneConfig
from tinydistil.tasks.folder import TASK_FILE, load, new_model, save
from tinydistil.tasks.forms import check_pooling
from tinydistil.tasks.label_task import TextTask
from tinydistil.tasks.soft_targets import SoftTargets
from tinydistil.tasks.splits import apart_from, folds_of, is_paired
from tinydistil.tasks.task import (
    JOINT,
    PRIMARY,
    AnyTask,
    EncodedExample,
    Evidence,
    TaskModel,
    check_examples,
    logits_of,
)  # fmt: skip
from tinydistil.tasks.task_output import CHECKPOINTS, DETAILS, FIGURES, METRICS, finite_or_none, read_figures
from tinydistil.tasks.train_task import fine_tune, freeze
from tinydistil.train.records import Records

Figures: TypeAlias = Mapping[str, Mapping[str, float]]  # by set (dev, test) and name


@dataclass(frozen=True)
class Material:
    """What a run learns from and is measured by: the model's folder, the task, and examples of its form.

    dev chooses the best weights, and may be empty; held_out, where it is not, chooses them instead. test is looked at
    once, at the end. synonyms: for augmentation. teacher, in teacher_folder: whose predictions are learnt from too.
    transfer: what it has labelled of `unlabelled` examples and of texts that are `made` of the training rows.
    """

    folder: Path
    task: AnyTask
    training: Sequence[Example]
    dev: Sequence[Example]
    test: Sequence[Example]
    synonyms: Synonyms = field(default_factory=dict)
    teacher: SoftTargets | None = None
    teacher_folder: Path | None = None
    unlabelled: Sequence[Example] = ()
    made: int = 0
    transfer: Sequence[EncodedExample] = ()
    held_out: Sequence[Example] = ()

    def content(self) -> dict[str, object]:
        """What a run is bound to, wherever the files lie: how many examples and a hash of them, and of the models."""
        found: dict[str, object] = {
            "labels": list(self.task.labels),
            "train": rows_and_hash(self.training),
            "dev": rows_and_hash(self.dev),
            "test": rows_and_hash(self.test),
            "held_out": rows_and_hash(self.held_out),
            "synonyms": rows_and_hash(sorted(self.synonyms.items())),
            "model": fingerprint_of(self.folder),
            "teacher": "" if self.teacher_folder is None else fingerprint_of(self.teacher_folder),
        }
        if self.teacher is not None and self.teacher.precision != "float32":
            found["teacher"] = f"{found['teacher']} in {self.teacher.precision}"
        transfer = {"unlabelled": rows_and_hash(self.unlabelled), "made": self.made}
        return found | (transfer if self.unlabelled or self.made else {})


def check(material: Material, configs: Sequence[FineTuneConfig], folds: int | None) -> None:
    """Raise InputError for what a run with any of `configs`, or any of its `folds`, would end in."""
    task, training = material.task, material.training
    model = new_model(material.folder, task, pooling=configs[0].pooling, seed=configs[0].seed)
    for config in configs:
        check_precision(config.precision)
        check_pooling(task, config.pooling)
        freeze(model, embeddings=False, layers=config.freeze_layers)
        require(material.teacher is not None or config.soft == 0, "soft > 0 needs --teacher, a fine-tuned model")
    others = (("--dev", material.dev), ("--test", material.test), ("--hold-out", material.held_out))
    for name, examples in (("--train", training), *others):
        if examples:
            check_examples(task, examples, name, "" if name == "--train" else f"; leave {name} out")
    if isinstance(task, TextTask):
        check_copies(training, configs[0].augment, task.max_length)  # type: ignore[arg-type]
    # A question whose answer no window holds, a sentence of control characters.
    usable = [isinstance(task, TextTask) or bool(task.encode([example])) for example in training]
    require(any(usable), "--train: no training example is left")
    balanced = any(config.class_weights == "balanced" for config in configs)
    counts = Counter(task.labels_of(training))
    require(not balanced or bool(counts), f"class_weights need classes; the task is to {task.kind}")
    lacking = ", ".join(sorted(task.numbers.keys() - counts.keys()))
    require(not balanced or not lacking, f"class_weights 'balanced': --hold-out takes all of {lacking}; lower it")
    # What a fold would end in is found now, not when its turn comes.
    parts = [] if folds is None else folds_of(training, folds, configs[0].seed)
    for number, part in enumerate(parts, start=1):
        left_out, name = [training[i] for i in part], f"with {folds} folds, fold {number}"
        check_examples(task, left_out, name, "; choose fewer folds")
        require(sum(usable) > sum(usable[i] for i in part), f"{name}: no training example is left without it")
        for label, count in Counter(task.labels_of(left_out)).items() if balanced else ():
            lacking = f"{name} holds out all of {label!r}"
            require(count < counts[label], f"class_weights 'balanced' needs every class in training; {lacking}")


def run_seeds(
    material: Material,
    config: FineTuneConfig,
    folders: Mapping[int, Path],
    ranks: Ranks,
    *,
    resume: bool,
    label: str = "",
    still_to_come: float = 0.0,
) -> list[Figures]:
    """Fine-tune with each seed of `folders` and write the models there; the figures on dev and test of each.

    Raises Interrupted where it was asked to stop: the same call with `resume` goes on. A run that is done is not
    repeated, and one that ended while its model was measured goes on with that. What is in the folders must be of the
    same material. label: what lines on the terminal begin with; still_to_come: work after it, in runs of one seed.
    """
    runs = []
    for number, (seed, folder) in enumerate(folders.items(), start=1):
        known = read_figures(folder / FIGURES) if resume else {}
        name = " · ".join(filter(None, [label, f"seed {seed}" if label or len(folders) > 1 else ""]))
        records = Records(folder / METRICS, label=name, still_to_come=still_to_come + len(folders) - number)
        runs.append(known or _run(material, replace(config, seed=seed), folder, ranks, records, resume=resume))
    return runs


def _run(
    material: Material, config: FineTuneConfig, output: Path, ranks: Ranks, records: Records, *, resume: bool
) -> Figures:
    output.mkdir(parents=True, exist_ok=True)
    task, model = material.task, None
    if resume and (output / TASK_FILE).is_file():  # which is written last: the run ended while it was measured
        try:
            tuned = load(output, (task.kind,))
            task, model = tuned.task, tuned.model.to(ranks.device)
        except InputError as error:
            print(f"trained again, as the model is damaged: {error}", file=sys.stderr)
    if model is None:
        with closing(records):
            model = trained(material, config, output / CHECKPOINTS, ranks, records, resume=resume)
        task = task.with_line(model, material.training) if isinstance(task, TextTask) else task  # type: ignore[arg-type]
        # Before it is measured: whatever happens then, the work is not lost.
        save(model, task, output)
    sets = {name: getattr(material, name) for name in ("held_out", "dev", "test") if getattr(material, name)}
    apart = apart_from([*material.training, *material.held_out], material.test) if is_paired(material.test) else []
    if 1 < len(apart) < len(material.test):
        sets["test_apart"] = apart
    found = {name: measured(task, model, examples) for name, examples in sets.items()}
    figures = {name: dict(each.figures) for name, each in found.items()}
    write_json(output / DETAILS, {name: task.details(each, found[name].predictions) for name, each in sets.items()})
    write_json(output / FIGURES, finite_or_none(figures))
    # Of use only to a run that is not done; for BERT-base they are two gigabytes.
    shutil.rmtree(output / CHECKPOINTS, ignore_errors=True)
    return figures


class Measured(NamedTuple):
    """A model's predictions, the evidence of how good they are, and the figures."""

    evidence: Evidence
    figures: Mapping[str, float]
    predictions: Sequence[object]

    @property
    def primary(self) -> float:
        """The figure that chooses weights and settings."""
        return next(iter(self.figures.values()))


def measured(task: AnyTask, model: TaskModel, examples: Sequence[Example]) -> Measured:
    """The model's predictions on `examples`, with evidence and figures."""
    predictions = task.predict(model, examples)
    evidence = task.evidence(examples, predictions)
    return Measured(evidence, task.figures(evidence), predictions)


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation, 0 for one value; NaN where any value is, on which statistics.stdev fails."""
    return statistics.fmean(values), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def trained(
    material: Material, config: FineTuneConfig, checkpoints: Path, ranks: Ranks, records: Records, *, resume: bool
) -> TaskModel:
    """A model tuned by one seed. Raises Interrupted where it was asked to stop; the same call with `resume` goes on."""
    task, teacher, examples = material.task, material.teacher, material.training
    choosing = material.held_out or material.dev
    model = new_model(material.folder, task, pooling=config.pooling, seed=config.seed)
    if isinstance(task, TextTask):
        # Here and not earlier, so that no copy of a held-out example gets into training.
        examples = augmented(examples, config.augment, material.synonyms)  # type: ignore[arg-type]
    encoded = task.encode(examples)
    if isinstance(task, TextTask) and task.num_numbers and task.form != "cosine":
        # From the mean of the labels: half of the first epoch would else go into finding it.
        with torch.no_grad():
            numbers = np.stack([each.target for each in encoded]).reshape(len(encoded), -1)[:, 0]
            model.get_parameter("classifier.bias")[0] = float(numbers.mean())
    if teacher is not None:
        soft = teacher.of_texts(examples) if isinstance(task, TextTask) else teacher.of_tokens(examples, encoded)  # type: ignore[arg-type]
        encoded = [replace(each, soft=logits) for each, logits in zip(encoded, soft, strict=True)]
    if config.soft > 0:
        encoded = [*encoded, *material.transfer]
    done = fine_tune(
        model,
        encoded,
        config,
        pad_id=task.tokenizer.pad_id,
        checkpoints=checkpoints,
        ranks=ranks,
        records=records,
        figure=(lambda now: measured(task, now, choosing).primary) if choosing else None,
        figure_name=f"{'held-out' if material.held_out else 'dev'}_{PRIMARY[task.kind]}",
        joint=task.kind == JOINT,
        resume=resume,
    )
    if not done:
        raise Interrupted
    # Refuses weights that the last step broke, before they are written.
    logits_of(model, encoded[:8], pad_id=task.tokenizer.pad_id)
    return model
