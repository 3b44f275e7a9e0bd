"""Signals at random moments: whatever ends a run, going on gives the weights of an unbroken one.

TINYDISTIL_INTERRUPTS sets how many signals each test sends (2 unless told).
"""

import os
import random
import re
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.train.comparison import assert_same_run, latest_of, metrics_of
from tests.train.processes import RankProcesses, children_of, finish, free_port, machine, torchrun
from tests.train.toy_loop import Run
from tinydistil.base.errors import STOPPED_EXIT_CODE

INTERRUPTS = int(os.environ.get("TINYDISTIL_INTERRUPTS", "2"))


def test_sigterm_and_sigint_save_on_all_ranks_together(unbroken: Run, tmp_path: Path) -> None:
    """Whether one rank is asked or both: both leave within 20 s with exit code 75, and no step is lost."""
    choose = random.Random(1)
    run = replace(unbroken, folder=tmp_path, pause_s=0.02)
    for _ in range(INTERRUPTS):
        ranks = RankProcesses(tmp_path, 2, run)
        ranks.until_metrics(tmp_path, choose.randrange(1, 3))
        time.sleep(choose.uniform(0, 0.05))
        asked_at = time.monotonic()
        ranks.signal(choose.choice([signal.SIGTERM, signal.SIGINT]), choose.choice([[0], [1], [0, 1]]))
        assert ranks.wait(20) == [STOPPED_EXIT_CODE] * 2, ranks.errors()
        assert time.monotonic() - asked_at < 20
        (saved,) = re.findall(r"asked to stop: saved at step (\d+)", "".join(ranks.errors()))
        assert latest_of(tmp_path).name == f"step-{int(saved):08d}"
        last_logged = metrics_of(tmp_path)[-1]["step"]
        assert last_logged <= int(saved) < last_logged + 3  # a line every third step
    ranks = RankProcesses(tmp_path, 2, replace(run, pause_s=0.0))
    assert ranks.wait() == [0, 0], ranks.errors()
    assert_same_run(unbroken.folder, tmp_path)


def test_sigterm_to_torchrun_reaches_all_ranks(tmp_path: Path) -> None:
    run = torchrun("tests.train.toy_loop", tmp_path, 100_000, "float32", 0)
    while run.poll() is None and not (tmp_path / "metrics.jsonl").exists():
        time.sleep(0.1)
    asked_at = time.monotonic()
    run.send_signal(signal.SIGTERM)
    error = finish(run)
    assert time.monotonic() - asked_at < 20
    assert error.count("asked to stop: saved at step") == 1, error
    assert metrics_of(tmp_path)[-1]["step"] <= int(latest_of(tmp_path).name.removeprefix("step-"))


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the ranks of torchrun in /proc")
def test_sigkill_under_torchrun_with_restarts(unbroken: Run, tmp_path: Path) -> None:
    """Killed at any moment, while a rank starts as well as while it trains: the run ends by itself."""
    choose = random.Random(int.from_bytes(os.urandom(4)))
    run = torchrun("tests.train.toy_loop", tmp_path, 100, "bfloat16", 0.05, restarts=INTERRUPTS + 2)
    for _ in range(INTERRUPTS):
        while len(ranks := children_of(run.pid)) < 2:
            assert run.poll() is None, finish(run)
            time.sleep(0.05)
        time.sleep(choose.uniform(0, 5))
        os.kill(choose.choice(ranks), signal.SIGKILL)
        # The launcher ends the other rank and starts both anew.
        while set(children_of(run.pid)) & set(ranks):
            assert run.poll() is None, finish(run)
            time.sleep(0.05)
    error = finish(run)
    assert run.returncode == 0, error
    assert_same_run(unbroken.folder, tmp_path)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the ranks of torchrun in /proc")
def test_a_machine_that_is_lost_comes_back(unbroken: Run, tmp_path: Path) -> None:
    """Of two machines one goes, its launcher and its rank, and is started again: the same bits as of a run at rest."""
    port, arguments = free_port(), ("tests.train.toy_loop", tmp_path, 100, "bfloat16", 0.02)
    stays = machine(port, *arguments, is_host=True)
    goes = machine(port, *arguments, is_host=False)
    while not (tmp_path / "checkpoints").is_dir() or not list((tmp_path / "checkpoints").glob("step-*")):
        assert stays.poll() is None and goes.poll() is None, finish(stays) + finish(goes)
        time.sleep(0.05)
    for process in (goes.pid, *children_of(goes.pid)):
        os.kill(process, signal.SIGKILL)
    goes.communicate()
    returns = machine(port, *arguments, is_host=False)
    error, other = finish(stays), finish(returns)
    assert (stays.returncode, returns.returncode) == (0, 0), error + other
    assert "another rank has gone" in error
    assert_same_run(unbroken.folder, tmp_path)
