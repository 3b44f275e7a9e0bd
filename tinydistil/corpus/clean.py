"""Cleaning: the rules in order; every document ends kept, or dropped by exactly one named rule.

Limits were tuned on real documents of all kinds, technical ones among them; the shares beside them are of those. What
repeats itself is judged after Rae et al. 2021 (Gopher, appendix A.1.1, table A1), but by shares of words where Gopher
has characters: so a count alone bounds them, and one sort clears nearly every document. The first occurrence of what
stands more than once is not counted. Shapes: W words, G runs of words.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np

from tinydistil.base.config import Checked, Count, NonNegative, Share, nearest
from tinydistil.base.errors import InputError
from tinydistil.corpus.language import (
    Hashes,
    judge,
    normalised_words,
    split_sentences,
    split_words,
    word_numbers,
    word_runs,
)
from tinydistil.corpus.records import Document
from tinydistil.corpus.rules_lines import drop_boilerplate, drop_menus, drop_stutter
from tinydistil.corpus.rules_text import normalise_unicode, remove_addresses, repair_mojibake, strip_html

# ASCII only: bytes.translate counts them at a gigabyte per second. Symbols are what code, tables and broken extraction
# are full of, without sentence marks, brackets, quotes and %.
_DIGITS, _SYMBOLS = b"0123456789", b"#$&*+/<=>@[\\]^_`{|}~"
# In shorter texts shares mean little: "Couvert: R$ 20", "em 2012, 2013 e 2014", a handful of names.
_MIN_SHARE_WORDS = 20
# One word in seven has an accent in Portuguese: a wrong encoding shows at seven times this share.
_MAX_UNDECODABLE = 0.02
# The mean length in bytes; 99.8 % lie between 3.5 and 7.4.
_WORD_LENGTHS = (2.5, 10.0)
# Shares of repeated lines, and of characters in them, as in Gopher: many short ones or a few long ones.
_MAX_REPEATED_LINES, _MAX_REPEATED_CHARACTERS = 0.30, 0.20
# Of the words, by one run of so many words, and by all repeated runs of so many. Gopher's 0.20 to 0.16 and 0.15 to
# 0.10 dropped a tenth: reports that quote, tutorials, court rulings. At these all that was dropped are templates.
_MAX_TOP_NGRAM = {2: 0.30, 3: 0.30, 4: 0.30}
_MAX_REPEATED_NGRAMS = {5: 0.50, 6: 0.48, 7: 0.46, 8: 0.44, 9: 0.42, 10: 0.40}
# Litanies repeat a run a few times ("Partiram de ..., e acamparam-se em ...", Numbers 33).
_CHANCE_COUNT, _MIN_REPEATED_WORDS = 5, 50
# Nats per word. Five foreign sentences have 0.8 (Galician) to 3.7 (English); Portuguese about English mostly less.
_MARGIN_PER_WORD = 0.3


@dataclass(frozen=True)
class CleanConfig(Checked, table="clean"):
    """The rules to leave out (`skip`, names of RULES), and the limits that a corpus may want otherwise."""

    skip: tuple[str, ...] = ()
    min_words: Count = 10  # a tenth of a sequence of 128 tokens; corpora of one sentence per line want 3 or so
    max_characters: Count = 1_000_000  # longer than a long novel: a dump, whose beginning is no better than its end
    max_symbols: Share = 0.08  # one document in a thousand has over 0.06
    max_digits: Share = 0.20  # one in a thousand has over 0.075
    min_prose: Share = 0.12  # of words that hold Portuguese sentences together: 99 % have over 0.32, keyword lists 0
    language_margin: NonNegative = 7.0  # nats: e^7 is odds of a thousand to one

    def __post_init__(self) -> None:
        super().__post_init__()
        known = [name for name in RULES if name != "empty"]
        for name in self.skip:
            if name not in known:
                raise InputError(f"clean.skip: no rule {name!r}{nearest(name, known)}; rules: {', '.join(known)}")


def _has_share(text: str, characters: bytes, limit: float) -> bool:
    """Whether more than `limit` of the text's bytes are one of the ASCII `characters`."""
    data = text.encode("utf-8", errors="replace")
    rest = len(data.translate(None, characters)) / max(1, len(data))
    return len(split_words(text)) >= _MIN_SHARE_WORDS and 1.0 - rest > limit


