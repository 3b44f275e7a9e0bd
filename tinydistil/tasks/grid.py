"""Which settings are best: every combination of a grid, cross-validated on the training rows."""

import itertools
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from tinydistil.base.config import assign, from_mapping, shown, to_mapping
from tinydistil.base.errors import InputError, require
from tinydistil.base.files import read_json, write_json
from tinydistil.base.ranks import Ranks
from tinydistil.tasks.finetune import Material, RowT, cross_validated, finite_or_none, mean_and_deviation
from tinydistil.tasks.finetune_config import FineTuneConfig
from tinydistil.tasks.task import PRIMARY

# A training of seconds each would take days.
MOST_COMBINATIONS = 10_000
# The task is made once, with its lengths; a fold has no development set; tables of settings would be replaced whole.
FIXED = ("max_length", "stride", "seed", "patience", "validations", "augment")
Changes = dict[str, object]


def grid_of(assignments: Sequence[str], config: FineTuneConfig) -> list[Changes]:
    """Every combination of "key=value,value" lists, each checked as --set is."""
    axes: list[list[Changes]] = []
    for assignment in assignments:
        key, _, values = assignment.partition("=")
        require(key.strip() not in FIXED and "." not in key, f"--grid cannot vary {key!r}; set it with --set")
        require(key not in [name for axis in axes for name in axis[0]], f"--grid has {key!r} twice; give one list")
        choices: list[Changes] = []
        for value in values.split(","):
            single: Changes = {}
            assign(single, f"{key}={value}")
            from_mapping(FineTuneConfig, {**to_mapping(config), **single})
            require(single not in choices, f"--grid {key} has {shown(value)} twice")
            choices.append(single)
        axes.append(choices)
        count = math.prod(map(len, axes))
        require(count <= MOST_COMBINATIONS, f"--grid has {count:,} combinations; {MOST_COMBINATIONS:,} at most")
    combinations = [{k: v for part in parts for k, v in part.items()} for parts in itertools.product(*axes) if parts]
    for changes in combinations:  # two that are sound each may not be sound together
        from_mapping(FineTuneConfig, {**to_mapping(config), **changes})
    return combinations


def best_of_grid(
    material: Material[RowT], config: FineTuneConfig, grid: Sequence[Changes], folds: int, path: Path, ranks: Ranks
) -> FineTuneConfig:
    """`config` with the combination of the best mean over folds; one that is undefined on any fold is the worst.

    `path` keeps what is known, fold by fold, and none of it is computed again.
    """
    known, primary = _known(path, folds), PRIMARY[material.task.kind]
    began, done, total = time.monotonic(), 0, len(grid) * folds - sum(len(known.get(_name(each), [])) for each in grid)
    print(f"grid: {len(grid):,} combinations x {folds} folds = {len(grid) * folds:,} trainings", flush=True)
    means = []
    for changes in grid:
        name: str = _name(changes)

        def keep(found: list[float], of: str = name) -> None:
            nonlocal done
            known[of], done = found, done + 1
            write_json(path, finite_or_none(known))
            left_s = (time.monotonic() - began) / done * (total - done)
            figure = "undefined" if math.isnan(found[-1]) else f"{found[-1]:.4f}"
            print(f"grid: {of} fold {len(found)} of {folds}: {primary} {figure}, {left_s:,.0f} s left", flush=True)

        found = cross_validated(
            material, config, changes, folds=folds, ranks=ranks, found=known.get(name, []), keep=keep
        )
        mean, deviation = mean_and_deviation(found)
        figure = "undefined on a fold (constant predictions?)" if math.isnan(mean) else f"{mean:.4f} +- {deviation:.4f}"
        print(f"grid: {name}  {figure} over {folds} folds", flush=True)
        means.append(-math.inf if math.isnan(mean) else mean)
    best = grid[means.index(max(means))]
    nothing = ", as no combination has a defined figure" if max(means) == -math.inf else ""
    print(f"grid: best {_name(best)}{nothing}", flush=True)
    return from_mapping(FineTuneConfig, {**to_mapping(config), **best})


def _name(changes: Changes) -> str:
    return json.dumps(changes, sort_keys=True)


def _known(path: Path, folds: int) -> dict[str, list[float]]:
    """Figures by combination, of the first folds; empty where the file is absent or damaged."""
    try:
        found = cast(dict[str, list[float | None]], read_json(path))
        return {
            name: [math.nan if each is None else float(each) for each in figures][:folds]
            for name, figures in found.items()
        }
    except (InputError, AttributeError, TypeError, ValueError):
        return {}
