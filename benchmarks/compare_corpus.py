"""The corpus path of two checkouts, on the same input, a megabyte each in turn: the ratio of their CPU times.

    python benchmarks/compare_corpus.py --input corpus/ --tokenizer bertimbau/ --trees OLD NEW [--near]

On a busy machine CPU seconds swing by half from one minute to the next; in turn, both see the same neighbours.
Measured is all that one worker does, from reading to the decision about each document, but for writing shards.
Without near-duplicates the tokens must be the same, or the last line reports that they are not.
"""

import argparse
import hashlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count

CHUNK_BYTES = 1_000_000


def parse_arguments() -> argparse.Namespace:
    """The command line. `--serve` is how the program calls itself, once for each tree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", nargs="+", required=True, metavar="PATH")
    parser.add_argument("--tokenizer", required=True, metavar="DIR")
    parser.add_argument("--trees", nargs=2, metavar="TREE", help="two checkouts, the older first")
    parser.add_argument("--near", action="store_true", help="look for near-duplicates")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def serve(arguments: argparse.Namespace) -> None:
    """For each line of standard input, work on the next megabyte; print seconds, bytes and a hash of all tokens."""
    import gc

    from tinydistil.corpus.duplicates import DuplicateConfig, DuplicateIndex
    from tinydistil.corpus.prepare import Job
    from tinydistil.corpus.prepare_config import PrepareConfig
    from tinydistil.corpus.readers import read_items
    from tinydistil.tokenizer.tokenizer import Tokenizer

    gc.disable()  # as `prepare` does
    config = PrepareConfig(duplicates=DuplicateConfig(near=arguments.near))
    job = Job.of(arguments.input, [(arguments.tokenizer, Tokenizer.from_pretrained(arguments.tokenizer))], config)
    step, index, tokens = job.step(), DuplicateIndex(config.duplicates), hashlib.sha256()
    items = read_items(job.files, config.read)
    for _ in sys.stdin:
        size, began = 0, time.process_time()
        for item in items:
            kept = step(item).kept
            if kept and not index.seen_exact(kept.key):
                if kept.signature is None or not index.seen_near(kept.signature):
                    index.add(kept.key, kept.signature)
                tokens.update(kept.sequences.ids[0])
            size += len(getattr(item, "data", b""))
            if size >= CHUNK_BYTES:
                break
        print(time.process_time() - began, size, tokens.hexdigest()[:12], flush=True)


class Server:
    """One tree at work in a process of its own, by its own copy of this file: modules move."""

    def __init__(self, tree: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, f"{tree}/benchmarks/compare_corpus.py", *sys.argv[1:], "--serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": tree},
        )

    def next(self) -> tuple[float, int, str]:
        """Seconds and bytes of the next megabyte, and the hash of all tokens up to there."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        seconds, size, tokens = self._process.stdout.readline().split()
        return float(seconds), int(size), tokens


def chunks(servers: list[Server]) -> Iterator[list[tuple[float, int, str]]]:
    """Figures of both for each megabyte; who begins alternates."""
    for number in count():
        order = servers if number % 2 == 0 else servers[::-1]
        figures = {server: server.next() for server in order}
        if figures[servers[0]][1] == 0:
            return
        yield [figures[server] for server in servers]


def main() -> None:
    """Compare."""
    arguments = parse_arguments()
    if arguments.serve:
        serve(arguments)
        return
    rows = list(chunks([Server(tree) for tree in arguments.trees]))
    ratios = sorted(old[0] / new[0] for old, new in rows)
    fifth = len(ratios) // 5
    for side, tree in enumerate(arguments.trees):
        seconds, size = (sum(row[side][place] for row in rows) for place in (0, 1))
        print(f"{tree}: {size / 1e6:.1f} MB in {seconds:.1f} CPU seconds, {size / 1e6 / seconds:.2f} MB/s")
    total = sum(old[0] for old, _ in rows) / sum(new[0] for _, new in rows)
    print(
        f"the second is faster {total:.3f} times in all; by megabyte, median {statistics.median(ratios):.3f} "
        f"({ratios[fifth]:.3f} to {ratios[-1 - fifth]:.3f})"
    )
    print("tokens: " + ("the same" if rows[-1][0][2] == rows[-1][1][2] else "different"))


if __name__ == "__main__":
    main()
