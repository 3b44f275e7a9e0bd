"""Every family of encoders against `transformers`: hidden states, logits, gradients, folders both ways.

A family joins by a line in FAMILIES: two shapes of it, under the names of its config.json.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from tinydistil.model import heads
from tinydistil.model.bert import BertForMaskedLM, BertModel
from tinydistil.model.config import read_config

VOCABULARY = 300
_SMALL = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
          "intermediate_size": 64, "max_position_embeddings": 66}  # fmt: skip
_OTHER = _SMALL | {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 100,
                   "hidden_act": "gelu_new", "layer_norm_eps": 1e-5}  # fmt: skip
_ROBERTA = (_SMALL | {"type_vocab_size": 1}, _OTHER | {"type_vocab_size": 2, "pad_token_id": 3, "hidden_act": "gelu"})
FAMILIES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "bert": (_SMALL, _OTHER),
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "distilbert": (
        {"vocab_size": VOCABULARY, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64},
        {"vocab_size": VOCABULARY, "dim": 48, "n_layers": 3, "n_heads": 3, "hidden_dim": 100, "activation": "relu",
         "sinusoidal_pos_embds": True, "pad_token_id": 2},
    ),
    "electra": (
        _SMALL | {"embedding_size": 16},
        _OTHER | {"embedding_size": 48},
    ),
    "albert": (
        _SMALL | {"embedding_size": 16, "num_hidden_layers": 4, "hidden_dropout_prob": 0.0},
        _OTHER | {"embedding_size": 20, "num_hidden_layers": 4, "num_hidden_groups": 2, "hidden_act": "relu"},
    ),
    "modernbert": (
        _SMALL | {"num_hidden_layers": 4, "local_attention": 8, "global_attn_every_n_layers": 3, "pad_token_id": 0},
        {key: value for key, value in _OTHER.items() if key not in ("hidden_act", "layer_norm_eps")} | {
            "hidden_activation": "relu", "classifier_activation": "silu", "norm_eps": 1e-6, "pad_token_id": 2,
            "norm_bias": True, "attention_bias": True, "mlp_bias": True, "classifier_bias": True,
            "decoder_bias": False, "local_attention": 13, "global_attn_every_n_layers": 2,
            "global_rope_theta": 500.0, "local_rope_theta": 70.0},
    ),
    "deberta-v2": (
        # transformers takes sqrt(n K) in float32, where these, 6 and 4, are exact
        _SMALL | {"hidden_size": 48, "relative_attention": True, "share_att_key": True, "pos_att_type": ["p2c", "c2p"],
                  "norm_rel_ebd": "layer_norm", "position_buckets": 16, "max_relative_positions": -1,
                  "position_biased_input": False, "type_vocab_size": 0},
        _OTHER | {"num_attention_heads": 6, "relative_attention": True, "pos_att_type": ["c2p"],
                  "max_relative_positions": 20, "position_biased_input": True, "type_vocab_size": 2},
    ),
}  # fmt: skip
CASES = [(name, shape) for name in FAMILIES for shape in (0, 1)]
Theirs = Any  # a model of transformers


def theirs_of(name: str, shape: int, kind: str) -> Theirs:
    """A model of transformers with random weights, biases and norms included; kind: Model or MaskedLM."""
    torch.manual_seed(shape)
    values = dict(FAMILIES[name][shape])
    config = transformers.AutoConfig.for_model(name, **values)
    config._attn_implementation = "eager"
    auto = transformers.AutoModel if kind == "Model" else transformers.AutoModelForMaskedLM
    model = auto.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def inputs_of(model: Theirs, length: int = 40) -> dict[str, Tensor]:
    """Four sequences: full, padded, padded to three tokens, and full; two segments where there are any."""
    config = model.config
    pad = 0 if config.pad_token_id is None else config.pad_token_id
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, VOCABULARY, (4, length), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, length // 2 :] = 0
    mask[2, 3:] = 0
    found = {"input_ids": ids.masked_fill(mask == 0, pad), "attention_mask": mask}
    if getattr(config, "type_vocab_size", 0) > 1:
        types = (torch.arange(length) >= length // 3).long().expand_as(ids).contiguous()
        found["token_type_ids"] = types
    return found


def ours_of(theirs: Theirs, folder: Path, kind: str, attention: str = "sdpa") -> BertModel | BertForMaskedLM:
    """The same model in ours, through a folder that transformers wrote."""
    theirs.save_pretrained(folder)
    cls = BertModel if kind == "Model" else BertForMaskedLM
    return cls.from_pretrained(folder, heads="require" if kind != "Model" else "load", attention=attention)


def worst(ours: Tensor, theirs: Tensor, mask: Tensor) -> float:
    return float((ours - theirs)[mask != 0].abs().max())


@pytest.fixture(autouse=True)
def exact_rotation(monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers rounds ModernBERT's rotated queries and keys, and its softmax, to float32 in float64 models too."""
    theirs = transformers.models.modernbert.modeling_modernbert

    def rotate(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor, unsqueeze_dim: int) -> tuple[Tensor, ...]:
        cos, sin = cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim)
        return tuple(each * cos + theirs.rotate_half(each) * sin for each in (query, key))

    monkeypatch.setattr(theirs, "apply_rotary_pos_emb", rotate)
    monkeypatch.setattr(theirs, "eager_attention_forward", sdpa_attention_forward)


