"""Token shards on disk: memory-mapped safetensors files, and a JSON manifest that vouches for them.

One file holds the sequences of one segment and split, without [CLS] and [SEP]. Its arrays, for S sequences:

    tokens (T)          uint16 or uint32, all sequences one after the other
    offsets (S + 1)     uint64, sequence i is tokens[offsets[i] : offsets[i + 1]]

and with a second tokenizer, for the same W words on both sides:

    student_tokens, student_offsets    the second tokenization, cut at the same words
    word_offsets (S + 1)               sequence i has the words word_offsets[i] ... word_offsets[i + 1] - 1
    pieces, student_pieces (W)         how many tokens each word has on each side, never 0
"""

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, cast

import numpy as np
from numpy.typing import NDArray

from tinydistil.config import INT64, LONGEST, Checked, OneOf, Range, from_mapping
from tinydistil.errors import InputError, require
from tinydistil.files import read_json, sha256_of, sha256_of_ends
from tinydistil.mapped import map_tensors

MANIFEST = "manifest.json"
# What mends a damaged corpus, whichever script has found it.
AGAIN = "prepare it again with --overwrite (scripts/prepare.py), or delete the folder"
FORMAT_VERSION = 1
SPLITS = ("train", "validation")
# Prefix of each side's arrays; the first tokenizer is the teacher's where there are two.
PREFIXES = ("", "student_")

Tokens = NDArray[np.unsignedinteger]


@dataclass(frozen=True)
class ShardEntry(Checked):
    """One line of the manifest. Student tokens and words are 0 where there is one tokenizer.

    sha256_of_ends: of the first and last 64 KiB, which are read whenever the shard is opened; "" in older corpora.
    """

    file: str
    split: Annotated[str, OneOf(SPLITS)]
    sequences: Annotated[int, Range(1, INT64)]
    tokens: Annotated[int, Range(1, INT64)]
    student_tokens: Annotated[int, Range(0, INT64)]
    words: Annotated[int, Range(0, INT64)]
    bytes: Annotated[int, Range(1, INT64)]
    sha256: str
    sha256_of_ends: str = ""


@dataclass(frozen=True, slots=True)
class WordPair:
    """One sequence tokenized twice: tokens (T), student_tokens (T'), pieces and student_pieces (W)."""

    tokens: Tokens
    student_tokens: Tokens
    pieces: Tokens
    student_pieces: Tokens

    def side(self, number: int) -> tuple[Tokens, Tokens]:
        """Tokens and pieces of one tokenization, 0 or 1."""
        return (self.student_tokens, self.student_pieces) if number else (self.tokens, self.pieces)


@dataclass(frozen=True, slots=True)
class WordArrays:
    """All of one shard's words, on each side: the tokens (T) and how many of them each word has (W)."""

    sides: tuple[tuple[Tokens, Tokens], tuple[Tokens, Tokens]]


