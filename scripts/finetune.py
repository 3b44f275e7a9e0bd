"""Fine-tune a model on a task: classes or a number for texts and pairs, tags for words, answers to questions.

    python scripts/finetune.py --model DIR --task classify --train assin2-train.xml --dev assin2-dev.xml \\
        --test assin2-test.xml --output runs/entailment
    python scripts/finetune.py --model DIR --task regress --train train.csv --dev dev.csv --output runs/similarity
    python scripts/finetune.py --model DIR --task tag --train train.conll --dev dev.conll --output runs/entities
    python scripts/finetune.py --model DIR --task answer --train train.json --dev dev.json --output runs/answers

Files: .csv, .tsv, .jsonl with the columns text (text_b for pairs) and label, or those that --text-column and its
like name; ASSIN's .xml; CoNLL; SQuAD 1.1's .json. The development set chooses the best weights.
"""

import argparse
import itertools
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tinydistil.arguments import Parser, whole
from tinydistil.config import assign, from_mapping, override, read_toml, to_mapping
from tinydistil.errors import InputError, require, run_script
from tinydistil.files import read_json, write_json
from tinydistil.finetune.augment import read_synonyms
from tinydistil.finetune.folder import load
from tinydistil.finetune.forms import KINDS, AnyData, make_task, read_rows
from tinydistil.finetune.run import Material, cross_validated, run_seed, summary
from tinydistil.finetune.settings import FineTuneConfig
from tinydistil.finetune.teacher import SoftTargets
from tinydistil.finetune.text_task import TextTask
from tinydistil.hub import resolve_folder
from tinydistil.ranks import Ranks, device_of
from tinydistil.text.tasks.labelled import Columns
from tinydistil.text.tokenizer import Tokenizer
from tinydistil.train.signals import STOPPED_EXIT_CODE


def main() -> None:
    """Read the settings and the data, then train; what can be refused is refused before a model is loaded."""
    args = parse_arguments()
    config = settings_of(args)
    ranks = Ranks(0, 1, device_of(args.device))
    seeds = whole_numbers(args.seeds, "--seeds") if args.seeds else [config.seed]
    grid = grid_of(args.grid, config)
    output = Path(args.output)
    prepare_output(output, args, config)
    material = material_of(args, config, ranks)
    if grid:
        config = best_of_grid(material, config, grid, args.folds, output, ranks)
    runs = []
    for seed in seeds:
        folder = output if len(seeds) == 1 else output / f"seed-{seed}"
        figures = run_seed(material, replace(config, seed=seed), folder, ranks, resume=bool(args.resume))
        if figures is None:
            print("stopped; go on with the same command and --resume", file=sys.stderr)
            sys.exit(STOPPED_EXIT_CODE)
        runs.append(figures)
    report(runs, seeds, output)


def material_of(args: argparse.Namespace, config: FineTuneConfig, ranks: Ranks) -> Material:
    """Model folder, task and rows, as the arguments name them; what was set aside is said on standard error."""
    training, dev, test = (read(path, args) if path else None for path in (args.train, args.dev, args.test))
    assert training is not None
    folder = resolve_folder(args.model, revision=args.revision, offline=args.offline)
    tokenizer = Tokenizer.from_pretrained(folder)
    task = make_task(args.task, training.rows, tokenizer, config)
    of_texts = isinstance(task, TextTask)
    require(of_texts or not config.augment.copies, f"augment.copies is for texts; the task is to {args.task}")
    synonyms = read_synonyms(Path(args.synonyms)) if args.synonyms else {}
    teacher = None
    if args.teacher:
        tuned = load(args.teacher, KINDS)
        tuned.model.to(ranks.device)
        teacher = SoftTargets(tuned, task)
    others = [data.rows if data else [] for data in (dev, test)]
    for name, each in zip(("--dev", "--test"), others, strict=True):
        try:
            task.examples(each)
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
    return Material(folder, task, training.rows, *others, synonyms, teacher)


def read(path: str, args: argparse.Namespace) -> AnyData:
    """The rows of a task file; how many, and what was set aside, is said on standard error."""
    names = (args.text_column, args.second_column, args.label_column, args.delimiter, args.encoding)
    columns = Columns(*names, quotes=args.quotes, decimal=args.decimal)
    data = read_rows(args.task, Path(path), columns)
    print(f"{path}: {data.report()}", file=sys.stderr)
    return data


def settings_of(args: argparse.Namespace) -> FineTuneConfig:
    """--config's file, then --set, checked; a teacher without `soft` counts half."""
    values = override(read_toml(args.config), args.set)
    config = from_mapping(FineTuneConfig, ({"soft": 0.5} if args.teacher else {}) | values)
    require(args.teacher or config.soft == 0, "soft > 0 needs --teacher, a fine-tuned model")
    require(not args.teacher or config.soft > 0, "--teacher has no effect with soft = 0; raise it or leave it out")
    require(not args.synonyms or config.augment.copies > 0, "--synonyms needs augment.copies >= 1 (--set)")
    require(args.dev or config.patience == 0, "patience needs --dev, a development set")
    require(args.folds is None or args.grid, "--folds needs --grid")
    return config


def grid_of(assignments: Sequence[str], config: FineTuneConfig) -> list[dict[str, object]]:
    """Every combination of "key=value,value" lists, each checked as --set is."""
    axes = []
    for assignment in assignments:
        key, _, values = assignment.partition("=")
        choices = []
        for value in values.split(","):
            single: dict[str, object] = {}
            assign(single, f"{key}={value}")
            # The task is made once, with its lengths; tables of settings would be replaced whole.
            fixed = key.strip() in ("max_length", "stride") or "." in key
            require(not fixed, f"--grid cannot vary {key!r}; set it with --set")
            from_mapping(FineTuneConfig, {**to_mapping(config), **single})
            choices.append(single)
        axes.append(choices)
    return [{k: v for part in parts for k, v in part.items()} for parts in itertools.product(*axes)] if axes else []


