"""Whether two runs left the same behind."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

_TIMES = {"seconds", "tokens_per_second"}


def latest_of(folder: Path) -> Path:
    """The newest checkpoint of a run."""
    return max((folder / "checkpoints").glob("step-*"))


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    """Weights and moments of a run's newest checkpoint."""
    latest = latest_of(folder)
    return load_file(latest / "learner.safetensors") | load_file(latest / "optimizer.safetensors")


def metrics_of(folder: Path) -> list[dict[str, object]]:
    """A run's lines of metrics, without times."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [
        {key: value for key, value in line.items() if key not in _TIMES and not key.endswith("_ms")} for line in lines
    ]


def assert_same_run(folder: Path, other: Path) -> None:
    """Weights, moments and metrics bit by bit."""
    weights, others = weights_of(folder), weights_of(other)
    assert weights.keys() == others.keys()
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    assert metrics_of(folder) == metrics_of(other)
