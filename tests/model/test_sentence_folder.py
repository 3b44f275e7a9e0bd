"""Folders that sentence-transformers opens, with the vectors that we compute; and its folders, followed by us."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from tinydistil.base.errors import InputError
from tinydistil.base.hub import fingerprint_of, resolve_folder, sentence_root
from tinydistil.evaluate.inference import embed
from tinydistil.model.bert import BertModel
from tinydistil.model.config import BertConfig
from tinydistil.model.layers import REDUCTIONS, pool
from tinydistil.model.sentence_folder import declaration_of, declare_sentence_encoder, read_sentence_folder
from tinydistil.tokenizer.tokenizer import Tokenizer, train_wordpiece

TEXTS = ["O gato dorme no sofá.", "A sessão foi aberta às nove horas, disse ela.", "Não.", "GATO", ""]
PROMPTS = {"query": "O gato: ", "vazio": ""}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a cased encoder of 2 x 16 and nothing of sentence-transformers."""
    folder = tmp_path_factory.mktemp("encoder")
    torch.manual_seed(0)
    tokenizer = train_wordpiece(TEXTS * 3, 150)
    config = BertConfig(vocab_size=tokenizer.vocab_size, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
                        intermediate_size=32, max_position_embeddings=32, initializer_range=0.3)  # fmt: skip
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("pooling", ["cls", "mean", "max"])
def test_the_same_vectors(pooling: str, encoder: Path, tmp_path: Path) -> None:
    theirs = pytest.importorskip("sentence_transformers")
    shutil.copytree(encoder, tmp_path, dirs_exist_ok=True)
    model, tokenizer = BertModel.from_pretrained(tmp_path), Tokenizer.from_pretrained(tmp_path)
    declare_sentence_encoder(tmp_path, model.config, pooling=pooling, max_length=12)
    batch = tokenizer.encode_batch(TEXTS, max_length=12)
    with torch.inference_mode():
        hidden = model(batch.input_ids, batch.attention_mask, batch.token_type_ids).last_hidden
    ours = pool(hidden, batch.attention_mask, pooling).numpy()
    reference = theirs.SentenceTransformer(str(tmp_path), device="cpu")
    assert reference.max_seq_length == 12
    np.testing.assert_allclose(reference.encode(TEXTS), ours, atol=1e-5)
    declared = declaration_of(tmp_path)
    assert declared is not None and declared.poolings == (pooling,)


# --- folders of others ---------------------------------------------------------------------------------------------


def ours(folder: Path, **options: object) -> NDArray[np.float32]:
    found = resolve_folder(folder)
    model = BertModel.from_pretrained(found)
    declared = read_sentence_folder(found, model.config)
    assert declared is not None
    vectors = embed(model, Tokenizer.from_pretrained(found), TEXTS, pooling=declared, **options)  # type: ignore[arg-type]
    return np.array([each.vector for each in vectors])


def dense(**options: object) -> Callable[[int], nn.Module]:
    def make(size: int) -> nn.Module:
        modules = pytest.importorskip("sentence_transformers.sentence_transformer.modules")
        torch.manual_seed(1)
        return modules.Dense(size, **({"out_features": 9} | options))  # type: ignore[no-any-return]

    return make


def other(name: str) -> Callable[[int], nn.Module]:
    def make(size: int) -> nn.Module:
        modules = pytest.importorskip("sentence_transformers.sentence_transformer.modules")
        module = getattr(modules, name)(*([size] if name == "LayerNorm" else []))
        for parameter in module.parameters():
            nn.init.normal_(parameter)
        return module  # type: ignore[no-any-return]

    return make


