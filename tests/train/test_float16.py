"""Gradients of float16 are scaled: unscaled before they are clipped, and too high a scale costs no step."""

from pathlib import Path

import pytest
import torch

from tests.train.comparison import metrics_of
from tests.train.toy import CASES, toy_trainer
from tests.train.toy_loop import make_loop
from tinydistil.base.errors import InputError
from tinydistil.base.ranks import Ranks
from tinydistil.train.loop import learning_rate_share

ALONE = Ranks(0, 1, torch.device("cpu"))


def test_a_scale_changes_nothing_where_nothing_underflows() -> None:
    """A power of two, so exactly nothing; clipping scaled gradients would shorten them by as much."""
    results, weights = [], []
    for scale in (None, 2.0**12):
        trainer, batches = toy_trainer(CASES["total"], ALONE, precision="float32", learning_rate=0.01)
        trainer.clip_norm = 0.1
        if scale is not None:
            trainer.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        for cursor in range(3):
            micro_batches = batches.micro_batches(cursor, rank=0, world_size=1, accumulation=2)
            results.append(trainer.step(micro_batches, learning_rate=0.01))
        weights.append(torch.cat([parameter.flatten() for parameter in trainer.module.parameters()]))
    assert all(result.taken and result.gradient_norm > 0.1 for result in results)
    assert results[:3] == results[3:]
    assert torch.equal(weights[0], weights[1])


def test_learning_happens(tmp_path: Path) -> None:
    loop, _ = make_loop(tmp_path, ALONE, steps=100, precision="float16")
    before = loop.validate()
    assert loop.run()
    assert loop.validate() < before - 0.3


def test_an_overflow_moves_neither_schedule_nor_counter_and_is_no_bad_step(tmp_path: Path) -> None:
    loop, _ = make_loop(tmp_path, ALONE, steps=20, precision="float16", log_every=1, bad_steps=1)
    loop.trainer.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    assert loop.run()
    state = loop.state
    assert state.overflows > 5 and state.bad_steps == 0
    assert (state.steps, state.cursor) == (20, 20 + state.overflows)
    rates = [line["learning_rate"] for line in metrics_of(tmp_path) if "hard" in line]
    assert rates == [0.01 * learning_rate_share(loop.config.schedule, step, 20) for step in range(20)]


def test_an_overflow_at_every_scale_is_a_bad_step(tmp_path: Path) -> None:
    """A gradient that is not finite at scale 1 either is not the scale's fault."""
    loop, _ = make_loop(tmp_path, ALONE, steps=20, precision="float16", bad_steps=3)
    for parameter in loop.trainer.module.parameters():
        parameter.register_hook(lambda gradient: gradient * torch.inf)
    with pytest.raises(InputError, match=r"step 0 was not finite \(gradient norm (nan|inf)\).* 3 such steps in a row"):
        loop.run()
    assert loop.state.overflows == 16  # from 2^16 down to 1
    assert loop.state.steps == 0


def test_the_scale_is_gone_on_with(tmp_path: Path) -> None:
    loop, _ = make_loop(tmp_path, ALONE, steps=10, precision="float16")
    loop.trainer.scaler = torch.amp.GradScaler("cpu", init_scale=4096.0)
    loop.run()
    resumed, _ = make_loop(tmp_path, ALONE, steps=20, precision="float16")
    assert resumed.trainer.scaler.state_dict() == loop.trainer.scaler.state_dict()
    assert resumed.trainer.scaler.get_scale() == 4096.0
