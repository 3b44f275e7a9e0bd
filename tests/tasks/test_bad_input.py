"""What scripts/finetune.py and scripts/predict.py refuse: one line on standard error, exit code 2, no traceback."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from safetensors.torch import load_file, save_file

from tests.tasks.conftest import QUICK, Left, classify

Script = Callable[..., Left]


def squad(context: str, answer: str, start: int) -> str:
    """A file of one question, of the answer said to stand at `start`."""
    asked = {"id": "1", "question": "Quem?", "answers": [{"text": answer, "answer_start": start}]}
    return json.dumps({"data": [{"paragraphs": [{"context": context, "qas": [asked]}]}]})


class Case(NamedTuple):
    message: str
    arguments: list[str]
    content: str | bytes | None = None  # of train.tsv, where not the sound one
    drop: tuple[str, ...] = ()


CASES = {
    "no such model": Case("does not exist|no folder", ["--model", "nowhere/at/all"]),
    "no such file": Case("'none.tsv' does not exist", ["--train", "none.tsv"]),
    "a folder as file": Case("is a folder", ["--dev", "."]),
    "unknown ending": Case("known endings: .csv", ["--train", "train.pdf"]),
    "unknown column": Case("no column 'frase'; known: label, text", ["--text-column", "frase"]),
    "unknown label column": Case("no column 'classe'", ["--label-column", "classe"]),
    "unknown second column": Case("no column 'outra'", ["--second-column", "outra"]),
    "other delimiter": Case("is the delimiter right", [], "text;label\na;b\n"),
    "bad delimiter": Case("csv_delimiter must be one character", ["--delimiter", ";;"]),
    "other encoding": Case("not utf-8", [], "text\tlabel\nação\tsim\nnão\tnão\n".encode("cp1252")),
    "unknown encoding": Case("encoding must be", ["--encoding", "latim"]),
    "empty file": Case("holds no usable row: it is empty", [], ""),
    "no row left": Case("holds no usable row; the first of 1", [], "text\tlabel\n\tx\n"),
    "one class only": Case("all training rows have the label 'x'", [], "text\tlabel\na\tx\nb\tx\n"),
    "unseen label in dev": Case("--dev: training had none of its labels: 'positive'", [], "text\tlabel\na\tx\nb\ty\n"),
    "labels no numbers": Case("no finite number", ["--task", "regress"]),
    "tagging a table": Case("no tag|known tagging|does not fit|holds no usable|training did not have",
                            ["--task", "tag"], "text\tlabel\na\t\n"),
    "tags not IOB2": Case("does not fit IOB2", ["--task", "tag"], "a X-LOCAL\n"),
    "questions from a table": Case("no UTF-8 JSON", ["--task", "answer"]),
    "zero epochs": Case("epochs must be > 0", ["--set", "epochs=0"]),
    "zero learning rate": Case("learning_rate must be > 0", ["--set", "learning_rate=0"]),
    "absurd learning rate": Case("not finite", ["--set", "learning_rate=1e37", "--set", "epochs=20"]),
    "unknown setting": Case("unknown option 'epoch'; did you mean 'epochs'", ["--set", "epoch=2"]),
    "setting of a wrong type": Case("batch_size must be of type int", ["--set", "batch_size=muitos"]),
    "unknown pooling": Case("pooling 'mena' is unknown; did you mean 'mean'", ["--set", "pooling=mena"]),
    "unknown precision": Case("precision must be one of", ["--set", "precision=int4"]),
    "too long": Case("max_length must be <= 96", ["--set", "max_length=500"]),
    "too many frozen layers": Case("freeze_layers must be <= 2", ["--set", "freeze_layers=3"]),
    "soft without teacher": Case("soft > 0 needs --teacher", ["--set", "soft=0.5"]),
    "teacher without soft": Case("no effect with soft = 0", ["--teacher", "x", "--set", "soft=0"]),
    "teacher not fine-tuned": Case("no fine-tuned model", ["--teacher", "MODEL"]),
    "patience without dev": Case("patience needs --dev", ["--set", "patience=2"], drop=("--dev",)),
    "folds without grid": Case("--folds needs --grid", ["--folds", "3"]),
    "one fold": Case("folds must be in 2..40, got 1", ["--grid", "epochs=1", "--folds", "1"]),
    "grid of an unknown setting": Case("did you mean 'epochs'", ["--grid", "epoch=1,2"]),
    "grid of a wrong value": Case("epochs must be > 0", ["--grid", "epochs=1,-2"]),
    "grid of a nested setting": Case("cannot vary 'augment.copies'", ["--grid", "augment.copies=1,2"]),
    "grid of a length": Case("cannot vary 'max_length'", ["--grid", "max_length=32,48"]),
    "as many labels as rows": Case("3 different labels in 4", [], "text\tlabel\na\t1\nb\t2\nc\t3\nd\t3\n"),
    "seeds no numbers": Case("--seeds must be whole numbers", ["--seeds", "um,dois"]),
    "seeds twice": Case("--seeds must be different", ["--seeds", "1,1"]),
    "synonyms without copies": Case("--synonyms needs augment.copies", ["--synonyms", "s.tsv"]),
    "synonyms malformed": Case("line 1 of 's.tsv' must be", ["--synonyms", "s.tsv", "--set", "augment.copies=1"]),
    "augmented tags": Case("augment.copies is for texts", ["--task", "tag", "--set", "augment.copies=1"],
                           "a B-X\nb O\n", drop=("--dev", "--test")),
    "weights of a number": Case("class_weights need classes", ["--task", "regress", "--set", "class_weights=balanced"],
                                "text\tlabel\na\t1\nb\t2\n", drop=("--dev", "--test")),
    "two bytes a letter": Case("not UTF-8 text", [], "text\tlabel\na\tx\n".encode("utf-16")),
    "no text at all": Case("holds no usable row|no column", [], bytes(range(256)) * 9),
    "delimiter of another file": Case("no column 'text'", ["--train", "train.csv"], "text;label\na;b\n"),
    "unseen label in test": Case("--test: training had none of its labels: 'novo' .1.", ["--test", "other.tsv"]),
    "pairs in dev only": Case("--dev: row 1 must be a single text", ["--dev", "pairs.tsv"]),
    "unseen tag in dev": Case("--dev: training had none of its labels: 'B-Y'", ["--task", "tag", "--dev", "dev.conll"],
                              "a B-X\nb O\n", drop=("--test",)),
    "one tag only": Case("all training words have the tag 'O'", ["--task", "tag"], "a O\nb O\n"),
    "answers not in the context": Case("no answer stands in the context", ["--task", "answer"],
                                       squad("O gato dorme.", "cão", 2)),
    "answers elsewhere": Case("no answer stands in the context", ["--task", "answer"], squad("Um gato.", "gato", 5)),
    "questions laid out otherwise": Case("not laid out as SQuAD", ["--task", "answer"], '{"data": [{"text": "a"}]}'),
    "windows that hardly move": Case("stride must be in 1..21", ["--task", "answer", "--set", "stride=40"],
                                     squad("O gato dorme.", "gato", 2), drop=("--dev", "--test")),
    "numbers without end": Case("no finite number", ["--task", "regress"], "text\tlabel\na\tinf\nb\tnan\n"),
    "learning rate not a number": Case("learning_rate must be finite", ["--set", "learning_rate=nan"]),
    "learning rate without end": Case("learning_rate must be finite", ["--set", "learning_rate=inf"]),
    "epochs without end": Case("epochs must be finite", ["--set", "epochs=inf"]),
    "negative decay": Case("layer_decay must be in", ["--set", "layer_decay=-1"]),
    "more folds than rows": Case("folds must be in 2..40, got 41", ["--grid", "epochs=1", "--folds", "41"]),
    "no seeds": Case("--seeds must be whole numbers", ["--seeds", ","]),
    "a class without weight": Case("needs every class in training; with 2 folds, fold . holds out all of .y",
                                   ["--set", "class_weights=balanced", "--grid", "epochs=1", "--folds", "2"],
                                   "text\tlabel\na\tx\nb\ty\nc\tx\nd\tx\n",
                                   drop=("--dev", "--test")),
    "resume of nothing of ours": Case("not valid JSON.*delete it to go on", ["--output", "begun", "--resume"]),
    "device": Case("device must be", ["--device", "tpu"]),
    "output in use": Case("choose an empty folder", ["--output", "."]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_bad_input(name: str, script: Script, files: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line on standard error, exit code 2, no traceback."""
    case = CASES[name]
    monkeypatch.chdir(files)
    (files / "s.tsv").write_text("sem tabulação\n")
    (files / "train.pdf").write_text("%PDF")
    (files / "other.tsv").write_text("text\tlabel\na\tnovo\n")
    (files / "pairs.tsv").write_text("text\ttext_b\tlabel\na\tb\tpositive\n")
    (files / "dev.conll").write_text("a B-Y\n")
    (files / "begun" / "checkpoints" / "step-00000001").mkdir(parents=True)
    (files / "begun" / "run.json").write_text("{")
    if case.content is not None:
        content = case.content if isinstance(case.content, bytes) else case.content.encode()
        (files / "train.tsv").write_bytes(content)
        if b";" in content:
            (files / "train.csv").write_bytes(content)
    options = {"--model": str(folder), "--task": "classify", "--train": "train.tsv", "--dev": "dev.tsv",
               "--test": "test.tsv", "--output": "out"}  # fmt: skip
    kept = [part for option, value in options.items() if option not in case.drop for part in (option, value)]
    arguments = [str(folder) if argument == "MODEL" else argument for argument in case.arguments]
    left = script("finetune", *kept, *QUICK, *arguments)
    assert left.code == 2, (left.out, left.err)
    last = left.err.strip().splitlines()[-1]
    assert last.startswith("error: ") and re.search(case.message, last), left.err
    assert "Traceback" not in left.err


