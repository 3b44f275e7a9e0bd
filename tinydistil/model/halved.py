"""The linear layers of a frozen encoder with weights in bfloat16, for CPUs.

Under autocast each product takes its weights as they lie, converts its inputs, adds its bias and leaves GELU to another
pass. Here weights are converted once and lie as oneDNN's kernel reads them, with bias and GELU in the product. Values
are those of autocast: products of 16 bits summed in 32, results in 16; residual stream and LayerNorm are the caller's,
in float32 (`bert.Layer`).

Shapes: I inputs and O outputs of a linear layer.
"""

import torch
from torch import Tensor, nn

from tinydistil.model.layers import Linear, activate
from tinydistil.model.pretrained import Pretrained
from tinydistil.model.quantised import FrozenLinear, check_not_frozen


def halve(model: Pretrained) -> None:
    """Replace the linear layers of `model`'s encoder, and the dense one of its masked LM head, by ones in bfloat16.

    To be called under autocast to bfloat16, which all else of the model follows. Raises InputError for a model that is
    frozen so already.
    """
    check_not_frozen(model)
    for name, module in list(model.named_modules()):
        if isinstance(module, Linear):
            model.set_submodule(name, HalvedLinear(module))


class HalvedLinear(FrozenLinear):
    """A linear layer in bfloat16, from one in any precision."""

    done, precision, weight_bytes = "halved", "bfloat16", 2

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach().bfloat16()
        self.by_onednn = torch.ops.mkldnn._is_mkldnn_bf16_supported()
        # Plain attributes: as buffers they would travel with `.to()`, which the kernel's own layout cannot.
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight) if self.by_onednn else weight
        self.bias = None if linear.bias is None else linear.bias.detach().bfloat16()

    def forward(self, hidden: Tensor, *, gelu: bool = False) -> Tensor:
        """(..., I) to (..., O) in bfloat16, with `gelu` its exact GELU."""
        if self.by_onednn:
            activation, approximation = ("gelu", "none") if gelu else ("none", "")
            by_library = torch.ops.mkldnn._linear_pointwise
            return by_library(hidden.bfloat16(), self.packed, self.bias, activation, [], approximation)  # type: ignore[no-any-return]
        output = nn.functional.linear(hidden.bfloat16(), self.packed, self.bias)
        return activate("gelu", output) if gelu else output
