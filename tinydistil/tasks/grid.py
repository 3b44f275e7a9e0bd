"""A grid of settings: every combination on every fold of the training rows, kept as it is found."""

import itertools
import json
import math
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tinydistil.base.config import from_mapping, override, shown, to_mapping
from tinydistil.base.errors import require
from tinydistil.base.files import write_json
from tinydistil.base.ranks import Ranks
from tinydistil.tasks.finetune import Material, mean_and_deviation, measured, trained
from tinydistil.tasks.finetune_config import FineTuneConfig
from tinydistil.tasks.splits import folds_of
from tinydistil.tasks.task import PRIMARY
from tinydistil.tasks.task_output import finite_or_none, read_figures
from tinydistil.train.records import Records

# Combinations of a grid; a training of seconds each would take days.
MOST_COMBINATIONS = 10_000
# The task is made once, with lengths and form; a fold has no development set; tables would be replaced whole.
FIXED = ("max_length", "stride", "form", "comparison", "seed", "patience", "validations", "augment")


def cross_validated(
    material: Material, config: FineTuneConfig, *, folds: int, ranks: Ranks, done: int = 0
) -> Iterator[float]:
    """The primary metric on each of `folds` parts of the training examples, but the first `done`, trained on the
    others. They are dealt out by `config.seed`. Raises Interrupted where it was asked to stop."""
    examples = material.training
    for part in folds_of(examples, folds, config.seed)[done:]:
        left_out = set(part)
        transfer = [each for each in material.transfer if left_out.isdisjoint(each.made_of or ())]
        rest = [each for i, each in enumerate(examples) if i not in left_out]
        others = replace(material, training=rest, dev=[], held_out=[], transfer=transfer)
        with tempfile.TemporaryDirectory() as checkpoints:
            model = trained(others, config, Path(checkpoints), ranks, Records(None), resume=False)
        yield measured(material.task, model, [examples[i] for i in part]).primary


def grid_of(assignments: Sequence[str], config: FineTuneConfig) -> dict[str, FineTuneConfig]:
    """`config` with every combination of "key=value,value" lists, by its changes as JSON, each checked as --set is."""
    axes: dict[str, list[dict[str, object]]] = {}
    for assignment in assignments:
        key, _, values = assignment.partition("=")
        key = key.strip()
        require(key not in FIXED and "." not in key, f"--grid cannot vary {key!r}; set it with --set")
        require(key not in axes, f"--grid has {key!r} twice; give one list")
        axes[key] = []
        for value in values.split(","):
            single = override({}, [f"{key}={value}"])
            require(single not in axes[key], f"--grid {key} has {shown(value)} twice")
            axes[key].append(single)
    count = math.prod(map(len, axes.values()))
    require(count <= MOST_COMBINATIONS, f"--grid has {count:,} combinations; {MOST_COMBINATIONS:,} at most")
    grid = {}
    for parts in itertools.product(*axes.values()) if axes else ():
        changes = {key: value for part in parts for key, value in part.items()}
        combination = from_mapping(FineTuneConfig, {**to_mapping(config), **changes})
        grid[json.dumps(changes, sort_keys=True)] = combination
    return grid


def best_of_grid(
    material: Material, grid: Mapping[str, FineTuneConfig], folds: int, path: Path, ranks: Ranks
) -> FineTuneConfig:
    """The combination of the best mean over folds; one that is undefined on any fold is the worst.

    `path` keeps what is known, fold by fold, and none of it is computed again.
    """
    known = {name: found[:folds] for name, found in read_figures(path).items()}
    began, done, total = time.monotonic(), 0, len(grid) * folds - sum(len(known.get(name, [])) for name in grid)
    print(f"grid: {len(grid):,} combinations x {folds} folds = {len(grid) * folds:,} trainings", flush=True)
    means = {}
    for name, config in grid.items():
        found = known.setdefault(name, [])
        # The folds are alike for all combinations: `seed` is FIXED.
        for score in cross_validated(material, config, folds=folds, ranks=ranks, done=len(found)):
            found.append(score)
            done += 1
            write_json(path, finite_or_none(known))
            left_s = (time.monotonic() - began) / done * (total - done)
            figure = f"{PRIMARY[material.task.kind]} {'undefined' if math.isnan(score) else f'{score:.4f}'}"
            print(f"grid: {name} fold {len(found)} of {folds}: {figure}, {left_s:,.0f} s left", flush=True)
        mean, deviation = mean_and_deviation(found)
        figure = "undefined on a fold (constant predictions?)" if math.isnan(mean) else f"{mean:.4f} +- {deviation:.4f}"
        print(f"grid: {name}  {figure} over {folds} folds", flush=True)
        means[name] = -math.inf if math.isnan(mean) else mean
    best = max(means, key=lambda name: means[name])
    nothing = ", as no combination has a defined figure" if means[best] == -math.inf else ""
    print(f"grid: best {best}{nothing}", flush=True)
    return grid[best]
