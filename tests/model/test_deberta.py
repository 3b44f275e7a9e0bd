"""DeBERTa beyond what every family is tested for: its other options, bad ones, int8, bfloat16."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from torch.nn import functional as F
from transformers.models.deberta_v2 import modeling_deberta_v2

from tests.model.test_families import (
    FAMILIES,
    VOCABULARY,
    inputs_of,
    ours_of,
    test_folders_both_ways,
    test_hidden_states,
    test_logits_and_gradients,
    theirs_of,
    worst,
)
from tinydistil.base.errors import InputError
from tinydistil.distill.initialise import student_from_layers
from tinydistil.model.bert import BertForMaskedLM, BertModel
from tinydistil.model.config import read_config
from tinydistil.model.families.deberta_v2 import DebertaV2Config
from tinydistil.model.families.distances import places
from tinydistil.model.quantised import QuantisedLinear, quantise

for each in (test_folders_both_ways, test_hidden_states, test_logits_and_gradients):
    each.__test__ = False  # type: ignore[attr-defined]  # called below

FAMILY = "deberta-v2"
_BASE = FAMILIES[FAMILY][0] | {"hidden_size": 32, "num_attention_heads": 4}
VARIANTS: dict[str, dict[str, Any]] = {
    # xlarge and xxlarge of v2, and so Albertina with 900 M and 1.5 B
    "albertina": _BASE | {"conv_kernel_size": 3, "conv_act": "gelu", "attention_head_size": 8},
    "narrow words": _BASE | {"embedding_size": 20, "share_att_key": False, "position_biased_input": True,
                             "conv_kernel_size": 5, "type_vocab_size": 1},
    "p2c alone": _BASE | {"pos_att_type": ["p2c"], "share_att_key": False, "position_buckets": 9,
                          "max_relative_positions": 30, "norm_rel_ebd": "none", "type_vocab_size": 2},
    "untied": _BASE | {"pos_att_type": ["c2p"], "position_buckets": 2, "tie_word_embeddings": False},
    "no terms": _BASE | {"pos_att_type": [], "norm_rel_ebd": "none"},
    "as BERT": {key: each for key, each in _BASE.items() if key != "norm_rel_ebd"} | {
        "pos_att_type": [], "relative_attention": False, "position_biased_input": True, "type_vocab_size": 2},
}  # fmt: skip


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """One of them, as what FAMILIES has; transformers, which takes roots in float32, takes them in float64."""
    shape = VARIANTS[request.param]
    monkeypatch.setitem(FAMILIES, FAMILY, (shape, shape))
    exact = lambda queries, terms: torch.tensor(float(queries.size(-1) * terms), dtype=torch.float64).sqrt()  # noqa: E731
    monkeypatch.setattr(modeling_deberta_v2, "scaled_size_sqrt", exact)
    return shape


@pytest.mark.parametrize("attention", ["sdpa", "packed", "eager"])
def test_states_of_variants(variant: dict[str, Any], attention: str, tmp_path: Path) -> None:
    test_hidden_states(FAMILY, 0, attention, tmp_path)


def test_gradients_of_variants(variant: dict[str, Any], tmp_path: Path) -> None:
    test_logits_and_gradients(FAMILY, 0, tmp_path)


def test_folders_of_variants(variant: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(variant, "attention_head_size", raising=False)  # not written: it says nothing
    if not variant.get("tie_word_embeddings", True):
        pytest.skip("transformers keeps a second bias that nothing reads, at another value")
    test_folders_both_ways(FAMILY, 0, "MaskedLM", tmp_path)


@pytest.mark.parametrize(("buckets", "farthest"), [(16, 66), (256, 512), (9, 30), (2, 8), (7, 5), (-1, 20)])
def test_buckets_are_those_of_transformers(buckets: int, farthest: int) -> None:
    """For every length, whose rows are the first ones of the table's order."""
    span, length = (buckets if buckets > 0 else farthest), 600
    found = places(length, span, buckets, farthest, torch.device("cpu"))
    rows = torch.zeros(1, length, 1)
    theirs = modeling_deberta_v2.build_relative_position(rows, rows, buckets, farthest)[0]
    expected = (theirs + span).clamp(0, 2 * span - 1)
    assert torch.equal(found.order[found.index], expected)
    assert sorted(found.order.tolist()) == list(range(2 * span))
    for tokens in (1, 2, 3, 17, 100, 600):
        assert int(found.index[:tokens, :tokens].max()) < found.counts[tokens - 1]
    assert found.counts[:2] == [1, 3]  # one distance, and then one more either way


