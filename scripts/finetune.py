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
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tinydistil.base.config import override, read_toml, to_mapping
from tinydistil.base.console import Parser
from tinydistil.base.errors import InputError, importing, require, run_script


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = Parser(description=__doc__, options="tinydistil.tasks.finetune_config:FineTuneConfig")
    parser.add_argument("--model", required=True, help="model folder, or a name on the hub")
    parser.add_argument(
        "--task", required=True, metavar="{classify,regress,tag,answer}", help="regress,classify: both, same rows",
        choices=("classify", "regress", "regress,classify", "classify,regress", "tag", "answer"),
    )  # fmt: skip
    parser.add_argument("--form", choices=("siamese", "cross"), help="of pairs (default: siamese below six layers)")
    parser.add_argument("--train", required=True, metavar="FILE")
    parser.add_argument("--dev", metavar="FILE", help="chooses the best weights")
    parser.add_argument(
        "--hold-out", type=float, metavar="SHARE",
        help="of the training rows, with no text of the rest, to choose the weights (where --dev leaks 0.15, else 0)",
    )  # fmt: skip
    parser.add_argument(
        "--test",
        metavar="FILE",
        help="looked at once, at the end; of pairs also those apart that share no text with training (test_apart)",
    )
    parser.add_argument("--output", required=True, metavar="DIR")
    parser.add_argument("--config", type=Path, metavar="FILE.toml", help="settings")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="one setting (defaults: BERT-base's)"
    )
    parser.add_argument("--seeds", metavar="1,2,3", help="several runs, mean and standard deviation")
    parser.add_argument("--grid", action="append", default=[], metavar="KEY=V,V", help="try every combination first")
    parser.add_argument("--folds", type=int, help="parts of the training rows for --grid (default 5)")
    parser.add_argument("--teacher", metavar="DIR", help="a fine-tuned model whose predictions are learnt from too")
    parser.add_argument(
        "--teacher-precision",
        metavar="PRECISION",
        help="float32 (default), bfloat16, int8 (CPU) or auto, the fastest that is exact enough",
    )
    parser.add_argument(
        "--unlabelled",
        nargs="+",
        default=[],
        metavar="FILE",
        help="texts that --teacher labels, too; for tags also documents (.jsonl)",
    )
    parser.add_argument(
        "--transfer", type=int, metavar="N", help="texts made of the training rows for --teacher to label"
    )
    parser.add_argument("--synonyms", metavar="FILE", help="for augment.replace: word, tab, synonyms with commas")
    parser.add_argument(
        "--resume", nargs="?", const="auto", choices=("auto",), help="go on with an interrupted run in --output"
    )
    parser.add_argument("--text-column", default="text")
    parser.add_argument("--second-column", help="second text of a pair (default: text_b where there is one)")
    parser.add_argument("--label-column", default="label", help="of two tasks two, with a comma, in their order")
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


with importing(parse_arguments):
    from tinydistil.base.errors import STOPPED_EXIT_CODE, Interrupted
    from tinydistil.base.files import write_json
    from tinydistil.base.hub import resolve_folder
    from tinydistil.base.ranks import Ranks, device_of
    from tinydistil.model.config import read_config
    from tinydistil.tasks.examples import read_synonyms
    from tinydistil.tasks.finetune import Material, check, mean_and_deviation, run_seeds
    from tinydistil.tasks.finetune_config import FineTuneConfig, settings_for
    from tinydistil.tasks.folder import KINDS, AnyData, load, make_task, read_examples
    from tinydistil.tasks.grid import best_of_grid, grid_of
    from tinydistil.tasks.label_task import TextTask
    from tinydistil.tasks.labelled import Columns
    from tinydistil.tasks.soft_targets import SoftTargets
    from tinydistil.tasks.splits import held_out_of
    from tinydistil.tasks.task import JOINT, AnyTask
    from tinydistil.tasks.task_output import (
        DETAILS,
        GRID,
        SUMMARY,
        check_output,
        claimed,
        finite_or_none,
        shown_details,
    )
    from tinydistil.tasks.transfer import check_transfer, with_transfer
    from tinydistil.tasks.unlabelled import read_unlabelled
    from tinydistil.tokenizer.tokenizer import Tokenizer


