"""Floor 1: words and word n-grams as 64-bit hashes, vectorised; what duplicates and contamination compare.

Legend: C characters (bytes of the normalised text), W words, G n-grams.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

_SPACE, _DIGITS_AND_LETTERS = ord(" "), re.compile(rb"[0-9a-z_\x80-\xff]")
# ASCII that is neither letter nor digit separates words.
_ASCII_WORDS = bytes(byte if _DIGITS_AND_LETTERS.fullmatch(bytes([byte])) else _SPACE for byte in range(256))
# UTF-8 of U+00A0-U+00BF (« » º ª ...) but the letters ª º, and of U+2000-U+206F (quotes, dashes, bullets).
_OTHER_SEPARATORS = re.compile(rb"\xc2[\xa0-\xa9\xab-\xb9\xbb-\xbf]|\xe2[\x80\x81][\x80-\xbf]")

_RANDOM = np.random.Generator(np.random.PCG64(20_240_229))
# One random number per byte value and per place in a word (from place 256 on they repeat).
_BYTE_VALUES = _RANDOM.integers(1 << 63, size=256, dtype=np.uint64)
_PLACE_VALUES = _RANDOM.integers(1 << 63, size=256, dtype=np.uint64) | np.uint64(1)
_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xBF58476D1CE4E5B9)


# A document's exact key, its signature and its contamination ask for the same words one after the other,
# so the last text's words and hashes are kept: half of the time of the three.
@lru_cache(maxsize=1)
def normalised_words(text: str) -> bytes:
    """`text` as UTF-8 in lower case, its words (letters, digits) with one space between, all else gone."""
    if not unicodedata.is_normalized("NFC", text):
        text = unicodedata.normalize("NFC", text)
    data = text.lower().encode("utf-8", errors="replace").translate(_ASCII_WORDS)
    if b"\xc2" in data or b"\xe2" in data:
        data = _OTHER_SEPARATORS.sub(b" ", data)
    return b" ".join(data.split())


@lru_cache(maxsize=1)
def word_hashes(text: str) -> Hashes:
    """(W,) a hash of each normalised word of `text`; equal on every machine. Not to be written to."""
    words = normalised_words(text)
    if not words:
        return np.zeros(0, np.uint64)
    data = np.frombuffer(words + b" ", np.uint8)  # (C,)
    spaces = np.flatnonzero(data == _SPACE)  # (W,) the last byte of each word, so to speak
    starts = np.concatenate(([0], spaces[:-1] + 1))  # (W,)
    places = np.arange(len(data)) - np.repeat(starts, spaces + 1 - starts)  # (C,)
    values = _BYTE_VALUES[data]
    values *= _PLACE_VALUES[places & 255]
    return mixed(np.add.reduceat(values, starts))


def ngram_hashes(hashes: Hashes, length: int) -> Hashes:
    """(G,) hashes of all runs of `length` words; G = W - length + 1, or 0 where there are fewer words."""
    return next(ngram_lengths(hashes, [length]))


def ngram_lengths(hashes: Hashes, lengths: Iterable[int]) -> Iterator[Hashes]:
    """The ngram_hashes for each of the ascending `lengths`, the shorter ones extended to the longer."""
    combined, done = np.zeros(len(hashes), np.uint64), 0
    for length in lengths:
        for offset in range(done, min(length, len(hashes) + 1)):
            combined = combined[:len(hashes) - offset] * _STEP
            combined += hashes[offset:]
        done = length
        yield mixed(combined)


def mixed(values: Hashes) -> Hashes:
    """Spread every bit over the whole 64 (a round of splitmix64), as sums and products do not."""
    values = (values ^ (values >> np.uint64(30))) * _MIX
    return values ^ (values >> np.uint64(31))
