"""A linear layer in 8-bit integers, for CPUs.

The product is oneDNN's: 1.9 to 2.2 times as fast as float32 on a core with AVX2 and no VNNI. What else was tried there
stands in benchmarks/README.md.

Letters: N rows (tokens), I inputs, O outputs.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tinydistil.base.errors import InputError, require

_MOST = 127
_ZERO = 128  # the kernel reads codes of activations, -127 to 127, as 1 to 255
# AVX2 multiplies two adjacent unsigned and signed bytes each and adds both products in 16 bits: 255 * 128 fits.
_MOST_OF_A_PAIR = 128
_REMEDY = "use float32"


class QuantisedLinear(nn.Module):
    """A linear layer in int8, from a float32 one. It gives no gradient and cannot be saved.

    smoothing (I,): what inputs are divided and weights multiplied by. centred: codes count from the middle of each
    row's range instead of zero, which suits inputs that are mostly of one sign: nearly a bit more for GELU's.
    in_place: inputs may be overwritten, since nobody else reads them.
    Raises InputError where this machine's kernel does not compute what integer arithmetic does.
    """

    def __init__(
        self, linear: nn.Linear, *, smoothing: Tensor | None = None, centred: bool = False, in_place: bool = False
    ) -> None:
        super().__init__()
        self.in_place = in_place
        weight = linear.weight.detach()
        codes, scales = quantise_weight(weight if smoothing is None else weight * smoothing)
        # Plain attributes: as buffers they would travel with `.to()`, which the kernel's own layout cannot.
        self.bias = torch.zeros(len(codes)) if linear.bias is None else linear.bias.detach().clone()
        self.scales, self.zeros = scales, torch.zeros(len(codes), dtype=torch.int64)
        self.shrink = None if smoothing is None else smoothing.reciprocal()
        # What the layer answers to a row of ones, for the middle that codes are counted from.
        self.sums = codes.sum(1, dtype=torch.float32) * scales if centred else None
        self.packed = _pack(codes)
        self.shape = tuple(codes.shape)

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., I) to (..., O), in float32; NaN and infinity in a row make that row NaN or infinite."""
        rows = hidden.flatten(0, -2).float()  # (N, I)
        if self.shrink is not None:
            rows = rows * self.shrink
        ours = self.in_place or self.shrink is not None
        codes, steps, middles = quantise_rows(rows, centred=self.sums is not None, in_place=ours)
        output = _product(codes, self.packed, self.scales, self.zeros)  # (N, O)
        torch.addcmul(self.bias, output, steps, out=output)  # half the time of two passes
        if self.sums is not None and middles is not None:
            output.addr_(middles.squeeze(1), self.sums)
        return output.view(*hidden.shape[:-1], self.shape[0])

    def extra_repr(self) -> str:
        """What `print` shows of the layer."""
        return f"in_features={self.shape[1]}, out_features={self.shape[0]}"

    def _save_to_state_dict(self, destination: object, prefix: str, keep_vars: bool) -> None:
        # Whatever asks for weights, to save or to copy them, would otherwise silently get a model without these.
        raise InputError(
            f"the weights of {prefix.rstrip('.')!r} are quantised to int8 and cannot be saved or copied; "
            "use the float32 model that it was made from"
        )


def quantise_weight(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Codes (O, I), int8, and scales (O,) with weight = codes * scales, each weight to half a scale.

    The scale is the least with which no code is beyond 127 and no two adjacent inputs have codes of one sign that sum
    to more than 128, so that no product can overflow 16 bits. Activations of 7 bits would do too and cost more: mean
    token cosine on MiniLM 0.9929 against 0.9972, both without smoothing.
    """
    pairs = torch.maximum(_sums_of_pairs(weight.clamp(min=0)), _sums_of_pairs(-weight.clamp(max=0)))
    scales = torch.maximum(weight.abs().amax(1) / _MOST, pairs / (_MOST_OF_A_PAIR - 0.01))  # 0.01: room for rounding
    scales = scales.clamp(min=torch.finfo(torch.float32).tiny)
    return torch.round(weight / scales[:, None]).to(torch.int8), scales


def _sums_of_pairs(weight: Tensor) -> Tensor:
    """The largest sum (O,) of two adjacent weights; an odd last one has no partner."""
    even, odd = weight[:, 0::2], weight[:, 1::2]
    return (even + F.pad(odd, (0, even.shape[1] - odd.shape[1]))).amax(1)


def quantise_rows(rows: Tensor, *, centred: bool, in_place: bool = False) -> tuple[Tensor, Tensor, Tensor | None]:
    """Codes (N, I) of uint8, steps (N, 1), middles (N, 1): rows = (codes - 128) * steps + middles, to half a step.

    Each row has the least step that reaches its values; without `centred` its middle is 0, given as None. `in_place`
    overwrites the rows, and so spares fresh memory, which costs more than the arithmetic.
    """
    high, low = rows.amax(1, keepdim=True), rows.amin(1, keepdim=True)
    if centred:
        middles, reach = (high + low) / 2, (high - low) / 2
    else:
        middles, reach = None, torch.maximum(high, -low)
    reach = reach.clamp_(min=1e-30)  # rows that are constant; the least float itself would divide to infinity
    per_step = _MOST / reach
    scaled = rows.mul_(per_step) if in_place else rows * per_step
    if middles is not None:
        scaled.sub_(middles * per_step)
    # By way of int8, because PyTorch converts floats to uint8 four times slower; flipping the first bit adds 128.
    codes = scaled.round_().to(torch.int8).view(torch.uint8).bitwise_xor_(_ZERO)
    return codes, reach / _MOST, middles


def check_engine() -> None:
    """Raise InputError where this machine and build of PyTorch have no int8 kernel that computes exactly."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        raise InputError(f"int8 needs a PyTorch built with oneDNN (mkldnn), which this one is not; {_REMEDY}")
    _pack(torch.tensor([[127, 1] * 32, [-127, -1] * 32], dtype=torch.int8))


def _pack(codes: Tensor) -> Tensor:
    """Weights (O, I) in the kernel's layout, and its arithmetic looked at: where products come nearest to overflow."""
    outputs, inputs = codes.shape
    rows = torch.full((16, inputs), 255, dtype=torch.uint8)
    rows[8:] = torch.arange(inputs) % 256
    ones, zeros = torch.ones(outputs), torch.zeros(outputs, dtype=torch.int64)
    try:
        packed: Tensor = torch.ops.onednn.qlinear_prepack(codes, None)
        found = _product(rows, packed, ones, zeros)
    except (RuntimeError, AttributeError) as error:
        raise InputError(f"this PyTorch has no int8 product for this processor ({error}); {_REMEDY}") from None
    expected = (rows.double() - _ZERO) @ codes.double().T
    require(
        torch.allclose(found.double(), expected, rtol=1e-6, atol=0.5),
        f"the int8 product of this PyTorch overflows on this processor: {inputs} x {outputs} weights gave an error of "
        f"{(found - expected).abs().max():.0f}; {_REMEDY}",
    )
    return packed


def _product(codes: Tensor, packed: Tensor, scales: Tensor, zeros: Tensor) -> Tensor:
    """(codes - 128) times the packed weights and their scales, (N, O) in float32."""
    product: Tensor = torch.ops.onednn.qlinear_pointwise(
        codes, 1.0, _ZERO, packed, scales, zeros, None, 1.0, 0, torch.float32, "none", [], ""
    )
    return product
