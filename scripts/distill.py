"""Distil a teacher into a small student.

    python scripts/distill.py                       # all of it on Machado de Assis, offline, in two minutes
    torchrun --nproc-per-node 8 scripts/distill.py --recipe total --teacher neuralmind/bert-base-portuguese-cased \\
        --student google/bert_uncased_L-2_H-128_A-2 --corpus brwac.vert.gz --output runs/total

Run it again with --resume auto after an interruption. Exit codes: 0 done, 2 wrong input, 75 asked to stop (saved).
"""

import argparse
import sys
from pathlib import Path

from tinydistil.base.console import Parser
from tinydistil.base.errors import importing, require, run_script
from tinydistil.train.command import add_run_arguments, has_shards, values_of


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = Parser(description=__doc__, options="tinydistil.corpus.prepare_config:RawRunConfig")
    parser.add_argument(
        "--recipe",
        dest="recipe.name",
        metavar="RECIPE",
        help="total, partial, vectors, leaf, contrast, distilbert, tinybert, minilm, minilmv2 or mlm",
    )
    teachers = "folder or hub name of the teacher, or of several with one vocabulary, whose mean is followed"
    parser.add_argument("--teacher", metavar="DIR", nargs="+", help=teachers)
    parser.add_argument(
        "--teacher-precision",
        help="float32, bfloat16, int8 (CPU), or auto (the default): the fastest that is exact enough here",
    )
    parser.add_argument(
        "--student", dest="student.model", metavar="DIR", help="folder, hub name, or a shape such as 2x128"
    )
    add_run_arguments(parser)
    parser.add_argument(
        "--teacher-cache", metavar="DIR", help="write down what the teacher says, or read it where that was done"
    )
    parser.add_argument("--teacher-prefix", metavar="TEXT", help='what the teacher reads first, as E5 reads "query: "')
    parser.add_argument("--quick", action="store_true", help="the demonstration in small: half a minute")
    return parser.parse_args()


def main() -> None:
    """With a teacher, a corpus or a recipe: that run. With none of them: the demonstration."""
    arguments = parse_arguments()
    flags = [word.partition("=")[0] for word in sys.argv[1:] if word.startswith("--")]
    options = [flag for flag in flags if flag not in ("--quick", "--output", "--device")]
    # Imported where they are used: --help needs none of this, a run on shards no preparation, a run no demonstration.
    if not options or arguments.quick:
        require(not options, f"--quick is the small demonstration on Machado de Assis; it takes no {' '.join(options)}")
        with importing():
            from tinydistil.demo.run import demonstrate
        demonstrate(arguments.output or Path("runs/demo"), quick=arguments.quick, device=arguments.device)
    elif has_shards(arguments, values := values_of(arguments)):
        with importing():
            from tinydistil.train.run import run_shards
            from tinydistil.train.run_config import RunConfig, resolve_run
        run_shards(arguments, resolve_run(values, RunConfig))
    else:
        with importing():
            from tinydistil.corpus.raw_text import run_raw
        run_raw(arguments, values)


if __name__ == "__main__":
    run_script(main, ranks=True)
