"""Exact and near-duplicates against brute force, the closed form of the LSH curve, and datasketch itself."""

import pickle
import random

import numpy as np
import pytest

from tinydistil.base.errors import InputError
from tinydistil.corpus.duplicates import DuplicateConfig, DuplicateIndex, bands_and_rows, exact_key, signature

WORDS = [a + b + c for a in ("ba", "co", "du", "fi") for b in ("la", "me", "ni", "ro", "su") for c in ("r", "l", "")]


def shingles(text: str, length: int = 5) -> set[tuple[str, ...]]:
    words = text.split()
    return {tuple(words[i : i + length]) for i in range(len(words) - length + 1)}


def jaccard(first: str, second: str) -> float:
    return len(shingles(first) & shingles(second)) / len(shingles(first) | shingles(second))


def pair(draw: random.Random, words: int, changed: float) -> tuple[str, str]:
    """A random text and a copy with a share of its words changed."""
    text = draw.choices(WORDS, k=words)
    copy = [f"novo{draw.randrange(10**6)}" if draw.random() < changed else word for word in text]
    return " ".join(text), " ".join(copy)


def test_exact_key_sees_words_only() -> None:
    assert exact_key("Olá, MUNDO!\n") == exact_key("olá mundo") and len(exact_key("")) == 16
    assert exact_key("olá mundos") != exact_key("olá mundo") != exact_key("olámundo")


def test_signature_estimates_the_exact_jaccard_similarity() -> None:
    draw, config = random.Random(5), DuplicateConfig(num_permutations=512)
    errors = []
    for changed in (0.0, 0.005, 0.02, 0.05, 0.1, 0.3):
        for _ in range(5):
            first, second = pair(draw, 400, changed)
            estimate = float((signature(first, config) == signature(second, config)).mean())
            errors.append(estimate - jaccard(first, second))
    # The standard error of one estimate is at most 0.5 / sqrt(512) = 0.022.
    assert max(map(abs, errors)) < 0.09 and abs(np.mean(errors)) < 0.012


def test_recall_follows_the_closed_form(monkeypatch: pytest.MonkeyPatch) -> None:
    # A fresh index for each pair must not choose bands and rows (0.04 s) each time.
    chosen = bands_and_rows(DuplicateConfig())
    monkeypatch.setattr("tinydistil.corpus.duplicates.bands_and_rows", lambda config: chosen)
    draw, config = random.Random(6), DuplicateConfig()
    found, expected, levels = [], [], []
    for changed in (0.003, 0.01, 0.02, 0.03, 0.05, 0.15):
        for _ in range(60):
            first, second = pair(draw, 300, changed)
            index = DuplicateIndex(config)
            index.add(exact_key(first), signature(first, config))
            similarity = jaccard(first, second)
            found.append(index.seen_near(signature(second, config)))
            expected.append(1 - (1 - similarity**index.rows) ** index.bands)
            levels.append(similarity)
    # 360 draws: the standard error of the mean is below 0.03, the curve from 0.02 to 1.
    assert np.mean(found) == pytest.approx(np.mean(expected), abs=0.07)
    high = [hit for hit, level in zip(found, levels, strict=True) if level >= 0.92]
    low = [hit for hit, level in zip(found, levels, strict=True) if level <= 0.5]
    assert len(high) > 40 and len(low) > 40 and np.mean(high) > 0.93 and np.mean(low) < 0.03


def test_the_index_answers_as_datasketchs_own() -> None:
    datasketch = pytest.importorskip("datasketch")
    draw, config = random.Random(8), DuplicateConfig(threshold=0.7, num_permutations=64)
    ours, theirs = DuplicateIndex(config), datasketch.MinHashLSH(threshold=0.7, num_perm=64)
    answers = []
    for number in range(150):
        text, copy = pair(draw, 120, draw.choice([0.01, 0.05, 0.1]))
        for name, value in ((f"{number}a", signature(text, config)), (f"{number}b", signature(copy, config))):
            minhash = datasketch.MinHash(num_perm=64)
            minhash.hashvalues = value.astype(np.uint64)
            answers.append(ours.seen_near(value))
            assert answers[-1] == bool(theirs.query(minhash))
            ours.add(name.encode(), value)
            theirs.insert(name, minhash)
    assert 20 < sum(answers) < 140


