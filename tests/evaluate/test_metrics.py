"""Metrics against scikit-learn, scipy and seqeval, degenerate inputs included; intervals against scipy."""

import math
import re
import warnings

import numpy as np
import pytest
import scipy.stats
import sklearn.isotonic
import sklearn.metrics
from seqeval.metrics.sequence_labeling import precision_recall_fscore_support as seqeval_scores

from tinydistil.base.errors import InputError
from tinydistil.evaluate.metrics import (
    Entity,
    accuracy,
    confusion_matrix,
    count_entities,
    entities_of,
    entity_scores_by_type,
    exact_match,
    isotonic_mean_squared_error,
    mean_squared_error,
    normalise,
    pearson,
    precision_recall_f1,
    roc_auc,
    roc_auc_of_classes,
    scaled_mean_squared_error,
    scores_by_class,
    scores_of,
    spearman,
    word_f1,
)
from tinydistil.evaluate.results import paired_significance, with_interval
from tinydistil.tasks.tagged import split_tag

RANDOM = np.random.default_rng(0)
CLASSES = {
    "random": (RANDOM.integers(0, 4, 200), RANDOM.integers(0, 4, 200)),
    "uneven": (RANDOM.choice(3, 100, p=[0.9, 0.08, 0.02]), RANDOM.choice(3, 100, p=[0.1, 0.1, 0.8])),
    "class never predicted": (np.array([0, 1, 2, 2, 1]), np.array([0, 1, 1, 0, 1])),
    "class never there": (np.array([0, 1, 1, 0]), np.array([0, 2, 1, 1])),
    "constant prediction": (np.array([0, 1, 1, 0]), np.ones(4, int)),
    "one class only": (np.ones(3, int), np.ones(3, int)),
    "all wrong": (np.zeros(3, int), np.ones(3, int)),
    "one item": (np.array([1]), np.array([0])),
}


@pytest.mark.parametrize("case", CLASSES)
def test_classes_equal_scikit_learn(case: str) -> None:
    gold, predicted = CLASSES[case]
    assert accuracy(gold, predicted) == pytest.approx(sklearn.metrics.accuracy_score(gold, predicted), abs=1e-12)
    assert (
        confusion_matrix(gold, predicted, 4) == sklearn.metrics.confusion_matrix(gold, predicted, labels=range(4))
    ).all()
    for average in ("macro", "weighted"):
        ours = precision_recall_f1(gold, predicted, average=average)
        theirs = sklearn.metrics.precision_recall_fscore_support(gold, predicted, average=average, zero_division=0)
        np.testing.assert_allclose((ours.precision, ours.recall, ours.f1), theirs[:3], rtol=0, atol=1e-12)


@pytest.mark.parametrize("case", CLASSES)
def test_each_class_equals_scikit_learn(case: str) -> None:
    gold, predicted = CLASSES[case]
    ours = np.array([(each.precision, each.recall, each.f1) for each in scores_by_class(gold, predicted, range(4))])
    theirs = sklearn.metrics.precision_recall_fscore_support(gold, predicted, labels=range(4), zero_division=0)
    np.testing.assert_allclose(ours.T, theirs[:3], rtol=0, atol=1e-12)


AREAS = {
    "random": (RANDOM.integers(0, 2, 200), RANDOM.random(200)),
    "ties": (RANDOM.integers(0, 2, 200), RANDOM.integers(0, 4, 200)),
    "constant": (np.array([0, 1, 1]), np.ones(3)),
    "perfect": (np.array([0, 1, 1]), np.array([-5.0, 2.0, 1e9])),
    "reversed": (np.array([0, 1]), np.array([2.0, 1.0])),
}


@pytest.mark.parametrize("case", AREAS)
def test_areas_equal_scikit_learn(case: str) -> None:
    gold, scores = AREAS[case]
    expected = sklearn.metrics.roc_auc_score(gold, scores)
    assert roc_auc(gold, scores) == pytest.approx(expected, abs=1e-12)
    assert roc_auc_of_classes(gold, np.column_stack([-scores, scores])) == pytest.approx(expected, abs=1e-12)


def test_areas_of_classes_equal_scikit_learn() -> None:
    gold, probabilities = RANDOM.integers(0, 4, 150), RANDOM.dirichlet(np.ones(4), 150)
    expected = sklearn.metrics.roc_auc_score(gold, probabilities, multi_class="ovr")
    assert roc_auc_of_classes(gold, probabilities) == pytest.approx(expected, abs=1e-12)
    assert math.isnan(roc_auc([1, 1], [0.5, 0.2])) and math.isnan(roc_auc_of_classes([7, 7], [[1.0, 0], [0, 1.0]]))
    without = roc_auc_of_classes(np.where(gold == 3, 0, gold), probabilities)  # a class that gold lacks
    each = [roc_auc(np.where(gold == 3, 0, gold) == i, probabilities[:, i]) for i in range(3)]
    assert without == pytest.approx(np.mean(each), abs=1e-12)


