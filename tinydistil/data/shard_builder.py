"""Writing a shard: the sequences of documents, collected and written as one file (see `shards`)."""

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from tinydistil.data.sequences import DocumentSequences
from tinydistil.data.shards import PREFIXES, ShardEntry, Tokens
from tinydistil.data.words import WordEncoder
from tinydistil.files import sha256_of_ends, write_atomic


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
        for side, (prefix, dtype) in enumerate(zip(PREFIXES, self._encoder.token_dtypes, strict=False)):
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
