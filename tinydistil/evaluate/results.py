"""What an evaluation found: results of parts on disk, and tables of them for people (Markdown) and programs (JSON)."""

import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import numpy as np

from tinydistil.base.console import markdown_table
from tinydistil.base.errors import InputError, require
from tinydistil.base.files import read_json, write_atomic, write_json
from tinydistil.evaluate.intervals import Figure, Items
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


@dataclass(frozen=True, slots=True)
class PartResult:
    """The figures of one part for one model, the primary metric first; `protocol`, a line, says how they came about.

    items (N, K): the evidence of the primary metric, for comparing two models on the same items; may be empty.
    """

    figures: Mapping[str, Figure]
    protocol: str
    items: Items

    @property
    def primary(self) -> tuple[str, Figure]:
        """The primary metric's name and figure."""
        return next(iter(self.figures.items()))


@dataclass(frozen=True, slots=True)
class Origin:
    """What a result depends on: contents of files, options, and how many seeds."""

    content: Mapping[str, object]
    options: Mapping[str, object]
    seeds: int = 1


def save(path: Path, origin: Origin, result: PartResult | None = None) -> None:
    """Write `path` (.json) and beside it the items (.npy); without a result, that what lies there is of this origin."""
    if result is None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"origin": asdict(origin)})
        return
    items = io.BytesIO()
    np.save(items, result.items)
    write_atomic(path.with_suffix(".npy"), items.getvalue())
    values = {"protocol": result.protocol, "figures": _plain(result), "rows": sha256(items.getvalue()).hexdigest()}
    # The JSON file last: where it holds figures, the part is done.
    write_json(path, {"origin": asdict(origin), **values})


def load(path: Path) -> tuple[Origin, PartResult | None]:
    """The origin in `path`, and the result, None where the part was only begun. Raises InputError for damaged files."""
    values = read_json(path)
    try:
        origin = Origin(**cast(dict[str, Any], values.get("origin")))
        if not isinstance(origin.content, dict) or not isinstance(origin.options, dict):
            raise InputError("it does not say what it was measured on")
        if "figures" not in values:
            return origin, None
        data, figures, protocol = path.with_suffix(".npy").read_bytes(), values["figures"], values.get("protocol")
        known = sha256(data).hexdigest() == values.get("rows")
        require(known, f"{path.with_suffix('.npy').name} is another's")
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
    sections = []
    for part in dict.fromkeys(part for found in results.values() for part in found):
        measured = {model: found[part].figures for model, found in results.items() if part in found}
        columns = list(dict.fromkeys(name for figures in measured.values() for name in figures))
        cells = [[model, *(shown(figures.get(name)) for name in columns)] for model, figures in measured.items()]
        notes = _protocols(part, results)
        if against := significance.get(part):
            columns.append("p")
            for line in cells:
                line.append(f"{against[line[0]]:.3f}" if line[0] in against else "-")
            notes.append("p: of the difference in the first figure from the first model's")
        sections.append(_section(part, columns, cells, notes))
    cells = [
        [
            model,
            *(
                shown(found[part].figures.get(name) if part in found else None)
                for part, name in REFERENCE_COLUMNS.values()
            ),
        ]
        for model, found in results.items()
    ]
    notes = [
        f"{column}: {protocol}"
        for column, (part, _) in REFERENCE_COLUMNS.items()
        for protocol in _protocols(part, results) or ["not measured"]
    ]
    sections.append(_section("the reference project's table", REFERENCE_COLUMNS, cells, notes))
    return "\n\n".join(sections) + "\n"


def as_json(results: Results, significance: Significance) -> dict[str, object]:
    """The same as plain values; null for what is undefined, since JSON knows no NaN."""
    models = {
        model: {part: {"protocol": each.protocol, "figures": _plain(each)} for part, each in found.items()}
        for model, found in results.items()
    }
    return {"models": finite_or_none(models), "p_against_first": significance}


def _plain(result: PartResult) -> dict[str, object]:
    return {name: asdict(figure) for name, figure in result.figures.items()}


def _protocols(part: str, results: Results) -> list[str]:
    return list(dict.fromkeys(found[part].protocol for found in results.values() if part in found))


def _section(title: str, columns: Iterable[str], cells: list[list[str]], notes: list[str]) -> str:
    return f"### {title}\n\n{markdown_table(['model', *columns], cells)}\n\n" + "\n".join(f"* {note}" for note in notes)
