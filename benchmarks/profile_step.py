"""One training step of ours under torch.profiler: a table by operator, and a trace for a browser.

    python benchmarks/profile_step.py --candidate live --trace trace.json
    python benchmarks/profile_step.py --size small

Open the trace at https://ui.perfetto.dev or chrome://tracing. On CUDA look for gaps between kernels: there the device
waits for the host. Operators are sorted by their own time, without those that they call.
"""

import argparse
from pathlib import Path

import torch
from contestants import CONTESTANTS, WARMUP
from torch.profiler import ProfilerActivity, profile, record_function
from workload import add_arguments

from tinydistil.base.errors import run_script


def main() -> None:
    """Warm up, profile one step, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, rounds=1)
    parser.add_argument("--candidate", choices=CONTESTANTS, default="live")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--trace", type=Path, metavar="FILE", help="write the trace there (chrome JSON)")
    parser.add_argument("--operators", type=int, default=20, help="lines of the table")
    args = parser.parse_args()
    contestant = CONTESTANTS[args.candidate](args)
    for step in range(WARMUP):
        contestant.answer(f"check {step}")
    on_cuda = contestant.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_cuda else [])]
    with profile(activities=activities, record_shapes=True) as profiled, record_function("step"):
        figures = contestant.answer(f"step {WARMUP}")
    order = "self_cuda_time_total" if on_cuda else "self_cpu_time_total"
    print(profiled.key_averages().table(sort_by=order, row_limit=args.operators, max_name_column_width=48))
    print(
        f"{figures['tokens'] / figures['seconds']:.0f} real tokens/s while profiled, {torch.get_num_threads()} threads"
    )
    if args.trace:
        profiled.export_chrome_trace(str(args.trace))
        print(f"trace: {args.trace}")


if __name__ == "__main__":
    run_script(main)
