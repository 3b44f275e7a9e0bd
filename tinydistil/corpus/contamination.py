"""Documents that share a long run of words with an evaluation set.

Source: Brown et al. 2020 (GPT-3), appendix C, which uses runs of 13 words after lower-casing and without
punctuation. Sentences of Portuguese evaluation sets are often shorter than that (ASSIN 2: 10 words at the
median), so texts of 8 to 12 words are looked for as a whole.
"""

import csv
import io
import json
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path
from typing import TextIO
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from tinydistil.base.errors import InputError, require
from tinydistil.corpus.ngrams import Hashes, mixed, word_hashes, word_runs
from tinydistil.corpus.record_stream import DamagedFile, open_stream
from tinydistil.corpus.text_files import plain_name

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
