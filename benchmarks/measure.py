"""How every benchmark here measures: interleaved rounds, medians and spread, and the machine beside the figures.

Machines are shared and noisy, so what is compared runs in turn (A B A B ...) in one process, after a warm-up, and
is reported as the median of the rounds' ratios, with their 20th and 80th percentile.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tinydistil.base.console import markdown_table, text_table


@dataclass(frozen=True)
class Timing:
    """Times of one candidate over the rounds, in milliseconds per call."""

    name: str
    p20_ms: float
    median_ms: float
    p80_ms: float
    rounds_ms: tuple[float, ...]


def interleave(
    candidates: Mapping[str, Callable[[], object]], *, rounds: int = 7, calls: int = 1, warmup: int = 2
) -> dict[str, Timing]:
    """Time each candidate `rounds` times, in turn; a round is the mean of `calls` calls."""
    for call in candidates.values():
        for _ in range(warmup):
            call()
    elapsed: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, call in candidates.items():
            synchronize()
            start = time.perf_counter()
            for _ in range(calls):
                call()
            synchronize()
            elapsed[name].append(1e3 * (time.perf_counter() - start) / calls)
    return {name: timing_of(name, times) for name, times in elapsed.items()}


def timing_of(name: str, times_ms: Sequence[float]) -> Timing:
    """The timing of a candidate from its rounds."""
    p20, median, p80 = np.percentile(times_ms, (20, 50, 80))
    return Timing(name, float(p20), float(median), float(p80), tuple(times_ms))


def ratio(timings: Mapping[str, Timing], slow: str, fast: str) -> str:
    """How many times faster `fast` is than `slow`: the median of the rounds' ratios, with p20 and p80."""
    return spread(np.array(timings[slow].rounds_ms) / np.array(timings[fast].rounds_ms))


def spread(ratios: Sequence[float] | NDArray[np.float64]) -> str:
    """Ratios of the rounds as "median x (p20 to p80)"."""
    p20, median, p80 = np.percentile(ratios, (20, 50, 80))
    return f"{median:.2f}x ({p20:.2f} to {p80:.2f})"


def gemm_peak_gflops(
    size: int = 1024, rounds: int = 9, *, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> float:
    """The best rate of a matrix product on this machine with the current threads, in GFLOP/s."""
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    timing = interleave({"gemm": lambda: left @ right}, rounds=rounds, calls=4)["gemm"]
    return 2 * size**3 / (min(timing.rounds_ms) * 1e6)


def encoder_flops(tokens: int, length: int, layers: int, hidden: int, intermediate: int) -> float:
    """Floating-point operations of a forward pass over `tokens` tokens in sequences of `length`.

    A multiply-add counts twice; per token and layer: 4 D^2 for attention's projections, 2 T D for scores and
    context, 2 D I for the feed-forward layers. Softmax, LayerNorm and GELU are left out, as is customary.
    """
    return 2.0 * tokens * layers * (4 * hidden**2 + 2 * length * hidden + 2 * hidden * intermediate)


def masked_lm_head_flops(rows: int, hidden: int, vocabulary: int) -> float:
    """Floating-point operations of the masked LM head's forward pass at `rows` tokens: D^2 + V D multiply-adds each."""
    return 2.0 * rows * (hidden**2 + vocabulary * hidden)


def synchronize() -> None:
    """Wait for the accelerator, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


@dataclass(frozen=True)
class Table:
    """What a benchmark found, as a reader sees it; the JSON line holds it too, so that no figure is ever typed."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def text(self) -> str:
        """For a terminal: the first column to the left, figures to the right."""
        return f"{self.title}\n{text_table(self.header, self.rows)}"

    def markdown(self) -> str:
        """For a README."""
        return f"**{self.title}**\n\n{markdown_table(self.header, self.rows)}"


def machine() -> dict[str, object]:
    """What a reader needs to repeat a figure: processor, threads, versions, commit."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_1min": os.getloadavg()[0],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": importlib.metadata.version("transformers"),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "allocator": {name: value for name, value in os.environ.items() if name.startswith("MALLOC_")},
        "commit": _git("rev-parse", "--short", "HEAD"),
        "dirty": bool(_git("status", "--porcelain")),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def _git(*arguments: str) -> str:
    folder = Path(__file__).parent
    return subprocess.run(["git", "-C", folder, *arguments], capture_output=True, text=True).stdout.strip()


def options_of(arguments: argparse.Namespace) -> dict[str, str]:
    """What a benchmark was told, to be recorded. Of paths the last name only: results go to other people."""
    told = {name: value for name, value in vars(arguments).items() if value not in (None, False)}
    return {
        name: value.name if isinstance(value, Path) else " ".join(map(str, value)) if isinstance(value, list | tuple)
        else str(value)
        for name, value in told.items()
    }  # fmt: skip


def record(path: Path | None, benchmark: str, timings: Mapping[str, Timing], **facts: object) -> None:
    """Append one JSON line with the timings, the facts and the machine to `path`, if one is given."""
    if path is None:
        return
    line = {"benchmark": benchmark, **facts, "timings": [asdict(timing) for timing in timings.values()], **machine()}
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")
