"""The parts of the suite that fine-tune: entailment, similarity, sentiment, entities, questions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np

from tinydistil.base.errors import InputError, require
from tinydistil.base.ranks import Ranks
from tinydistil.evaluate.entities import entity_f1
from tinydistil.evaluate.metrics import pearson, precision_recall_f1
from tinydistil.evaluate.suite_result import Figure, PartResult, with_interval
from tinydistil.tasks.checks import check_rows
from tinydistil.tasks.finetune import Material, mean_and_deviation, measured, run_seed
from tinydistil.tasks.finetune_config import FineTuneConfig
from tinydistil.tasks.folder import load
from tinydistil.tasks.forms import AnyData, make_task
from tinydistil.tasks.task import Evidence, Task
from tinydistil.tasks.task_output import FIGURES
from tinydistil.tasks.task_records import LabelledText
from tinydistil.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True)
class TunedPart:
    """A part: what kind of task, and its files under the suite's data folder; without dev, test chooses nothing."""

    kind: str
    training: str
    dev: str | None
    test: str
    title: str

    @property
    def files(self) -> list[str]:
        """Training, dev where there is one, test."""
        return [file for file in (self.training, self.dev, self.test) if file is not None]


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


Rows = Material[LabelledText]


def material_of(folder: Path, name: str, data: Path, data_sets: Sequence[AnyData], config: FineTuneConfig) -> Rows:
    """What the model in `folder` is tuned with for part `name`; data_sets: the rows of its files in `data`.

    Raises InputError, naming the file, where they make no task or cannot be measured on.
    """
    part = PARTS[name]
    training, *dev, test = (cast(Sequence[LabelledText], each.rows) for each in data_sets)
    task = None
    for file, each in zip(part.files, data_sets, strict=True):
        said, remedy = f"part {name!r}, {str(data / file)!r}", "; mend the file, or choose other --parts"
        try:
            task = task or make_task(part.kind, training, Tokenizer.from_pretrained(folder), config)
            require(bool(each.rows), "no row is left")
        except InputError as error:
            raise InputError(f"{said}: {error}{remedy}") from None
        check_rows(task, each.rows, said, remedy)
    # Rows and task are of one form, whichever; texts stand for all four, since a type checker cannot tie them.
    return Material(folder, cast(Task[LabelledText, object], task), training, dev[0] if dev else [], test)


def tuned(
    material: Rows,
    name: str,
    aside: int,
    config: FineTuneConfig,
    seeds: Sequence[int],
    work: Path,
    ranks: Ranks,
    *,
    label: str = "",
    still_to_come: float = 0.0,
) -> PartResult | None:
    """Fine-tune for part `name` once a seed, and measure on the part's test set. aside: rows that were set aside.

    None where it was asked to stop. `work` keeps each seed's model, so that an interrupted part goes on where it was.
    label: what lines on the terminal begin with; still_to_come: work after this part, as a multiple of a seed's.
    """
    part, runs = PARTS[name], []
    for number, seed in enumerate(seeds, start=1):
        found = run_seed(
            material,
            replace(config, seed=seed),
            work / f"seed-{seed}",
            ranks,
            resume=True,
            label=f"{label} · seed {seed}",
            still_to_come=still_to_come + len(seeds) - number,
        )
        if found is None:
            return None
        runs.append(found.get("test", {}))
    model = load(work / f"seed-{seeds[0]}", (part.kind,)).model.to(ranks.device)
    evidence, first, _ = measured(material.task, model, material.test)
    for seed, run in zip(seeds, runs, strict=True):
        whole = first.keys() <= run.keys()
        require(whole, f"{str(work / f'seed-{seed}' / FIGURES)!r} is damaged; delete it, to measure again")
    interval = with_interval(statistic_of(name), evidence)
    values = {figure: [run[figure] for run in runs] for figure in first}
    spread = {key: mean_and_deviation(each) for key, each in values.items()}
    figures = {key: Figure(mean, deviation=each if len(seeds) > 1 else None) for key, (mean, each) in spread.items()}
    counting = next(iter(first))
    figures[counting] = replace(figures[counting], low=interval.low, high=interval.high)
    protocol = (
        f"{part.title}: fine-tuned on {len(material.training)} rows ({aside} of all set aside), {config.epochs:g} "
        f"epochs, learning rate {config.learning_rate:g}, {'best' if part.dev else 'last'} weights"
        f"{' on dev' if part.dev else ''}; {len(seeds)} seeds, mean, interval over test items of the first"
    )
    return PartResult(figures, protocol, evidence)


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
        for file in PARTS[name].files:
            if not (data / file).is_file():
                raise InputError(f"part {name!r} needs {str(data / file)!r}, which does not exist; see --data, --parts")
