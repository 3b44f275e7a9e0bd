"""Projections against numpy and by what they promise."""

import numpy as np
import pytest
import torch

from tinydistil.base.errors import InputError
from tinydistil.distill.initialise import Moments
from tinydistil.distill.options import RepresentationOptions, Shapes
from tinydistil.distill.terms.representation import Projection
from tinydistil.model.config import BertConfig

torch.manual_seed(0)
VECTORS = torch.randn(400, 9, dtype=torch.float64) @ torch.randn(9, 9, dtype=torch.float64) + 3
NOTHING = torch.zeros(400, 4, dtype=torch.float64)


def both(projection: Projection, student: torch.Tensor, teacher: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return projection(student, projection.prepare(teacher))


def fitted(kind: str, width: int = 4, *, centred: bool = True, whitening: float = 0.0) -> Projection:
    projection, moments = Projection(kind, width, 9, centred=centred, whitening=whitening).double(), Moments(9)
    for part in VECTORS.split(130):
        moments.add(part)
    projection.fit(moments)
    return projection


def test_full_whitening_makes_the_teacher_white() -> None:
    seen = both(fitted("none", 9, whitening=1.0), torch.zeros(400, 9), VECTORS)[1]
    covariance = np.cov(seen.numpy().T, bias=True)
    np.testing.assert_allclose(covariance, np.eye(9) * covariance[0, 0], atol=1e-9 * covariance[0, 0])


@pytest.mark.parametrize("whitening", [0.0, 0.5, 1.0])
def test_whitening_divides_by_the_deviation_to_its_power(whitening: float) -> None:
    seen = both(fitted("pca", whitening=whitening), NOTHING, VECTORS)[1].numpy()
    values = np.linalg.eigvalsh(np.cov(VECTORS.numpy().T, bias=True))[::-1]
    expected = values[:4] * (values / values.mean())[:4] ** -whitening
    np.testing.assert_allclose(seen.var(0), expected, rtol=1e-8)
    np.testing.assert_allclose(seen.mean(0), 0, atol=1e-9)


def test_a_direction_without_variance_is_left_out() -> None:
    flat = VECTORS.clone()
    flat[:, 0] = flat[:, 1:].sum(1)  # eight dimensions only
    projection, moments = Projection("none", 9, 9, centred=True, whitening=1.0).double(), Moments(9)
    moments.add(flat)
    projection.fit(moments)
    seen = both(projection, flat, flat)[1]
    assert torch.linalg.matrix_rank(seen - seen.mean(0)) == 8 and float(seen.abs().max()) < 100


@pytest.mark.parametrize("kind", ["pca", "none", "student-to-teacher"])
def test_fitting_twice_is_fitting_once(kind: str) -> None:
    projection = fitted(kind, 9 if kind == "none" else 4, whitening=0.5)
    before, moments = projection.basis.clone(), Moments(9)
    moments.add(VECTORS)
    projection.fit(moments)
    torch.testing.assert_close(projection.basis, before, rtol=1e-9, atol=1e-9)


def test_centring_takes_the_mean_off_for_every_kind() -> None:
    for kind in ("student-to-teacher", "teacher-to-student", "pca"):
        projection = fitted(kind)
        torch.testing.assert_close(projection.mean, VECTORS.mean(0))
        ahead, level = (
            both(projection, NOTHING, each)[1] for each in (VECTORS, VECTORS - VECTORS.mean(0) + projection.mean)
        )
        torch.testing.assert_close(ahead, level)
    assert not fitted("pca", centred=False).mean.any()


def test_pca_has_nothing_to_learn() -> None:
    assert not list(fitted("pca", whitening=0.5).parameters())
    assert len(list(fitted("student-to-teacher", whitening=0.5).parameters())) == 2


@pytest.mark.parametrize(
    ("kind", "student", "message"),
    [
        ("pac", 4, "recipe.projection 'pac' is unknown; did you mean 'pca'"),
        ("none", 4, r"must not be 'none' where widths differ \(4 and 9\)"),
        (
            "pca",
            12,
            r"'pca' reduces the teacher \(9\) to the student \(12\), which is wider; choose student-to-teacher",
        ),
    ],
)
def test_refused(kind: str, student: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        shapes = Shapes(*(BertConfig(hidden_size=width, num_attention_heads=1) for width in (student, 9)))
        RepresentationOptions(projection=kind).check("pooled", shapes)


@pytest.mark.parametrize("whitening", [0.0, 1.0])
def test_random_directions_are_at_right_angles_and_favour_none(whitening: float) -> None:
    """Orthonormal in the teacher's space, or where that has been made white; the same in every run."""
    projection = fitted("random", whitening=whitening)
    assert projection.basis is not None
    basis = projection.basis.numpy()
    covariance = np.cov(VECTORS.numpy().T, bias=True)
    inner = np.eye(9) if whitening == 0 else covariance / np.linalg.eigvalsh(covariance).mean()
    np.testing.assert_allclose(basis @ inner @ basis.T, np.eye(4), atol=1e-6)
    np.testing.assert_array_equal(basis, fitted("random", whitening=whitening).basis)
    unfitted = Projection("random", 4, 9)
    assert unfitted.basis is not None
    np.testing.assert_allclose(unfitted.basis @ unfitted.basis.T, np.eye(4), atol=1e-6)
    # Whatever the vectors are that it is fitted to.
    assert torch.equal(unfitted.basis, projection.basis) == (whitening == 0)


def test_the_share_that_is_kept_is_that_of_the_squares() -> None:
    moments = Moments(9)
    moments.add(VECTORS)
    for kind in ("pca", "random"):
        projection = Projection(kind, 4, 9, centred=True).double()
        kept = projection.fit(moments)
        seen = both(projection, NOTHING, VECTORS)[1]
        whole = (VECTORS - VECTORS.mean(0)).square().sum()
        assert kept == pytest.approx(float(seen.square().sum() / whole), rel=1e-6), kind
