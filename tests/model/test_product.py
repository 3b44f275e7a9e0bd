"""The product by oneDNN, where a processor has AVX-512, against float64 and against PyTorch's own."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tinydistil.model import layers
from tinydistil.model.layers import Linear, by_onednn, linear

needs_onednn = pytest.mark.skipif(
    not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")),
    reason="this PyTorch has no oneDNN",
)


@pytest.fixture
def preferred(monkeypatch: pytest.MonkeyPatch) -> None:
    """oneDNN is taken whatever the processor."""
    monkeypatch.setattr(layers, "_prefers_onednn", lambda: True)


def matrices(rows: int, width: int, wide: int) -> tuple[Tensor, Tensor, Tensor]:
    """Random rows (N, D), weight (F, D) and bias (F,)."""
    torch.manual_seed(rows)
    return torch.randn(rows, width), torch.randn(wide, width) / width**0.5, torch.randn(wide)


@needs_onednn
@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("rows", [1, 7, 64, 300])
def test_it_errs_no_more_than_the_default_product(preferred: None, rows: int, gelu: bool) -> None:
    given = matrices(rows, 384, 1536)
    exact = F.linear(*(each.double() for each in given))
    theirs = F.linear(*given)
    with torch.no_grad():
        assert by_onednn(*given[:2])
        ours = linear(*given, gelu=gelu)
    if gelu:
        exact, theirs = F.gelu(exact), F.gelu(theirs)
    assert (ours - exact).norm() <= 1.5 * (theirs - exact).norm() + 1e-7 * exact.norm()


@needs_onednn
def test_shapes_are_those_of_a_linear_layer(preferred: None) -> None:
    torch.manual_seed(1)
    layer, hidden = Linear(384, 768), torch.randn(3, 5, 384)
    kept = layer(hidden)
    assert kept.requires_grad, "a gradient needs the product that has one"
    with torch.inference_mode():
        torch.testing.assert_close(layer(hidden), kept.detach())


@needs_onednn
def test_nothing_else_goes_by_onednn(preferred: None, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, weight, _ = matrices(4, 384, 768)
    assert not by_onednn(rows, weight), "gradients are enabled"
    with torch.no_grad():
        assert by_onednn(rows, weight)
        assert not by_onednn(rows.double(), weight.double())
        for instructions in (True, False):
            monkeypatch.setattr(layers, "has_bfloat16", lambda _, has=instructions: has)
            assert by_onednn(rows.bfloat16(), weight.bfloat16()) == instructions
        assert not by_onednn(rows.bfloat16(), weight), "two types"
        assert not by_onednn(rows, weight[:16]), "narrow"
        with torch.autocast("cpu", torch.bfloat16):
            assert not by_onednn(rows, weight)
