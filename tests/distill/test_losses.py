"""Losses against closed forms, hand-worked cases and float64 numpy."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, rel_entr, softmax
from torch import Tensor

from tinydistil.base.errors import InputError
from tinydistil.distill.losses import (
    IGNORED,
    masked_lm,
    soft_targets,
)
from tinydistil.distill.options import DIVERGENCES
from tinydistil.distill.terms.representation import cosine, mean_squared_error, word_means

ALL = torch.ones(6, dtype=torch.bool)


def logits(rows: int = 6, width: int = 11, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, width, generator=generator, dtype=torch.float64).mul(3).to(dtype)


def expected_divergence(student: Tensor, teacher: Tensor, temperature: float, divergence: str) -> float:
    """By scipy's relative entropy, in float64."""
    p, q = softmax(teacher.numpy() / temperature, -1), softmax(student.numpy() / temperature, -1)
    m = (p + q) / 2
    total = {
        "forward": rel_entr(p, q).sum(),
        "reverse": rel_entr(q, p).sum(),
        "jensen-shannon": (rel_entr(p, m).sum() + rel_entr(q, m).sum()) / 2,
    }[divergence]
    return float(total * temperature**2)


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 8.0])
def test_divergences_against_scipy(divergence: str, temperature: float) -> None:
    student, teacher = logits(seed=1), logits(seed=2)
    part = soft_targets(student, teacher, ALL, temperature=temperature, divergence=divergence)
    expected = expected_divergence(student, teacher, temperature, divergence)
    assert float(part) == pytest.approx(expected, rel=1e-12)
    single = soft_targets(student.float(), teacher.float(), ALL, temperature=temperature, divergence=divergence)
    assert float(single) == pytest.approx(expected, rel=1e-5)


def test_hand_worked_divergences() -> None:
    """p = (3/4, 1/4), q = (1/2, 1/2): KL(p||q) = 3/4 log 3/2 + 1/4 log 1/2, and so on."""
    teacher, student = torch.tensor([[3.0, 1.0]]).log().double(), torch.zeros(1, 2).double()
    one = torch.tensor([True])
    forward = soft_targets(student, teacher, one, temperature=1.0)
    assert float(forward) == pytest.approx(0.75 * np.log(1.5) + 0.25 * np.log(0.5), rel=1e-6)
    reverse = soft_targets(student, teacher, one, temperature=1.0, divergence="reverse")
    assert float(reverse) == pytest.approx(0.5 * np.log(2 / 3) + 0.5 * np.log(2), rel=1e-6)
    mixed = soft_targets(student, teacher, one, temperature=1.0, divergence="jensen-shannon")
    m = np.array([0.625, 0.375])
    expected = 0.5 * rel_entr([0.75, 0.25], m).sum() + 0.5 * rel_entr([0.5, 0.5], m).sum()
    assert float(mixed) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_divergence_is_zero_and_flat_at_the_optimum(divergence: str) -> None:
    teacher = logits()
    student = (teacher + 5.0).requires_grad_()  # softmax does not see a shift
    loss = soft_targets(student, teacher, ALL, temperature=2.0, divergence=divergence)
    loss.backward()
    assert abs(float(loss.detach())) < 1e-12
    assert student.grad is not None and float(student.grad.abs().max()) < 1e-12


def test_gradient_at_high_temperature_keeps_its_size() -> None:
    """Hinton et al. 2015, sec. 2.1: with T^2 the gradient tends to (s - t) / V, centred; without, it dies as 1/T^2."""
    student, teacher = logits(seed=3), logits(seed=4)
    sizes = []
    for temperature in range(1, 9):
        leaf = student.clone().requires_grad_()
        soft_targets(leaf, teacher, ALL, temperature=float(temperature)).backward()
        assert leaf.grad is not None
        sizes.append(float(leaf.grad.norm()))
    assert max(sizes) / min(sizes) < 3.0
    leaf = student.clone().requires_grad_()
    soft_targets(leaf, teacher, ALL, temperature=1e6).backward()
    difference = student - teacher
    limit = (difference - difference.mean(-1, keepdim=True)) / student.shape[1]
    assert leaf.grad is not None
    torch.testing.assert_close(leaf.grad, limit, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_extreme_logits_stay_finite(divergence: str) -> None:
    student = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]], requires_grad=True)
    teacher = torch.tensor([[-1e4, 1e4, 0.0], [-1e4, 1e4, 0.0]])
    part = soft_targets(student, teacher, ALL[:2], temperature=2.0, divergence=divergence)
    part.backward()
    assert torch.isfinite(part) and student.grad is not None and torch.isfinite(student.grad).all()


def test_masked_lm_against_scipy() -> None:
    values, targets = logits(), torch.tensor([3, 0, IGNORED, 10, IGNORED, 5])
    part = masked_lm(values, targets)
    expected = -log_softmax(values.numpy(), -1)[[0, 1, 3, 5], [3, 0, 10, 5]].sum()
    assert float(part) == pytest.approx(float(expected), rel=1e-12)


