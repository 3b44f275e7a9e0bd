"""One padding and one batching by length."""

import numpy as np

from tinydistil.batches.sampling import by_length, pad


def test_padding_keeps_numbers_dtype_and_further_dimensions() -> None:
    padded = pad([np.array([1, 2, 3]), np.array([4])], 9)
    assert padded.dtype == np.int64 and padded.tolist() == [[1, 2, 3], [4, 9, 9]]
    logits = pad([np.ones((1, 2), np.float32), np.ones((3, 2), np.float32)], 0)
    assert logits.dtype == np.float32 and logits.shape == (2, 3, 2) and logits[0, 1:].sum() == 0
    assert pad([np.array(3), np.array(5)], 9).tolist() == [3, 5]


def test_batches_by_length_hold_every_index_once_in_a_stable_order() -> None:
    assert list(by_length(dict(enumerate([3, 1, 2, 1, 3])), 2)) == [[1, 3], [2, 0], [4]]
    assert list(by_length({}, 2)) == []
