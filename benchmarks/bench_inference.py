"""Vectors of real sentences: ours, grouped by length, against `transformers` with batches as they come; and latency.

    python benchmarks/bench_inference.py --sentences 10000 --rounds 5 --output results.jsonl
    python benchmarks/bench_inference.py --size small                          # to see that it works

All tokenize, run the encoder and average its last hidden states over real tokens, 32 sentences at a time. A round is
a part of the sentences, one candidate after the other. That all give the same vectors is checked first. Latency is that
of one sentence at a time from text to vector. `--int8` adds the linear layers in int8. Shapes: N sentences, D width.
"""

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

import measure
import numpy as np
import torch
import transformers
from measure import Table, gemm_peak_gflops, options_of, record, spread, timing_of
from numpy.typing import NDArray
from peer_transformers import twin
from workload import MOST_TOKENS, SIZES, add_arguments, config_of, sentences_of, tokenizer_of

from tinydistil.base.errors import require, run_script
from tinydistil.evaluate.inference import embed
from tinydistil.model.bert import BertForMaskedLM, BertModel
from tinydistil.model.config import BertConfig
from tinydistil.model.quantised import quantise
from tinydistil.tokenizer.tokenizer import Tokenizer

BATCH = 32
TOLERANCE = 2e-5
LATENCY_SENTENCES = 20
REFERENCE, INT8 = "transformers", "ours, int8"
INT8_OFF = 0.01  # of the mean cosine
Embed = Callable[[Sequence[str]], NDArray[np.float32]]


