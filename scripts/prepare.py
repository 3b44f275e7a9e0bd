"""Prepare a corpus: raw text (.txt, .jsonl, .csv, .tsv, .vert, .parquet; plain, .gz or .zst) to token shards.

    python scripts/prepare.py --input corpus/ --output shards/ --tokenizer bertimbau/

Run it again after an interruption, with the same arguments, and it goes on where it was. Many machines share the work
with --part 1/N to --part N/N, in any order and at once, and the same command with --merge makes the shards of their
parts that one machine makes. Exit codes: 0 done, 2 wrong input, 75 stopped by a signal.
"""

import argparse
import sys
from contextlib import closing
from pathlib import Path

from tinydistil.base.config import Range, from_mapping, override, read_toml
from tinydistil.base.console import Parser, within
from tinydistil.base.errors import importing, require, run_script


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = Parser(description=__doc__, options="tinydistil.corpus.prepare_config:PrepareConfig")
    add = parser.add_argument
    add("--input", nargs="+", metavar="PATH", help="files, folders or glob patterns")
    add("--output", required=True, type=Path, metavar="DIR", help="folder of the shards, empty or ours")
    add("--tokenizer", metavar="DIR", help="folder or hub name of the tokenizer (the teacher's, if there are two)")
    add("--student-tokenizer", metavar="DIR", help="tokenize the same words a second time")
    add("--max-length", type=int, help="tokens of a sequence with [CLS] and [SEP] (default 128)")
    add("--workers", type=within(Range(0, 1024)), help="processes (default: one per core)")
    add("--eval-set", nargs="+", default=[], metavar="FILE", help="drop documents that overlap with these")
    near = "look for near-duplicates (default yes)"
    add("--near-duplicates", action=argparse.BooleanOptionalAction, help=near)
    add("--config", type=Path, metavar="FILE.toml", help="options, see PrepareConfig")
    add("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="one option, over --config")
    add("--sample-dropped", type=int, metavar="K", help="write K examples of each rule to samples.jsonl")
    add("--seed", type=int, help="of the split and the samples (default 0)")
    add("--overwrite", action="store_true", help="discard what an earlier run left in --output")
    kind = parser.add_mutually_exclusive_group().add_argument
    kind("--part", metavar="I/N", help="do the I-th of N equal parts of the work, for --merge")
    kind("--merge", action="store_true", help="make the shards of all parts in --output")
    kind("--verify", action="store_true", help="only check the shards in --output against their hashes")
    return parser.parse_args()


with importing(parse_arguments):
    from tinydistil.base.errors import STOPPED_EXIT_CODE, Stopped, stopping
    from tinydistil.batches.manifest import check_fit
    from tinydistil.batches.shards import verify
    from tinydistil.corpus.merge import merge
    from tinydistil.corpus.parts import Part, make_part
    from tinydistil.corpus.pool import available_cores
    from tinydistil.corpus.prepare import Job, prepare
    from tinydistil.corpus.prepare_config import PrepareConfig
    from tinydistil.corpus.progress import Progress
    from tinydistil.corpus.segment import describe
    from tinydistil.tokenizer.tokenizer import Tokenizer

# Flags that are options of PrepareConfig under another name.
FLAGS = {
    "max_length": "max_length",
    "seed": "seed",
    "sample_dropped": "sample_dropped",
    "near_duplicates": "duplicates.near",
}


def resolve_config(arguments: argparse.Namespace) -> PrepareConfig:
    """Defaults, then --config, then --set, then the flags."""
    flags = {option: getattr(arguments, flag) for flag, option in FLAGS.items()}
    return from_mapping(PrepareConfig, override(read_toml(arguments.config), arguments.set, flags))


def job_of(arguments: argparse.Namespace) -> Job:
    """What is to be done, every path and option checked."""
    require(bool(arguments.input), "--input is missing; name files, folders or glob patterns")
    require(bool(arguments.tokenizer), "--tokenizer is missing; name a folder with vocab.txt or tokenizer.json")
    config = resolve_config(arguments)
    names = [arguments.tokenizer, arguments.student_tokenizer]
    tokenizers = [(name, Tokenizer.from_pretrained(name)) for name in names if name is not None]
    return Job.of(arguments.input, tokenizers, config, arguments.eval_set)


def run(arguments: argparse.Namespace) -> None:
    """Prepare, or merge parts, with a progress display, and print the result."""
    idle = "--workers share what looks at one document, which the parts have done; leave them out with --merge"
    require(not arguments.merge or arguments.workers is None, idle)
    job, output, overwrite = job_of(arguments), arguments.output, arguments.overwrite
    if notes := job.notes():
        print(f"note: {notes}", file=sys.stderr)
    with closing(Progress(job.plain_bytes())) as progress:
        if arguments.merge:
            prepared = merge(job, output, progress=progress, overwrite=overwrite)
        else:
            prepared = prepare(job, output, workers=workers_of(arguments), progress=progress, overwrite=overwrite)
    if prepared.was_finished:
        print(f"{output} is finished already; nothing to do (--overwrite makes it anew)")
    print(describe(prepared.manifest))


def run_part(arguments: argparse.Namespace) -> None:
    """Do one part of the work, with a progress display, and print what became of it."""
    part, job, output = Part.parse(arguments.part), job_of(arguments), arguments.output
    total, overwrite = job.plain_bytes(), arguments.overwrite
    with closing(Progress(None if total is None else total // part.of)) as progress:
        made = make_part(job, output, part, workers=workers_of(arguments), progress=progress, overwrite=overwrite)
    if made is None:
        print(f"{output} is finished already; nothing to do")
        return
    already = " already; nothing to do" * made.was_finished
    documents = f"{made.documents:,} documents, {made.bytes / 1e6:,.1f} MB"
    print(f"part {part} is finished{already}: {documents}. Once all {part.of:,} are, --merge makes the shards")


def workers_of(arguments: argparse.Namespace) -> int:
    """How many processes share the work on documents."""
    return available_cores() if arguments.workers is None else int(arguments.workers)


def check(arguments: argparse.Namespace) -> None:
    """Compare the shards with their hashes, and the manifest with the tokenizers that were given."""
    fingerprints = [
        None if name is None else Tokenizer.from_pretrained(name).fingerprint
        for name in (arguments.tokenizer, arguments.student_tokenizer)
    ]
    check_fit(arguments.output, *fingerprints)
    entries = verify(arguments.output)
    total = sum(entry.bytes for entry in entries)
    print(f"{len(entries)} shards, {total:,} bytes: all hashes are as the manifest says")


def main() -> None:
    """Parse, then prepare or check."""
    arguments = parse_arguments()
    # A file name may hold what the terminal's encoding lacks; the closing table must not fail on it.
    sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with stopping():
            (check if arguments.verify else run_part if arguments.part is not None else run)(arguments)
    except Stopped as stop:
        print(f"stopped by {stop}; the same command goes on after the last finished segment", file=sys.stderr)
        sys.exit(STOPPED_EXIT_CODE)


if __name__ == "__main__":
    run_script(main)
