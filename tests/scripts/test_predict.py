"""scripts/predict.py as a user runs it: what it prints, and a table of mistakes with their messages."""

import io
import json
import runpy
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tinydistil.model.bert import BertForMaskedLM, BertModel
from tinydistil.model.config import BertConfig
from tinydistil.model.sentence_folder import declare_sentence_encoder
from tinydistil.tokenizer.tokenizer import train_wordpiece

SCRIPT = Path(__file__).parent.parent.parent / "scripts" / "predict.py"
SENTENCES = ["O gato dorme no sofá.", "A gata [MASK] na cama.", "Pé-de-moleque e café."]


@dataclass
class Result:
    code: int
    out: str
    error: str


@pytest.fixture
def predict(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Run the script in this process (a process of its own takes three seconds to import torch)."""

    def run(*arguments: str | Path, stdin: bytes = b"") -> Result:
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = 0
        try:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random model with every head this script asks for."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("modelo")
    tokenizer = train_wordpiece(SENTENCES * 3, 150)
    config = BertConfig(
        vocab_size=tokenizer.vocab_size, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=32,
    )  # fmt: skip
    model = BertForMaskedLM(config)
    model.bert = BertModel(config)  # with a pooler
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def copy_of(folder: Path, target: Path) -> Path:
    target.mkdir()
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


# --- what it prints ------------------------------------------------------------------------------------------------


def test_fill_mask(predict: Callable[..., Result], folder: Path) -> None:
    result = predict("fill-mask", "--model", folder, "--top-k", "3", "A gata [MASK] na cama.")
    assert result.code == 0, result.error
    lines = result.out.splitlines()
    assert lines[0] == "A gata [MASK] na cama." and len(lines) == 4
    assert all("%" in line for line in lines[1:])


def test_fill_mask_json_from_standard_input(predict: Callable[..., Result], folder: Path) -> None:
    result = predict("fill-mask", "--model", folder, "--json", stdin=b"O [MASK]\r\nA [MASK] e [MASK]")
    first, second = (json.loads(line) for line in result.out.splitlines())
    assert first["text"] == "O [MASK]" and len(first["masks"]) == 1
    assert len(second["masks"]) == 2 and len(second["masks"][0]) == 5


def test_embed_file_to_npy(predict: Callable[..., Result], folder: Path, tmp_path: Path) -> None:
    (tmp_path / "frases.txt").write_text("\ufeff" + "\n".join(SENTENCES) + "\n\n", encoding="utf-8")
    output = tmp_path / "vetores.npy"
    result = predict("embed", "--model", folder, "--file", tmp_path / "frases.txt", "--output", output)
    assert result.code == 0 and result.out == ""
    assert np.load(output).shape == (4, 16)  # the empty line keeps its place


@pytest.mark.parametrize("pooling", ["mean", "cls", "pooler", "max"])
def test_embed_to_standard_output(predict: Callable[..., Result], folder: Path, pooling: str) -> None:
    result = predict("embed", "--model", folder, "--pooling", pooling, "--normalize", *SENTENCES)
    lines = [json.loads(line) for line in result.out.splitlines()]
    assert [line["text"] for line in lines] == SENTENCES
    assert np.linalg.norm(lines[0]["embedding"]) == pytest.approx(1.0, abs=1e-5)


def test_pooling(predict: Callable[..., Result], folder: Path) -> None:
    result = predict("pooling", "--model", folder, *SENTENCES)
    header, *rows = result.out.splitlines()
    assert header.split() == ["cls~pooler", "cls~mean", "pooler~mean", "text"]
    assert len(rows) == 3 and rows[0].endswith(SENTENCES[0])


def test_truncate(predict: Callable[..., Result], folder: Path) -> None:
    assert predict("embed", "--model", folder, "--truncate", "gato " * 50).code == 0


def test_own_process(folder: Path) -> None:
    """Imports, exit codes and the absence of a traceback, once for real; and a reader that goes away."""
    command = [sys.executable, str(SCRIPT), "fill-mask", "--model", str(folder)]
    good = subprocess.run([*command, "O [MASK]"], capture_output=True, text=True)
    assert good.returncode == 0 and good.stderr == "", good.stderr
    bad = subprocess.run([*command, "sem máscara"], capture_output=True, text=True)
    assert bad.returncode == 2 and bad.stderr.startswith("error: text 1 has no [MASK]"), bad.stderr
    assert bad.stderr.count("\n") == 1
    piped = f"{sys.executable} {SCRIPT} embed --model {folder} --file {SCRIPT} --truncate | head -n 1"
    gone = subprocess.run(["bash", "-o", "pipefail", "-c", piped], capture_output=True, text=True)
    assert "Traceback" not in gone.stderr, gone.stderr


# --- mistakes ------------------------------------------------------------------------------------------------------


def bad_folder(kind: str, folder: Path, tmp_path: Path) -> Path:
    """A copy of the good folder with one thing wrong."""
    copy = copy_of(folder, tmp_path / kind.replace(" ", "-"))
    config = json.loads((copy / "config.json").read_text())
    weights = copy / "model.safetensors"
    if kind == "truncated weights":
        weights.write_bytes(weights.read_bytes()[:-10])
    elif kind == "no tokenizer":
        for name in ("tokenizer.json", "vocab.txt"):
            (copy / name).unlink()
    elif kind == "no weights":
        weights.unlink()
    elif kind == "pickle":
        weights.unlink()
        (copy / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch executed'\ntR.")
    elif kind == "activation":
        (copy / "config.json").write_text(json.dumps(config | {"hidden_act": "geluu"}))
    elif kind == "heads":
        (copy / "config.json").write_text(json.dumps(config | {"num_attention_heads": 5}))
    elif kind == "contradiction":
        (copy / "config.json").write_text(json.dumps(config | {"intermediate_size": 64}))
    elif kind == "no mask token":
        (copy / "tokenizer.json").unlink()
        (copy / "vocab.txt").write_text((copy / "vocab.txt").read_text().replace("[MASK]\n", ""))
    elif kind == "duplicates":
        (copy / "tokenizer.json").unlink()
        (copy / "vocab.txt").write_text((copy / "vocab.txt").read_text() + "[UNK]\n")
    elif kind == "larger vocabulary":
        train_wordpiece([f"{a}{b}" for a in "abcdefgh" for b in "ijklmnopq"] * 3, 200).save_pretrained(copy)
    elif kind == "no head":
        BertModel.from_pretrained(copy).save_pretrained(copy)
    elif kind == "no pooler":
        model = BertForMaskedLM.from_pretrained(copy)
        model.save_pretrained(copy)
    return copy


FOLDER_CASES = [
    ("fill-mask", "truncated weights", "not a whole safetensors file"),
    ("fill-mask", "no tokenizer", "has no tokenizer"),
    ("fill-mask", "no weights", "has no weights"),
    ("fill-mask", "pickle", "was refused unopened"),
    ("fill-mask", "activation", "hidden_act 'geluu' is unknown; did you mean 'gelu'"),
    ("fill-mask", "heads", "hidden_size must be a multiple of num_attention_heads, got 16 and 5"),
    ("fill-mask", "contradiction", "has shape (32, 16), but config.json asks for (64, 16)"),
    ("fill-mask", "no mask token", "lacks the mask_token '[MASK]'"),
    ("fill-mask", "duplicates", "holds '[UNK]' twice (lines 2 and"),
    ("embed", "larger vocabulary", "but the model's vocab_size is"),
    ("fill-mask", "no head", "a model without that head"),
    ("embed --pooling pooler", "no pooler", "pooling 'pooler' needs a pooler"),
]


@pytest.mark.parametrize(("command", "kind", "message"), FOLDER_CASES)
def test_bad_folders(
    predict: Callable[..., Result], folder: Path, tmp_path: Path, command: str, kind: str, message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    result = predict(*command.split(), "--model", bad_folder(kind, folder, tmp_path), "O [MASK]")
    assert_refused(result, message)
    assert not (tmp_path / "executed").exists()


ARGUMENT_CASES = [
    (["fill-mask", "--model", "{nowhere}", "O [MASK]"], "does not exist"),
    (["fill-mask", "--model", "{empty}", "O [MASK]"], "has no tokenizer: neither"),
    (["fill-mask", "--model", "{file}", "O [MASK]"], "is a file; give the folder"),
    (["fill-mask", "--model", "{model}", "O gato"], "text 1 has no [MASK]: 'O gato'; put [MASK] where"),
    (["fill-mask", "--model", "{model}", ""], "text 1 has no [MASK]: ''"),
    (["fill-mask", "--model", "{model}", "--top-k", "0", "O [MASK]"], "--top-k must be >= 1, got 0"),
    (["fill-mask", "--model", "{model}", "--top-k", "9999", "O [MASK]"], "got 9999"),
    (["fill-mask", "--model", "{model}", "--top-k", "três", "O [MASK]"], "must be a whole number, got 'três'"),
    (["fill-mask", "--model", "{model}", "[MASK] " + "gato " * 40], "text 1 has 43 tokens, more than the limit of 32"),
    (["fill-mask", "--model", "{model}", "--revision", "v1", "O [MASK]"], "revision 'v1' needs a hub name"),
    (["fill-mask", "--model", "{model}", "O [MASK] \udce7"], "lone surrogate"),
    (["fill-mask", "O [MASK]"], "the following arguments are required: --model"),
    (["embed", "--model", "{model}", "--file", "{nowhere}"], "does not exist"),
    (["embed", "--model", "{model}", "--file", "{latin1}"], "line 2 of"),
    (["embed", "--model", "{model}", "--file", "{empty}"], "is a folder; give a file"),
    (["embed", "--model", "{model}", "--file", "{file}", "e um texto"], "not both"),
    (["embed", "--model", "{model}", "--output", "v.csv", "oi"], "must end in .npy or .jsonl"),
    (["embed", "--model", "{model}", "--output", "{nowhere}/v.npy", "oi"], "does not exist; make it first"),
    (["embed", "--model", "{model}", "--batch-size", "0", "oi"], "--batch-size must be >= 1, got 0"),
    (["embed", "--model", "{model}", "--max-length", "999", "oi"], "max_length must be in 3..32"),
    (["embed", "--model", "{model}", "--max-length", "2", "--truncate", "oi"], "max_length must be in 3..32"),
    (["embed", "--model", "{model}", "--pooling", "soma", "oi"], "invalid choice: 'soma'"),
    (["embed", "--model", "{model}", "--device", "tpu", "oi"], "device must be auto, cpu or cuda"),
    (["embed", "--model", "{model}", "--device", "cuda:99", "oi"], "device cuda:99 is not there"),
    (
        ["fill-mask", "--model", "{model}", "--truncate", "[MASK] " + "gato " * 40 + "[MASK]"],
        "text 1 has 2 [MASK], but",
    ),
    (["fill-mask", "--model", "{model}", "O [MASK]", "O gato"], "text 2 has no [MASK]"),
    (["embed", "--model", "{model}", "--batch-size", "1" + "0" * 18, "oi"], "--batch-size must be <= 100,000"),
    (["embed", "--model", "{model}", "--max-length", "-5", "oi"], "max_length must be in 3..32"),
    (["embed", "--model", "{model}", "--output", "{empty}.npy", "oi"], "is a folder; give a file"),
    (["pooling", "--model", "{model}", "oi", "gato " * 40], "text 2 has 42 tokens"),
    (["pooling", "--model", "ação/modelo", "oi"], "model folder 'ação/modelo' does not exist"),
    (["pooling", "--model", "", "oi"], "model folder '' does not exist"),
    (["pooling", "--mod", "{model}", "oi"], "the following arguments are required: --model"),
    (["embed", "--model", "{model}", "gato " * 40], "allow truncation (predict.py --truncate)"),
    (["pooling", "--model", "org/nao-existe", "--offline", "oi"], "neither in the local cache nor within reach"),
    (["poling", "--model", "{model}", "oi"], "invalid choice: 'poling'"),
]


@pytest.mark.parametrize(("arguments", "message"), ARGUMENT_CASES)
def test_bad_arguments(
    predict: Callable[..., Result], folder: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.npy").mkdir()
    (tmp_path / "file").write_text("oi\n")
    (tmp_path / "latin1").write_bytes("olá\n".encode() + "não\n".encode("latin-1"))
    places = {name: str(tmp_path / name) for name in ("nowhere", "empty", "file", "latin1")} | {"model": str(folder)}
    result = predict(*(argument.format(**places) for argument in arguments))
    assert_refused(result, message)


def test_non_utf8_standard_input(predict: Callable[..., Result], folder: Path) -> None:
    result = predict("embed", "--model", folder, stdin="bom\nnão\n".encode("latin-1"))
    assert_refused(result, "line 2 of standard input is not UTF-8")


def assert_refused(result: Result, message: str) -> None:
    assert result.code == 2, (result.out, result.error)
    assert message in result.error
    assert "Traceback" not in result.error
    last = result.error.strip().splitlines()[-1]
    assert last.startswith("error: ") or ": error: " in last


# --- what a folder lacks, and what is done instead -----------------------------------------------------------------


def test_what_is_done_instead_is_said(predict: Callable[..., Result], folder: Path, tmp_path: Path) -> None:
    bare = bad_folder("no pooler", folder, tmp_path)
    (bare / "tokenizer.json").unlink()
    (bare / "tokenizer_config.json").unlink()
    config = json.loads((bare / "config.json").read_text())
    del config["hidden_act"]
    (bare / "config.json").write_text(json.dumps(config))
    common = [
        "note: no hidden_act in config.json: gelu, as of BERT-base, is taken",
        "note: no do_lower_case in tokenizer_config.json: texts lose capitals and accents, as BERT's own do",
    ]
    for command, text, own in (
        ("fill-mask", "O [MASK]", []),
        ("pooling", "O gato", ["note: no pooler in these weights: CLS and mean are compared"]),
        ("embed", "O gato", ["note: no modules.json: mean over the tokens; --pooling chooses"]),
    ):
        result = predict(command, "--model", bare, text)
        assert result.code == 0 and result.error.splitlines() == common + own


def test_a_declared_vector_is_followed_and_said(predict: Callable[..., Result], folder: Path, tmp_path: Path) -> None:
    copy = copy_of(folder, tmp_path / "frases")
    declare_sentence_encoder(copy, BertConfig(max_position_embeddings=32), pooling="cls", max_length=6)
    result = predict("embed", "--model", copy, SENTENCES[0])
    assert result.error == "note: modules.json: cls, texts cut to 6 tokens\n"
    cls = predict("embed", "--model", copy, "--pooling", "cls", "--max-length", "6", "--truncate", SENTENCES[0])
    assert cls.error == "note: --pooling cls: what modules.json declares of the vectors is not followed\n"
    assert cls.out == result.out != predict("embed", "--model", folder, SENTENCES[0]).out
    assert_refused(predict("embed", "--model", copy, "--max-length", "6", SENTENCES[0]), "more than the limit of 6")


@pytest.mark.parametrize("command", ["fill-mask", "pooling", "embed", "embed --normalize"])
def test_numbers_that_are_not_finite_are_refused(
    predict: Callable[..., Result], folder: Path, tmp_path: Path, command: str
) -> None:
    copy = copy_of(folder, tmp_path / "enorme")
    weights = {name: tensor * 1e38 for name, tensor in load_file(copy / "model.safetensors").items()}
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    result = predict(*command.split(), "--model", copy, "O [MASK]")
    assert_refused(result, "text 1 gives numbers that are not finite")
    assert result.out == ""


def test_a_full_disk_is_named(predict: Callable[..., Result], folder: Path, tmp_path: Path) -> None:
    for suffix in ("npy", "jsonl"):
        (tmp_path / f"v.partial.{suffix}").symlink_to("/dev/full")
        result = predict("embed", "--model", folder, "--output", tmp_path / f"v.{suffix}", SENTENCES[0])
        assert_refused(result, f"No space left on device: {tmp_path / f'v.partial.{suffix}'}")
