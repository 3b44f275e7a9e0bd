"""The loss of masked words, fused against written out: time, memory beside the inputs, and error.

    python benchmarks/bench_loss.py --rows 600 4096 --rounds 7 --output results.jsonl
    python benchmarks/bench_loss.py --candidates fused --trees OLD NEW --threads 1 # of two checkouts, the older first
    python benchmarks/bench_loss.py --size small                               # to see that it works

Cross-entropy and KL (temperature 2), forward and backward, from hidden rows (R, D) and (R, E) of student and teacher
and both vocabulary matrices. Before anything is timed, loss and gradients of every candidate are compared with the
eager form in float64 over `CHECKED_ROWS` rows: none may err more than twice what the first does, plus `SLACK`.
Every candidate is a process of its own, asked in turn. The floor beside them is the time of the products alone: the
teacher's logits, and the student's logits and its two gradients. Shapes: R rows, V vocabulary, D and E widths.
"""

import argparse
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import measure
import torch
from measure import Table, options_of, record, spread, synchronize, timing_of
from processes import ALLOCATORS, Asked, peak_mib, running, serve, start_peak
from torch import Tensor
from workload import BERTIMBAU_VOCABULARY, SMALL_VOCABULARY

from tinydistil.base.errors import require, run_script
from tinydistil.base.ranks import device_of
from tinydistil.distill.fused import fused_vocabulary_loss
from tinydistil.distill.losses import IGNORED, VocabularyLoss, vocabulary_loss
from tinydistil.model.bert import Decoding
from tinydistil.model.layers import linear

CHECKED_ROWS = 256
TEMPERATURE = 2.0
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# A loss in 16 bits is one sum, in which the roundings of logits cancel by chance.
SLACK = {"float32": 1e-7, "bfloat16": 1e-3}
PRODUCT_ROWS = 128  # of one product of the floor: what is made fits a shared cache
Loss = Callable[..., VocabularyLoss]


def liger() -> Loss:
    """Liger-Kernel's fused linear distillation loss: pure PyTorch in chunks, so for a CPU too.

    Its divergence is Jensen-Shannon's with beta = 0, which is KL(teacher || student), without the factor T^2; both of
    its terms are means over rows.
    """
    from liger_kernel.chunked_loss import LigerFusedLinearJSDLoss

    mean = LigerFusedLinearJSDLoss(
        weight_hard_loss=1.0, weight_soft_loss=TEMPERATURE**2, beta=0.0, temperature=TEMPERATURE
    )

    def loss(student: Decoding, targets: Tensor, teacher: Decoding, **_: object) -> VocabularyLoss:
        weights = (student.rows, student.weight, teacher.rows, teacher.weight, targets, student.bias, teacher.bias)
        count = (targets != IGNORED).sum()
        return VocabularyLoss(mean(*weights) * count, None, None)

    return loss


# Each form of the loss, made in the process that times it.
FORMS: dict[str, Callable[[], Loss]] = {
    "eager": lambda: vocabulary_loss,
    "eager-compiled": lambda: torch.compile(vocabulary_loss, dynamic=False),
    "fused": lambda: fused_vocabulary_loss,
    "fused-plain": lambda: partial(fused_vocabulary_loss, compiled=False),
    "fused-32": lambda: partial(fused_vocabulary_loss, compiled=True, chunk=32),
    "fused-64": lambda: partial(fused_vocabulary_loss, compiled=True, chunk=64),
    "fused-128": lambda: partial(fused_vocabulary_loss, compiled=True, chunk=128),
    "fused-256": lambda: partial(fused_vocabulary_loss, compiled=True, chunk=256),
    "liger": liger,
}


