"""What a student is worth once it is tuned: every route on every task, over seeds and numbers of training rows.

    python benchmarks/bench_students.py --data ../shared/data/tasks --model random=RANDOM --model vectors=STUDENT \\
        --teacher regress,classify=runs/teacher-pairs --transfer 20000 --rows 100,500,all --output runs/students

Each cell is scripts/finetune.py as a user runs it, with its defaults but for --set; the first model is what the others
are compared with. Rows are drawn by a hash of their text, so 100 are among 500. A model's name with "+transfer" is that
model taught by the task's teacher on a transfer set. What is done is kept in --output, and the same command goes on.
"""

import argparse
import hashlib
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from xml.etree import ElementTree

from measure import Table, options_of, record
from scipy.stats import ttest_ind

ROOT = Path(__file__).resolve().parent.parent
# By the task's name: what finetune.py is asked for, its files below --data, and the figures that count ("apart": of the
# test pairs that share no text with training).
TASKS = {
    "regress": ("regress", "assin2/assin2-{}.xml", ("train-only", "dev", "test"),
                ("pearson", "spearman", "pearson apart")),
    "classify": ("classify", "assin2/assin2-{}.xml", ("train-only", "dev", "test"), ("f1_macro", "f1_macro apart")),
    "regress,classify": ("regress,classify", "assin2/assin2-{}.xml", ("train-only", "dev", "test"),
                         ("pearson", "spearman", "f1_macro", "pearson apart", "f1_macro apart")),
    "tweets": ("classify", "sentiment/{}.csv", ("train", "dev", "test"), ("f1_macro",)),
    "entities": ("tag", "lenerbr/{}.conll", ("train", "dev", "test"), ("entity_f1",)),
}  # fmt: skip


def main() -> None:
    """Run what is missing, then print a table a task and number of rows."""
    args = parse_arguments()
    models = dict(each.split("=", 1) for each in args.model)
    teachers = dict(each.rsplit("=", 1) for each in args.teacher)
    tables = []
    for name in args.task or TASKS:
        for count in args.rows.split(","):
            found: dict[str, list[dict[str, float]]] = {}
            taught = [(model, teachers[name]) for model in models if name in teachers]
            for model, teacher in [*((model, None) for model in models), *taught]:
                label = f"{model}{'+transfer' if teacher else ''}"
                output = args.output / f"{name.replace(',', '-')}-{count}-{label}".replace("/", "-")
                found[label] = list(run(args, name, count, models[model], teacher, output))
            tables.append(table_of(name, count, found))
            print(tables[-1].markdown(), flush=True)
    record(args.record, "students", {}, tables=[asdict(table) for table in tables], options=options_of(args))


def run(
    args: argparse.Namespace, name: str, count: str, model: str, teacher: str | None, output: Path
) -> Iterator[dict[str, float]]:
    """The test figures of each seed, with the seconds that all took together."""
    kind, files, splits, _ = TASKS[name]
    train, dev, test = (args.data / files.format(split) for split in splits)
    timed = output.with_suffix(".seconds")
    if not timed.exists():
        command = [sys.executable, str(ROOT / "scripts" / "finetune.py"), "--model", model, "--task", kind,
                   "--train", str(rows_of(train, count, args.output)), "--dev", str(dev), "--test", str(test),
                   "--output", str(output), "--seeds", ",".join(map(str, range(1, args.seeds + 1))), "--resume",
                   *(word for each in args.set for word in ("--set", each))]  # fmt: skip
        command += ["--teacher", teacher, "--transfer", str(args.transfer)] if teacher else []
        began = time.monotonic()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        timed.write_text(str(time.monotonic() - began))
    seconds = float(timed.read_text()) / args.seeds
    folders = [output / f"seed-{seed}" for seed in range(1, args.seeds + 1)] if args.seeds > 1 else [output]
    for folder in folders:
        figures = json.loads((folder / "figures.json").read_text())
        apart = {f"{name} apart": value for name, value in figures.get("test_apart", {}).items()}
        yield figures["test"] | apart | {"seconds": seconds}


def rows_of(train: Path, count: str, output: Path) -> Path:
    """The training file, or one with `count` of its rows: those whose hashes come first."""
    if count == "all":
        return train
    path = output / f"{train.stem}-{count}{train.suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    if train.suffix == ".xml":
        tree = ElementTree.parse(train)
        pairs = sorted(tree.getroot().findall("pair"), key=lambda pair: _hash(ElementTree.tostring(pair)))
        for pair in pairs[int(count) :]:
            tree.getroot().remove(pair)
        tree.write(path, encoding="utf-8", xml_declaration=True)
        return path
    text = train.read_text(encoding="utf-8")
    header, rows = ("", text.strip().split("\n\n")) if train.suffix == ".conll" else text.split("\n", 1)
    rows = rows.strip().split("\n") if isinstance(rows, str) else rows
    chosen = sorted(rows, key=lambda row: _hash(row.encode()))[: int(count)]
    between = "\n\n" if train.suffix == ".conll" else "\n"
    path.write_text(f"{header}\n" * bool(header) + between.join(chosen) + "\n", encoding="utf-8")
    return path


def _hash(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


def table_of(name: str, count: str, found: dict[str, list[dict[str, float]]]) -> Table:
    """Means and deviations over seeds; p of a difference from the first route (Welch's test)."""
    figures, lines = TASKS[name][3], []
    first = next(iter(found.values()))
    for label, runs in found.items():
        cells = [label]
        for figure in figures:
            values = [each.get(figure, math.nan) for each in runs]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            cells.append(f"{statistics.fmean(values):.3f} ±{spread:.3f}")
        both = ([each[figures[0]] for each in each_run] for each_run in (first, runs))
        p = "" if runs is first or len(runs) < 2 else f"{ttest_ind(*both, equal_var=False).pvalue:.1g}"
        lines.append((*cells, p, f"{runs[0]['seconds'] / 60:.1f}"))
    header = ("route", *figures, "p", "minutes a seed")
    return Table(f"{name}, {count} training rows, {len(first)} seeds, test", header, tuple(lines))


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with assin2/, sentiment/, lenerbr/")
    parser.add_argument("--model", action="append", required=True, metavar="NAME=DIR")
    parser.add_argument("--teacher", action="append", default=[], metavar="TASK=DIR", help="tuned for that task")
    parser.add_argument("--transfer", type=int, default=20_000, help="texts that the teacher labels")
    parser.add_argument("--task", action="append", choices=TASKS, help="default: all")
    parser.add_argument("--rows", default="all", help="training rows, as 100,500,all")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of finetune.py")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--record", type=Path, help="a JSONL file to append to")
    return parser.parse_args()


if __name__ == "__main__":
    main()
