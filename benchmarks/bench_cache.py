"""A step with the teacher's answers read from a cache, against the live teacher and the tuned peer; and what is lost.

    python benchmarks/bench_cache.py --text sentences --rounds 5 --output results.jsonl
    python benchmarks/bench_cache.py --teacher DIR --output results.jsonl      # also: what truncation loses
    python benchmarks/bench_cache.py --size small                              # to see that it works

Steps are measured as in bench_step.py, losses first. Kinds of cache: "rows" keeps the teacher's row at each masked
token, from which the whole distribution is computed anew, "top" its likeliest words and a draw of the rest; both keep
the hidden states that recipe total compares at every token, 768 numbers of 16 bits, or with "-pca" 128 of them, with
"-int8" in 8 bits; "packed" keeps what a cache does by default, with 128 of them: 4 bits and half as many draws. What
truncation would lose without the draw is KL(live || kept), in nats at the recipe's temperature, where the mass of the
words that were not kept is spread evenly over them; only real weights can tell it, so it needs --teacher. Shapes: R
masked tokens, V vocabulary, K words kept.
"""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import measure
import torch
from bench_step import TOLERANCE, Rounds, by_part, check, measured, whole_steps
from contestants import CONTESTANTS
from measure import Table, options_of, record, timing_of
from processes import ALLOCATORS, running, serve
from torch import Tensor
from workload import add_arguments, batch_at, batches_of, size_of

from tinydistil.base.errors import require, run_script
from tinydistil.model.bert import BertForMaskedLM
from tinydistil.tokenizer.tokenizer import Tokenizer

CANDIDATES = ("tuned", "live", "cached-rows", "cached-top", "cached-rows-pca", "cached-top-pca",
              "cached-rows-pca-int8", "cached-packed")  # fmt: skip
KEPT = (8, 16, 32, 64, 128)
TEMPERATURE = 2.0


def parse_arguments() -> argparse.Namespace:
    """The command line. `--serve` is how the program calls itself, once for each candidate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    add = parser.add_argument
    add("--candidates", nargs="+", choices=CONTESTANTS, default=CANDIDATES, metavar="NAME",
        help=f"of {', '.join(CONTESTANTS)}; the first is what others' losses are compared with")  # fmt: skip
    add("--teacher", type=Path, metavar="DIR", help="a masked language model with real weights")
    add("--allocator", choices=ALLOCATORS, default="default", help="glibc's settings in every candidate's process")
    add("--serve", choices=CONTESTANTS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.device, args.precision = "cpu", "float32"
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
        memory = check(candidates, TOLERANCE)
        rounds, peaks = measured(candidates, args)
    size = size_of(args)
    title = f"Cached teacher, {size.sequences} {args.text}, teacher {size.teacher}, student {size.student}"
    tables = [whole_steps(title, rounds, peaks, memory), by_part(rounds), kept(rounds)]
    if args.teacher is None:
        print("what truncation loses: not measured, it needs --teacher")
    else:
        tables.append(truncation(args))
    print(*(table.text() for table in tables), sep="\n\n")
    timings = {name: timing_of(name, [1e3 * each["seconds"] for each in mine]) for name, mine in rounds.items()}
    options = options_of(args)
    record(args.output, "cache", timings, options=options, gemm_peak_gflops=peaks, rounds=rounds, memory=memory,
           tables=[asdict(table) for table in tables])  # fmt: skip


def kept(rounds: Mapping[str, Rounds]) -> Table:
    """Bytes a real token of each cache, for one epoch of masks, indices of its files included."""
    rows = [
        (name, f"{mine[0]['cache_bytes_a_token']:.0f}")
        for name, mine in rounds.items()
        if "cache_bytes_a_token" in mine[0]
    ]
    return Table("What a cache keeps", ("cache", "bytes a token"), tuple(rows))


@torch.no_grad()
def truncation(args: argparse.Namespace) -> Table:
    """KL(live || kept) at the masked tokens of the same batches, by the teacher in `args.teacher`."""
    tokenizer = Tokenizer.from_pretrained(args.teacher)
    teacher = BertForMaskedLM.from_pretrained(args.teacher, heads="require", attention="packed").eval()
    batches = batches_of(args, tokenizer, args.rounds)
    sums, masses, rows = dict.fromkeys(KEPT, 0.0), dict.fromkeys(KEPT, 0.0), 0
    for cursor in range(args.rounds):
        batch = batch_at(batches, cursor)
        hidden = teacher(batch.input_ids, batch.attention_mask).last_hidden
        log_p = (teacher.decoding_at(hidden, batch.rows).logits() / TEMPERATURE).log_softmax(-1)  # (R, V)
        for count in KEPT:
            log_rest, divergence = lost(log_p, count)
            sums[count] += float(divergence.sum())
            masses[count] += float(log_rest.exp().sum())
        rows += len(log_p)
    lines = [(f"{count}", f"{masses[count] / rows:.3f}", f"{sums[count] / rows:.4f}") for count in KEPT]
    title = f"What truncation alone loses; {rows:,} masked tokens of {args.text}, T = {TEMPERATURE:g}"
    return Table(title, ("words kept", "mass not kept", "KL(live, kept), nats"), tuple(lines))


def lost(log_p: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Of log-probabilities (R, V) the logarithm of what `count` words leave (R,), and KL(live || kept) (R,)."""
    best = log_p.topk(count)
    log_rest = log_p.scatter(1, best.indices, float("-inf")).logsumexp(-1)
    even = log_rest - torch.log(torch.tensor(float(log_p.shape[1] - count)))
    log_q = even.unsqueeze(1).repeat(1, log_p.shape[1]).scatter(1, best.indices, best.values)
    return log_rest, (log_p.exp() * (log_p - log_q)).sum(-1)


if __name__ == "__main__":
    run_script(main)
