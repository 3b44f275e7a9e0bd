"""CoSENT: the loss against loops in float64, one gradient for any division of the global batch, runs that repeat."""

import itertools
import math
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.tasks.conftest import similarities
from tests.train.processes import RankProcesses
from tinydistil.base.errors import InputError
from tinydistil.base.ranks import Ranks, joined
from tinydistil.distill.gather import GatheringTrainer
from tinydistil.model.config import BertConfig
from tinydistil.model.pairs import BertForCosine
from tinydistil.tasks.cosent import SCALE, CosentObjective, cosent
from tinydistil.tasks.finetune_config import FineTuneConfig
from tinydistil.tasks.folder import new_model
from tinydistil.tasks.label_task import TextTask
from tinydistil.tasks.task import EncodedExample
from tinydistil.tasks.train_task import TaskBatches, fine_tune
from tinydistil.tokenizer.tokenizer import Tokenizer
from tinydistil.train.records import Records

ALONE = Ranks(0, 1, torch.device("cpu"))


def by_hand(cosines: list[float], gold: list[float], counted: list[bool]) -> float:
    chosen = [i for i, counts in enumerate(counted) if counts]
    pairs = itertools.permutations(chosen, 2)
    terms = [math.exp(SCALE * (cosines[j] - cosines[i])) for i, j in pairs if gold[i] > gold[j]]
    return math.log(1 + math.fsum(terms))


def test_the_loss_and_its_gradient_by_hand() -> None:
    random = np.random.default_rng(0)
    for size in (1, 2, 7, 20):
        values = torch.from_numpy(random.uniform(-1, 1, size)).requires_grad_()
        gold = torch.from_numpy(random.integers(1, 5, size).astype(np.float64))
        counted = torch.from_numpy(random.uniform(size=size) > 0.2)
        loss = cosent(values, gold, counted)
        plain = values.tolist(), gold.tolist(), counted.tolist()
        assert loss.item() == pytest.approx(by_hand(*plain), rel=1e-12)
        loss.backward()
        for i in range(size):
            shifted = [[*values.tolist()] for _ in range(2)]
            shifted[0][i] += 1e-6
            shifted[1][i] -= 1e-6
            numeric = (by_hand(shifted[0], *plain[1:]) - by_hand(shifted[1], *plain[1:])) / 2e-6
            assert values.grad is not None and values.grad[i].item() == pytest.approx(numeric, abs=1e-6)


def test_there_is_nothing_to_learn_where_all_labels_are_equal_or_in_order() -> None:
    same = torch.ones(3, requires_grad=True)
    loss = cosent(same, torch.tensor([2.0, 2.0, 2.0]), torch.ones(3) > 0)
    loss.backward()
    assert loss.item() == 0 and not same.grad.any()
    order = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)
    assert cosent(order, order, order < 2).item() < 1e-8
    assert torch.isfinite(cosent(1e4 * order, -order, order < 2))


def encoded(lengths: list[int]) -> list[EncodedExample]:
    """Pairs of texts of other lengths, with labels and a teacher's numbers."""
    random, found = np.random.default_rng(5), []
    for first, second in itertools.pairwise(lengths):
        ids = random.integers(5, 40, first + second)
        target = np.float32(random.integers(1, 6))
        types = np.repeat([0, 1], [first, second])
        found.append(EncodedExample(ids, types, np.asarray(target), soft=random.normal(3, 1, 1).astype(np.float32)))
    return found


LENGTHS = [3, 9, 4, 5, 12, 3, 7, 7, 10, 5, 6, 4]


def gradients_of(ranks: Ranks, accumulation: int) -> tuple[dict[str, Tensor], dict[str, float]]:
    """The gradient of a global batch of 11 pairs, and what is reported of it; in float64, without dropout."""
    torch.manual_seed(0)
    config = BertConfig(40, 16, 2, 2, 32, max_position_embeddings=12, labels=("number",), initializer_range=0.3)
    objective = CosentObjective(BertForCosine(config, attention="packed").double(), soft=0.3).eval()
    trainer = GatheringTrainer(objective, torch.optim.SGD(objective.parameters(), lr=0.0), ranks, clip_norm=0.0)
    kept: dict[str, Tensor] = {}
    trainer.optimizer.register_step_pre_hook(
        lambda *_: kept.update({name: each.grad.clone() for name, each in objective.named_parameters()})
    )
    batches = TaskBatches(encoded(LENGTHS), pad_id=0, batch_size=11, seed=1)
    parts = batches.micro_batches(0, rank=ranks.rank, world_size=ranks.world_size, accumulation=accumulation)
    result = trainer.step(parts, 0.0)
    assert result.taken
    return kept, result.terms


def assert_same(found: tuple[dict[str, Tensor], dict[str, float]]) -> None:
    gradients, terms = found
    expected, expected_terms = gradients_of(ALONE, 1)
    difference = torch.cat([(gradients[name] - expected[name]).flatten() for name in expected]).norm()
    size = torch.cat([each.flatten() for each in expected.values()]).norm()
    assert float(size) > 0.1 and float(difference / size) <= 1e-12
    assert terms == pytest.approx(expected_terms, rel=1e-12) and terms.keys() == {"task", "soft"}