def parse_arguments() -> argparse.Namespace:
    """The command line. `--serve` is how the program calls itself, once for each candidate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--size", choices=("full", "small"), default="full", help=f"small: V = {SMALL_VOCABULARY}, 64 rows")
    add("--rows", type=int, nargs="+", metavar="R", help="masked rows (full: 600 4096)")
    add("--candidates", nargs="+", choices=FORMS, default=["eager", "fused"], metavar="NAME",
        help=f"of {', '.join(FORMS)}; the first is what others are compared with")  # fmt: skip
    add("--trees", nargs="+", metavar="TREE", help="checkouts, each of whose candidates is one; NAME@0 is the first's")
    add("--precision", choices=PRECISIONS, default="float32", help="bfloat16: by autocast")
    add("--allocator", choices=ALLOCATORS, default="default", help="glibc's settings in every candidate's process")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add("--threads", type=int, default=torch.get_num_threads())
    add("--rounds", type=int, default=7)
    add("--output", type=Path, metavar="FILE", help="append the results to this JSONL file")
    add("--serve", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.rows = args.rows or ([600, 4096] if args.size == "full" else [64])
    require(
        "liger" not in args.candidates or importlib.util.find_spec("liger_kernel") is not None,
        "candidate 'liger' needs the package liger-kernel (pip install --no-deps liger-kernel)",
    )
    for tree in args.trees or ():
        require((Path(tree) / "tinydistil").is_dir(), f"--trees: {tree} is no checkout of the project")
    require(min(args.rows) >= 1 and args.rounds >= 1, "--rows and --rounds must be >= 1")
    return args


class Contestant:
    """One form of the loss on fixed random inputs."""

    def __init__(self, args: argparse.Namespace, loss: Loss) -> None:
        torch.set_num_threads(args.threads)
        self.device, self.loss, self.dtype = device_of(args.device), loss, PRECISIONS[args.precision]
        self.vocabulary = BERTIMBAU_VOCABULARY if args.size == "full" else SMALL_VOCABULARY
        self.widths = (128, 768) if args.size == "full" else (32, 64)

    def answer(self, question: str) -> dict[str, float]:
        """ "error", "memory R", "time R" or "floor R"."""
        if question == "error":
            return self.errors()
        what, rows = question.split()
        student, teacher, targets = self.inputs(int(rows))
        if what == "floor":
            return {"teacher_s": self.products(teacher, 1), "student_s": self.products(student, 3)}
        before_mib = start_peak() if what == "memory" else 0.0
        synchronize()
        began = time.perf_counter()
        self.value(student, teacher, targets, self.loss).backward()  # type: ignore[no-untyped-call]
        synchronize()
        seconds = time.perf_counter() - began
        return {"extra_mib": peak_mib() - before_mib} if what == "memory" else {"seconds": seconds}

    def errors(self) -> dict[str, float]:
        """Relative error, against eager in float64, of the loss and of each gradient by its largest number."""
        student, teacher, targets = self.inputs(CHECKED_ROWS)
        exact_student, exact_teacher = exactly(student), exactly(teacher)
        truth = gradients(self.value(exact_student, exact_teacher, targets, vocabulary_loss), exact_student)
        found = gradients(self.value(student, teacher, targets, self.loss), student)
        names = ("loss", "rows", "weight", "bias")
        return {
            name: float((a.double() - b).abs().max() / b.abs().max())
            for name, a, b in zip(names, found, truth, strict=True)
        }

    def value(self, student: Decoding, teacher: Decoding, targets: Tensor, loss: Loss) -> Tensor:
        """The sum of both terms, scalar."""
        narrow = self.dtype != torch.float32 and student.rows.dtype == torch.float32
        with torch.autocast(self.device.type, self.dtype, enabled=narrow):
            found = loss(student, targets, teacher, hard=1.0, soft=1.0, temperature=TEMPERATURE, divergence="forward")
        return found.total

    def products(self, decoding: Decoding, count: int) -> float:
        """Seconds of the logits' product and, for a count of 3, of both gradients', by the fastest library at hand."""
        rows, weight, bias = (each.detach().to(self.dtype) for each in (decoding.rows, decoding.weight, decoding.bias))
        synchronize()
        began = time.perf_counter()
        with torch.no_grad():
            for part in rows.tensor_split(-(-len(rows) // PRODUCT_ROWS)):
                logits = linear(part, weight, bias)
                if count == 3:
                    linear(logits, weight.T, None)
                    linear(part.T, logits.T, None)
        synchronize()
        return time.perf_counter() - began

    def inputs(self, rows: int) -> tuple[Decoding, Decoding, Tensor]:
        """Rows as LayerNorm leaves them, and logits that spread by 3, as a trained teacher's do."""
        torch.manual_seed(rows)
        student, teacher = (
            Decoding(
                torch.randn(rows, width).to(self.device),
                torch.randn(self.vocabulary, width).mul_(3 * width**-0.5).to(self.device),
                torch.zeros(self.vocabulary, device=self.device),
            )
            for width in self.widths
        )
        for tensor in (student.rows, student.weight, student.bias):
            tensor.requires_grad_()
        return student, teacher, torch.randint(self.vocabulary, (rows,), device=self.device)


