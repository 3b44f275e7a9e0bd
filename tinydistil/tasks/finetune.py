"""A fine-tuning run from data to folder: soft targets, what is refused, each seed, and the folds of a grid."""

import shutil
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import NDArray

from tinydistil.base.errors import InputError, Interrupted, require
from tinydistil.base.files import write_json
from tinydistil.base.ranks import Ranks
from tinydistil.distill.step import check_precision
from tinydistil.model.heads import BertForSequenceClassification
from tinydistil.tasks.examples import Example, LabelledText, Synonyms, augmented, check_copies
from tinydistil.tasks.finetune_config import FineTuneConfig
from tinydistil.tasks.folder import TASK_FILE, FineTuned, load, new_model, save
from tinydistil.tasks.task import PRIMARY, AnyTask, Evidence, check_examples, logits_of, primary_metric
from tinydistil.tasks.task_batches import EncodedExample, TaskModel, class_weights
from tinydistil.tasks.task_output import CHECKPOINTS, DETAILS, FIGURES, METRICS, finite_or_none, read_figures
from tinydistil.tasks.text_task import TextTask
from tinydistil.tasks.train_task import fine_tune, freeze
from tinydistil.train.records import Records

Figures: TypeAlias = Mapping[str, Mapping[str, float]]  # by set (dev, test) and name


class SoftTargets:
    """A fine-tuned teacher's logits for examples of `task`, its classes in that task's order; each computed once.

    Of texts the teacher reads the example with its own tokenizer. Of tags and answers it reads the student's tokens,
    since its logits belong to tokens. Raises InputError where its classes are others, or there its tokenizer is.
    """

    def __init__(self, teacher: FineTuned, task: AnyTask) -> None:
        self.model, self.task = teacher.model, teacher.task
        if self.task.kind != task.kind or set(self.task.labels) != set(task.labels):
            raise InputError(
                f"the teacher was fine-tuned to {self.task.kind} {list(self.task.labels)}, "
                f"the student is asked to {task.kind} {list(task.labels)}"
            )
        if not isinstance(task, TextTask):
            require(
                self.task.tokenizer.fingerprint == task.tokenizer.fingerprint,
                f"to {task.kind}, teacher and student must share one tokenizer: the teacher's predictions are of "
                "tokens, and here the two cut words differently; fine-tune a teacher with the student's tokenizer",
            )
            longest = teacher.model.config.max_position_embeddings
            fits = task.max_length <= longest
            require(fits, f"max_length must be <= {longest}, the teacher's positions, got {task.max_length}")
        self._order = [self.task.labels.index(label) for label in task.labels] or [0, 1]  # answers have no labels
        self._known: dict[object, NDArray[np.float32]] = {}

    def of_texts(self, examples: Sequence[LabelledText]) -> list[NDArray[np.float32]]:
        """For each example the logits (C,) up to a constant, or the number, (1,)."""
        new = [example for example in dict.fromkeys(examples) if example not in self._known]
        for example, found in zip(new, self.task.predict(self.model, new), strict=True):
            # Logarithms of probabilities are logits but for a constant, which softmax does not see.
            logits = found if self.task.kind == "regress" else np.log(np.maximum(found[self._order], 1e-30))
            self._known[example] = logits.astype(np.float32)
        return [self._known[example] for example in examples]

    def of_tokens(self, encoded: Sequence[EncodedExample]) -> list[NDArray[np.float32]]:
        """For each example the logits (T, C) of tags, or (T, 2) of where the answer begins and ends."""
        keys = [(each.ids.tobytes(), each.type_ids.tobytes()) for each in encoded]
        new = {key: each for key, each in zip(keys, encoded, strict=True) if key not in self._known}
        logits = logits_of(self.model, list(new.values()), pad_id=self.task.tokenizer.pad_id)
        self._known |= {key: found[:, self._order] for key, found in zip(new, logits, strict=True)}
        return [self._known[key] for key in keys]


@dataclass(frozen=True)
class Material:
    """What a run learns from and is measured by: the model's folder, the task, and examples of its form.

    dev chooses the best weights, and may be empty; test is looked at once, at the end. synonyms: for augmentation.
    teacher: whose predictions are learnt from too.
    """

    folder: Path
    task: AnyTask
    training: Sequence[Example]
    dev: Sequence[Example]
    test: Sequence[Example]
    synonyms: Synonyms = field(default_factory=dict)
    teacher: SoftTargets | None = None


