"""Figures class by class and type by type."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.tasks.conftest import QUICK, Left
from tinydistil.tasks.examples import LabelledText, TaggedSentence
from tinydistil.tasks.label_task import TextTask
from tinydistil.tasks.tag_task import TagTask
from tinydistil.tasks.task_output import detail_lines, shown_details
from tinydistil.tokenizer.tokenizer import Tokenizer


@pytest.mark.parametrize("task", ["classify", "tag"])
def test_names_that_are_no_utf_8(script: Callable[..., Left], folder: Path, tmp_path: Path, task: str) -> None:
    """Figures are written whatever the files are called; a label that cannot be written is set aside on reading."""
    path = tmp_path / os.fsdecode(b"dados-\xe9.jsonl")
    rows = [
        {"text": f"texto {i}", "label": "ab"[i % 2], "tokens": ["Ana", "foi"], "tags": ["B-X", "O"]} for i in range(12)
    ]
    rows.append({"text": "texto", "label": "\ud800", "tokens": ["Ana"], "tags": ["B-\udfff"]})
    path.write_text("\n".join(map(json.dumps, rows)))
    call = ["--model", folder, "--task", task, "--train", path, "--dev", path, "--output", tmp_path / "out", *QUICK]
    done = script("finetune", *call)
    assert done.code == 0 and "12 rows, 1 set aside" in done.err, done.err
    assert {"figures.json", "details.json", "run.json"} <= {each.name for each in (tmp_path / "out").iterdir()}
    again = script("finetune", *call, "--resume")
    assert (again.code, again.out) == (0, done.out)


def test_classes(vocabulary: Tokenizer) -> None:
    """Also a label that training did not have: it is of no column, and counts as missed."""
    task = TextTask("classify", ("não", "sim"), vocabulary, 16, False)
    rows = [LabelledText("a", None, label) for label in ("não", "sim", "sim", "talvez")]
    found = task.details(rows, [np.array(p) for p in ([0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3])])
    assert json.loads(json.dumps(found)) == found
    assert found["labels"] == ["não", "sim", "talvez"] and found["confusion"] == [[1, 0, 0], [1, 1, 0], [1, 0, 0]]
    assert found["classes"]["sim"] == pytest.approx({"precision": 1.0, "recall": 0.5, "f1": 2 / 3, "count": 2})  # type: ignore[index]
    assert found["auc"] == 1.0  # "não": 0.9 above 0.2, 0.6, 0.7; "sim": 0.8 and 0.4 above 0.1 and 0.3
    lines = list(detail_lines(found))
    assert lines[2].split() == ["sim", "1.0000", "0.5000", "0.6667", "2"] and "ROC curve" in lines[4]
    assert lines[-2].split() == ["sim", "1", "1", "0"]


def test_types(vocabulary: Tokenizer) -> None:
    rows = [TaggedSentence(("a", "b", "c"), ("B-X", "I-X", "O")), TaggedSentence(("d",), ("B-Y",))]
    task = TagTask.of(rows, vocabulary, 16)
    found = task.details(rows, [["B-X", "I-X", "B-Y"], ["O"]])
    assert found == {
        "types": {
            "X": {"precision": 1.0, "recall": 1.0, "f1": 1.0, "count": 1},
            "Y": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "count": 1},
        }
    }
    assert [line.split()[0] for line in detail_lines(found)] == ["entity", "X", "Y"]


def test_numbers_and_undefined_areas(vocabulary: Tokenizer) -> None:
    numbers = TextTask("regress", ("number",), vocabulary, 16, False)
    assert numbers.details([LabelledText("a", None, "1")], [np.ones(1)]) == {} and not list(detail_lines({}))
    task = TextTask("classify", ("a", "b"), vocabulary, 16, False)
    assert task.details([LabelledText("a", None, "b")], [np.array([0.2, 0.8])])["auc"] is None


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"dev": 3}', '{"dev": {"classes": {"a": 3}}}', '{"dev": {"labels": [1]}}']
)
def test_damaged_files_are_not_shown(tmp_path: Path, content: str) -> None:
    (tmp_path / "details.json").write_text(content)
    assert shown_details(tmp_path / "details.json") == [] == shown_details(tmp_path / "none.json")


def test_many_classes_and_odd_names() -> None:
    scores = {"precision": 1.0, "recall": 1.0, "f1": 1.0}
    names = [*map(str, range(100)), "a\nb"]
    found = {"classes": {name: {**scores, "count": number} for number, name in enumerate(names)}, "labels": names}
    lines = list(detail_lines(found))
    assert len(lines) == 41 and lines[-1].startswith("'a\\nb'") and lines[1].startswith("61")
