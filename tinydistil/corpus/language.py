"""What a text is made of: its sentences, its words with their hashes, and the language that they speak for.

Is it Portuguese? Naive Bayes over frequent words and telling spellings (languages.toml). Each word of a language's
list, and each spelling, adds the logarithm of its rate there. So a score is the log-likelihood (nats) of what was
recognised, and a document is foreign if another language explains that better than Portuguese, by the margins in clean.
Shapes: W words, G runs of words, L languages.
"""

import re
import tomllib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from math import log
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from tinydistil.batches.sampling import FIRST, STEP

Hashes = NDArray[np.uint64]

# Before a name or a number these never end a sentence.
_NAME_ABBREVIATIONS = """
    sr sra srs sras srta dr dra drs dras prof profa profª d dom exmo exma ilmo ilma rev revmo pe st sto sta eng engª arq
    adv des min gen cel cap ten sgt maj alm brig gov pres dep sen s.a v.exa v.sa v.ex v.s exa exas exª mr mrs ms jr av
"""
_BEFORE_NAMES = frozenset(_NAME_ABBREVIATIONS.split())
_NUMBER_ABBREVIATIONS = """
    art arts nº no n num p pp pág págs pag fl fls cap caps inc par parág vol vols t ed séc av r tel fone
    km cf fig figs tab tabs al v vs aprox ca cód proc rel dec reg sec seç ap apto
"""
_BEFORE_NUMBERS = frozenset(_NUMBER_ABBREVIATIONS.split())
# Letters of a word that is no abbreviation before names, unless it is one of the few that have as many.
_PLAIN_LETTERS = 4
_LONG_ABBREVIATIONS = [each.rpartition(".")[2] for each in _BEFORE_NAMES if len(each) >= _PLAIN_LETTERS]
_NO_ABBREVIATION = "".join(rf"(?<!\b{each}. )" for each in sorted(_LONG_ABBREVIATIONS))
# Ends that need no closer look: a mark between a word that is no abbreviation and a capital. The space comes first, as
# the search for one character is what the engine does fastest.
_PLAIN_END = re.compile(rf" (?<=[.!?…] )(?<=[^\W\d_]{{{_PLAIN_LETTERS}}}. )(?=[A-ZÀ-ÖØ-Þ])(?i:{_NO_ABBREVIATION})")
# Marks, what closes with them, white space. Tried only where a run of marks begins, so that a line of 100,000 dots is
# looked at once; the look back stands behind the first mark, or it would be tried at every character.
_CANDIDATE = re.compile(r"""[.!?…](?<![.!?…][.!?…])[.!?…]*+[”"’')\]»]*+([^\S\n]++)""")
_OPENINGS = "—–-“\"‘'([«¿¡ "
# No abbreviation is longer, so a word without end is not searched to its beginning.
_ABBREVIATION_CHARACTERS = 12


def split_sentences(text: str) -> list[str]:
    """The sentences of `text`, of whose lines each is a paragraph, without the white space between; [] for a blank one.

    Joined with single spaces they give the text back, but for its own white space.
    """
    text = _PLAIN_END.sub("\n", text)
    stretches, start = [], 0
    for match in _CANDIDATE.finditer(text):
        mark, end = match.span()
        if _ends_sentence(text, mark, match[0].startswith(". "), end):
            stretches.append(text[start : match.start(1)])
            start = end
    lines = "\n".join([*stretches, text[start:]]).split("\n")
    return [sentence for sentence in map(str.strip, lines) if sentence]


def _ends_sentence(text: str, mark: int, lone_dot: bool, following: int) -> bool:
    """Whether the mark at position `mark` ends a sentence; the next word begins at `following`."""
    next_word = text[following : following + 4].partition("\n")[0].lstrip(_OPENINGS)
    # "Vem? perguntou ela." and "Ele disse... e saiu": the sentence goes on.
    if not next_word or next_word[0].islower():
        return False
    # No abbreviation ends in "!", "..." or a closing quote.
    if not lone_dot:
        return True
    before = text[max(0, mark - _ABBREVIATION_CHARACTERS) : mark].replace("\n", " ")
    word = before.rpartition(" ")[2].lstrip(_OPENINGS)
    if len(word) == 1 and word.isupper():
        return False  # an initial: J. K. Rowling
    return word.lower() not in (_BEFORE_NUMBERS if next_word[0].isdigit() else _BEFORE_NAMES)


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


