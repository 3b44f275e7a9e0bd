"""Train a masked language model without a teacher: from scratch, or on from the weights of a folder.

    python scripts/pretrain.py --model 4x256 --tokenizer bertimbau/ --corpus corpus/ --minutes 60 --output runs/teacher
    python scripts/pretrain.py --model 2x128 --vocab-size 8000 --corpus textos.txt --output runs/novo
    python scripts/pretrain.py --model runs/teacher/student --shards shards/ --output runs/further

Run it again with --resume auto after an interruption. Exit codes: 0 done, 2 wrong input, 75 asked to stop (saved).
"""

import argparse

from tinydistil.base.console import Parser
from tinydistil.base.errors import importing, require, run_script
from tinydistil.train.command import add_run_arguments, has_shards, values_of

# Options of RunConfig that have no effect without a teacher.
TEACHING = ("recipe", "teacher", "teacher_precision", "teacher_prefix", "teacher_cache", "cache")


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = Parser(description=__doc__, options="tinydistil.corpus.prepare_config:RawRunConfig", without=TEACHING)
    parser.add_argument(
        "--model", dest="student.model", metavar="DIR", help="folder, hub name, or a shape such as 4x256"
    )
    add_run_arguments(parser)
    return parser.parse_args()


def main() -> None:
    """Resolve, make a vocabulary if one is asked for, then train."""
    arguments = parse_arguments()
    values = values_of(arguments)
    for option in TEACHING:
        require(option not in values, f"option {option!r} is for learning from a teacher; use scripts/distill.py")
    values |= {"recipe": {"name": "mlm"}}
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
