"""ModernBERT beyond what all families have in common: both forms of its config.json, windows, int8, half precision."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from tinydistil.base.errors import InputError
from tinydistil.model.bert import BertForMaskedLM, BertModel
from tinydistil.model.config import read_config
from tinydistil.model.families.modernbert import ModernBertConfig
from tinydistil.model.heads import BertForTokenClassification
from tinydistil.model.layers import PackedAttention, attention_over
from tinydistil.model.quantised import QuantisedLinear, quantise

SHAPE = {"vocab_size": 90, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 48,
         "max_position_embeddings": 256, "pad_token_id": 0, "local_attention": 8}  # fmt: skip
OLD = {"global_attn_every_n_layers": 3, "global_rope_theta": 900.0, "local_rope_theta": 50.0}
FULL, SLIDING = "full_attention", "sliding_attention"
ROPES = {FULL: {"rope_theta": 900.0, "rope_type": "default"}, SLIDING: {"rope_theta": 50.0, "rope_type": "default"}}
NEW = {"layer_types": [FULL, SLIDING, SLIDING, FULL], "rope_parameters": ROPES}


def config_of(folder: Path, *values: dict[str, Any]) -> ModernBertConfig:
    """What a config.json says."""
    folder.mkdir(exist_ok=True)
    merged = {"model_type": "modernbert"}
    for each in values:
        merged |= each
    (folder / "config.json").write_text(json.dumps(merged))
    config = read_config(folder / "config.json")
    assert isinstance(config, ModernBertConfig)
    return config


def model_of(**changes: object) -> BertForMaskedLM:
    torch.manual_seed(0)
    config = ModernBertConfig(**(SHAPE | {"initializer_range": 0.2} | changes))  # type: ignore[arg-type]
    return BertForMaskedLM(config).eval()


def text_of(length: int = 40) -> tuple[Tensor, Tensor]:
    """Six sequences of six lengths, one of a single token."""
    lengths = torch.tensor([length, 3, length // 2, 1, length, 7])
    ids = torch.randint(1, 90, (6, length), generator=torch.Generator().manual_seed(1))
    mask = (torch.arange(length) < lengths[:, None]).long()
    return ids * mask, mask


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hidden_size": 36}, r"hidden_size / num_attention_heads must be even, got 36 / 4"),
        ({"hidden_activation": "gellu"}, r"hidden_activation 'gellu' is unknown; did you mean 'gelu'\?"),
        ({"classifier_activation": "tanh"}, r"classifier_activation 'tanh' is unknown; known: gelu"),
        ({"attention_bias": "no"}, r"attention_bias must be of type bool, got 'no'"),
        ({"norm_eps": 0}, r"norm_eps must be > 0, got 0"),
        ({"local_attention": 0}, r"local_attention must be >= 1, got 0"),
        ({"global_attn_every_n_layers": 0}, r"global_attn_every_n_layers must be in 1..1000, got 0"),
        ({"global_rope_theta": -1.0}, r"full_attention.rope_theta must be > 0, got -1.0"),
        ({"rope_scaling": {"type": "linear", "factor": 2}}, r"rope_scaling must be None, got {'type': 'linear'"),
        ({"rope_parameters": [1]}, r"rope_parameters must be a table of options, got \[1\]"),
        (
            {"rope_parameters": {"rope_theta": 1e4}},
            r"unknown option 'rope_parameters.rope_theta'; known: full_attention",
        ),
        (
            {"rope_parameters": {FULL: {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4}}},
            r"rope_parameters.full_attention.rope_type 'yarn' is unknown; known: default",
        ),
        (
            {"rope_parameters": {SLIDING: {"rope_theta": 1e4, "partial_rotary_factor": 0.5}}},
            r"unknown option 'rope_parameters.sliding_attention.partial_rotary_factor'; known: rope_theta, rope_type",
        ),
        (
            {"layer_types": [FULL, SLIDING]},
            r"layer_types must be 'full_attention' in every n-th of 4 layers, else 'slid",
        ),
        ({"layer_types": [SLIDING, FULL, SLIDING, FULL]}, r"layer_types must be .* every n-th .* got \['sliding_att"),
        (
            {"layer_types": [FULL, "chunked_attention", SLIDING, FULL]},
            r"layer_types must be .* got \['full_attention', 'ch",
        ),
        ({"layer_types": "full_attention"}, r"layer_types must be .* got 'full_attention'"),
        ({"layer_types": [FULL] * 4, "num_hidden_layers": "4"}, r"layer_types must be .* of '4' layers"),
    ],
)
def test_bad_configurations(values: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        config_of(tmp_path, SHAPE, values)


def test_old_and_new_form_are_one_model(tmp_path: Path) -> None:
    old, new = config_of(tmp_path, SHAPE, OLD), config_of(tmp_path, SHAPE, NEW)
    assert old == new and old.rope_parameters.sliding_attention.rope_theta == 50.0
    # what published files also hold
    idle = {"layer_norm_eps": 1.0, "position_embedding_type": "absolute", "type_vocab_size": 2,
            "sparse_prediction": True, "deterministic_flash_attn": True, "reference_compile": None}  # fmt: skip
    assert config_of(tmp_path, SHAPE, OLD, idle) == old
    model, (ids, mask) = model_of(), text_of()
    model.save_pretrained(tmp_path)
    states = [model(ids, mask).last_hidden]
    for form in (OLD, NEW):
        config_of(tmp_path, SHAPE, form)
        states.append(BertForMaskedLM.from_pretrained(tmp_path, heads="require")(ids, mask).last_hidden)
    assert torch.equal(states[1], states[2])
    assert not torch.allclose(states[0], states[1], atol=1e-2)  # of other thetas


@pytest.mark.parametrize(
    ("values", "step"),
    [
        ({}, 3),
        ({"layer_types": [FULL] * 4}, 1),
        ({"layer_types": [FULL, SLIDING] * 2}, 2),
        ({"layer_types": [FULL, SLIDING, SLIDING, SLIDING]}, 4),
        ({"layer_types": [FULL, SLIDING, SLIDING, SLIDING], "global_attn_every_n_layers": 7}, 7),
        ({"layer_types": [FULL, SLIDING] * 2, "global_attn_every_n_layers": 3}, 2),  # what transformers obeys
        ({"layer_types": [FULL], "num_hidden_layers": 1}, 3),
    ],
)
def test_which_layers_are_global(values: dict[str, Any], step: int, tmp_path: Path) -> None:
    config = config_of(tmp_path, SHAPE, values)
    assert config.global_attn_every_n_layers == step
    written = config.to_file()["layer_types"]
    assert written == values.get("layer_types", [FULL, SLIDING, SLIDING, FULL])
    assert config.replace(num_hidden_layers=2).to_file()["layer_types"] == (
        [FULL, FULL] if step == 1 else [FULL, SLIDING]
    )


def test_thetas(tmp_path: Path) -> None:
    def thetas(*values: dict[str, Any]) -> tuple[float, float]:
        ropes = config_of(tmp_path, SHAPE, *values).rope_parameters
        return ropes.full_attention.rope_theta, ropes.sliding_attention.rope_theta

    assert thetas() == (160_000.0, 10_000.0) == thetas({"rope_parameters": None})
    assert thetas({"global_rope_theta": 7.0, "local_rope_theta": None}) == (7.0, 7.0)
    assert thetas({"rope_parameters": {FULL: {"rope_theta": 5.0}}, "local_rope_theta": 9.0}) == (5.0, 9.0)
    assert thetas({"rope_parameters": {SLIDING: {"rope_type": "default"}}}) == (160_000.0, 10_000.0)


@pytest.mark.parametrize("attention", ["sdpa", "packed", "eager"])
def test_a_token_sees_its_window_only(attention: str) -> None:
    """A local layer of a window of 8: four tokens to either side."""
    model = model_of(num_hidden_layers=2, local_attention=8)
    encoder, ids = model.bert, torch.arange(1, 41)[None]
    encoder.attention = attention
    local, hidden = encoder.layers[1], encoder.embeddings(ids, None)
    mask = torch.ones_like(ids)
    attend = PackedAttention.of(mask) if attention == "packed" else attention_over(mask, attention, torch.float32)
    inputs = hidden.flatten(0, 1) if attention == "packed" else hidden
    inputs = inputs.detach().requires_grad_()
    local(inputs, attend).view(40, -1)[20].square().sum().backward()
    assert inputs.grad is not None
    seen = inputs.grad.view(40, -1).abs().sum(1).nonzero().flatten()
    assert seen.tolist() == list(range(16, 25))


@pytest.mark.parametrize("length", [5, 64, 200])
@torch.no_grad()
def test_packed_equals_padded(length: int) -> None:
    """Shorter and longer than the window, and than what tables are made for at least."""
    model, (ids, mask) = model_of().double(), text_of(length)
    found = {}
    for attention in ("sdpa", "packed", "eager"):
        model.bert.attention = attention
        found[attention] = model(ids, mask).last_hidden[mask != 0]
    alone = torch.cat(
        [model(row[None, : int(count)]).last_hidden[0] for row, count in zip(ids, mask.sum(1), strict=True)]
    )
    for each in found.values():
        assert float((each - alone).abs().max()) <= 1e-10


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_half_precision(dtype: torch.dtype) -> None:
    """Under autocast, and as numbers of its own, all forms stay near float32 and finite."""
    model, (ids, mask) = model_of(initializer_range=0.1), text_of(60)
    exact = model(ids, mask).last_hidden[mask != 0]
    half = copy.deepcopy(model).to(dtype)
    for attention in ("sdpa", "packed", "eager"):
        model.bert.attention = half.bert.attention = attention
        with torch.autocast("cpu", dtype):
            under = model(ids, mask).last_hidden
        for rough in (under, half(ids, mask).last_hidden):
            assert rough.isfinite().all()
            assert F.cosine_similarity(rough[mask != 0].float(), exact, dim=-1).min() >= 0.999


def test_tables_made_in_inference_serve_training() -> None:
    model, (ids, mask) = model_of(max_position_embeddings=70, local_attention=6).train(), text_of(70)
    with torch.inference_mode():
        model(ids, mask)
    model.logits_at(model(ids, mask).last_hidden).square().mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("changes", [{}, {"mlp_bias": True, "attention_bias": True, "norm_bias": True}])
def test_int8_stays_near_float32(changes: dict[str, object]) -> None:
    model, (ids, mask) = model_of(**changes), text_of()
    for attention in ("sdpa", "packed"):
        for calibration in ([(ids, mask)], []):
            quantised = copy.deepcopy(model)
            quantise(quantised, calibration)
            assert sum(isinstance(module, QuantisedLinear) for module in quantised.modules()) == 4 * 4 + 1
            model.bert.attention = quantised.bert.attention = attention
            with torch.no_grad():
                exact, rough = (each(ids, mask).last_hidden[mask != 0] for each in (model, quantised))
                assert F.cosine_similarity(exact, rough, dim=-1).mean() > 0.999
                logits = [each.logits_at(exact[None]) for each in (model, quantised)]
                assert (logits[0] - logits[1]).norm() < 2e-2 * logits[0].norm()


def test_ids_and_lengths_out_of_range() -> None:
    model = model_of()
    with pytest.raises(InputError, match=r"input_ids must be in 0..89, got 90; do the tokenizer and the model belong"):
        model(torch.tensor([[1, 90]]))
    with pytest.raises(InputError, match=r"257 tokens is longer than the position table \(256\)"):
        model(torch.ones(1, 257, dtype=torch.int64))


def test_missing_weights(tmp_path: Path) -> None:
    """Of the encoder, the last norm included, an error; classifiers on a head of their own are not taken for ours."""
    model = model_of()
    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")

    def write(change: Callable[[dict[str, Tensor]], None]) -> None:
        changed = dict(weights)
        change(changed)
        save_file(changed, tmp_path / "model.safetensors", metadata={"format": "pt"})

    for name, said in (
        ("model.final_norm.weight", "final_norm"),
        ("model.layers.2.attn.Wqkv.weight", r"layers\.2\.att"),
    ):
        write(lambda changed, name=name: changed.pop(name))  # type: ignore[misc]
        with pytest.raises(InputError, match=f"lacks the encoder weight '{said}"):
            BertModel.from_pretrained(tmp_path)
    write(lambda changed: changed.update({"model.layers.0.attn_norm.weight": torch.ones(32)}))
    with pytest.raises(InputError, match=r"holds 1 encoder weights that config\.json has no place for"):
        BertModel.from_pretrained(tmp_path)
    write(lambda changed: changed.update({"model.layers.1.attn.Wqkv.weight": torch.ones(4, 32)}))
    with pytest.raises(InputError, match=r"has shape \(2, 32\), but config.json asks for \(32, 32\)"):
        BertModel.from_pretrained(tmp_path)
    classifier = {"classifier.weight": torch.ones(2, 32), "classifier.bias": torch.ones(2)}
    write(lambda changed: changed.update(classifier))
    with pytest.raises(InputError, match=r"lacks 'classifier.weight': a model without that head"):
        BertForTokenClassification.from_pretrained(tmp_path, heads="require")


def test_the_decoders_bias_is_an_option(tmp_path: Path) -> None:
    """Without it the head has zeros, which are not trained and not written; the decoder may still be one of its own."""
    model = model_of(decoder_bias=False, tie_word_embeddings=False)
    (ids, mask), head = text_of(), model.masked_lm
    model.logits_at(model(ids, mask).last_hidden).square().mean().backward()
    assert head.bias.grad is None and head.decoder is not None and head.decoder.grad is not None
    model.save_pretrained(tmp_path)
    assert "decoder.weight" in model.file_weights() and "decoder.bias" not in model.file_weights()
    again = BertForMaskedLM.from_pretrained(tmp_path, heads="require")
    assert again.masked_lm.decoder is not None and torch.equal(again.masked_lm.decoder, head.decoder)
    assert not again.masked_lm.bias.requires_grad and not again.masked_lm.bias.any()
