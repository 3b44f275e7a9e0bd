"""Sequences: whole sentences of one document, packed up to a maximum length.

Shapes: S sentences or sequences, W words of a document, T tokens of a document on one side.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate, chain, pairwise

import numpy as np

from tinydistil.batches.shards import DocumentSequences, Size
from tinydistil.tokenizer.word_encoder import WordEncoder


def build_sequences(sentences: Sequence[str], encoder: WordEncoder, *, packed: bool = True) -> DocumentSequences:
    """Encode the sentences of one document and pack them into sequences of at most `encoder.capacity` tokens.

    Not `packed`, each sentence is a sequence of its own. Concatenated, the sequences are the document's tokens,
    every one, in order.
    """
    split, ids = encoder.encode(sentences)
    pieces = encoder.pieces(split) if len(ids) == 2 else []
    dtypes = (*encoder.token_dtypes, encoder.piece_dtype)
    # With two sides a third column counts the words, by the pieces of either side.
    columns = [
        [len(each) // dtype.itemsize for each in column]
        for column, dtype in zip([*ids, *pieces[:1]], dtypes, strict=False)
    ]
    stretches = _cut_long(columns, split, encoder)
    return DocumentSequences(
        ids=tuple(map(b"".join, ids)),
        pieces=tuple(map(b"".join, pieces)),
        sizes=tuple(pack(stretches, encoder.capacity) if packed else _with_tokens(zip(*stretches, strict=True))),
    )


def pack(columns: Sequence[Sequence[int]], capacity: int) -> list[Size]:
    """Join neighbouring stretches of text greedily while no summed size passes `capacity`.

    `columns` holds the sizes of all stretches on one side, then on the other, and so on; none is above
    `capacity`. Greedy is best here: sequences hold consecutive stretches, so filling each as far as it goes
    leaves the fewest. Words ride along as a column: they never outnumber their pieces, so they never decide.
    """
    # With running totals the end of each sequence is one binary search a column, not a step a sentence.
    totals = [[0, *accumulate(column)] for column in columns]
    bounds = [0]
    while bounds[-1] < len(columns[0]):
        start = bounds[-1]
        bounds.append(min(bisect_right(total, total[start] + capacity, start + 1) - 1 for total in totals))
    sizes = [[total[end] - total[start] for start, end in pairwise(bounds)] for total in totals]
    return _with_tokens(zip(*sizes, strict=True))


def _with_tokens(sizes: Iterable[Size]) -> list[Size]:
    """The sizes but those of sentences without tokens, which would be sequences of none."""
    return [size for size in sizes if size[0]]


def _cut_long(columns: list[list[int]], split: Sequence[list[str]], encoder: WordEncoder) -> Sequence[Sequence[int]]:
    """The columns, each sentence longer than a sequence replaced by parts that end where words do."""
    if max(chain.from_iterable(columns), default=0) <= encoder.capacity:
        return columns
    rows: list[Size] = []
    for parts, row in zip(split, zip(*columns, strict=True), strict=True):
        if max(row) <= encoder.capacity:
            rows.append(row)
            continue
        # Rare, one sentence in 700 of mixed Portuguese, so plain lists do.
        words = [np.frombuffer(each, encoder.piece_dtype).tolist() for (each,) in encoder.pieces([parts])]
        rows += pack(words + [[1] * len(words[0])] * (len(words) - 1), encoder.capacity)
    return list(zip(*rows, strict=True))