def main() -> None:
    """Check, measure, print, record: the teacher's shape, then the student's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--sentences", type=int, metavar="N", help="in all (full: 10,000)")
    parser.add_argument("--int8", action="store_true", help="also with the linear layers in int8, on a CPU")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    count = args.sentences or (10_000 if args.size == "full" else 64)
    require(count >= args.rounds >= 1, f"--sentences must be >= --rounds >= 1, got {count} and {args.rounds}")
    sentences, tokenizer = sentences_of(args, count), tokenizer_of(args)
    facts, peak = measure.machine(), gemm_peak_gflops()
    print(f"{facts['processor']}, {args.threads} threads, torch {facts['torch']}, load {facts['load_1min']:.1f}")
    size = SIZES[args.size]
    for shape in (args.teacher_shape or size.teacher, args.student_shape or size.student):
        config = config_of(shape, size.vocab_size, tokenizer)
        compare(shape, config, tokenizer, sentences, peak, args)


def compare(
    shape: str,
    config: BertConfig,
    tokenizer: Tokenizer,
    sentences: Sequence[str],
    peak: float,
    args: argparse.Namespace,
) -> None:
    """Check, time, print and record one shape."""
    candidates = embedders(config, tokenizer, sentences[:BATCH] if args.int8 else ())
    check(candidates, sentences[:BATCH])
    parts = [part.tolist() for part in np.array_split(np.array(sentences, dtype=object), args.rounds)]
    bulk = in_turn(candidates, parts)
    latency = in_turn(candidates, [[text] for text in sentences[:LATENCY_SENTENCES]])
    lengths = [len(each.ids) for each in tokenizer.encode_all(sentences, max_length=MOST_TOKENS)]
    flops = sum(
        measure.encoder_flops(n, n, config.num_hidden_layers, config.hidden_size, config.intermediate_size)
        for n in lengths
    )
    rows = []
    for name, mine in bulk.items():
        seconds = sum(mine)
        rows.append((
            name, f"{len(sentences) / seconds:.0f}", f"{sum(lengths) / seconds:.0f}", against(bulk, name),
            f"{flops / seconds / (peak * 1e9):.0%}", f"{1e3 * statistics.median(latency[name]):.2f}",
            against(latency, name),
        ))  # fmt: skip
    header = ("candidate", "sentences/s", "real tokens/s", f"{REFERENCE} takes", "of GEMM peak",
              "one sentence, ms", f"{REFERENCE} takes")  # fmt: skip
    title = (
        f"Vectors of {len(sentences):,} sentences by {shape}; {np.mean(lengths):.0f} tokens each, GEMM peak {peak:.0f}"
    )
    table = Table(f"{title} GFLOP/s", header, tuple(rows))
    print("", table.text(), sep="\n")
    options = options_of(args)
    timings = {name: timing_of(name, [1e3 * each for each in mine]) for name, mine in bulk.items()}
    record(args.output, "inference", timings, shape=shape, options=options, latency_s=latency,
           gemm_peak_gflops=peak, tables=[asdict(table)])  # fmt: skip


def embedders(config: BertConfig, tokenizer: Tokenizer, int8_sample: Sequence[str] = ()) -> dict[str, Embed]:
    """The candidates, all with the same random weights; int8 where there is a sample of text to calibrate it by."""
    torch.manual_seed(0)
    model = BertForMaskedLM(config, attention="packed").eval()
    found = {REFERENCE: reference(model, tokenizer), "ours": ours(model.bert, tokenizer)}
    if int8_sample:
        rough = copy.deepcopy(model.bert)
        batch = tokenizer.encode_batch(int8_sample, max_length=MOST_TOKENS)
        quantise(rough, [(batch.input_ids, batch.attention_mask)])
        found[INT8] = ours(rough, tokenizer)
    return found


def ours(model: BertModel, tokenizer: Tokenizer) -> Embed:
    """As `scripts/predict.py embed` does it."""

    def run(texts: Sequence[str]) -> NDArray[np.float32]:
        found = embed(model, tokenizer, texts, batch_size=BATCH, max_length=MOST_TOKENS, truncate=True)
        return np.stack([each.vector for each in found])

    return run


def reference(model: BertForMaskedLM, tokenizer: Tokenizer) -> Embed:
    """As its model cards show it."""
    encoder = twin(model).bert.eval()
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        encode = transformers.AutoTokenizer.from_pretrained(folder)

    @torch.inference_mode()
    def run(texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = []
        for start in range(0, len(texts), BATCH):
            inputs = encode(
                list(texts[start : start + BATCH]), padding=True, truncation=True, max_length=MOST_TOKENS,
                return_tensors="pt",
            )  # fmt: skip
            hidden = encoder(**inputs).last_hidden_state
            mask = inputs["attention_mask"].unsqueeze(-1)
            vectors.append(((hidden * mask).sum(1) / mask.sum(1)).numpy())
        return np.concatenate(vectors)

    return run


def check(candidates: Mapping[str, Embed], texts: Sequence[str]) -> None:
    """Stop the program unless all give the same vectors."""
    truth = candidates[REFERENCE](texts)
    for name, run in candidates.items():
        worst = float(np.abs(run(texts) - truth).max())
        if name == INT8:
            off = [
                1 - np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(run(texts), truth, strict=True)
            ]
            print(f"{INT8}: mean cosine with {REFERENCE}'s vectors {1 - np.mean(off):.4f} (random weights)")
            worst = 0.0 if np.mean(off) <= INT8_OFF else worst
        if not worst <= TOLERANCE:
            raise SystemExit(f"vectors by {name!r} differ from {REFERENCE}'s by {worst:.1e}; nothing was timed")


def in_turn(candidates: Mapping[str, Embed], parts: Sequence[Sequence[str]]) -> dict[str, list[float]]:
    """Seconds of each candidate for each part."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for part in parts:
        for name, run in candidates.items():
            began = time.perf_counter()
            run(part)
            seconds[name].append(time.perf_counter() - began)
    return seconds


def against(seconds: Mapping[str, Sequence[float]], name: str) -> str:
    """How many times as long the reference takes."""
    return spread([a / b for a, b in zip(seconds[REFERENCE], seconds[name], strict=True)])


if __name__ == "__main__":
    run_script(main)
