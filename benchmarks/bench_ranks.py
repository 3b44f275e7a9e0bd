"""Two processes that train together against one, with the same threads in all; and what that says of eight devices.

    python benchmarks/bench_ranks.py --threads 2 --rounds 5 --output results.jsonl
    python benchmarks/bench_ranks.py --size small                              # to see that it works

Both take the same global batches of recipe total in turn; two processes each see half of one, and exchange gradients
over gloo. That their losses are those of one process, updates included, is checked before anything is timed.
`--threads` is what one process has and two share. The last table is arithmetic, not measured: see `eight_devices`.
"""

import argparse
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict

import measure
import torch.distributed as dist
from bench_step import Rounds, by_part, check
from contestants import WARMUP, Ours
from measure import Table, options_of, record, spread, timing_of
from processes import Candidate, serve
from workload import add_arguments, models_of, size_of, tokenizer_of

from tinydistil.base.errors import require, run_script
from tinydistil.base.ranks import joined

ONE, TWO = "one process", "two processes"
TOLERANCE = 1e-4
DEVICES = 8
# Bytes a second that one device sends while it receives as much: H100's NVLink, PCIe 5 x16, 10 Gbit Ethernet.
LINKS = {"NVLink, 450 GB/s": 450e9, "PCIe 5, 50 GB/s": 50e9, "Ethernet, 1.25 GB/s": 1.25e9}


class Together:
    """The processes of one run, asked together; rank 0 answers for all."""

    def __init__(self, name: str, members: Sequence[Candidate]) -> None:
        self.name, self._members = name, members

    def ask(self, question: str) -> dict[str, float]:
        """Ask every rank, wait for every rank."""
        for member in self._members:
            member.send(question)
        first, *_ = [member.answer() for member in self._members]
        return first


@contextmanager
def together(name: str, world_size: int, threads: int) -> Iterator[Together]:
    """`world_size` ranks of this script with `threads` threads each, on a port that the system chose."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # type: ignore[attr-defined]
    shared = {"WORLD_SIZE": world_size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": store.port,
              "TORCHELASTIC_USE_AGENT_STORE": True, "OMP_NUM_THREADS": threads}  # fmt: skip
    members: list[Candidate] = []
    try:
        for rank in range(world_size):
            environment = {key: str(value) for key, value in {**shared, "RANK": rank, "LOCAL_RANK": rank}.items()}
            arguments = [*sys.argv[1:], "--threads", str(threads), "--serve"]
            members.append(Candidate(f"{name}, rank {rank}", __file__, arguments, environment))
        group = Together(name, members)
        group.ask("ready")
        yield group
    finally:
        for member in members:
            member.end()


def main() -> None:
    """Check, measure, print, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    # Gloo between processors of one machine; several devices would need as many GPUs.
    args.device, args.precision = "cpu", "float32"
    if args.serve:
        with joined(args.device) as ranks:
            serve(lambda: Ours(args, ranks=ranks).answer)
        return
    require(args.threads >= 2, f"--threads must be >= 2, for two processes to share, got {args.threads}")
    facts = measure.machine()
    print(f"{facts['processor']}, {args.threads} threads in all, torch {facts['torch']}, load {facts['load_1min']:.1f}")
    rounds: dict[str, Rounds] = {ONE: [], TWO: []}
    with together(ONE, 1, args.threads) as one, together(TWO, 2, args.threads // 2) as two:
        check([one, two], TOLERANCE)
        for number in range(args.rounds):
            for group in (one, two):
                rounds[group.name].append(group.ask(f"step {WARMUP + number}"))
    _, learner = models_of(args, tokenizer_of(args))
    gradient_bytes = sum(each.numel() * each.element_size() for each in learner.parameters() if each.requires_grad)
    size = size_of(args)
    title = f"Ranks, {size.sequences} {args.text}, teacher {size.teacher}, {args.threads} threads in all"
    step_s = statistics.median(each["seconds"] for each in rounds[ONE])
    tables = [whole(title, rounds, gradient_bytes), by_part(rounds), eight_devices(step_s, gradient_bytes)]
    print(*(table.text() for table in tables), sep="\n\n")
    timings = {name: timing_of(name, [1e3 * each["seconds"] for each in mine]) for name, mine in rounds.items()}
    options = options_of(args)
    record(args.output, "ranks", timings, options=options, gradient_bytes=gradient_bytes, rounds=rounds,
           tables=[asdict(table) for table in tables])  # fmt: skip


def whole(title: str, rounds: Mapping[str, Rounds], gradient_bytes: int) -> Table:
    """Throughput, and what travels: with N ranks each sends 2 (N - 1) / N of the gradient in a ring."""
    rows = []
    for name, mine in rounds.items():
        speed = statistics.median(each["tokens"] / each["seconds"] for each in mine)
        faster = [a["seconds"] / b["seconds"] for a, b in zip(rounds[ONE], mine, strict=True)]
        sent = 0 if name == ONE else gradient_bytes
        rows.append((name, f"{speed:.0f}", spread(faster), f"{sent / 1e6:.2f}"))
    header = ("ranks", "real tokens/s", "against one process", "MB sent a rank and step")
    return Table(f"{title}; gradient of {gradient_bytes / 1e6:.2f} MB", header, tuple(rows))


def eight_devices(step_s: float, gradient_bytes: int) -> Table:
    """A step on 8 devices, by arithmetic: one process's step of the same global batch in 8 parts, then the ring.

    Nothing of the ring is hidden behind the backward pass: the tied embedding is most of a small student's gradient
    and is complete only at its end. Devices as fast as this machine's threads are supposed, whatever they are; a
    device k times as fast divides the first column by k and leaves the second.
    """
    sent = 2 * (DEVICES - 1) / DEVICES * gradient_bytes
    rows = []
    for name, bytes_per_second in LINKS.items():
        compute_s, travel_s = step_s / DEVICES, sent / bytes_per_second
        efficiency = compute_s / (compute_s + travel_s)
        # where travelling takes a tenth of the step
        limit = step_s / (9 * travel_s * DEVICES)
        rows.append((name, f"{1e3 * compute_s:.1f}", f"{1e3 * travel_s:.2f}", f"{efficiency:.1%}", f"{limit:.0f}x"))
    header = ("link", "compute, ms", "exchange, ms", "efficiency", "90 % up to devices faster by")
    return Table(f"{DEVICES} devices, computed from the step above", header, tuple(rows))


if __name__ == "__main__":
    run_script(main, ranks=True)
