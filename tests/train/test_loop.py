"""The loop: resume is bit-identical, signals save, NaN stops all ranks together."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.train.toy import SEVERAL_PROCESSES
from tests.train.toy_loop import make_loop, poison
from tinydistil.errors import InputError
from tinydistil.ranks import Ranks
from tinydistil.train.loop import metrics_without_times
from tinydistil.train.signals import STOPPED_EXIT_CODE

ALONE = Ranks(0, 1, torch.device("cpu"))
ROOT = Path(__file__).parent.parent.parent


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    latest = max((folder / "checkpoints").glob("step-*"))
    return load_file(latest / "learner.safetensors") | load_file(latest / "optimizer.safetensors")


def metrics_of(folder: Path) -> list[dict[str, object]]:
    return [metrics_without_times(json.loads(line)) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def assert_same_run(folder: Path, other: Path) -> None:
    weights, others = weights_of(folder), weights_of(other)
    assert weights.keys() == others.keys()
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    assert metrics_of(folder) == metrics_of(other)


def launch(folder: Path, *arguments: object, ranks: int = 2) -> subprocess.Popen[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torchrun = [
        "torch.distributed.run",
        f"--nproc-per-node={ranks}",
        f"--master-port={port}",
    ]
    command = [sys.executable, "-m", *torchrun, "-m", "tests.train.toy_loop", str(folder), *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def finish(run: subprocess.Popen[str]) -> str:
    _, error = run.communicate(timeout=240)
    return error


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_resumed_twice_equals_straight(tmp_path: Path, precision: str) -> None:
    """100 steps = 37 + resume + 20 + resume + 43, bit by bit, metrics too."""
    loop, _ = make_loop(tmp_path / "straight", ALONE, steps=100, precision=precision)
    (tmp_path / "straight").mkdir(exist_ok=True)
    assert loop.run()
    (tmp_path / "pieces").mkdir()
    for stop_at, done in ((37, False), (57, False), (-1, True)):
        loop, records = make_loop(tmp_path / "pieces", ALONE, steps=100, precision=precision)
        records.stop_at = stop_at
        assert loop.run() is done
        assert loop.state.steps == (stop_at if stop_at > 0 else 100)
    assert_same_run(tmp_path / "straight", tmp_path / "pieces")


def test_learning_happens(tmp_path: Path) -> None:
    loop, _ = make_loop(tmp_path, ALONE, steps=100, precision="float32")
    before = loop.validate()
    loop.run()
    assert loop.validate() < before - 0.3
    assert loop.validate() == loop.validate()  # fixed masks, no dropout


@SEVERAL_PROCESSES
def test_two_processes_resumed_twice(tmp_path: Path) -> None:
    """Two ranks, straight and stopped twice: the same bits."""
    for folder in ("straight", "pieces"):
        (tmp_path / folder).mkdir()
    straight = launch(tmp_path / "straight", 60, "float32")
    assert finish(straight) is not None and straight.returncode == 0
    for stop_at in (17, 37):
        finish(launch(tmp_path / "pieces", 60, "float32", "--stop-at", stop_at))
        latest = max((tmp_path / "pieces" / "checkpoints").glob("step-*"))
        assert latest.name == f"step-{stop_at:08d}"
    last = launch(tmp_path / "pieces", 60, "float32")
    error = finish(last)
    assert last.returncode == 0, error
    assert_same_run(tmp_path / "straight", tmp_path / "pieces")


@SEVERAL_PROCESSES
def test_other_world_sizes_go_on_with_the_same_batches(tmp_path: Path) -> None:
    """2 -> 1 -> 3 processes. Dropout masks differ by rank, so the bound is on a run without dropout's noise: losses
    of the first resumed step agree with the straight run's to what dropout changes."""
    finish(launch(tmp_path / "run", 40, "float32", "--stop-at", 12))
    loop, records = make_loop(tmp_path / "run", ALONE, steps=40, precision="float32")
    assert loop.state.steps == 12 and loop.state.cursor == 12
    records.stop_at = 25
    assert not loop.run()
    last = launch(tmp_path / "run", 40, "float32", ranks=3)
    error = finish(last)
    assert last.returncode == 0, error
    assert [line["step"] for line in metrics_of(tmp_path / "run") if "hard" in line] == list(range(1, 41))


@SEVERAL_PROCESSES
def test_sigterm_saves_on_all_ranks_and_leaves(tmp_path: Path) -> None:
    run = launch(tmp_path / "run", 100_000, "float32")
    metrics = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (metrics.exists() and len(metrics.read_text().splitlines()) > 15):
        time.sleep(0.1)
    asked = time.monotonic()
    run.send_signal(signal.SIGTERM)
    finish(run)
    assert time.monotonic() - asked < 20
    assert run.returncode != 0
    last_step = [line for line in metrics_of(tmp_path / "run") if "hard" in line][-1]["step"]
    assert max((tmp_path / "run" / "checkpoints").glob("step-*")).name == f"step-{last_step:08d}"


def test_exit_code_when_asked_to_stop(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.train.toy_loop", str(tmp_path), "50", "float32", "--stop-at", "5"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == STOPPED_EXIT_CODE, run.stderr
    assert "asked to stop: saved at step 5" in run.stderr and "Traceback" not in run.stderr


def test_a_bad_step_moves_neither_schedule_nor_counter(tmp_path: Path) -> None:
    loop, _ = make_loop(tmp_path, ALONE, steps=30, precision="float32")
    poison(loop, rank=0, cursor=10, times=2)
    assert loop.run()
    assert (loop.state.steps, loop.state.cursor, loop.state.bad_steps) == (30, 32, 2)


@SEVERAL_PROCESSES
def test_nan_on_one_rank_stops_both_with_one_message(tmp_path: Path) -> None:
    run = launch(tmp_path / "run", 50, "float32", "--nan-at", 12, "--nan-times", 99)
    error = finish(run)
    assert run.returncode != 0
    messages = [line for line in error.splitlines() if line.startswith("error: step 12 was not finite")]
    assert len(set(messages)) == 1, error  # torchrun may end the second rank before it has printed the same
    assert "5 such steps in a row" in messages[0] and "sequences" in messages[0] and "hard nan" in messages[0]


def test_early_stop(tmp_path: Path) -> None:
    loop, _ = make_loop(tmp_path, ALONE, steps=500, precision="float32", patience=1, validate_every=1)
    assert loop.run()
    assert loop.state.stopped_early and loop.state.steps < 500


@pytest.mark.parametrize("budget", [{"tokens": 2000}, {"minutes": 0.02}])
def test_other_budgets(tmp_path: Path, budget: dict[str, float]) -> None:
    loop, _ = make_loop(tmp_path, ALONE, steps=0, precision="float32", **budget)
    assert loop.run()
    used = loop.state.tokens / 2000 if "tokens" in budget else loop.state.seconds / 1.2
    assert 1 <= used < 1.6


def test_checkpoint_of_another_model(tmp_path: Path) -> None:
    loop, _ = make_loop(tmp_path, ALONE, steps=5, precision="float32")
    loop.run()
    checkpoint = loop.store.latest()
    assert checkpoint is not None
    checkpoint.learner.pop("student.masked_lm.bias")
    with pytest.raises(InputError, match="is of another model"):
        loop.resume(checkpoint)
