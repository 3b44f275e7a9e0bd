"""Masked batches from token sequences: which sequences a step sees, what of them a rank sees, and their masks.

Everything is a pure function of (seed, cursor): the order of an epoch, the global batch of a step, the masks. Ranks
and micro-batches are slices of the global batch, so it is the same for any number of them.
Letters: B sequences, T tokens (T' the teacher's), R rows, G sequences in a global batch.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from tinydistil.data.masking import MaskConfig, mask_tokens
from tinydistil.errors import require
from tinydistil.model.batch import MaskedBatch
from tinydistil.text.tokenizer import Tokenizer

Ids = NDArray[np.int64]


class Sequences(Protocol):
    """Token sequences on disk, without special tokens, numbered from 0 (see `data.shards`)."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> NDArray[np.unsignedinteger]: ...


class MaskedBatches:
    """Makes the batches of one split. `batch_size` is the global one, G."""

    def __init__(
        self, sequences: Sequences, tokenizer: Tokenizer, mask: MaskConfig, *, batch_size: int, seed: int
    ) -> None:
        require(batch_size >= 1, f"batch_size must be >= 1, got {batch_size}")
        require(
            len(sequences) >= batch_size,
            f"batch_size must be <= {len(sequences)}, the sequences of the corpus, got {batch_size}",
        )
        self.sequences, self.tokenizer, self.mask = sequences, tokenizer, mask
        self.batch_size, self.seed = batch_size, seed
        self.batches_per_epoch = len(sequences) // batch_size
        special = {tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id, tokenizer.mask_id, tokenizer.unk_id}
        self._ordinary_ids = np.array([i for i in range(tokenizer.vocab_size) if i not in special])
        self._continues = np.array([tokenizer.token(i).startswith("##") for i in range(tokenizer.vocab_size)])
        self._order: tuple[int, Ids] = (-1, np.empty(0, np.int64))

    @property
    def mean_tokens(self) -> float:
        """Tokens of a global batch on average, special ones included; from the first 1,000 sequences."""
        sample = [len(self.sequences[i]) + 2 for i in range(min(1000, len(self.sequences)))]
        return self.batch_size * sum(sample) / len(sample)

    def global_batch(self, cursor: int) -> tuple[int, Ids]:
        """The epoch and the sequence numbers (G,) of the `cursor`-th batch since the start of the run."""
        epoch, place = divmod(cursor, self.batches_per_epoch)
        if self._order[0] != epoch:
            order = np.random.default_rng((self.seed, epoch)).permutation(len(self.sequences))
            self._order = (epoch, order)
        return epoch, self._order[1][place * self.batch_size : (place + 1) * self.batch_size]

    def micro_batches(self, cursor: int, *, rank: int, world_size: int, accumulation: int) -> list[MaskedBatch]:
        """This rank's share of the `cursor`-th global batch, in `accumulation` parts; some may hold no sequence."""
        epoch, ids = self.global_batch(cursor)
        parts = world_size * accumulation
        return [self.collate(ids[rank * accumulation + part :: parts], epoch) for part in range(accumulation)]

    def collate(self, sequence_ids: Ids, epoch: int) -> MaskedBatch:
        """The batch of these sequences with the masks of `epoch`, padded to the longest."""
        if len(sequence_ids) == 0:
            return self._nothing()
        tokens = [self.sequences[int(i)].astype(np.int64) for i in sequence_ids]
        ids = _padded([[self.tokenizer.cls_id, *row, self.tokenizer.sep_id] for row in tokens], self.tokenizer.pad_id)
        lengths = np.array([len(row) for row in tokens])
        places = np.arange(ids.shape[1])
        ordinary = (places > 0) & (places <= lengths[:, None])
        words = np.where(ordinary, np.cumsum(ordinary & ~self._continues[ids], 1) - 1, -1)
        masked = mask_tokens(
            ids,
            ordinary & (ids != self.tokenizer.unk_id),
            sequence_ids,
            self.mask,
            mask_id=self.tokenizer.mask_id,
            ordinary_ids=self._ordinary_ids,
            seed=self.seed,
            epoch=epoch,
            word_index=words,
        )
        real = places < lengths[:, None] + 2
        arrays = (masked.input_ids, ids, real.astype(np.int64), real, words, masked.rows, masked.targets, sequence_ids)
        return MaskedBatch(*map(torch.from_numpy, arrays))

    def _nothing(self) -> MaskedBatch:
        """A batch in which nothing counts: it keeps a rank without sequences in step with the others."""
        ids = torch.tensor([[self.tokenizer.cls_id, self.tokenizer.sep_id]])
        none = torch.empty(0, dtype=torch.int64)
        return MaskedBatch(
            ids, ids, torch.ones_like(ids), torch.zeros_like(ids, dtype=torch.bool), ids * 0 - 1, none, none, none
        )


def _padded(rows: Sequence[Sequence[int]], fill: int) -> Ids:
    longest = max(len(row) for row in rows)
    padded = np.full((len(rows), longest), fill, np.int64)
    for place, row in enumerate(rows):
        padded[place, : len(row)] = row
    return padded
