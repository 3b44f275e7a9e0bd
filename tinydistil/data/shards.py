"""Token shards on disk: memory-mapped safetensors files, and a JSON manifest that vouches for them.

One file holds the sequences of one segment and split, without [CLS] and [SEP]. Its arrays, for S sequences:

    tokens (T)          uint16 or uint32, all sequences one after the other
    offsets (S + 1)     uint64, sequence i is tokens[offsets[i] : offsets[i + 1]]

and with a second tokenizer, for the same W words on both sides:

    student_tokens, student_offsets    the second tokenization, cut at the same words
    word_offsets (S + 1)               sequence i has the words word_offsets[i] ... word_offsets[i + 1] - 1
    pieces, student_pieces (W)         how many tokens each word has on each side, never 0
"""

import hashlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from tinydistil.config import from_mapping
from tinydistil.data.mapped import map_tensors
from tinydistil.data.sequences import DocumentSequences
from tinydistil.data.words import WordEncoder
from tinydistil.errors import InputError, require
from tinydistil.files import read_json, sha256_of, write_atomic

MANIFEST = "manifest.json"
FORMAT_VERSION = 1
SPLITS = ("train", "validation")
# Prefix of each side's arrays; the first tokenizer is the teacher's where there are two.
_PREFIXES = ("", "student_")

Tokens = NDArray[np.unsignedinteger]


@dataclass(frozen=True, slots=True)
class ShardEntry:
    """One line of the manifest. Student tokens and words are 0 where there is one tokenizer."""

    file: str
    split: str
    sequences: int
    tokens: int
    student_tokens: int
    words: int
    bytes: int
    sha256: str


class ShardBuilder:
    """Collects the sequences of documents and writes them as one shard."""

    def __init__(self, encoder: WordEncoder) -> None:
        self._encoder = encoder
        self._documents: list[DocumentSequences] = []

    def add(self, document: DocumentSequences) -> None:
        """Append all sequences of `document`."""
        self._documents.append(document)

    def write(self, folder: Path, split: str, number: int) -> ShardEntry | None:
        """Write the shard atomically and describe it; None, and no file, where there is no sequence."""
        sizes = np.array([size for each in self._documents for size in each.sizes], np.int64)  # (S, 1 or 3)
        if not len(sizes):
            return None
        data = save(self._tensors(sizes))
        name = f"{split}-{number:06d}.safetensors"
        write_atomic(folder / name, data)
        tokens, student_tokens, words = (*sizes.sum(axis=0).tolist(), 0, 0)[:3]
        return ShardEntry(
            file=name,
            split=split,
            sequences=len(sizes),
            tokens=tokens,
            student_tokens=student_tokens,
            words=words,
            bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
        )

    def _tensors(self, sizes: NDArray[np.int64]) -> dict[str, Tokens]:
        tensors: dict[str, Tokens] = {}
        for side, (prefix, dtype) in enumerate(zip(_PREFIXES, self._encoder.token_dtypes, strict=False)):
            ids = b"".join(each.ids[side] for each in self._documents)
            tensors[f"{prefix}tokens"] = np.frombuffer(ids, dtype)
            tensors[f"{prefix}offsets"] = _offsets(sizes[:, side])
            # With one tokenizer nobody asks which pieces make a word, beyond what "##" says.
            if len(self._encoder.token_dtypes) == 2:
                pieces = b"".join(each.pieces[side] for each in self._documents)
                tensors[f"{prefix}pieces"] = np.frombuffer(pieces, self._encoder.piece_dtype)
                tensors["word_offsets"] = _offsets(sizes[:, 2])
        return tensors


