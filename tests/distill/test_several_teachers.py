"""Several teachers of one vocabulary: the mean of logits, and of vectors after each one's own projection."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.train.toy import TEXT, UNEVEN, Rows
from tinydistil.base.ranks import Ranks
from tinydistil.batches.masked_batches import MaskedBatch, MaskedBatches
from tinydistil.batches.sampling import MaskConfig
from tinydistil.distill.losses import soft_targets
from tinydistil.distill.options import CacheConfig, Shapes
from tinydistil.distill.recipe import RECIPES, Recipe
from tinydistil.distill.several import MeanRepresentation, SeveralTeachers
from tinydistil.distill.step import Trainer
from tinydistil.distill.teacher.cached import CachedTeacher, TeacherCache
from tinydistil.distill.teacher.live import LiveTeacher
from tinydistil.distill.teacher.precision import quantise_teacher
from tinydistil.distill.terms.base import Learner
from tinydistil.model.bert import BertForMaskedLM
from tinydistil.model.config import BertConfig
from tinydistil.tokenizer.tokenizer import train_wordpiece

CPU = torch.device("cpu")
TOKENIZER = train_wordpiece(TEXT, 60)
BATCHES = MaskedBatches(Rows(TOKENIZER.vocab_size, UNEVEN), TOKENIZER, MaskConfig(), batch_size=11, seed=4)
POOLINGS = ("mean", "cls")
VECTORS = Recipe(hard=0.0, hidden=2.0, pooled=3.0, unit="word", projection="pca", centred=True, whitening=0.5)
FIXED = {
    "soft": Recipe(hard=0.0, soft=1.0),
    "reverse": Recipe(soft=2.0, divergence="reverse", soft_positions="all"),
    "pca": VECTORS,
    "random, mse": replace(VECTORS, projection="random", distance="mse", unit="token"),
}
LEARNED = {
    "up": replace(VECTORS, projection="student-to-teacher", centred=False, whitening=0.0),
    "down": replace(VECTORS, projection="teacher-to-student"),
    "total": RECIPES["total"],
}


def model(width: int, seed: int, vocab_size: int = TOKENIZER.vocab_size) -> BertForMaskedLM:
    torch.manual_seed(seed)
    shape = BertConfig(
        vocab_size=vocab_size, num_hidden_layers=2, hidden_size=width, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=80, initializer_range=0.2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    return BertForMaskedLM(shape, attention="packed").double()


def batch_of(epoch: int = 0) -> MaskedBatch:
    return BATCHES.collate(np.arange(11), epoch)


def taught(
    recipe: Recipe, *teachers: BertForMaskedLM, poolings: tuple[str, ...] = POOLINGS
) -> tuple[Learner, LiveTeacher]:
    """A student of the teachers, its projections fitted."""
    student = model(8, 1)
    first, *others = (
        Shapes(student.config, each.config, True, pooling) for each, pooling in zip(teachers, poolings, strict=False)
    )
    learner = Learner(student, recipe, replace(first, others=tuple(others))).double()
    lives = [LiveTeacher(each, learner.states(), sees=recipe.teacher_sees) for each in teachers]
    live = lives[0] if len(lives) == 1 else SeveralTeachers(lives, learner.states())
    learner.fit(live.read, [batch_of(8), batch_of(9)])
    return learner, live


def losses_of(learner: Learner, live: Callable[[MaskedBatch], object]) -> dict[str, Tensor]:
    batch = batch_of()
    return {name: loss.total for name, loss in learner(batch, live(batch)).items()}


def distance(recipe: Recipe, ours: Tensor, theirs: Tensor, present: Tensor) -> Tensor:
    each = 1 - F.cosine_similarity(ours, theirs, dim=-1)
    if recipe.distance == "mse":
        each = (ours - theirs).square().mean(-1)
    return each[present].sum()


def test_soft_targets_are_of_the_mean_of_logits() -> None:
    teachers, batch = (model(12, 2), model(6, 3), model(8, 4)), batch_of()
    learner, live = taught(FIXED["soft"], *teachers, poolings=("mean",) * 3)

    def logits(each: BertForMaskedLM) -> Tensor:
        return each.logits_at(each(batch.input_ids, batch.attention_mask).last_hidden, batch.positions)

    mean = (logits(teachers[0]) + logits(teachers[1]) + logits(teachers[2])) / 3
    everywhere = torch.ones(len(mean), dtype=torch.bool)
    expected = soft_targets(logits(learner.student), mean, everywhere, temperature=2.0)
    torch.testing.assert_close(losses_of(learner, live)["vocabulary"], expected, rtol=1e-12, atol=0)
    # The geometric mean of the distributions, as Hinton et al. have it.
    logs = torch.stack([(logits(each) / 2).log_softmax(-1) for each in teachers]).mean(0)
    torch.testing.assert_close(logs.softmax(-1), (mean / 2).softmax(-1), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", [*FIXED, *LEARNED])
def test_vectors_are_averaged_after_each_ones_own_projection(name: str) -> None:
    """Of other widths, and pooled by each in its own way; where the student is mapped up, the distances are."""
    recipe, teachers, batch = (FIXED | LEARNED)[name], (model(12, 2), model(10, 3)), batch_of()
    learner, live = taught(recipe, *teachers)
    hidden = learner.student.bert(batch.input_ids, batch.attention_mask).last_hidden
    found = losses_of(learner, live)
    for term in ("hidden", "pooled"):
        if term not in learner.terms:
            continue
        merged = learner.terms[term]
        assert isinstance(merged, MeanRepresentation)
        pairs = []
        for part, teacher, pooling in zip(merged.parts, teachers, POOLINGS, strict=True):
            states = teacher(batch.input_ids, batch.attention_mask).last_hidden
            own, theirs = (part.vectors(each, batch) for each in (hidden, states))
            if term == "pooled" and pooling == "cls":
                theirs = states[:, 0]
            projection = part.projection
            pairs.append(projection(own, projection.prepare(theirs)))
        present = merged.parts[0].present(batch)
        if recipe.projection == "student-to-teacher":
            expected = (distance(recipe, *pairs[0], present) + distance(recipe, *pairs[1], present)) / 2
        else:
            expected = distance(recipe, pairs[0][0], (pairs[0][1] + pairs[1][1]) / 2, present)
        torch.testing.assert_close(found[term], expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", [*FIXED])
def test_two_equal_teachers_are_one(name: str) -> None:
    one = losses_of(*taught(FIXED[name], model(12, 2), poolings=("cls",)))
    two = losses_of(*taught(FIXED[name], model(12, 2), model(12, 2), poolings=("cls", "cls")))
    for term, loss in one.items():
        torch.testing.assert_close(two[term], loss, rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", [*FIXED, *LEARNED])
def test_the_gradient_of_two_micro_batches_is_that_of_one(name: str) -> None:
    found = []
    for accumulation in (1, 2):
        learner, live = taught((FIXED | LEARNED)[name], model(12, 2), model(10, 3))
        optimizer, kept = torch.optim.SGD(learner.parameters(), lr=0.0), {}

        def keep(*_: object, learner: Learner = learner, kept: dict[str, Tensor] = kept) -> None:
            kept.update({name: each.grad.clone() for name, each in learner.named_parameters() if each.grad is not None})

        optimizer.register_step_pre_hook(keep)
        trainer = Trainer(learner, optimizer, Ranks(0, 1, CPU), teacher=live, clip_norm=0.0)
        parts = BATCHES.micro_batches(0, rank=0, world_size=1, accumulation=accumulation)
        assert trainer.step(parts, learning_rate=0.0).taken
        found.append(kept)
    assert found[0].keys() == found[1].keys() and any(each.abs().sum() > 0 for each in found[0].values())
    for each, whole in found[0].items():
        torch.testing.assert_close(found[1][each], whole, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("words", "bits"), [("hidden", 16), ("top", 16), ("hidden", 8)])
@pytest.mark.parametrize("name", ["soft", "pca", "up", "total"])
def test_a_cache_says_what_they_say(name: str, words: str, bits: int, tmp_path: Path) -> None:
    """To the rounding of what is kept of each, whatever the other one's size."""
    large = model(12, 2)
    large.bert.layers[-1].output_norm.weight.data *= 300  # type: ignore[union-attr,operator]
    learner, live = taught((FIXED | LEARNED)[name], large, model(10, 3))
    for each in (learner, live.model):
        each.float()
    config = CacheConfig(words=words, top=TOKENIZER.vocab_size - 1, drawn=4, vector_bits=bits)
    cache = TeacherCache(tmp_path, BATCHES.candidates, epochs=1).with_codes(live, BATCHES, config, CPU)
    for part in cache.parts:
        cache.write(part, [BATCHES.collate(np.arange(6), 0), BATCHES.collate(np.arange(6, 11), 0)], live, config, CPU)
    cached = CachedTeacher(cache, live, config, CPU)
    expected = losses_of(learner, live)
    for term, merged in learner.terms.items():
        if isinstance(merged, MeanRepresentation):
            kept, exact = (merged.state.split(each(batch_of())[term].popitem()[1]) for each in (cached, live))
            present = merged.state.present(batch_of())
            for own, whole in zip(kept, exact, strict=True):
                error, size = (each[present].norm() for each in (own - whole, whole))
                assert error <= size / (80 if bits == 8 else 2000)
    for term, loss in losses_of(learner, cached).items():
        torch.testing.assert_close(loss, expected[term], rtol=3e-2 if bits == 8 or words == "top" else 2e-3, atol=0)
    empty = BATCHES.collate(np.arange(0), 0)
    assert all(float(loss.total.detach()) == 0 for loss in learner(empty, cached(empty)).values())


@pytest.mark.parametrize("precision", ["int8", "bfloat16"])
def test_in_int8_and_bfloat16_each_is_near_itself(precision: str) -> None:
    teachers = [model(16, 2), model(8, 3)]
    learner, live = taught(RECIPES["total"], *teachers)
    learner.float()
    live.model.float()
    exact = losses_of(learner, live)
    lives = [LiveTeacher(each, learner.states(), precision=precision) for each in teachers]
    for each in lives if precision == "int8" else ():
        error = quantise_teacher(each, [batch_of()])
        assert error.cosine > 0.99 and 0 < error.divergence < 0.1 and error.positions == len(batch_of().positions)
    rough = losses_of(learner, SeveralTeachers(lives, learner.states()))
    for term, loss in exact.items():
        assert 0 < float((rough[term] - loss).abs().detach()) < 0.03 * float(loss.detach())