def word_length(text: str, _: CleanConfig) -> bool:
    """The mean length of words (bytes) is that of no language: spaced letters, base64, words run together."""
    mean = (len(normalised_words(text)) + 1) / len(split_words(text)) - 1  # one space stands between words
    return not _WORD_LENGTHS[0] <= mean <= _WORD_LENGTHS[1]


def repeated_lines(text: str, _: CleanConfig) -> bool:
    """The shares of lines, or of characters in lines, that have stood before are above the limits."""
    lines = text.split("\n")
    # Nearly every document leaves here.
    if len(set(lines)) == len(lines):
        return False
    seen: set[str] = set()
    repeated = [line for line in lines if line in seen or seen.add(line)]  # type: ignore[func-returns-value]
    share = sum(map(len, repeated)) / max(1, sum(map(len, lines)))
    return len(repeated) / len(lines) > _MAX_REPEATED_LINES or share > _MAX_REPEATED_CHARACTERS


def ngrams_repeat(numbers: Hashes) -> bool:
    """Whether one run of 2, 3, 4 words, or all repeated runs of 5 to 10, fill more of the (W,) words than allowed.

    All is decided on pairs of words where they allow it: no longer run is more frequent than the pairs in it, and a
    repeated run of five holds four repeated pairs.
    """
    count = len(numbers)

    def frequent(ordered: Hashes, limit: float) -> bool:
        """Whether some value stands more than `limit` times: once sorted, equal values reach over that distance."""
        apart = int(limit)
        return apart < len(ordered) and bool((ordered[apart:] == ordered[: len(ordered) - apart]).any())

    def repeats(ordered: Hashes) -> int:
        return int(np.count_nonzero(ordered[1:] == ordered[:-1]))

    pairs = np.sort(next(word_runs(numbers, [2])))  # only equality counts here, so runs are not mixed
    if frequent(pairs, max(_CHANCE_COUNT, min(_MAX_TOP_NGRAM.values()) * count / max(_MAX_TOP_NGRAM))):
        for (length, limit), runs in zip(_MAX_TOP_NGRAM.items(), word_runs(numbers, _MAX_TOP_NGRAM), strict=True):
            if frequent(np.sort(runs), max(_CHANCE_COUNT, limit * count / length)):
                return True
    if count < _MIN_REPEATED_WORDS or repeats(pairs) <= 0.8 * min(_MAX_REPEATED_NGRAMS.values()) * count:
        return False
    limits = zip(_MAX_REPEATED_NGRAMS.items(), word_runs(numbers, _MAX_REPEATED_NGRAMS), strict=True)
    return any(
        repeats(np.sort(runs)) * length > limit * count and repeated_share(runs, length) > limit
        for (length, limit), runs in limits
    )


def repeated_share(runs: Hashes, length: int) -> float:
    """The share of a text's words that stand in one of its (G,) `runs` of `length` words which occurred before."""
    # Stable, so that of equal runs the first in the text comes first and is left out.
    order = np.argsort(runs, kind="stable")
    again = order[1:][runs[order[1:]] == runs[order[:-1]]]
    covered = np.zeros(len(runs) + length, np.int64)  # (W + 1,)
    covered[again] += 1  # each start stands once in `again`, so plain indexing adds up
    covered[again + length] -= 1
    return float((np.cumsum(covered[:-1]) > 0).mean())


def language(text: str, config: CleanConfig) -> bool:
    """Another language explains the words better than Portuguese, by more than both margins (nats).

    The margin per word spares Portuguese that quotes: lessons of English, articles full of foreign names.
    """
    verdict = judge(text)
    return verdict.advantage > config.language_margin and verdict.advantage > _MARGIN_PER_WORD * verdict.words