Values = dict[str, object]
DECLARED: dict[str, tuple[Values, list[Callable[[int], nn.Module]], Values, Values]] = {
    # pooling, modules behind it, of the encoder, of the whole
    **{f"pooled by {name}": ({"pooling_mode": name}, [], {}, {}) for name in REDUCTIONS},
    "several poolings": ({"pooling_mode": ("cls", "mean", "lasttoken")}, [other("Normalize")], {}, {}),
    "dense": ({"pooling_mode": "cls"}, [dense()], {}, {}),
    "dense without bias": ({}, [dense(bias=False, activation_function=nn.Identity()), other("Normalize")], {}, {}),
    "two dense": ({}, [dense(activation_function=nn.GELU()), dense(out_features=20), other("Dropout")], {}, {}),
    "residual": ({}, [dense(use_residual=True), dense(out_features=9, use_residual=True)], {}, {}),
    "layer norm": ({}, [other("LayerNorm")], {}, {}),
    "length": ({"pooling_mode": "mean"}, [], {"max_seq_length": 5}, {}),
    "length beyond the model": ({"pooling_mode": "cls"}, [], {"max_seq_length": None}, {}),
    "lower case": ({"pooling_mode": "mean"}, [], {"do_lower_case": True, "max_seq_length": 7}, {}),
    "prompt": ({"pooling_mode": "mean"}, [], {}, {"default_prompt_name": "query"}),
    "empty prompt": ({"pooling_mode": "mean"}, [], {}, {"default_prompt_name": "vazio"}),
    **{f"prompt left out of {name}": ({"pooling_mode": name, "include_prompt": False}, [], {"max_seq_length": 9},
                                      {"default_prompt_name": "query"}) for name in REDUCTIONS},
}  # fmt: skip


