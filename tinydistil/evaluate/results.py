"""Figures and how certain they are, results of parts on disk, and tables for people (Markdown) and programs (JSON).

A test set is items (N, K), one line each (gold and predicted class, counts of entities, or a score), a figure a
statistic of any choice of items. What is drawn does not change from run to run.
"""

import io
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.stats import DegenerateDataWarning, bootstrap, permutation_test

from tinydistil.base.console import markdown_table
from tinydistil.base.errors import InputError, require
from tinydistil.base.files import read_json, write_atomic, write_json
from tinydistil.tasks.task_output import finite_or_none

OVERLAP = "word overlap (no model)"
# What stands beside the models' folders in an output.
RECORD, TABLES = "settings.json", ("table.md", "table.json")
# The reference project's table: four columns, and where each comes from here.
REFERENCE_COLUMNS = {
    "MLM loss": ("masked_lm", "loss"),
    "ASSIN 2 similarity (Pearson)": ("similarity", "pearson"),
    "tweets F1 (macro)": ("sentiment", "f1_macro"),
    "ASSIN 2 entailment F1 (macro)": ("entailment", "f1_macro"),
}
Items = NDArray[np.float64]
Statistic = Callable[[Items], float]
# Resamples whose indices are held at once: 10 MB for 25,000 items.
_BATCH = 50


@dataclass(frozen=True, slots=True)
class Figure:
    """A number; where known, the bounds of its 95 % interval over test items, and its deviation over seeds."""

    value: float
    low: float | None = None
    high: float | None = None
    deviation: float | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            known = isinstance(value, int | float) and not isinstance(value, bool)
            require(known or (value is None and name != "value"), f"{name} is no number: {str(value)[:40]!r}")


def with_interval(statistic: Statistic, items: Items, *, resamples: int = 1000) -> Figure:
    """The statistic with its 95 % percentile bootstrap interval (Efron & Tibshirani 1993, ch. 13).

    Draws where it is NaN (a correlation of N equal items) are left out. The bounds of a single item are its value.
    """
    require(len(items) >= 1, "an interval needs at least one item, got none")
    value = statistic(items)
    if len(items) == 1:
        return Figure(value, value, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)  # of NaN draws, which scipy's own bounds do not survive
        drawn = bootstrap(
            (np.arange(len(items)),),
            lambda chosen: statistic(items[chosen]),
            vectorized=False,
            n_resamples=resamples,
            batch=_BATCH,
            method="percentile",
            rng=np.random.default_rng(0),
        ).bootstrap_distribution
    drawn = drawn[~np.isnan(drawn)]
    low, high = np.quantile(drawn, [0.025, 0.975]) if len(drawn) else (value, value)
    return Figure(value, float(low), float(high))


def paired_significance(statistic: Statistic, first: Items, second: Items, *, resamples: int = 1000) -> float:
    """The two-sided p that chance alone parts two models as far: approximate randomisation (Noreen 1989), never 0.

    first, second (N, K): two models' items in the same order. Each item changes sides with probability 1/2; of few
    items all 2^N ways are counted.
    """
    if len(first) == 1:
        return 1.0
    both = np.concatenate([first, second])
    # 3.5 s for 2,448 pairs and Pearson's r, where a loop of our own took 0.4: little beside fine-tuning.
    found = permutation_test(
        tuple(np.arange(len(both)).reshape(2, -1)),
        # Rounded, so that differences that are equal on paper count as equal.
        lambda one, other: round(abs(statistic(both[one]) - statistic(both[other])), 12),
        permutation_type="samples",
        vectorized=False,
        n_resamples=resamples,
        batch=_BATCH,
        alternative="greater",
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)


@dataclass(frozen=True, slots=True)
class PartResult:
    """The figures of one part for one model, the primary metric first; `protocol`, a line, says how they came about.

    items (N, K): the evidence of the primary metric, for comparing two models on the same items; may be empty.
    """

    figures: Mapping[str, Figure]
    protocol: str
    items: Items


@dataclass(frozen=True, slots=True)
class Origin:
    """What a result depends on: contents of files, options, and how many seeds."""

    content: Mapping[str, object]
    options: Mapping[str, object]
    seeds: int = 1


