"""The command line that all training scripts share. No torch: --help answers at once."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinydistil.base.config import Range, override, read_toml
from tinydistil.base.console import Parser, within
from tinydistil.base.errors import require


def add_run_arguments(parser: Parser) -> None:
    """Add the flags that every training command has; where one stands for an option, its dest is the option's name."""

    def add(flag: str, help: str, option: str = "", **more: Any) -> None:
        name = flag[2:].replace("-", "_")
        parser.add_argument(flag, help=help, **{"dest": option or name, "metavar": name.upper()} | more)

    raw = "raw text (.txt, .jsonl, .csv, .tsv, .vert ...), prepared on the way"
    overlap = "with --corpus: drop documents that overlap with these"
    passes = "budget in passes over the corpus (default 1, where no other is given)"
    nothing = "check everything, estimate memory and time, train nothing"
    going_on = "auto: go on from the latest whole checkpoint"
    add("--tokenizer", "the student's vocabulary, where it brings none", "student.tokenizer", metavar="DIR")
    size, vocabulary = within(Range(1, 10_000_000)), "train a vocabulary of this size on the corpus"
    add("--vocab-size", vocabulary, type=size)
    parser.add_argument("--lowercase", action="store_true", help="with --vocab-size: of small letters, accents kept")
    add("--corpus", raw, nargs="+", metavar="PATH")
    add("--shards", "a corpus that scripts/prepare.py made", metavar="DIR")
    add("--eval-set", overlap, "evaluation_sets", nargs="+", metavar="FILE")
    add("--output", "folder of the run, new or with --resume auto", type=Path, metavar="DIR")
    add("--steps", "budget in steps", "train.steps", type=int)
    add("--tokens", "budget in tokens of the student", "train.tokens", type=int)
    add("--minutes", "budget in minutes", "train.minutes", type=float)
    add("--epochs", passes, "train.epochs", type=float)
    add("--batch-size", "sequences per step, over all ranks (default 64)", "train.batch_size", type=int)
    add("--accumulation", "micro-batches per step and rank (default 1)", "train.accumulation", type=int)
    add("--max-length", "with --corpus: tokens of a sequence (default 128)", "prepare.max_length", type=int)
    add("--learning-rate", "its peak (default 5e-4)", "train.optimizer.learning_rate", type=float)
    add("--precision", "float32 (default), bfloat16 or float16 (CUDA)", "train.precision")
    add("--seed", "of weights, order, masks and dropout (default 1)", "train.seed", type=int)
    add("--device", "auto (default), cpu or cuda", default="auto")
    # more than this many processes no machine has cores for
    add("--workers", "with --corpus: processes that prepare it (default: one per core)", type=within(Range(0, 1024)))
    add("--resume", going_on, nargs="?", const="auto", choices=("never", "auto"), default="never", metavar=None)
    parser.add_argument("--dry-run", action="store_true", help=nothing)
    add("--config", "options, see RunConfig; flags and --set go over it", type=Path, metavar="FILE.toml")
    add("--set", "one option", action="append", default=[], metavar="SECTION.KEY=VALUE")


# What a command line says of a run beside its options.
_OTHER = {
    "output", "device", "workers", "resume", "dry_run", "config", "set", "quick", "vocab_size", "lowercase", "objective"
}  # fmt: skip


def values_of(arguments: argparse.Namespace) -> dict[str, object]:
    """Nested option values of a run: the file's, then --set, then flags."""
    values = read_toml(arguments.config)
    if isinstance(values.get("recipe"), str):
        values["recipe"] = {"name": values["recipe"]}
    flags = {option: value for option, value in vars(arguments).items() if option not in _OTHER}
    override(values, arguments.set, flags)
    require(arguments.output is not None, "--output is missing; name the folder of the run")
    idle = "--workers prepare raw text, but there is no --corpus; drop it"
    require(arguments.workers is None or bool(values.get("corpus")), idle)
    small = "--lowercase is of the vocabulary that --vocab-size trains; give that too, or drop it"
    require(not arguments.lowercase or arguments.vocab_size is not None, small)
    return values


def has_shards(arguments: argparse.Namespace, values: Mapping[str, object]) -> bool:
    """Whether a run reads token shards alone, and no option is about raw text."""
    return (
        bool(values.get("shards"))
        and arguments.vocab_size is None
        and not {"corpus", "evaluation_sets", "prepare"} & values.keys()
    )
