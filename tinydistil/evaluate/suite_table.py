"""The suite's results as tables for people (Markdown) and programs (JSON)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from tinydistil.evaluate.suite_result import Figure, PartResult

Results = Mapping[str, Mapping[str, PartResult]]  # model -> part -> result
# The seed's table: four columns, and where each comes from here.
SEED_COLUMNS = {
    "MLM loss": ("masked_lm", "loss"),
    "ASSIN 2 similarity (Pearson)": ("similarity", "pearson"),
    "tweets F1 (macro)": ("sentiment", "f1_macro"),
    "ASSIN 2 entailment F1 (macro)": ("entailment", "f1_macro"),
}


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


def markdown(results: Results, significance: Mapping[str, Mapping[str, float]]) -> str:
    """A table a part, then the seed's table with a line of protocol for each of its columns.

    significance: part -> model -> p of the difference from the first model.
    """
    sections = [_part_table(part, results, significance.get(part, {})) for part in _parts(results)]
    return "\n\n".join([*sections, _seed_table(results)]) + "\n"


def as_json(results: Results, significance: Mapping[str, Mapping[str, float]]) -> dict[str, object]:
    """The same as plain values."""
    return {
        "models": {
            model: {
                part: {
                    "protocol": result.protocol,
                    "figures": {
                        name: {key: _finite(value) for key, value in asdict(figure).items()}
                        for name, figure in result.figures.items()
                    },
                }
                for part, result in parts.items()
            }
            for model, parts in results.items()
        },
        "p_against_first": {part: dict(each) for part, each in significance.items()},
    }


def _finite(value: float | None) -> float | None:
    # JSON knows no NaN; null says that the figure is undefined
    return value if value is None or math.isfinite(value) else None


def _parts(results: Results) -> list[str]:
    return list(dict.fromkeys(part for parts in results.values() for part in parts))


def _part_table(part: str, results: Results, against: Mapping[str, float]) -> str:
    rows = {model: parts[part] for model, parts in results.items() if part in parts}
    names = list(dict.fromkeys(name for result in rows.values() for name in result.figures))
    last = ["p"] if against else []
    cells = [
        [model, *(shown(result.figures.get(name)) for name in names)]
        + ([f"{against[model]:.3f}" if model in against else "-"] if against else [])
        for model, result in rows.items()
    ]
    protocols = list(dict.fromkeys(result.protocol for result in rows.values()))
    notes = [*protocols, *(["p: of the difference in the first figure from the first model's"] if against else [])]
    return f"### {part}\n\n{_table(['model', *names, *last], cells)}\n\n" + "\n".join(f"* {note}" for note in notes)


def _seed_table(results: Results) -> str:
    cells = [
        [model, *(shown(_figure(parts, *place)) for place in SEED_COLUMNS.values())] for model, parts in results.items()
    ]
    notes = []
    for column, (part, _) in SEED_COLUMNS.items():
        found = dict.fromkeys(parts[part].protocol for parts in results.values() if part in parts)
        notes += [f"* {column}: {protocol}" for protocol in found] or [f"* {column}: not measured"]
    return f"### the four figures of the seed\n\n{_table(['model', *SEED_COLUMNS], cells)}\n\n" + "\n".join(notes)


def _figure(parts: Mapping[str, PartResult], part: str, name: str) -> Figure | None:
    return parts[part].figures.get(name) if part in parts else None


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)
