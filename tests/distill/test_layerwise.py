"""Layers, attention, relations: against `transformers` and plain loops in float64; zero at their optimum; refusals."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor

from tests.train.toy import make_learner
from tinydistil.base.errors import InputError
from tinydistil.batches.masked_batches import MaskedBatch
from tinydistil.distill.options import CacheConfig, Shapes
from tinydistil.distill.recipe import Recipe
from tinydistil.distill.teacher.live import LiveTeacher
from tinydistil.distill.terms.layerwise import pairs_of, read_between
from tinydistil.model.bert import BertForMaskedLM
from tinydistil.model.config import BertConfig
from tinydistil.model.families.albert import AlbertConfig
from tinydistil.model.families.deberta_v2 import DebertaV2Config

SHAPE = BertConfig(
    vocab_size=30, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
    max_position_embeddings=16, initializer_range=0.4, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
)  # fmt: skip
DEEP = SHAPE.replace(hidden_size=12, num_hidden_layers=4, intermediate_size=24)
LENGTHS = (9, 4, 2, 7)


def batch() -> MaskedBatch:
    ids = torch.from_numpy(np.random.default_rng(0).integers(5, 30, (4, 9)))
    mask = (torch.arange(9) < torch.tensor(LENGTHS)[:, None]).long()
    ids, none = ids * mask, torch.empty(0, dtype=torch.int64)
    words = torch.where(mask.bool(), torch.arange(9), -1)
    return MaskedBatch(ids, ids, mask, mask.bool(), words, none, none, torch.arange(4), tokens=sum(LENGTHS))


def models(teacher: BertConfig = DEEP) -> tuple[BertForMaskedLM, BertForMaskedLM]:
    torch.manual_seed(0)
    return tuple(BertForMaskedLM(each, attention="packed").double().eval() for each in (SHAPE, teacher))  # type: ignore[return-value]


def loss_of(terms: dict[str, Any], student: BertForMaskedLM, teacher: BertForMaskedLM) -> tuple[Tensor, Any]:
    learner = make_learner(student, teacher, Recipe(hard=0.0, terms=terms)).double()
    (found,) = learner(batch(), LiveTeacher(teacher, learner.states())(batch())).values()
    return found.total, learner


def theirs(model: BertForMaskedLM, folder: Path) -> Any:
    """Attention maps and hidden states of `transformers`."""
    model.save_pretrained(folder)
    other = transformers.BertModel.from_pretrained(folder, attn_implementation="eager", add_pooling_layer=False)
    given = {"input_ids": batch().input_ids, "attention_mask": batch().attention_mask}
    with torch.no_grad():
        return other.double()(**given, output_attentions=True, output_hidden_states=True)


@pytest.mark.parametrize("layers", ["uniform", "last", "1:3", "1:4,2:4,2:1"])
def test_attention_maps_of_transformers(layers: str, tmp_path: Path) -> None:
    """KL(teacher || student) of each token's weights in the mean over heads and pairs, token by token."""
    student, teacher = models()
    total, _ = loss_of({"attention": {"layers": layers}}, student, teacher)
    own, other = theirs(student, tmp_path / "s").attentions, theirs(teacher, tmp_path / "t").attentions
    pairs = {"uniform": [(1, 2), (2, 4)], "last": [(1, 3), (2, 4)], "1:3": [(1, 3)]}
    pairs = pairs.get(layers, [(1, 4), (2, 4), (2, 1)])
    expected = 0.0
    for s, t in pairs:
        for row, length in enumerate(LENGTHS):
            for head in range(2):
                p, q = (maps[row, head, :length, :length] for maps in (other[t - 1], own[s - 1]))
                expected += float((p * (p / q).log()).sum()) / 2 / len(pairs)
    assert total.item() == pytest.approx(expected, rel=1e-9) and expected > 0.01


