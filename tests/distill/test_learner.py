"""The terms of a learner: hand-worked vectors, zero where student and teacher agree, blind to padding."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.train.toy import CASES, TWO_VOCABULARIES, make_learner, toy_case
from tinydistil.base.ranks import Ranks
from tinydistil.batches.masked_batches import MaskedBatch, TeacherView
from tinydistil.distill.losses import vocabulary_loss
from tinydistil.distill.options import HiddenOptions, PooledOptions, Shapes
from tinydistil.distill.recipe import Recipe
from tinydistil.distill.teacher.live import LiveTeacher
from tinydistil.distill.terms.representation import Hidden, Pooled
from tinydistil.distill.terms.vocabulary import Vocabulary
from tinydistil.model.bert import BertForMaskedLM
from tinydistil.model.config import BertConfig

ALONE = Ranks(0, 1, torch.device("cpu"))


def hand_made() -> MaskedBatch:
    """Two sequences of two words and of one; the teacher cuts the first word in two, the student the second."""
    student = torch.tensor([[1, 5, 6, 7, 2], [1, 8, 2, 0, 0]])
    mask = (student != 0).long()
    words = torch.tensor([[-1, 0, 1, 1, -1], [-1, 0, -1, -1, -1]])
    theirs = torch.tensor([[1, 5, 6, 7, 2, 0], [1, 8, 2, 0, 0, 0]])
    view = TeacherView(
        theirs, theirs, (theirs != 0).long(), theirs != 0,
        torch.tensor([[-1, 0, 0, 1, -1, -1], [-1, 0, -1, -1, -1, -1]]),
    )  # fmt: skip
    none = torch.empty(0, dtype=torch.int64)
    return MaskedBatch(student, student, mask, mask.bool(), words, none, none, torch.arange(2), view, tokens=8)


SHAPE = BertConfig(
    vocab_size=9, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8,
    max_position_embeddings=8, initializer_range=0.3, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
)  # fmt: skip


def test_vectors_by_hand() -> None:
    batch, shapes = hand_made(), Shapes(SHAPE, SHAPE)
    words, tokens, pooled = (
        Hidden(HiddenOptions(unit="word"), shapes), Hidden(HiddenOptions(), shapes), Pooled(PooledOptions(), shapes),
    )  # fmt: skip
    hidden = torch.arange(20.0).view(2, 5, 2)
    own = [0, 1, 5, 6]  # two words of five that each sequence has room for
    assert words.vectors(hidden, batch)[own].tolist() == [[2, 3], [5, 6], [12, 13], [0, 0]]
    assert words.present(batch).tolist() == [True, True, *[False] * 3, True, *[False] * 4]
    assert pooled.vectors(hidden, batch).tolist() == [[4, 5], [12, 13]]
    assert pooled.present(batch).tolist() == [True, True]
    theirs = torch.arange(24.0).view(2, 6, 2)
    assert batch.teacher is not None
    assert words.vectors(theirs, batch, of_teacher=True)[own].tolist() == [[3, 4], [6, 7], [14, 15], [0, 0]]
    assert words.present(batch, of_teacher=True).tolist() == [True, True, *[False] * 3, True, *[False] * 4]
    assert tokens.present(batch).tolist() == [True] * 8 + [False] * 2


@pytest.mark.parametrize("distance", ["cosine", "mse"])
@pytest.mark.parametrize("unit", ["token", "word"])
def test_zero_and_flat_where_the_student_is_the_teacher(unit: str, distance: str) -> None:
    torch.manual_seed(0)
    student, teacher = BertForMaskedLM(SHAPE).double(), BertForMaskedLM(SHAPE).double()
    teacher.load_state_dict(student.state_dict())
    recipe = Recipe(hard=0.0, soft=1.0, soft_positions="all", hidden=1.0, pooled=1.0, unit=unit, distance=distance)
    learner, batch = make_learner(student, teacher, recipe).double(), replace(hand_made(), teacher=None)
    parts = learner(batch, LiveTeacher(teacher, learner.states())(batch))
    assert set(learner.reports) == {"soft", "hidden", "pooled"}
    torch.stack([part.total for part in parts.values()]).sum().backward()
    for name, part in parts.items():
        assert abs(float(part.total.detach())) < 1e-12, name
    assert max(float(p.grad.abs().max()) for p in student.parameters() if p.grad is not None) < 1e-10


def longer(values: Tensor, columns: int, fill: float) -> Tensor:
    return torch.cat([values, torch.full((len(values), columns), fill, dtype=values.dtype)], 1)


def padded(batch: MaskedBatch, columns: int) -> MaskedBatch:
    """The batch with more padding on both sides, differently many columns."""

    def view(of: MaskedBatch | TeacherView, count: int) -> dict[str, Tensor]:
        fills = {"input_ids": 0, "original_ids": 0, "attention_mask": 0, "valid_mask": False, "word_index": -1}
        return {name: longer(getattr(of, name), count, fill) for name, fill in fills.items()}

    width = batch.input_ids.shape[1]
    positions = batch.positions // width * (width + columns) + batch.positions % width
    teacher = None if batch.teacher is None else replace(batch.teacher, **view(batch.teacher, columns + 2))
    return replace(batch, **view(batch, columns), positions=positions, teacher=teacher)


@pytest.mark.parametrize("case", CASES)
def test_padding_changes_nothing(case: str) -> None:
    trainer, batches = toy_case(case, ALONE)
    learner, batch = trainer.objective, batches.collate(np.arange(6), 0)
    results = []
    for each in (batch, padded(batch, 7)):
        learner.zero_grad()
        parts = learner(each, None if trainer.teacher is None else trainer.teacher(each))
        torch.stack([part.weight * part.total for part in parts.values()]).sum().backward()
        gradient = torch.cat([p.grad.flatten() for p in learner.parameters() if p.grad is not None])
        counts = learner.counts(each)
        results.append(({name: (float(p.total.detach()), counts[name]) for name, p in parts.items()}, gradient))
    (terms, gradient), (same_terms, same_gradient) = results
    for name, (total, count) in terms.items():
        assert same_terms[name] == (pytest.approx(total, rel=1e-12), count), name
    assert float((gradient - same_gradient).norm() / gradient.norm()) <= 1e-12


@pytest.mark.parametrize("case", CASES)
def test_nothing_to_compare_is_an_attached_zero(case: str) -> None:
    trainer, batches = toy_case(case, ALONE)
    learner, batch = trainer.objective, batches.collate(np.arange(0), 0)

    def check_attached(total: Tensor) -> None:
        learner.zero_grad()
        total.backward(retain_graph=True)
        grads = [p.grad for p in learner.student.parameters() if p.grad is not None]
        assert grads and all(float(grad.abs().max()) == 0.0 for grad in grads)

    for compute in (None, vocabulary_loss):
        for term in learner.terms.values():
            if isinstance(term, Vocabulary) and compute is not None:
                term.compute = compute
        parts = learner(batch, None if trainer.teacher is None else trainer.teacher(batch))
        assert all(float(part.total.detach()) == 0.0 for part in parts.values())
        assert not any(learner.counts(batch).values())
        check_attached(torch.stack([part.total for part in parts.values()]).sum())
        for part in parts.values():
            check_attached(part.total)


@pytest.mark.parametrize("sees", ["masked", "original"])
def test_what_the_teacher_sees(sees: str) -> None:
    trainer, batches = toy_case("partial", ALONE)
    batch = batches.collate(np.arange(11), 0)
    assert batch.teacher is not None and not torch.equal(batch.teacher.input_ids, batch.teacher.original_ids)
    chosen = batch.teacher.input_ids if sees == "masked" else batch.teacher.original_ids
    model = trainer.teacher.model
    with torch.no_grad():
        expected = model(chosen, batch.teacher.attention_mask).last_hidden
    assert torch.equal(LiveTeacher(model, {}, sees=sees).read(batch).hidden, expected)


def test_batches_travel_whole() -> None:
    batch = hand_made().to(torch.device("cpu"))
    assert batch.teacher is not None
    assert all(isinstance(getattr(batch.teacher, field.name), Tensor) for field in fields(TeacherView))
    assert set(TWO_VOCABULARIES) <= set(CASES)


def test_a_teacher_that_pools_by_cls_is_taught_by_its_cls() -> None:
    trainer, batches = toy_case("partial", ALONE)
    batch = batches.collate(np.arange(6), 0)
    read = trainer.teacher.read(batch)
    term = trainer.objective.terms["pooled"]
    by_mean = term.states()["pooled"].take(read, batch)
    term.shapes = replace(term.shapes, teacher_pooling="cls")
    by_cls = term.states()["pooled"].take(read, batch)
    assert torch.equal(by_cls, read.hidden[:, 0])
    assert not torch.allclose(by_mean, by_cls)
