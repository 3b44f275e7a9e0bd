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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from tinydistil.base.config import LONGEST
from tinydistil.base.errors import InputError, require
from tinydistil.base.files import map_tensors, sha256_of, sha256_of_ends, write_atomic
from tinydistil.batches.manifest import DAMAGED, MANIFEST, SPLITS, ShardEntry, check_fit, entries_of, number_of
from tinydistil.tokenizer.word_encoder import WordEncoder

# Prefix of each side's arrays; the first tokenizer is the teacher's where there are two.
_PREFIXES = ("", "student_")

Tokens = NDArray[np.unsignedinteger]


# Tokens of a stretch of text on each side and, with two sides, its words.
Size = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DocumentSequences:
    """All tokens of one document, in order, and where its sequences end.

    For each side, `ids[side]` are the T token ids as bytes. With two sides, `pieces[side]` are the numbers of
    pieces of the W words, as bytes; with one there are none. `sizes` (S) holds each sequence's tokens on
    each side and, with two sides, its words.
    """

    ids: tuple[bytes, ...]
    pieces: tuple[bytes, ...]
    sizes: tuple[Size, ...]


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
            sha256_of_ends=sha256_of_ends(folder / name),
        )

    def _tensors(self, sizes: NDArray[np.int64]) -> dict[str, Tokens]:
        tensors: dict[str, Tokens] = {}
        for side, (prefix, dtype) in enumerate(zip(_PREFIXES, self._encoder.token_dtypes, strict=False)):
            ids = b"".join(each.ids[side] for each in self._documents)
            tensors[f"{prefix}tokens"] = np.frombuffer(ids, dtype)
            tensors[f"{prefix}offsets"] = _offsets(sizes[:, side])
            # With one tokenizer nothing needs to know which pieces make a word, beyond what "##" says.
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
        self._vocab_sizes = dict(zip(_PREFIXES, vocab_sizes, strict=True))
        self._files = [folder / entry.file for entry in entries]
        self._tensors = [
            map_tensors(path, remedy=DAMAGED, expected_bytes=entry.bytes)
            for path, entry in zip(self._files, entries, strict=True)
        ]
        self._starts = np.cumsum([0] + [entry.sequences for entry in entries]).tolist()
        for path, entry, tensors in zip(self._files, entries, self._tensors, strict=True):
            _check(path, entry, tensors)
        self.has_words = bool(entries) and entries[0].student_tokens > 0

    @classmethod
    def open(cls, folder: str | Path, *, split: str = "train") -> "TokenShards":
        """Open the split `split` of a prepared corpus.

        Raises InputError, naming the file, where the manifest is missing or damaged, or a shard is missing or of
        another size than it says. Flipped bytes are found by `verify`, which reads everything.
        """
        folder = Path(folder)
        require(split in SPLITS, f"split must be one of {', '.join(SPLITS)}, got {split!r}")
        manifest = check_fit(folder, None, None)
        listed = entries_of(manifest, folder)
        require(bool(listed), f"{folder / MANIFEST} lists no shard; {DAMAGED}")
        entries = [each for each in listed if each.split == split]
        longest = number_of(manifest, folder, "config", "max_length", LONGEST)
        sizes = [
            number_of(manifest, folder, name, "vocab_size", 1 << 32) for name in ("tokenizer", "student_tokenizer")
        ]
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

    def word_arrays(self) -> Iterator[tuple[tuple[Tokens, Tokens], ...]]:
        """Each shard's words, one after the other; only where the corpus was made with a student tokenizer."""
        for tensors in self._tensors:
            teacher, student = ((tensors[f"{side}tokens"], tensors[f"{side}pieces"]) for side in _PREFIXES)
            yield teacher, student

    def lengths(self, side: int = 0) -> NDArray[np.int64]:
        """Tokens of every sequence (S) in one tokenization, 0 or 1, for batching by length."""
        parts = [np.diff(tensors[f"{_PREFIXES[side]}offsets"]) for tensors in self._tensors]
        for path, part in zip(self._files, parts, strict=True):
            require(self._are_lengths(part), f"{path} is damaged, its sequences have no such lengths; {DAMAGED}")
        return np.concatenate([*parts, np.empty(0, np.uint64)]).astype(np.int64)

    def check_all(self) -> None:
        """Raise InputError where any sequence is not one; reads everything."""
        for path, tensors in zip(self._files, self._tensors, strict=True):
            for prefix in _PREFIXES if self.has_words else _PREFIXES[:1]:
                offsets, largest = tensors[f"{prefix}offsets"], tensors[f"{prefix}tokens"].max()
                sound = largest < self._vocab_sizes[prefix] and self._are_lengths(np.diff(offsets))
                if self.has_words and sound:
                    ends = np.concatenate([[0], np.cumsum(tensors[f"{prefix}pieces"], dtype=np.uint64)])
                    words = tensors["word_offsets"]
                    sound = words.max() < len(ends) and bool((ends[words.astype(np.int64)] == offsets).all())
                require(sound, f"{path} is damaged, it holds what no tokenizer of this corpus makes; {DAMAGED}")

    def _are_lengths(self, found: Tokens) -> bool:
        return bool(((found > 0) & (found <= self.longest)).all())

    def _locate(self, index: int) -> tuple[dict[str, Tokens], int]:
        # Negative indices are refused: in a sampler they are a bug, not a wish for the end.
        if not 0 <= index < self._starts[-1]:
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
        return InputError(f"{path} is damaged, sequence {index} of {self.split!r} is none; {DAMAGED}")


