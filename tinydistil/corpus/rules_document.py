"""Floor 1: cleaning rules that keep or drop a whole document. Each is a pure test; true means drop.

Legend: W words.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from tinydistil.corpus.language import Verdict, judge
from tinydistil.corpus.ngrams import normalised_words, split_words, word_numbers
from tinydistil.corpus.repetition import ngrams_repeat, repeated_line_shares

_DIGITS = b"0123456789"
# ASCII only: bytes.translate counts them at a gigabyte a second.
# What code, tables and broken extraction are full of; sentence marks, brackets, quotes and % are not here.
_SYMBOLS = b"#$&*+/<=>@[\\]^_`{|}~"
# In shorter texts shares say little: "Couvert: R$ 20", "em 2012, 2013 e 2014", a handful of names.
MIN_SHARE_WORDS = 20


@dataclass(frozen=True)
class Measured:
    """A cleaned text and what the rules ask about it, each measured once and only when asked for."""

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

    def share_of(self, characters: bytes) -> float:
        """The share of the text's bytes that are one of the ASCII `characters`."""
        return 1.0 - len(self.data.translate(None, characters)) / max(1, len(self.data))


def too_short(text: Measured, *, min_words: int) -> bool:
    """Fewer than `min_words` words are left."""
    return len(text.words) < min_words


def too_long(text: Measured, *, max_characters: int) -> bool:
    """More than `max_characters`: on the web a log or a dump, whose beginning is no better than its end."""
    return len(text.text) > max_characters


def undecodable(text: Measured, *, max_share: float) -> bool:
    """More than `max_share` of the words hold a U+FFFD, the sign of a wrong or lost encoding."""
    count = text.text.count("\ufffd")
    return count > max_share * len(text.words)


def symbols(text: Measured, *, max_share: float) -> bool:
    """Code, tables, ornaments: the share of ASCII symbols is above `max_share`."""
    return len(text.words) >= MIN_SHARE_WORDS and text.share_of(_SYMBOLS) > max_share


def digits(text: Measured, *, max_share: float) -> bool:
    """Price lists, results, phone books: the share of digits is above `max_share`."""
    return len(text.words) >= MIN_SHARE_WORDS and text.share_of(_DIGITS) > max_share


def word_length(text: Measured, *, shortest: float, longest: float) -> bool:
    """The mean length of words (bytes) is that of no language: spaced letters, base64, words run together."""
    count = len(text.words)
    # The words stand with one space between them.
    return count > 0 and not shortest <= (len(normalised_words(text.text)) + 1) / count - 1 <= longest


def repeated_lines(text: Measured, *, max_lines: float, max_characters: float) -> bool:
    """The shares of repeated lines, or of characters in them, are above the limits."""
    line_share, character_share = repeated_line_shares(text.lines)
    # Many short ones (share of lines) or a few long ones (share of characters).
    return line_share > max_lines or character_share > max_characters


def repeated_ngrams(text: Measured, *, top_shares: Sequence[float], repeated_shares: Sequence[float]) -> bool:
    """One run of 2, 3, 4 words, or all repeated runs of 5 to 10 words, cover more than their limits."""
    return len(text.words) > 1 and ngrams_repeat(word_numbers(text.text), top_shares, repeated_shares)


def language(text: Measured, *, margin: float, margin_per_word: float) -> bool:
    """Another language explains the words better than Portuguese, by more than both margins (nats).

    The margin per word spares Portuguese that quotes: lessons of English, articles full of foreign names.
    """
    advantage = text.verdict.advantage
    return advantage > margin and advantage > margin_per_word * text.verdict.words


def no_prose(text: Measured, *, min_share: float) -> bool:
    """Too few of the words that hold Portuguese sentences together: keyword lists, code, other languages."""
    return len(text.words) >= MIN_SHARE_WORDS and text.verdict.portuguese_share < min_share