# The rules, the exact key, the signature and the contamination of a document need the same words one after the other,
# so the last text's words, numbers and hashes are kept. Nobody may write to them.
@lru_cache(maxsize=1)
def split_words(text: str) -> list[bytes]:
    """(W,) the words of `text` (letters and digits) as UTF-8 in lower case.

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
    """(W,) a number below 2^32 for each word of `text`; equal on every machine."""
    # 32 bits separate a million words but for a hundred pairs; runs of words get all 64 bits.
    words = split_words(text)
    return np.fromiter(map(crc32, words), np.uint64, len(words))


@lru_cache(maxsize=1)
def word_hashes(text: str) -> Hashes:
    """(W,) the hash, of 64 bits, of each word of `text`."""
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


_DATA = tomllib.loads(Path(__file__).with_name("languages.toml").read_text(encoding="utf-8"))
WORDS: dict[str, list[str]] = _DATA["words"]
SPELLINGS: dict[str, dict[str, float]] = _DATA["spellings"]
LANGUAGES = tuple(WORDS)  # Portuguese first
TIER_RATES = (0.02, 0.003, 0.0005)
# What a language's text holds of a word that is not its own: names, quotations, misprints.
FOREIGN_RATE = 0.00003
# Taken from all over the text. Of Spanish texts of 20 words and more 99.5 % are found, so 128 settle the question.
SAMPLE_WORDS = 128


class Verdict(NamedTuple):
    """rival: the likeliest language but Portuguese; advantage: its log-likelihood ratio to it, in nats.

    words: those looked at; portuguese_share: of frequent Portuguese ones, 0.38 to 0.60 in nine of ten documents.
    """

    rival: str
    advantage: float
    portuguese_share: float
    words: int


def _table() -> tuple[dict[bytes, int], NDArray[np.float64]]:
    """Word -> its row: log-rates in the L languages, and 1 for a Portuguese word; row 0 is for unknown words."""
    rates: dict[str, list[float]] = {}
    for column, language in enumerate(LANGUAGES):
        # From the rarest tier up, so that a word listed twice counts as the more frequent.
        for tier, rate in reversed(list(zip(WORDS[language], TIER_RATES, strict=True))):
            for word in tier.split():
                rates.setdefault(word, [FOREIGN_RATE] * len(LANGUAGES))[column] = rate
    rows = [[*map(log, row), float(row[0] > FOREIGN_RATE)] for row in rates.values()]
    unknown = [0.0] * (len(LANGUAGES) + 1)
    return {word.encode(): index for index, word in enumerate(rates, start=1)}, np.array([unknown, *rows])


_ROWS, _EVIDENCE = _table()
_SPELLINGS = tuple(spelling.encode() for spelling in SPELLINGS)
_SPELLING_LOG_RATES = np.log([[each.get(name, each["other"]) for name in LANGUAGES] for each in SPELLINGS.values()])


@lru_cache(maxsize=1)
def judge(text: str) -> Verdict:
    """The language that the words of `text` speak for; no words, no advantage. Kept, as two rules ask for it."""
    words = split_words(text)
    if len(words) > SAMPLE_WORDS:
        words = words[:: -(-len(words) // SAMPLE_WORDS)]
    # take and reduce, since documents are many and small: plain indexing and sum take twice the time.
    evidence = np.add.reduce(_EVIDENCE.take([_ROWS.get(word, 0) for word in words], axis=0), axis=0)  # (L + 1,)
    # The space in front lets a spelling require the beginning of a word.
    joined = b" " + b" ".join(words)
    scores = (evidence[:-1] + list(map(joined.count, _SPELLINGS)) @ _SPELLING_LOG_RATES).tolist()
    best, share = max(scores[1:]), float(evidence[-1]) / max(1, len(words))
    return Verdict(LANGUAGES[scores.index(best, 1)], best - scores[0], share, len(words))
