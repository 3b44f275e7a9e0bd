"""Floor 1: how much of a document repeats itself (Rae et al. 2021, Gopher, appendix A.1.1, table A1).

Shares are of the characters of words, counted without spaces and punctuation. Of what stands more than once
the first occurrence is not counted, so that a text said twice has a share of one half. Legend: W words.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tinydistil.text.ngrams import Hashes, ngram_hashes


def repeated_line_shares(lines: Sequence[str]) -> tuple[float, float]:
    """The shares of lines, and of characters in lines, that have stood before in the document."""
    if len(set(lines)) == len(lines):
        return 0.0, 0.0
    seen: set[str] = set()
    repeated = [line for line in lines if line in seen or seen.add(line)]  # type: ignore[func-returns-value]
    return len(repeated) / len(lines), sum(map(len, repeated)) / max(1, sum(map(len, lines)))


def top_ngram_share(hashes: Hashes, lengths: NDArray[np.int64], words: int, min_count: int) -> float:
    """The share of characters in the most frequent run of `words` words; 0 if seen under `min_count` times.

    `hashes` and `lengths` (characters) are (W,), one for each word.
    """
    ngrams = ngram_hashes(hashes, words)
    ordered = np.sort(ngrams)
    # The longest stretch of equal neighbours: most texts have none worth counting.
    if len(ordered) < min_count or not (ordered[min_count - 1:] == ordered[:len(ordered) - min_count + 1]).any():
        return 0.0
    values, counts = np.unique(ordered, return_counts=True)
    most = int(counts.argmax())
    first = int((ngrams == values[most]).argmax())
    return float(counts[most] * lengths[first:first + words].sum() / lengths.sum())


def repeated_ngram_share(hashes: Hashes, lengths: NDArray[np.int64], words: int) -> float:
    """The share of characters that stand in a run of `words` words which occurred before."""
    ngrams = ngram_hashes(hashes, words)
    order = np.argsort(ngrams, kind="stable")
    again = order[1:][ngrams[order[1:]] == ngrams[order[:-1]]]
    if not len(again):
        return 0.0
    covered = np.zeros(len(hashes) + 1, np.int64)
    # +1 where a run begins, -1 after its end; again holds each start once, so plain indexing adds up.
    covered[again] += 1
    covered[again + words] -= 1
    return float(lengths[np.cumsum(covered[:-1]) > 0].sum() / lengths.sum())
