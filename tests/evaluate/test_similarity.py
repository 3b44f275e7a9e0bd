"""Zero-shot similarity: hand-worked cases, its floors, and figures on ASSIN 2 that are known."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr
from sklearn.isotonic import IsotonicRegression
from torch.nn import functional as F

from tinydistil.base.errors import InputError
from tinydistil.evaluate.similarity import anisotropy, cosine_similarity, untrained_copy, word_overlap
from tinydistil.model.bert import BertForMaskedLM, BertModel
from tinydistil.tasks.labelled import Columns, read_labelled
from tinydistil.tokenizer.tokenizer import Tokenizer

FIRST = ["O gato dorme no sofá.", "A gata corre.", "Choveu ontem.", "O gato dorme no sofá."]
SECOND = ["O gato dorme.", "Um navio partiu.", "Ontem choveu.", "O gato dorme no sofá."]
GOLD = [4.0, 1.0, 5.0, 5.0]


def test_cosines_equal_those_of_single_texts(small_model: BertForMaskedLM, vocabulary: Tokenizer) -> None:
    encoder = small_model.bert
    expected = []
    with torch.inference_mode():
        for pair in zip(FIRST, SECOND, strict=True):
            a, b = (encoder(torch.tensor([vocabulary.encode("x " + text).ids])).last_hidden.mean(1) for text in pair)
            expected.append(float(F.cosine_similarity(a.double(), b.double())))
    scores = cosine_similarity(encoder, vocabulary, FIRST, SECOND, GOLD, prefix="x ")
    np.testing.assert_allclose(scores.items, np.column_stack([GOLD, expected]), atol=1e-6)
    assert scores.pearson == pytest.approx(pearsonr(GOLD, expected).statistic, abs=1e-5)
    assert scores.spearman == pytest.approx(spearmanr(GOLD, expected).statistic, abs=1e-12)
    line = np.polynomial.Polynomial.fit(expected, GOLD, 1)(np.array(expected))
    assert scores.mse_linear == pytest.approx(((np.array(GOLD) - line) ** 2).mean(), abs=1e-5)
    steps = IsotonicRegression().fit_transform(expected, GOLD)
    assert scores.mse_isotonic == pytest.approx(((np.array(GOLD) - steps) ** 2).mean(), abs=1e-12)


def test_word_overlap_by_hand() -> None:
    scores = word_overlap(FIRST, SECOND, GOLD)
    assert scores.items[:, 1].tolist() == [3 / 5, 0.0, 1.0, 1.0]
    assert math.isnan(scores.anisotropy)
    assert word_overlap(["...", "a"], ["?", "a"], [1, 2]).items[:, 1].tolist() == [0.0, 1.0]


def test_anisotropy_of_known_clouds() -> None:
    assert anisotropy(np.eye(6)) == 0.0
    assert anisotropy(np.tile([0.6, 0.8], (5, 1))) == pytest.approx(1.0)
    assert anisotropy(np.array([[1.0, 0.0], [-1.0, 0.0]])) == -1.0
    assert math.isnan(anisotropy(np.ones((1, 1))))


def test_untrained_copy_is_random_and_repeatable(small_model: BertForMaskedLM) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    copies = [untrained_copy(small_model.bert, seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(torch.rand(1), expected)  # the caller's generator is left alone
    words = [copy.embeddings.word.weight for copy in copies]
    assert torch.equal(words[0], words[1]) and not torch.equal(words[0], words[2])
    assert copies[0].config == small_model.config and not copies[0].training


def test_equal_vectors_have_no_correlation(small_model: BertForMaskedLM, vocabulary: Tokenizer) -> None:
    scores = word_overlap(["a", "b"], ["a", "b"], [1.0, 2.0])
    assert math.isnan(scores.pearson) and scores.mse_linear == scores.mse_isotonic == 0.25


def test_refusals(small_model: BertForMaskedLM, vocabulary: Tokenizer) -> None:
    with pytest.raises(InputError, match="equally many"):
        word_overlap(["a"], ["a", "b"], [1.0])
    with pytest.raises(InputError, match="at least 2 pairs"):
        cosine_similarity(small_model.bert, vocabulary, ["a"], ["b"], [1.0])
    with pytest.raises(InputError, match="pooler"):
        cosine_similarity(small_model.bert, vocabulary, FIRST, SECOND, GOLD, pooling="pooler")


@pytest.mark.skipif("TINYDISTIL_LONG" not in os.environ, reason="45 s of CPU; set TINYDISTIL_LONG=1")
def test_known_figures_on_assin2(shared_data: Path) -> None:
    """Zero-shot on the test pairs: 0.785 for e5-small-pt with its prefix, above the floor of shared words."""
    rows = read_labelled(shared_data / "tasks" / "assin2" / "assin2-test.xml", Columns(), numbers=True).examples
    first, second, gold = [p.text for p in rows], [str(p.second) for p in rows], [float(p.label) for p in rows]
    folder = shared_data / "models" / "e5-small-pt"
    encoder, tokenizer = BertModel.from_pretrained(folder), Tokenizer.from_pretrained(folder)
    scores = cosine_similarity(encoder, tokenizer, first, second, gold, prefix="query: ")
    floor = word_overlap(first, second, gold)
    print(f"\ne5-small-pt, query: Pearson {scores.pearson:.4f}, shared words {floor.pearson:.4f}")
    assert round(scores.pearson, 3) == 0.785 and floor.pearson < scores.pearson
