"""Which settings are best: every combination of a grid, cross-validated on the training examples."""

import itertools
import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from tinydistil.base.config import from_mapping, override, shown, to_mapping
from tinydistil.base.errors import require
from tinydistil.base.files import write_json
from tinydistil.base.ranks import Ranks
from tinydistil.tasks.finetune import Material, cross_validated, mean_and_deviation
from tinydistil.tasks.finetune_config import FineTuneConfig
from tinydistil.tasks.task import PRIMARY
from tinydistil.tasks.task_output import finite_or_none, read_figures

# A training of seconds each would take days.
MOST_COMBINATIONS = 10_000
# The task is made once, with its lengths; a fold has no development set; tables of settings would be replaced whole.
FIXED = ("max_length", "stride", "seed", "patience", "validations", "augment")
Changes = dict[str, object]


def grid_of(assignments: Sequence[str], config: FineTuneConfig) -> dict[str, FineTuneConfig]:
    """`config` with every combination of "key=value,value" lists, by its changes as JSON, each checked as --set is."""
    axes: list[list[Changes]] = []
    for assignment in assignments:
        key, _, values = assignment.partition("=")
        require(key.strip() not in FIXED and "." not in key, f"--grid cannot vary {key!r}; set it with --set")
        require(key not in [name for axis in axes for name in axis[0]], f"--grid has {key!r} twice; give one list")
        choices: list[Changes] = []
        for value in values.split(","):
            single: Changes = {}
            override(single, [f"{key}={value}"])
            from_mapping(FineTuneConfig, {**to_mapping(config), **single})
            require(single not in choices, f"--grid {key} has {shown(value)} twice")
            choices.append(single)
        axes.append(choices)
        count = math.prod(map(len, axes))
        require(count <= MOST_COMBINATIONS, f"--grid has {count:,} combinations; {MOST_COMBINATIONS:,} at most")
    combinations = [{k: v for part in parts for k, v in part.items()} for parts in itertools.product(*axes) if parts]
    return {
        json.dumps(changes, sort_keys=True): from_mapping(FineTuneConfig, {**to_mapping(config), **changes})
        for changes in combinations
    }


def best_of_grid(
    material: Material, grid: Mapping[str, FineTuneConfig], folds: int, path: Path, ranks: Ranks
) -> FineTuneConfig:
    """The combination of the best mean over folds; one that is undefined on any fold is the worst.

    `path` keeps what is known, fold by fold, and none of it is computed again.
    """
    known = {name: found[:folds] for name, found in cast(dict[str, list[float]], read_figures(path)).items()}
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
