"""Measure models on Portuguese: masked words, similarity, entailment, sentiment, entities, questions, size and speed.

    python scripts/evaluate.py --model DIR --model DIR --data DATA --output runs/tables

DATA holds assin2/assin2-{train-only,dev,test}.xml, sentiment/{train,dev,test}.csv, lenerbr/{train,dev,test}.conll and
faquad/{train,dev}.json; --text names held-out text for the masked words. What was measured is kept in --output, part
by part: the same command goes on where it was. table.md and table.json are written at the end.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from tinydistil.base.config import Range, from_mapping, nearest, override
from tinydistil.base.console import Parser, within
from tinydistil.base.errors import InputError, importing, require, run_script


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = Parser(description=__doc__, options="tinydistil.tasks.finetune_config:FineTuneConfig", without=("seed",))
    parser.add_argument(
        "--model",
        action="append",
        required=True,
        metavar="[NAME=]MODEL",
        help="folder or hub name, several times; NAME is for the tables",
    )
    parser.add_argument("--data", required=True, metavar="DIR", help="the tasks' files")
    parser.add_argument("--output", required=True, metavar="DIR", help="results, part by part, and the tables")
    parser.add_argument(
        "--parts",
        help="some of speed,masked_lm,similarity,entailment,similarity_tuned,sentiment,entities,answers "
        "(default: all that can be)",
    )
    parser.add_argument("--text", metavar="FILE", help="held-out text for masked words (.txt, .jsonl, .csv, .tsv)")
    parser.add_argument(
        "--texts", type=within(Range(1, 10**9)), default=2000, help="so many of its texts (default 2000)"
    )
    parser.add_argument(
        "--seeds", type=within(Range(1, 100_000)), default=1, help="fine-tuning runs per part (default 1)"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a fine-tuning setting")
    parser.add_argument(
        "--pooling",
        choices=("mean", "max", "cls", "pooler"),
        help="zero-shot vectors (default: what a model's folder declares, else mean)",
    )
    parser.add_argument("--prefix", help='before every sentence, zero-shot ("query: " for E5 models)')
    parser.add_argument("--offline", action="store_true", help="use only what the hub's cache holds")
    parser.add_argument("--device", default="auto", help="auto (default), cpu or cuda")
    return parser.parse_args()


with importing(parse_arguments):
    from tinydistil.base.errors import STOPPED_EXIT_CODE, Interrupted
    from tinydistil.base.files import write_json, write_text
    from tinydistil.base.ranks import Ranks, device_of
    from tinydistil.corpus.readers import ReadConfig, parse_record, read_records
    from tinydistil.corpus.records import BadRecord
    from tinydistil.evaluate.evaluation import Evaluation, ownership, significance
    from tinydistil.evaluate.masked_lm import choose_words
    from tinydistil.evaluate.parts import PAIRS, PARTS, Model, open_models
    from tinydistil.evaluate.results import RECORD, TABLES, as_json, markdown
    from tinydistil.tasks.examples import LabelledText
    from tinydistil.tasks.finetune_config import FineTuneConfig
    from tinydistil.tasks.labelled import Columns, read_labelled

TEXT_READING = ReadConfig()
# What an output's record says; there may be other suites one day.
ORIGIN = {"suite": "portuguese"}


def main() -> None:
    """Check everything, measure what is missing, write the tables."""
    args = parse_arguments()
    parts = parts_of(args)
    ranks = Ranks(0, 1, device_of(args.device))
    changes = override({}, args.set)
    require("seed" not in changes, "--set seed has no effect here: each part is tuned with the seeds 1 to --seeds")
    from_mapping(FineTuneConfig, changes)
    output = Path(args.output)
    ownership(output).check(output, ORIGIN)
    for part in [part for part in parts if PARTS[part].kind]:
        for path in [Path(args.data) / file for file in PARTS[part].files]:
            require(path.is_file(), f"part {part!r} needs {str(path)!r}, which does not exist; see --data, --parts")
    models = open_models(args.model, offline=args.offline)
    check_models(models, parts, args)
    pairs: Sequence[LabelledText] = ()
    if {"speed", "similarity"} & set(parts):
        pairs = read_labelled(Path(args.data) / PAIRS, Columns(), numbers=True).examples
    texts = list(islice(held_out(args.text), args.texts)) if "masked_lm" in parts else []
    require(bool(texts) or "masked_lm" not in parts, f"--text {args.text!r} holds no text")
    hidden = choose_words(texts, [model.tokenizer for model in models]) if texts else ()
    evaluation = Evaluation(
        output, models, parts, Path(args.data), pairs, texts, hidden, changes, args.seeds,
        pooling=args.pooling, prefix=args.prefix, ranks=ranks,
    )  # fmt: skip
    with ownership(output).claim(output, ORIGIN, record_now=False):
        known = evaluation.known()
        write_json(output / RECORD, ORIGIN)
        try:
            results = evaluation.run(known)
        except Interrupted:
            print("stopped; the same command goes on", file=sys.stderr)
            sys.exit(STOPPED_EXIT_CODE)
        p_values = significance(results, models)
        table = markdown(results, p_values)
        write_text(output / TABLES[0], table)
        write_json(output / TABLES[1], as_json(results, p_values))
    print(table, end="")


def check_models(models: Sequence[Model], parts: Sequence[str], args: argparse.Namespace) -> None:
    """Say which model has no head for which part. Raises InputError where nothing is left to be measured."""
    for model in models:
        if "masked_lm" in parts and not model.predicts_words:
            print(f"{model.name}: no masked LM head, so no masked words", file=sys.stderr)
        require(
            "similarity" not in parts or args.pooling != "pooler" or model.has_pooler,
            f"--pooling pooler needs a pooler, which model {model.name!r} lacks; use mean or cls",
        )
    require(
        [*parts] != ["masked_lm"] or any(model.predicts_words for model in models),
        "part 'masked_lm' needs a masked LM head, and no model has one; choose other --parts",
    )


def held_out(path: str) -> Iterator[str]:
    """The texts of a file as prepare.py reads them: lines of .txt, the field "text" of .jsonl, .csv and .tsv.

    The first five records that cannot be read are reported on standard error.
    """
    if not Path(path).is_file():
        raise InputError(f"text file {path!r} does not exist")
    bad = 0
    for record in read_records(Path(path), TEXT_READING):
        document = record if isinstance(record, BadRecord) else parse_record(record, TEXT_READING)
        if isinstance(document, BadRecord):
            bad += 1
            if bad <= 5:
                print(f"skipped {document}{'; others are not shown' if bad == 5 else ''}", file=sys.stderr)
        elif document.text.strip():
            yield document.text


def parts_of(args: argparse.Namespace) -> list[str]:
    """The parts chosen, each once; masked words only where there is text. Reports which options none of them uses."""
    if args.parts is None:
        names = [part for part in PARTS if part != "masked_lm" or args.text]
    else:
        names = list(dict.fromkeys(name.strip() for name in args.parts.split(",")))
    for name in names:
        if name not in PARTS:
            raise InputError(f"part {name!r} is unknown{nearest(name, PARTS)}")
    require("masked_lm" not in names or args.text is not None, "part 'masked_lm' needs --text, held-out text")
    zero_shot, tuned = "similarity" in names, any(PARTS[name].kind for name in names)
    unused = {
        "--text": args.text is not None and "masked_lm" not in names,
        "--seeds": args.seeds > 1 and not tuned,
        "--set": bool(args.set) and not tuned,
        "--pooling": args.pooling is not None and not zero_shot,
        "--prefix": bool(args.prefix) and not zero_shot,
    }
    for option in [option for option, is_unused in unused.items() if is_unused]:
        print(f"{option} has no effect on the parts {','.join(names)}", file=sys.stderr)
    return names


if __name__ == "__main__":
    run_script(main)
