"""Models of pairs: texts apart, features against float64 loops, padding that changes nothing, folders."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tinydistil.model.bert import BertModel
from tinydistil.model.config import BertConfig
from tinydistil.model.pairs import ALIKE, NUM_STATISTICS, SHARPNESS, BertForCosine, BertForPairs, texts_apart

CONFIG = BertConfig(vocab_size=40, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
                    max_position_embeddings=12, initializer_range=0.5, labels=("number", "não", "sim"))  # fmt: skip
CLS, SEP = 2, 3
# Tokens between [CLS] and [SEP] of both texts: none, one, repeated ones, some in common.
PAIRS = [([5, 6, 7], [5, 9]), ([8], [8]), ([], [5, 6]), ([4, 4, 11, 12, 13], [13, 4, 20, 21]), ([], [])]


def packed(pairs: list[tuple[list[int], list[int]]], width: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """input_ids, attention_mask and token_type_ids (B, T), padded to `width`."""
    rows = [([CLS, *a, SEP], [CLS, *b, SEP]) for a, b in pairs]
    width = width or max(len(a) + len(b) for a, b in rows)
    ids, mask, types = (torch.zeros(len(rows), width, dtype=torch.int64) for _ in range(3))
    for i, (a, b) in enumerate(rows):
        ids[i, : len(a) + len(b)] = torch.tensor(a + b)
        mask[i, : len(a) + len(b)] = 1
        types[i, len(a) : len(a) + len(b)] = 1
    return ids, mask, types


def model_of(kind: type[BertForPairs], seed: int = 0) -> BertForPairs:
    torch.manual_seed(seed)
    model = kind(CONFIG, attention="packed").double().eval()
    for parameter in model.parameters():  # biases and norms that count
        parameter.data += 0.3 * torch.randn_like(parameter)
    return model


def test_texts_apart() -> None:
    ids, mask = texts_apart(*packed(PAIRS), 0)
    assert ids.shape == mask.shape == (10, 7)
    for i, (a, b) in enumerate(PAIRS):
        for row, words in ((i, a), (i + len(PAIRS), b)):
            expected = [CLS, *words, SEP]
            assert ids[row].tolist() == expected + [0] * (7 - len(expected))
            assert mask[row].tolist() == [1] * len(expected) + [0] * (7 - len(expected))


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b) / (math.sqrt(float(a @ a)) * math.sqrt(float(b @ b)))


def by_hand(model: BertForPairs, a: list[int], b: list[int]) -> Tensor:
    """The features of one pair, with loops over its tokens."""

    def states(words: list[int]) -> Tensor:
        return model.bert(torch.tensor([[CLS, *words, SEP]])).last_hidden[0]

    all_a, all_b = states(a), states(b)
    u, v = all_a.mean(0), all_b.mean(0)
    sides = (all_a[1:-1], all_b[1:-1]), (all_b[1:-1], all_a[1:-1])
    table = model.bert.embeddings.word.weight

    def matches(ones: Tensor, others: Tensor) -> list[float]:
        best = sorted(max((cosine(one, other) for other in others), default=-1.0) for one in ones)
        mean = sum(best) / max(len(best), 1)
        return [mean, *[*best, 1.0, 1.0][:2], sum(each > ALIKE for each in best) / max(len(best), 1)]

    statistics = []
    for first, second in ((all_a[1:-1], all_b[1:-1]), (table[a], table[b])):
        statistics += matches(first, second) + matches(second, first)
    statistics += [cosine(u, v), (len(a) - len(b)) / 10]
    aggregated = []
    for ones, others in sides:
        compared = []
        for one in ones:
            weights = torch.tensor([SHARPNESS * cosine(one, other) for other in others], dtype=torch.float64).softmax(0)
            other = sum((w * each for w, each in zip(weights, others, strict=True)), torch.zeros_like(one))
            compared.append(F.gelu(model.compare(torch.cat([one, other, (one - other).abs(), one * other]))))
        found = torch.stack(compared) if compared else torch.zeros(0, 8, dtype=torch.float64)
        aggregated += [found.sum(0) / max(len(found), 1)]
        aggregated += [found.amax(0) if len(found) else torch.full((8,), -1.0, dtype=torch.float64)]
    wholes = [u, v, (u - v).abs(), u * v]
    return torch.cat([*wholes, torch.tensor(statistics, dtype=torch.float64), *aggregated])


@torch.no_grad()
def test_features_against_loops() -> None:
    model = model_of(BertForPairs)
    features = model.features(*model.encode(*packed(PAIRS)))
    assert features.shape == (5, 8 * 8 + NUM_STATISTICS)
    expected = torch.stack([by_hand(model, a, b) for a, b in PAIRS])
    torch.testing.assert_close(features, expected, rtol=1e-12, atol=1e-12)
    mixed = F.gelu(model.mix(F.layer_norm(expected, (82,), model.norm.weight, model.norm.bias)))
    torch.testing.assert_close(model(*packed(PAIRS)), model.classifier(mixed), rtol=1e-11, atol=1e-11)


@torch.no_grad()
def test_a_swapped_pair_has_the_same_features_in_another_order() -> None:
    model = model_of(BertForPairs)
    straight, turned = (model.features(*model.encode(*packed(each))) for each in (PAIRS, [(b, a) for a, b in PAIRS]))
    u, v, both = straight[:, :8], straight[:, 8:16], straight[:, 16:32]
    levels = [straight[:, 32 + i : 36 + i] for i in (4, 0, 12, 8)]
    whole, length = straight[:, 48:49], -straight[:, 49:50]
    expected = torch.cat([v, u, both, *levels, whole, length, straight[:, 66:], straight[:, 50:66]], 1)
    torch.testing.assert_close(turned, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", [BertForPairs, BertForCosine])
@pytest.mark.parametrize("attention", ["packed", "sdpa", "eager"])
@torch.no_grad()
def test_padding_never_matters(kind: type[BertForPairs], attention: str) -> None:
    """Alone, beside longer pairs, and with padding to a length that none has."""
    model = model_of(kind)
    model.bert.attention = attention
    together = model(*packed(PAIRS, 20))
    for i, pair in enumerate(PAIRS):
        torch.testing.assert_close(model(*packed([pair]))[0], together[i], rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_the_cosine_is_that_of_means() -> None:
    model = model_of(BertForCosine)
    expected = []
    for pair in PAIRS:
        u, v = (model.bert(torch.tensor([[CLS, *words, SEP]])).last_hidden[0].mean(0) for words in pair)
        expected.append([cosine(u, v)])
    np.testing.assert_allclose(model(*packed(PAIRS)), expected, atol=1e-12)


@pytest.mark.parametrize("kind", [BertForPairs, BertForCosine])
def test_folders(kind: type[BertForPairs], tmp_path: Path) -> None:
    """The same outputs from a folder, in which others find the encoder; a lost weight is named."""
    model = model_of(kind).float()
    model.save_pretrained(tmp_path)
    again = kind.from_pretrained(tmp_path, heads="require", attention="packed")
    encoder = BertModel.from_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(again(*packed(PAIRS)), model(*packed(PAIRS)))
        ids = packed(PAIRS)[0][:, :3]
        assert torch.equal(encoder(ids).last_hidden, model.bert(ids).last_hidden)
    assert '"BertModel"' in (tmp_path / "config.json").read_text()


def test_every_weight_learns_and_gradients_are_finite() -> None:
    model = model_of(BertForPairs).train()
    model(*packed(PAIRS)).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