@pytest.mark.parametrize(
    ("command", "texts", "message"),
    [
        ("tag", ["a"], "fine-tuned to 'classify', not to tag"),
        ("classify", ["a\tb"], "text 1 must be one text"),
        ("classify", [""], "text 1 must be one text"),
        ("classify", ["a", "--batch-size", "0"], "--batch-size must be >= 1"),
        ("classify", ["a", "--device", "tpu"], "device must be"),
        ("fill-mask", ["[MASK]"], "lacks"),
    ],
)
def test_predict_refuses(
    script: Script, files: Path, folder: Path, command: str, texts: list[str], message: str
) -> None:
    call = [*classify(files, folder)[:6], *QUICK, "--output", files / "out"]
    assert script("finetune", *call).code == 0
    left = script("predict", command, "--model", files / "out", *texts)
    assert left.code == 2 and message in left.err and "Traceback" not in left.err, left.err


@pytest.mark.parametrize("command", ["classify", "tag", "answer"])
def test_a_model_without_the_head(script: Script, folder: Path, command: str) -> None:
    left = script("predict", command, "--model", folder, "a")
    assert left.code == 2 and "no fine-tuned model; make one with scripts/finetune.py" in left.err, left.err


def test_a_head_that_was_lost(script: Script, files: Path, folder: Path) -> None:
    call = [*classify(files, folder)[:6], *QUICK, "--output", files / "out"]
    assert script("finetune", *call).code == 0
    weights = load_file(files / "out" / "model.safetensors")
    save_file({k: w for k, w in weights.items() if "classifier" not in k}, files / "out" / "model.safetensors")
    left = script("predict", "classify", "--model", files / "out", "a")
    assert left.code == 2 and "lacks 'classifier" in left.err and "Traceback" not in left.err, left.err
