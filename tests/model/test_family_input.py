"""Folders of other families that cannot be: field, value and remedy, before a weight is read."""

import json
from pathlib import Path
from typing import Any

import pytest
import transformers

from tests.model.test_families import FAMILIES, theirs_of
from tinydistil.base.errors import InputError
from tinydistil.model.bert import BertModel
from tinydistil.model.config import read_config

# Family, what its config.json says otherwise, and what is answered.
CONFIGS: dict[str, tuple[str, dict[str, Any], str]] = {
    "an unknown family": ("bert", {"model_type": "debertta-v2"}, "model_type must be .* did you mean 'deberta-v2'"),
    "no name": ("bert", {"model_type": 7}, "model_type must be one of bert, .* got 7"),
    "groups that do not divide": ("albert", {"num_hidden_groups": 3}, "num_hidden_groups must divide .* 4, got 3"),
    "layers within a group": ("albert", {"inner_group_num": 2}, "inner_group_num must be 1, got 2"),
    "no group": ("albert", {"num_hidden_groups": 0}, "num_hidden_groups must be .*got 0"),
    "no padding id": ("roberta", {"pad_token_id": None}, "pad_token_id must be a token, as positions"),
    "no position left": ("xlm-roberta", {"max_position_embeddings": 2},
                         r"max_position_embeddings must be > 2 \(pad_token_id \+ 1\), got 2"),
    "relative positions": ("camembert", {"position_embedding_type": "relative_key"},
                           "position_embedding_type must be 'absolute', got 'relative_key'"),
    "a decoder": ("roberta", {"is_decoder": True}, "is_decoder must be False, got True"),
    "heads": ("distilbert", {"n_heads": 5}, "dim must be a multiple of n_heads, got 32 and 5"),
    "an activation": ("distilbert", {"activation": "mish"}, "activation 'mish' is unknown; did you mean 'swish'"),
    "a width": ("electra", {"embedding_size": 0}, "embedding_size must be"),
    "a width of text": ("electra", {"embedding_size": "128"}, "embedding_size must be of type int"),
    "beyond all memory": ("albert", {"vocab_size": 9_000_000, "embedding_size": 65_536}, "choose a smaller shape"),
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_configurations(name: str, tmp_path: Path) -> None:
    kind, changes, message = CONFIGS[name]
    values = transformers.AutoConfig.for_model(kind, **FAMILIES[kind][0]).to_dict()
    values = {key: each for key, each in (values | changes).items() if each is not None or key in changes}
    (tmp_path / "config.json").write_text(json.dumps(values, default=str))
    with pytest.raises(InputError, match=message) as raised:
        read_config(tmp_path / "config.json")
    assert str(tmp_path) in str(raised.value)


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "bert"])
def test_weights_of_another_family(name: str, tmp_path: Path) -> None:
    """BERT's weights under another family's config.json are refused by the first that is not there."""
    theirs_of("bert", 0, "Model").save_pretrained(tmp_path)
    values = transformers.AutoConfig.for_model(name, **FAMILIES[name][0]).to_dict()
    (tmp_path / "config.json").write_text(json.dumps(values, default=str))
    if name in ("roberta", "xlm-roberta", "camembert", "distilbert"):  # the same names: the tables' shapes tell
        message = "has shape .* but config.json asks for"
    else:
        message = f"encoder weight.*{name}"
    with pytest.raises(InputError, match=message):
        BertModel.from_pretrained(tmp_path)
