"""scripts/finetune.py from the command line: what it writes, and goes on with."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.tasks.conftest import QUICK, Left, classify, opinions, stop_after, write_csv
from tinydistil.base.errors import STOPPED_EXIT_CODE
from tinydistil.base.ranks import Ranks
from tinydistil.tasks.examples import AugmentConfig, LabelledText, augmented, read_synonyms
from tinydistil.tasks.finetune import Material
from tinydistil.tasks.finetune_config import FineTuneConfig
from tinydistil.tasks.grid import cross_validated
from tinydistil.tasks.label_task import TextTask
from tinydistil.tokenizer.tokenizer import Tokenizer

Script = Callable[..., Left]


def test_from_files_to_predictions(script: Script, files: Path, folder: Path) -> None:
    done = script("finetune", *classify(files, folder), "--output", files / "out")
    assert done.code == 0, done.err
    assert re.search(r"test f1_macro +0\.\d{4}\n", done.out) and "40 rows, 0 set aside" in done.err
    names = {each.name for each in (files / "out").iterdir()}
    assert {"config.json", "model.safetensors", "task.json", "run.json", "figures.json", "vocab.txt"} <= names
    assert "checkpoints" not in names
    figures = json.loads((files / "out" / "figures.json").read_text())
    assert figures.keys() == {"dev", "test"}
    details = json.loads((files / "out" / "details.json").read_text())
    matrix = details["test"]["confusion"]
    assert sum(map(sum, matrix)) == 12 and figures["test"]["accuracy"] == sum(matrix[i][i] for i in range(3)) / 12
    for said in (
        r" test class +precision +recall",
        r" test positive +\d",
        " test gold below",
        " dev area under the ROC",
    ):
        assert re.search(said, done.out), done.out
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


def test_an_interrupted_call_goes_on(
    script: Script, files: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = classify(files, folder)
    whole = script("finetune", *call, "--output", files / "whole")
    with monkeypatch.context() as patch:
        stop_after(3, patch)
        assert script("finetune", *call, "--output", files / "cut").code == STOPPED_EXIT_CODE
    assert not (files / "cut" / "figures.json").exists()
    resumed = script("finetune", *call, "--output", files / "cut", "--resume")
    assert resumed.code == 0 and resumed.out == whole.out
    first, second = (load_file(files / name / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(first[key], second[key]) for key in first)


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
    expected = {"tag": {"words", "tags", "entities"}, "answer": {"question", "answer", "probability"},
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
        "tinydistil.tasks.finetune.fine_tune",
        lambda model, examples, *_, **__: bool(learnt.append({e.ids.tobytes() for e in examples})) or True,
    )
    material = Material(folder, task, rows, [], [])
    scores = list(cross_validated(material, config, folds=4, ranks=Ranks(0, 1, torch.device("cpu"))))
    everything = {each.ids.tobytes() for each in task.encode(rows)}
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


@pytest.mark.parametrize("table", [{"1": "a", "2": "b"}, {"0": "a", "7": "b"}, None, {}, ["a"]])
def test_the_old_heads_labels_do_not_matter_to_a_new_head(
    script: Script, folder: Path, files: Path, tmp_path: Path, table: object
) -> None:
    model = shutil.copytree(folder, tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"id2label": table}))
    left = script("finetune", *classify(files, model), "--output", tmp_path / "out")
    assert left.code == 0, left.err
