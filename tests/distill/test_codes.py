"""Packed numbers come back as they were, vectors as near as their bits allow, and the sampled tail has no bias."""

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.distill.test_objectives import batch
from tinydistil.distill.losses import SparseTargets, sparse_targets, vocabulary_loss
from tinydistil.distill.teacher.codes import Packing, VectorCodes, pack_targets, unpack_targets
from tinydistil.distill.terms.vocabulary import draws_of
from tinydistil.model.bert import Decoding

# Mean squared error of the best even steps for a normal number of variance 1, by bits (Max 1960, table II).
MAX_1960 = {1: 0.3634, 2: 0.1188, 3: 0.03744, 4: 0.01154, 5: 0.003495}


@pytest.mark.parametrize("seed", range(20))
def test_packed_numbers_are_the_bits_of_one_long_integer(seed: int) -> None:
    """Beside Python's integers: columns of 0 to 25 bits, the first one lowest."""
    draw = np.random.default_rng(seed)
    bits = draw.integers(0, 26, draw.integers(1, 40))
    rows = [[int(draw.integers(0, 1 << width)) for width in bits] for _ in range(int(draw.integers(0, 4)))]
    packing = Packing(torch.from_numpy(bits))
    numbers = torch.tensor(rows).reshape(len(rows), len(bits))
    found = packing.pack(numbers)
    assert found.shape == (len(rows), packing.size) and packing.size == -(-int(bits.sum()) // 8)
    for row, packed in zip(rows, found, strict=True):
        whole = sum(number << int(start) for number, start in zip(row, np.cumsum(bits) - bits, strict=True))
        assert bytes(packed.tolist()) == whole.to_bytes(packing.size, "little")
    assert torch.equal(packing.unpack(found).long(), numbers)


def normal(count: int, spread: Tensor) -> Tensor:
    return 3 + spread * torch.from_numpy(np.random.default_rng(0).standard_normal((count, len(spread)))).float()


@pytest.mark.parametrize("bits", [2, 3, 4, 5])
def test_a_direction_gets_bits_as_more_varies_in_it(bits: int) -> None:
    """Each bit goes where it takes most off the error: beside the same, one bit after the other; and no error beyond
    that of the best quantiser with even steps."""
    spread = torch.logspace(1, -1.2, 24)
    sample = normal(20_000, spread)
    codes = VectorCodes.fitted(sample[::2], bits)
    left, expected = spread.double().square(), np.zeros(24, int)
    for _ in range(24 * bits):
        best = int((left * 0.25 ** torch.from_numpy(expected)).where(torch.from_numpy(expected < 8), 0.0).argmax())
        expected[best] += 1
    # The sample's variances are not quite those that it was drawn by.
    assert np.abs(codes.table[2].numpy() - expected).max() <= 1 and int(codes.table[2].sum()) == 24 * bits
    errors = (codes.decode(codes.encode(sample)) - sample).square().mean(0) / spread.square()
    for error, own in zip(errors.tolist(), codes.table[2].tolist(), strict=True):
        if own in MAX_1960:
            assert error == pytest.approx(MAX_1960[own], rel=0.12)  # by 10,000 vectors
    assert codes.packing.size == 24 * bits // 8


def test_directions_that_vary_alike_get_the_same_and_one_that_does_not_vary_none() -> None:
    sample = normal(4000, torch.tensor([1.0, 1.0, 0.0, 1.0]))
    codes = VectorCodes.fitted(sample, 6)
    assert codes.table[2].tolist() == [8, 8, 0, 8]
    found = codes.decode(codes.encode(sample))
    assert (found[:, 2] == 3).all() and torch.isfinite(codes.decode(codes.encode(1e6 * sample))).all()
    assert codes.decode(codes.encode(sample[:0])).shape == (0, 4)
    none = VectorCodes.fitted(sample[:0], 4)
    assert torch.isfinite(none.decode(none.encode(sample))).all()
    alone = VectorCodes.fitted(sample[:1], 4)
    assert torch.equal(alone.decode(alone.encode(sample[:1])), sample[:1])


def teacher_of(rows: int, vocabulary: int, scale: float) -> Decoding:
    draw = torch.Generator().manual_seed(3)
    kept, weight, bias = (torch.randn(*shape, generator=draw) for shape in ((rows, 8), (vocabulary, 8), (vocabulary,)))
    return Decoding(scale * kept, weight, bias)


def dense(targets: SparseTargets, vocabulary: int) -> Tensor:
    """Weights by token, (R, V)."""
    return torch.zeros(len(targets.ids), vocabulary).double().scatter_add(1, targets.ids, targets.weights.double())


@pytest.mark.parametrize("scale", [0.1, 1.0, 8.0])  # from nearly even to nearly certain
@pytest.mark.parametrize("vocabulary", [60, 3000])
def test_packed_targets_have_no_bias_beyond_their_bits(scale: float, vocabulary: int) -> None:
    """The mean over a lattice of draws is the whole distribution in float64, but for a step of the lattice, 2 % of a
    likely token's share and 16 bits' rounding: so is the gradient of the divergence, which is linear in it."""
    teacher, top, drawn, points = teacher_of(4, vocabulary, scale), 5, 8, 400
    p = (teacher.logits().double() / 2.0).softmax(-1)
    mean = torch.zeros_like(p)
    for point in range(points):
        uniform = (torch.arange(drawn, dtype=torch.float64) + (point + 0.5) / points) / drawn
        targets = sparse_targets(teacher, top, 2.0, uniform.expand(4, drawn))
        found = unpack_targets(packed := pack_targets(targets, top, vocabulary), top, drawn, vocabulary)
        assert packed.shape[1] == -(-((vocabulary - 1).bit_length() * 13 + 8 * 5 + 32) // 8)
        assert torch.equal(found.ids, targets.ids)
        torch.testing.assert_close(found.weights.sum(1), torch.ones(4), rtol=1e-5, atol=0)
        mean += dense(found, vocabulary) / points
    kept = p.topk(top)
    rest = 1 - kept.values.sum(1, keepdim=True)
    assert ((mean.gather(1, kept.indices) / kept.values - 1).abs() <= 0.045)[kept.values > 5e-5].all()
    tail = mean.scatter(1, kept.indices, 0.0) - p.scatter(1, kept.indices, 0.0)
    assert (tail.abs() <= rest / (drawn * points) + 4e-3 * p + 1e-7).all()


def test_a_divergence_s_value_is_that_of_the_whole_teacher_but_for_what_the_student_says() -> None:
    """Of the teacher's own entropy nothing is drawn: with an even student every draw gives the whole divergence."""
    teacher, even = teacher_of(5, 300, 1.0), Decoding(torch.zeros(5, 8), torch.zeros(300, 8), torch.zeros(300))
    whole, *sampled = (
        vocabulary_loss(even, torch.zeros(5).long(), each, hard=0.0, soft=1.0).total
        for each in (teacher, *(sparse_targets(teacher, 4, 2.0, torch.rand(5, 3)) for _ in range(3)))
    )
    for each in sampled:
        torch.testing.assert_close(each, whole, rtol=1e-5, atol=0)


def test_draws_are_one_from_each_even_share() -> None:
    sizes = torch.tensor([200, 300, 0, 100])[: len(batch().sequence_ids)]
    draws = draws_of(batch(), sizes, 5)
    assert torch.equal((draws * 5).floor(), torch.arange(5).double().expand(len(draws), 5))
    assert ((draws * 5 % 1).mean(0) - 0.5).abs().max() < 4 * (12 * len(draws)) ** -0.5
