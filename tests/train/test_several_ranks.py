"""Two and three processes: resumed bit by bit, other numbers of them, and one that fails while others wait."""

import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.train.comparison import assert_same_run, latest_of, metrics_of
from tests.train.processes import RankProcesses
from tests.train.toy import CASES, toy_trainer
from tests.train.toy_loop import Run, ask_to_stop, make_loop
from tinydistil.base.errors import STOPPED_EXIT_CODE, InputError
from tinydistil.base.ranks import Ranks, joined
from tinydistil.train import loop as loop_module

ALONE = Ranks(0, 1, torch.device("cpu"))


def test_resumed_twice_equals_straight(unbroken: Run, tmp_path: Path) -> None:
    """100 steps = 37 + resume + 20 + resume + 43 on two ranks, each time new processes: the same bits."""
    for stop_at, code in ((37, STOPPED_EXIT_CODE), (57, STOPPED_EXIT_CODE), (-1, 0)):
        ranks = RankProcesses(tmp_path, 2, replace(unbroken, folder=tmp_path, stop_at=stop_at))
        assert ranks.wait() == [code, code], ranks.errors()
        assert latest_of(tmp_path).name == f"step-{stop_at if stop_at > 0 else 100:08d}"
    assert_same_run(unbroken.folder, tmp_path)


def test_other_world_sizes_go_on_with_the_same_batches(tmp_path: Path) -> None:
    """2 -> 1 -> 3 processes against one process throughout, in float64 and without dropout: only rounding differs."""
    straight, _ = make_loop(tmp_path / "straight", ALONE, steps=40, precision="float64", dropout=0.0, log_every=1)
    assert straight.run()
    run = Run(tmp_path / "run", 40, "float64", dropout=0.0, log_every=1)
    ranks = RankProcesses(tmp_path / "two", 2, replace(run, stop_at=12))
    assert ranks.wait() == [STOPPED_EXIT_CODE] * 2, ranks.errors()
    loop, records = make_loop(run.folder, ALONE, steps=40, precision="float64", dropout=0.0, log_every=1)
    records.at_step = {25: ask_to_stop}
    assert not loop.run()
    ranks = RankProcesses(tmp_path / "three", 3, run)
    assert ranks.wait() == [0] * 3, ranks.errors()
    lines, expected = metrics_of(run.folder), metrics_of(tmp_path / "straight")
    assert len(lines) == len(expected) == 44  # one a step, and four validations
    for line, other in zip(lines, expected, strict=True):
        assert line == pytest.approx(other, rel=1e-6)


def assert_told_once(errors: list[str], message: str) -> None:
    assert "".join(errors).count(message) == 1, errors
    assert not any("Traceback" in error for error in errors), errors


def test_nan_on_one_rank_stops_both_with_one_message(tmp_path: Path) -> None:
    ranks = RankProcesses(tmp_path, 2, Run(tmp_path, 50, fault="nan"))
    assert ranks.wait() == [2, 2], ranks.errors()
    loop, _ = make_loop(tmp_path / "other", ALONE, steps=50, precision="float32")
    ids = ", ".join(map(str, loop.batches.global_batch(16)[1]))
    assert_told_once(
        ranks.errors(),
        f"error: step 12 was not finite on rank 1 (hard nan, soft nan); sequences {ids}: 5 such steps in a row",
    )
    assert latest_of(tmp_path).name == "step-00000010"


def test_a_full_disk_ends_all_ranks_and_leaves_the_older_checkpoint(tmp_path: Path) -> None:
    ranks = RankProcesses(tmp_path, 2, Run(tmp_path, 50, fault="full disk"))
    assert ranks.wait() == [2, 2], ranks.errors()
    assert_told_once(ranks.errors(), "error: cannot write checkpoint")
    assert "step-00000020" in ranks.errors()[0] and "free some space" in ranks.errors()[0]
    loop, _ = make_loop(tmp_path, ALONE, steps=50, precision="float32")
    assert loop.state.steps == 10
    assert not list((tmp_path / "checkpoints").glob(".partial*"))