def no_prose(text: str, config: CleanConfig) -> bool:
    """Too few of the words that hold Portuguese sentences together: keyword lists, code, other languages."""
    return len(split_words(text)) >= _MIN_SHARE_WORDS and judge(text).portuguese_share < config.min_prose


def _by_lines(rule: Callable[[Sequence[str]], list[str]], text: str) -> str:
    lines = text.split("\n")
    kept = rule(lines)
    return text if len(kept) == len(lines) else "\n".join(kept)


MENDING_RULES: dict[str, Callable[[str], str]] = {
    "mojibake": repair_mojibake,
    "html": strip_html,
    "unicode": normalise_unicode,
    "addresses": remove_addresses,
    # Menus first: their items are often furniture too ("Contato"), and without these a run would look short.
    "menus": partial(_by_lines, drop_menus),
    "boilerplate": partial(_by_lines, drop_boilerplate),
}
# Only where a document repeats itself by n-grams: it is judged again after this one.
LAST_RESORT: dict[str, Callable[[str], str]] = {"stutter": partial(_by_lines, drop_stutter)}
# The cheapest first; true means drop. All look at the last text's words, which `language` keeps.
DOCUMENT_RULES: dict[str, Callable[[str, CleanConfig], bool]] = {
    # A document without words can never be kept, so this one cannot be left out.
    "empty": lambda text, config: not split_words(text),
    "too_long": lambda text, config: len(text) > config.max_characters,
    "too_short": lambda text, config: len(split_words(text)) < config.min_words,
    "undecodable": lambda text, config: text.count("\ufffd") > _MAX_UNDECODABLE * len(split_words(text)),
    "symbols": lambda text, config: _has_share(text, _SYMBOLS, config.max_symbols),
    "digits": lambda text, config: _has_share(text, _DIGITS, config.max_digits),
    "word_length": word_length,
    "repeated_lines": repeated_lines,
    "repeated_ngrams": lambda text, config: len(split_words(text)) > 1 and ngrams_repeat(word_numbers(text)),
    "language": language,
    "no_prose": no_prose,
}
RULES = (*MENDING_RULES, *LAST_RESORT, *DOCUMENT_RULES)


class Cleaned(NamedTuple):
    """`document` as cleaned; `dropped_by` names the one rule that drops it, None if it is kept.

    `removed` pairs each mending rule that changed the text with the characters it took away.
    """

    document: Document
    dropped_by: str | None
    removed: tuple[tuple[str, int], ...]


def clean_document(document: Document, config: CleanConfig) -> Cleaned:
    """Mend `document`, take out lines that are no text, and judge what is left. Pure.

    Raises InputError if a package that a rule needs for this document is missing.
    """
    removed: list[tuple[str, int]] = []

    def mended(text: str, rules: Mapping[str, Callable[[str], str]]) -> str:
        for name, rule in rules.items():
            # A rule with nothing to do gives the same object back, so this comparison is free.
            if name not in config.skip and (changed := rule(text)) != text:
                removed.append((name, max(0, len(text) - len(changed))))
                text = changed
        return text

    def dropping(text: str) -> str | None:
        return next((name for name, drops in judging.items() if drops(text, config)), None)

    judging = {name: rule for name, rule in DOCUMENT_RULES.items() if name not in config.skip}
    text = mended(document.text, MENDING_RULES)
    dropped_by = dropping(text)
    if dropped_by == "repeated_ngrams" and (shorter := mended(text, LAST_RESORT)) != text:
        text, dropped_by = shorter, dropping(shorter)
    if text == document.text:
        return Cleaned(document, dropped_by, tuple(removed))
    sentences = None
    if document.sentences is not None:
        # The format's own sentences where a paragraph is unchanged, else those of its cleaned text.
        own = {" ".join(sentences): sentences for sentences in document.sentences}
        sentences = tuple(own.get(line) or tuple(split_sentences(line)) for line in text.split("\n") if line)
    return Cleaned(replace(document, text=text, sentences=sentences), dropped_by, tuple(removed))
