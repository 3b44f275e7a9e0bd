"""Masked batches from token sequences: which sequences a step sees, what of them a rank sees, and their masks.

Everything is a pure function of (seed, cursor): the order of an epoch, the global batch of a step, the masks. Ranks
and micro-batches are slices of the global batch, so it is the same for any number of them.
Letters: B sequences, T tokens (T' the teacher's), R rows, G sequences in a global batch.
"""

from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from tinydistil.data.masking import MaskConfig, MaskedTokens, mask_tokens
from tinydistil.data.order import Ids, OrderConfig, candidates_of, epoch_order
from tinydistil.data.padding import Padded, continues_word, pad_pieces, pad_words
from tinydistil.data.shards import WordPair
from tinydistil.errors import require
from tinydistil.model.batch import MaskedBatch, TeacherView
from tinydistil.text.tokenizer import Tokenizer


class Sequences(Protocol):
    """Token sequences on disk, without special tokens, numbered from 0 (see `data.shards`)."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> NDArray[np.unsignedinteger]: ...

    def pair(self, index: int, /) -> WordPair:
        """Both tokenizations of a sequence, where there are two: the teacher's and the student's."""

    def lengths(self) -> NDArray[np.int64]:
        """Tokens of every sequence, of the first tokenization where there are two."""


class MaskedBatches:
    """Makes the batches of one split. `batch_size` is the global one, G.

    With a `teacher_tokenizer` sequences are pairs: `tokenizer` is the student's, and every batch has a teacher's view.
    """

    def __init__(
        self,
        sequences: Sequences,
        tokenizer: Tokenizer,
        mask: MaskConfig,
        *,
        batch_size: int,
        seed: int,
        teacher_tokenizer: Tokenizer | None = None,
        order: OrderConfig | None = None,
    ) -> None:
        self.sequences, self.tokenizer, self.teacher_tokenizer = sequences, tokenizer, teacher_tokenizer
        self.mask, self.order = mask, order or OrderConfig()
        self.batch_size, self.seed = batch_size, seed
        self._lengths = sequences.lengths() + 2 if self.order != OrderConfig() else None
        self.candidates = candidates_of(len(sequences), self._lengths, self.order)
        require(batch_size >= 1, f"batch_size must be >= 1, got {batch_size}")
        short = f" of at most {self.order.longest} tokens" if self.order.longest else ""
        require(
            len(self.candidates) >= batch_size,
            f"batch_size must be <= {len(self.candidates)}, the sequences of the corpus{short}, got {batch_size}",
        )
        self.batches_per_epoch = len(self.candidates) // batch_size
        special = {tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id, tokenizer.mask_id, tokenizer.unk_id}
        self._ordinary_ids = np.array([i for i in range(tokenizer.vocab_size) if i not in special])
        self._continues = continues_word(tokenizer)
        self._epoch: tuple[int, Ids] = (-1, np.empty(0, np.int64))

    @property
    def mean_tokens(self) -> float:
        """Tokens of a global batch on average, special ones included; from 1,000 sequences."""
        sample = [self.length(int(i)) for i in self.candidates[:1000]]
        return self.batch_size * sum(sample) / len(sample)

    def global_batch(self, cursor: int) -> tuple[int, Ids]:
        """The epoch and the sequence numbers (G,) of the `cursor`-th batch since the start of the run."""
        epoch, place = divmod(cursor, self.batches_per_epoch)
        kept, order = self._epoch  # at once: a thread that makes the next batch may put another epoch's there
        if kept != epoch:
            order = epoch_order(
                self.candidates, self._lengths, self.batch_size, self.order.window, seed=self.seed, epoch=epoch
            )
            self._epoch = (epoch, order)
        return epoch, order[place * self.batch_size : (place + 1) * self.batch_size]

    def micro_batches(self, cursor: int, *, rank: int, world_size: int, accumulation: int) -> list[MaskedBatch]:
        """This rank's share of the `cursor`-th global batch, in `accumulation` parts; some may hold no sequence."""
        epoch, ids = self.global_batch(cursor)
        parts, masks = world_size * accumulation, epoch % self.mask.epochs if self.mask.epochs else epoch
        return [self.collate(ids[rank * accumulation + part :: parts], masks) for part in range(accumulation)]

    def collate(self, sequence_ids: Ids, epoch: int) -> MaskedBatch:
        """The batch of these sequences with the masks of `epoch`, padded to the longest."""
        batch = self._collated(sequence_ids, epoch) if len(sequence_ids) else self._nothing()
        return replace(batch, epoch=epoch)

    def _collated(self, sequence_ids: Ids, epoch: int) -> MaskedBatch:
        if self.teacher_tokenizer is None:
            student = pad_pieces(self.tokenizer, [self.sequences[int(i)] for i in sequence_ids], self._continues)
            return self._batch(student, self._masked(student, sequence_ids, epoch), sequence_ids, None)
        pairs = [self.sequences.pair(int(i)) for i in sequence_ids]
        student = pad_words(self.tokenizer, [(pair.student_tokens, pair.student_pieces) for pair in pairs])
        teacher = pad_words(self.teacher_tokenizer, [(pair.tokens, pair.pieces) for pair in pairs])
        masked = self._masked(student, sequence_ids, epoch)
        asked = student.words_at(masked.rows)
        view = _teacher_view(teacher, np.where(teacher.words_in(asked), self.teacher_tokenizer.mask_id, teacher.ids))
        return self._batch(student, masked, sequence_ids, view)

    def _masked(self, student: Padded, sequence_ids: Ids, epoch: int) -> MaskedTokens:
        return mask_tokens(
            student.ids,
            student.text & (student.ids != self.tokenizer.unk_id),
            sequence_ids,
            self.mask,
            mask_id=self.tokenizer.mask_id,
            ordinary_ids=self._ordinary_ids,
            seed=self.seed,
            epoch=epoch,
            word_index=student.words,
        )

    def _batch(
        self, student: Padded, masked: MaskedTokens, sequence_ids: Ids, teacher: TeacherView | None
    ) -> MaskedBatch:
        view = _teacher_view(student, masked.input_ids)  # the same five arrays
        return MaskedBatch(
            view.input_ids,
            view.original_ids,
            view.attention_mask,
            view.counted,
            view.word_index,
            rows=torch.from_numpy(masked.rows),
            targets=torch.from_numpy(masked.targets),
            sequence_ids=torch.from_numpy(sequence_ids),
            teacher=teacher,
        )

    def length(self, index: int) -> int:
        """The student's tokens of a sequence, special ones included."""
        alone = self.teacher_tokenizer is None
        return len(self.sequences[index] if alone else self.sequences.pair(index).student_tokens) + 2

    def _nothing(self) -> MaskedBatch:
        """A batch in which nothing counts: it keeps a rank without sequences in step with the others."""
        none = torch.empty(0, dtype=torch.int64)
        view = _empty_view(self.tokenizer)
        teacher = None if self.teacher_tokenizer is None else _empty_view(self.teacher_tokenizer)
        arrays = (view.input_ids, view.original_ids, view.attention_mask, view.counted, view.word_index)
        return MaskedBatch(*arrays, rows=none, targets=none, sequence_ids=none, teacher=teacher)


def _teacher_view(padded: Padded, input_ids: NDArray[np.int64]) -> TeacherView:
    arrays = (input_ids, padded.ids, padded.real.astype(np.int64), padded.real, padded.words)
    return TeacherView(*map(torch.from_numpy, arrays))


def _empty_view(tokenizer: Tokenizer) -> TeacherView:
    ids = torch.tensor([[tokenizer.cls_id, tokenizer.sep_id]])
    none = torch.zeros_like(ids, dtype=torch.bool)
    return TeacherView(ids, ids, torch.ones_like(ids), none, torch.full_like(ids, -1))
