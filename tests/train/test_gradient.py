"""One truth for the gradient: 1 process = 2 and 3 gloo processes = accumulation, however uneven the masks."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.train.processes import RankProcesses
from tests.train.toy import CASES, gradients_of, toy_case, toy_trainer
from tinydistil.base.ranks import Ranks, joined
from tinydistil.batches.masked_batches import MaskedBatch
from tinydistil.distill.losses import IGNORED
from tinydistil.distill.terms.base import TeacherStates

ALONE = Ranks(0, 1, torch.device("cpu"))


def assert_same_gradient(gradients: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert gradients.keys() == expected.keys()
    difference = torch.cat([(gradients[name] - expected[name]).flatten() for name in expected]).norm()
    size = torch.cat([gradient.flatten() for gradient in expected.values()]).norm()
    assert float(difference / size) <= 1e-12


@pytest.mark.parametrize("accumulation", [2, 5, 13])
@pytest.mark.parametrize("case", CASES)
def test_accumulation(case: str, accumulation: int) -> None:
    """13 micro-batches of 11 sequences: two are empty, and most hold no masked token."""
    expected, terms = gradients_of(case, ALONE, 1)
    gradients, same_terms = gradients_of(case, ALONE, accumulation)
    assert_same_gradient(gradients, expected)
    assert same_terms == pytest.approx(terms, rel=1e-12)


def save_gradients(accumulation: int, folder: Path) -> None:
    """What each rank does: the gradient of every case, which the main one saves."""
    with joined("cpu") as ranks:
        for number, case in enumerate(CASES):
            found = gradients_of(case, ranks, accumulation)
            if ranks.is_main:
                torch.save(found, folder / str(number))


@pytest.mark.parametrize(("world_size", "accumulation"), [(2, 1), (3, 2)])
def test_processes(world_size: int, accumulation: int, tmp_path: Path) -> None:
    """With 3 ranks and 2 micro-batches some hold a single sequence of one token, and no masked one."""
    ranks = RankProcesses(tmp_path, world_size, save_gradients, accumulation, tmp_path)
    assert ranks.wait() == [0] * world_size, ranks.errors()
    for number, case in enumerate(CASES):
        expected, terms = gradients_of(case, ALONE, 1)
        gradients, same_terms = torch.load(tmp_path / str(number), weights_only=True)
        assert_same_gradient(gradients, expected)
        assert same_terms == pytest.approx(terms, rel=1e-12), case


@pytest.mark.parametrize("case", CASES)
def test_counts_known_before_are_those_of_the_losses(case: str) -> None:
    trainer, batches = toy_case(case, ALONE)
    learner = trainer.objective
    for batch in batches.micro_batches(0, rank=0, world_size=1, accumulation=13):
        teacher = None if trainer.teacher is None else trainer.teacher(batch)
        counts = learner.counts(batch)
        assert counts.keys() == learner(batch, teacher).keys()
        for name in {"vocabulary", "hard"} & counts.keys():
            masked = name == "hard" or learner.recipe.soft_positions == "masked" or not learner.recipe.has_soft
            expected = batch.targets != IGNORED if masked else batch.valid_mask
            assert counts[name] == int(expected.sum()), name
        for name, state in ((n, s) for n, states in learner.states().items() for s in states.values()):
            if len(batch.sequence_ids):
                assert int(state.lengths(batch).sum()) == counts[name], name
        assert int((batch.targets != IGNORED).sum()) == len(batch.positions)


def test_teacher_is_frozen_and_outside() -> None:
    trainer, batches = toy_trainer(CASES["total"], ALONE)
    teacher = trainer.teacher.model
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    trainer.optimizer.param_groups[0]["lr"] = 0.1
    trainer.step(batches.micro_batches(0, rank=0, world_size=1, accumulation=1), learning_rate=0.1)
    after = teacher.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not teacher.training
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    trained = {id(parameter) for group in trainer.optimizer.param_groups for parameter in group["params"]}
    assert not trained & {id(parameter) for parameter in teacher.parameters()}


def test_a_step_that_is_not_finite_is_not_taken() -> None:
    trainer, batches = toy_trainer(CASES["total"], ALONE)
    trainer.objective.student.masked_lm.bias.data[7] = torch.nan
    before = trainer.objective.student.bert.embeddings.word.weight.clone()
    result = trainer.step(batches.micro_batches(0, rank=0, world_size=1, accumulation=2), learning_rate=0.1)
    assert not result.taken
    assert torch.equal(trainer.objective.student.bert.embeddings.word.weight, before)


def test_the_teacher_is_asked_outside_autograd_and_the_wrapped_module() -> None:
    trainer, batches = toy_trainer(CASES["total"], ALONE)
    teacher, seen = trainer.teacher, []

    def watched(batch: MaskedBatch) -> TeacherStates:
        states = teacher(batch)
        seen.append((torch.is_grad_enabled(), states["hidden"]["hidden"].requires_grad))
        return states

    trainer.teacher = watched
    trainer.step(batches.micro_batches(0, rank=0, world_size=1, accumulation=2), learning_rate=0.0)
    assert seen == [(False, False)] * 2
    assert not any("teacher" in name for name, _ in trainer.module.named_modules())


def test_a_global_batch_without_a_masked_row_is_still_a_step() -> None:
    """The loss is zero and attached: backward works, and so would the exchange of gradients."""
    trainer, batches = toy_trainer(CASES["mlm"], ALONE)
    batch = batches.micro_batches(0, rank=0, world_size=1, accumulation=1)[0]
    nothing = replace(batch, positions=batch.positions[:0], targets=batch.targets[:0])
    gradients: list[Tensor] = []
    trainer.optimizer.register_step_pre_hook(
        lambda *_: gradients.extend(parameter.grad for parameter in trainer.module.parameters())
    )
    result = trainer.step([nothing, nothing], learning_rate=0.0)
    assert result.taken and result.terms == {"hard": 0.0} and result.gradient_norm == 0.0
    assert gradients and all(not gradient.any() for gradient in gradients)
