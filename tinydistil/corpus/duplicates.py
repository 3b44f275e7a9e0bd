"""What a document has in common with others: duplicates within the corpus, and texts of evaluation sets.

Exact duplicates by hash, near-duplicates by MinHash and locality-sensitive hashing (LSH): Broder 1997 (resemblance of
shingles); Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, sec. 3.3 and 3.4. A pair of Jaccard similarity s is
found with probability 1 - (1 - s^rows)^bands. Shapes: P permutations, G shingles.
"""

import csv
import hashlib
import io
import json
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, groupby
from pathlib import Path
from typing import Annotated, TextIO
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from tinydistil.base.config import Checked, Range
from tinydistil.base.errors import InputError, require
from tinydistil.corpus.language import Hashes, mixed, normalised_words, word_hashes, word_runs
from tinydistil.corpus.records import DamagedFile, open_stream, plain_name

Signature = NDArray[np.uint32]

KEY_BYTES = 16
# Shingles permuted at once: (P, 512) products of 8 bytes stay inside a core's second-level cache.
BLOCK_SHINGLES = 512
# Hashes that the index holds in a set, at least; an eighth of all once there are more.
_LATEST = 4096
# Slots of a filter per n-gram of the evaluation sets: one in 32 foreign n-grams passes it and is looked up exactly. The
# 200,000 n-grams of the four sets in use make a table of 8 MiB.
_FILTER_SLOTS = 32
# A shorter text would be a mere phrase.
_MIN_WORDS = 8
_ENDINGS = (".txt", ".jsonl", ".csv", ".tsv", ".xml", ".json", ".conll")


@dataclass(frozen=True)
class DuplicateConfig(Checked, table="duplicates"):
    """`threshold` is the Jaccard similarity of shingle sets around which near-duplicates are found."""

    near: bool = True
    threshold: Annotated[float, Range(0, 1, without=(0, 1))] = 0.8  # of five-word shingles: 2 words of a hundred differ
    # 9 bands of 13 rows at 0.8: 68 % of the pairs at 0.8 to 0.9 are found, 99 % above.
    num_permutations: Annotated[int, Range(2, 1024)] = 128
    shingle_words: Annotated[int, Range(1, 100)] = 5


def exact_key(text: str) -> bytes:
    """16 bytes that are equal for texts with the same words, whatever their case, spaces and punctuation."""
    return hashlib.blake2b(normalised_words(text), digest_size=KEY_BYTES).digest()


def signature(text: str, config: DuplicateConfig) -> Signature:
    """(P,) the MinHash of the word shingles of `text`; equal positions estimate the Jaccard similarity.

    A text of fewer words than a shingle is one shingle; a text without words has the signature all ones.
    """
    hashes = word_hashes(text)
    shingles = mixed(next(word_runs(hashes, [max(1, min(config.shingle_words, len(hashes)))])))  # (G,)
    factors, terms = permutations(config.num_permutations)
    least = np.full(config.num_permutations, np.iinfo(np.uint64).max, np.uint64)
    for start in range(0, len(shingles), BLOCK_SHINGLES):
        permuted = np.multiply.outer(factors, shingles[start : start + BLOCK_SHINGLES])  # (P, <= 512)
        permuted += terms[:, None]
        np.minimum(least, permuted.min(axis=1), out=least)
    # The upper half of a*x + b mod 2^64 is strongly universal, the lower bits are not (Dietzfelbinger 1996).
    return (least >> np.uint64(32)).astype(np.uint32)


@lru_cache(maxsize=2)
def permutations(count: int) -> tuple[Hashes, Hashes]:
    """Odd factors and terms, (count,) each, of fixed random functions x -> factor * x + term mod 2^64."""
    random = np.random.Generator(np.random.PCG64(count))
    factors = random.integers(1 << 64, size=count, dtype=np.uint64, endpoint=False) | np.uint64(1)
    return factors, random.integers(1 << 64, size=count, dtype=np.uint64, endpoint=False)


