"""Cleaning: the rules in order; every document ends kept, or dropped by exactly one named rule.

Limits were tuned on the real documents of all kinds of this project's corpus, technical ones among them; the shares
beside them are of those.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from tinydistil.base.config import Checked, Count, NonNegative, Share, nearest
from tinydistil.base.errors import InputError
from tinydistil.corpus.document import Document
from tinydistil.corpus.language import judge_text, split_sentences
from tinydistil.corpus.ngrams import ngrams_repeat, normalised_words, repeated_line_shares, split_words, word_numbers
from tinydistil.corpus.rules_lines import drop_boilerplate, drop_menus, drop_stutter
from tinydistil.corpus.rules_text import normalise_unicode, remove_addresses, repair_mojibake, strip_html

_DIGITS = b"0123456789"
# ASCII only: bytes.translate counts them at a gigabyte per second.
# What code, tables and broken extraction are full of; sentence marks, brackets, quotes and % are not here.
_SYMBOLS = b"#$&*+/<=>@[\\]^_`{|}~"
# In shorter texts shares mean little: "Couvert: R$ 20", "em 2012, 2013 e 2014", a handful of names.
_MIN_SHARE_WORDS = 20
# One word in seven has an accent in Portuguese: a wrong encoding shows at seven times this share.
_MAX_UNDECODABLE = 0.02
# The mean length in bytes; 99.8 % lie between 3.5 and 7.4.
_WORD_LENGTHS = (2.5, 10.0)
# Shares of repeated lines, and of characters in them, as in Gopher: many short ones or a few long ones.
_MAX_REPEATED_LINES, _MAX_REPEATED_CHARACTERS = 0.30, 0.20
# Of the words, by one run of 2, 3, 4 words, and by all repeated runs of 5 to 10. Gopher's 0.20 to 0.16 and 0.15 to
# 0.10 dropped a tenth: reports that quote, tutorials, court rulings. At these all that was dropped are templates.
_MAX_TOP_NGRAMS = (0.30, 0.30, 0.30)
_MAX_REPEATED_NGRAMS = (0.50, 0.48, 0.46, 0.44, 0.42, 0.40)
# Nats per word. Five foreign sentences have 0.8 (Galician) to 3.7 (English); Portuguese about English mostly less.
_MARGIN_PER_WORD = 0.3


@dataclass(frozen=True)
class CleanConfig(Checked, table="clean"):
    """The rules to leave out (`skip`, names of RULES), and the limits that a corpus may want otherwise."""

    skip: tuple[str, ...] = ()
    # Ten words fill a tenth of a sequence of 128 tokens. Corpora of one sentence per line want 3 or so.
    min_words: Count = 10
    # Longer than a long novel; on the web such a text is a dump, and its beginning is no better than its end.
    max_characters: Count = 1_000_000
    # One document in a thousand has over 0.06.
    max_symbols: Share = 0.08
    # One in a thousand has over 0.075.
    max_digits: Share = 0.20
    # Of the words that hold Portuguese sentences together. 99 % have over 0.32, one in a thousand under 0.15; lists of
    # keywords have 0.
    min_prose: Share = 0.12
    # Nats: e^7 is odds of a thousand to one.
    language_margin: NonNegative = 7.0

    def __post_init__(self) -> None:
        super().__post_init__()
        known = [name for name in RULES if name != "empty"]
        for name in self.skip:
            if name not in known:
                raise InputError(f"clean.skip: no rule {name!r}{nearest(name, known)}; rules: {', '.join(known)}")


def word_length(text: str, _: CleanConfig) -> bool:
    """The mean length of words (bytes) is that of no language: spaced letters, base64, words run together."""
    count = len(split_words(text))
    # The words stand with one space between them.
    mean = (len(normalised_words(text)) + 1) / max(1, count) - 1
    return count > 0 and not _WORD_LENGTHS[0] <= mean <= _WORD_LENGTHS[1]


def repeated_lines(text: str, _: CleanConfig) -> bool:
    """The shares of repeated lines, or of characters in them, are above the limits."""
    line_share, character_share = repeated_line_shares(text.split("\n"))
    return line_share > _MAX_REPEATED_LINES or character_share > _MAX_REPEATED_CHARACTERS


def repeated_ngrams(text: str, _: CleanConfig) -> bool:
    """One run of 2, 3, 4 words, or all repeated runs of 5 to 10 words, cover more than their limits."""
    return len(split_words(text)) > 1 and ngrams_repeat(word_numbers(text), _MAX_TOP_NGRAMS, _MAX_REPEATED_NGRAMS)


def language(text: str, config: CleanConfig) -> bool:
    """Another language explains the words better than Portuguese, by more than both margins (nats).

    The margin per word spares Portuguese that quotes: lessons of English, articles full of foreign names.
    """
    verdict = judge_text(text)
    return verdict.advantage > config.language_margin and verdict.advantage > _MARGIN_PER_WORD * verdict.words


def no_prose(text: str, config: CleanConfig) -> bool:
    """Too few of the words that hold Portuguese sentences together: keyword lists, code, other languages."""
    return len(split_words(text)) >= _MIN_SHARE_WORDS and judge_text(text).portuguese_share < config.min_prose


def _has_share(text: str, characters: bytes, limit: float) -> bool:
    """Whether more than `limit` of the text's bytes are one of the ASCII `characters`."""
    data = text.encode("utf-8", errors="replace")
    rest = len(data.translate(None, characters)) / max(1, len(data))
    return len(split_words(text)) >= _MIN_SHARE_WORDS and 1.0 - rest > limit


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
# The cheapest first; true means drop. All look at the last text's words, which `ngrams` keeps.
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
    "repeated_ngrams": repeated_ngrams,
    "language": language,
    "no_prose": no_prose,
}
RULES = (*MENDING_RULES, *LAST_RESORT, *DOCUMENT_RULES)


@dataclass(frozen=True, slots=True)
class Cleaned:
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

    text = mended(document.text, MENDING_RULES)
    dropped_by = dropping_rule(text, config)
    if dropped_by == "repeated_ngrams" and (shorter := mended(text, LAST_RESORT)) != text:
        text, dropped_by = shorter, dropping_rule(shorter, config)
    if text != document.text:
        document = replace(document, text=text, sentences=_sentences(document, text))
    return Cleaned(document, dropped_by, tuple(removed))


def _sentences(document: Document, text: str) -> tuple[tuple[str, ...], ...] | None:
    """The format's own sentences where a paragraph is unchanged, else those of its cleaned text."""
    if document.sentences is None:
        return None
    original = {" ".join(sentences): sentences for sentences in document.sentences}
    return tuple(original.get(line) or tuple(split_sentences(line)) for line in text.split("\n") if line)


def dropping_rule(text: str, config: CleanConfig) -> str | None:
    """The name of the first document rule that drops `text`, None if all let it pass."""
    return next(
        (name for name, drops in DOCUMENT_RULES.items() if name not in config.skip and drops(text, config)), None
    )
