"""Exact duplicates by hash, near-duplicates by MinHash and locality-sensitive hashing (LSH).

Sources: Broder 1997 (resemblance of shingles); Leskovec, Rajaraman, Ullman, Mining of Massive Datasets,
sec. 3.3 and 3.4. A pair of Jaccard similarity s is found with probability 1 - (1 - s^rows)^bands.
Shapes: P permutations, G shingles.
"""

import hashlib
from array import array
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from tinydistil.base.config import Checked, Range
from tinydistil.base.errors import require
from tinydistil.corpus.ngrams import Hashes, mixed, normalised_words, word_hashes, word_runs

Signature = NDArray[np.uint32]

KEY_BYTES = 16
# Shingles permuted at once: (P, 512) products of 8 bytes stay inside a core's second-level cache.
BLOCK_SHINGLES = 512


@dataclass(frozen=True)
class DuplicateConfig(Checked, table="duplicates"):
    """`threshold` is the Jaccard similarity of shingle sets around which near-duplicates are found."""

    near: bool = True
    # 0.8 of five-word shingles: some 2 words of a hundred differ.
    threshold: Annotated[float, Range(0, 1, without=(0, 1))] = 0.8
    # 9 bands of 13 rows at 0.8: 68 % of the pairs at 0.8 to 0.9 are found, 99 % above.
    num_permutations: Annotated[int, Range(2, 1024)] = 128
    shingle_words: Annotated[int, Range(1, 100)] = 5


def exact_key(text: str) -> bytes:
    """16 bytes that are equal for texts with the same words, whatever their case, spaces and punctuation."""
    return hashlib.blake2b(normalised_words(text), digest_size=KEY_BYTES).digest()


def signature(text: str, config: DuplicateConfig) -> Signature:
    """(P,) the MinHash of the word shingles of `text`; equal positions estimate the Jaccard similarity.

    A text of fewer words than a shingle is one shingle; a text without words has the signature all ones.
    """
    hashes = word_hashes(text)
    shingles = mixed(next(word_runs(hashes, [max(1, min(config.shingle_words, len(hashes)))])))  # (G,)
    factors, terms = permutations(config.num_permutations)
    least = np.full(config.num_permutations, np.iinfo(np.uint64).max, np.uint64)
    for start in range(0, len(shingles), BLOCK_SHINGLES):
        permuted = np.multiply.outer(factors, shingles[start : start + BLOCK_SHINGLES])  # (P, <= 512)
        permuted += terms[:, None]
        np.minimum(least, permuted.min(axis=1), out=least)
    # The upper half of a*x + b mod 2^64 is strongly universal, the lower bits are not (Dietzfelbinger 1996).
    return (least >> np.uint64(32)).astype(np.uint32)


@lru_cache(maxsize=2)
def permutations(count: int) -> tuple[Hashes, Hashes]:
    """Odd factors and terms, (count,) each, of fixed random functions x -> factor * x + term mod 2^64."""
    random = np.random.Generator(np.random.PCG64(count))
    factors = random.integers(1 << 64, size=count, dtype=np.uint64, endpoint=False) | np.uint64(1)
    return factors, random.integers(1 << 64, size=count, dtype=np.uint64, endpoint=False)


