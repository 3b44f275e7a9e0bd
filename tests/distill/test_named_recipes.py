"""Recipes by the names of papers: what each says, what a user changes in it, and whom it refuses."""

import pytest

from tinydistil.base.errors import InputError
from tinydistil.distill.options import CacheConfig, Shapes
from tinydistil.distill.recipe import RECIPES, Recipe
from tinydistil.model.config import BertConfig
from tinydistil.train.run_config import RunConfig, resolve_run

BASE = BertConfig(vocab_size=30, hidden_size=768)
TINY = BertConfig(vocab_size=30, hidden_size=128, num_hidden_layers=2, num_attention_heads=2, intermediate_size=512)


def resolved(name: str, **changes: object) -> RunConfig:
    return resolve_run(
        {"recipe": {"name": name, **changes}, "student": {"model": "2x128"}, "teacher": "t", "shards": "s"}, RunConfig
    )


@pytest.mark.parametrize("name", ["tinybert", "minilm", "minilmv2"])
def test_they_read_text_as_it_is(name: str) -> None:
    config = resolved(name)
    assert config.train.mask.rate == 0 and config.recipe.teacher_sees == "original"
    assert not config.recipe.has_hard and config.recipe.needs.tokens


def test_what_they_compare() -> None:
    """TinyBERT: all layers, embeddings too, by squares; MiniLM: the last layer's attention and values, v2 relations."""
    parts = {name: {part.name: part.options for part in RECIPES[name].parts} for name in RECIPES}
    layers, attention = parts["tinybert"]["layers"], parts["tinybert"]["attention"]
    shapes = Shapes(BASE.replace(num_hidden_layers=4), BASE)
    assert layers.pairs("", shapes) == ((0, 0), (1, 3), (2, 6), (3, 9), (4, 12))  # type: ignore[attr-defined]
    assert (layers.distance, layers.projection, attention.distance) == ("mse", "student-to-teacher", "mse")  # type: ignore[attr-defined]
    top, values = parts["minilm"]["attention"], parts["minilm"]["relations"]
    assert (top.layers, top.distance, values.relations, values.heads) == ("top", "kl", ("value",), 0)  # type: ignore[attr-defined]
    (relations,) = parts["minilmv2"].values()
    assert relations.relations == ("query", "key", "value") and relations.pair(shapes) == (4, 12)  # type: ignore[attr-defined]


def test_sequences_are_kept_in_8_bits_where_they_are_kept() -> None:
    for name in ("vectors", "leaf", "contrast"):
        assert resolved(name).cache.vector_bits == 8
    run = {"recipe": "vectors", "student": {"model": "2x128"}, "teacher": "t", "shards": "s"}
    assert resolve_run({**run, "cache": {"vector_bits": 16}}, RunConfig).cache.vector_bits == 16
    live = resolve_run({**run, "teacher_cache": "", "student": {"model": "2x128"}}, RunConfig)
    assert live.teacher_cache == "" and live.cache == CacheConfig()


def test_a_change_leaves_the_rest() -> None:
    recipe = resolved("minilmv2", terms={"relations": {"teacher_layer": 9}}).recipe
    assert [(part.name, part.weight, part.options.teacher_layer) for part in recipe.parts] == [("relations", 1.0, 9)]  # type: ignore[attr-defined]
    recipe = resolved("tinybert", terms={"attention": 0.0, "relations": {"weight": 2.0, "heads": 8}}, hard=0.5).recipe
    assert [(part.name, part.weight) for part in recipe.parts] == [
        ("vocabulary", 1.0), ("layers", 1.0), ("relations", 2.0)
    ]  # fmt: skip
    assert dict(recipe.parts[1].options.__dict__)["embeddings"]


REFUSED = {
    "tinybert": (TINY, r"recipe.terms.attention.heads must be 'mean' where there are 2 \(student\) and 12"),
    "minilm": (TINY, r"recipe.terms.attention.heads must be 'mean' where there are 2 \(student\) and 12"),
    "minilmv2": (TINY.replace(hidden_size=100), "heads must divide the student's width 100, got 16; choose such as 4"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_whom_they_refuse(name: str) -> None:
    student, message = REFUSED[name]
    with pytest.raises(InputError, match=message):
        RECIPES[name].check(name, Shapes(student, BASE))
    RECIPES[name].check(name, Shapes(BASE.replace(num_hidden_layers=6), BASE))


def test_no_term_is_left() -> None:
    with pytest.raises(InputError, match=r"one of hard, soft, hidden, pooled must be > 0, or terms given"):
        _ = Recipe(hard=0.0, terms={"relations": 0.0}).parts
    with pytest.raises(InputError, match=r"one of hard, soft, hidden, pooled must be > 0, or terms given"):
        resolved("minilmv2", terms={"relations": 0.0})
    with pytest.raises(InputError, match=r"recipe\.terms must be a table"):
        resolved("minilmv2", terms=3)
