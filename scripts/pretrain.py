"""Train an encoder without a teacher, from scratch or on from the weights of a folder: as a masked language model, or
by --objective causal, replaced_tokens (ELECTRA), next_sentence, sentence_order, or several with a comma.

    python scripts/pretrain.py --model 4x256 --tokenizer bertimbau/ --corpus corpus/ --minutes 60 --output runs/teacher
    python scripts/pretrain.py --model 2x128 --vocab-size 8000 --corpus textos.txt --output runs/novo
    python scripts/pretrain.py --model runs/teacher/student --shards shards/ --output runs/further
    python scripts/pretrain.py --objective replaced_tokens --model 2x128 --tokenizer bertimbau/ --corpus corpus/ \
        --output runs/electra
    python scripts/pretrain.py --objective mlm,sentence_order --model 2x128 --shards shards/ --output runs/order

Run it again with --resume auto after an interruption. Exit codes: 0 done, 2 wrong input, 75 asked to stop (saved).
"""

import argparse

from tinydistil.base.config import OneOf, table_of
from tinydistil.base.console import Parser
from tinydistil.base.errors import InputError, importing, require, run_script
from tinydistil.distill.recipe import OBJECTIVES
from tinydistil.train.command import add_run_arguments, has_shards, values_of

# Options of RunConfig that have no effect without a teacher.
TEACHING = ("teacher", "teacher_precision", "teacher_prefix", "teacher_cache", "cache")


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    without = ("recipe", *TEACHING)
    parser = Parser(description=__doc__, options="tinydistil.corpus.prepare_config:RawRunConfig", without=without)
    parser.add_argument(
        "--model", dest="student.model", metavar="DIR", help="folder, hub name, or a shape such as 4x256"
    )
    known = f"{', '.join(OBJECTIVES)}, or several with a comma (default {OBJECTIVES[0]}); --set recipe.terms.NAME"
    parser.add_argument("--objective", metavar="NAME", default=OBJECTIVES[0], help=known)
    add_run_arguments(parser)
    return parser.parse_args()


def recipe_of(objective: str, given: object) -> dict[str, object]:
    """The recipe that adds up the objectives of the command line, with what --set says of their weights and options.

    Raises InputError for one that is unknown or named twice, and for options that are no objective's.
    """
    names = objective.split(",")
    for name in names:
        OneOf(OBJECTIVES).check(name, "--objective")
        require(names.count(name) == 1, f"--objective names {name!r} twice; name each once")
    changes = dict(table_of(given, "recipe"))
    for option in changes.keys() - {"hard", "terms"}:
        raise InputError(f"option 'recipe.{option}' is for learning from a teacher; use scripts/distill.py")
    base = "mlm" if "mlm" in names else names[0]
    terms = {name: 1.0 for name in names if name != base}
    return {"name": base, **changes, "terms": terms | dict(table_of(changes.get("terms", {}), "terms"))}


def main() -> None:
    """Resolve, make a vocabulary if one is asked for, then train."""
    arguments = parse_arguments()
    values = values_of(arguments)
    for option in TEACHING:
        require(option not in values, f"option {option!r} is for learning from a teacher; use scripts/distill.py")
    values["recipe"] = recipe_of(arguments.objective, values.get("recipe", {}))
    # Imported where they are used: --help needs none of this, and a run on shards no preparation.
    if has_shards(arguments, values):
        with importing():
            from tinydistil.train.run import run_shards
            from tinydistil.train.run_config import RunConfig, resolve_run
        run_shards(arguments, resolve_run(values, RunConfig))
        return
    with importing():
        from tinydistil.corpus.raw_text import run_raw
    run_raw(arguments, values)


if __name__ == "__main__":
    run_script(main, ranks=True)
