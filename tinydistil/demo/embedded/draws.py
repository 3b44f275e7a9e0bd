"""Random choices that are a pure function of (seed, stream, index), the same on every platform and Python version."""

import hashlib
import struct
from collections.abc import Sequence
from typing import TypeVar

from tinydistil.base.errors import require

Item = TypeVar("Item")

# One in ten events belongs to "dev", one in ten to "test".
SPLITS = ("train", "train", "train", "train", "train", "train", "train", "train", "dev", "test")


class Draws:
    """A stream of choices. Two objects made with the same arguments choose alike."""

    __slots__ = ("_block", "_name", "_pool")

    def __init__(self, seed: int, stream: str, index: int) -> None:
        self._name = f"{seed}|{stream}|{index}|"
        self._block = 0
        self._pool: list[int] = []

    def _refill(self) -> None:
        # A hash of (name, counter) rather than random.Random: that took a quarter of a sentence's time.
        digest = hashlib.blake2b(f"{self._name}{self._block}".encode()).digest()
        self._pool = list(struct.unpack("<16I", digest))
        self._block += 1

    def below(self, bound: int) -> int:
        """A whole number in [0, bound), for bounds far below 2**32."""
        if not self._pool:
            self._refill()
        return self._pool.pop() * bound >> 32

    def pick(self, items: Sequence[Item]) -> Item:
        """One of `items`, all equally likely."""
        if not self._pool:
            self._refill()
        return items[self._pool.pop() * len(items) >> 32]

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        if not self._pool:
            self._refill()
        return self._pool.pop() < probability * 4294967296.0


def require_position(seed: int, start: int, count: int) -> None:
    """Raise InputError unless (seed, start, count) name a stretch of a stream."""
    require(isinstance(seed, int), f"seed must be a whole number, got {seed!r}; give an integer such as 0")
    require(start >= 0, f"start must be >= 0, got {start}; the first item has number 0")
    require(count >= 0, f"count must be >= 0, got {count}; give the number of items wanted")


def require_split(split: str) -> None:
    """Raise InputError unless `split` is train, dev or test."""
    require(split in SPLITS, f"split must be one of train, dev, test, got {split!r}")


def split_of(key: str) -> str:
    """The split that everything about `key` belongs to, whatever the seed: so splits cannot share a key."""
    return SPLITS[int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big") % len(SPLITS)]


def permuted_class(seed: int, stream: str, index: int, classes: int) -> int:
    """A class in [0, classes) for item `index`; each block of `classes` items in a row holds every class once."""
    draws = Draws(seed, stream + "|class", index // classes)
    order = list(range(classes))
    for place in range(classes - 1, 0, -1):
        other = draws.below(place + 1)
        order[place], order[other] = order[other], order[place]
    return order[index % classes]
