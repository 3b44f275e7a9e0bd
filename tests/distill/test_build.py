"""Student, teacher and recipe: what does not go together is refused, what is fitted is what numpy fits."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.train.toy import CASES, TWO_VOCABULARIES, make_learner, toy_trainer
from tinydistil.base.errors import InputError
from tinydistil.base.ranks import Ranks
from tinydistil.batches.masked_batches import MaskedBatch
from tinydistil.distill.initialise import Moments
from tinydistil.distill.options import Shapes
from tinydistil.distill.recipe import RECIPES, Recipe
from tinydistil.distill.teacher.live import LiveTeacher
from tinydistil.distill.terms.base import Learner
from tinydistil.model.bert import BertForMaskedLM
from tinydistil.model.config import BertConfig

ALONE = Ranks(0, 1, torch.device("cpu"))
SHAPE = BertConfig(
    vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
    max_position_embeddings=8,
)  # fmt: skip
REFUSED = {
    "soft without a head": (
        RECIPES["total"], {}, False,
        r"recipe.soft is 1.0, but the teacher has no masked language model head .*set recipe.soft=0",
    ),
    "soft across vocabularies": (
        RECIPES["total"], {"vocab_size": 30}, True, r"recipe.soft is 1.0, .* have 20 \(student\) and 30 tokens; give",
    ),
    "tokens across vocabularies": (
        Recipe(hidden=1.0), {"vocab_size": 30}, True, r"recipe.unit is 'token', .* recipe.unit=word",
    ),
    "widths": (
        Recipe(pooled=1.0), {"hidden_size": 12}, False, r"recipe.projection must not be 'none' where widths differ",
    ),
    "pca of a narrower teacher": (
        Recipe(pooled=1.0, projection="pca"), {"hidden_size": 4}, False, r"'pca' reduces the teacher \(4\) .* \(8\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_shape(case: str) -> None:
    chosen, changes, predicts_words, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        chosen.check(chosen.name, Shapes(SHAPE, SHAPE.replace(**changes), predicts_words))


def test_other_vocabularies_and_plain_encoders_are_fine_where_words_are_compared() -> None:
    RECIPES["partial"].check("partial", Shapes(SHAPE, SHAPE.replace(vocab_size=30, hidden_size=12)))


def test_a_recipe_that_needs_a_teacher_says_so() -> None:
    with pytest.raises(InputError, match="recipe 'total' needs a teacher"):
        make_learner(BertForMaskedLM(SHAPE), None, RECIPES["total"])
    assert not make_learner(BertForMaskedLM(SHAPE), None, RECIPES["mlm"]).fitted_tensors()


def sample_of(case: str, **changes: object) -> tuple[Learner, LiveTeacher, list[MaskedBatch]]:
    chosen = replace(CASES[case], **changes)  # type: ignore[arg-type]
    trainer, batches = toy_trainer(chosen, ALONE, two_vocabularies=case in TWO_VOCABULARIES)
    return trainer.objective, trainer.teacher, [batches.collate(np.arange(11), epoch) for epoch in range(6)]


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("term", ["hidden", "pooled"])
def test_fit_against_numpy(term: str, centred: bool) -> None:
    """Words and sentences picked out by plain loops; directions by numpy's SVD."""
    learner, teach, sample = sample_of("partial", centred=centred, whitening=0.0, fit_sequences=66)
    kept = learner.fit(teach.read, sample)
    vectors = []
    for batch in sample:
        hidden, view = teach.read(batch).hidden.numpy(), batch.teacher
        for row in range(len(hidden)):
            if term == "pooled":
                vectors.append(hidden[row, view.attention_mask[row].bool().numpy()].mean(0))
                continue
            words = view.word_index[row].numpy()
            vectors += [hidden[row, words == word].mean(0) for word in range(words.max() + 1)]
    found = np.stack(vectors)
    mean = found.mean(0) if centred else np.zeros(12)
    _, singular, directions = np.linalg.svd(found - mean, full_matrices=False)
    projection = learner.terms[term].projection
    np.testing.assert_allclose(projection.mean.numpy(), mean, atol=1e-12)
    ours, theirs = projection.basis.numpy(), directions[:8]
    np.testing.assert_allclose(ours.T @ ours, theirs.T @ theirs, atol=1e-6)  # the same subspace
    share = float((singular[:8] ** 2).sum() / (singular**2).sum())
    assert kept[term] == f"the projection keeps {share:.1%} of the teacher's squared length"
    moments = Moments(12)
    moments.add(torch.from_numpy(found))
    assert projection.fit(moments) == pytest.approx(share)


def test_fit_draws_no_more_than_it_needs() -> None:
    learner, teach, sample = sample_of("partial", fit_sequences=12)
    drawn = []
    learner.fit(teach.read, (drawn.append(batch) or batch for batch in sample))
    assert len(drawn) == 2  # of 11 sequences each
    before = {name: value.clone() for name, value in learner.named_buffers()}
    learner.fit(teach.read, sample)
    assert all(torch.equal(before[name], value) for name, value in learner.named_buffers()), "the same again"


def test_nothing_is_drawn_where_nothing_is_fitted() -> None:
    learner, teach, _ = sample_of("total")
    assert learner.fit(teach.read, iter([])) == {}


def test_too_few_vectors_for_the_components() -> None:
    learner, teach, sample = sample_of("partial", hidden=0.0, fit_sequences=1)
    with pytest.raises(
        InputError, match=r"recipe.fit_sequences: 11 teacher vectors cannot give 11 directions; give more"
    ):
        learner.terms["pooled"].projection.basis.resize_(11, 12)
        learner.fit(teach.read, sample[:1])