def test_scores_before_the_softmax_and_mean_heads() -> None:
    """With five times as many heads in the teacher; scores by plain products of what the layers' own weights give."""
    student, teacher = models(DEEP.replace(num_attention_heads=6))
    scores, maps = {}, {}
    for name, model, layer in (("s", student, 2), ("t", teacher, 4)):
        with torch.no_grad():
            states = model.bert(batch().input_ids, batch().attention_mask, output_hidden_states=True).hidden_states
            q, k, _ = model.bert.layers[layer - 1].attention.qkv(states[layer - 1]).chunk(3, -1)
        heads = model.config.num_attention_heads
        width = q.shape[-1] // heads
        scores[name] = [[q[r, :n, h * width : (h + 1) * width] @ k[r, :n, h * width : (h + 1) * width].T
                         / math.sqrt(width) for h in range(heads)] for r, n in enumerate(LENGTHS)]  # fmt: skip
        maps[name] = [torch.stack([each.softmax(-1) for each in row]).mean(0) for row in scores[name]]
    square = sum(
        float((torch.stack(a).mean(0) - torch.stack(b).mean(0)).square().mean(1).sum())
        for a, b in zip(scores["s"], scores["t"], strict=True)
    )
    total, _ = loss_of({"attention": {"layers": "2:4", "heads": "mean", "distance": "mse"}}, student, teacher)
    assert total.item() == pytest.approx(square, rel=1e-9)
    divergence = sum(float((p * (p / q).log()).sum()) for q, p in zip(maps["s"], maps["t"], strict=True))
    total, _ = loss_of({"attention": {"layers": "2:4", "heads": "mean"}}, student, teacher)
    assert total.item() == pytest.approx(divergence, rel=1e-9)


@pytest.mark.parametrize("relations", [("query", "key", "value"), ("value",)])
def test_relations_by_plain_loops(relations: tuple[str, ...]) -> None:
    student, teacher = models()
    total, _ = loss_of({"relations": {"heads": 4, "teacher_layer": 3, "relations": list(relations)}}, student, teacher)
    vectors = []
    for model, layer in ((student, 2), (teacher, 3)):
        with torch.no_grad():
            states = model.bert(batch().input_ids, batch().attention_mask, output_hidden_states=True).hidden_states
            vectors.append(model.bert.layers[layer - 1].attention.qkv(states[layer - 1]).chunk(3, -1))
    expected = 0.0
    for part in (("query", "key", "value").index(each) for each in relations):
        for row, length in enumerate(LENGTHS):
            for head in range(4):
                maps = []
                for side in vectors:
                    width = side[part].shape[-1] // 4
                    x = side[part][row, :length, head * width : (head + 1) * width]
                    maps.append((x @ x.T / math.sqrt(width)).softmax(-1))
                expected += float((maps[1] * (maps[1] / maps[0]).log()).sum()) / 4
    assert total.item() == pytest.approx(expected, rel=1e-9) and expected > 0.01


@pytest.mark.parametrize(("layers", "embeddings"), [("0:0,1:2,2:4", False), ("uniform", True)])
@pytest.mark.parametrize("distance", ["mse", "cosine"])
def test_layers_of_transformers(distance: str, layers: str, embeddings: bool, tmp_path: Path) -> None:
    """A learned map for each pair, embeddings included; hidden states from `transformers`."""
    student, teacher = models()
    total, learner = loss_of(
        {"layers": {"layers": layers, "embeddings": embeddings, "distance": distance}}, student, teacher
    )
    own, other = theirs(student, tmp_path / "s").hidden_states, theirs(teacher, tmp_path / "t").hidden_states
    expected = 0.0
    for (s, t), projection in zip(((0, 0), (1, 2), (2, 4)), learner.terms["layers"].maps, strict=True):
        mapped = own[s] @ projection.map.weight.T + projection.map.bias
        for row, length in enumerate(LENGTHS):
            one, two = mapped[row, :length], other[t][row, :length]
            away = (one - two).square().mean(-1) if distance == "mse" else 1 - torch.cosine_similarity(one, two)
            expected += float(away.sum().detach()) / 3
    assert total.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    "terms",
    [
        {"layers": {"projection": "none"}},
        {"attention": 1.0},
        {"attention": {"distance": "mse"}},
        {"relations": {"heads": 4}},
    ],
)
def test_zero_and_flat_where_the_student_is_the_teacher(terms: dict[str, Any]) -> None:
    student, teacher = models(SHAPE)
    teacher.load_state_dict(student.state_dict())
    total, learner = loss_of(terms, student.train(), teacher)
    total.backward()
    assert abs(total.item()) < 1e-12
    assert max(float(p.grad.abs().max()) for p in student.parameters() if p.grad is not None) < 1e-9
    # What no term reaches is frozen, or DistributedDataParallel would wait for it; nothing else is.
    for name, parameter in learner.named_parameters():
        assert parameter.requires_grad == (parameter.grad is not None), name


