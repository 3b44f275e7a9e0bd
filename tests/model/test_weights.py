"""Folders in and out: every form that weights take on the hub, round trips, and what must be refused."""

import json
import os
import pickle
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.model.pretraining import BertForPreTraining
from tinydistil.base.errors import InputError
from tinydistil.model.bert import BertForMaskedLM, BertModel
from tinydistil.model.config import BertConfig, read_config
from tinydistil.model.heads import BertForSequenceClassification
from tinydistil.model.pretrained import Pretrained

SMALL = BertConfig(
    vocab_size=90, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
    max_position_embeddings=40,
)  # fmt: skip
IDS = torch.tensor([[2, 7, 5, 1], [3, 3, 4, 0]])
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])


def random_model(model_class: type[Pretrained], config: BertConfig = SMALL) -> Pretrained:
    torch.manual_seed(0)
    model = model_class(config).eval()
    for parameter in model.parameters():  # no zero biases, so that a lost one shows
        parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
    return model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A BertForPreTraining folder as we write it."""
    random_model(BertForPreTraining).save_pretrained(tmp_path)
    return tmp_path


def edit_weights(folder: Path, change: dict[str, Tensor | None]) -> None:
    weights = load_file(folder / "model.safetensors")
    for name, tensor in change.items():
        weights.pop(name, None)
        if tensor is not None:
            weights[name] = tensor
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def edit_config(folder: Path, **change: object) -> None:
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | change))


def to_bin(folder: Path, weights: dict[str, Tensor], **options: object) -> None:
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin", **options)


# --- round trips ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "name"),
    [
        (BertModel, "BertModel"),
        (BertForMaskedLM, "BertForMaskedLM"),
        (BertForPreTraining, "BertForPreTraining"),
        (BertForSequenceClassification, "BertForSequenceClassification"),
    ],
)
def test_ours_to_transformers_and_back(ours: type[Pretrained], name: str, tmp_path: Path) -> None:
    labels = ("ruim", "neutro", "bom") if ours.has_labels else SMALL.labels
    model = random_model(ours, SMALL.replace(labels=labels))
    model.save_pretrained(tmp_path / "ours")
    theirs, info = getattr(transformers, name).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")), info
    theirs.save_pretrained(tmp_path / "theirs")
    back = ours.from_pretrained(tmp_path / "theirs")
    assert back.load_report is not None
    assert not back.load_report.newly_made and not back.load_report.left_over
    for (key, tensor), (other_key, other) in zip(model.state_dict().items(), back.state_dict().items(), strict=True):
        assert key == other_key and torch.equal(tensor, other), key
    assert back.config == model.config
    written = load_file(tmp_path / "ours" / "model.safetensors")
    assert set(written) == set(load_file(tmp_path / "theirs" / "model.safetensors"))


def test_tied_weights_are_written_once(folder: Path) -> None:
    names = list(load_file(folder / "model.safetensors"))
    assert not [name for name in names if "decoder" in name]


def test_labels_survive(tmp_path: Path) -> None:
    random_model(BertForSequenceClassification, SMALL.replace(labels=("não", "sim"))).save_pretrained(tmp_path)
    assert transformers.AutoConfig.from_pretrained(tmp_path).id2label == {0: "não", 1: "sim"}
    assert read_config(tmp_path / "config.json", labels=True).labels == ("não", "sim")


def test_other_poolings_are_not_passed_off_as_transformers_heads(tmp_path: Path) -> None:
    random_model(BertForSequenceClassification, SMALL.replace(pooling="mean")).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["BertModel"]
    assert BertForSequenceClassification.from_pretrained(tmp_path, heads="require").config.pooling == "mean"


# --- forms in which weights come -----------------------------------------------------------------------------------


def outputs(model: Pretrained) -> Tensor:
    with torch.no_grad():
        output = model(IDS, MASK)
        return torch.cat([model.logits_at(output.encoded.last_hidden).flatten(), output.next_sentence.flatten()])


@pytest.mark.parametrize("form", ["bin", "legacy bin", "sharded", "sharded bin", "gamma beta", "no prefix", "decoder"])
def test_forms_of_weights(folder: Path, form: str) -> None:
    expected = outputs(BertForPreTraining.from_pretrained(folder))
    weights = load_file(folder / "model.safetensors")
    if form == "bin":
        to_bin(folder, weights)
    elif form == "legacy bin":  # before PyTorch 1.6: a bare pickle stream, no zip
        to_bin(folder, weights, _use_new_zipfile_serialization=False)
    elif form == "sharded":
        model = transformers.BertForPreTraining.from_pretrained(folder)
        (folder / "model.safetensors").unlink()
        model.save_pretrained(folder, max_shard_size="8KB")
        assert len(list(folder.glob("model-*.safetensors"))) > 2
    elif form == "sharded bin":
        (folder / "model.safetensors").unlink()
        names = sorted(weights)
        parts = {"pytorch_model-1.bin": names[::2], "pytorch_model-2.bin": names[1::2]}
        for file, part in parts.items():
            torch.save({name: weights[name] for name in part}, folder / file)
        weight_map = {name: file for file, part in parts.items() for name in part}
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    elif form == "gamma beta":
        old = {
            name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
            for name, tensor in weights.items()
        }
        assert set(old) != set(weights)
        to_bin(folder, old)
    elif form == "no prefix":
        to_bin(folder, {name.removeprefix("bert."): tensor for name, tensor in weights.items()})
    elif form == "decoder":  # as BERTimbau and bert-tiny lie on the hub
        edit_weights(folder, {
            "cls.predictions.decoder.weight": weights["bert.embeddings.word_embeddings.weight"].clone(),
            "cls.predictions.decoder.bias": weights["cls.predictions.bias"].clone(),
            "bert.embeddings.position_ids": torch.arange(40)[None],
        })  # fmt: skip
    model = BertForPreTraining.from_pretrained(folder, heads="require")
    assert torch.equal(outputs(model), expected)
    assert model.load_report is not None and not model.load_report.left_over


def test_untied_decoder_equal_to_the_embeddings_survives(tmp_path: Path) -> None:
    model = random_model(BertForMaskedLM, SMALL.replace(tie_word_embeddings=False))
    model.masked_lm.decoder.data.copy_(model.bert.embeddings.word.weight)
    model.save_pretrained(tmp_path)
    back = BertForMaskedLM.from_pretrained(tmp_path, heads="require")
    assert torch.equal(back.masked_lm.decoder, model.masked_lm.decoder)


@pytest.mark.parametrize("form", ["parameters", "module."])
def test_odd_but_sound_bins(folder: Path, form: str) -> None:
    """Saved with parameters instead of tensors, or out of DataParallel."""
    expected = outputs(BertForPreTraining.from_pretrained(folder))
    weights = load_file(folder / "model.safetensors")
    if form == "parameters":
        to_bin(folder, {name: torch.nn.Parameter(tensor) for name, tensor in weights.items()})
    else:
        to_bin(folder, {f"module.{name}": tensor for name, tensor in weights.items()})
    assert torch.equal(outputs(BertForPreTraining.from_pretrained(folder)), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes_become_float32(folder: Path, dtype: torch.dtype) -> None:
    weights = load_file(folder / "model.safetensors")
    edit_weights(folder, {name: tensor.to(dtype) for name, tensor in weights.items()})
    model = BertModel.from_pretrained(folder)
    assert model.embeddings.word.weight.dtype == torch.float32
    expected = weights["bert.embeddings.word_embeddings.weight"].to(dtype).float()
    assert torch.equal(model.embeddings.word.weight, expected)


def test_untied_decoder_computes_as_the_reference_does(folder: Path, tmp_path: Path) -> None:
    edit_weights(folder, {
        "cls.predictions.decoder.weight": torch.randn(90, 16),
        "cls.predictions.decoder.bias": torch.randn(90),
    })  # fmt: skip
    reference = transformers.BertForPreTraining.from_pretrained(folder).eval()
    model = BertForPreTraining.from_pretrained(folder)
    assert not model.config.tie_word_embeddings
    with torch.no_grad():
        theirs = reference(IDS, attention_mask=MASK).prediction_logits
        assert torch.allclose(model.logits_at(model(IDS, MASK).encoded.last_hidden), theirs, atol=2e-5)
        model.save_pretrained(tmp_path / "again")
        again, info = transformers.BertForPreTraining.from_pretrained(tmp_path / "again", output_loading_info=True)
        assert not info["missing_keys"] and not info["unexpected_keys"]
        assert torch.allclose(again.eval()(IDS, attention_mask=MASK).prediction_logits, theirs, atol=2e-5)


def test_config_without_type_or_architecture(folder: Path) -> None:
    values = json.loads((folder / "config.json").read_text())
    del values["model_type"], values["architectures"], values["layer_norm_eps"]
    (folder / "config.json").write_text(json.dumps(values))
    BertForPreTraining.from_pretrained(folder)


# --- what the report says ------------------------------------------------------------------------------------------


def test_report_of_more_and_fewer_heads(folder: Path) -> None:
    encoder = BertModel.from_pretrained(folder)
    assert encoder.load_report is not None
    assert any(name.startswith("cls.predictions") for name in encoder.load_report.left_over)
    classifier = BertForSequenceClassification.from_pretrained(folder)
    assert classifier.load_report is not None
    assert classifier.load_report.newly_made == ("classifier.bias", "classifier.weight")
    assert "newly made at random: classifier.bias, classifier.weight" in str(classifier.load_report)
    assert float(classifier.classifier.weight.detach().std()) == pytest.approx(0.02, abs=0.008)


def test_new_heads_replace_stored_ones(tmp_path: Path) -> None:
    random_model(BertForSequenceClassification, SMALL.replace(labels=("a", "b", "c"))).save_pretrained(tmp_path)
    model = BertForSequenceClassification.from_pretrained(tmp_path, heads="new", changes={"labels": ("x", "y")})
    assert model.classifier.weight.shape == (2, 16)
    assert model.load_report is not None
    assert "bert.pooler.weight" in model.load_report.loaded


def test_no_pooler_is_invented(folder: Path) -> None:
    edit_weights(folder, {"bert.pooler.dense.weight": None, "bert.pooler.dense.bias": None})
    assert BertModel.from_pretrained(folder).pooler is None
    with pytest.raises(InputError, match=r"lacks 'pooler\.dense\.weight'"):
        BertModel.from_pretrained(folder, heads="require")


# --- what is refused -----------------------------------------------------------------------------------------------


def broken_folder(kind: str, folder: Path) -> None:
    """Break one thing in a good folder."""
    weights_file = folder / "model.safetensors"
    layer = "bert.encoder.layer.1.output.dense.weight"
    if kind == "empty folder":
        for file in folder.iterdir():
            file.unlink()
    elif kind == "no weights":
        weights_file.unlink()
    elif kind == "truncated":
        weights_file.write_bytes(weights_file.read_bytes()[:-1000])
    elif kind == "truncated header":
        weights_file.write_bytes(weights_file.read_bytes()[:20])
    elif kind == "empty weights":
        weights_file.write_bytes(b"")
    elif kind == "bin damaged":
        to_bin(folder, load_file(weights_file))
        data = (folder / "pytorch_model.bin").read_bytes()
        (folder / "pytorch_model.bin").write_bytes(data[: len(data) // 2])
    elif kind == "bin of something else":
        weights_file.unlink()
        torch.save([1, 2, 3], folder / "pytorch_model.bin")
    elif kind == "missing encoder weight":
        edit_weights(folder, {layer: None})
    elif kind == "wrong shape":
        edit_weights(folder, {layer: torch.zeros(16, 31)})
    elif kind == "not finite":
        edit_weights(folder, {layer: torch.full((16, 32), torch.nan)})
    elif kind == "quantised":
        edit_weights(folder, {layer: torch.zeros(16, 32, dtype=torch.int8)})
    elif kind == "twice":
        edit_weights(folder, {"encoder.layer.1.output.dense.weight": torch.zeros(16, 32)})
    elif kind == "missing shard":
        weights_file.unlink()
        index = {"weight_map": {"bert.x": "model-00001-of-00002.safetensors"}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    elif kind == "shard elsewhere":
        weights_file.unlink()
        index = {"weight_map": {"bert.x": "../../etc/passwd"}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    elif kind == "beyond float32":
        edit_weights(folder, {layer: torch.full((16, 32), 1e300, dtype=torch.float64)})
    elif kind == "number for a name":
        to_bin(folder, load_file(weights_file) | {7: torch.zeros(1)})  # type: ignore[dict-item]
    elif kind == "sparse":
        to_bin(folder, load_file(weights_file) | {"x": torch.zeros(2, 2).to_sparse()})
    elif kind in ODD_TENSORS:
        to_bin(folder, load_file(weights_file) | {"x": ODD_TENSORS[kind]()})
    elif kind == "quantised decoder":
        odd = torch.quantize_per_tensor(torch.zeros(90, 16), 1.0, 0, torch.qint8)
        to_bin(folder, load_file(weights_file) | {"cls.predictions.decoder.weight": odd})
    elif kind == "stretched":
        to_bin(folder, load_file(weights_file) | {layer: torch.zeros(1).expand(16, 32 * 10**9)})
    elif kind == "complex":
        edit_weights(folder, {layer: torch.zeros(16, 32, dtype=torch.complex64)})
    elif kind == "bin of text":
        weights_file.unlink()
        (folder / "pytorch_model.bin").write_bytes("não são pesos\n".encode() * 50)
    elif kind == "bin of a huge string":
        weights_file.unlink()
        (folder / "pytorch_model.bin").write_bytes(b"\x80\x04\x8e" + b"\xff" * 7 + b"\x0f" + b"x" * 20)
    elif kind == "lfs pointer":
        weights_file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    elif kind == "long number":
        (folder / "config.json").write_text('{"hidden_size": ' + "9" * 5000 + "}")
    elif kind == "config not json":
        (folder / "config.json").write_text("{")
    elif kind == "config not an object":
        (folder / "config.json").write_text("[]")
    else:
        values = {
            "fewer layers": {"num_hidden_layers": 1},
            "more layers": {"num_hidden_layers": 3},
            "other width": {"hidden_size": 32},
            "other vocabulary": {"vocab_size": 91},
            "activation": {"hidden_act": "gelo"},
            "heads": {"num_attention_heads": 3},
            "another family": {"model_type": "robertta"},
            "relative": {"position_embedding_type": "relative_key"},
            "decoder model": {"is_decoder": True},
            "text width": {"hidden_size": "16"},
            "zero layers": {"num_hidden_layers": 0},
            "dropout": {"hidden_dropout_prob": 1.5},
            "pad": {"pad_token_id": 90},
            "labels": {"id2label": {"0": "a", "2": "b"}},
            "label count": {"num_labels": True},
            "infinite": {"layer_norm_eps": float("inf")},
            "huge": {"hidden_size": 10**30},
            "huge float": {"layer_norm_eps": 10**400},
        }[kind]
        edit_config(folder, **values)


# In files that torch.load reads without a word.
ODD_TENSORS: dict[str, Callable[[], Tensor]] = {
    "nested": lambda: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]),
    "jagged": lambda: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)], layout=torch.jagged),
    "quantised tensor": lambda: torch.quantize_per_tensor(torch.zeros(2, 2), 1.0, 0, torch.qint8),
    "compressed": lambda: torch.zeros(2, 2).to_sparse_csr(),
    "without data": lambda: torch.zeros(2, device="meta"),
}


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        *((kind, "mapping of names to dense tensors, but 'x'") for kind in ODD_TENSORS),
        ("quantised decoder", r"dense tensors, but 'cls\.predictions\.decoder\.weight'"),
        ("stretched", r"has shape \(16, 32000000000\), but config\.json asks for \(16, 32\)"),
        ("complex", "is torch.complex64"),
        ("bin of text", r"pytorch_model\.bin' (is damaged|.* was refused unopened) .*; (fetch it again|ask)"),
        ("bin of a huge string", r"pytorch_model\.bin' (is damaged|.* was refused unopened) .*; (fetch it again|ask)"),
        ("empty folder", r"config\.json' does not exist"),
        ("no weights", r"has no weights \(model\.safetensors or pytorch_model\.bin\)"),
        ("truncated", "not a whole safetensors file .* fetch it again"),
        ("truncated header", "not a whole safetensors file"),
        ("empty weights", "not a whole safetensors file"),
        ("bin damaged", "is damaged .*fetch it again"),
        ("bin of something else", "must hold a mapping of names to tensors, got list"),
        ("missing encoder weight", r"lacks the encoder weight '.*encoder\.layer\.1\.output\.dense\.weight'"),
        ("wrong shape", r"has shape \(16, 31\), but config\.json asks for \(16, 32\)"),
        ("not finite", "NaN or infinity"),
        ("quantised", "is torch.int8, perhaps of a quantised model"),
        ("twice", "is there twice"),
        ("missing shard", r"'model-00001-of-00002\.safetensors', which does not exist"),
        ("shard elsewhere", "not in the same folder"),
        ("config not json", "is not valid JSON"),
        ("config not an object", "must hold a JSON object, got list"),
        ("fewer layers", "encoder weights that config.json has no place for"),
        ("more layers", r"lacks the encoder weight '.*layer\.2\..*num_hidden_layers"),
        ("other width", r"but config\.json asks for"),
        ("other vocabulary", r"has shape \(90, 16\), but config\.json asks for \(91, 16\)"),
        ("activation", "hidden_act 'gelo' is unknown; did you mean 'gelu'"),
        ("heads", "hidden_size must be a multiple of num_attention_heads, got 16 and 3"),
        ("another family", "model_type must be one of bert, .* got 'robertta'; did you mean 'roberta'"),
        ("relative", "position_embedding_type must be 'absolute'"),
        ("decoder model", "is_decoder must be False"),
        ("text width", "hidden_size must be of type int, got '16'"),
        ("zero layers", r"num_hidden_layers must be in 1\.\.1000, got 0"),
        ("dropout", r"hidden_dropout_prob must be in \[0, 1\), got 1\.5"),
        ("pad", r"pad_token_id must be in 0\.\.89, got 90"),
        ("labels", "id2label must map"),
        ("label count", r"num_labels must be an integer in 1\.\.100000, got True"),
        ("infinite", "layer_norm_eps must be finite, got inf"),
        ("huge", "hidden_size must fit 64 bits, got 1000"),
        ("huge float", "layer_norm_eps is too large"),
        ("beyond float32", "NaN or infinity as torch.float32"),
        ("number for a name", "but 7 is Tensor"),
        ("sparse", "mapping of names to dense tensors, but 'x'"),
        ("lfs pointer", "is a Git LFS pointer, not the weights; run `git lfs pull`"),
        ("long number", "is not valid JSON"),
    ],
)
def test_broken_folders(folder: Path, kind: str, message: str) -> None:
    broken_folder(kind, folder)
    # What is wrong with labels concerns a model that has them.
    model_class = BertForSequenceClassification if kind.startswith("label") else BertForPreTraining
    with pytest.raises(InputError, match=message):
        model_class.from_pretrained(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"num_hidden_layers": 20_000},
        {"num_hidden_layers": 1_000, "hidden_size": 32_768, "intermediate_size": 262_144},
        {"vocab_size": 2**31 - 1},
        {"vocab_size": 10_000_000, "hidden_size": 16_384},
        {"max_position_embeddings": 2**40},
        {"type_vocab_size": 2**31 - 1},
        {"intermediate_size": 10**9},
        {"num_labels": 2**31 - 1, "id2label": None},
        {"num_labels": 10**30, "id2label": None},
    ],
)
def test_a_small_config_takes_no_memory(folder: Path, change: dict[str, object]) -> None:
    """A config.json of a few bytes that asks for up to petabytes is refused before any is asked for."""
    edit_config(folder, **change)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=r"must be|config\.json asks for|lacks the encoder weight|this machine has"):
        BertForSequenceClassification.from_pretrained(folder)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000, "KiB"


@pytest.mark.parametrize(
    "change",
    [
        {"id2label": {"1": "a", "2": "b"}},
        {"id2label": {"0": "a", "7": "b"}},
        {"id2label": None},
        {"id2label": {}},
        {"id2label": ["a"]},
        {"id2label": {"0": "a", "1": "b", "2": "c"}, "num_labels": 2},
        {"num_labels": None},
        {"num_labels": "3"},
        {"pad_token_id": -1},
        {"pad_token_id": None},
    ],
)
def test_labels_and_padding_that_the_encoder_does_not_need(folder: Path, change: dict[str, object]) -> None:
    before = BertModel.from_pretrained(folder)(IDS, MASK).last_hidden
    edit_config(folder, **change)
    for model_class in (BertModel, BertForMaskedLM):
        assert torch.equal(model_class.from_pretrained(folder)(IDS, MASK).last_hidden, before)
    tuned = BertForSequenceClassification.from_pretrained(folder, heads="new", changes={"labels": ("x", "y")})
    assert tuned.config.labels == ("x", "y")


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o007, 0o660), (0o077, 0o600)])
def test_weights_have_the_mode_of_the_umask_and_no_leftovers(tmp_path: Path, mask: int, mode: int) -> None:
    (tmp_path / "model.safetensors.partial").write_bytes(b"half")
    before = os.umask(mask)
    try:
        random_model(BertForMaskedLM).save_pretrained(tmp_path)
    finally:
        os.umask(before)
    assert (tmp_path / "model.safetensors").stat().st_mode & 0o777 == mode
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


class _Malice:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (__import__("os").system, (f"touch {self.trace}",))


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_code_in_a_pickle_is_refused_and_not_run(folder: Path, tmp_path: Path, writer: str) -> None:
    (folder / "model.safetensors").unlink()
    trace = tmp_path / "executed"
    path = folder / "pytorch_model.bin"
    if writer == "torch":
        torch.save({"weight": _Malice(trace)}, path)
    else:
        path.write_bytes(pickle.dumps({"weight": _Malice(trace)}))
    with pytest.raises(InputError, match=r"refused unopened .*ask its author for safetensors"):
        BertForPreTraining.from_pretrained(folder)
    assert not trace.exists()


def test_head_asked_for_and_not_there(folder: Path) -> None:
    with pytest.raises(InputError, match=r"lacks 'classifier\.\w+': a model without that head"):
        BertForSequenceClassification.from_pretrained(folder, heads="require")


def test_failed_write_keeps_the_old_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (folder / "model.safetensors").read_bytes()

    def full_disk(path: Path, data: bytes) -> None:
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(InputError, match=r"model\.safetensors: no room for it \(No space left"):
        random_model(BertForPreTraining).save_pretrained(folder)
    assert (folder / "model.safetensors").read_bytes() == before
    assert not any("partial" in file.name or file.name.endswith(".tmp") for file in folder.iterdir())


# --- calls ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.tensor([[1, 90]]),), r"input_ids must be in 0\.\.89, got 90"),
        ((torch.tensor([[1, -1]]),), r"input_ids must be in 0\.\.89, got -1"),
        ((IDS, MASK, torch.full_like(IDS, 2)), r"token_type_ids must be in 0\.\.1, got 2"),
        ((torch.ones(1, 41, dtype=torch.long),), r"41 tokens is longer than the position table \(40\).*max_length=40"),
        ((torch.ones(3, dtype=torch.long),), r"input_ids must have the shape \(B, T\)"),
        ((torch.ones(1, 0, dtype=torch.long),), r"with T > 0, got \(1, 0\)"),
        ((torch.ones(1, 3),), "input_ids must be int64 or int32, got torch.float32"),
        ((IDS, MASK, torch.ones(2, 4)), "token_type_ids must be int64 or int32"),
        ((IDS, MASK[:, :3]), r"attention_mask must have the shape of input_ids \(2, 4\), got \(2, 3\)"),
    ],
)
def test_bad_calls(arguments: tuple[Tensor, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        random_model(BertModel)(*arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": "bogus"}, "heads 'bogus' is unknown; known: load, new, require"),
        ({"changes": {"hidden_dropout": 0.0}}, "unknown option 'hidden_dropout'; did you mean 'hidden_dropout_prob'"),
        ({"changes": {"labels": "ab"}}, "labels must be a list, got 'ab'"),
        ({"changes": {"hidden_dropout_prob": "x"}}, "hidden_dropout_prob must be of type float, got 'x'"),
    ],
)
def test_bad_options(folder: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        BertForPreTraining.from_pretrained(folder, **options)  # type: ignore[arg-type]


def test_new_heads_on_a_bare_encoder_change_nothing(folder: Path) -> None:
    model = BertModel.from_pretrained(folder, heads="new")
    assert model.load_report is not None and not model.load_report.newly_made


def test_unknown_attention() -> None:
    with pytest.raises(InputError, match="attention 'flash' is unknown; known: eager, packed, sdpa"):
        BertModel(SMALL, attention="flash")