@torch.no_grad()
def test_the_head_of_the_authors(tmp_path: Path) -> None:
    """`legacy` false gives other names to weights that compute the same."""
    config = transformers.DebertaV2Config(**_BASE, legacy=False)
    torch.manual_seed(0)
    theirs = transformers.DebertaV2ForMaskedLM(config).eval()
    for parameter in theirs.parameters():
        parameter.add_(0.05 * torch.randn_like(parameter))
    ours, inputs = ours_of(theirs, tmp_path / "theirs", "MaskedLM"), inputs_of(theirs)
    assert isinstance(ours, BertForMaskedLM)
    ours.save_pretrained(tmp_path / "ours")
    again = transformers.DebertaV2ForMaskedLM.from_pretrained(tmp_path / "ours").eval()
    expected = theirs(**inputs).logits
    for logits in (ours.logits_at(ours(**inputs).last_hidden), again(**inputs).logits):
        assert worst(logits, expected, inputs["attention_mask"]) <= 2e-5


def test_a_table_of_positions_that_nobody_reads(tmp_path: Path) -> None:
    """Files of the authors may hold one."""
    theirs = theirs_of(FAMILY, 0, "MaskedLM")
    extra = theirs.state_dict() | {"deberta.embeddings.position_embeddings.weight": torch.zeros(66, 48)}
    theirs.save_pretrained(tmp_path, state_dict=extra)
    assert BertForMaskedLM.from_pretrained(tmp_path).bert.embeddings.position is None


@pytest.mark.parametrize("written", ["p2c|c2p", "P2C | c2p", ["p2c", "c2p"]])
def test_terms_as_old_files_write_them(written: object, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": FAMILY, "relative_attention": True, "pos_att_type": written})
    )
    config = read_config(tmp_path / "config.json")
    assert isinstance(config, DebertaV2Config) and config.pos_att_type == ("p2c", "c2p")


