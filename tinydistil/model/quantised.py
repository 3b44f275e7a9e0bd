"""The linear layers of a frozen encoder in 8-bit integers, for CPUs.

Weights have one scale per output channel, activations one scale per token, found while running (Yao et al. 2022,
ZeroQuant, 3.1): one for all tokens of a batch ruins a real BERT (mean token cosine 0.954 on MiniLM, against 0.9987).
Channels of the residual stream that are large in every token are first made smaller, and the weights that read them
larger (Xiao et al. 2023, SmoothQuant). Word table, LayerNorm, attention and activations stay in float32. The product is
oneDNN's: twice as fast as float32 on a core with AVX2 alone, four times with AVX-512 VNNI; see benchmarks/README.md.

Shapes: B sequences, T tokens, N rows (tokens), I inputs and O outputs of a linear layer.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from functools import cache, partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tinydistil.base.errors import InputError, require
from tinydistil.model.bert import BertForMaskedLM
from tinydistil.model.layers import Linear, activate
from tinydistil.model.pretrained import Pretrained

_MOST = 127
_ZERO = 128  # the kernel reads codes of activations, -127 to 127, as 1 to 255
# AVX2 without VNNI multiplies two adjacent unsigned and signed bytes each and adds both products in 16 bits: 255 * 128
# fits. VNNI and AMX add in 32 bits.
_MOST_OF_A_PAIR = 128
# Layers that read the residual stream, whose outliers are in few channels, are smoothed. What the others read is a
# tensor of its own, which they may overwrite. Measured on MiniLM, mean token cosine: none smoothed 0.9977, these
# 0.9987, all four of a layer 0.9989, for one more pass over the widest tensor.
_SMOOTHED = ("qkv", "up", "dense")
_SMOOTHING = 0.5  # how much of a channel's size goes to the weights (Xiao et al. 2023, eq. 4, alpha)
# Batches of ids and attention mask, each (B, T); the mask is None where nothing is padded.
Batches = Iterable[tuple[Tensor, Tensor | None]]


def quantise(
    model: Pretrained, calibration: Batches = (), *, agree: Callable[[Iterable[Tensor]], None] = lambda tensors: None
) -> None:
    """Replace the linear layers of `model`'s encoder, and the dense one of its masked LM head, by int8 ones.

    The model is frozen by this: it gives no gradients and its weights can no longer be saved.
    calibration: batches of the text it will see, which tell how large each channel gets; a few dozen sequences do.
    Without any, nothing is smoothed. agree: makes what was found of the channels the same on every rank.
    Raises InputError for a model that is in training mode, quantised already, not in float32 or not on the CPU, and
    where this machine has no int8 kernel that computes exactly.
    """
    check_engine()
    require(not model.training, "a model in training mode cannot be quantised; call its eval() first")
    check_not_frozen(model)
    for name, parameter in model.named_parameters():
        on, dtype = parameter.device, parameter.dtype
        require(on.type == "cpu", f"int8 is for the CPU, but {name!r} is on {on}; use bfloat16 there")
        remedy = "call the model's float() first"
        require(dtype == torch.float32, f"int8 starts from float32, but {name!r} is {dtype}; {remedy}")
    # The pooler and what stands on the encoder are plain `nn.Linear` and stay.
    layers = {name: module for name, module in model.named_modules() if isinstance(module, Linear)}
    largest = _largest_inputs(model, layers, calibration)
    agree(largest.values())
    for name, linear in layers.items():
        factors = None
        if name in largest:
            # Inputs are divided by s = max|x|^alpha / max|w|^(1 - alpha) of their channel (eq. 4).
            weights = linear.weight.detach().abs().amax(0).clamp(min=1e-5)  # some channels are never used
            factors = largest[name].clamp(min=1e-5) ** _SMOOTHING / weights ** (1 - _SMOOTHING)
        centred, in_place = name.endswith("down"), not name.endswith(_SMOOTHED)
        layer = QuantisedLinear(linear, smoothing=factors, centred=centred, in_place=in_place)
        model.set_submodule(name, layer)
    model.requires_grad_(False)


def check_not_frozen(model: nn.Module) -> None:
    """Raise InputError for a model whose linear layers are in another precision already."""
    for module in model.modules():
        require(not isinstance(module, FrozenLinear), f"the model is {getattr(module, 'done', '')} already")


def weight_bytes(model: nn.Module) -> int:
    """What the weights of `model` take in memory: its parameters, and those of its frozen linear layers."""
    plain = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    frozen = (module for module in model.modules() if isinstance(module, FrozenLinear))
    return plain + sum(module.packed.numel() * module.weight_bytes for module in frozen)


@torch.no_grad()
def _largest_inputs(model: Pretrained, layers: Mapping[str, nn.Module], calibration: Batches) -> dict[str, Tensor]:
    """The largest absolute value (I,) of each input channel of the layers to be smoothed; nothing without batches."""
    largest: dict[str, Tensor] = {}

    def observe(name: str, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found = inputs[0].flatten(0, -2).abs().amax(0)
        largest[name] = torch.maximum(largest[name], found) if name in largest else found

    with ExitStack() as hooks:
        for name, layer in layers.items():
            if name.endswith(_SMOOTHED):
                hooks.callback(layer.register_forward_pre_hook(partial(observe, name)).remove)
        for input_ids, attention_mask in calibration:
            for index, ids in enumerate(input_ids):
                # Each sequence by itself, without its padding, which is no text that channels should be judged by.
                ids = ids if attention_mask is None else ids[attention_mask[index] != 0]
                if len(ids) > 0:
                    hidden = model(ids[None]).last_hidden
                    if isinstance(model, BertForMaskedLM):
                        model.decoding_at(hidden)
    return largest


class FrozenLinear(nn.Module):
    """A linear layer whose weights lie as a kernel reads them, `weight_bytes` each: no more to be saved or copied.

    done: what has become of them. precision: what they are in.
    """

    done: ClassVar[str]
    precision: ClassVar[str]
    weight_bytes: ClassVar[int]
    packed: Tensor

    def _save_to_state_dict(self, destination: object, prefix: str, keep_vars: bool) -> None:
        # Whatever asks for weights, to save or to copy them, would otherwise silently get a model without these.
        raise InputError(
            f"the weights of {prefix.rstrip('.')!r} are {self.done} to {self.precision} and cannot be saved or copied; "
            "use the float32 model that it was made from"
        )


class QuantisedLinear(FrozenLinear):
    """A linear layer in int8, from a float32 one.

    smoothing (I,): what inputs are divided and weights multiplied by. centred: codes count from the middle of each
    row's range instead of zero, which suits inputs that are mostly of one sign: nearly a bit more for GELU's.
    in_place: inputs may be overwritten, since nobody else reads them.
    """

    done, precision, weight_bytes = "quantised", "int8", 1

    def __init__(
        self, linear: nn.Linear, *, smoothing: Tensor | None = None, centred: bool = False, in_place: bool = False
    ) -> None:
        super().__init__()
        self.in_place = in_place
        weight = linear.weight.detach()
        codes, scales = quantise_weight(weight if smoothing is None else weight * smoothing)
        # Plain attributes: as buffers they would travel with `.to()`, which the kernel's own layout cannot.
        bias = torch.zeros(len(weight)) if linear.bias is None else linear.bias.detach().clone()
        self.bias, self.packed = bias, _pack(codes)
        self.scales, self.zeros = scales, torch.zeros(len(codes), dtype=torch.int64)
        self.shrink = None if smoothing is None else smoothing.reciprocal()
        # What the layer answers to a row of ones, for the middle that codes are counted from.
        self.sums = codes.sum(1, dtype=torch.float32) * scales if centred else None

    def forward(self, hidden: Tensor, *, gelu: bool = False) -> Tensor:
        """(..., I) to (..., O), in float32, with `gelu` its exact GELU; NaN and infinity in a row make that row NaN or
        infinite."""
        rows = hidden.flatten(0, -2).float()  # (N, I)
        if self.shrink is not None:
            rows = rows * self.shrink
        ours = self.in_place or self.shrink is not None
        codes, steps, middles = quantise_rows(rows, centred=self.sums is not None, in_place=ours)
        output = _product(codes, self.packed, self.scales, self.zeros)  # (N, O)
        torch.addcmul(self.bias, output, steps, out=output)  # half the time of two passes
        if self.sums is not None and middles is not None:
            output.addr_(middles.squeeze(1), self.sums)
        return (activate("gelu", output) if gelu else output).view(*hidden.shape[:-1], len(self.bias))


def quantise_weight(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Codes (O, I), int8, and scales (O,) with weight = codes * scales, each weight to half a scale.

    The scale is the least with which no code is beyond 127. Where the kernel `adds_in_16_bits`, it is also such that no
    two adjacent inputs have codes of one sign that sum to more than 128, so that no product can overflow. Activations
    of 7 bits would do too and cost more: mean token cosine on MiniLM 0.9929 against 0.9972, both without smoothing.
    """
    scales = weight.abs().amax(1) / _MOST
    if adds_in_16_bits():
        # Both signs (2, O, I); an odd last input has no partner.
        signs = F.pad(torch.stack([weight.clamp(min=0), -weight.clamp(max=0)]), (0, weight.shape[1] % 2))
        pairs = (signs[..., 0::2] + signs[..., 1::2]).amax((0, 2))
        scales = torch.maximum(scales, pairs / (_MOST_OF_A_PAIR - 0.01))  # 0.01: room for rounding
    scales = scales.clamp(min=torch.finfo(torch.float32).tiny)
    return torch.round(weight / scales[:, None]).to(torch.int8), scales


