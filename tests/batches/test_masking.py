"""Masks: the right shares, never a special token, and the same whatever else happens."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.train.toy import Rows
from tinydistil.base.errors import InputError
from tinydistil.batches.masked_batches import MaskedBatches
from tinydistil.batches.sampling import MaskConfig, MaskedTokens, mask_tokens, span_lengths
from tinydistil.tokenizer.tokenizer import train_wordpiece

MASK, SPECIAL, VOCABULARY = 4, 5, 1000
ORDINARY_IDS = np.arange(SPECIAL, VOCABULARY)


def batch(
    count: int, length: int = 128, first: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
    """Sequences of random ordinary tokens between [CLS] and [SEP], of uneven lengths."""
    random = np.random.default_rng(first)
    ids = random.integers(SPECIAL, VOCABULARY, (count, length))
    lengths = random.integers(4, length + 1, count)
    places = np.arange(length)
    ids[:, 0] = 2
    ids[places >= lengths[:, None] - 1] = 0
    ids[np.arange(count), lengths - 1] = 3
    return ids, ids >= SPECIAL, np.arange(first, first + count)


def masked(count: int = 8, *, config: MaskConfig | None = None, seed: int = 0, epoch: int = 0) -> MaskedTokens:
    ids, ordinary, sequence_ids = batch(count)
    return mask_tokens(
        ids, ordinary, sequence_ids, config or MaskConfig(), mask_id=MASK, ordinary_ids=ORDINARY_IDS, seed=seed,
        epoch=epoch,
    )  # fmt: skip


def test_shares_within_three_sigma_over_a_million_tokens() -> None:
    _, ordinary, _ = batch(17_000)
    result = masked(17_000)
    tokens = int(ordinary.sum())
    assert tokens > 1_000_000
    chosen = len(result.rows)
    # The quota of a sequence is rounded at random: a variance of at most 1/4 each, far below that of tokens.
    assert abs(chosen - 0.15 * tokens) < 3 * (0.25 * 17_000) ** 0.5
    after = result.input_ids.reshape(-1)[result.rows]
    became_mask, stayed = after == MASK, after == result.targets
    # A random token is by chance the old one once in 995 times.
    by_chance = 0.1 / len(ORDINARY_IDS)
    assert abs(became_mask.sum() - 0.8 * chosen) < 3 * (0.8 * 0.2 * chosen) ** 0.5
    assert abs(stayed.sum() - (0.1 + by_chance) * chosen) < 3 * (0.1 * 0.9 * chosen) ** 0.5
    assert abs((~became_mask & ~stayed).sum() - (0.1 - by_chance) * chosen) < 3 * (0.1 * 0.9 * chosen) ** 0.5
    drawn = after[~became_mask & ~stayed]
    assert set(np.unique(drawn)) <= set(ORDINARY_IDS.tolist()) and len(np.unique(drawn)) > 900
    places = np.bincount(result.rows % 128, minlength=128)[1:100] / np.maximum(ordinary.sum(0)[1:100], 1)
    assert np.all(np.abs(places - 0.15) < 5 * (0.15 * 0.85 / ordinary.sum(0)[1:100]) ** 0.5)


def test_special_tokens_are_never_chosen_and_others_left_alone() -> None:
    ids, ordinary, _ = batch(500)
    result = masked(500)
    chosen = np.zeros(ids.size, bool)
    chosen[result.rows] = True
    assert ordinary.reshape(-1)[result.rows].all()
    assert np.array_equal(result.targets, ids.reshape(-1)[result.rows])
    assert np.array_equal(result.input_ids.reshape(-1)[~chosen], ids.reshape(-1)[~chosen])


def test_a_function_of_seed_epoch_and_sequence_only() -> None:
    """The same sequence alone, among others, in another place and padded to another length."""
    config = MaskConfig()
    ids, ordinary, sequence_ids = batch(40)
    options = {"mask_id": MASK, "ordinary_ids": ORDINARY_IDS, "seed": 3, "epoch": 2}
    together = mask_tokens(ids, ordinary, sequence_ids, config, **options).input_ids
    backwards = mask_tokens(ids[::-1], ordinary[::-1], sequence_ids[::-1], config, **options).input_ids
    assert np.array_equal(backwards[::-1], together)
    for row in range(40):
        one = slice(row, row + 1)
        wider = np.pad(ids[one], ((0, 0), (0, 9))), np.pad(ordinary[one], ((0, 0), (0, 9)))
        alone = mask_tokens(*wider, sequence_ids[one], config, **options).input_ids
        assert np.array_equal(alone[0, :128], together[row])


def test_seed_and_epoch_change_the_masks() -> None:
    first = masked(50)
    for other in (masked(50, seed=1), masked(50, epoch=1)):
        shared = len(np.intersect1d(first.rows, other.rows)) / len(first.rows)
        assert 0.05 < shared < 0.3  # independent masks share 15 %


def test_quota_is_bounded() -> None:
    config = MaskConfig(rate=0.4)
    _, ordinary, _ = batch(300)
    result = masked(300, config=config)
    counts = np.bincount(result.rows // 128, minlength=300)
    for count, tokens in zip(counts, ordinary.sum(1), strict=True):
        assert 0.4 * tokens - 1 < count <= int(tokens * config.rate) + 1


def test_whole_words() -> None:
    ids, ordinary, sequence_ids = batch(2000)
    words = np.cumsum(np.random.default_rng(1).random(ids.shape) < 0.6, 1)
    result = mask_tokens(
        ids, ordinary, sequence_ids, MaskConfig(whole_words=True), mask_id=MASK, ordinary_ids=ORDINARY_IDS, seed=0,
        epoch=0, word_index=words,
    )  # fmt: skip
    chosen = np.zeros(ids.shape, bool)
    chosen.reshape(-1)[result.rows] = True
    for row in range(len(ids)):
        for word in np.unique(words[row, chosen[row]]):
            assert chosen[row, (words[row] == word) & ordinary[row]].all()
    assert 0.13 < chosen.sum() / ordinary.sum() <= 0.151  # a word that does not fit the quota is skipped


def test_shares_can_be_changed() -> None:
    all_masks = masked(200, config=MaskConfig(mask_share=1.0, random_share=0.0))
    assert (all_masks.input_ids.reshape(-1)[all_masks.rows] == MASK).all()
    untouched = masked(200, config=MaskConfig(mask_share=0.0, random_share=0.0))
    assert np.array_equal(untouched.input_ids.reshape(-1)[untouched.rows], untouched.targets)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rate": -0.1}, "mask.rate must be in"),
        ({"rate": 1.0}, "mask.rate must be in"),
        ({"mask_share": 1.2}, "mask.mask_share must be in"),
        ({"mask_share": 0.9, "random_share": 0.2}, "must be <= 1"),
    ],
)
def test_refusals(values: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MaskConfig(**values)  # type: ignore[arg-type]


def spans_of(rows: NDArray[np.int64], words: NDArray[np.int64], sequence: int) -> list[int]:
    """Lengths in words of the stretches of neighbouring chosen words of a sequence."""
    width = words.shape[1]
    chosen = sorted({int(words[sequence, row % width]) for row in rows if row // width == sequence})
    cuts = [i for i in range(1, len(chosen)) if chosen[i] != chosen[i - 1] + 1]
    return [len(part) for part in np.split(chosen, cuts)]


def test_spans_are_stretches_of_whole_words() -> None:
    """SpanBERT's: geometric with p = 0.2 over 1..10, whose mean is 3.8; none begins inside a word."""
    ids, ordinary, sequence_ids = batch(400)
    words = np.where(ordinary, np.cumsum(ordinary, 1) // 2, -1)  # of two pieces
    found = mask_tokens(
        ids, ordinary, sequence_ids, MaskConfig(longest_span=10), mask_id=MASK, ordinary_ids=ORDINARY_IDS,
        seed=0, epoch=0, word_index=words,
    )  # fmt: skip
    chosen = np.zeros(ids.size, bool)
    chosen[found.rows] = True
    pieces = [(words == word) & ordinary for word in range(3, 6)]
    for inside in pieces:
        shares = (chosen.reshape(ids.shape) & inside).sum(1) / np.maximum(inside.sum(1), 1)
        assert {*np.unique(shares)} <= {0.0, 1.0}
    assert 0.14 < len(found.rows) / ordinary.sum() < 0.15
    single = mask_tokens(
        ids, ordinary, sequence_ids, MaskConfig(whole_words=True), mask_id=MASK, ordinary_ids=ORDINARY_IDS,
        seed=0, epoch=0, word_index=words,
    )  # fmt: skip
    lengths, of_words = ([n for i in range(400) for n in spans_of(each.rows, words, i)] for each in (found, single))
    # Sequences of two words to choose cut spans short.
    assert np.mean(of_words) < 1.3 < 2.2 < np.mean(lengths)


def test_span_lengths_are_geometric() -> None:
    draws = np.random.default_rng(0).random(200_000)
    counts = np.bincount(span_lengths(draws, 10), minlength=11)[1:]
    expected = 0.2 * 0.8 ** np.arange(10)
    expected *= len(draws) / expected.sum()
    assert len(counts) == 10 and (abs(counts - expected) < 4 * expected**0.5).all()
    assert span_lengths(np.array([0.0, 1 - 2**-53]), 10).tolist() == [1, 10] and {*span_lengths(draws[:99], 1)} == {1}


def test_a_rate_that_moves() -> None:
    config = MaskConfig(rate=0.4, final_rate=0.1, rate_epochs=2.0)
    assert [config.rate_at(passes) for passes in (0.0, 1.0, 2.0, 5.0)] == pytest.approx([0.4, 0.25, 0.1, 0.1])
    ids, ordinary, numbers = batch(300)

    def share(rate: float | None) -> float:
        found = mask_tokens(
            ids, ordinary, numbers, config, mask_id=MASK, ordinary_ids=ORDINARY_IDS, seed=0, epoch=0, rate=rate
        )
        return float(len(found.rows) / ordinary.sum())

    assert share(None) == pytest.approx(0.4, abs=0.01) and share(0.1) == pytest.approx(0.1, abs=0.01)


def test_the_rate_of_a_batch_is_of_its_cursor_alone() -> None:
    """Whoever reads it, in however many parts."""
    tokenizer = train_wordpiece(["o gato dorme na sala e a gata corre"] * 3, 60)
    rows = Rows(tokenizer.vocab_size, [60] * 40)
    config = MaskConfig(rate=0.5, final_rate=0.1, rate_epochs=2.0)
    batches = MaskedBatches(rows, tokenizer, config, batch_size=4, seed=1)
    shares = []
    for cursor in (0, 10, 19, 30):
        [whole] = batches.micro_batches(cursor, rank=0, world_size=1, accumulation=1)
        parts = [batches.micro_batches(cursor, rank=r, world_size=2, accumulation=2) for r in (0, 1)]
        assert sum(len(each.positions) for part in parts for each in part) == len(whole.positions)
        shares.append(len(whole.positions) / int((whole.word_index >= 0).sum()))
    assert shares == pytest.approx([0.5, 0.3, 0.12, 0.1], abs=0.02)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"longest_span": 4, "whole_words": True}, "longest_span 4 chooses whole words already"),
        ({"longest_span": -1}, "longest_span"),
        ({"final_rate": 0.0001}, r"final_rate must be 0 or >= 0\.001"),
        ({"final_rate": 0.3, "rate": 0.0}, r"mask\.rate is 0; give it where to begin"),
        ({"final_rate": 0.3, "epochs": 2}, "no masks come again"),
        ({"rate_epochs": 3.0}, r"rate_epochs 3\.0 is how long mask\.rate takes"),
        ({"rate_epochs": 0.0, "final_rate": 0.3}, "rate_epochs"),
    ],
)
def test_bad_spans_and_rates(options: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MaskConfig(**options)  # type: ignore[arg-type]