def main() -> None:
    """Read settings and data, refuse what can be refused, then train; nothing is written before."""
    args = parse_arguments()
    args.turned = args.task == "classify,regress"
    args.task = JOINT if args.turned else args.task
    folder = resolve_folder(args.model, revision=args.revision, offline=args.offline)
    values = override(read_toml(args.config), args.set, {"form": args.form})
    settings_of(args, folder, values)  # options are refused before files are read
    training = read(args.train, args)
    config = settings_of(args, folder, values, len(training.examples))
    ranks = Ranks(0, 1, device_of(args.device))
    seeds = whole_numbers(args.seeds, "--seeds") if args.seeds is not None else [config.seed]
    grid = grid_of(args.grid, config)
    configs = [config, *(replace(config, seed=seed) for seed in seeds), *grid.values()]
    folds = (5 if args.folds is None else args.folds) if grid else None
    output, resume = Path(args.output), bool(args.resume)
    chosen = {"task": args.task, "seeds": seeds, "grid": args.grid, "folds": folds, "hold_out": args.hold_out}
    origin = {**chosen, **to_mapping(config)}
    check_output(output, origin, resume=resume)
    material = material_of(args, training, folder, config, ranks)
    check(material, configs, folds)
    print(f"settings: {shown_settings(config)}", file=sys.stderr)
    content = material.content()
    with claimed(output, origin | {"content": content}, resume=resume):
        try:
            if material.unlabelled or material.made:
                material = with_transfer(material, seed=config.seed, output=output, content=content)
            if folds is not None:
                config = best_of_grid(material, grid, folds, output / GRID, ranks)
            folders = {seed: output / f"seed-{seed}" if len(seeds) > 1 else output for seed in seeds}
            runs = run_seeds(material, config, folders, ranks, resume=resume)
        except Interrupted:
            print("stopped; go on with the same command and --resume", file=sys.stderr)
            sys.exit(STOPPED_EXIT_CODE)
        report(runs, seeds, output)


def material_of(
    args: argparse.Namespace, training: AnyData, folder: Path, config: FineTuneConfig, ranks: Ranks
) -> Material:
    """What the arguments name, beside the training rows; says on standard error what was read."""
    dev, test = (read(path, args) if path else None for path in (args.dev, args.test))
    shape = read_config(folder / "config.json")
    task = make_task(args.task, training.examples, Tokenizer.from_pretrained(folder), config, shape)
    of_texts = isinstance(task, TextTask)
    require(of_texts or not config.augment.copies, f"augment.copies is for texts; the task is to {args.task}")
    if counts := Counter(task.labels_of(training.examples)):
        labels = ", ".join(f"{number} {label!r} ({counts[label]:,})" for label, number in task.numbers.items())
        print(f"labels of {args.train}: {labels}", file=sys.stderr)
    if isinstance(task, TextTask) and task.form != "cross":
        print(
            f"form siamese, comparison {task.form!r}: transformers has no class for pairs and finds an encoder in the "
            "folder; use it with predict.py"
            + (", or for its vectors with sentence-transformers" if task.form == "cosine" else ""),
            file=sys.stderr,
        )
    elif of_texts and config.pooling != "pooler":
        print(
            f"pooling {config.pooling!r}: transformers has no such classifier and would read the folder with a random "
            "pooler; use it with predict.py, or set pooling=pooler",
            file=sys.stderr,
        )
    synonyms = read_synonyms(Path(args.synonyms)) if args.synonyms else {}
    teacher, teacher_folder = None, None
    if args.teacher:
        teacher_folder = resolve_folder(args.teacher, offline=args.offline)
        tuned = load(teacher_folder, (*KINDS, JOINT))
        tuned.model.to(ranks.device)
        teacher = SoftTargets(tuned, task, args.teacher_precision or "float32", training.examples)
    unlabelled = [each for path in args.unlabelled for each in read(path, args, task).examples]
    others = [data.examples if data else [] for data in (dev, test)]
    rest, held = held_out_of(training.examples, *others, args.hold_out, config.seed)
    return Material(
        folder, task, rest, *others, synonyms, teacher, teacher_folder, unlabelled, args.transfer or 0, held_out=held
    )