@pytest.mark.parametrize("attention", ["sdpa", "packed", "eager"])
@pytest.mark.parametrize(("name", "shape"), CASES)
@torch.no_grad()
def test_hidden_states(name: str, shape: int, attention: str, tmp_path: Path) -> None:
    """float32 to 2e-5, float64 to 1e-10, of every layer, at valid tokens."""
    theirs = theirs_of(name, shape, "Model")
    ours = ours_of(theirs, tmp_path, "Model", attention)
    inputs = inputs_of(theirs)
    for dtype, bound in ((torch.float32, 2e-5), (torch.float64, 1e-10)):
        expected = theirs.to(dtype)(**inputs, output_hidden_states=True)
        found = ours.to(dtype)(**inputs, output_hidden_states=True)
        assert found.hidden_states is not None and len(found.hidden_states) == len(expected.hidden_states)
        for mine, other in zip(found.hidden_states, expected.hidden_states, strict=True):
            assert worst(mine, other, inputs["attention_mask"]) <= bound
        assert worst(found.last_hidden, expected.last_hidden_state, inputs["attention_mask"]) <= bound
        if found.pooled is not None and getattr(expected, "pooler_output", None) is not None:
            assert float((found.pooled - expected.pooler_output).abs().max()) <= bound


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_logits_and_gradients(name: str, shape: int, tmp_path: Path) -> None:
    theirs = theirs_of(name, shape, "MaskedLM")
    ours = ours_of(theirs, tmp_path, "MaskedLM", "packed")
    assert isinstance(ours, BertForMaskedLM)
    inputs = inputs_of(theirs)
    expected = theirs(**inputs).logits
    found = ours.logits_at(ours(**inputs).last_hidden)
    assert worst(found.detach(), expected.detach(), inputs["attention_mask"]) <= 2e-5
    chosen = inputs["attention_mask"].bool()
    for model, logits in ((theirs, expected), (ours, found)):
        model.zero_grad()
        torch.nn.functional.cross_entropy(logits[chosen], inputs["input_ids"][chosen]).backward()
    by_file = gradients(ours)
    missing = {key for key, parameter in theirs.named_parameters() if parameter.grad is not None} - by_file.keys()
    tied = {key for key in missing if "decoder" in key or "projector" in key or "lm_head" in key}
    assert missing == tied
    for key, parameter in theirs.named_parameters():
        if parameter.grad is not None and key in by_file:
            difference = float((by_file[key] - parameter.grad).norm())
            assert difference <= 1e-5 * float(parameter.grad.norm()) + 1e-7, key