class HashSet:
    """64-bit numbers in 12 to 24 bytes each, where Python's own set takes 70 to 100.

    Open addressing with linear probing. Keys must be well-mixed hashes: their low bits are the slot.
    """

    def __init__(self) -> None:
        # array, not numpy: reading one number from it is twice as fast.
        self._slots = array("Q", bytes(8 * 1024))
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def bytes_held(self) -> int:
        """Memory of the table; twice as much again for a moment when it grows."""
        return self._slots.itemsize * len(self._slots)

    def __contains__(self, key: int) -> bool:
        return self._slots[self._slot(key)] != 0

    def add(self, key: int) -> None:
        """Put `key` (0 <= key < 2**64) in; nothing happens if it is there."""
        slot = self._slot(key)
        if self._slots[slot]:
            return
        self._slots[slot] = key or 1
        self._count += 1
        # Above two thirds full the runs to be searched grow quickly (Knuth 6.4: 2 probes a hit, 5 a miss).
        if 3 * self._count > 2 * len(self._slots):
            old = self._slots
            self._slots = array("Q", bytes(2 * self.bytes_held))
            for each in filter(None, old):
                self._slots[self._slot(each)] = each

    def _slot(self, key: int) -> int:
        """The slot of `key`, or the one it would take. 0 marks a free slot, so the key 0 counts as 1."""
        key = key or 1
        # The size is a power of two, so the mask is the remainder.
        slots, mask = self._slots, len(self._slots) - 1
        slot = key & mask
        while slots[slot] and slots[slot] != key:
            slot = (slot + 1) & mask
        return slot


class DuplicateIndex:
    """What has been kept so far, as hashes: some 250 bytes per document at most. Rebuilt by adding again.

    Hashes in flat tables: an index of Python sets, one for every band of every document (datasketch's), takes over
    ten times the memory (benchmarks/corpus_quality.py).
    """

    def __init__(self, config: DuplicateConfig) -> None:
        # One table serves all bands, since their keys differ: half-empty tables are what memory goes to.
        self._exact, self._bands = HashSet(), HashSet()
        self.bands, self.rows = bands_and_rows(config) if config.near else (0, 0)

    def seen_exact(self, key: bytes) -> bool:
        """Whether a text with this exact_key was added."""
        return _short(key) in self._exact

    def seen_near(self, signature: Signature) -> bool:
        """Whether a signature that agrees in all rows of some band was added."""
        return any(key in self._bands for key in self._band_keys(signature))

    def add(self, key: bytes, signature: Signature | None = None) -> None:
        """Remember a document by its exact_key and, where near-duplicates are looked for, its signature."""
        self._exact.add(_short(key))
        for band_key in [] if signature is None else self._band_keys(signature):
            self._bands.add(band_key)

    @property
    def bytes_held(self) -> int:
        """Memory of the index."""
        return self._exact.bytes_held + self._bands.bytes_held

    def _band_keys(self, signature: Signature) -> list[int]:
        used = signature[: self.bands * self.rows].astype(np.uint64).reshape(self.bands, self.rows)
        # Sums of values times fixed odd factors, which differ from band to band: one table holds all bands.
        factors, _ = permutations(self.bands * self.rows)
        return list(map(int, mixed((used * factors.reshape(used.shape)).sum(axis=1))))


def _short(key: bytes) -> int:
    # 64 bits: among brWaC's 3.5 million documents a false match has odds of 3 in 10 million.
    return int.from_bytes(key[:8], "little")


def bands_and_rows(config: DuplicateConfig) -> tuple[int, int]:
    """The bands and rows with the least expected false positives plus false negatives around the threshold.

    A pair of similarity s is missed with probability (1 - s^rows)^bands, whose integral over s from 0 to t is an
    incomplete beta function: B(t^rows; 1 / rows, bands + 1) / rows. Raises InputError where one band alone would do.
    """
    from scipy.special import beta, betainc  # half a second, which neither --help nor a worker waits for

    total = config.num_permutations
    bands, rows = (each.ravel() for each in np.mgrid[1 : total + 1, 1 : total + 1])
    bands, rows = bands[bands * rows <= total], rows[bands * rows <= total]
    whole = beta(1 / rows, bands + 1) / rows
    missed_below = whole * betainc(1 / rows, bands + 1, config.threshold**rows)
    errors = (config.threshold - missed_below) + (whole - missed_below)
    best = int(errors.argmin())
    require(
        bands[best] > 1,
        f"threshold {config.threshold} does not go with {total} permutations, which would be one band; give a lower "
        "threshold or more permutations",
    )
    return int(bands[best]), int(rows[best])