NUMBERS = {
    "random": (RANDOM.normal(size=300), RANDOM.normal(size=300)),
    "ties": (RANDOM.integers(0, 5, 300), RANDOM.integers(0, 3, 300)),
    "line": (np.arange(10.0), 3 * np.arange(10.0) + 1),
    "far from 0": (RANDOM.normal(size=50) + 1e6, RANDOM.normal(size=50) + 1e6),
    "tiny": (RANDOM.normal(size=50) * 1e-160, RANDOM.normal(size=50) * 1e-160),
    "two": (np.array([1.0, 2.0]), np.array([5.0, 4.0])),
}


@pytest.mark.parametrize("case", NUMBERS)
def test_numbers_equal_scipy(case: str) -> None:
    gold, predicted = NUMBERS[case]
    assert pearson(gold, predicted) == pytest.approx(scipy.stats.pearsonr(gold, predicted).statistic, abs=1e-12)
    assert spearman(gold, predicted) == pytest.approx(scipy.stats.spearmanr(gold, predicted).statistic, abs=1e-12)
    assert mean_squared_error(gold, predicted) == pytest.approx(
        sklearn.metrics.mean_squared_error(gold, predicted), rel=1e-12
    )


def test_scaled_error_equals_least_squares() -> None:
    gold, predicted = NUMBERS["random"]
    line = np.polynomial.Polynomial.fit(predicted, gold, 1)(predicted)
    assert scaled_mean_squared_error(gold, predicted) == pytest.approx(((gold - line) ** 2).mean(), abs=1e-12)
    assert scaled_mean_squared_error(gold, np.ones_like(gold)) == pytest.approx(gold.var(), abs=1e-12)


@pytest.mark.parametrize("kind", ["rising", "falling", "ties", "constant", "two"])
def test_isotonic_error_equals_scikit_learns(kind: str) -> None:
    random = np.random.default_rng(4)
    predicted = {"ties": random.integers(0, 9, 300), "constant": np.ones(300), "two": np.array([1.0, 2.0])}.get(
        kind, random.normal(size=300)
    )
    gold = predicted * (-1 if kind == "falling" else 1) + random.normal(size=len(predicted))
    fitted = sklearn.isotonic.IsotonicRegression().fit_transform(predicted, gold)
    expected = ((gold - fitted) ** 2).mean()
    assert isotonic_mean_squared_error(gold, predicted) == pytest.approx(expected, abs=1e-12)
    assert kind == "falling" or expected <= scaled_mean_squared_error(gold, predicted) + 1e-12  # a line rises too


def test_isotonic_error_by_hand() -> None:
    # 3 and 2 stand the wrong way round and become 2.5 each; the two values at 0.9 become their mean.
    assert isotonic_mean_squared_error([1, 3, 2, 4, 6], [0.1, 0.2, 0.3, 0.9, 0.9]) == pytest.approx((0.5 + 2) / 5)
    assert isotonic_mean_squared_error([1, 8, 27, 64], [1, 2, 3, 4]) == 0.0  # rises, though in no line
    assert isotonic_mean_squared_error([3, 2, 1], [1, 2, 3]) == pytest.approx(2 / 3)  # var(gold)


def test_constant_numbers_have_no_correlation() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert math.isnan(scipy.stats.pearsonr([1, 1, 1], [1, 2, 3]).statistic)
    assert math.isnan(pearson([1, 1, 1], [1, 2, 3])) and math.isnan(spearman([1, 2, 3], [2, 2, 2]))


@pytest.mark.parametrize("metric", [accuracy, precision_recall_f1, pearson, spearman, mean_squared_error])
@pytest.mark.parametrize("pair", [([], []), ([1, 0], [1])])
def test_empty_and_unequal_lists_are_refused(metric: object, pair: tuple[list[int], list[int]]) -> None:
    # scikit-learn and scipy's pearsonr raise ValueError too; InputError is one
    with pytest.raises(InputError, match="equal length"):
        metric(*pair, **({"average": "macro"} if metric is precision_recall_f1 else {}))  # type: ignore[operator]


def test_other_refusals() -> None:
    with pytest.raises(InputError, match="at least 2"):
        pearson([1.0], [1.0])
    with pytest.raises(InputError, match="finite"):
        pearson([1.0, math.nan], [1.0, 2.0])
    with pytest.raises(InputError, match=r"0\.\.1"):
        confusion_matrix([0, 2], [0, 1], 2)


TAGS = ("O", "B-PESSOA", "I-PESSOA", "B-LOCAL", "I-LOCAL", "I-TEMPO")


def random_tags(sentences: int, tags: tuple[str, ...]) -> list[list[str]]:
    return [list(RANDOM.choice(tags, RANDOM.integers(1, 12))) for _ in range(sentences)]


ENTITIES = {
    "random": (random_tags(300, TAGS), TAGS),
    "inside only": (random_tags(100, ("O", "I-PESSOA", "I-LOCAL")), ("O", "I-PESSOA", "I-LOCAL")),
    "none there": ([["O"] * 5] * 3, TAGS),
    "none predicted": (random_tags(30, TAGS), ("O",)),
    "neither": ([["O"]], ("O",)),
}