def best_of_grid(
    material: Material,
    config: FineTuneConfig,
    grid: Sequence[dict[str, object]],
    folds: int | None,
    output: Path,
    ranks: Ranks,
) -> FineTuneConfig:
    """The combination of the best mean over folds; what is known is kept in grid.json and not computed again."""
    path = output / "grid.json"
    known = read_json(path) if path.is_file() else {}
    for changes in grid:
        name = json.dumps(changes, sort_keys=True)
        if name not in known:
            known[name] = cross_validated(material, config, changes, folds=folds or 5, ranks=ranks)
            write_json(path, known)
        found = known[name]
        spread = statistics.stdev(found)
        print(f"grid: {name}  {statistics.fmean(found):.4f} +- {spread:.4f} over {len(found)} folds", flush=True)
    best = max(grid, key=lambda changes: statistics.fmean(known[json.dumps(changes, sort_keys=True)]))
    print(f"grid: best {json.dumps(best, sort_keys=True)}", flush=True)
    return from_mapping(FineTuneConfig, {**to_mapping(config), **best})


def prepare_output(output: Path, args: argparse.Namespace, config: FineTuneConfig) -> None:
    """Refuse a folder in use, and a resume with other settings; write run.json."""
    chosen = {name: getattr(args, name) for name in ("model", "task", "train", "dev", "test", "teacher", "grid")}
    wanted = {"arguments": chosen, "settings": to_mapping(config)}
    path = output / "run.json"
    if args.resume and path.is_file():
        before = read_json(path)
        for part, values in json.loads(json.dumps(wanted)).items():
            for name, value in values.items():
                if (old := before.get(part, {}).get(name)) != value:
                    raise InputError(f"{str(output)!r} was begun with {name} = {old!r}, now it is {value!r}")
        return
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"output {str(output)!r} is not an empty folder; choose another, or go on with --resume")
    output.mkdir(parents=True, exist_ok=True)
    write_json(path, wanted)


def report(runs: Sequence[dict[str, dict[str, float]]], seeds: Sequence[int], output: Path) -> None:
    """Print each figure, with several seeds its mean and deviation, which summary.json keeps too."""
    several = summary(runs)
    if len(runs) > 1:
        write_json(output / "summary.json", {"seeds": list(seeds), "mean_and_deviation": several, "runs": list(runs)})
    for split, figures in several.items():
        for name, (mean, deviation) in figures.items():
            print(f"{split:>5} {name:<16} {mean:.4f}" + (f" +- {deviation:.4f}" if len(runs) > 1 else ""))


def whole_numbers(text: str, option: str) -> list[int]:
    """ "1,2,3" to [1, 2, 3]. Raises InputError for anything else, and for repeated numbers."""
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"{option} must be whole numbers with commas between, got {text!r}") from None
    require(
        len(set(numbers)) == len(numbers) and min(numbers) >= 0, f"{option} must be different and >= 0, got {text!r}"
    )
    return numbers


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = Parser(description=__doc__, options=FineTuneConfig)
    parser.add_argument("--model", required=True, help="model folder, or a name on the hub")
    parser.add_argument("--task", required=True, choices=KINDS)
    parser.add_argument("--train", required=True, metavar="FILE")
    parser.add_argument("--dev", metavar="FILE", help="chooses the best weights")
    parser.add_argument("--test", metavar="FILE", help="looked at once, at the end")
    parser.add_argument("--output", required=True, metavar="DIR")
    parser.add_argument("--config", type=Path, metavar="FILE.toml", help="settings")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="one setting, such as epochs=2")
    parser.add_argument("--seeds", metavar="1,2,3", help="several runs, mean and standard deviation")
    parser.add_argument("--grid", action="append", default=[], metavar="KEY=V,V", help="try every combination first")
    parser.add_argument("--folds", type=whole(), help="parts of the training rows for --grid (default 5)")
    parser.add_argument("--teacher", metavar="DIR", help="a fine-tuned model whose predictions are learnt from too")
    parser.add_argument("--synonyms", metavar="FILE", help="for augment.replace: word, tab, synonyms with commas")
    parser.add_argument(
        "--resume", nargs="?", const="auto", choices=("auto",), help="go on with an interrupted run in --output"
    )
    parser.add_argument("--text-column", default="text")
    parser.add_argument("--second-column", help="second text of a pair (default: text_b where there is one)")
    parser.add_argument("--label-column", default="label")
    parser.add_argument("--delimiter", default=",", help="of .csv files")
    parser.add_argument(
        "--quotes", action=argparse.BooleanOptionalAction, default=True,
        help="a field of .csv and .tsv in quotes is what stands between them (default); with --no-quotes all of it",
    )  # fmt: skip
    parser.add_argument("--decimal", default=".", choices=(".", ","), help="decimal sign of numbers (default .)")
    parser.add_argument("--encoding", default="utf-8", help="of .csv, .tsv, .jsonl and CoNLL files")
    parser.add_argument("--revision", help="branch, tag or commit on the hub")
    parser.add_argument("--offline", action="store_true", help="use only what the hub's cache holds")
    parser.add_argument("--device", default="auto", help="auto (default), cpu or cuda")
    return parser.parse_args()


if __name__ == "__main__":
    run_script(main)
