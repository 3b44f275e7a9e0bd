"""One truth for the gradient: 1 process = 2 and 3 gloo processes = accumulation, however uneven the masks."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.train.toy import CASES, SEVERAL_PROCESSES, gradients_of, toy_case, toy_trainer
from tinydistil.distill.losses import IGNORED
from tinydistil.ranks import Ranks

ALONE = Ranks(0, 1, torch.device("cpu"))
ROOT = Path(__file__).parent.parent.parent


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


@SEVERAL_PROCESSES
@pytest.mark.parametrize(("world_size", "accumulation"), [(2, 1), (3, 2)])
@pytest.mark.parametrize("case", ["total", "partial", "reverse all pooled mse"])
def test_processes(case: str, world_size: int, accumulation: int, tmp_path: Path) -> None:
    expected, terms = gradients_of(case, ALONE, 1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torchrun = ["-m", "torch.distributed.run", f"--nproc-per-node={world_size}", f"--master-port={port}"]
    rank = ["-m", "tests.train.two_ranks", case, str(accumulation), str(tmp_path / "gradients")]
    command = [sys.executable, *torchrun, *rank]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert run.returncode == 0, run.stderr
    gradients, same_terms = torch.load(tmp_path / "gradients", weights_only=True)
    assert_same_gradient(gradients, expected)
    assert same_terms == pytest.approx(terms, rel=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_counts_known_before_are_those_of_the_losses(case: str) -> None:
    trainer, batches = toy_case(case, ALONE)
    learner = trainer.objective
    for batch in batches.micro_batches(0, rank=0, world_size=1, accumulation=13):
        taught = None if trainer.teach is None else trainer.teach(batch)
        counts = {name: int(part.count) for name, part in learner(batch, taught).items()}
        assert counts == learner.counts(batch) and counts.keys() == learner.weights.keys()
        assert int((batch.targets != IGNORED).sum()) == len(batch.rows)


def test_teacher_is_frozen_and_outside() -> None:
    trainer, batches = toy_trainer(CASES["total"], ALONE)
    teacher = trainer.teach.model
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