def _check(path: Path, entry: ShardEntry, tensors: Mapping[str, Tokens]) -> None:
    """A cheap check of what is about to be trusted; the rest is looked at where it is read, or by `verify`."""
    flat = _names(entry) <= tensors.keys() and all(
        each.ndim == 1 and each.dtype.kind == "u" for each in tensors.values()
    )
    require(flat, f"{path}: damaged header; {DAMAGED}")
    ends = entry.sha256_of_ends
    require(ends in ("", sha256_of_ends(path)), f"{path} is damaged at its beginning or end; {DAMAGED}")
    parts = [("offsets", "tokens", entry.tokens), ("student_offsets", "student_tokens", entry.student_tokens)]
    parts += [("word_offsets", pieces, entry.words) for pieces in ("pieces", "student_pieces")]
    for name, items, count in parts if entry.student_tokens else parts[:1]:
        offsets = tensors[name]
        fits = len(offsets) == entry.sequences + 1 and len(tensors[items]) == count
        sound = fits and offsets.dtype == np.uint64 and offsets[[0, -1]].tolist() == [0, count]
        require(sound, f"{path} does not match {MANIFEST}; {DAMAGED}")


def _names(entry: ShardEntry) -> set[str]:
    """The arrays a shard must have."""
    single = {"tokens", "offsets"}
    student = {"student_tokens", "student_offsets", "word_offsets", "pieces", "student_pieces"}
    return single | student if entry.student_tokens else single


def _reopen(folder: Path, split: str) -> TokenShards:
    return TokenShards.open(folder, split=split)


def verify(folder: str | Path) -> list[ShardEntry]:
    """Hash every shard of a prepared corpus, and look at all of it; returns what they are.

    InputError names a damaged file.
    """
    folder = Path(folder)
    entries = entries_of(check_fit(folder, None, None), folder)
    for entry in entries:
        path = folder / entry.file
        require(path.is_file(), f"{path} is missing; {DAMAGED}")
        found = sha256_of(path)
        require(
            found == entry.sha256,
            f"{path}: sha256 is {found[:12]}, the manifest says {entry.sha256[:12]}; {DAMAGED}",
        )
    for split in SPLITS:
        TokenShards.open(folder, split=split).check_all()
    return entries