class TokenShards:
    """The sequences of one split, numbered from 0, read through the page cache: opening loads nothing but the ends.

    longest: tokens of a sequence at most; vocab_sizes: of each side's tokenizer. Raises InputError, wherever a shard is
    opened or read, for what its manifest or these do not allow.
    """

    def __init__(
        self,
        folder: Path,
        split: str,
        entries: list[ShardEntry],
        *,
        longest: int = LONGEST,
        vocab_sizes: Sequence[int] = (1 << 32, 1 << 32),
    ) -> None:
        self.folder, self.split, self.longest = folder, split, longest
        self._vocab_sizes = dict(zip(PREFIXES, vocab_sizes, strict=True))
        self._files = [folder / entry.file for entry in entries]
        self._tensors = [
            map_tensors(path, remedy=_AGAIN, expected_bytes=entry.bytes)
            for path, entry in zip(self._files, entries, strict=True)
        ]
        self._starts = np.cumsum([0] + [entry.sequences for entry in entries]).tolist()
        for path, entry, tensors in zip(self._files, entries, self._tensors, strict=True):
            _check(path, entry, tensors)
        self.has_words = bool(entries) and entries[0].student_tokens > 0

    @classmethod
    def open(
        cls,
        folder: str | Path,
        *,
        split: str = "train",
        tokenizer_fingerprint: str | None = None,
        student_fingerprint: str | None = None,
    ) -> "TokenShards":
        """Open the split `split` of a prepared corpus.

        Raises InputError, naming the file, where the manifest is missing or damaged, was made with another
        tokenizer than the fingerprints given, or where a shard is missing or of another size than it says.
        Flipped bytes are found by `verify`, which reads everything.
        """
        folder = Path(folder)
        require(split in SPLITS, f"split must be one of {', '.join(SPLITS)}, got {split!r}")
        manifest = check_fit(folder, tokenizer_fingerprint, student_fingerprint)
        entries = [each for each in entries_of(manifest, folder) if each.split == split]
        longest = _stated(manifest, folder, "config", "max_length", LONGEST)
        sizes = [_stated(manifest, folder, name, "vocab_size", 1 << 32) for name in ("tokenizer", "student_tokenizer")]
        return cls(folder, split, entries, longest=longest, vocab_sizes=sizes)

    def __reduce__(self) -> tuple[object, tuple[Path, str]]:
        return _reopen, (self.folder, self.split)  # a memory map pickles as a copy of the whole file

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: int) -> Tokens:
        """Tokens (T) of sequence `index`, a view into the mapped file. Raises IndexError out of range."""
        return self._view(index, "")

    def pair(self, index: int) -> WordPair:
        """Both tokenizations of sequence `index`; only where the corpus was made with a student tokenizer."""
        require(
            self.has_words,
            f"{self.folder} has one tokenization; prepare it with scripts/prepare.py --student-tokenizer",
        )
        tensors, row = self._locate(index)
        first, last = tensors["word_offsets"][row : row + 2].tolist()
        found = WordPair(
            tokens=self._view(index, ""),
            student_tokens=self._view(index, "student_"),
            pieces=tensors["pieces"][first:last],
            student_pieces=tensors["student_pieces"][first:last],
        )
        sums = int(found.pieces.sum()), int(found.student_pieces.sum())
        if sums != (len(found.tokens), len(found.student_tokens)):
            raise self._damaged(index)
        return found

    def word_arrays(self) -> Iterator[WordArrays]:
        """Each shard's words, one after the other; only where the corpus was made with a student tokenizer."""
        for tensors in self._tensors:
            teacher, student = ((tensors[f"{side}tokens"], tensors[f"{side}pieces"]) for side in PREFIXES)
            yield WordArrays((teacher, student))

    def lengths(self, side: int = 0) -> NDArray[np.int64]:
        """Tokens of every sequence (S) in one tokenization, 0 or 1, for batching by length."""
        parts = [np.diff(tensors[f"{PREFIXES[side]}offsets"]) for tensors in self._tensors]
        for path, part in zip(self._files, parts, strict=True):
            require(self._are_lengths(part), f"{path} is damaged, its sequences have no such lengths; {_AGAIN}")
        return np.concatenate([*parts, np.empty(0, np.uint64)]).astype(np.int64)

    def check_all(self) -> None:
        """Raise InputError where any sequence is not one; reads everything."""
        for path, tensors in zip(self._files, self._tensors, strict=True):
            for prefix in PREFIXES if self.has_words else PREFIXES[:1]:
                offsets, largest = tensors[f"{prefix}offsets"], tensors[f"{prefix}tokens"].max()
                sound = largest < self._vocab_sizes[prefix] and self._are_lengths(np.diff(offsets))
                if self.has_words and sound:
                    ends = np.concatenate([[0], np.cumsum(tensors[f"{prefix}pieces"], dtype=np.uint64)])
                    words = tensors["word_offsets"]
                    sound = words.max() < len(ends) and bool((ends[words.astype(np.int64)] == offsets).all())
                require(sound, f"{path} is damaged, it holds what no tokenizer of this corpus makes; {_AGAIN}")

    def _are_lengths(self, found: Tokens) -> bool:
        return bool(((found > 0) & (found <= self.longest)).all())

    def _locate(self, index: int) -> tuple[dict[str, Tokens], int]:
        # Negative indices are refused: in a sampler they are a bug, not a wish for the end.
        if not 0 <= index < len(self):
            raise IndexError(f"sequence {index} of {len(self)}")
        shard = bisect_right(self._starts, index) - 1
        return self._tensors[shard], index - self._starts[shard]

    def _view(self, index: int, prefix: str) -> Tokens:
        tensors, row = self._locate(index)
        first, last = tensors[f"{prefix}offsets"][row : row + 2].tolist()
        found = tensors[f"{prefix}tokens"][first:last]
        # Python cuts short what reaches beyond the end.
        if not 0 < len(found) == last - first <= self.longest or found.max() >= self._vocab_sizes[prefix]:
            raise self._damaged(index)
        return found

    def _damaged(self, index: int) -> InputError:
        path = self._files[bisect_right(self._starts, index) - 1]
        return InputError(f"{path} is damaged, sequence {index} of {self.split!r} is none; {_AGAIN}")


_AGAIN = f"the corpus is damaged, {AGAIN}"