def read(path: str, args: argparse.Namespace, unlabelled_for: AnyTask | None = None) -> AnyData:
    """What a task file holds; how many, and what was set aside, is printed on standard error."""
    label = args.label_column
    if args.turned and "," in label:  # the number's first, as in JOINT
        label = ",".join(label.split(",")[::-1])
    names = (args.text_column, args.second_column, label, args.delimiter, args.encoding)
    columns = Columns(*names, quotes=args.quotes, decimal=args.decimal)
    if unlabelled_for is None:
        data = read_examples(args.task, Path(path), columns)
    else:
        data = read_unlabelled(Path(path), unlabelled_for, columns)
    print(f"{path}: {data.report()}", file=sys.stderr)
    return data


def settings_of(
    args: argparse.Namespace, folder: Path, values: Mapping[str, object], rows: int | None = None
) -> FineTuneConfig:
    """`values` over the defaults for a model of this size and so many rows; a teacher without `soft` counts half."""
    shape = read_config(folder / "config.json")
    config = settings_for(args.task, shape, {**({"soft": 0.5} if args.teacher else {}), **values}, rows)
    check_transfer(args.task, args.transfer, bool(args.unlabelled), bool(args.teacher))
    require(not args.teacher or config.soft > 0, "--teacher has no effect with soft = 0; raise it or leave it out")
    require(args.teacher or not args.teacher_precision, "--teacher-precision needs --teacher, which computes in it")
    require(not args.synonyms or config.augment.copies > 0, "--synonyms needs augment.copies >= 1 (--set)")
    share, patient = args.hold_out, config.patience > 0
    require(share is None or 0 <= share <= 0.9, f"--hold-out must be in 0..0.9, got {share}")
    require(args.dev or share or not patient, "patience needs --dev, a development set, or --hold-out")
    require(args.folds is None or args.grid, "--folds needs --grid")
    return config


def shown_settings(config: FineTuneConfig) -> str:
    """The settings that most depend on model and task, and those that are not everybody's default."""
    always, default = ("epochs", "learning_rate", "batch_size", "max_length", "pooling"), to_mapping(FineTuneConfig())
    chosen = {name: each for name, each in to_mapping(config).items() if name in always or each != default[name]}
    return " ".join(f"{name}={f'{each:g}' if isinstance(each, float) else each}" for name, each in chosen.items())


def report(runs: Sequence[Mapping[str, Mapping[str, float]]], seeds: Sequence[int], output: Path) -> None:
    """Print each figure, with several seeds its mean and deviation, which summary.json keeps too, and the folder."""
    several = {
        split: {name: mean_and_deviation([run[split][name] for run in runs]) for name in runs[0][split]}
        for split in runs[0]
    }
    if len(runs) > 1:
        kept = {"seeds": list(seeds), "mean_and_deviation": several, "runs": list(runs)}
        write_json(output / SUMMARY, finite_or_none(kept))
    for split, figures in several.items():
        for name, (mean, deviation) in figures.items():
            spread = f" +- {deviation:.4f}" if len(runs) > 1 else ""
            print(f"{split:>5} {name:<16} " + (f"{mean:.4f}{spread}" if mean == mean else "undefined"))
    for line in shown_details(output / DETAILS) if len(runs) == 1 else ():
        print(line)
    models = output if len(runs) == 1 else f"{output}/seed-{{{','.join(map(str, seeds))}}}"
    print(f"model: {models}", file=sys.stderr)


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


if __name__ == "__main__":
    run_script(main)