@pytest.fixture
def made(encoder: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A folder as sentence-transformers saves it."""

    def make(name: str) -> Path:
        library = pytest.importorskip("sentence_transformers")
        modules = pytest.importorskip("sentence_transformers.sentence_transformer.modules")
        pooling, behind, transformer, whole = DECLARED[name]
        parts: list[nn.Module] = [modules.Transformer(str(encoder)), modules.Pooling(16, **pooling)]
        for each in behind:
            parts.append(each(parts[-1].get_embedding_dimension() if name != "two dense" or len(parts) < 4 else 20))
        model = library.SentenceTransformer(modules=parts, device="cpu", prompts=PROMPTS, **whole)
        folder = tmp_path / "saved"
        model.save(str(folder))
        # By hand: it does not save do_lower_case, and max_seq_length as the tokenizer's.
        text = json.loads((folder / "sentence_bert_config.json").read_text())
        (folder / "sentence_bert_config.json").write_text(json.dumps(text | transformer))
        return folder

    return make


@pytest.mark.parametrize("name", DECLARED)
def test_what_a_folder_declares_is_followed(name: str, made: Callable[[str], Path]) -> None:
    library = pytest.importorskip("sentence_transformers")
    folder = made(name)
    expected = library.SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(ours(folder), expected, atol=2e-5)


@pytest.mark.parametrize("old", [True, False])
def test_an_encoder_inside(old: bool, made: Callable[[str], Path], tmp_path: Path) -> None:
    """0_Transformer/, as the first releases wrote it, with flags for the pooling; with and without modules.json."""
    library = pytest.importorskip("sentence_transformers")
    folder, inside = made("length"), tmp_path / "saved" / "0_Transformer"
    inside.mkdir()
    for file in list(folder.iterdir()):
        if file.is_file() and file.name not in ("modules.json", "config_sentence_transformers.json", "README.md"):
            file.rename(inside / file.name)
    if not old:
        (folder / "modules.json").unlink()
        assert resolve_folder(folder) == inside and sentence_root(inside) is None
        return
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (folder / "modules.json").write_text(json.dumps(modules))
    flags = {f"pooling_mode_{name}": name == "max_tokens" for name in ("cls_token", "mean_tokens", "max_tokens")}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 16} | flags))
    expected = library.SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(ours(folder), expected, atol=2e-5)
    # what is bound to the model is bound to its declaration too
    before = fingerprint_of(inside)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": "cls"}))
    assert fingerprint_of(inside) != before


@pytest.mark.parametrize("name", ["length", "dense", "two dense"])
def test_an_encoder_of_the_first_releases_kind(name: str, made: Callable[[str], Path]) -> None:
    """models.BERT, of which today's library knows nothing, was what models.Transformer is."""
    folder = made(name)
    expected, path = ours(folder), folder / "modules.json"
    modules = json.loads(path.read_text())
    modules[0]["type"] = "sentence_transformers.models.BERT"
    path.write_text(json.dumps(modules))
    np.testing.assert_array_equal(ours(folder), expected)


def test_minilm(minilm: Path) -> None:
    library = pytest.importorskip("sentence_transformers")
    expected = library.SentenceTransformer(str(minilm), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(ours(minilm), expected, atol=2e-5)


def test_a_length_asked_for_is_kept_to(made: Callable[[str], Path]) -> None:
    folder = made("length")
    with pytest.raises(InputError, match="text 1 has 8 tokens, more than the limit of 7"):
        ours(folder, max_length=7)


ODD: list[tuple[str, object, str]] = [
    ("modules.json", {}, "must list modules with a type"),
    ("modules.json", [7], "must list modules with a type"),
    ("modules.json", [{"type": 3, "path": ""}], "must list modules with a type"),
    ("modules.json", [{"type": "x.Transformer", "path": "../elsewhere"}], "a path inside its folder"),
    ("modules.json", [{"type": "x.Transformer", "path": "/etc"}], "a path inside its folder"),
    ("modules.json", [{"type": "x.Transformer", "path": ""}], "declares Transformer; followed are"),
    ("modules.json", [{"type": f"x.{kind}", "path": ""} for kind in ("Transformer", "Pooling", "WordWeights")],
     "declares Transformer, Pooling, WordWeights; followed are"),
    ("modules.json", [{"type": f"x.{kind}", "path": ""} for kind in ("Transformer", "WeightedLayerPooling", "Pooling")],
     "followed are Transformer, Pooling and then"),
    ("sentence_bert_config.json", {"max_seq_length": "128"}, "max_seq_length must be of type int, got '128'"),
    ("sentence_bert_config.json", {"max_seq_length": True}, "max_seq_length must be of type int, got True"),
    ("sentence_bert_config.json", {"max_seq_length": 0}, "max_seq_length must be >= 1, got 0"),
    ("sentence_bert_config.json", {"do_lower_case": "no"}, "do_lower_case must be of type bool"),
    ("sentence_bert_config.json", [], "must hold a JSON object"),
    ("config_sentence_transformers.json", {"default_prompt_name": "nada"}, "'nada' is none of its prompts"),
    ("config_sentence_transformers.json", {"default_prompt_name": "q", "prompts": {"q": 7}}, "none of its prompts"),
    ("config_sentence_transformers.json", {"prompts": [1]}, "prompts must be of type dict"),
    ("1_Pooling/config.json", {"pooling_mode": "soma"}, "pooling_mode must be one or some of"),
    ("1_Pooling/config.json", {"pooling_mode": [["cls"]]}, "pooling_mode must be one or some of"),
    ("1_Pooling/config.json", {"pooling_mode_cls_token": 1}, "pooling_mode_cls_token must be of type bool"),
    ("2_Dense/config.json", {"in_features": 17}, "in_features must be 16, got 17"),
    ("2_Dense/config.json", {"in_features": 16, "out_features": 10**9}, "out_features must be in"),
    ("2_Dense/config.json", {"in_features": 16, "out_features": 10}, r"has shape \(9, 16\), but config.json asks for"),
    ("2_Dense/config.json", {"activation_function": "os.system"}, "activation_function 'system' is not followed"),
    ("2_Dense/config.json", {"module_input_name": "token_embeddings"}, "module_input_name 'token_embeddings' is not"),
    ("2_Dense/model.safetensors", None, "has no weights"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "values", "message"), ODD)
def test_odd_declarations(made: Callable[[str], Path], file: str, values: object, message: str) -> None:
    folder = made("dense")
    if values is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(json.dumps(values))
    with pytest.raises(InputError, match=message):
        ours(folder)


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="pooling 'pooler' cannot be declared"):
        declare_sentence_encoder(tmp_path, BertConfig(), pooling="pooler", max_length=128)
    with pytest.raises(InputError, match=r"max_length must be in 3\.\.512"):
        declare_sentence_encoder(tmp_path, BertConfig(), pooling="mean", max_length=513)
