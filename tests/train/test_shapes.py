"""Shapes of new students: what each option makes, budgets by part, students of every form that learn; refusals."""

import re
from pathlib import Path

import pytest
import torch
import transformers

from tinydistil.base.errors import InputError
from tinydistil.model.bert import BertForMaskedLM
from tinydistil.model.config import Shape, new_shape
from tinydistil.train.estimate import _described

GOOD = {
    "2x128": ("bert", 4_416_698), "2x128,heads=4,feed_forward=256": ("bert", 4_285_114),
    "3x256,embedding=64": ("electra", 4_419_450), "4x192,groups=1": ("albert", None),
    "12x312,embedding=128,groups=2": ("albert", None),
}  # fmt: skip


@pytest.mark.parametrize("text", GOOD)
def test_parameters_in_transformers(text: str, tmp_path: Path) -> None:
    """As many as `transformers` counts in the folder that is written, and by part in all as many."""
    model_type, known = GOOD[text]
    shape = Shape.of(text)
    assert shape is not None
    layers, width, *others = shape
    torch.manual_seed(0)
    model = BertForMaskedLM(new_shape(layers, width, 30522, *others))
    assert model.config.model_type == model_type
    model.save_pretrained(tmp_path)
    theirs = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path)
    count = sum(p.numel() for p in theirs.parameters())
    assert sum(p.numel() for p in model.parameters()) == count and known in (None, count), count
    said = _described(model)
    parts = [float(each) for each in re.findall(r"(?:words|layers|the rest) ([\d.]+)", said)]
    assert sum(parts) == pytest.approx(count / 1e6, abs=0.016) and f"{count / 1e6:.1f} M parameters" in said


def test_a_budget_goes_into_layers() -> None:
    """Of 4.4 M parameters 88 % are word vectors; with narrow ones a third layer of twice the width fits."""
    usual, narrow = (BertForMaskedLM(new_shape(*shape)) for shape in ((2, 128, 30522), (3, 256, 30522, 64)))
    shares = [m.bert.embeddings.word.weight.numel() / sum(p.numel() for p in m.parameters()) for m in (usual, narrow)]
    assert shares[0] == pytest.approx(0.88, abs=0.01) and shares[1] == pytest.approx(0.44, abs=0.02)


BAD = {
    "3x256,embeding=64": "student.model .* unknown option 'embeding'; did you mean 'embedding'",
    "3x256,64": "unknown option '64'",
    "2x128,heads=0": "heads must be a number > 0, given once",
    "2x128,heads=-2": "heads must be a number > 0",
    "2x128,heads=2,heads=4": "heads must be a number > 0, given once",
    "2x128,embedding=": "embedding must be a number > 0",
    "2x128,": "unknown option ''",
}  # fmt: skip


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_shape(text: str) -> None:
    with pytest.raises(InputError, match=BAD[text]):
        Shape.of(text)


def test_shapes_that_cannot_be() -> None:
    assert Shape.of("a/b") is None and Shape.of("2x128-model") is None
    with pytest.raises(InputError, match=r"width must be a multiple of heads \(3\), got 128"):
        new_shape(2, 128, 100, heads=3)
    with pytest.raises(InputError, match="num_hidden_groups must divide num_hidden_layers 4, got 3"):
        new_shape(4, 128, 100, groups=3)
    with pytest.raises(InputError, match="at least 1 layer and a width of 8"):
        new_shape(0, 128, 100)
