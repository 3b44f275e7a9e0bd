"""Words and word n-grams as 64-bit hashes, vectorised; what duplicates and contamination compare.

And how much of a document repeats itself (after Rae et al. 2021, Gopher, appendix A.1.1, table A1). Shares are of words
where Gopher has characters: so a count alone bounds them, and one sort clears nearly every document. Of what stands
more than once the first occurrence is not counted, so that a text that stands twice has a share of one half.
Shapes: W words, G n-grams.
"""

import csv
import io
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, groupby
from pathlib import Path
from typing import TextIO
from xml.etree import ElementTree
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from tinydistil.base.errors import InputError, require
from tinydistil.batches.sampling import FIRST, STEP
from tinydistil.corpus.record_stream import DamagedFile, open_stream
from tinydistil.corpus.text_files import plain_name

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


# Slots of the filter per n-gram: one in 32 foreign n-grams passes it and is looked up exactly.
# 200,000 n-grams, as of the four sets in use, make a table of 8 MiB, which workers share after a fork.
FILTER_SLOTS = 32
ENDINGS = (".txt", ".jsonl", ".csv", ".tsv", ".xml", ".json", ".conll")


@dataclass(frozen=True)
class EvaluationNgrams:
    """Hashes of the word runs of evaluation sets: `by_length` maps a number of words to sorted hashes."""

    by_length: dict[int, Hashes]
    present: NDArray[np.bool_]

    @classmethod
    def from_files(cls, paths: Sequence[Path], *, ngram_words: int = 13, min_words: int = 8) -> "EvaluationNgrams":
        """All runs of `ngram_words` words of the texts in `paths`, and whole texts of `min_words` or more.

        Every text of a file counts: each string of .json (SQuAD) and .jsonl, each element's text of .xml
        (ASSIN), each field of .csv and .tsv, each line of .txt, each sentence of .conll (first column).
        Raises InputError for a file that is missing, malformed, of another format, or without such texts.
        """
        require(1 <= min_words <= ngram_words, f"min_words must be 1 to ngram_words = {ngram_words}, got {min_words}")
        found: dict[int, list[Hashes]] = {}
        for path in paths:
            before = sum(map(len, found.values()))
            for text in evaluation_texts(path):
                hashes = word_hashes(unicodedata.normalize("NFC", text))
                # A text shorter than a run is one run; one shorter than min_words would be a mere phrase.
                length = min(len(hashes), ngram_words)
                if length >= min_words:
                    found.setdefault(length, []).append(mixed(next(word_runs(hashes, [length]))))
            require(
                sum(map(len, found.values())) > before,
                f"evaluation set {str(path)!r} holds no text of {min_words} words or more",
            )
        by_length = {length: np.unique(np.concatenate(parts)) for length, parts in sorted(found.items())}
        # 1024 slots at least, so that a tiny set has no more false candidates than a large one.
        count = sum(map(len, by_length.values()))
        present = np.zeros(1 << max(10, (FILTER_SLOTS * count).bit_length()), np.bool_)
        for hashes in by_length.values():
            present[hashes & np.uint64(len(present) - 1)] = True
        return cls(by_length, present)

    def __len__(self) -> int:
        return sum(map(len, self.by_length.values()))

    def hit(self, text: str) -> bool:
        """Whether `text` holds one of the runs."""
        mask = np.uint64(len(self.present) - 1)
        runs = word_runs(word_hashes(text), self.by_length)
        for known, ngrams in zip(self.by_length.values(), map(mixed, runs), strict=True):
            # One byte of a table rules out nearly all; a binary search for each would cost tenfold.
            candidates = ngrams[self.present[ngrams & mask]]
            # "clip" since a hash above all known ones lands past the end.
            positions = np.searchsorted(known, candidates)
            if (known.take(positions, mode="clip") == candidates).any():
                return True
        return False


def evaluation_texts(path: Path) -> Iterator[str]:
    """Every text of the evaluation file `path`, plain or compressed. Raises InputError as from_files."""
    if not path.is_file():
        raise InputError(f"evaluation set {str(path)!r} does not exist; give an existing file")
    ending = Path(plain_name(path)).suffix
    if ending not in ENDINGS:
        raise InputError(f"evaluation set {str(path)!r} is of no known format; known endings: {', '.join(ENDINGS)}")
    try:
        # XML declares its own encoding.
        with open_stream(path, text=ending != ".xml") as stream, io.TextIOWrapper(stream, "utf-8", newline="") as text:
            yield from _texts(text, ending)
    except UnicodeDecodeError as error:
        raise InputError(
            f"evaluation set {str(path)!r} is not UTF-8 ({error.reason}); convert it, for instance with "
            "`iconv -f latin1 -t utf-8`: its words would not be found"
        ) from None
    # LookupError: an encoding that Python does not know.
    except (ValueError, LookupError, RecursionError, ElementTree.ParseError, csv.Error, DamagedFile) as error:
        raise InputError(f"evaluation set {str(path)!r} cannot be read: {error}") from None


def _texts(stream: TextIO, ending: str) -> Iterator[str]:
    match ending:
        case ".json":
            yield from _strings(json.load(stream))
        case ".jsonl":
            for line in filter(str.strip, stream):
                yield from _strings(json.loads(line))
        case ".xml":
            yield from (element.text for element in ElementTree.parse(stream.buffer).iter() if element.text)
        case ".csv":
            csv.field_size_limit(1 << 30)  # the default, 128 KiB, is less than some contexts have
            yield from chain.from_iterable(csv.reader(stream))
        case ".tsv":
            # Most have no quoting, and an opening quote would run on to the next.
            for line in stream:
                yield from line.split("\t")
        case ".conll":
            # Token first, tag last; a blank line ends a sentence.
            for filled, sentence in groupby(map(str.split, stream), bool):
                if filled:
                    yield " ".join(columns[0] for columns in sentence)
        case _:
            yield from stream


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _strings(inner)
