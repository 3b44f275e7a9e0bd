"""Documents that share a long run of words with an evaluation set.

Source: Brown et al. 2020 (GPT-3), appendix C, which uses runs of 13 words after lower-casing and without
punctuation. Sentences of Portuguese evaluation sets are often shorter than that (ASSIN 2: 10 words at the
median), so texts of 8 to 12 words are looked for as a whole.
"""

import csv
import io
import json
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from tinydistil.base.errors import InputError, require
from tinydistil.corpus.ngrams import Hashes, ngram_hashes, ngram_lengths, word_hashes
from tinydistil.corpus.record_stream import COMPRESSIONS, DamagedFile, open_stream

# Slots of the filter per n-gram: one in 32 foreign n-grams passes it and is looked up exactly.
# 200,000 n-grams, as of the four sets in use, make a table of 8 MiB, which workers share after a fork.
FILTER_SLOTS = 32


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
                    found.setdefault(length, []).append(ngram_hashes(hashes, length))
            require(
                sum(map(len, found.values())) > before,
                f"evaluation set {str(path)!r} holds no text of {min_words} words or more",
            )
        by_length = {length: np.unique(np.concatenate(parts)) for length, parts in sorted(found.items())}
        return cls(by_length, _filter(by_length))

    def __len__(self) -> int:
        return sum(map(len, self.by_length.values()))

    def hit(self, text: str) -> bool:
        """Whether `text` holds one of the runs."""
        hashes = word_hashes(text)
        mask = np.uint64(len(self.present) - 1)
        for known, ngrams in zip(self.by_length.values(), ngram_lengths(hashes, self.by_length), strict=True):
            # One byte of a table rules out nearly all; a binary search for each would cost tenfold.
            candidates = ngrams[self.present[ngrams & mask]]
            # "clip" since a hash above all known ones lands past the end.
            positions = np.searchsorted(known, candidates)
            if (known.take(positions, mode="clip") == candidates).any():
                return True
        return False


def _filter(by_length: dict[int, Hashes]) -> NDArray[np.bool_]:
    count = sum(map(len, by_length.values()))
    # 1024 at least, so that a tiny set has no more false candidates than a large one.
    present = np.zeros(1 << max(10, (FILTER_SLOTS * count).bit_length()), np.bool_)
    for hashes in by_length.values():
        present[hashes & np.uint64(len(present) - 1)] = True
    return present


def evaluation_texts(path: Path) -> Iterator[str]:
    """Every text of the evaluation file `path`, plain or compressed. Raises InputError as from_files."""
    if not path.is_file():
        raise InputError(f"evaluation set {str(path)!r} does not exist; give an existing file")
    name = Path(path.name.lower())
    ending = (name.with_suffix("") if name.suffix in COMPRESSIONS else name).suffix
    if ending not in _READERS:
        raise InputError(f"evaluation set {str(path)!r} is of no known format; known endings: {', '.join(_READERS)}")
    try:
        # XML declares its own encoding.
        with open_stream(path, text=ending != ".xml") as stream, io.TextIOWrapper(stream, "utf-8", newline="") as text:
            yield from _READERS[ending](text)
    except UnicodeDecodeError as error:
        raise InputError(
            f"evaluation set {str(path)!r} is not UTF-8 ({error.reason}); convert it, for instance with "
            "`iconv -f latin1 -t utf-8`: its words would not be found"
        ) from None
    # LookupError: an encoding that Python does not know.
    except (ValueError, LookupError, RecursionError, ElementTree.ParseError, csv.Error, DamagedFile) as error:
        raise InputError(f"evaluation set {str(path)!r} cannot be read: {error}") from None


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _strings(inner)


def _json(stream: TextIO) -> Iterator[str]:
    return _strings(json.load(stream))


def _jsonl(stream: TextIO) -> Iterator[str]:
    return (text for line in stream if line.strip() for text in _strings(json.loads(line)))


def _xml(stream: TextIO) -> Iterator[str]:
    return (text for element in ElementTree.parse(stream.buffer).iter() if (text := element.text))


def _csv(stream: TextIO) -> Iterator[str]:
    csv.field_size_limit(1 << 30)  # the default, 128 KiB, is less than some contexts have
    return (field for row in csv.reader(stream) for field in row)


def _tsv(stream: TextIO) -> Iterator[str]:
    # Most have no quoting, and an opening quote would run on to the next.
    return (field for line in stream for field in line.split("\t"))


def _conll(stream: TextIO) -> Iterator[str]:
    tokens: list[str] = []
    for line in stream:
        # Token first, tag last; a blank line ends a sentence.
        columns = line.split()
        if columns:
            tokens.append(columns[0])
        else:
            yield " ".join(tokens)
            tokens = []
    yield " ".join(tokens)


_READERS: dict[str, Callable[[TextIO], Iterator[str]]] = {
    ".txt": iter,
    ".jsonl": _jsonl,
    ".csv": _csv,
    ".tsv": _tsv,
    ".xml": _xml,
    ".json": _json,
    ".conll": _conll,
}
