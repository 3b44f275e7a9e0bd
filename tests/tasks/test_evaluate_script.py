"""scripts/evaluate.py on a few dozen rows: tables, going on part by part, refusals."""

import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.tasks.conftest import Left, opinions
from tinydistil.evaluate.evaluation import significance
from tinydistil.evaluate.parts import open_models, sentence_vectors
from tinydistil.evaluate.results import Figure, PartResult, shown
from tinydistil.evaluate.similarity import cosine_similarity
from tinydistil.model.bert import BertModel
from tinydistil.model.config import BertConfig, read_config
from tinydistil.model.sentence_folder import SentenceVectors, declare_sentence_encoder
from tinydistil.tasks.labelled import Columns, read_labelled
from tinydistil.tokenizer.tokenizer import Tokenizer

Script = Callable[..., Left]
QUICK = ("--set", "epochs=1", "--set", "max_length=48", "--set", "stride=12", "--device", "cpu")


@pytest.fixture(scope="module")
def encoder(folder: Path, vocabulary: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second model, without a masked LM head."""
    path = tmp_path_factory.mktemp("models") / "so-encoder"
    torch.manual_seed(1)
    BertModel(BertConfig(vocab_size=vocabulary.vocab_size, hidden_size=16, num_hidden_layers=1, num_attention_heads=1,
                         intermediate_size=32, max_position_embeddings=64)).save_pretrained(path)  # fmt: skip
    vocabulary.save_pretrained(path)
    return path


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "texto.txt"
    path.write_text("\n".join(row.text for row in opinions(40, "test")) + "\n", encoding="utf-8")
    return path


def test_all_parts_and_the_tables(
    script: Script, folder: Path, encoder: Path, suite_data: Path, text: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    call = ["--model", folder, "--model", encoder, "--data", suite_data, "--text", text, "--output", output,
            "--seeds", "2", *QUICK]  # fmt: skip
    done = script("evaluate", *call)
    assert done.code == 0, done.err
    assert "so-encoder: no masked LM head" in done.err
    table = json.loads((output / "table.json").read_text())
    parts = {"speed", "masked_lm", "similarity", "entailment", "similarity_tuned", "sentiment", "entities", "answers"}
    first, second = table["models"][folder.name], table["models"]["so-encoder"]
    assert first.keys() == parts and second.keys() == parts - {"masked_lm"}
    assert table["models"]["word overlap (no model)"].keys() == {"similarity", "entailment", "similarity_tuned"}
    f1 = first["entailment"]["figures"]["f1_macro"]
    assert f1["low"] <= f1["high"] and f1["deviation"] >= 0 and 0 <= f1["value"] <= 1
    assert "2 seeds" in first["entailment"]["protocol"]
    assert table["p_against_first"].keys() == parts - {"speed", "masked_lm"}

    pairs = read_labelled(suite_data / "assin2" / "assin2-test.xml", Columns(), numbers=True).examples
    expected = cosine_similarity(
        BertModel.from_pretrained(folder), Tokenizer.from_pretrained(folder), [p.text for p in pairs],
        [str(p.second) for p in pairs], [float(p.label) for p in pairs],
    )  # fmt: skip
    assert first["similarity"]["figures"].keys() >= {"untrained_pearson", "cls_pearson", "anisotropy"}
    for name in ("pearson", "mse_linear", "mse_isotonic"):
        assert first["similarity"]["figures"][name]["value"] == pytest.approx(getattr(expected, name), abs=1e-6)

    markdown = (output / "table.md").read_text(encoding="utf-8")
    assert done.out == markdown and "### the reference project's table" in markdown
    assert "| mse_linear | mse_isotonic |" in markdown
    assert re.search(r"\| so-encoder \| - \| 0\.\d{4} \[|\| so-encoder \| - \| -0\.\d{4} \[", markdown)
    assert "* MLM loss: 40 texts" in markdown

    # Again: nothing is measured twice; a part that is gone is.
    kept = output / folder.name / "sentiment.json"
    stamp, speed = kept.stat().st_mtime_ns, output / "so-encoder" / "speed.json"
    speed.unlink()
    assert script("evaluate", *call).code == 0
    assert kept.stat().st_mtime_ns == stamp and speed.is_file()
    assert script("evaluate", *call, "--pooling", "cls").code == 2


def test_parts_that_are_asked_for(script: Script, folder: Path, suite_data: Path, tmp_path: Path) -> None:
    call = ["--model", f"pequeno={folder}", "--data", suite_data, "--output", tmp_path / "out", "--device", "cpu"]
    done = script("evaluate", *call, "--parts", "similarity")
    assert done.code == 0 and "word overlap (no model)" in done.out and "| pequeno | " in done.out
    assert "* tweets F1 (macro): not measured" in done.out and "### entities" not in done.out


def test_vectors_are_those_that_a_folder_declares(
    script: Script, folder: Path, suite_data: Path, tmp_path: Path
) -> None:
    declaring = Path(shutil.copytree(folder, tmp_path / "declared"))
    declare_sentence_encoder(declaring, read_config(declaring / "config.json"), pooling="cls", max_length=64)
    call = ["--data", suite_data, "--parts", "similarity", "--device", "cpu"]
    done = script("evaluate", "--model", declaring, *call, "--output", tmp_path / "out")
    assert done.code == 0 and "cosine of the folder's vectors (cls, texts cut to 64 tokens)" in done.out, done.err
    chosen = script("evaluate", "--model", declaring, *call, "--pooling", "cls", "--output", tmp_path / "chosen")
    assert "cosine of cls vectors" in chosen.out
    plain = script("evaluate", "--model", f"declared={folder}", *call, "--output", tmp_path / "plain")
    assert "cosine of mean vectors" in plain.out
    figures = [
        json.loads((tmp_path / out / "table.json").read_text())["models"]["declared"]["similarity"]["figures"]
        for out in ("out", "chosen", "plain")
    ]
    assert figures[0]["pearson"] == figures[1]["pearson"] != figures[2]["pearson"]
    assert figures[0]["mean_pearson"]["value"] == pytest.approx(figures[2]["pearson"]["value"])
    again = script("evaluate", "--model", declaring, *call, "--pooling", "mean", "--output", tmp_path / "out")
    assert again.code == 2 and "pooling = 'cls, texts cut to 64 tokens', now it is 'mean'" in again.err


def test_a_prefix_replaces_the_declared_prompt(folder: Path, tmp_path: Path) -> None:
    declaring = Path(shutil.copytree(folder, tmp_path / "declared"))
    declare_sentence_encoder(declaring, read_config(declaring / "config.json"), pooling="mean", max_length=64)
    prompts = {"prompts": {"query": "query: "}, "default_prompt_name": "query"}
    (declaring / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    (model,) = open_models([str(declaring)], offline=True)
    for prefix, prompt in ((None, "query: "), ("passage: ", "passage: "), ("", "")):
        vectors = sentence_vectors(model, None, prefix)
        assert isinstance(vectors, SentenceVectors) and vectors.prompt == prompt
    assert sentence_vectors(model, "max", "passage: ") == "max"


def test_undefined_metrics_are_not_compared() -> None:
    constant = PartResult({"pearson": Figure(math.nan)}, "", np.ones((4, 2)))
    rising = PartResult({"pearson": Figure(1.0)}, "", np.arange(8.0).reshape(4, 2))
    models = [SimpleNamespace(name="first"), SimpleNamespace(name="second")]
    for one, part, known in (constant, "similarity", False), (rising, "masked_lm", False), (rising, "similarity", True):
        assert bool(significance({"first": {part: one}, "second": {part: rising}}, models)) == known


def test_a_name_with_the_tables_own_sign(script: Script, folder: Path, suite_data: Path, tmp_path: Path) -> None:
    call = ["--model", f"a|b={folder}", "--data", suite_data, "--parts", "similarity", "--device", "cpu"]
    done = script("evaluate", *call, "--output", tmp_path / "out")
    assert r"| a\|b | " in done.out and "a|b" in json.loads((tmp_path / "out" / "table.json").read_text())["models"]


def test_figures_as_text() -> None:
    assert shown(None) == "-" and shown(Figure(float("nan"))) == "undefined"
    assert shown(Figure(0.5)) == "0.5000" and shown(Figure(4_400_000)) == "4,400,000"
    assert shown(Figure(0.5, 0.4, 0.6, 0.01)) == "0.5000 ± 0.0100 [0.4000, 0.6000]"


BAD = {
    "no such data": ("needs .*does not exist", ["--data", "nowhere"]),
    "a name that leaves the output": ("no dot or space in front, without slashes: '..'", ["--model", "..=FOLDER"]),
    "a hidden name": ("without slashes: '.lock'", ["--model", ".lock=FOLDER"]),
    "a name of two lines": (r"without slashes: 'a\\nb'", ["--model", "a\nb=FOLDER"]),
    "a name of blanks": ("without slashes: ' '", ["--model", " =FOLDER"]),
    "a name too long": ("at most 100 bytes", ["--model", f"{'é' * 60}=FOLDER"]),
    "a table's name": ("'table.md' is one of this program's", ["--model", "table.md=FOLDER"]),
    "a table's name in capitals": ("'Table.MD' is one of this", ["--model", "Table.MD=FOLDER"]),
    "a table being written": ("'table.json.partial' is one", ["--model", "table.json.partial=FOLDER"]),
    "the record's name": ("'settings.json' is one of this program's", ["--model", "settings.json=FOLDER"]),
    "the floor's name": ("'word overlap .no model.' is one of", ["--model", "word overlap (no model)=FOLDER"]),
    "names alike": ("got 'É' and 'é'", ["--model", "é=FOLDER", "--model", "É=FOLDER"]),
    "no part": ("part '' is unknown", ["--parts", ""]),
    "an empty part": ("part '' is unknown", ["--parts", "similarity,"]),
    "a seed": ("--set seed has no effect here", ["--set", "seed=3"]),
    "too long for the model": ("max_length must be <= 96, .*model 'encoder", ["--set", "max_length=97"]),
    "no such model": ("does not exist|no folder", ["--model", "nowhere/at/all"]),
    "a model twice": ("models need names of their own", ["--model", "FOLDER"]),
    "a name with a slash": ("without slashes: 'a/b'", ["--model", "a/b=FOLDER"]),
    "unknown part": ("part 'sentimento' is unknown; did you mean 'sentiment'", ["--parts", "sentimento"]),
    "masked words without text": ("needs --text", ["--parts", "masked_lm"]),
    "no such text": ("text file 'x.txt' does not exist", ["--text", "x.txt", "--parts", "masked_lm"]),
    "empty text": ("holds no text", ["--text", "vazio.txt", "--parts", "masked_lm"]),
    "no seeds": ("--seeds must be >= 1", ["--seeds", "0"]),
    "no texts": ("--texts must be >= 1", ["--texts", "0"]),
    "unknown setting": ("did you mean 'epochs'", ["--set", "epoch=1"]),
    "unknown device": ("device must be", ["--device", "tpu"]),
    "output is a file": ("is a file", ["--output", "vazio.txt"]),
    "pooler where there is none": ("needs a pooler", ["--parts", "similarity", "--pooling", "pooler"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(
    name: str, script: Script, folder: Path, suite_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("vazio.txt").write_text("\n")
    message, arguments = BAD[name]
    call = ["--model", folder, "--data", suite_data, "--output", "out"]
    left = script("evaluate", *call, *[argument.replace("FOLDER", str(folder)) for argument in arguments])
    assert left.code == 2, (left.out, left.err)
    last = left.err.strip().splitlines()[-1]
    assert last.startswith("error: ") and re.search(message, last) and "Traceback" not in left.err, left.err
