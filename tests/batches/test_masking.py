"""Masks: the right shares, never a special token, and the same whatever else happens."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tinydistil.base.errors import InputError
from tinydistil.batches.sampling import MaskConfig, MaskedTokens, mask_tokens

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