def test_the_index_is_the_same_rebuilt_and_in_any_process() -> None:
    draw, config = random.Random(9), DuplicateConfig()
    texts = [pair(draw, 60, 0.1)[0] for _ in range(50)]
    saved = [(exact_key(text), signature(text, config)) for text in texts]
    index = DuplicateIndex(config)
    for key, value in saved:
        assert not index.seen_exact(key) and not index.seen_near(value)
        index.add(key, value)
    rebuilt = pickle.loads(pickle.dumps(index))
    for key, value in saved:
        assert rebuilt.seen_exact(key) and rebuilt.seen_near(value)


def test_short_and_empty_texts() -> None:
    config = DuplicateConfig()
    assert (signature("Só três palavras", config) == signature("só TRÊS palavras.", config)).all()
    assert (signature("Só três palavras", config) != signature("só duas palavras", config)).all()
    assert (signature("", config) == np.iinfo(np.uint32).max).all()
    assert signature("a " * 5000, config).shape == (128,)


def test_exact_alone() -> None:
    index = DuplicateIndex(DuplicateConfig(near=False))
    index.add(exact_key("um texto"))
    assert index.seen_exact(exact_key("Um texto.")) and not index.seen_exact(exact_key("outro"))


def test_the_index_agrees_with_a_set() -> None:
    draw, index, truth = random.Random(4), DuplicateIndex(DuplicateConfig(near=False)), set()
    for _ in range(40_000):
        # Many once, some often, both ends of what 64 bits hold.
        number = draw.randrange(2**64) if draw.random() < 0.7 else draw.choice([draw.randrange(2**13) << 40, 2**64 - 1])
        key = number.to_bytes(8, "little")
        assert index.seen_exact(key) == (key in truth)
        index.add(key)
        truth.add(key)
    assert all(map(index.seen_exact, truth)) and len(truth) > 30_000
    assert index.bytes_held <= 24 * len(truth)


@pytest.mark.parametrize("permutations", [2, 3, 16, 64, 128, 256])
@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.5, 0.8, 0.9, 0.99])
def test_bands_and_rows_are_those_of_datasketch(threshold: float, permutations: int) -> None:
    """Which integrates the curve numerically."""
    datasketch = pytest.importorskip("datasketch")
    config = DuplicateConfig(threshold=threshold, num_permutations=permutations)
    try:
        expected = datasketch.MinHashLSH(threshold=threshold, num_perm=permutations)
    except ValueError:
        with pytest.raises(InputError, match=f"threshold {threshold} does not go with {permutations} permutations"):
            bands_and_rows(config)
    else:
        assert bands_and_rows(config) == (expected.b, expected.r)


def test_memory_of_the_index() -> None:
    index, draw = DuplicateIndex(DuplicateConfig()), np.random.default_rng(1)
    for number in range(4000):
        index.add(number.to_bytes(16, "little"), draw.integers(2**32, size=128, dtype=np.uint32))
    # (9 bands + 1 key) * 8 bytes / (1/3 to 2/3 full)
    assert index.bytes_held / 4000 < 10 * 8 * 3 + 10


@pytest.mark.parametrize(
    ("field", "value"),
    [("threshold", 0.0), ("threshold", 1.0), ("num_permutations", 1), ("num_permutations", 5000), ("shingle_words", 0)],
)
def test_configuration_checks_itself(field: str, value: float) -> None:
    with pytest.raises(InputError, match=field):
        DuplicateConfig(**{field: value})  # type: ignore[arg-type]


def test_threshold_and_permutations_must_go_together() -> None:
    with pytest.raises(InputError, match=r"threshold 0\.99 does not go with 2 permutations"):
        bands_and_rows(DuplicateConfig(threshold=0.99, num_permutations=2))