@cache
def adds_in_16_bits() -> bool:
    """Whether the kernel of this processor overflows where codes are as large as they can be. Tried, not looked up:
    what an instruction set promises, a build of oneDNN need not use."""
    codes = torch.tensor([[_MOST] * 64, [-_MOST] * 64] * 8, dtype=torch.int8)
    return not _is_exact(codes, torch.ops.onednn.qlinear_prepack(codes, None))


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
        raise InputError("int8 needs a PyTorch built with oneDNN (mkldnn), which this one is not; use float32")
    _pack(torch.tensor([[127, 1] * 32, [-127, -1] * 32], dtype=torch.int8))


def _pack(codes: Tensor) -> Tensor:
    """Weights (O, I) in the kernel's layout, and its arithmetic looked at: where products come nearest to overflow."""
    try:
        packed: Tensor = torch.ops.onednn.qlinear_prepack(codes, None)
        exact = _is_exact(codes, packed)
    except (RuntimeError, AttributeError) as error:
        raise InputError(f"this PyTorch has no int8 product for this processor ({error}); use float32") from None
    outputs, inputs = codes.shape
    wrong = f"the int8 product of {inputs} x {outputs} weights overflows on this processor, with this PyTorch"
    require(exact, f"{wrong}; use float32")
    return packed


def _is_exact(codes: Tensor, packed: Tensor) -> bool:
    """Whether rows of the largest codes, and of all, times the weights are what they are in float64."""
    outputs, inputs = codes.shape
    rows = torch.full((16, inputs), 255, dtype=torch.uint8)
    rows[8:] = torch.arange(inputs) % 256
    found = _product(rows, packed, torch.ones(outputs), torch.zeros(outputs, dtype=torch.int64))
    return torch.allclose(found.double(), (rows.double() - _ZERO) @ codes.double().T, rtol=1e-6, atol=0.5)


def _product(codes: Tensor, packed: Tensor, scales: Tensor, zeros: Tensor) -> Tensor:
    """(codes - 128) times the packed weights and their scales, (N, O) in float32."""
    product: Tensor = torch.ops.onednn.qlinear_pointwise(
        codes, 1.0, _ZERO, packed, scales, zeros, None, 1.0, 0, torch.float32, "none", [], ""
    )
    return product
