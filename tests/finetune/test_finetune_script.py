"""scripts/finetune.py from the command line: what it writes, goes on with, and refuses."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import load_file

from tests.finetune.conftest import Left, opinions, write_csv
from tinydistil.finetune.augment import AugmentConfig, augmented, read_synonyms
from tinydistil.finetune.run import Material, cross_validated
from tinydistil.finetune.settings import FineTuneConfig
from tinydistil.finetune.text_task import TextTask
from tinydistil.ranks import Ranks
from tinydistil.text.tasks.records import LabelledText
from tinydistil.text.tokenizer import Tokenizer

Script = Callable[..., Left]
QUICK = ("--set", "epochs=1", "--set", "batch_size=8", "--set", "max_length=48", "--set", "learning_rate=0.002",
         "--device", "cpu")  # fmt: skip


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """train.tsv, dev.tsv and test.tsv of opinions."""
    for split, count in (("train", 40), ("dev", 12), ("test", 12)):
        write_csv(tmp_path / f"{split}.tsv", opinions(count, split))
    return tmp_path


def classify(files: Path, folder: Path) -> list[object]:
    return ["--model", folder, "--task", "classify", "--train", files / "train.tsv", "--dev", files / "dev.tsv",
            "--test", files / "test.tsv", *QUICK]  # fmt: skip


def test_from_files_to_predictions(script: Script, files: Path, folder: Path) -> None:
    done = script("finetune", *classify(files, folder), "--output", files / "out")
    assert done.code == 0, done.err
    assert re.search(r"test f1_macro +0\.\d{4}\n", done.out) and "40 rows, 0 set aside" in done.err
    names = {each.name for each in (files / "out").iterdir()}
    assert {"config.json", "model.safetensors", "task.json", "run.json", "figures.json", "vocab.txt"} <= names
    assert "checkpoints" not in names
    figures = json.loads((files / "out" / "figures.json").read_text())
    assert figures.keys() == {"dev", "test"}
    texts = [row.text for row in opinions(5, "test")]
    told = script("predict", "classify", "--model", files / "out", "--json", "--device", "cpu", *texts)
    lines = [json.loads(line) for line in told.out.splitlines()]
    assert [line["text"] for line in lines] == texts and "5 texts in" in told.err
    for line in lines:
        assert line["label"] == max(line["probabilities"], key=line["probabilities"].get)
        assert sum(line["probabilities"].values()) == pytest.approx(1.0)
    table = script("predict", "classify", "--model", files / "out", "--device", "cpu", texts[0])
    assert lines[0]["label"] in table.out and texts[0] in table.out


def test_the_same_call_gives_the_same_bits(script: Script, files: Path, folder: Path) -> None:
    for name in ("a", "b"):
        assert script("finetune", *classify(files, folder), "--output", files / name).code == 0
    first, second = (load_file(files / name / "model.safetensors") for name in ("a", "b"))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_seeds_and_resume(script: Script, files: Path, folder: Path) -> None:
    call = [*classify(files, folder), "--output", files / "out", "--seeds", "1,2"]
    done = script("finetune", *call)
    assert done.code == 0 and re.search(r"test accuracy +0\.\d{4} \+- 0\.\d{4}\n", done.out)
    runs = json.loads((files / "out" / "summary.json").read_text())["runs"]
    values = [run["test"]["accuracy"] for run in runs]
    mean, deviation = sum(values) / 2, abs(values[0] - values[1]) / 2**0.5
    assert f"{mean:.4f} +- {deviation:.4f}" in done.out
    again = script("finetune", *call, "--resume")
    assert again.code == 0 and again.out == done.out
    other = script("finetune", *call, "--resume", "--set", "epochs=2")
    assert other.code == 2 and "was begun with epochs = 1.0, now it is 2" in other.err
    assert script("finetune", *call).code == 2


def test_grid_search_keeps_what_it_knows(script: Script, files: Path, folder: Path) -> None:
    call = [*classify(files, folder), "--output", files / "out", "--grid", "learning_rate=1e-9,0.003", "--folds", "2"]
    done = script("finetune", *call)
    assert done.code == 0, done.err
    known = json.loads((files / "out" / "grid.json").read_text())
    assert len(known) == 2 and all(len(folds) == 2 for folds in known.values())
    best = max(known, key=lambda name: sum(known[name]))
    assert f"grid: best {best}" in done.out
    # found folds are believed, not computed again
    (files / "out" / "grid.json").write_text(json.dumps({name: [0.5, 0.25] for name in known}))
    assert "0.3750" in script("finetune", *call, "--resume").out


def test_a_teacher_of_another_vocabulary(script: Script, files: Path, folder: Path, tmp_path: Path) -> None:
    assert script("finetune", *classify(files, folder), "--output", files / "teacher").code == 0
    call = [*classify(files, folder), "--output", files / "student", "--teacher", files / "teacher"]
    assert script("finetune", *call, "--set", "soft=1.0").code == 0
    lines = [json.loads(line) for line in (files / "student" / "metrics.jsonl").read_text().splitlines()]
    assert all("task" not in line for line in lines)  # the labels were not looked at
    wrong = tmp_path / "two.tsv"
    write_csv(wrong, [row for row in opinions(30) if row.label != "neutral"])
    call = ["--model", folder, "--task", "classify", "--train", wrong, *QUICK, "--output", files / "x"]
    refused = script("finetune", *call, "--teacher", files / "teacher")
    assert refused.code == 2 and "the teacher was fine-tuned to classify" in refused.err


@pytest.mark.parametrize(("task", "part"), [("tag", "lenerbr/{}.conll"), ("answer", "faquad/{}.json"),
                                            ("regress", "assin2/assin2-{}.xml")])  # fmt: skip
def test_other_forms(script: Script, suite_data: Path, folder: Path, tmp_path: Path, task: str, part: str) -> None:
    training = "train-only" if task == "regress" else "train"
    done = script(
        "finetune", "--model", folder, "--task", task, "--train", suite_data / part.format(training), "--test",
        suite_data / part.format("dev"), "--output", tmp_path / "out", *QUICK, "--set", "stride=12",
    )  # fmt: skip
    assert done.code == 0, done.err
    texts = {"tag": ["O gato dorme."], "answer": ["Onde está?\tO gato está em casa."], "regress": ["a\tb"]}[task]
    command = "classify" if task == "regress" else task
    told = script("predict", command, "--model", tmp_path / "out", "--json", "--device", "cpu", *texts)
    assert told.code == 0, told.err
    (line,) = map(json.loads, told.out.splitlines())
    expected = {"tag": {"words", "tags"}, "answer": {"question", "answer", "probability"},
                "regress": {"text", "text_b", "number"}}  # fmt: skip
    assert line.keys() == expected[task]
    shown = script("predict", command, "--model", tmp_path / "out", "--device", "cpu", *texts)
    assert len(shown.out.splitlines()) == 1


def test_no_copy_of_a_held_out_row_is_learnt(
    folder: Path, vocabulary: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = opinions(12)
    task = TextTask.of("classify", rows, vocabulary, 48)
    config = FineTuneConfig(pooling="mean", augment=AugmentConfig(copies=2, replace=0, swap=0, delete=0))
    learnt: list[set[bytes]] = []
    monkeypatch.setattr(
        "tinydistil.finetune.run.fine_tune",
        lambda model, examples, *_, **__: bool(learnt.append({e.ids.tobytes() for e in examples})) or True,
    )
    material = Material(folder, task, rows, [], [])
    scores = cross_validated(material, config, {}, folds=4, ranks=Ranks(0, 1, torch.device("cpu")))
    everything = {each.ids.tobytes() for each in task.examples(rows)}
    assert len(scores) == 4 and [len(part) for part in learnt] == [9] * 4
    held_out = [everything - part for part in learnt]
    assert set().union(*held_out) == everything and sum(map(len, held_out)) == 12


def test_augmentation_changes_copies_only(tmp_path: Path) -> None:
    rows = [LabelledText("O Gato bonito dorme no sofá da sala", "O gato dorme", "A"), LabelledText("Sim", "Não", "B")]
    table = tmp_path / "s.tsv"
    table.write_text("gato\tfelino, bichano\n\nbonito\tlindo\n")
    config = AugmentConfig(copies=200, replace=0.5, swap=0.1, delete=0.1)
    found = augmented(rows, config, read_synonyms(table))
    assert found[:2] == rows and len(found) == 402
    assert [row.label for row in found[2:]] == ["A"] * 200 + ["B"] * 200
    words = {word for row in found[2:202] for word in row.text.split()}
    assert words == {*rows[0].text.split(), "Felino", "Bichano", "lindo"}
    share = sum("lindo" in row.text for row in found[2:202]) / 200
    assert abs(share - 0.45) < 0.11  # replaced half the time, then kept nine times in ten: 3 sigma
    assert all(row.text == "Sim" and row.second == "Não" for row in found[202:])  # the last word stays
    assert found == augmented(rows, config, read_synonyms(table))
    assert augmented(rows, AugmentConfig(copies=1, replace=0, swap=0, delete=0), {}) == rows * 2


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
    "unseen label in dev": Case("--dev: row 1 has the label", [], "text\tlabel\na\tx\nb\ty\n"),
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
    "device": Case("device must be", ["--device", "tpu"]),
    "output in use": Case("not an empty folder", ["--output", "."]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_bad_input(name: str, script: Script, files: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line on standard error, exit code 2, no traceback."""
    case = CASES[name]
    monkeypatch.chdir(files)
    (files / "s.tsv").write_text("sem tabulação\n")
    (files / "train.pdf").write_text("%PDF")
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
        ("classify", ["a", "--device", "tpu"], "--device must be"),
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
