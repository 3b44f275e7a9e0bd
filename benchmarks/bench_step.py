"""The whole training step of recipe total, ours against the loop that one writes with `transformers`.

    python benchmarks/bench_step.py --text sentences --rounds 5 --output results.jsonl
    python benchmarks/bench_step.py --size small                               # to see that it works

Every candidate is a process of its own and takes the same global batches in turn (A B A B ...), one batch a round.
Before anything is timed, the losses of the first two steps are compared: they must be those of the first candidate to
`TOLERANCE`, weights updated in between included. Candidates: the peer (`peer_transformers.py`), the same tuned and
tuned with torch.compile; ours written out ("eager"), with fused losses ("fused"), and also without padding, as it is
("live"); with an int8 teacher; with a cached one, which is bench_cache.py's subject. `--allocator keeping` lets malloc
keep large blocks, for all. Ours makes its batches within the step, without the help of a thread between steps.
"""

import argparse
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import measure
import torch
from contestants import CONTESTANTS, OWN_TOLERANCES, TERMS, WARMUP
from measure import Table, gemm_peak_gflops, options_of, record, spread, timing_of
from part_watch import PARTS
from processes import ALLOCATORS, Asked, running, serve
from workload import add_arguments, size_of

from tinydistil.base.errors import require, run_script

# Relative, of each term after the same number of steps; float32 sums in another order differ by less.
TOLERANCE = 1e-4
TOLERANCE_HALF = 2e-2
Rounds = list[dict[str, float]]


