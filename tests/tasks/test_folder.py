"""A fine-tuned model's folder: task.json with values of other types is refused in one message."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from tinydistil.base.errors import InputError
from tinydistil.model.config import BertConfig
from tinydistil.tasks.answer_task import AnswerTask
from tinydistil.tasks.folder import MODELS, load, save
from tinydistil.tasks.label_task import TextTask
from tinydistil.tasks.tag_task import TagTask
from tinydistil.tasks.task import AnyTask
from tinydistil.tokenizer.tokenizer import train_wordpiece

ODD = [None, True, 0, -1, 2**64, 1.5, "x", [], ["a"], [["a"]], {}, {"0": 1}, "\ud800"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """classify/, tag/ and answer/."""
    root = tmp_path_factory.mktemp("tuned")
    tokenizer = train_wordpiece(["O gato dorme no sofá."] * 3, 60)
    tasks: list[AnyTask] = [
        TextTask("classify", ("não", "sim"), tokenizer, 16, False),
        TagTask(("O", "B-X", "I-X"), tokenizer, 16),
        AnswerTask(tokenizer, 16, 4),
    ]
    for task in tasks:
        torch.manual_seed(0)
        shape = BertConfig(tokenizer.vocab_size, 8, 1, 2, 8, max_position_embeddings=16)
        save(MODELS[task.kind](shape.replace(**task.changes)), task, root / task.kind)
    return root


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        ("classify", "kind"), ("classify", "max_length"), ("classify", "labels"), ("classify", "paired"),
        ("tag", "kind"), ("tag", "max_length"), ("tag", "labels"), ("answer", "max_length"), ("answer", "stride"),
    ],
)  # fmt: skip
def test_odd_values(folders: Path, tmp_path: Path, kind: str, field: str) -> None:
    shutil.copytree(folders / kind, tmp_path, dirs_exist_ok=True)
    assert load(tmp_path, (kind,)).task.kind == kind
    good = json.loads((tmp_path / "task.json").read_text())
    for value in ODD:
        if (field, value) == ("paired", True):
            continue
        (tmp_path / "task.json").write_text(json.dumps(good | {field: value}))
        with pytest.raises(InputError, match=field if field != "kind" else "was fine-tuned to"):
            load(tmp_path, (kind,))


@pytest.mark.parametrize("content", ["[]", "7", "{", '"classify"', '{"kind": ' + "9" * 5000 + "}", "[" * 100_000])
def test_no_task(folders: Path, tmp_path: Path, content: str) -> None:
    shutil.copytree(folders / "classify", tmp_path, dirs_exist_ok=True)
    (tmp_path / "task.json").write_text(content)
    with pytest.raises(InputError, match=r"task\.json' (is not valid JSON|must hold a JSON object)"):
        load(tmp_path, ("classify",))