def check(material: Material, configs: Sequence[FineTuneConfig], folds: int | None) -> None:
    """Raise InputError for what a run with any of `configs`, or any of its `folds`, would end in."""
    task, training = material.task, material.training
    model = new_model(material.folder, task, pooling=configs[0].pooling, seed=configs[0].seed)
    for config in configs:
        check_precision(config.precision)
        freeze(model, embeddings=False, layers=config.freeze_layers)
        require(material.teacher is not None or config.soft == 0, "soft > 0 needs --teacher, a fine-tuned model")
    for name, examples in (("--train", training), ("--dev", material.dev), ("--test", material.test)):
        if examples:
            check_examples(task, examples, name, "" if name == "--train" else f"; leave {name} out")
    if isinstance(task, TextTask):
        check_copies(training, configs[0].augment, task.max_length)  # type: ignore[arg-type]
        usable = [True] * len(training)
    else:
        # A question whose answer no window holds, a sentence of control characters.
        usable = [bool(task.encode([example])) for example in training]
    require(any(usable), "--train: no training example is left")
    balanced = any(config.class_weights == "balanced" for config in configs)
    require(not balanced or task.kind in ("classify", "tag"), f"class_weights need classes; the task is to {task.kind}")
    counts = Counter(task.labels_of(training))
    parts = [] if folds is None else held_out(len(training), folds, configs[0].seed)
    for number, part in enumerate(parts, start=1):
        left_out, name = [training[i] for i in part], f"with {folds} folds, fold {number}"
        check_examples(task, left_out, name, "; choose fewer folds")
        require(sum(usable) > sum(usable[i] for i in part), f"{name}: no training example is left without it")
        for label, count in Counter(task.labels_of(left_out)).items() if balanced else ():
            # Found now, not when that fold's turn comes.
            require(
                count < counts[label],
                f"class_weights 'balanced' needs every class in training; {name} holds out all of {label!r}",
            )


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
        known = cast(Figures, read_figures(folder / FIGURES)) if resume else {}
        name = " · ".join(filter(None, [label, f"seed {seed}" if label or len(folders) > 1 else ""]))
        records = Records(folder / METRICS, label=name, still_to_come=still_to_come + len(folders) - number)
        runs.append(known or _run(material, replace(config, seed=seed), folder, ranks, records, resume=resume))
    return runs


def _run(
    material: Material, config: FineTuneConfig, output: Path, ranks: Ranks, records: Records, *, resume: bool
) -> Figures:
    output.mkdir(parents=True, exist_ok=True)
    task = material.task
    model = _whole_model(task.kind, output, ranks) if resume else None
    if model is None:
        with closing(records):
            model = _trained(material, config, output / CHECKPOINTS, ranks, records, resume=resume)
        # Before it is measured: whatever happens then, the work is not lost.
        save(model, task, output)
    sets = {name: examples for name, examples in (("dev", material.dev), ("test", material.test)) if examples}
    found = {name: measured(task, model, examples) for name, examples in sets.items()}
    figures = {name: dict(each.figures) for name, each in found.items()}
    details = {name: task.details(examples, found[name].predictions) for name, examples in sets.items()}
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


def measured(task: AnyTask, model: TaskModel, examples: Sequence[Example]) -> Measured:
    """The model's predictions on `examples`, with evidence and figures."""
    predictions = task.predict(model, examples)
    evidence = task.evidence(examples, predictions)
    return Measured(evidence, task.figures(evidence), predictions)


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation, 0 for one value; NaN where any value is."""
    # statistics.stdev fails on NaN
    return statistics.fmean(values), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def held_out(num_examples: int, folds: int, seed: int) -> list[list[int]]:
    """Which of the training examples each of `folds` parts holds out, dealt out by `seed`: each once."""
    require(2 <= folds <= num_examples, f"folds must be in 2..{num_examples}, got {folds}")
    order = np.random.default_rng(seed).permutation(num_examples)
    return [sorted(order[fold::folds].tolist()) for fold in range(folds)]


def cross_validated(
    material: Material, config: FineTuneConfig, *, folds: int, ranks: Ranks, done: int = 0
) -> Iterator[float]:
    """The primary metric on each of `folds` parts of the training examples, but the first `done`, trained on the
    others. They are dealt out by `config.seed`. Raises Interrupted where it was asked to stop."""
    examples = material.training
    for part in held_out(len(examples), folds, config.seed)[done:]:
        left_out = set(part)
        others = replace(material, training=[each for i, each in enumerate(examples) if i not in left_out], dev=[])
        with tempfile.TemporaryDirectory() as checkpoints:
            model = _trained(others, config, Path(checkpoints), ranks, Records(None), resume=False)
        yield primary_metric(measured(material.task, model, [examples[i] for i in part]).figures)


def _trained(
    material: Material, config: FineTuneConfig, checkpoints: Path, ranks: Ranks, records: Records, *, resume: bool
) -> TaskModel:
    task = material.task
    model = new_model(material.folder, task, pooling=config.pooling, seed=config.seed)
    encoded = _encoded(material, config)
    targets = [each.target for each in encoded]
    if task.kind == "regress" and isinstance(model, BertForSequenceClassification):
        # From the mean of the labels: half of the first epoch would else go into finding it.
        with torch.no_grad():
            model.classifier.bias.fill_(float(np.stack(targets).mean()))
    done = fine_tune(
        model,
        encoded,
        config,
        pad_id=task.tokenizer.pad_id,
        checkpoints=checkpoints,
        ranks=ranks,
        records=records,
        figure=(lambda now: primary_metric(measured(task, now, material.dev).figures)) if material.dev else None,
        figure_name=f"dev_{PRIMARY[task.kind]}",
        class_weights=class_weights(targets, task.labels) if config.class_weights == "balanced" else None,
        resume=resume,
    )
    if not done:
        raise Interrupted
    # Refuses weights that the last step broke, before they are written.
    logits_of(model, encoded[:8], pad_id=task.tokenizer.pad_id)
    return model


def _encoded(material: Material, config: FineTuneConfig) -> list[EncodedExample]:
    """The training examples, with augmented copies and a teacher's logits where there are any."""
    task, teacher, examples = material.task, material.teacher, material.training
    if isinstance(task, TextTask):
        # Here and not earlier, so that no copy of a held-out example gets into training.
        examples = augmented(examples, config.augment, material.synonyms)  # type: ignore[arg-type]
    encoded = task.encode(examples)
    if teacher is None:
        return encoded
    soft = teacher.of_texts(examples) if isinstance(task, TextTask) else teacher.of_tokens(encoded)  # type: ignore[arg-type]
    return [replace(each, soft=logits) for each, logits in zip(encoded, soft, strict=True)]