def _check(path: Path, entry: ShardEntry, tensors: Mapping[str, Tokens]) -> None:
    """A cheap check of what is about to be trusted; the rest is looked at where it is read, or by `verify`."""
    flat = _names(entry) <= tensors.keys() and all(
        each.ndim == 1 and each.dtype.kind == "u" for each in tensors.values()
    )
    require(flat, f"{path}: damaged header; {_AGAIN}")
    ends = entry.sha256_of_ends
    require(ends in ("", sha256_of_ends(path)), f"{path} is damaged at its beginning or end; {_AGAIN}")
    parts = [("offsets", "tokens", entry.tokens), ("student_offsets", "student_tokens", entry.student_tokens)]
    parts += [("word_offsets", pieces, entry.words) for pieces in ("pieces", "student_pieces")]
    for name, items, count in parts if entry.student_tokens else parts[:1]:
        offsets = tensors[name]
        fits = len(offsets) == entry.sequences + 1 and len(tensors[items]) == count
        sound = fits and offsets.dtype == np.uint64 and offsets[[0, -1]].tolist() == [0, count]
        require(sound, f"{path} does not match {MANIFEST}; {_AGAIN}")


def _names(entry: ShardEntry) -> set[str]:
    """The arrays a shard must have."""
    single = {"tokens", "offsets"}
    student = {"student_tokens", "student_offsets", "word_offsets", "pieces", "student_pieces"}
    return single | student if entry.student_tokens else single


def _reopen(folder: Path, split: str) -> TokenShards:
    return TokenShards.open(folder, split=split)


def made_with(manifest: Mapping[str, object]) -> list[str]:
    """The fingerprints of the tokenizers, one or two, that a corpus was made with."""
    named = [manifest.get(name) for name in ("tokenizer", "student_tokenizer")]
    return [str(each.get("fingerprint")) for each in named if isinstance(each, dict)]


def _stated(manifest: Mapping[str, object], folder: Path, table: str, name: str, most: int) -> int:
    """A number of the manifest; `most` where it says nothing of it."""
    values = manifest.get(table)
    value = values.get(name, most) if isinstance(values, dict) else most if values is None else values
    where = f"{folder / MANIFEST}: {table}.{name}"
    require(type(value) is int and 0 < value <= most, f"{where} is no whole number of at most {most:,}; {_AGAIN}")
    return cast(int, value)


def check_fit(folder: Path, tokenizer: str | None, student_tokenizer: str | None) -> dict[str, object]:
    """The manifest in `folder`, if it has the version read here and, where given, these fingerprints.

    Raises InputError where it has not.
    """
    path = folder / MANIFEST
    require(path.is_file(), f"{path} does not exist; make a corpus with scripts/prepare.py")
    manifest = read_json(path, remedy=_AGAIN)
    version = manifest.get("version")
    require(
        version == FORMAT_VERSION,
        f"{path}: version is {version!r}, this program reads {FORMAT_VERSION}; prepare the corpus again",
    )
    for field, wanted in (("tokenizer", tokenizer), ("student_tokenizer", student_tokenizer)):
        made_with = manifest.get(field)
        found = made_with.get("fingerprint") if isinstance(made_with, dict) else None
        require(
            wanted in (None, found),
            f"{path}: the fingerprint of {field} is {str(found)[:12]}, "
            f"that of the one given {str(wanted)[:12]}; "
            "give the tokenizer that the corpus was made with, or prepare the corpus again",
        )
    return manifest


def entries_of(manifest: Mapping[str, object], folder: Path) -> list[ShardEntry]:
    """The shards a manifest lists. Raises InputError where an entry lacks a field or holds a wrong type."""
    shards = manifest.get("shards")
    require(isinstance(shards, list), f"{folder / MANIFEST}: no list of shards; {_AGAIN}")
    try:
        entries = [from_mapping(ShardEntry, each, where="shards.") for each in cast(list[dict[str, object]], shards)]
        for each in entries:
            own = re.fullmatch(rf"{each.split}-\d{{6,}}\.safetensors", each.file)  # in no other folder
            require(own is not None, f"shards.file {each.file!r} is no shard of split {each.split!r}")
    except (InputError, AttributeError) as error:
        raise InputError(f"{folder / MANIFEST}: bad list of shards ({error}); {_AGAIN}") from None
    alike = len({each.file for each in entries}) == len(entries) and len({each.words > 0 for each in entries}) <= 1
    require(alike, f"{folder / MANIFEST}: bad list of shards (one twice, or not all of as many tokenizers); {_AGAIN}")
    return entries


def verify(folder: str | Path) -> list[ShardEntry]:
    """Hash every shard of a prepared corpus, and look at all of it; returns what they are.

    InputError names a damaged file.
    """
    folder = Path(folder)
    entries = entries_of(check_fit(folder, None, None), folder)
    require(bool(entries), f"{folder / MANIFEST} lists no shard; {_AGAIN}")
    for entry in entries:
        path = folder / entry.file
        require(path.is_file(), f"{path} is missing; {_AGAIN}")
        found = sha256_of(path)
        require(
            found == entry.sha256,
            f"{path}: sha256 is {found[:12]}, the manifest says {entry.sha256[:12]}; {_AGAIN}",
        )
    for split in SPLITS:
        TokenShards.open(folder, split=split).check_all()
    return entries
