"""The card of a student says what was measured and made, and its example runs in the card's own folder."""

import json
import re
import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors import safe_open

from tests.scripts.models import make_models
from tinydistil.base.console import figure
from tinydistil.base.hub import fingerprint_of
from tinydistil.train.card import hub_name, name_of

SCRIPTS = Path(__file__).parents[2] / "scripts"
COMMON = ["--student", "student", "--corpus", "corpus.jsonl", "--batch-size", "6", "--max-length", "32", "--steps", "3",
          "--device", "cpu", "--set", "train.log_every=1", "--set", "prepare.validation_share=0.2"]  # fmt: skip
TAUGHT = ["--teacher", "runs/bertinho/student"]
Run = Callable[..., Path]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, write_corpus: Callable[[Path, int], Path]) -> Path:
    folder = tmp_path_factory.mktemp("cards")
    make_models(folder, write_corpus(folder / "corpus.jsonl", 60))
    (folder / "runs" / "bertinho").mkdir(parents=True)
    shutil.copytree(folder / "teacher", folder / "runs" / "bertinho" / "student")
    (folder / "runs" / "bertinho" / "student" / "README.md").write_text("---\nlanguage: pt\nlicense: mit\n---\n# x\n")
    return folder


@pytest.fixture
def run(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Distil with these arguments; the student's folder, moved to where nothing of the run is."""

    def call(*arguments: str) -> Path:
        monkeypatch.chdir(folder)
        monkeypatch.setattr(
            sys, "argv", ["distill.py", *COMMON, "--output", str(tmp_path / "run"), *arguments]
        )  # fmt: skip
        runpy.run_path(str(SCRIPTS / "distill.py"), run_name="__main__")
        return Path(shutil.move(tmp_path / "run" / "student", tmp_path / "moved"))

    return call


def example_of(card: str) -> str:
    found = re.search(r"```python\n(.*?)```", card, re.DOTALL)
    assert found is not None
    return found[1]


def names_of(student: Path) -> set[str]:
    with safe_open(student / "model.safetensors", "pt") as weights:
        return set(weights.keys())


def test_the_card_of_a_masked_language_model(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("transformers")
    student = run("--recipe", "total", *TAUGHT)
    said = capsys.readouterr()
    card = (student / "README.md").read_text(encoding="utf-8")
    outcome = json.loads((tmp_path / "run" / "outcome.json").read_text())
    assert outcome["head"] == "trained" and outcome["masked_lm_loss"] == outcome["validation_loss"]
    loss = f"{outcome['validation_loss']:.4f} nats per token (perplexity "
    assert f"* Masked LM loss: {loss}" in card and f"held-out masked LM loss {loss}" in said.out
    assert "pipeline_tag: fill-mask\n" in card and "\nlicense: unknown\n" in card and "base_model" not in card
    assert "Distilled from `bertinho/student` with recipe `total` (1 x hard + 1 x soft (T = 2) + 100 x hidden)" in card
    print_of_weights = fingerprint_of(folder / "runs" / "bertinho" / "student")
    assert f"`bertinho/student`: 2 layers, 16 wide, 220 word pieces (files' SHA-256 {print_of_weights})" in card
    assert "| text | `corpus.jsonl` |" in card and "models that it comes from declare: mit." in card
    assert str(folder) not in card and str(tmp_path) not in card
    monkeypatch.chdir(student)
    exec(compile(example_of(card), "card", "exec"), {})
    assert re.fullmatch(r"(0\.\d{3} .+\n){5}", capsys.readouterr().out)


def test_an_untrained_head_is_not_written(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    student = run("--recipe", "partial", *TAUGHT, "--set", "recipe.hard=0")
    said = capsys.readouterr()
    card = (student / "README.md").read_text(encoding="utf-8")
    outcome = json.loads((tmp_path / "run" / "outcome.json").read_text())
    assert outcome["head"] == "none" and outcome["masked_lm_loss"] is None and outcome["validation"] == "objective"
    assert "fill-mask" not in card and "pipeline_tag: sentence-similarity\n" in card
    assert "Masked LM loss:" not in card and f": {figure(outcome['validation_loss'])}. It is no masked LM loss." in card
    assert "this folder has none: it is an encoder" in card
    assert "held-out objective" in said.out and "the student is written without one" in said.err
    assert not any("cls." in name for name in names_of(student))
    assert json.loads((student / "config.json").read_text())["architectures"] == ["BertModel"]
    monkeypatch.setattr(sys, "argv", ["predict.py", "fill-mask", "--model", str(student), "O [MASK]."])
    with pytest.raises(SystemExit, match="2"):
        runpy.run_path(str(SCRIPTS / "predict.py"), run_name="__main__")
    assert "a model without that head" in capsys.readouterr().err
    pytest.importorskip("sentence_transformers")
    monkeypatch.chdir(student)
    exec(compile(example_of(card), "card", "exec"), {})
    assert "tensor([[1.0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "head", "measured"),
    [
        (["--recipe", "total", "--set", "recipe.hard=0"], "trained", True),
        (["--recipe", "total", "--set", "recipe.hard=0", "--set", "recipe.soft=0"], "none", False),
        (["--recipe", "total", "--set", "recipe.hard=0", "--set", "recipe.soft_positions=all", "--set",
          "train.mask.rate=0"], "trained", False),
        (["--recipe", "distilbert", "--student", "1x16", "--set", "recipe.hard=0", "--set", "recipe.soft=0"],
         "copied", True),
        (["--recipe", "distilbert", "--student", "1x16"], "trained", True),
    ],
)  # fmt: skip
def test_what_a_head_is_worth(arguments: list[str], head: str, measured: bool, run: Run, tmp_path: Path) -> None:
    student = run(*arguments, *TAUGHT)
    card = (student / "README.md").read_text(encoding="utf-8")
    outcome = json.loads((tmp_path / "run" / "outcome.json").read_text())
    assert outcome["head"] == head and (outcome["masked_lm_loss"] is not None) == measured
    assert ("Masked LM loss:" in card) == measured and ("fill-mask" in card) == (head != "none")
    assert any("cls." in name for name in names_of(student)) == (head != "none")
    assert ("copied, and not trained since" in card) == (head == "copied")
    if measured:
        assert 4 < outcome["masked_lm_loss"] < 7  # ln 220 is 5.39
    hard = "recipe.hard=0" not in arguments
    assert ("It is no masked LM loss" in card) == (not hard)


def test_nothing_measured(run: Run) -> None:
    card = (run("--recipe", "mlm", "--set", "prepare.validation_share=0") / "README.md").read_text(encoding="utf-8")
    assert "Nothing was measured" in card and "Masked LM loss:" not in card


@pytest.mark.parametrize(
    ("given", "name"),
    [("runs/total/teacher/student", "total/teacher/student"), ("bertimbau", "bertimbau"), ("m/", "m"),
     ("runs/a/checkpoints/step-00000005", "a/checkpoints/step-00000005"),
     ("hub/models--neuralmind--bert-base/snapshots/0a1b", "neuralmind/bert-base"), ("student", "X/student")],
)  # fmt: skip
def test_names_of_folders(given: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "X" / given).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "X")
    assert name_of(given, Path(given)) == name
    assert hub_name(given, Path(given)) == (name if "models--" in given else None)


def test_hub_names(tmp_path: Path) -> None:
    for name in ("neuralmind/bert-base-portuguese-cased", "bert-base-uncased"):
        assert name_of(name, tmp_path) == hub_name(name, tmp_path) == name