def parse_arguments() -> argparse.Namespace:
    """The command line. `--serve` is how the program calls itself, once for each candidate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    add = parser.add_argument
    add("--candidates", nargs="+", choices=CONTESTANTS, default=["peer", "tuned", "live"], metavar="NAME",
        help=f"of {', '.join(CONTESTANTS)}; the first is what others' losses are compared with")  # fmt: skip
    add("--allocator", choices=ALLOCATORS, default="default", help="glibc's settings in every candidate's process")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add("--precision", choices=("float32", "bfloat16"), default="float32")
    add("--serve", choices=CONTESTANTS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    require(args.rounds >= 1, f"--rounds must be >= 1, got {args.rounds}")
    return args


def main() -> None:
    """Check, measure, print, record."""
    args = parse_arguments()
    if args.serve:
        serve(lambda: CONTESTANTS[args.serve](args).answer)
        return
    torch.set_num_threads(args.threads)
    facts = measure.machine()
    print(f"{facts['processor']}, {args.threads} threads, torch {facts['torch']}, load {facts['load_1min']:.1f}")
    with running(args.candidates, __file__, sys.argv[1:], allocator=args.allocator) as candidates:
        memory = check(candidates, TOLERANCE if args.precision == "float32" else TOLERANCE_HALF)
        rounds, peaks = measured(candidates, args)
    size = size_of(args)
    title = f"A step of recipe total, {size.sequences} {args.text}, teacher {size.teacher}, student {size.student}"
    tables = [whole_steps(title, rounds, peaks, memory), by_part(rounds)]
    print(*(table.text() for table in tables), sep="\n\n")
    timings = {name: timing_of(name, [1e3 * each["seconds"] for each in mine]) for name, mine in rounds.items()}
    options = options_of(args)
    record(args.output, "step", timings, options=options, gemm_peak_gflops=peaks, rounds=rounds, memory=memory,
           tables=[asdict(table) for table in tables])  # fmt: skip


def check(candidates: Sequence[Asked], tolerance: float) -> dict[str, dict[str, float]]:
    """Take the first steps, which are not timed; memory comes from the last. Stops the program where losses differ."""
    for step in range(WARMUP):
        found = {candidate.name: candidate.ask(f"check {step}") for candidate in candidates}
        (first, reference), *others = found.items()
        said = ", ".join(f"{term} {reference[term]:.6f}" for term in TERMS)
        worst = 0.0
        for name, figures in others:
            for term, most in OWN_TOLERANCES.get(name, dict.fromkeys(TERMS, tolerance)).items():
                off = abs(figures[term] / reference[term] - 1)
                if not off <= most:
                    raise SystemExit(
                        f"step {step + 1}: {term} is {figures[term]} by {name!r}, {reference[term]} by {first!r}; "
                        "nothing was timed"
                    )
                worst = max(worst, off)
        print(f"step {step + 1}: {said} by {first}; others differ by {worst:.1e} at most (relative)")
    return found


def measured(candidates: Sequence[Asked], args: argparse.Namespace) -> tuple[dict[str, Rounds], list[float]]:
    """What every candidate says of each round, and the GEMM peak before it, in GFLOP/s."""
    rounds: dict[str, Rounds] = {candidate.name: [] for candidate in candidates}
    on_cuda = torch.cuda.is_available() and args.device != "cpu"
    dtype = torch.bfloat16 if args.precision == "bfloat16" and on_cuda else torch.float32
    peaks = []
    for number in range(args.rounds):
        peaks.append(gemm_peak_gflops(8192 if on_cuda else 1024, 5, device="cuda" if on_cuda else "cpu", dtype=dtype))
        for candidate in candidates:
            rounds[candidate.name].append(candidate.ask(f"step {WARMUP + number}"))
    return rounds, peaks


def whole_steps(
    title: str, rounds: Mapping[str, Rounds], peaks: Sequence[float], memory: Mapping[str, Mapping[str, float]]
) -> Table:
    """Throughput, ratios, memory and utilisation of every candidate."""
    names = list(rounds)
    compared = [name for name in ("peer", best_tuned(rounds)) if name in names]
    header = ("candidate", "real tokens/s", "step, s", *(f"against {name}" for name in compared), "peak, MiB",
              "beyond the models", "MFLOP a token", "of GEMM peak", "teacher encoder, of peak")  # fmt: skip
    rows = []
    for name, mine in rounds.items():
        seconds = [each["seconds"] for each in mine]
        speeds = [each["tokens"] / each["seconds"] for each in mine]
        ratios = [
            spread([other["seconds"] / each["seconds"] for other, each in zip(rounds[rival], mine, strict=True)])
            for rival in compared
        ]
        rows.append((
            name, f"{statistics.median(speeds):.0f}", f"{statistics.median(seconds):.3f}", *ratios,
            f"{memory[name]['peak_mib']:.0f}", f"{memory[name]['peak_mib'] - memory[name]['before_mib']:.0f}",
            f"{statistics.median(each['flops'] / each['tokens'] for each in mine) / 1e6:.0f}",
            share(mine, peaks, "flops", "seconds"),
            share(mine, peaks, "teacher_encoder_flops", "part.teacher encoder"),
        ))  # fmt: skip
    real = statistics.median(each["tokens"] / each["padded_tokens"] for each in next(iter(rounds.values())))
    peak = statistics.median(peaks)
    return Table(f"{title}; {real:.0%} of a padded batch is real; GEMM peak {peak:.0f} GFLOP/s", header, tuple(rows))


def best_tuned(rounds: Mapping[str, Rounds]) -> str:
    """Of the tuned peers the one that is faster here; "" where none takes part."""
    tuned = [name for name in rounds if name.startswith("tuned")]
    return min(tuned, key=lambda name: statistics.median(each["seconds"] for each in rounds[name]), default="")


def share(mine: Rounds, peaks: Sequence[float], work: str, seconds: str) -> str:
    """Needed operations a second over the GEMM peak of the same round; what is computed for padding does not count."""
    values = [
        each[work] / each[seconds] / (peak * 1e9) if each.get(seconds) else 0.0
        for each, peak in zip(mine, peaks, strict=True)
    ]
    return f"{statistics.median(values):.0%}" if any(values) else "none"


def by_part(rounds: Mapping[str, Rounds]) -> Table:
    """Median milliseconds of each part of a step."""
    rows = [
        (name, *(f"{1e3 * statistics.median(each.get(f'part.{part}', 0.0) for each in mine):.1f}" for part in PARTS))
        for name, mine in rounds.items()
    ]
    return Table("The step by part, median ms", ("candidate", *PARTS), tuple(rows))


if __name__ == "__main__":
    run_script(main)