class DuplicateIndex:
    """What has been kept so far, as 64-bit hashes: at most some 250 bytes per document. Rebuilt by adding again.

    The latest hashes in a set, all earlier ones sorted in an array: Python sets alone take four times the memory, and
    one for every band of every document (datasketch's) over ten times (benchmarks/corpus_quality.py).
    """

    def __init__(self, config: DuplicateConfig) -> None:
        self._sorted = np.empty(0, np.uint64)
        self._latest: set[int] = set()
        self.bands, self.rows = bands_and_rows(config) if config.near else (0, 0)

    @property
    def bytes_held(self) -> int:
        """Memory of the index; for a moment twice as much when the latest hashes are sorted in."""
        return self._sorted.nbytes + sys.getsizeof(self._latest) + 32 * len(self._latest)

    def seen_exact(self, key: bytes) -> bool:
        """Whether a text with this exact_key was added."""
        return self._seen([_short(key)])

    def seen_near(self, signature: Signature) -> bool:
        """Whether a signature that agrees in all rows of some band was added."""
        return self._seen(self._band_keys(signature))

    def add(self, key: bytes, signature: Signature | None = None) -> None:
        """Remember a document by its exact_key and, where near-duplicates are looked for, its signature."""
        self._latest.add(_short(key))
        self._latest.update([] if signature is None else self._band_keys(signature))
        if len(self._latest) > max(_LATEST, len(self._sorted) // 8):
            latest = np.sort(np.fromiter(self._latest, np.uint64))
            # Stable, which merges two sorted runs in linear time.
            self._sorted = np.sort(np.concatenate([self._sorted, latest]), kind="stable")
            self._latest.clear()

    def _seen(self, keys: list[int]) -> bool:
        if not self._latest.isdisjoint(keys):
            return True
        wanted = np.array(keys, np.uint64)
        return len(self._sorted) > 0 and _any_in(self._sorted, wanted)

    def _band_keys(self, signature: Signature) -> list[int]:
        used = signature[: self.bands * self.rows].astype(np.uint64).reshape(self.bands, self.rows)
        # Sums of values times fixed odd factors, which differ from band to band.
        factors, _ = permutations(self.bands * self.rows)
        return list(mixed((used * factors.reshape(used.shape)).sum(axis=1)).tolist())


def _any_in(known: Hashes, wanted: Hashes) -> bool:
    """Whether the sorted `known` hold one of the `wanted`."""
    # "clip" since a hash above all known ones lands past the end.
    return bool((known.take(np.searchsorted(known, wanted), mode="clip") == wanted).any())


def _short(key: bytes) -> int:
    # 64 bits: among brWaC's 3.5 million documents, 10 hashes each, a false match has odds of 3 in a million.
    return int.from_bytes(key[:8], "little")


def bands_and_rows(config: DuplicateConfig) -> tuple[int, int]:
    """The bands and rows with the least expected false positives plus false negatives around the threshold.

    A pair of similarity s is missed with probability (1 - s^rows)^bands; its integral over s from 0 to t is B(t^rows;
    1 / rows, bands + 1) / rows, an incomplete beta function. Raises InputError where one band alone would do.
    """
    from scipy.special import beta, betainc  # half a second, which neither --help nor a worker waits for

    total, threshold = config.num_permutations, config.threshold
    bands, rows = (each.ravel() for each in np.mgrid[1 : total + 1, 1 : total + 1])
    bands, rows = bands[bands * rows <= total], rows[bands * rows <= total]
    whole = beta(1 / rows, bands + 1) / rows
    missed_below = whole * betainc(1 / rows, bands + 1, threshold**rows)
    best = int(((threshold - missed_below) + (whole - missed_below)).argmin())
    remedy = "which would be one band; give a lower threshold or more permutations"
    require(bands[best] > 1, f"threshold {threshold} does not go with {total} permutations, {remedy}")
    return int(bands[best]), int(rows[best])


@dataclass(frozen=True)
class EvaluationNgrams:
    """Hashes of the word runs of evaluation sets: `by_length` maps a number of words to sorted hashes."""

    by_length: dict[int, Hashes]
    present: NDArray[np.bool_]

    @classmethod
    def from_files(cls, paths: Sequence[Path], *, ngram_words: int = 13) -> "EvaluationNgrams":
        """All runs of `ngram_words` words of the texts in `paths`, and whole texts of eight words or more.

        Texts are the strings of .json (SQuAD) and .jsonl, each element's text of .xml (ASSIN), fields of .csv and .tsv,
        lines of .txt, sentences of .conll (first column). Raises InputError for a file that is missing, malformed, of
        another format, or without such texts.
        """
        found: dict[int, list[Hashes]] = {}
        for path in paths:
            before = sum(map(len, found.values()))
            for text in evaluation_texts(path):
                hashes = word_hashes(unicodedata.normalize("NFC", text))
                # A text shorter than a run is one run.
                length = min(len(hashes), ngram_words)
                if length >= min(_MIN_WORDS, ngram_words):
                    found.setdefault(length, []).append(mixed(next(word_runs(hashes, [length]))))
            some = sum(map(len, found.values())) > before
            require(some, f"evaluation set {str(path)!r} holds no text of {_MIN_WORDS} words or more")
        by_length = {length: np.unique(np.concatenate(parts)) for length, parts in sorted(found.items())}
        count = sum(map(len, by_length.values()))
        # 1024 slots at least, so that a tiny set has no more false candidates than a large one.
        present = np.zeros(1 << max(10, (_FILTER_SLOTS * count).bit_length()), np.bool_)
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
            if _any_in(known, ngrams[self.present[ngrams & mask]]):
                return True
        return False


def evaluation_texts(path: Path) -> Iterator[str]:
    """Every text of the evaluation file `path`, plain or compressed. Raises InputError as from_files."""
    named, ending = f"evaluation set {str(path)!r}", Path(plain_name(path)).suffix
    require(path.is_file(), f"{named} does not exist; give an existing file")
    require(ending in _ENDINGS, f"{named} is of no known format; known endings: {', '.join(_ENDINGS)}")
    try:
        # XML declares its own encoding.
        with open_stream(path, text=ending != ".xml") as stream, io.TextIOWrapper(stream, "utf-8", newline="") as text:
            yield from _texts(text, ending)
    except UnicodeDecodeError as error:
        remedy = "convert it, for instance with `iconv -f latin1 -t utf-8`: its words would not be found"
        raise InputError(f"{named} is not UTF-8 ({error.reason}); {remedy}") from None
    # LookupError: an encoding that Python does not know.
    except (ValueError, LookupError, RecursionError, ElementTree.ParseError, csv.Error, DamagedFile) as error:
        raise InputError(f"{named} cannot be read: {error}") from None


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