def _offsets(lengths: NDArray[np.int64]) -> NDArray[np.uint64]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype("<u8")


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
    """The sequences of one split, numbered from 0, read through the page cache: opening loads nothing."""

    def __init__(self, folder: Path, split: str, entries: list[ShardEntry]) -> None:
        self.folder, self.split = folder, split
        self._tensors = [map_tensors(folder / entry.file, entry.bytes) for entry in entries]
        self._starts = np.cumsum([0] + [entry.sequences for entry in entries]).tolist()
        # A cheap check of what is about to be trusted; the rest is left to `verify`.
        for entry, tensors in zip(entries, self._tensors, strict=True):
            require(_names(entry) <= tensors.keys(), f"{folder / entry.file}: damaged header; {_AGAIN}")
            fits = len(tensors["offsets"]) == entry.sequences + 1 and len(tensors["tokens"]) == entry.tokens
            require(fits, f"{folder / entry.file} does not match {MANIFEST}; {_AGAIN}")
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
        return cls(folder, split, [each for each in entries_of(manifest, folder) if each.split == split])

    def __reduce__(self) -> tuple[object, tuple[Path, str]]:
        return _reopen, (self.folder, self.split)  # a memory map pickles as a copy of the whole file

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: int) -> Tokens:
        """Tokens (T) of sequence `index`, a view into the mapped file. Raises IndexError out of range."""
        return self._view(index, "")

    def pair(self, index: int) -> WordPair:
        """Both tokenizations of sequence `index`; only where the corpus was made with a student tokenizer."""
        require(self.has_words, f"{self.folder} has one tokenization; prepare it with --student-tokenizer")
        tensors, row = self._locate(index)
        first, last = tensors["word_offsets"][row : row + 2].tolist()
        return WordPair(
            tokens=self._view(index, ""),
            student_tokens=self._view(index, "student_"),
            pieces=tensors["pieces"][first:last],
            student_pieces=tensors["student_pieces"][first:last],
        )

    def word_arrays(self) -> Iterator[WordArrays]:
        """Each shard's words, one after the other; only where the corpus was made with a student tokenizer."""
        for tensors in self._tensors:
            teacher, student = ((tensors[f"{side}tokens"], tensors[f"{side}pieces"]) for side in _PREFIXES)
            yield WordArrays((teacher, student))

    def lengths(self, side: int = 0) -> NDArray[np.int64]:
        """Tokens of every sequence (S) in one tokenization, 0 or 1, for batching by length."""
        parts = [np.diff(tensors[f"{_PREFIXES[side]}offsets"]).astype(np.int64) for tensors in self._tensors]
        return np.concatenate([*parts, np.empty(0, np.int64)])

    def _locate(self, index: int) -> tuple[dict[str, Tokens], int]:
        # Negative indices are refused: in a sampler they are a bug, not a wish for the end.
        if not 0 <= index < len(self):
            raise IndexError(f"sequence {index} of {len(self)}")
        shard = bisect_right(self._starts, index) - 1
        return self._tensors[shard], index - self._starts[shard]

    def _view(self, index: int, prefix: str) -> Tokens:
        tensors, row = self._locate(index)
        first, last = tensors[f"{prefix}offsets"][row : row + 2].tolist()
        return tensors[f"{prefix}tokens"][first:last]


_AGAIN = "the corpus is damaged, prepare it again with --overwrite"


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
        return [from_mapping(ShardEntry, each, where="shards.") for each in cast(list[dict[str, object]], shards)]
    except (InputError, AttributeError) as error:
        raise InputError(f"{folder / MANIFEST}: bad list of shards ({error}); {_AGAIN}") from None


def verify(folder: str | Path) -> list[ShardEntry]:
    """Hash every shard of a prepared corpus; returns what they are. InputError names a damaged file."""
    folder = Path(folder)
    entries = entries_of(check_fit(folder, None, None), folder)
    for entry in entries:
        path = folder / entry.file
        require(path.is_file(), f"{path} is missing; {_AGAIN}")
        found = sha256_of(path)
        require(
            found == entry.sha256,
            f"{path}: sha256 is {found[:12]}, the manifest says {entry.sha256[:12]}; {_AGAIN}",
        )
    return entries
