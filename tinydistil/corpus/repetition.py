"""Floor 1: how much of a document repeats itself (after Rae et al. 2021, Gopher, appendix A.1.1, table A1).

Shares are of words where Gopher has characters: so a count alone bounds them, and one sort clears nearly
every document. Of what stands more than once the first occurrence is not counted, so that a text said twice
has a share of one half. Legend: W words.
"""

from collections.abc import Sequence

import numpy as np

from tinydistil.corpus.ngrams import STEP, Hashes

TOP_LENGTHS = (2, 3, 4)
REPEATED_LENGTHS = (5, 6, 7, 8, 9, 10)
# Litanies repeat a run a few times ("Partiram de ..., e acamparam-se em ...", Numbers 33).
CHANCE_COUNT = 5
MIN_WORDS = 50


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
    pairs = np.sort(_runs(hashes, 2))
    if top_limits and _has_count(pairs, max(CHANCE_COUNT, min(top_limits) * count / TOP_LENGTHS[-1])):
        for length, limit in zip(TOP_LENGTHS, top_limits, strict=False):
            if _has_count(np.sort(_runs(hashes, length)), max(CHANCE_COUNT, limit * count / length)):
                return True
    if count < MIN_WORDS or not repeated_limits or _repeats(pairs) <= 0.8 * min(repeated_limits) * count:
        return False
    return any(
        _repeats(np.sort(_runs(hashes, length))) * length > limit * count and repeated_share(hashes, length) > limit
        for length, limit in zip(REPEATED_LENGTHS, repeated_limits, strict=False)
    )


def _runs(hashes: Hashes, length: int) -> Hashes:
    # Only equality counts here, so the mixing of ngram_hashes would be wasted.
    combined = hashes
    for offset in range(1, length):
        combined = combined[:-1] * STEP + hashes[offset:]
    return combined


def _repeats(ordered: Hashes) -> int:
    return int(np.count_nonzero(ordered[1:] == ordered[:-1]))


def _has_count(ordered: Hashes, limit: float) -> bool:
    """Whether some value stands more than `limit` times among the `ordered`."""
    # Equal values are neighbours once sorted: more than `limit` of them reach over that distance.
    apart = int(limit)
    return apart < len(ordered) and bool((ordered[apart:] == ordered[: len(ordered) - apart]).any())


def repeated_share(hashes: Hashes, length: int) -> float:
    """The share of the (W,) words that stand in a run of `length` words which occurred before."""
    runs = _runs(hashes, length)
    # Stable, so that of equal runs the first in the text comes first and is left out.
    order = np.argsort(runs, kind="stable")
    again = order[1:][runs[order[1:]] == runs[order[:-1]]]
    covered = np.zeros(len(hashes) + 1, np.int64)
    # +1 where a run begins, -1 after its end; each start stands once in `again`, so plain indexing adds up.
    covered[again] += 1
    covered[again + length] -= 1
    return float((np.cumsum(covered[:-1]) > 0).mean())
