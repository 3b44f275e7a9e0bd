"""Cleaning: the rules in order; every document ends kept, or dropped by exactly one named rule.

Limits were tuned on the real documents of all kinds of this project's corpus, technical ones among them; the shares
beside them are of those. Shapes: W words.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from tinydistil.base.config import Checked, Count, NonNegative, Share, nearest
from tinydistil.base.errors import InputError
from tinydistil.corpus.document import Document
from tinydistil.corpus.language import Verdict, judge
from tinydistil.corpus.ngrams import ngrams_repeat, normalised_words, repeated_line_shares, split_words, word_numbers
from tinydistil.corpus.rules_lines import drop_boilerplate, drop_menus, drop_stutter
from tinydistil.corpus.rules_text import normalise_unicode, remove_addresses, repair_mojibake, strip_html
from tinydistil.corpus.sentences import split_sentences

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


@dataclass(frozen=True)
class Measured:
    """A cleaned text and what the rules look at, each measured once and only when needed."""

    text: str
    lines: Sequence[str] = field(repr=False)

    @cached_property
    def data(self) -> bytes:
        """The text in UTF-8."""
        return self.text.encode("utf-8", errors="replace")

    @cached_property
    def words(self) -> list[bytes]:
        """(W,) the normalised words."""
        return split_words(self.text)

    @cached_property
    def verdict(self) -> Verdict:
        """Which language the words speak for."""
        return judge(self.words)

    def has_share(self, characters: bytes, limit: float) -> bool:
        """Whether more than `limit` of the text's bytes are one of the ASCII `characters`."""
        rest = len(self.data.translate(None, characters)) / max(1, len(self.data))
        return len(self.words) >= _MIN_SHARE_WORDS and 1.0 - rest > limit


def word_length(text: Measured) -> bool:
    """The mean length of words (bytes) is that of no language: spaced letters, base64, words run together."""
    count = len(text.words)
    # The words stand with one space between them.
    mean = (len(normalised_words(text.text)) + 1) / max(1, count) - 1
    return count > 0 and not _WORD_LENGTHS[0] <= mean <= _WORD_LENGTHS[1]


def repeated_lines(text: Measured) -> bool:
    """The shares of repeated lines, or of characters in them, are above the limits."""
    line_share, character_share = repeated_line_shares(text.lines)
    return line_share > _MAX_REPEATED_LINES or character_share > _MAX_REPEATED_CHARACTERS


def repeated_ngrams(text: Measured) -> bool:
    """One run of 2, 3, 4 words, or all repeated runs of 5 to 10 words, cover more than their limits."""
    return len(text.words) > 1 and ngrams_repeat(word_numbers(text.text), _MAX_TOP_NGRAMS, _MAX_REPEATED_NGRAMS)


def language(text: Measured, margin: float) -> bool:
    """Another language explains the words better than Portuguese, by more than both margins (nats).

    The margin per word spares Portuguese that quotes: lessons of English, articles full of foreign names.
    """
    advantage = text.verdict.advantage
    return advantage > margin and advantage > _MARGIN_PER_WORD * text.verdict.words


def no_prose(text: Measured, min_share: float) -> bool:
    """Too few of the words that hold Portuguese sentences together: keyword lists, code, other languages."""
    return len(text.words) >= _MIN_SHARE_WORDS and text.verdict.portuguese_share < min_share


TEXT_RULES: dict[str, Callable[[str], str]] = {
    "mojibake": repair_mojibake,
    "html": strip_html,
    "unicode": normalise_unicode,
    "addresses": remove_addresses,
}
LINE_RULES: dict[str, Callable[[Sequence[str]], list[str]]] = {
    # Menus first: their items are often furniture too ("Contato"), and without these a run would look short.
    "menus": drop_menus,
    "boilerplate": drop_boilerplate,
    # Only where a document repeats itself: it is judged again without these lines.
    "stutter": drop_stutter,
}
# The cheapest first; true means drop.
DOCUMENT_RULES: dict[str, Callable[[Measured, CleanConfig], bool]] = {
    # A document without words can never be kept, so this one cannot be left out.
    "empty": lambda text, config: not text.words,
    "too_long": lambda text, config: len(text.text) > config.max_characters,
    "too_short": lambda text, config: len(text.words) < config.min_words,
    "undecodable": lambda text, config: text.text.count("\ufffd") > _MAX_UNDECODABLE * len(text.words),
    "symbols": lambda text, config: text.has_share(_SYMBOLS, config.max_symbols),
    "digits": lambda text, config: text.has_share(_DIGITS, config.max_digits),
    "word_length": lambda text, config: word_length(text),
    "repeated_lines": lambda text, config: repeated_lines(text),
    "repeated_ngrams": lambda text, config: repeated_ngrams(text),
    "language": lambda text, config: language(text, config.language_margin),
    "no_prose": lambda text, config: no_prose(text, config.min_prose),
}
RULES = (*TEXT_RULES, *LINE_RULES, *DOCUMENT_RULES)


@dataclass(frozen=True, slots=True)
class Cleaned:
    """`document` as cleaned; `dropped_by` names the one rule that drops it, None if it is kept.

    `removed` pairs each text and line rule that changed the text with the characters it took away.
    """

    document: Document
    dropped_by: str | None
    removed: tuple[tuple[str, int], ...]


def clean_document(document: Document, config: CleanConfig) -> Cleaned:
    """Mend `document`, take out lines that are no text, and judge what is left. Pure.

    Raises InputError if a package that a rule needs for this document is missing.
    """
    removed: list[tuple[str, int]] = []
    text = document.text
    for name, rule in TEXT_RULES.items():
        if name not in config.skip:
            # A rule with nothing to do gives the same object back, so this comparison is free.
            changed = rule(text)
            if changed != text:
                removed.append((name, max(0, len(text) - len(changed))))
            text = changed
    left = Measured(text, text.split("\n"))
    left = _without(_without(left, "menus", config, removed), "boilerplate", config, removed)
    dropped_by = dropping_rule(left, config)
    if dropped_by == "repeated_ngrams":
        left = _without(left, "stutter", config, removed)
        dropped_by = dropping_rule(left, config)
    if left.text != document.text:
        document = replace(document, text=left.text, sentences=_sentences(document, left.lines))
    return Cleaned(document, dropped_by, tuple(removed))


def _without(text: Measured, name: str, config: CleanConfig, removed: list[tuple[str, int]]) -> Measured:
    """`text` without the lines that line rule `name` takes away, which are counted in `removed`."""
    lines = text.lines if name in config.skip else LINE_RULES[name](text.lines)
    if len(lines) == len(text.lines):
        return text
    shorter = Measured("\n".join(lines), lines)
    removed.append((name, len(text.text) - len(shorter.text)))
    return shorter


def _sentences(document: Document, lines: Sequence[str]) -> tuple[tuple[str, ...], ...] | None:
    """The format's own sentences where a paragraph is unchanged, else those of its cleaned text."""
    if document.sentences is None:
        return None
    original = {" ".join(sentences): sentences for sentences in document.sentences}
    return tuple(original.get(line) or tuple(split_sentences(line)) for line in lines if line)


def dropping_rule(text: Measured, config: CleanConfig) -> str | None:
    """The name of the first document rule that drops `text`, None if all let it pass."""
    return next((name for name, test in DOCUMENT_RULES.items() if name not in config.skip and test(text, config)), None)
