"""Answers to questions against those that people gave: exact match and word F1 (Rajpurkar et al. 2016, 6.1).

Before comparing, answers are lower-cased, without punctuation and without articles, here the Portuguese ones.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

_ARTICLES = frozenset("o a os as um uma uns umas".split())
_SPACE = re.compile(r"\s+")


def normalise(answer: str) -> str:
    """Composed (NFC) lower case, no punctuation (Unicode's, so « and “ too), no articles, single spaces."""
    composed = unicodedata.normalize("NFC", answer.lower())
    kept = "".join(c for c in composed if not unicodedata.category(c).startswith("P"))
    return " ".join(word for word in _SPACE.split(kept.strip()) if word not in _ARTICLES)


def exact_match(answer: str, accepted: Sequence[str]) -> float:
    """1.0 where `answer` equals one of the accepted answers after normalising, else 0.0."""
    return float(any(normalise(answer) == normalise(other) for other in accepted))


def word_f1(answer: str, accepted: Sequence[str]) -> float:
    """The best F1 of words shared with an accepted answer; two answers without a word agree (1.0)."""
    return max((_f1(normalise(answer).split(), normalise(other).split()) for other in accepted), default=0.0)


def _f1(first: list[str], second: list[str]) -> float:
    if not first or not second:
        return float(first == second)
    shared = sum((Counter(first) & Counter(second)).values())
    return 2 * shared / (len(first) + len(second))