def exactly(decoding: Decoding) -> Decoding:
    """The same in float64."""
    made = {
        name: getattr(decoding, name).detach().double().requires_grad_(getattr(decoding, name).requires_grad)
        for name in ("rows", "weight", "bias")
    }
    return replace(decoding, **made)


def gradients(value: Tensor, student: Decoding) -> list[Tensor]:
    """The value and its gradients."""
    found = torch.autograd.grad(value, (student.rows, student.weight, student.bias))
    return [value.detach(), *found]


def main() -> None:
    """Check, measure, print, record."""
    args = parse_arguments()
    if args.serve:
        serve(lambda: Contestant(args, FORMS[args.serve.partition("@")[0]]()).answer)
        return
    facts = measure.machine()
    print(f"{facts['processor']}, {args.threads} threads, torch {facts['torch']}, load {facts['load_1min']:.1f}")
    environments: dict[str, dict[str, str]] = {name: {} for name in args.candidates}
    if args.trees:
        environments = {
            f"{name}@{number}": {"PYTHONPATH": str(Path(tree).resolve())}
            for name in args.candidates
            for number, tree in enumerate(args.trees)
        }
    if "liger" not in args.candidates:
        print("Liger-Kernel: not among the candidates")
    with running(environments, __file__, sys.argv[1:], allocator=args.allocator) as candidates:
        errors = check(candidates, SLACK[args.precision])
        for rows in args.rows:
            compare(candidates, rows, errors, args)


def check(candidates: Sequence[Asked], slack: float = SLACK["float32"]) -> dict[str, dict[str, float]]:
    """Every candidate's errors. Stops the program where one errs more than the first may."""
    found = {candidate.name: candidate.ask("error") for candidate in candidates}
    reference = next(iter(found.values()))
    for name, errors in found.items():
        for what, error in errors.items():
            if not error <= 2 * reference[what] + slack:
                raise SystemExit(f"{what} by {name!r} is off by {error:.1e}; nothing was timed")
    return found


def compare(
    candidates: Sequence[Asked], rows: int, errors: Mapping[str, Mapping[str, float]], args: argparse.Namespace
) -> None:
    """Time one number of rows."""
    rounds: dict[str, list[dict[str, float]]] = {candidate.name: [] for candidate in candidates}
    for candidate in candidates:
        candidate.ask(f"time {rows}")  # compiles
    # The median of five: what malloc keeps of its holes varies by tens of MiB from call to call.
    memory = {
        candidate.name: statistics.median(candidate.ask(f"memory {rows}")["extra_mib"] for _ in range(5))
        for candidate in candidates
    }
    for candidate in candidates:
        candidate.ask(f"time {rows}")  # warms up again what measuring memory gave back
    floors = []
    for _ in range(args.rounds):
        for candidate in candidates:
            rounds[candidate.name].append(candidate.ask(f"time {rows}"))
        floors.append(candidates[-1].ask(f"floor {rows}"))
    first = candidates[0].name
    lines = []
    for name, mine in rounds.items():
        faster = [a["seconds"] / b["seconds"] for a, b in zip(rounds[first], mine, strict=True)]
        lines.append((
            name, f"{1e3 * statistics.median(each['seconds'] for each in mine):.0f}", spread(faster),
            f"{memory[name]:.0f}",
            f"1/{memory[first] / max(memory[name], 1.0):.1f}", f"{errors[name]['loss']:.1e}",
            f"{max(errors[name][what] for what in ('rows', 'weight', 'bias')):.1e}",
        ))  # fmt: skip
    vocabulary = BERTIMBAU_VOCABULARY if args.size == "full" else SMALL_VOCABULARY
    header = ("form", "ms", f"{first} takes", "extra MiB", f"of {first}'s", "error of loss", "of gradients")
    teacher_ms, student_ms = (
        1e3 * statistics.median(each[name] for each in floors) for name in ("teacher_s", "student_s")
    )
    title = (
        f"Loss of {rows} masked rows, V = {vocabulary:,}, {args.precision}, {args.threads} threads; errors against "
        f"float64; products alone: the teacher's {teacher_ms:.0f} ms, the student's {student_ms:.0f} ms"
    )
    table = Table(title, header, tuple(lines))
    print("", table.text(), sep="\n")
    timings = {name: timing_of(name, [1e3 * each["seconds"] for each in mine]) for name, mine in rounds.items()}
    options = options_of(args)
    record(args.output, "loss", timings, rows=rows, options=options, errors=errors, floors=floors,
           extra_mib=memory,
           tables=[asdict(table)])  # fmt: skip


if __name__ == "__main__":
    run_script(main)