@pytest.mark.parametrize("accumulation", [2, 3, 11, 14])
def test_accumulation(accumulation: int) -> None:
    """Of 14 parts three are without a pair that counts."""
    assert_same(gradients_of(ALONE, accumulation))


def save_gradients(accumulation: int, folder: Path) -> None:
    with joined("cpu") as ranks:
        found = gradients_of(ranks, accumulation)
        if ranks.is_main:
            torch.save(found, folder / "found")


@pytest.mark.parametrize(("world_size", "accumulation"), [(2, 1), (2, 3), (3, 4)])
def test_processes(world_size: int, accumulation: int, tmp_path: Path) -> None:
    ranks = RankProcesses(tmp_path, world_size, save_gradients, accumulation, tmp_path)
    assert ranks.wait() == [0] * world_size, ranks.errors()
    assert_same(torch.load(tmp_path / "found", weights_only=True))


def test_what_is_reported_is_the_loss_of_the_whole_batch_once(monkeypatch: pytest.MonkeyPatch) -> None:
    examples, seen = encoded(LENGTHS), []
    compared = CosentObjective._compared

    def kept(self: CosentObjective, batch: object) -> Tensor:
        seen.append(compared(self, batch))  # type: ignore[arg-type]
        return seen[-1]

    monkeypatch.setattr(CosentObjective, "_compared", kept)
    _, terms = gradients_of(ALONE, 1)
    assert len(seen) == 1 and len(seen[0]) == len(examples)  # a single batch needs no second pass
    cosines, gold, soft = seen[0].T.tolist()[:3]
    everyone = [True] * len(examples)
    expected = {"task": by_hand(cosines, gold, everyone), "soft": by_hand(cosines, soft, everyone)}
    assert terms == pytest.approx(expected, rel=1e-12)


def test_both_passes_draw_the_same_dropout(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    config = BertConfig(40, 16, 2, 2, 32, max_position_embeddings=12, labels=("number",), hidden_dropout_prob=0.5)
    objective, seen = CosentObjective(BertForCosine(config, attention="packed")).train(), []
    compared = CosentObjective._compared

    def kept(self: CosentObjective, batch: object) -> Tensor:
        found = compared(self, batch)  # type: ignore[arg-type]
        seen.append(found.detach())
        return found

    monkeypatch.setattr(CosentObjective, "_compared", kept)
    trainer = GatheringTrainer(objective, torch.optim.SGD(objective.parameters(), lr=0.0), ALONE)
    batches = TaskBatches(encoded(LENGTHS), pad_id=0, batch_size=11, seed=1)
    trainer.step(batches.micro_batches(0, rank=0, world_size=1, accumulation=3), 0.0)
    assert len(seen) == 6
    for before, after in zip(seen[:3], seen[3:], strict=True):
        torch.testing.assert_close(before, after, rtol=1e-6, atol=1e-6)
    objective.eval()
    assert not torch.allclose(compared(objective, batches.micro_batches(0, rank=0, world_size=1, accumulation=3)[0]),
                              seen[0], atol=1e-3)  # fmt: skip


@pytest.mark.parametrize("form", ["cosine", "aligned"])
def test_interrupted_and_resumed_gives_the_same_bits(
    form: str, folder: Path, vocabulary: Tokenizer, tmp_path: Path
) -> None:
    rows = similarities(40)
    task = replace(TextTask.of("regress", rows, vocabulary, 48), form=form)
    config = FineTuneConfig(epochs=2, batch_size=8, accumulation=3, learning_rate=2e-3, max_length=48)

    def run(work: Path, records: Records, *, resume: bool = False) -> tuple[bool, dict[str, Tensor]]:
        model = new_model(folder, task, pooling="mean", seed=1)
        examples = task.encode(rows)
        done = fine_tune(model, examples, config, pad_id=0, checkpoints=work, ranks=ALONE, records=records,
                         resume=resume)  # fmt: skip
        return done, model.state_dict()

    class Interrupting(Records):
        def step_done(self, steps: int, *_: object) -> None:
            if steps == 6:
                os.kill(os.getpid(), signal.SIGTERM)

    _, whole = run(tmp_path / "whole", Records(None))
    assert not run(tmp_path / "cut", Interrupting(None))[0]
    done, resumed = run(tmp_path / "cut", Records(None), resume=True)
    assert done and all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_batch_that_is_too_large(
    folder: Path, vocabulary: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = similarities(20)
    task = replace(TextTask.of("regress", rows, vocabulary, 48), form="cosine")
    monkeypatch.setattr("tinydistil.tasks.train_task.LARGEST_BATCH", 10)
    with pytest.raises(InputError, match="batch_size must be <= 10, as CoSENT compares each row with each, got 20"):
        fine_tune(new_model(folder, task, pooling="mean", seed=1), task.encode(rows), FineTuneConfig(batch_size=32),
                  pad_id=0, checkpoints=tmp_path, ranks=ALONE, records=Records(None))  # fmt: skip
