"""Recipes refuse what contradicts itself, and say what they need."""

from dataclasses import replace

import pytest

from tinydistil.base.errors import InputError
from tinydistil.distill.recipe import RECIPES, Recipe

REFUSED = {
    "weight": ({"soft": -1.0}, r"recipe.soft must be >= 0, got -1.0"),
    "endless weight": ({"pooled": float("inf")}, r"recipe.pooled must be finite, got inf"),
    "no number": ({"hidden": float("nan")}, r"recipe.hidden must be finite, got nan"),
    "no term": ({"hard": 0.0}, r"one of hard, soft, hidden, pooled must be > 0"),
    "temperature": ({"temperature": 0.0}, r"recipe.temperature must be in \(0, 1000\], got 0.0"),
    "whitening": ({"whitening": 1.5}, r"recipe.whitening must be in \[0, 1\], got 1.5"),
    "fit_sequences": ({"fit_sequences": 0}, r"recipe.fit_sequences must be >= 1, got 0"),
    "divergence": ({"divergence": "foward"}, r"recipe.divergence 'foward' is unknown; did you mean 'forward'"),
    "positions": ({"soft_positions": "mask"}, r"recipe.soft_positions 'mask' is unknown; did you mean 'masked'"),
    "unit": ({"unit": "words"}, r"recipe.unit 'words' is unknown; did you mean 'word'"),
    "distance": ({"distance": "l2"}, r"recipe.distance 'l2' is unknown; known: cosine, mse"),
    "projection": ({"projection": "pcaa"}, r"recipe.projection 'pcaa' is unknown; did you mean 'pca'"),
    "view": ({"teacher_sees": "orginal"}, r"recipe.teacher_sees 'orginal' is unknown; did you mean 'original'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    changes, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        Recipe(**changes)


def test_what_the_known_recipes_need() -> None:
    assert not RECIPES["mlm"].needs.teacher
    assert not RECIPES["partial"].needs.tokens and RECIPES["partial"].needs.teacher
    for name in ("total", "distilbert"):
        assert RECIPES[name].needs.tokens and {"logits", "hidden"} == set(RECIPES[name].needs.teacher)
        assert not RECIPES[name].is_fitted and RECIPES["partial"].is_fitted
    assert replace(RECIPES["partial"], hidden=0.0).needs.tokens is False, (
        "sentences need no common tokens, whatever the unit"
    )
    assert Recipe(hidden=1.0, unit="token").needs.tokens


def test_distilbert_weighs_as_published() -> None:
    published = RECIPES["distilbert"]
    assert (published.hard, published.soft, published.hidden, published.pooled) == (2.0, 5.0, 1.0, 0.0)
    assert (published.temperature, published.divergence, published.distance) == (2.0, "forward", "cosine")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, r"mask.rate is 0, which leaves recipe.hard nothing to learn from"),
        ({"soft": 1.0}, r"leaves recipe.hard and recipe.soft nothing"),
        (
            {"hard": 0.0, "soft": 1.0},
            r"leaves recipe.soft nothing to learn from; give mask.rate > 0, or set recipe.soft",
        ),
    ],
)
def test_nothing_masked_for_terms_about_masks(changes: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Recipe(**changes).check_mask_rate(0.0)
    Recipe(**changes).check_mask_rate(0.15)


def test_nothing_masked_is_fine_for_the_others() -> None:
    replace(RECIPES["partial"], hard=0.0).check_mask_rate(0.0)
    Recipe(hard=0.0, soft=1.0, soft_positions="all").check_mask_rate(0.0)
