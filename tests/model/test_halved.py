"""Linear layers in bfloat16: against the same products in float64, and the model against autocast."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tinydistil.base.errors import InputError
from tinydistil.model.bert import BertForMaskedLM, BertModel
from tinydistil.model.config import BertConfig
from tinydistil.model.halved import HalvedLinear, halve
from tinydistil.model.quantised import quantise, weight_bytes


@pytest.mark.parametrize("by_onednn", [True, False])
@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("size", [(5, 96, 40), (1, 7, 3), (300, 256, 64)])
def test_a_layer_rounds_once(
    size: tuple[int, int, int], gelu: bool, by_onednn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inputs, weights and bias of 16 bits, summed more exactly, the result rounded: half a unit in its last place."""
    if by_onednn and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("oneDNN has no bfloat16 for this processor")
    if not by_onednn:
        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    torch.manual_seed(0)
    count, inputs, outputs = size
    linear, rows = nn.Linear(inputs, outputs), torch.randn(count, inputs)
    with torch.no_grad():
        found = HalvedLinear(linear)(rows, gelu=gelu)
    exact = F.linear(*(each.bfloat16().double() for each in (rows, linear.weight, linear.bias)))
    exact = F.gelu(exact) if gelu else exact
    assert found.dtype == torch.bfloat16
    # Without oneDNN the sum is rounded before its GELU.
    slack = 2.0**-8 * (1 if by_onednn or not gelu else 3)
    assert torch.allclose(found.double(), exact, rtol=slack, atol=2e-3 if gelu else 1e-4)


def test_a_model_is_as_near_to_float32_as_autocast_is() -> None:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=200, hidden_size=64, num_hidden_layers=3, num_attention_heads=2, intermediate_size=256,
        initializer_range=0.2,
    )  # fmt: skip
    model = BertForMaskedLM(config, attention="packed").eval()
    mask = (torch.arange(12) < torch.tensor([12, 5, 9])[:, None]).long()
    ids = torch.randint(5, 200, (3, 12))
    halved = copy.deepcopy(model)
    halve(halved)
    with torch.no_grad():
        exact = model(ids, mask).last_hidden[mask != 0]
        with torch.autocast("cpu", torch.bfloat16):
            found = [each(ids, mask).last_hidden[mask != 0] for each in (halved, model)]
    ours, autocast = (float((each - exact).norm() / exact.norm()) for each in found)
    assert all(each.dtype == torch.float32 for each in found)  # the residual stream keeps its digits
    assert ours <= 1.1 * autocast and autocast < 0.03


def test_it_takes_half_the_memory_and_is_not_saved_as_if_it_were_whole(tmp_path: Path) -> None:
    model = BertModel(BertConfig(vocab_size=60, hidden_size=32, num_hidden_layers=2, num_attention_heads=2)).eval()
    linear = sum(p.numel() for name, p in model.layers.named_parameters() if "norm" not in name and p.dim() == 2)
    biases = sum(p.numel() for name, p in model.layers.named_parameters() if "norm" not in name and p.dim() == 1)
    before = weight_bytes(model)
    halve(model)
    assert weight_bytes(model) == before - 4 * (linear + biases) + 2 * linear
    for ask in (model.state_dict, lambda: model.save_pretrained(tmp_path)):
        with pytest.raises(
            InputError, match=r"'layers.0.attention.qkv' are halved to bfloat16 .* use the float32 model"
        ):
            ask()
    for again in (halve, quantise):
        with pytest.raises(InputError, match="the model is halved already"):
            again(model)