def test_cosine_and_mse_against_closed_forms() -> None:
    student = torch.tensor([[1.0, 0.0], [1.0, 1.0], [2.0, 0.0], [9.0, 9.0]]).double()
    teacher = torch.tensor([[5.0, 0.0], [1.0, -1.0], [-3.0, 0.0], [0.0, 1.0]]).double()
    valid = torch.tensor([True, True, True, False])
    angle = cosine(student, teacher, valid)  # 0, 90 and 180 degrees
    assert float(angle) == pytest.approx(0 + 1 + 2, abs=1e-12)
    square = mean_squared_error(student, teacher, valid)
    assert float(square) == pytest.approx((16 + 0) / 2 + (0 + 4) / 2 + (25 + 0) / 2, rel=1e-12)
    assert float(cosine(student, 3 * student, valid)) == pytest.approx(0, abs=1e-12)
    assert float(mean_squared_error(student, student, valid)) == 0


def every_term(student: Tensor, teacher: Tensor, valid: Tensor) -> dict[str, Tensor]:
    targets = torch.where(valid, torch.arange(len(valid)) % student.shape[1], IGNORED)
    terms = {
        divergence: soft_targets(student, teacher, valid, temperature=2.0, divergence=divergence)
        for divergence in DIVERGENCES
    }
    return terms | {
        "masked_lm": masked_lm(student, targets),
        "cosine": cosine(student, teacher, valid),
        "mean_squared_error": mean_squared_error(student, teacher, valid),
    }


@pytest.mark.parametrize("filler", [0.0, 1e30, torch.inf])
def test_filled_rows_change_neither_loss_nor_gradient(filler: float) -> None:
    plain, filled = logits().requires_grad_(), torch.cat([logits(), torch.full((3, 11), 1.0).double()]).requires_grad_()
    teacher = logits(seed=9)
    filled_teacher = torch.cat([teacher, torch.full((3, 11), filler).double()])
    valid = torch.cat([ALL, torch.zeros(3, dtype=torch.bool)])
    for name, part in every_term(plain, teacher, ALL).items():
        plain.grad = filled.grad = None
        other = every_term(filled, filled_teacher, valid)[name]
        torch.testing.assert_close(other, part, rtol=1e-12, atol=0)
        part.backward()
        if filler == torch.inf and name != "masked_lm":
            continue  # no mask can stop inf * 0 in a backward pass; the value alone must hold
        other.backward()
        assert plain.grad is not None and filled.grad is not None
        torch.testing.assert_close(filled.grad[:6], plain.grad, rtol=1e-12, atol=1e-14)
        assert float(filled.grad[6:].abs().max()) == 0.0, name


@pytest.mark.parametrize("rows", [0, 4])
def test_nothing_to_predict_gives_an_attached_zero(rows: int) -> None:
    student = logits(rows).requires_grad_()
    for name, part in every_term(student, logits(rows, seed=1), torch.zeros(rows, dtype=torch.bool)).items():
        student.grad = None
        assert float(part.detach()) == 0.0, name
        part.backward()
        assert student.grad is not None and float(student.grad.abs().sum()) == 0.0, name


def test_one_count_for_uneven_parts() -> None:
    """Parts of 1 and 5 rows divided by their common 6: the gradient of the whole, not of a mean of means."""
    whole = logits().requires_grad_()
    teacher = logits(seed=5)
    part = soft_targets(whole, teacher, ALL, temperature=2.0)
    (part / 6).backward()
    pieces = logits().requires_grad_()
    for rows in (slice(0, 1), slice(1, 6)):
        part = soft_targets(pieces[rows], teacher[rows], ALL[rows], temperature=2.0)
        (part / 6).backward()
    assert whole.grad is not None and pieces.grad is not None
    torch.testing.assert_close(pieces.grad, whole.grad, rtol=1e-12, atol=0)


def test_word_means() -> None:
    hidden = torch.arange(12.0).view(1, 6, 2)
    index = torch.tensor([[-1, 0, 1, 1, 3, -1]])  # [CLS] w0 w1 w1 w3 [SEP]; word 2 was cut away
    means, there = word_means(hidden, index, 4)
    assert means.tolist() == [[[2.0, 3.0], [5.0, 6.0], [0.0, 0.0], [8.0, 9.0]]]
    assert there.tolist() == [[True, True, False, True]]


def test_half_precision_is_computed_in_float32() -> None:
    student, teacher = logits(dtype=torch.bfloat16), logits(seed=1, dtype=torch.bfloat16)
    part = soft_targets(student, teacher, ALL, temperature=2.0)
    assert part.dtype == torch.float32
    expected = expected_divergence(student.double(), teacher.double(), 2.0, "forward")
    assert float(part) == pytest.approx(expected, rel=1e-5)


def test_refusals() -> None:
    with pytest.raises(InputError, match=r"temperature must be > 0, got 0"):
        soft_targets(logits(), logits(), ALL, temperature=0)
    with pytest.raises(InputError, match="divergence 'foward' is unknown; did you mean 'forward'"):
        soft_targets(logits(), logits(), ALL, temperature=1, divergence="foward")
