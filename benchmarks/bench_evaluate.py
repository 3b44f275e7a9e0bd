"""Memory and speed of masked LM evaluation, for vocabularies far apart: the peak must not grow with V or with tokens.

    python benchmarks/bench_evaluate.py --tokens 1000000 --output results.jsonl

The model has bert-tiny's shape and random weights, the tokens are drawn at random, since neither changes what is held.
A quarter of the tokens is measured first: what the second column has over it would grow with the tokens. Linux only.
Shapes: V vocabulary.
"""

import argparse
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from measure import Table, machine, options_of, record
from processes import peak_mib, start_peak

from tinydistil.evaluate.masked_lm import LOGITS_AT_ONCE, masked_lm_scores
from tinydistil.model.bert import BertForMaskedLM
from tinydistil.model.config import new_shape
from tinydistil.tokenizer.tokenizer import Tokenizer

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LENGTH = 126  # and two special tokens


def main() -> None:
    """Measure each vocabulary in turn and print one table."""
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    header = ("V", "model MiB", f"peak MiB, {args.tokens // 4:,} tokens", f"{args.tokens:,} tokens", "tokens/s")
    rows = tuple(row_of(vocab_size, args.tokens, args.sequences) for vocab_size in args.vocabularies)
    chunk = f"{LOGITS_AT_ONCE * 4 >> 20} MiB of logits at a time"
    table = Table(
        f"masked LM evaluation: memory of the process; {args.sequences} sequences a batch, {chunk}", header, rows
    )
    print(f"{table.text()}\n{machine()}")
    record(args.output, "evaluate", {}, options=options_of(args), tables=[asdict(table)])


def row_of(vocab_size: int, tokens: int, batch_size: int) -> tuple[str, ...]:
    """V, the model's size, the peaks of the whole process, and tokens per second."""
    tokenizer = tokenizer_of_size(vocab_size)
    model = BertForMaskedLM(new_shape(2, 128, vocab_size), attention="packed").eval()
    draws = np.random.default_rng(0).integers(len(SPECIAL), vocab_size, (max(1, tokens // LENGTH), LENGTH))
    sequences = list(draws.astype(np.uint32))
    masked_lm_scores(model, tokenizer, sequences[:batch_size], batch_size=batch_size)  # libraries take their buffers
    peaks = []
    for part in (sequences[: max(1, len(sequences) // 4)], sequences):
        start_peak()
        started = time.perf_counter()
        masked_lm_scores(model, tokenizer, part, batch_size=batch_size)
        seconds = time.perf_counter() - started
        peaks.append(peak_mib())
    size = sum(parameter.numel() for parameter in model.parameters()) * 4 / 2**20
    rate = len(sequences) * LENGTH / seconds
    return f"{vocab_size:,}", f"{size:.0f}", *(f"{peak:.0f}" for peak in peaks), f"{rate:,.0f}"


def tokenizer_of_size(vocab_size: int) -> Tokenizer:
    """A tokenizer of made-up words: only its ids are used."""
    with tempfile.TemporaryDirectory() as folder:
        words = [*SPECIAL, *(f"p{number}" for number in range(vocab_size - len(SPECIAL)))]
        (Path(folder) / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
        return Tokenizer.from_pretrained(folder)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--vocabularies", type=int, nargs="+", default=[2000, 29794, 119547], metavar="V")
    parser.add_argument("--sequences", type=int, default=32, help="per batch (default 32)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path, metavar="FILE", help="append the results to this JSONL file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
