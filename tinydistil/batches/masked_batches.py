"""Masked batches from token sequences: which sequences a step sees, what of them a rank sees, and their masks.

Everything is a pure function of (seed, cursor): the order of an epoch, the global batch of a step, the masks. Ranks
and micro-batches are slices of the global batch, so it is the same for any number of them.
Letters: B sequences, T tokens (T' the teacher's), R rows, G sequences in a global batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from tinydistil.base.errors import require
from tinydistil.batches.batch import MaskedBatch, TeacherView
from tinydistil.batches.masking import MaskConfig, MaskedTokens, mask_tokens
from tinydistil.batches.order import Ids, OrderConfig, candidates_of, epoch_order
from tinydistil.batches.padding import Padded, WordStarts, pad_pieces, pad_words
from tinydistil.batches.shards import WordPair
from tinydistil.tokenizer.tokenizer import Tokenizer


class Sequences(Protocol):
    """Token sequences on disk, without special tokens, numbered from 0 (see `data.shards`).

    has_words: whether there are two tokenizations, 0 and 1, of the same words.
    """

    has_words: bool

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> NDArray[np.unsignedinteger]: ...

    def pair(self, index: int, /) -> WordPair:
        """Both tokenizations of a sequence, where there are two."""

    def lengths(self, side: int = 0, /) -> NDArray[np.int64]:
        """Tokens of every sequence in one tokenization."""


@dataclass(frozen=True, slots=True)
class Sides:
    """Which tokenization of the text, 0 or 1, the student reads, and which the teacher; None without a teacher."""

    student: int
    teacher: int | None

    @property
    def apart(self) -> bool:
        """Whether the teacher reads other tokens than the student."""
        return self.teacher not in (None, self.student)


def sides_of(made_with: Sequence[str], student: Tokenizer, teacher: Tokenizer | None, where: str) -> Sides:
    """Which of the tokenizations with fingerprints `made_with` each model reads: that of its own vocabulary.

    Raises InputError, naming `where` the text is from, if a model's is not among them.
    """
    found: list[int | None] = []
    for who, tokenizer in (("student", student), ("teacher", teacher)):
        place = None
        if tokenizer is not None:
            own = tokenizer.fingerprint
            require(
                own in made_with,
                f"{where} was made with the vocabulary {' and '.join(each[:12] for each in made_with)} (fingerprints), "
                f"the {who} reads with {own[:12]}; give the tokenizer that it was made with, or prepare it again with "
                "scripts/prepare.py --tokenizer DIR, and --student-tokenizer DIR where teacher and student differ",
            )
            place = list(made_with).index(own)
        found.append(place)
    assert found[0] is not None
    return Sides(found[0], found[1])


class MaskedBatches:
    """Makes the batches of one split. `batch_size` is the global one, G.

    With a `teacher_tokenizer` the teacher reads another tokenization than the student, whose is `tokenizer`, and every
    batch has a teacher's view. seed: of the order, and of the masks unless `mask_seed` is another. side: the
    tokenization that the student reads, where there are two; by default the second where the teacher reads the first.
    """

    def __init__(
        self,
        sequences: Sequences,
        tokenizer: Tokenizer,
        mask: MaskConfig,
        *,
        batch_size: int,
        seed: int,
        mask_seed: int | None = None,
        teacher_tokenizer: Tokenizer | None = None,
        side: int | None = None,
        order: OrderConfig | None = None,
    ) -> None:
        self.sequences, self.tokenizer, self.teacher_tokenizer = sequences, tokenizer, teacher_tokenizer
        self.side = int(teacher_tokenizer is not None) if side is None else side
        self.mask, self.order = mask, order or OrderConfig()
        self.batch_size, self.seed, self.mask_seed = batch_size, seed, seed if mask_seed is None else mask_seed
        self._lengths = self.lengths() if self.order != OrderConfig() else None
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
        self._starts = WordStarts(tokenizer)
        self._epoch: tuple[int, Ids] = (-1, np.empty(0, np.int64))

    @property
    def mean_tokens(self) -> float:
        """Tokens of a global batch on average, special ones included; from 1,000 sequences."""
        sample = [self.length(int(i)) for i in self.candidates[:1000]]
        return self.batch_size * sum(sample) / len(sample)

    def lengths(self) -> Ids:
        """The student's tokens of every sequence, special ones included."""
        return self.sequences.lengths(self.side) + 2

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
        if not self.sequences.has_words:
            student = pad_pieces(self.tokenizer, [self.sequences[int(i)] for i in sequence_ids], self._starts)
            return self._batch(student, self._masked(student, sequence_ids, epoch), sequence_ids, None)
        pairs = [self.sequences.pair(int(i)) for i in sequence_ids]
        student = pad_words(self.tokenizer, [pair.side(self.side) for pair in pairs])
        masked = self._masked(student, sequence_ids, epoch)
        if self.teacher_tokenizer is None:
            return self._batch(student, masked, sequence_ids, None)
        teacher = pad_words(self.teacher_tokenizer, [pair.side(1 - self.side) for pair in pairs])
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
            seed=self.mask_seed,
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
            view.valid_mask,
            view.word_index,
            positions=torch.from_numpy(masked.rows),
            targets=torch.from_numpy(masked.targets),
            sequence_ids=torch.from_numpy(sequence_ids),
            teacher=teacher,
        )

    def length(self, index: int) -> int:
        """The student's tokens of a sequence, special ones included."""
        return len(self.sequences.pair(index).side(self.side)[0] if self.side else self.sequences[index]) + 2

    def _nothing(self) -> MaskedBatch:
        """A batch in which nothing counts: it keeps a rank without sequences in step with the others."""
        none = torch.empty(0, dtype=torch.int64)
        view = _empty_view(self.tokenizer)
        teacher = None if self.teacher_tokenizer is None else _empty_view(self.teacher_tokenizer)
        arrays = (view.input_ids, view.original_ids, view.attention_mask, view.valid_mask, view.word_index)
        return MaskedBatch(*arrays, positions=none, targets=none, sequence_ids=none, teacher=teacher)


def _teacher_view(padded: Padded, input_ids: NDArray[np.int64]) -> TeacherView:
    arrays = (input_ids, padded.ids, padded.real.astype(np.int64), padded.real, padded.words)
    return TeacherView(*map(torch.from_numpy, arrays))


def _empty_view(tokenizer: Tokenizer) -> TeacherView:
    ids = torch.tensor([[tokenizer.cls_id, tokenizer.sep_id]])
    none = torch.zeros_like(ids, dtype=torch.bool)
    return TeacherView(ids, ids, torch.ones_like(ids), none, torch.full_like(ids, -1))