@pytest.mark.parametrize("case", ENTITIES)
def test_entities_equal_seqeval(case: str) -> None:
    gold, choices = ENTITIES[case]
    # nine tags in ten as in gold, so that there is something to find
    predicted = [
        [t if t in choices and RANDOM.random() < 0.9 else str(RANDOM.choice(choices)) for t in s] for s in gold
    ]
    counts = count_entities(gold, predicted)
    ours = scores_of(counts)
    theirs = seqeval_scores(gold, predicted, average="micro", zero_division=0)
    np.testing.assert_allclose((ours.precision, ours.recall, ours.f1), theirs[:3], rtol=0, atol=1e-12)
    by_type = entity_scores_by_type(gold, predicted)
    their_types = seqeval_scores(gold, predicted, average=None, zero_division=0)
    np.testing.assert_allclose([s.f1 for s in by_type.values()], their_types[2], rtol=0, atol=1e-12)


def test_bare_tags_are_runs_of_one_type() -> None:
    assert split_tag("ORGANIZACAO") == ("I", "ORGANIZACAO") and split_tag("B-X-Y") == ("B", "X-Y")
    bare = entities_of(["ORG", "ORG", "O", "LOC", "ORG"])
    assert bare == [Entity("ORG", 0, 1), Entity("LOC", 3, 3), Entity("ORG", 4, 4)]


def test_sentences_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="sentence 2 has 1 gold tags and 2"):
        count_entities([["O"], ["O"]], [["O"], ["O", "O"]])
    with pytest.raises(InputError, match="as many sentences"):
        count_entities([["O"]], [])


@pytest.mark.parametrize(
    ("answer", "accepted"),
    [
        ("Rio de Janeiro", ["rio de janeiro!"]),
        ("cidade de Rio", ["Rio de Janeiro", "Rio"]),
        ("três três dois", ["três dois dois"]),
        ("", ["nada"]),
        ("nada", [""]),
        ("...", ["!!"]),
        ("São Paulo", ["Belém"]),
    ],
)
def test_answers_equal_squad(answer: str, accepted: list[str]) -> None:
    """Against the definition in Rajpurkar et al. 2016, by other means; none of these words is an article."""
    words = [re.findall(r"\w+", text.lower()) for text in (answer, *accepted)]
    assert exact_match(answer, accepted) == float(words[0] in words[1:])
    scores = []
    for other in words[1:]:
        shared = sum(min(words[0].count(w), other.count(w)) for w in {*words[0]})
        precision, recall = shared / max(len(words[0]), 1), shared / max(len(other), 1)
        both_empty = not words[0] and not other
        scores.append(2 * precision * recall / (precision + recall) if shared else float(both_empty))
    assert word_f1(answer, accepted) == pytest.approx(max(scores), abs=1e-12)


def test_portuguese_answers_lose_articles_and_quotes() -> None:
    assert normalise("A «Lei» das  Águas, uma só") == "lei das águas só"
    assert exact_match("o gato", ["Gato."]) == 1.0 and word_f1("gato", []) == 0.0


def test_intervals_equal_scipy() -> None:
    rows = RANDOM.normal(size=(80, 1))
    ours = with_interval(lambda chosen: float(chosen.mean()), rows, resamples=20_000)
    theirs = scipy.stats.bootstrap(
        (rows[:, 0],), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(1)
    ).confidence_interval
    # bounds of 20,000 draws scatter by about 0.003 here
    assert ours.value == pytest.approx(rows.mean())
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.015)
    again = with_interval(lambda chosen: float(chosen.mean()), rows, resamples=20_000)
    assert again == ours


def test_intervals_without_spread() -> None:
    assert with_interval(lambda rows: math.nan, np.ones((5, 2))).high is not None
    one = with_interval(lambda rows: float(rows.mean()), np.array([[3.0]]))
    assert (one.value, one.low, one.high) == (3.0, 3.0, 3.0)
    with pytest.raises(InputError, match="at least one item"):
        with_interval(lambda rows: 0.0, np.empty((0, 2)))


def test_significance_equals_the_exact_test() -> None:
    """All 2^10 ways of changing sides, as scipy counts them."""
    first, second = RANDOM.normal(size=(10, 1)), RANDOM.normal(size=(10, 1)) + 0.8
    exact = scipy.stats.permutation_test(
        (first[:, 0], second[:, 0]),
        lambda x, y, axis: np.mean(x, axis) - np.mean(y, axis),
        permutation_type="samples",
        n_resamples=np.inf,
    ).pvalue
    ours = paired_significance(lambda rows: float(rows.mean()), first, second, resamples=20_000)
    assert ours == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 20_000) + 1e-4)


def test_a_model_does_not_differ_from_itself() -> None:
    rows = RANDOM.integers(0, 2, (50, 2)).astype(float)
    assert paired_significance(lambda r: accuracy(r[:, 0], r[:, 1]), rows, rows, resamples=50) == 1.0
