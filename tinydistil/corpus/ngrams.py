"""Words and word n-grams as 64-bit hashes, vectorised; what duplicates and contamination compare.

And how much of a document repeats itself (after Rae et al. 2021, Gopher, appendix A.1.1, table A1). Shares are of words
where Gopher has characters: so a count alone bounds them, and one sort clears nearly every document. Of what stands
more than once the first occurrence is not counted, so that a text that stands twice has a share of one half.
Shapes: W words, G n-grams.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from tinydistil.base.splitmix import FIRST, STEP

Hashes = NDArray[np.uint64]

_SPACE, _DIGITS_AND_LETTERS = ord(" "), re.compile(rb"[0-9a-z_\x80-\xff]")
# ASCII that is neither letter nor digit separates words.
_ASCII_WORDS = bytes(byte if _DIGITS_AND_LETTERS.fullmatch(bytes([byte])) else _SPACE for byte in range(256))
# UTF-8 of U+00A0-U+00BF (« » º ª ...) but the letters ª º, and of U+2000-U+206F (quotes, dashes, bullets).
_OTHER_SEPARATORS = re.compile(rb"\xc2[\xa0-\xa9\xab-\xb9\xbb-\xbf]|\xe2[\x80\x81][\x80-\xbf]")

# But for these six, nine of ten Portuguese texts are Latin-1, a byte a letter, so that one table lower-cases and
# separates: half the time of doing so in UTF-8.
_COMMON_MARKS = "“”’–—…"
_LATIN_WORDS = "".join(map(chr, range(256))).lower().encode("latin-1").translate(_ASCII_WORDS)
_LATIN_WORDS = bytes(_SPACE if 0xA0 <= byte <= 0xBF and chr(byte) not in "ªº" else byte for byte in _LATIN_WORDS)

TOP_LENGTHS = (2, 3, 4)
REPEATED_LENGTHS = (5, 6, 7, 8, 9, 10)
# Litanies repeat a run a few times ("Partiram de ..., e acamparam-se em ...", Numbers 33).
CHANCE_COUNT = 5
MIN_WORDS = 50


# The cleaning rules, the exact key, the signature and the contamination of a document need the same words
# one after the other, so the last text's words and hashes are kept.
@lru_cache(maxsize=1)
def split_words(text: str) -> list[bytes]:
    """(W,) the words of `text` (letters and digits) as UTF-8 in lower case. Not to be written to.

    The text must be in NFC, as the cleaning rule "unicode" leaves it.
    """
    plain = text
    for mark in _COMMON_MARKS:
        if mark in plain:
            plain = plain.replace(mark, " ")
    try:
        return plain.encode("latin-1").translate(_LATIN_WORDS).decode("latin-1").encode().split()
    except UnicodeEncodeError:
        data = text.lower().encode("utf-8", errors="replace").translate(_ASCII_WORDS)
        return _OTHER_SEPARATORS.sub(b" ", data).split()


@lru_cache(maxsize=1)
def normalised_words(text: str) -> bytes:
    """The words of `text` with one space between them: all that counts of it here."""
    return b" ".join(split_words(text))


@lru_cache(maxsize=1)
def word_numbers(text: str) -> Hashes:
    """(W,) a number below 2^32 for each word of `text`; equal on every machine. Not to be written to."""
    # 32 bits separate a million words but for a hundred pairs; runs of words get all 64 bits.
    words = split_words(text)
    return np.fromiter(map(crc32, words), np.uint64, len(words))


@lru_cache(maxsize=1)
def word_hashes(text: str) -> Hashes:
    """(W,) the hash, of 64 bits, of each word of `text`. Not to be written to."""
    return mixed(word_numbers(text))


def word_runs(hashes: Hashes, lengths: Iterable[int]) -> Iterator[Hashes]:
    """(G,) for each of the ascending `lengths`: a number for each run of so many words, equal for equal runs.

    G = W - length + 1, or 0 where there are fewer words. `mixed`, they are hashes. Not to be written to.
    """
    combined, done = hashes, 1
    for length in lengths:
        for offset in range(done, min(length, len(hashes) + 1)):
            combined = combined[: len(hashes) - offset] * STEP
            combined += hashes[offset:]
        done = length
        yield combined


def mixed(values: Hashes) -> Hashes:
    """Spread every bit over the whole 64 (the first round of splitmix64), as sums and products do not."""
    values = (values ^ (values >> np.uint64(30))) * FIRST
    return values ^ (values >> np.uint64(31))


def repeated_line_shares(lines: Sequence[str]) -> tuple[float, float]:
    """The shares of lines, and of characters in lines, that have stood before in the document."""
    # Nearly every document leaves here.
    if len(set(lines)) == len(lines):
        return 0.0, 0.0
    seen: set[str] = set()
    repeated = [line for line in lines if line in seen or seen.add(line)]  # type: ignore[func-returns-value]
    return len(repeated) / len(lines), sum(map(len, repeated)) / max(1, sum(map(len, lines)))


def ngrams_repeat(hashes: Hashes, top_limits: Sequence[float], repeated_limits: Sequence[float]) -> bool:
    """Whether one run of 2, 3, 4 words, or all repeated runs of 5 to 10, fill more of the words than allowed.

    `hashes` are those of the (W,) words; the limits are shares of them, one for each length of run. All
    is decided on pairs of words where they allow it: no longer run is more frequent than the pairs in it,
    and a repeated run of five holds four repeated pairs.
    """
    count = len(hashes)
    # Only equality counts here, so the runs are not mixed.
    pairs = np.sort(next(word_runs(hashes, [2])))
    if top_limits and _has_count(pairs, max(CHANCE_COUNT, min(top_limits) * count / TOP_LENGTHS[-1])):
        for length, limit, runs in zip(TOP_LENGTHS, top_limits, word_runs(hashes, TOP_LENGTHS), strict=False):
            if _has_count(np.sort(runs), max(CHANCE_COUNT, limit * count / length)):
                return True
    if count < MIN_WORDS or not repeated_limits or _repeats(pairs) <= 0.8 * min(repeated_limits) * count:
        return False
    return any(
        _repeats(np.sort(runs)) * length > limit * count and repeated_share(runs, length) > limit
        for length, limit, runs in zip(
            REPEATED_LENGTHS, repeated_limits, word_runs(hashes, REPEATED_LENGTHS), strict=False
        )
    )


def _repeats(ordered: Hashes) -> int:
    return int(np.count_nonzero(ordered[1:] == ordered[:-1]))


def _has_count(ordered: Hashes, limit: float) -> bool:
    """Whether some value stands more than `limit` times among the `ordered`."""
    # Equal values are neighbours once sorted: more than `limit` of them reach over that distance.
    apart = int(limit)
    return apart < len(ordered) and bool((ordered[apart:] == ordered[: len(ordered) - apart]).any())


def repeated_share(runs: Hashes, length: int) -> float:
    """The share of a text's words that stand in one of its (G,) `runs` of `length` words which occurred before."""
    # Stable, so that of equal runs the first in the text comes first and is left out.
    order = np.argsort(runs, kind="stable")
    again = order[1:][runs[order[1:]] == runs[order[:-1]]]
    covered = np.zeros(len(runs) + length, np.int64)  # (W + 1,)
    # +1 where a run begins, -1 after its end; each start stands once in `again`, so plain indexing adds up.
    covered[again] += 1
    covered[again + length] -= 1
    return float((np.cumsum(covered[:-1]) > 0).mean())