def test_bad_data_of_one_rank_ends_all(tmp_path: Path) -> None:
    ranks = RankProcesses(tmp_path, 2, Run(tmp_path, 50, fault="data"))
    assert ranks.wait() == [1, 2], ranks.errors()
    assert_told_once(ranks.errors(), "error: shard 3 is damaged")
    assert "rank 0: another rank has gone" in ranks.errors()[0]


def test_a_bug_on_one_rank_ends_all(tmp_path: Path) -> None:
    ranks = RankProcesses(tmp_path, 2, Run(tmp_path, 50, fault="bug"))
    assert ranks.wait() == [1, 1], ranks.errors()
    assert "rank 0: another rank has gone" in ranks.errors()[0] and "Traceback" not in ranks.errors()[0]
    assert "KeyError: 'a bug of ours'" in ranks.errors()[1]


def test_a_killed_rank_is_noticed_at_once(tmp_path: Path) -> None:
    ranks = RankProcesses(tmp_path, 2, Run(tmp_path, 100_000))
    ranks.until_metrics(tmp_path, 5)
    ranks.signal(signal.SIGKILL, [1])
    assert ranks.wait(60) == [1, -signal.SIGKILL], ranks.errors()
    assert "rank 0: another rank has gone" in ranks.errors()[0]


def impatient(run: Run) -> None:
    loop_module._STOP_WITHIN_S = 1.0
    run()


def test_a_rank_that_waits_for_a_stuck_one_can_be_ended(tmp_path: Path) -> None:
    """Inside a collective no Python runs, so no handler does; a thread ends the process."""
    ranks = RankProcesses(tmp_path, 2, impatient, Run(tmp_path, 100_000))
    ranks.until_metrics(tmp_path, 5)
    ranks.signal(signal.SIGSTOP, [1])
    time.sleep(1)
    ranks.signal(signal.SIGTERM, [0])
    ranks.processes[0].join(60)
    assert ranks.processes[0].exitcode == 128 + signal.SIGTERM
    ranks.signal(signal.SIGKILL, [1])
    ranks.wait()


def train_an_unreached_head(folder: Path) -> None:
    with joined("cpu") as ranks:
        trainer, batches = toy_trainer(CASES["hidden only"], ranks)
        trainer.module.requires_grad_(True)
        trainer.step(batches.micro_batches(0, rank=ranks.rank, world_size=2, accumulation=1), learning_rate=0.0)
        (folder / "taken").touch()


def test_a_parameter_that_no_term_reaches_is_a_bug_of_the_objective(tmp_path: Path) -> None:
    """DistributedDataParallel would leave the ranks with different gradients, and say so a step later."""
    ranks = RankProcesses(tmp_path, 2, train_an_unreached_head, tmp_path)
    assert ranks.wait() == [1, 1]
    assert "no term reaches student.masked_lm.bias" in ranks.errors()[0]
    assert not (tmp_path / "taken").exists()


def before_joining() -> None:
    raise InputError("recipe 'totl' is unknown")


def while_joining() -> None:
    with joined("cud"):
        raise AssertionError("unreachable")


def on_the_second_alone() -> None:
    with joined("cpu") as ranks, ranks.agreed():
        if ranks.rank == 1:
            raise InputError("its disk is full")


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (before_joining, "recipe 'totl' is unknown"),
        (while_joining, "device must be auto, cpu or cuda, got 'cud'"),
        (on_the_second_alone, "its disk is full"),
    ],
)
def test_a_refusal_is_told_once_by_a_rank_that_knows(tmp_path: Path, work: Callable[[], None], message: str) -> None:
    ranks = RankProcesses(tmp_path, 2, work)
    assert ranks.wait() == [2, 2]
    assert_told_once(ranks.errors(), f"error: {message}")
