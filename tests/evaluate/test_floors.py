"""The floor without a network: features by hand, optima in float64 and of scikit-learn, known figures on ASSIN 2."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from torch.nn import functional as F

from tinydistil.base.errors import InputError
from tinydistil.evaluate.floors import inverse_frequencies, logistic, overlap_features, overlap_floor, ridge
from tinydistil.evaluate.parts import PARTS
from tinydistil.tasks.examples import LabelledText
from tinydistil.tasks.labelled import Columns, read_labelled

ASSIN2 = Path(__file__).parents[3] / "shared" / "data" / "tasks" / "assin2"


def drawn(count: int, num_features: int, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    source = np.random.default_rng(3)
    features = source.normal(size=(count, num_features))
    noisy = features @ source.normal(size=(num_features, num_classes)) + 2 * source.normal(size=(count, num_classes))
    return features, noisy.argmax(1)


def test_features_by_hand() -> None:
    idf = inverse_frequencies(["O gato dorme", "o gato não mia", "o gato não mia", "chove"])
    assert idf("gato") == math.log(4 / 3) and idf("chove") == math.log(4 / 2) and idf("nada") == math.log(4)
    found = overlap_features([("O gato dorme.", "Não, o gato dormia"), ("a", "a"), ("?", "sem")], idf)
    o, gato, dorme, nao, dormia = (idf(word) for word in "o gato dorme não dormia".split())
    expected = [
        2 / 3, 2 / 4, 2 / 5, (o + gato) / (o + gato + dorme), (o + gato) / (o + gato + nao + dormia),
        (o + gato) / (o + gato + dorme + nao + dormia), 1 / 3, 3 / 3, 3 / 4, -1, 1, 2, dorme, dormia, 0, 1, 1,
    ]  # fmt: skip
    np.testing.assert_allclose(found[0], expected, rtol=1e-14)
    assert found[1, :3].tolist() == [1, 1, 1] and found[1, 9:].tolist() == [0] * 8
    assert found[2].tolist() == [0] * 9 + [-1, 0, 1, 0, math.log(4), 0, 1, 1]


@pytest.mark.parametrize(("num_classes", "strength"), [(2, 1.0), (2, 0.01), (3, 1.0)])
def test_the_gradient_of_logistic_regression_is_zero(num_classes: int, strength: float) -> None:
    """By autograd in float64, of the loss as it is defined."""
    features, classes = drawn(300, 5, num_classes)
    weights = torch.tensor(logistic(features, classes, strength=strength), requires_grad=True)
    logits = torch.tensor(features) @ weights[:-1] + weights[-1]
    loss = strength * F.cross_entropy(logits, torch.tensor(classes), reduction="sum") + weights[:-1].square().sum() / 2
    loss.backward()
    assert weights.grad is not None and weights.shape == (6, num_classes)
    assert weights[:, 0].abs().max() == 0 and weights.grad[:, 1:].abs().max() < 1e-5 * len(features)


def test_known_optima_of_logistic_regression() -> None:
    """Without a feature that says anything the intercept is the log odds; of two classes all is scikit-learn's."""
    weights = logistic(np.zeros((10, 2)), [1] * 7 + [0] * 3)
    np.testing.assert_allclose(weights, [[0, 0], [0, 0], [0, math.log(7 / 3)]], atol=1e-7)
    features, classes = drawn(200, 4, 2)
    theirs = LogisticRegression(C=0.5, tol=1e-10, max_iter=10_000).fit(features, classes)
    ours = logistic(features, classes, strength=0.5)[:, 1]
    np.testing.assert_allclose(ours, [*theirs.coef_[0], *theirs.intercept_], atol=1e-5)


def test_ridge_regression() -> None:
    """One feature by hand; the normal equations; scikit-learn's; a feature that is constant."""
    np.testing.assert_allclose(ridge([[-1.0], [1.0]], [0.0, 4.0]), [4 / 3, 2.0], rtol=1e-15)
    features, _ = drawn(100, 6, 2)
    features[:, 3] = 5.0
    numbers = features[:, 0] * 2 + np.random.default_rng(0).normal(size=100)
    found, theirs = ridge(features, numbers, alpha=3.0), Ridge(alpha=3.0).fit(features, numbers)
    np.testing.assert_allclose(found, [*theirs.coef_, theirs.intercept_], atol=1e-10)
    left = numbers - features @ found[:-1] - found[-1]
    np.testing.assert_allclose(features.T @ left - 3.0 * found[:-1], 0, atol=1e-9)
    assert left.sum() == pytest.approx(0, abs=1e-9) and found[3] == pytest.approx(0, abs=1e-12)


def test_labels_that_training_lacks_and_texts_that_are_no_pairs() -> None:
    rows = [LabelledText("o gato dorme", "o gato dorme", "sim"), LabelledText("o gato", "uma casa", "não")]
    statistic = PARTS["entailment"].primary
    assert statistic is not None
    found = overlap_floor("pares", rows, [*rows, LabelledText("a", "b", "talvez")], statistic, classify=True)
    assert found.items.tolist() == [[1, 1], [0, 0], [-1, 0]] and "fitted on 2 rows" in found.protocol
    with pytest.raises(InputError, match="pares: word overlap needs pairs"):
        overlap_floor("pares", rows, [LabelledText("a", None, "sim")], statistic, classify=True)


@pytest.mark.skipif(not ASSIN2.is_dir(), reason="ASSIN 2 is not at ../shared/data")
def test_figures_on_assin_2() -> None:
    """As scikit-learn's regressions gave on the development set; the test set is left alone."""
    for name, figure, expected in (("entailment", "f1_macro", 0.7995), ("similarity_tuned", "pearson", 0.7296)):
        part = PARTS[name]
        rows = [read_labelled(ASSIN2 / f"assin2-{split}.xml", Columns(), numbers=part.kind == "regress").examples
                for split in ("train-only", "dev")]  # fmt: skip
        assert part.primary is not None
        found = overlap_floor(name, rows[0], rows[1], part.primary, classify=part.kind == "classify")
        assert found.figures[figure].value == pytest.approx(expected, abs=0.0006)
