"""Recipe `leaf`: the student's folder gives vectors in the teacher's own space, by its Dense module."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.scripts.models import make_models
from tinydistil.base.ranks import Ranks
from tinydistil.corpus.prepare_config import resolve_raw
from tinydistil.corpus.raw_text import plan_raw
from tinydistil.distill.terms.representation import random_directions
from tinydistil.evaluate.inference import embed
from tinydistil.model.bert import BertModel
from tinydistil.model.sentence_folder import read_sentence_folder
from tinydistil.tokenizer.tokenizer import Tokenizer
from tinydistil.train.models import load_teachers
from tinydistil.train.run import build, execute

ALONE = Ranks(0, 1, torch.device("cpu"))


@pytest.fixture
def leaf(tmp_path: Path, write_corpus: Callable[[Path, int], Path]) -> Callable[..., Path]:
    """A run of some steps, and its student's folder; options with "__" for dots."""
    corpus = write_corpus(tmp_path / "corpus.jsonl", 60)
    make_models(tmp_path, corpus)

    def run(name: str = "leaf", steps: int = 30, **changes: object) -> Path:
        values: dict[str, dict[str, object]] = {
            "recipe": {"name": name}, "student": {"model": "1x8", "tokenizer": str(tmp_path / "student")},
            "train": {"steps": steps, "batch_size": 8},
        }  # fmt: skip
        for option, value in changes.items():
            section, _, key = option.partition("__")
            values[section][key] = value
        options = {"teacher": str(tmp_path / "encoder"), "corpus": [str(corpus)], "teacher_precision": "float32"}
        plan = plan_raw(resolve_raw({**options, **values}), tmp_path / name, resume=False, device="cpu")
        plan.text.prepare(ALONE, workers=0, say=print)
        if steps == 0:
            loop = build(plan, ALONE, load_teachers(plan))
            loop.records.close()
            torch.save(loop.trainer.module.state_dict(), tmp_path / "start.pt")
            return tmp_path
        execute(plan, ALONE)
        return tmp_path / name / "student"

    return run


def texts_of(folder: Path) -> list[str]:
    lines = (folder / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    return [str(json.loads(line)["text"]).split(".")[0] + "." for line in lines][:20]


def vectors_of(folder: Path, texts: list[str]) -> np.ndarray:  # type: ignore[type-arg]
    """As predict.py embed gives them, by what the folder declares."""
    model, tokenizer = BertModel.from_pretrained(folder), Tokenizer.from_pretrained(folder)
    pooling = read_sentence_folder(folder, model.config) or "mean"
    return np.stack([each.vector for each in embed(model, tokenizer, texts, pooling=pooling, batch_size=8)])


def test_its_vectors_are_the_teachers(leaf: Callable[..., Path], tmp_path: Path) -> None:
    """As wide as the teacher's, nearer to them after training, and the same in sentence-transformers to 1e-5."""
    away = []
    for steps in (1, 150):
        student = leaf(steps=steps, train__optimizer={"learning_rate": 0.02})
        texts = texts_of(tmp_path)
        ours, theirs = vectors_of(student, texts), vectors_of(tmp_path / "encoder", texts)
        away.append(np.square(ours - theirs).sum())
        if steps == 1:
            shutil.rmtree(tmp_path / "leaf")
    declared = [each["type"].rpartition(".")[2] for each in json.loads((student / "modules.json").read_text())]
    assert declared == ["Transformer", "Pooling", "Dense"] and ours.shape == (20, 16)
    assert away[1] < away[0] / 4, away
    library = pytest.importorskip("sentence_transformers")
    other = library.SentenceTransformer(str(student), device="cpu").encode(texts)
    np.testing.assert_allclose(other, ours, atol=1e-5)


def test_where_it_begins(leaf: Callable[..., Path]) -> None:
    """Words on directions at right angles, the map back from there, what the teacher's vectors have in common."""
    folder = leaf(steps=0)
    state = torch.load(folder / "start.pt")
    weight = state["terms.pooled.projection.map.weight"]  # (16, 8)
    torch.testing.assert_close(weight, random_directions(8, 16).T)
    torch.testing.assert_close(weight.T @ weight, torch.eye(8), atol=1e-5, rtol=0)
    assert state["terms.pooled.projection.map.bias"].abs().sum() > 0.01


@pytest.mark.parametrize("changes", [{"recipe__projection": "random", "recipe__centred": True}, {"recipe__pooled": 0.0,
                         "recipe__terms": {"similarity": 1.0}, "student__embeddings": ""}])  # fmt: skip
def test_no_other_recipe_writes_a_map(leaf: Callable[..., Path], changes: dict[str, object]) -> None:
    student = leaf("vectors", steps=2, **changes)
    assert not (student / "2_Dense").exists() and len(json.loads((student / "modules.json").read_text())) == 2


def test_contrast_may_map_up_too(leaf: Callable[..., Path]) -> None:
    terms = {"contrast": {"projection": "student-to-teacher", "centred": False}}
    student = leaf("contrast", steps=2, recipe__terms=terms)
    assert json.loads((student / "2_Dense" / "config.json").read_text())["out_features"] == 16