_WITHOUT = r"without relative_attention, got .*; set relative_attention to true"
BAD: dict[str, tuple[dict[str, object], str]] = {
    "unknown term": ({"pos_att_type": ["c2p", "p2p"]}, r"pos_att_type\[1\] 'p2p' is unknown; did you mean 'p2c'"),
    "terms as a number": ({"pos_att_type": 3}, "pos_att_type must be a list, got 3"),
    "term twice": ({"pos_att_type": ["c2p", "c2p"]}, r"pos_att_type must name each term once, got \['c2p', 'c2p'\]"),
    "one bucket": ({"position_buckets": 1}, r"position_buckets must be in 2\.\.129, got 1; lower it, or raise"),
    "buckets": ({"position_buckets": 200}, r"2\.\.129, got 200; .* max_relative_positions \(66\), or -1 for"),
    "few distances": ({"max_relative_positions": 9}, r"position_buckets must be in 2\.\.15, got 16; lower it"),
    "norm": ({"norm_rel_ebd": "layernorm"}, "norm_rel_ebd 'layernorm' is unknown; did you mean 'layer_norm'"),
    "not relative": ({"relative_attention": False}, rf"pos_att_type must be \[\] {_WITHOUT}"),
    "norm of nothing": ({"relative_attention": False, "pos_att_type": []}, f"norm_rel_ebd must be 'none' {_WITHOUT}"),
    "even convolution": ({"conv_kernel_size": 4}, "conv_kernel_size must be odd, or 0 for no convolution, got 4"),
    "groups": ({"conv_groups": 2}, "conv_groups must be 1, got 2"),
    "activation": ({"conv_act": "tan"}, "conv_act 'tan' is unknown; did you mean 'tanh'"),
    "a word for a truth": ({"share_att_key": "yes"}, "share_att_key must be of type bool, got 'yes'"),
    "embedding": ({"embedding_size": 0}, r"embedding_size must be in 1\.\.65536, got 0"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_configurations(name: str, tmp_path: Path) -> None:
    values, message = BAD[name]
    (tmp_path / "config.json").write_text(json.dumps({"model_type": FAMILY} | _BASE | values))
    with pytest.raises(InputError, match=message):
        read_config(tmp_path / "config.json")


def small(name: str) -> BertForMaskedLM:
    torch.manual_seed(0)
    values = DebertaV2Config.from_file(VARIANTS[name])
    return BertForMaskedLM(DebertaV2Config(initializer_range=0.2, **values), attention="packed").eval()


def text(lengths: tuple[int, ...] = (20, 3, 11, 1, 20, 7)) -> tuple[Tensor, Tensor]:
    ids = torch.randint(5, VOCABULARY, (len(lengths), max(lengths)), generator=torch.Generator().manual_seed(1))
    return ids, (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()


@pytest.mark.parametrize("name", ["albertina", "narrow words", "p2c alone"])
@torch.no_grad()
def test_int8_agrees(name: str) -> None:
    model, (ids, mask) = small(name), text()
    rough = copy.deepcopy(model)
    quantise(rough, [(ids, mask)])
    count = sum(isinstance(module, QuantisedLinear) for module in rough.modules())
    assert count == 4 * model.config.num_hidden_layers + 1
    expected, found = (each(ids, mask).last_hidden[mask != 0] for each in (model, rough))
    assert not torch.equal(expected, found) and torch.equal(found, rough(ids, mask).last_hidden[mask != 0])
    assert F.cosine_similarity(expected, found, dim=-1).mean() >= 0.998


@pytest.mark.parametrize("name", VARIANTS)
def test_forms_agree_in_bfloat16(name: str) -> None:
    """Values within what bfloat16 rounds, and gradients reach every weight."""
    (ids, mask), found = text(), []
    exact = small(name)(ids, mask).last_hidden[mask != 0].detach()
    for attention in ("eager", "sdpa", "packed"):
        model = small(name)
        model.bert.attention = attention
        with torch.autocast("cpu", dtype=torch.bfloat16):
            states = model(ids, mask).last_hidden[mask != 0]
        found.append(states.detach().float())
        states.float().square().mean().backward()
        silent = {key for key, weight in model.bert.named_parameters() if weight.grad is None}
        assert silent == ({"layers.0.relative.table.weight"} if name == "no terms" else set())
    for states in found:
        assert F.cosine_similarity(states, exact, dim=-1).min() >= 0.998


def test_training_after_inference() -> None:
    """What is kept for a length serves both."""
    (ids, mask), model = text(), small("albertina")
    places.cache_clear()
    with torch.inference_mode():
        expected = model(ids, mask).last_hidden.clone()
    found = model(ids, mask).last_hidden
    found.sum().backward()
    torch.testing.assert_close(found.detach(), expected, rtol=0, atol=1e-4)
    assert places.cache_info().misses <= 5  # 1, 4, 8, 16, 32 tokens


def test_dropout_and_the_same_seed() -> None:
    (ids, mask), model = text(), small("albertina").train()
    first, other, again = (torch.manual_seed(seed) and model(ids, mask).last_hidden for seed in (0, 1, 0))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_what_layers_share_is_there_once() -> None:
    model = small("albertina")
    names = [name for name, _ in model.named_parameters() if "relative" in name]
    assert names == [f"bert.layers.0.relative.{each}" for each in ("table.weight", "norm.weight", "norm.bias")]
    clone = copy.deepcopy(model)
    (relative,) = clone.bert.layers[1].attention.relative
    assert relative is clone.bert.layers[0].relative is not model.bert.layers[0].relative
    made = sum(parameter.numel() for parameter in BertModel(model.config, pooler=False).parameters())
    # positions, which it counts and has not; biases and norms, which it leaves out
    assert abs(made - model.config.parameters) <= 66 * 32 + 0.05 * made


@torch.no_grad()
def test_a_student_of_every_second_layer() -> None:
    model, (ids, mask) = small("albertina"), text()
    student = student_from_layers(model, 1).eval()
    expected = model.bert(ids, mask, output_hidden_states=True).hidden_states[1]
    assert torch.equal(student(ids, mask).last_hidden, expected)
