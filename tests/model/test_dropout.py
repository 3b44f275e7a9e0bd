"""Dropout's masks: the right share, the right mean, independent, reproducible."""

import pytest
import torch

from tinydistil.model.bert import BertModel
from tinydistil.model.config import new_shape
from tinydistil.model.layers import drop


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.25])
def test_share_and_mean(probability: float) -> None:
    torch.manual_seed(0)
    count = 2_000_001  # not a multiple of the four draws of a word
    dropped = drop(torch.ones(count), probability)
    sigma = (probability * (1 - probability) / count) ** 0.5
    assert abs(float((dropped == 0).double().mean()) - probability) < 4 * sigma + 2**-17
    assert float(dropped.double().mean()) == pytest.approx(1.0, abs=4 * sigma / (1 - probability) + 1e-6)
    assert dropped.unique().numel() == 2


def test_neighbours_are_independent() -> None:
    """Four masks come out of one random word: none may tell of another."""
    torch.manual_seed(0)
    mask = (drop(torch.ones(4_000_000), 0.3) == 0).double().view(-1, 4)
    correlation = torch.corrcoef(mask.T)
    assert float((correlation - torch.eye(4)).abs().max()) < 5 / 1e6**0.5


def test_in_place_and_seed() -> None:
    values = torch.randn(3, 5, 7)
    torch.manual_seed(3)
    apart = drop(values, 0.4)
    torch.manual_seed(3)
    copy = values.clone()
    assert drop(copy, 0.4, in_place=True) is copy
    assert torch.equal(copy, apart)
    assert drop(values, 0.0) is values


def test_gradient_is_the_mask() -> None:
    values = torch.randn(1000, dtype=torch.float64, requires_grad=True)
    dropped = drop(values * 1, 0.2, in_place=True)
    dropped.sum().backward()
    assert values.grad is not None
    assert torch.allclose(values.grad * values, dropped)


def test_training_mode_drops_and_eval_mode_does_not() -> None:
    model = BertModel(new_shape(2, 128, 30522))
    ids = torch.randint(1, 30522, (2, 16))
    assert not torch.equal(model(ids).last_hidden, model(ids).last_hidden)
    model.eval()
    assert torch.equal(model(ids).last_hidden, model(ids).last_hidden)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_gradients_with_dropout_match_finite_differences(attention: str) -> None:
    """In-place residuals and masks leave autograd what it needs."""
    config = new_shape(2, 128, 30522).replace(
        hidden_size=8, intermediate_size=16, vocab_size=11, max_position_embeddings=6, num_attention_heads=2
    )
    model = BertModel(config, attention=attention).double().train()
    ids = torch.randint(1, 11, (2, 5))
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])

    def loss(weight: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(5)  # the same masks at every evaluation
        output = torch.func.functional_call(model, {"layers.0.up.weight": weight}, (ids, mask))
        return output.last_hidden.square().sum() + output.pooled.sum()

    start = model.layers[0].up.weight.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(loss, (start,), atol=1e-6)


@pytest.mark.parametrize("probability", [0.99999, 0.9999999, 1 - 2**-53])
def test_a_probability_next_to_1_keeps_what_it_can(probability: float) -> None:
    dropped = drop(torch.ones(1 << 20), probability)
    assert dropped.isfinite().all() and set(dropped.unique().tolist()) <= {0.0, float(2**16)}