_THREE: dict[str, Any] = {
    "vocab_size": 30, "hidden_size": 8, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 16,
    "max_position_embeddings": 16, "initializer_range": 0.4,
}  # fmt: skip
SEEN = {
    "layers that share weights": AlbertConfig(**_THREE, embedding_size=4),
    "a product for distances too": DebertaV2Config(
        **_THREE, relative_attention=True, pos_att_type=("c2p", "p2c"), share_att_key=True
    ),
}


@pytest.mark.parametrize("attention", ["packed", "sdpa", "eager"])
@pytest.mark.parametrize("config", SEEN.values(), ids=SEEN)
def test_each_layer_is_seen_once(config: BertConfig, attention: str) -> None:
    torch.manual_seed(0)
    model = BertForMaskedLM(config, attention=attention).double().eval()
    with torch.no_grad():
        read = read_between(model, batch().input_ids, batch().attention_mask, (1, 3))
        whole = model.bert(batch().input_ids, batch().attention_mask, output_hidden_states=True).hidden_states
        assert list(read.compared) == [1, 3] and len(read.layers) == 4
        for number, compared in read.compared.items():
            expected = model.bert.layers[number - 1].attention.qkv(whole[number - 1])
            inside = batch().valid_mask
            assert (compared.flatten(2) - expected)[inside].abs().max() < 1e-12
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown map": ({"layers": {"layers": "middle"}}, r"terms.layers.layers must be uniform, .* got 'middle'"),
    "a layer too far": ({"layers": {"layers": "1:5"}}, r"the teacher has layers 0\.\.4, got 5 in '1:5'"),
    "a student's too far": ({"layers": {"layers": "3:1"}}, r"the student has layers 0\.\.2, got 3"),
    "below nothing": ({"layers": {"layers": "-1:1"}}, r"the student has layers 0\.\.2, got -1"),
    "half a pair": ({"layers": {"layers": "1"}}, "or pairs such as 1:4,2:12; got '1'"),
    "a pair twice": ({"layers": {"layers": "1:2,1:2"}}, "names a pair twice"),
    "no map of that name": ({"layers": {"projection": "linear"}}, "projection.*'linear'"),
    "widths apart": ({"layers": {"projection": "none"}}, "terms.layers.projection must not be 'none' where"),
    "attention of embeddings": ({"attention": {"layers": "0:1"}}, r"the student has layers 1\.\.2, got 0"),
    "an unknown distance": ({"attention": {"distance": "cosine"}}, "distance.*'cosine'"),
    "other heads": ({"attention": {"heads": "each"}}, r"heads must be 'mean' where there are 2 \(student\) and 3"),
    "heads that do not divide": ({"relations": {"heads": 5}}, "heads must divide the student's width 8, got 5"),
    "nor the teacher's": ({"relations": {"heads": 8}}, "heads must divide the teacher's width 12, got 8"),
    "heads below none": ({"relations": {"heads": -1}}, r"heads must be"),
    "as many heads as the teacher's": ({"relations": {"heads": 0}}, "heads must divide the student's width 8, got 3"),
    "a relation twice": ({"relations": {"heads": 4, "relations": ["key", "key"]}}, "relations must be some of"),
    "no relation": ({"relations": {"heads": 4, "relations": []}}, "relations must be some of"),
    "an unknown relation": ({"relations": {"relations": ["output"]}}, "relations.*'output'"),
    "a layer of nobody": ({"relations": {"heads": 4, "teacher_layer": 9}}, r"teacher_layer must be in 0\.\.4, got 9"),
    "an unknown option": ({"relations": {"head": 4}}, "unknown option.*head.*heads"),
    "no weight": ({"attention": {"weight": -1.0}}, "weight must be"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_options(name: str) -> None:
    terms, message = BAD[name]
    shapes = Shapes(SHAPE, DEEP.replace(num_attention_heads=3), teacher_has_head=True)
    with pytest.raises(InputError, match=message):
        Recipe(hard=0.0, terms=terms).check("custom", shapes)


@pytest.mark.parametrize("term", ["layers", "attention", "relations"])
def test_teachers_that_do_not_fit(term: str) -> None:
    recipe = Recipe(hard=0.0, terms={term: {"heads": 4} if term == "relations" else 1.0})
    with pytest.raises(InputError, match="needs a teacher"):
        recipe.check("custom", Shapes(SHAPE))
    with pytest.raises(InputError, match=r"compares token by token, but the vocabularies have 30 .* and 31"):
        recipe.check("custom", Shapes(SHAPE, DEEP.replace(vocab_size=31)))
    if term != "relations":
        with pytest.raises(InputError, match="needs a teacher of as many layers at least: it has 1, not 2"):
            recipe.check("custom", Shapes(SHAPE, DEEP.replace(num_hidden_layers=1)))
    if term == "attention":
        deberta = DebertaV2Config(vocab_size=30, hidden_size=8, num_hidden_layers=2, num_attention_heads=2)
        with pytest.raises(InputError, match="attention of deberta-v2 also goes by positions; choose"):
            recipe.check("custom", Shapes(SHAPE, deberta))


def test_maps() -> None:
    shapes = Shapes(SHAPE, DEEP.replace(num_hidden_layers=5))
    found = {each: pairs_of(each, "x", shapes, least=1) for each in ("uniform", "last", "first", "top", "2:5,1:1")}
    assert found == {"uniform": ((1, 2), (2, 5)), "last": ((1, 4), (2, 5)), "first": ((1, 1), (2, 2)),
                     "top": ((2, 5),), "2:5,1:1": ((2, 5), (1, 1))}  # fmt: skip
    assert replace(shapes).teacher is not None


@pytest.mark.parametrize("term", ["layers", "attention"])
def test_a_cache_is_bound_to_the_teachers_layers(term: str) -> None:
    """Which "uniform" finds by the student's depth; which of the student's learn from them is free."""

    def bound(layers: str, own: BertConfig) -> dict[str, object]:
        recipe = Recipe(hard=0.0, terms={term: {"layers": layers}})
        return recipe.bound(CacheConfig(), Shapes(own, DEEP.replace(num_attention_heads=2)))

    shallow, deep = bound("uniform", SHAPE), bound("uniform", SHAPE.replace(num_hidden_layers=4))
    assert shallow[f"recipe.terms.{term}.layers"] == [2, 4] and deep[f"recipe.terms.{term}.layers"] == [1, 2, 3, 4]
    assert bound("1:2,2:4", SHAPE) == bound("2:2,1:4", SHAPE) == shallow != bound("1:4,2:2", SHAPE)


@pytest.mark.parametrize("projection", ["pca", "random"])
def test_a_cache_of_reduced_vectors_is_bound_to_the_students_width(projection: str) -> None:
    recipe = Recipe(hard=0.0, hidden=1.0, projection=projection)
    one, other = (recipe.bound(CacheConfig(), Shapes(SHAPE.replace(hidden_size=w), DEEP)) for w in (8, 4))
    assert one["student's width"] == 8 and other["student's width"] == 4