def save(path: Path, origin: Origin, result: PartResult | None = None) -> None:
    """Write `path` (.json) and beside it the items (.npy); without a result, that what lies there is of this origin."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values: dict[str, object] = {"origin": asdict(origin)}
    if result is not None:
        items = io.BytesIO()
        np.save(items, result.items)
        write_atomic(path.with_suffix(".npy"), items.getvalue())
        values |= {"protocol": result.protocol, "figures": _plain(result), "rows": sha256(items.getvalue()).hexdigest()}
    # The JSON file last: where it holds figures, the part is done.
    write_json(path, values)


def load(path: Path) -> tuple[Origin, PartResult | None]:
    """The origin in `path`, and the result, None where the part was only begun. Raises InputError for damaged files."""
    values = read_json(path)
    try:
        origin = Origin(**cast(dict[str, Any], values.get("origin")))
        known = isinstance(origin.content, dict) and isinstance(origin.options, dict)
        require(known, "it does not say what it was measured on")
        if "figures" not in values:
            return origin, None
        data, figures, protocol = path.with_suffix(".npy").read_bytes(), values["figures"], values.get("protocol")
        same = sha256(data).hexdigest() == values.get("rows")
        require(same, f"{path.with_suffix('.npy').name} is another's")
        if not isinstance(figures, dict) or not figures or not isinstance(protocol, str):
            raise InputError("figures or protocol are missing")
        found = {str(name): Figure(**figure) for name, figure in figures.items()}
        return origin, PartResult(found, protocol, np.load(io.BytesIO(data), allow_pickle=False))
    except (TypeError, ValueError, OSError, EOFError) as error:
        raise InputError(str(error)) from None


Results = Mapping[str, Mapping[str, PartResult]]  # model -> part -> result
Significance = Mapping[str, Mapping[str, float]]  # part -> model -> p of the difference from the first model


def shown(figure: Figure | None) -> str:
    """A figure as text: with deviation over seeds and interval where there are any; "-" where there is no figure."""
    if figure is None or math.isnan(figure.value):
        return "-" if figure is None else "undefined"
    if abs(figure.value) >= 1000:
        return f"{figure.value:,.0f}"
    text = f"{figure.value:.4f}"
    if figure.deviation is not None:
        text += f" ± {figure.deviation:.4f}"
    return text if figure.low is None else f"{text} [{figure.low:.4f}, {figure.high:.4f}]"


def markdown(results: Results, significance: Significance) -> str:
    """A table for each part, then the reference project's, with a line of protocol for each of its columns."""
    sections, protocols = [], {}
    for part in dict.fromkeys(part for found in results.values() for part in found):
        measured = {model: found[part] for model, found in results.items() if part in found}
        names = list(dict.fromkeys(name for result in measured.values() for name in result.figures))
        cells = [[model, *(shown(each.figures.get(name)) for name in names)] for model, each in measured.items()]
        protocols[part] = notes = list(dict.fromkeys(result.protocol for result in measured.values()))
        if against := significance.get(part):
            names.append("p")
            cells = [[*line, f"{against[line[0]]:.3f}" if line[0] in against else "-"] for line in cells]
            notes = [*notes, "p: of the difference in the first figure from the first model's"]
        sections.append((part, names, cells, notes))
    columns = REFERENCE_COLUMNS.values()
    cells = [
        [model, *(shown(found[part].figures.get(name) if part in found else None) for part, name in columns)]
        for model, found in results.items()
    ]
    notes = [
        f"{column}: {protocol}"
        for column, (part, _) in REFERENCE_COLUMNS.items()
        for protocol in protocols.get(part, ["not measured"])
    ]
    sections.append(("the reference project's table", list(REFERENCE_COLUMNS), cells, notes))
    return (
        "\n\n".join(
            f"### {title}\n\n{markdown_table(['model', *names], cells)}\n\n" + "\n".join(f"* {note}" for note in notes)
            for title, names, cells, notes in sections
        )
        + "\n"
    )


def as_json(results: Results, significance: Significance) -> dict[str, object]:
    """The same as plain values; null for what is undefined, since JSON knows no NaN."""
    models = {
        model: {part: {"protocol": each.protocol, "figures": _plain(each)} for part, each in found.items()}
        for model, found in results.items()
    }
    return {"models": finite_or_none(models), "p_against_first": significance}


def _plain(result: PartResult) -> dict[str, object]:
    return {name: asdict(figure) for name, figure in result.figures.items()}
