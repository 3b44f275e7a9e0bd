"""Our encoder beside that of `transformers`: forward, forward + backward, and one sentence's latency.

    python benchmarks/bench_encoder.py [--threads 2] [--rounds 9] [--output results.jsonl]

Both hold the same random weights, are set to PyTorch's fused attention (which neither uses where dropout is on and
the device a CPU), and are checked to agree before they are timed.
The targets: base forward at 8 x 128 >= 1.0x, tiny forward and forward + backward at 32 x 128 >= 1.2x, one
sentence of 16 tokens through tiny >= 1.5x. Padded: lengths spread evenly from 16 to 128. `backward` rows run in
training mode (dropout 0.1) and again with dropout off, since on a CPU drawing the dropout masks costs much.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import measure
import torch
import transformers
from measure import encoder_flops, gemm_peak_gflops, interleave, ratio, record
from torch import Tensor, nn

from tinydistil.model.bert import BertModel
from tinydistil.model.config import BertConfig, new_shape


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--output", type=Path, help="append results to this JSONL file")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    peak = gemm_peak_gflops()
    facts = measure.machine()
    print(f"{facts['processor']}, {args.threads} threads, torch {facts['torch']}, load {facts['load_1min']:.1f}")
    print(f"transformers {transformers.__version__}; float32 GEMM peak {peak:.0f} GFLOP/s")
    print(f"{'case':<34} {'ours, ms':>22} {'theirs, ms':>22} {'ours faster by':>24} {'tokens/s':>9} {'of peak':>8}")
    for name, shape, mode in [
        ("bert-base", (8, 128), "forward"),
        ("bert-tiny", (32, 128), "forward"),
        ("bert-tiny", (32, 128), "forward padded"),
        ("bert-tiny", (32, 128), "backward"),
        ("bert-tiny", (32, 128), "backward padded"),
        ("bert-tiny", (32, 128), "backward no dropout"),
        ("bert-tiny", (1, 16), "latency"),
        ("bert-base", (1, 16), "latency"),
    ]:
        compare(name, shape, mode, args.rounds, peak, args.output)


def compare(name: str, shape: tuple[int, int], mode: str, rounds: int, peak: float, output: Path | None) -> None:
    """Check that both agree on one case, time them, and print a line."""
    torch.manual_seed(0)
    config = new_shape(*((12, 768, 30522) if name == "bert-base" else (2, 128, 30522)))
    if mode == "backward no dropout":
        config = config.replace(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    ours = BertModel(config).eval()
    theirs = reference(ours, config)
    input_ids = torch.randint(1, config.vocab_size, shape)
    attention_mask = torch.ones_like(input_ids)
    if "padded" in mode:
        lengths = torch.linspace(16, shape[1], shape[0]).long()
        attention_mask = (torch.arange(shape[1]) < lengths[:, None]).long()
    check(ours, theirs, input_ids, attention_mask)
    backward = mode.startswith("backward")
    candidates = {
        "ours": step(ours, lambda: ours(input_ids, attention_mask).last_hidden, backward),
        "theirs": step(theirs, lambda: theirs(input_ids, attention_mask).last_hidden_state, backward),
    }
    calls = 1 if name == "bert-base" else 50 if mode == "latency" else 2
    timings = interleave(candidates, rounds=rounds, calls=calls, warmup=3)
    flops = encoder_flops(
        input_ids.numel(), shape[1], config.num_hidden_layers, config.hidden_size, config.intermediate_size
    )
    rate = flops * (3 if backward else 1) / (timings["ours"].median_ms * 1e6)  # backward costs twice the forward
    case = f"{name} {shape[0]}x{shape[1]} {mode}"
    columns = [f"{t.median_ms:.2f} ({t.p20_ms:.2f}-{t.p80_ms:.2f})" for t in timings.values()]
    tokens = float(attention_mask.sum()) / timings["ours"].median_ms * 1e3
    faster = ratio(timings, "theirs", "ours")
    print(f"{case:<34} {columns[0]:>22} {columns[1]:>22} {faster:>24} {tokens:>9.0f} {rate / peak:>8.0%}")
    record(output, "encoder", timings, case=case, faster=faster, gemm_peak_gflops=peak, peak_share=rate / peak)


def step(model: nn.Module, forward: Callable[[], Tensor], backward: bool) -> Callable[[], object]:
    """One forward pass without gradients, or one with them and the backward pass."""
    if not backward:
        return torch.inference_mode()(forward)

    def forward_backward() -> None:
        forward().square().mean().backward()
        model.zero_grad(set_to_none=True)

    model.train()
    return forward_backward


def reference(ours: BertModel, config: BertConfig) -> transformers.BertModel:
    """The same model in transformers, with the same weights."""
    shape = {
        field: getattr(config, field)
        for field in ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
                      "hidden_dropout_prob", "attention_probs_dropout_prob")
    }  # fmt: skip
    theirs = transformers.BertModel(transformers.BertConfig(**shape), add_pooling_layer=True).eval()
    theirs.load_state_dict(ours.file_weights())
    return theirs


@torch.inference_mode()
def check(ours: BertModel, theirs: transformers.BertModel, input_ids: Tensor, attention_mask: Tensor) -> None:
    """Raise unless the two agree to 2e-5 at every real token."""
    difference = ours(input_ids, attention_mask).last_hidden - theirs(input_ids, attention_mask).last_hidden_state
    worst = float((difference * attention_mask[..., None]).abs().max())
    if worst > 2e-5:
        raise SystemExit(f"the encoders differ by {worst}; nothing was timed")


if __name__ == "__main__":
    main()
