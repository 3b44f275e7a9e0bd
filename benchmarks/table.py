"""The tables of a results file as Markdown: what stands in README.md is printed by this, never typed.

    python benchmarks/table.py benchmarks/results/step.jsonl [--benchmark step]

Of runs of one benchmark with the same titles only the last is shown. Under each stand the machine, the commit and the
options that it was run with.
"""

import argparse
import json
from pathlib import Path

from measure import Table

from tinydistil.base.errors import require, run_script

_MACHINE = ("processor", "threads", "torch", "transformers", "cuda", "load_1min", "commit")
# Of the options those that change nothing but where things lie.
_UNTOLD = {"output", "data", "trace", "runs"}


def main() -> None:
    """Print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="a JSONL file that a benchmark wrote with --output")
    parser.add_argument("--benchmark", help="only this one's (step, loss, ranks, ...)")
    args = parser.parse_args()
    lines = [json.loads(line) for line in args.results.read_text(encoding="utf-8").splitlines()]
    chosen = [line for line in lines if args.benchmark in (None, line["benchmark"]) and line.get("tables")]
    require(bool(chosen), f"{args.results} holds no table of {args.benchmark or 'any benchmark'}")
    # One key for each kind of run; the title names shapes and texts, figures in it come after the first semicolon.
    last = {
        (line["benchmark"], line["tables"][0]["title"].split(";")[0], str(allocator(line))): line for line in chosen
    }
    print("\n\n".join(map(section, last.values())))


def allocator(line: dict[str, object]) -> object:
    """How malloc was set in that run, None where the benchmark has no such option."""
    options = line.get("options")
    return options.get("allocator") if isinstance(options, dict) else None


def section(line: dict[str, object]) -> str:
    """One run: its tables, and what a reader needs to repeat it."""
    tables, options = line["tables"], line["options"]
    assert isinstance(tables, list) and isinstance(options, dict)
    shown = [Table(each["title"], tuple(each["header"]), tuple(map(tuple, each["rows"]))).markdown() for each in tables]
    facts = ", ".join(f"{name.replace('_', ' ')} {line[name]}" for name in _MACHINE if line.get(name) is not None)
    given = ", ".join(f"{name} {value}" for name, value in options.items() if name not in _UNTOLD)
    return "\n\n".join([*shown, f"`bench_{line['benchmark']}.py`: {given}. {facts}{dirty(line)}."])


def dirty(line: dict[str, object]) -> str:
    """A word of warning where the figures are of no commit."""
    return " with uncommitted changes" if line["dirty"] else ""


if __name__ == "__main__":
    run_script(main)
