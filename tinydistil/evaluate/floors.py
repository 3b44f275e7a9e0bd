"""The floor that needs no network: how two texts overlap, with logistic and ridge regression.

Shapes: N pairs, F features, C classes.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from tinydistil.base.errors import require
from tinydistil.evaluate.metrics import spearman
from tinydistil.evaluate.results import Figure, PartResult, Statistic, with_interval
from tinydistil.evaluate.similarity import words_in, words_of
from tinydistil.tasks.examples import LabelledText

_NEGATIONS = frozenset("não nenhum nenhuma ninguém sem nem".split())
Array = NDArray[np.float64]


def inverse_frequencies(texts: Iterable[str]) -> Callable[[str], float]:
    """log((T + 1) / (t + 1)) of a word that t of T different `texts` hold, be t 0."""
    different = set(texts)
    counts = Counter(word for text in different for word in words_of(text))
    return lambda word: math.log((len(different) + 1) / (counts[word] + 1))


def overlap_features(pairs: Iterable[tuple[str, str]], idf: Callable[[str], float]) -> Array:
    """What the texts of N pairs share, (N, 17): words and words weighted by `idf` as shares of the first, the second
    and both; bigrams, stems of four letters; lengths, words of one alone, the rarest of these; negations."""
    return np.array([_features(words_in(first), words_in(second), idf) for first, second in pairs], np.float64)


def _features(first: Sequence[str], second: Sequence[str], idf: Callable[[str], float]) -> list[float]:
    def weight(words: set[str]) -> float:
        return math.fsum(map(idf, words))  # exact: a set's order is another in every process

    one, other = set(first), set(second)
    common, negated = one & other, [bool(words & _NEGATIONS) for words in (one, other)]
    stems, bigrams = [{word[:4] for word in words} for words in (one, other)], set(pairwise(second))
    return [
        *(len(common) / max(len(words), 1) for words in (one, other, one | other)),
        *(weight(common) / max(weight(words), 1e-6) for words in (one, other, one | other)),
        len(bigrams & set(pairwise(first))) / max(len(bigrams), 1),
        *(len(stems[0] & stems[1]) / max(len(words), 1) for words in stems),
        len(first) - len(second),
        *(len(words) for words in (one - other, other - one)),
        *(max(map(idf, words), default=0.0) for words in (one - other, other - one)),
        *(*negated, negated[0] != negated[1]),
    ]


def logistic(features: ArrayLike, classes: ArrayLike, *, strength: float = 1.0) -> Array:
    """Weights (F + 1, C), intercepts last and the first class's all 0, that minimise `strength` times the sum of
    cross-entropies with N classes numbered from 0, plus |W|^2 / 2 without intercepts; scikit-learn's C is `strength`.
    """
    inputs, wanted = np.asarray(features, np.float64), np.eye(int(np.max(classes)) + 1)[np.asarray(classes)]
    inputs, penalised = np.pad(inputs, ((0, 0), (0, 1)), constant_values=1), np.ones((inputs.shape[1] + 1, 1))
    penalised[-1] = 0
    shape = len(penalised), wanted.shape[1] - 1

    def objective(flat: Array) -> tuple[float, Array]:
        weights = flat.reshape(shape)
        logits = np.pad(inputs @ weights, ((0, 0), (1, 0)))
        loss = (penalised * weights**2).sum() / 2 - strength * (wanted * log_softmax(logits, axis=1)).sum()
        gradient = penalised * weights + strength * inputs.T @ (softmax(logits, axis=1) - wanted)[:, 1:]
        return float(loss), gradient.ravel()

    options = {"maxiter": 10_000, "maxfun": 20_000, "ftol": 1e-15, "gtol": 1e-7}
    best = minimize(objective, np.zeros(math.prod(shape)), jac=True, method="L-BFGS-B", options=options).x
    return np.pad(best.reshape(shape), ((0, 0), (1, 0)))


def ridge(features: ArrayLike, numbers: ArrayLike, *, alpha: float = 1.0) -> Array:
    """Weights (F + 1,), intercept last, that minimise squared errors plus alpha |w|^2 (Hoerl & Kennard 1970)."""
    inputs, targets = np.asarray(features, np.float64), np.asarray(numbers, np.float64)
    centred = inputs - inputs.mean(0)
    weights = np.linalg.solve(centred.T @ centred + alpha * np.eye(inputs.shape[1]), centred.T @ targets)
    return np.append(weights, targets.mean() - inputs.mean(0) @ weights)


def overlap_floor(
    title: str, training: Sequence[LabelledText], test: Sequence[LabelledText], primary: Statistic, *, classify: bool
) -> PartResult:
    """`primary` on `test` of logistic or ridge regression on `training`, features standardised there."""
    require(all(each.second is not None for each in [*training, *test]), f"{title}: word overlap needs pairs of texts")
    idf = inverse_frequencies(text for each in training for text in (each.text, str(each.second)))
    raw, inputs = (overlap_features(((e.text, str(e.second)) for e in rows), idf) for rows in (training, test))
    mean, deviation = raw.mean(0), raw.std(0) + 1e-9
    names = {name: number for number, name in enumerate(sorted({each.label for each in training}))}
    target, gold = (
        np.array([names.get(e.label, -1) if classify else float(e.label) for e in rows]) for rows in (training, test)
    )
    fitted = logistic((raw - mean) / deviation, target) if classify else ridge((raw - mean) / deviation, target)
    found = (inputs - mean) / deviation @ fitted[:-1] + fitted[-1]
    items = np.column_stack([gold, found.argmax(1) if classify else found]).astype(np.float64)
    figures = {"f1_macro" if classify else "pearson": with_interval(primary, items)}
    figures |= {} if classify else {"spearman": Figure(spearman(gold, found))}
    kind = f"{'logistic' if classify else 'ridge'} regression on word overlap"
    return PartResult(figures, f"{title}, no model: {kind}, fitted on {len(training)} rows", items)
