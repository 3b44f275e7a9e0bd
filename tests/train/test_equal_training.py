"""Fused losses and packed rows are ways to compute, not other things to learn: the same curve, the same gradient."""

import pytest
import torch

from tests.train.toy import CASES, TWO_VOCABULARIES, toy_trainer
from tinydistil.base.ranks import Ranks

ALONE = Ranks(0, 1, torch.device("cpu"))


@pytest.mark.parametrize("case", ["total", "distilbert", "reverse all pooled mse", "partial"])
def test_two_hundred_steps_have_one_loss_curve(case: str) -> None:
    """Float32, eager losses over padded rows against fused ones over packed rows, each term at each step to 1e-4."""
    curves = []
    for attention, fused in (("eager", False), ("packed", True)):
        two = case in TWO_VOCABULARIES
        trainer, batches = toy_trainer(
            CASES[case], ALONE, precision="float32", learning_rate=3e-3, two_vocabularies=two, attention=attention,
            fused=fused,
        )  # fmt: skip
        curve = []
        for cursor in range(200):
            micro_batches = batches.micro_batches(cursor, rank=0, world_size=1, accumulation=2)
            curve.append(trainer.step(micro_batches, 3e-3).terms)
        curves.append(curve)
    eager, packed = curves
    for step, (theirs, ours) in enumerate(zip(eager, packed, strict=True)):
        assert ours == pytest.approx(theirs, abs=1e-4, rel=1e-4), step
    falls = {name: eager[-1][name] / eager[0][name] for name in eager[0]}
    assert min(falls.values()) < 0.9, f"nothing was learnt, so equality says nothing: {falls}"


@pytest.mark.parametrize("case", CASES)
def test_one_gradient(case: str) -> None:
    """Float64: every term's gradient, of every recipe, to 1e-12."""
    gradients = []
    for attention, fused in (("eager", False), ("sdpa", True), ("packed", True)):
        two = case in TWO_VOCABULARIES
        trainer, batches = toy_trainer(CASES[case], ALONE, two_vocabularies=two, attention=attention, fused=fused)
        found: dict[str, torch.Tensor] = {}
        trainer.optimizer.register_step_pre_hook(
            lambda *_, found=found, trainer=trainer: found.update(
                {name: each.grad.clone() for name, each in trainer.module.named_parameters() if each.grad is not None}
            )
        )
        trainer.step(batches.micro_batches(0, rank=0, world_size=1, accumulation=1), 0.0)
        gradients.append(found)
    for found in gradients[1:]:
        assert found.keys() == gradients[0].keys()
        for name, gradient in found.items():
            reference = gradients[0][name]
            assert float((gradient - reference).norm()) <= 1e-12 * max(1.0, float(reference.norm())), name
