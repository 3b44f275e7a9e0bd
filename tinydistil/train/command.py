"""The command line of a run, shared by scripts/distill.py and scripts/pretrain.py; imported without torch."""

import argparse
from collections.abc import Mapping
from pathlib import Path

from tinydistil.base.config import Range, override, read_toml
from tinydistil.base.console import Parser, number, whole
from tinydistil.base.errors import require

# Flags that stand for an option of RunConfig.
FLAGS = {
    "recipe": "recipe.name",
    "teacher": "teacher",
    "teacher_precision": "teacher_precision",
    "student": "student.model",
    "tokenizer": "student.tokenizer",
    "shards": "shards",
    "teacher_cache": "teacher_cache",
    "corpus": "corpus",
    "eval_set": "evaluation_sets",
    "max_length": "prepare.max_length",
    **{name: f"train.{name}" for name in ("steps", "tokens", "minutes", "epochs", "batch_size", "accumulation")},
    "learning_rate": "train.optimizer.learning_rate",
    "precision": "train.precision",
    "seed": "train.seed",
}


def add_run_arguments(parser: Parser) -> None:
    """Add the flags that every training command has."""
    add = parser.add_argument
    raw = "raw text (.txt, .jsonl, .csv, .tsv, .vert ...), prepared on the way"
    add("--tokenizer", metavar="DIR", help="the student's vocabulary, where it brings none")
    add("--corpus", nargs="+", metavar="PATH", help=raw)
    add("--shards", metavar="DIR", help="a corpus that scripts/prepare.py made")
    add("--eval-set", nargs="+", metavar="FILE", help="with --corpus: drop documents that overlap with these")
    add("--output", type=Path, metavar="DIR", help="folder of the run, new or with --resume auto")
    add("--steps", type=whole(), help="budget in steps")
    add("--tokens", type=whole(), help="budget in tokens of the student")
    add("--minutes", type=number, help="budget in minutes")
    add("--epochs", type=number, help="budget in passes over the corpus (default 1, where no other is given)")
    add("--batch-size", type=whole(), help="sequences per step, over all ranks (default 64)")
    add("--accumulation", type=whole(), help="micro-batches per step and rank (default 1)")
    add("--max-length", type=whole(), help="with --corpus: tokens of a sequence (default 128)")
    add("--learning-rate", type=number, help="its peak (default 5e-4)")
    add("--precision", help="float32 (default), bfloat16 or float16 (CUDA)")
    add("--seed", type=whole(), help="of weights, order, masks and dropout (default 1)")
    add("--device", default="auto", help="auto (default), cpu or cuda")
    # more than this many processes no machine has cores for
    add("--workers", type=whole(Range(0, 1024)), help="with --corpus: processes that prepare it (default 2)")
    going_on = "auto: go on from the latest whole checkpoint"
    add("--resume", nargs="?", const="auto", choices=("never", "auto"), default="never", help=going_on)
    add("--dry-run", action="store_true", help="check everything, estimate memory and time, train nothing")
    add("--config", type=Path, metavar="FILE.toml", help="options, see RunConfig; flags and --set go over it")
    add("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="one option")


def given_options(arguments: argparse.Namespace) -> list[str]:
    """The flags that were given and that only a run of one's own has a use for, as they are typed."""
    given = [name for name in FLAGS if getattr(arguments, name, None) is not None]
    given += [name for name in ("config", "set", "dry_run", "workers") if getattr(arguments, name)]
    given += ["resume"] if arguments.resume != "never" else []
    return [f"--{name.replace('_', '-')}" for name in given]


def values_of(arguments: argparse.Namespace) -> dict[str, object]:
    """Nested option values of a run: the file's, then --set, then flags."""
    values = read_toml(arguments.config)
    if isinstance(values.get("recipe"), str):
        values["recipe"] = {"name": values["recipe"]}
    override(values, arguments.set, {option: getattr(arguments, flag, None) for flag, option in FLAGS.items()})
    require(arguments.output is not None, "--output is missing; name the folder of the run")
    require(
        arguments.workers is None or bool(values.get("corpus")),
        "--workers prepare raw text, but there is no --corpus; drop it",
    )
    return values


def has_shards(values: Mapping[str, object]) -> bool:
    """Whether a run reads token shards alone, and no option is about raw text."""
    return bool(values.get("shards")) and not {"corpus", "evaluation_sets", "prepare"} & values.keys()
