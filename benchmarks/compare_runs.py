"""A script of two checkouts by turns of 20 steps: the ratio of their CPU seconds.

    OMP_NUM_THREADS=1 taskset -c 1 python benchmarks/compare_runs.py --trees OLD NEW --script finetune -- \\
        --model encoder/ --task classify --train train.csv --set epochs=30
    OMP_NUM_THREADS=1 taskset -c 1 python benchmarks/compare_runs.py --trees OLD NEW --script distill -- \\
        --recipe total --teacher bertimbau/ --student 2x128 --shards shards/ --steps 400

What follows `--` is for the script, and must last for two turns more than are asked for; {tree} in it is the number of
the checkout, 0 or 1, for what cannot be shared. Both runs begin together; then one rests, by a signal, while the other
goes on, so that on a busy machine both see the same neighbours. The first two turns, which hold the start of the
program, do not count.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LINES = 2  # of metrics.jsonl per turn: it has one every 10 steps


class Run:
    """A run of one tree that trains only in its turns."""

    def __init__(self, tree: str, script: str, options: list[str], output: Path) -> None:
        command = [sys.executable, f"{tree}/scripts/{script}.py", *options, "--output", str(output)]
        self._process = subprocess.Popen(
            command, env=os.environ | {"PYTHONPATH": tree}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._metrics, self._lines = output / "metrics.jsonl", 0
        self._process.send_signal(signal.SIGSTOP)

    def turn(self) -> float:
        """CPU seconds of the next turn."""
        before, self._lines = self._cpu_s(), self._lines + LINES
        self._process.send_signal(signal.SIGCONT)
        while not self._metrics.exists() or self._metrics.read_bytes().count(b"\n") < self._lines:
            if self._process.poll() is not None:
                raise SystemExit(f"{self._process.args} ended early; give it a longer run, and options that it takes")
            time.sleep(0.002)
        self._process.send_signal(signal.SIGSTOP)
        return self._cpu_s() - before

    def end(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait()

    def _cpu_s(self) -> float:
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trees", nargs=2, required=True, metavar="TREE", help="two checkouts, the older first")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--script", choices=["finetune", "distill"], default="distill")
    parser.add_argument("options", nargs="+", metavar="OPTION", help="of the script, without --output")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        turns = arguments.turns + 2
        runs = [
            Run(
                tree,
                arguments.script,
                [each.replace("{tree}", str(i)) for each in arguments.options],
                Path(folder) / str(i),
            )
            for i, tree in enumerate(arguments.trees)
        ]
        try:
            rows = []
            for number in range(turns):
                seconds = {run: run.turn() for run in (runs if number % 2 == 0 else runs[::-1])}
                rows.append([seconds[run] for run in runs])
        finally:
            for run in runs:
                run.end()
    rows = rows[2:]
    for tree, each in zip(arguments.trees, zip(*rows, strict=True), strict=True):
        print(f"{tree}: {statistics.median(each):.2f} CPU seconds per turn ({min(each):.2f} to {max(each):.2f})")
    ratios = [new / old for old, new in rows]
    print(f"new / old: median {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    main()
