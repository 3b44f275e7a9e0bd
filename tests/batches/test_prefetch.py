"""Batches made ahead: the same ones, in another thread, errors where they belong."""

import threading

import pytest
import torch

from tests.batches.test_masked_batches import paired
from tinydistil.batches.masked_batches import MaskedBatch, MaskedBatches, Prefetched

SHARE = dict(rank=1, world_size=2, accumulation=2)


def same(first: MaskedBatch, second: MaskedBatch) -> bool:
    """Whether every tensor of two batches is equal."""
    ours = [getattr(first, name) for name in ("input_ids", "targets", "positions", "sequence_ids")]
    theirs = [getattr(second, name) for name in ("input_ids", "targets", "positions", "sequence_ids")]
    return first.epoch == second.epoch and all(map(torch.equal, ours, theirs))


def test_the_same_batches_in_any_order_of_asking() -> None:
    plain, ahead = paired(), Prefetched(paired())
    assert ahead.batches_per_epoch == plain.batches_per_epoch and ahead.mean_tokens == plain.mean_tokens
    for cursor in (0, 1, 2, 2, 9, 10, 3, 4):  # on, again, ahead over an epoch's end, back
        expected = plain.micro_batches(cursor, **SHARE)
        for mine, theirs in zip(ahead.micro_batches(cursor, **SHARE), expected, strict=True):
            assert same(mine, theirs), cursor
        assert ahead.global_batch(cursor)[1].tolist() == plain.global_batch(cursor)[1].tolist()


def test_the_next_batch_is_made_while_this_one_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[int, str]] = []
    second = threading.Event()
    original = MaskedBatches.micro_batches

    def spy(self: MaskedBatches, cursor: int, **share: int) -> list[MaskedBatch]:
        if self is plain:  # another test's thread may still be at its last batch
            made.append((cursor, threading.current_thread().name))
            if cursor == 1:
                second.set()
        return original(self, cursor, **share)

    monkeypatch.setattr(MaskedBatches, "micro_batches", spy)
    plain = paired()
    ahead = Prefetched(plain)
    ahead.micro_batches(0, **SHARE)
    assert second.wait(10), "batch 1 was not begun before it was asked for"
    ahead.micro_batches(1, **SHARE)
    assert [cursor for cursor, _ in made][:2] == [0, 1]
    assert all(name != threading.current_thread().name for _, name in made)


def test_an_error_comes_with_the_batch_it_is_of(monkeypatch: pytest.MonkeyPatch) -> None:
    original = MaskedBatches.micro_batches

    def broken(self: MaskedBatches, cursor: int, **share: int) -> list[MaskedBatch]:
        if cursor == 2:
            raise OSError("shard is gone")
        return original(self, cursor, **share)

    monkeypatch.setattr(MaskedBatches, "micro_batches", broken)
    ahead = Prefetched(paired())
    ahead.micro_batches(0, **SHARE)
    ahead.micro_batches(1, **SHARE)
    with pytest.raises(OSError, match="shard is gone"):
        ahead.micro_batches(2, **SHARE)
