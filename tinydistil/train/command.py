"""The command line of a run, shared by scripts/distill.py and scripts/pretrain.py."""

import argparse
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tinydistil.base.arguments import Parser, number, whole
from tinydistil.base.config import Range, override, read_toml
from tinydistil.base.console import duration
from tinydistil.base.errors import require
from tinydistil.base.ranks import attempt, joined
from tinydistil.base.stop import STOPPED_EXIT_CODE, Stopped
from tinydistil.train.estimate import estimate, seconds_after
from tinydistil.train.plan import make_plan, ownership
from tinydistil.train.run import STUDENT, execute, prepare_shards
from tinydistil.train.run_config import RunConfig, resolve_run
from tinydistil.train.vocabulary import make_vocabulary, with_trial_vocabulary

# Flags that stand for an option of RunConfig.
FLAGS: Mapping[str, str] = {
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
    "steps": "train.steps",
    "tokens": "train.tokens",
    "minutes": "train.minutes",
    "epochs": "train.epochs",
    "batch_size": "train.batch_size",
    "accumulation": "train.accumulation",
    "learning_rate": "train.optimizer.learning_rate",
    "precision": "train.precision",
    "seed": "train.seed",
}


# Processes; more than this many no machine has cores for.
WORKERS = Range(0, 1024)


def add_run_arguments(parser: Parser) -> None:
    """Add the flags that every training command has."""
    add = parser.add_argument
    add("--tokenizer", metavar="DIR", help="the student's vocabulary, where it brings none")
    add(
        "--corpus",
        nargs="+",
        metavar="PATH",
        help="raw text (.txt, .jsonl, .csv, .tsv, .vert ...), prepared on the way",
    )
    add("--shards", metavar="DIR", help="a corpus that scripts/prepare.py made")
    add("--eval-set", nargs="+", metavar="FILE", help="with --corpus: drop documents that overlap with these")
    add("--output", type=Path, metavar="DIR", help="folder of the run, new or with --resume auto")
    add("--steps", type=whole(), help="budget in steps")
    add("--tokens", type=whole(), help="budget in tokens of the student")
    add("--minutes", type=number, help="budget in minutes")
    add("--epochs", type=number, help="budget in passes over the corpus (default 1, where no other is given)")
    add("--batch-size", type=whole(), help="sequences a step, over all ranks (default 64)")
    add("--accumulation", type=whole(), help="micro-batches a step and rank (default 1)")
    add("--max-length", type=whole(), help="with --corpus: tokens of a sequence (default 128)")
    add("--learning-rate", type=number, help="its peak (default 5e-4)")
    add("--precision", help="float32 (default), bfloat16 or float16 (CUDA)")
    add("--seed", type=whole(), help="of weights, order, masks and dropout (default 1)")
    add("--device", default="auto", help="auto (default), cpu or cuda")
    add("--workers", type=whole(WORKERS), help="with --corpus: processes that prepare it (default 2)")
    add(
        "--resume",
        nargs="?",
        const="auto",
        choices=("never", "auto"),
        default="never",
        help="auto: go on from the latest whole checkpoint",
    )
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
    """Nested option values: the file's, then --set, then flags."""
    flags = {option: getattr(arguments, flag, None) for flag, option in FLAGS.items()}
    values = read_toml(arguments.config)
    if isinstance(values.get("recipe"), str):
        values["recipe"] = {"name": values["recipe"]}
    return override(values, arguments.set, flags)


def run_command(arguments: argparse.Namespace, config: RunConfig, *, vocab_size: int | None = None) -> None:
    """Check, prepare, train, say where the student is. Leaves with exit code 75 where it was asked to stop before.

    vocab_size: train a vocabulary of that size on the corpus first, in the folder that is the student's tokenizer.
    """
    require(arguments.output is not None, "--output is missing; name the folder of the run")
    workers = 2 if arguments.workers is None else arguments.workers
    require(
        arguments.workers is None or bool(config.corpus),
        "--workers prepare raw text, but there is no --corpus; drop it",
    )
    # A restart by torchrun runs the same command, and finds what it began.
    resume = arguments.resume == "auto" or attempt() > 0
    with joined(arguments.device) as ranks, ExitStack() as stack:
        if vocab_size is not None and arguments.dry_run:
            config = with_trial_vocabulary(config, vocab_size, Path(stack.enter_context(TemporaryDirectory())))
        elif vocab_size is not None:
            make_vocabulary(config, arguments.output, vocab_size, ranks, resume=resume)
        # All look before one writes: what is found wrong is found by every rank, and told by one.
        with ranks.agreed():
            plan = make_plan(config, arguments.output, resume=resume, device=arguments.device)
        if arguments.dry_run:
            if ranks.is_main:
                print(estimate(plan, ranks.device))
            return
        with ranks.agreed():
            if ranks.is_main:
                # The record is written once the models are built: a command that is refused leaves none.
                owner = ownership(config, plan.output)
                stack.enter_context(owner.claim(plan.output, plan.origin, resume=resume, record_now=False))
        try:
            prepare_shards(plan, ranks, workers=workers, say=print, later=partial(seconds_after, plan, ranks))
            outcome = execute(plan, ranks)  # which writes the teacher's cache first, where one is asked for
        except Stopped as stop:
            print(f"stopped by {stop} while preparing; the same command goes on", file=sys.stderr)
            sys.exit(STOPPED_EXIT_CODE)
    if outcome is None:
        if ranks.is_main:
            print("stopped; go on with the same command and --resume auto", file=sys.stderr)
        sys.exit(STOPPED_EXIT_CODE)
    if ranks.is_main:
        took = f"{outcome.steps:,} steps, {outcome.tokens:,} tokens in {duration(outcome.seconds)}"
        print("; ".join([took, *filter(None, [outcome.said])]))
        print(f"student: {arguments.output / STUDENT}")


def resolve(arguments: argparse.Namespace) -> RunConfig:
    """The configuration that file, --set and flags make together."""
    return resolve_run(values_of(arguments))