def gradients(ours: BertForMaskedLM) -> dict[str, Tensor]:
    """Our gradients by the names of files: the weights of a model whose weights are its gradients."""
    copy = BertForMaskedLM(ours.config)
    with torch.no_grad():
        for to, parameter in zip(copy.parameters(), ours.parameters(), strict=True):
            to.copy_(torch.zeros_like(parameter) if parameter.grad is None else parameter.grad)
    return copy.file_weights()


@pytest.mark.parametrize("kind", ["Model", "MaskedLM"])
@pytest.mark.parametrize(("name", "shape"), CASES)
def test_folders_both_ways(name: str, shape: int, kind: str, tmp_path: Path) -> None:
    """What we write, transformers opens without a missing or unexpected key, and finds the tensors it had written."""
    theirs = theirs_of(name, shape, kind)
    ours = ours_of(theirs, tmp_path / "theirs", kind)
    assert ours.load_report is not None and not ours.load_report.left_over and not ours.load_report.newly_made
    ours.save_pretrained(tmp_path / "ours")
    before, after = (load_file(tmp_path / each / "model.safetensors") for each in ("theirs", "ours"))
    assert all(torch.equal(after[key], before[key]) for key in before.keys() & after.keys())
    loader = getattr(transformers, type(theirs).__name__)
    again, report = loader.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), report
    for key, tensor in theirs.state_dict().items():
        assert torch.equal(again.state_dict()[key], tensor), key
    assert read_config(tmp_path / "ours" / "config.json") == read_config(tmp_path / "theirs" / "config.json")
    assert type(again.config) is type(theirs.config)
    changed = changed_fields(theirs.config.to_dict(), again.config.to_dict())
    assert not changed, changed


def changed_fields(before: Mapping[str, object], after: Mapping[str, object]) -> dict[str, object]:
    """What the configuration says otherwise after a way through ours, what computes nothing apart."""
    idle = {"architectures", "dtype", "torch_dtype", "_name_or_path", "transformers_version", "bos_token_id",
            "eos_token_id", "use_cache", "sinusoidal_pos_embds", "qa_dropout"}  # fmt: skip
    return {key: (each, after.get(key)) for key, each in before.items() if key not in idle and after.get(key) != each}


HEADS = {"BertForSequenceClassification": heads.BertForSequenceClassification,
         "BertForTokenClassification": heads.BertForTokenClassification,
         "BertForQuestionAnswering": heads.BertForQuestionAnswering}  # fmt: skip


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_heads_are_theirs_or_none(name: str, head: str, tmp_path: Path) -> None:
    """What says that it is a classifier of `transformers` is one, with the same logits; the rest is its encoder. Ours
    reads both."""
    theirs_of(name, 0, "Model").save_pretrained(tmp_path / "encoder")
    torch.manual_seed(0)
    changes = {"labels": ("a", "b", "c")}
    ours = HEADS[head].from_pretrained(tmp_path / "encoder", heads="new", changes=changes)
    ours.save_pretrained(tmp_path / "head")
    again = HEADS[head].from_pretrained(tmp_path / "head", heads="require")
    (written,) = json.loads((tmp_path / "head" / "config.json").read_text())["architectures"]
    reader = getattr(transformers, written)
    other, report = reader.from_pretrained(tmp_path / "head", output_loading_info=True, attn_implementation="eager")
    inputs = inputs_of(other)
    found = again(**{key: inputs.get(key) for key in ("input_ids", "attention_mask", "token_type_ids")})
    if not written.endswith("Model"):
        assert not report["missing_keys"] and not report["unexpected_keys"], report
        expected = other.eval()(**inputs)
        pairs = zip(found, (expected.start_logits, expected.end_logits), strict=True) if "Answering" in head else [
            (found, expected.logits)]  # fmt: skip
        for mine, logits in pairs:
            inside = inputs["attention_mask"].bool() if "Sequence" not in head else slice(None)
            assert float((mine - logits)[inside].abs().max()) <= 2e-5
    else:
        assert not [key for key in report["missing_keys"] if "pooler" not in key], report
    assert written.endswith("Model") == (
        name == "modernbert" or ("Sequence" in head and name not in ("bert", "albert"))
    )
