"""The parts of the suite that fine-tune: entailment, similarity, sentiment, entities, questions."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tinydistil.errors import InputError
from tinydistil.evaluate.entities import entity_f1
from tinydistil.evaluate.metrics import pearson, precision_recall_f1
from tinydistil.finetune.answer_task import AnswerTask
from tinydistil.finetune.folder import AnyTask, load
from tinydistil.finetune.run import Material, measured, run_seed
from tinydistil.finetune.settings import FineTuneConfig
from tinydistil.finetune.tag_task import TagTask
from tinydistil.finetune.task import Evidence
from tinydistil.finetune.text_task import TextTask
from tinydistil.ranks import Ranks
from tinydistil.suite.result import Figure, PartResult, with_interval
from tinydistil.text.tasks.labelled import Columns, read_labelled
from tinydistil.text.tasks.questions import read_squad
from tinydistil.text.tasks.records import TaskData
from tinydistil.text.tasks.tagged import read_conll
from tinydistil.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class TunedPart:
    """A part: what kind of task, and its files under the suite's data folder; without dev, test chooses nothing."""

    kind: str
    training: str
    dev: str | None
    test: str
    title: str


PARTS = {
    "entailment": TunedPart(
        "classify",
        "assin2/assin2-train-only.xml",
        "assin2/assin2-dev.xml",
        "assin2/assin2-test.xml",
        "ASSIN 2 entailment",
    ),
    "similarity_tuned": TunedPart(
        "regress",
        "assin2/assin2-train-only.xml",
        "assin2/assin2-dev.xml",
        "assin2/assin2-test.xml",
        "ASSIN 2 similarity",
    ),
    "sentiment": TunedPart("classify", "sentiment/train.csv", "sentiment/dev.csv", "sentiment/test.csv", "tweets"),
    "entities": TunedPart("tag", "lenerbr/train.conll", "lenerbr/dev.conll", "lenerbr/test.conll", "LeNER-Br"),
    "answers": TunedPart("answer", "faquad/train.json", None, "faquad/dev.json", "FaQuAD"),
}
# Below this width a model needs a learning rate ten times that of BERT-base (Turc et al. 2019 went up to 3e-4).
SMALL_WIDTH = 256


def settings_for(part: TunedPart, hidden_size: int) -> FineTuneConfig:
    """What a part is tuned with unless told otherwise."""
    small = hidden_size <= SMALL_WIDTH
    long = part.kind in ("tag", "answer")
    return FineTuneConfig(
        epochs=5.0 if small else 3.0,
        learning_rate=5e-4 if small else 5e-5,
        batch_size=16 if part.kind == "answer" else 32,
        max_length=256 if long else 128,
        stride=64,
        pooling="mean",
    )


def tuned(
    folder: Path, name: str, data: Path, config: FineTuneConfig, seeds: Sequence[int], work: Path, ranks: Ranks
) -> PartResult | None:
    """Fine-tune the model in `folder` for part `name` once a seed, and measure on the part's test set.

    None where it was asked to stop. `work` keeps each seed's model, so that an interrupted part goes on where it was.
    """
    part = PARTS[name]
    training, dev, test = (_read(part, data / file) if file else None for file in (part.training, part.dev, part.test))
    assert training is not None and test is not None
    task = _task(part, training, Tokenizer.from_pretrained(folder), config)
    material = Material(folder, task, training.rows, dev.rows if dev else [], test.rows)  # type: ignore[arg-type]
    runs = []
    for seed in seeds:
        found = run_seed(material, replace(config, seed=seed), work / f"seed-{seed}", ranks, resume=True)
        if found is None:
            return None
        runs.append(found["test"])
    model = load(work / f"seed-{seeds[0]}", (part.kind,)).model.to(ranks.device)
    evidence, first = measured(task, model, test.rows)  # type: ignore[arg-type]
    interval = with_interval(statistic_of(name), evidence)
    values = {figure: [run[figure] for run in runs] for figure in first}
    figures = {key: Figure(statistics.fmean(each), deviation=_deviation(each)) for key, each in values.items()}
    counting = next(iter(first))
    figures[counting] = replace(figures[counting], low=interval.low, high=interval.high)
    protocol = (
        f"{part.title}: fine-tuned on {len(training.rows)} rows, {config.epochs:g} epochs, learning rate "
        f"{config.learning_rate:g}, {_chosen(part)}; {len(seeds)} seeds, mean, interval over test items of the first"
    )
    return PartResult(figures, protocol, evidence)


def _chosen(part: TunedPart) -> str:
    return "best weights on dev" if part.dev else "last weights"


def _deviation(values: Sequence[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None


def _read(part: TunedPart, path: Path) -> TaskData:  # type: ignore[type-arg]
    if part.kind == "answer":
        return read_squad(path)
    if part.kind == "tag":
        return read_conll(path)
    return read_labelled(path, Columns(), numbers=part.kind == "regress")


def _task(part: TunedPart, training: TaskData, tokenizer: Tokenizer, config: FineTuneConfig) -> AnyTask:  # type: ignore[type-arg]
    if part.kind == "answer":
        return AnswerTask(tokenizer, config.max_length, config.stride)
    if part.kind == "tag":
        return TagTask.of(training.rows, tokenizer, config.max_length)
    return TextTask.of(part.kind, training.rows, tokenizer, config.max_length)


def statistic_of(part: str) -> Callable[[Evidence], float]:
    """The figure of a part that counts, as a function of its rows; zero-shot similarity's too."""
    if part == "entities":
        return lambda rows: entity_f1(rows[:, :3].astype(np.int64))
    if part == "answers":
        return lambda rows: float(rows[:, 0].mean())
    if part in ("similarity", "similarity_tuned"):
        return lambda rows: pearson(rows[:, 0], rows[:, 1])
    return lambda rows: precision_recall_f1(rows[:, 0], rows[:, 1], average="macro").f1


def missing_files(data: Path, names: Sequence[str]) -> None:
    """Raise InputError naming the first file that the parts `names` need and `data` lacks."""
    for name in names:
        part = PARTS[name]
        for file in filter(None, (part.training, part.dev, part.test)):
            if not (data / file).is_file():
                raise InputError(f"part {name!r} needs {str(data / file)!r}, which does not exist; see --data, --parts")
