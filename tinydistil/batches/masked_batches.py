"""Masked batches from token sequences: which sequences a step sees, what of them a rank sees, and their masks.

Everything is a pure function of (seed, cursor): the order of an epoch, the global batch of a step, the masks. Ranks
and micro-batches are slices of the global batch, so it is the same for any number of them.
Shapes: B sequences, T tokens (T' the teacher's), R rows, G sequences in a global batch.
"""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tinydistil.base.errors import require
from tinydistil.batches.batch import MaskedBatch, Padded, TeacherView, WordStarts, pad_pieces, pad_words
from tinydistil.batches.sampling import Ids, MaskConfig, OrderConfig, candidates_of, epoch_order, mask_tokens
from tinydistil.batches.shards import WordPair
from tinydistil.tokenizer.tokenizer import Tokenizer


class Sequences(Protocol):
    """Token sequences on disk, without special tokens, numbered from 0 (see `shards`).

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
        """The batch of these sequences with the masks of `epoch`, padded to the longest.

        Without a sequence nothing in it counts: it keeps a rank in step with the others.
        """
        if not len(sequence_ids):
            none = torch.empty(0, dtype=torch.int64)
            own = _empty(self.tokenizer)
            view = None if self.teacher_tokenizer is None else TeacherView(*_empty(self.teacher_tokenizer))
            return MaskedBatch(*own, none, none, none, view, epoch)
        teacher: Padded | None = None
        if not self.sequences.has_words:
            student = pad_pieces(self.tokenizer, [self.sequences[int(i)] for i in sequence_ids], self._starts)
        else:
            pairs = [self.sequences.pair(int(i)) for i in sequence_ids]
            student = pad_words(self.tokenizer, [pair.side(self.side) for pair in pairs])
            if self.teacher_tokenizer is not None:
                teacher = pad_words(self.teacher_tokenizer, [pair.side(1 - self.side) for pair in pairs])
        masked = mask_tokens(
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
        view = None
        if teacher is not None and self.teacher_tokenizer is not None:
            # What the student is asked for is masked whole where the teacher reads it.
            in_masked_words = teacher.words_in(student.words_at(masked.rows))
            shown = np.where(in_masked_words, self.teacher_tokenizer.mask_id, teacher.ids)
            view = TeacherView(*_arrays(teacher, shown))
        positions, targets, ids = map(torch.from_numpy, (masked.rows, masked.targets, sequence_ids))
        return MaskedBatch(*_arrays(student, masked.input_ids), positions, targets, ids, view, epoch)

    def length(self, index: int) -> int:
        """The student's tokens of a sequence, special ones included."""
        return len(self.sequences.pair(index).side(self.side)[0] if self.side else self.sequences[index]) + 2


_Five = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]  # what a batch and a teacher's view begin with


def _arrays(padded: Padded, input_ids: NDArray[np.int64]) -> _Five:
    valid = torch.from_numpy(padded.real)
    ids, original, words = map(torch.from_numpy, (input_ids, padded.ids, padded.words))
    return ids, original, valid.long(), valid, words


def _empty(tokenizer: Tokenizer) -> _Five:
    ids = torch.tensor([[tokenizer.cls_id, tokenizer.sep_id]])
    return ids, ids, torch.ones_like(ids), torch.zeros_like(ids, dtype=torch.bool), torch.full_like(ids, -1)


class Prefetched:
    """`MaskedBatches`, one step ahead on a thread of its own; where the device is an accelerator, in pinned memory.

    A batch is a pure function of its cursor, so nothing changes but when it is made, and a resumed or repeated cursor
    costs one batch made in vain. One thread is enough: masks are numpy, and a step takes ten times as long. An error in
    the making is raised where the batch is asked for.
    """

    def __init__(self, batches: MaskedBatches, *, pinned: bool = False) -> None:
        self._batches, self._pinned = batches, pinned
        self.batches_per_epoch = batches.batches_per_epoch
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._next: tuple[tuple[int, ...], Future[list[MaskedBatch]]] | None = None

    @property
    def mean_tokens(self) -> float:
        """Tokens of a global batch on average."""
        return self._batches.mean_tokens

    def global_batch(self, cursor: int) -> tuple[int, Ids]:
        """The epoch and the sequence numbers of the `cursor`-th batch since the start of the run."""
        return self._batches.global_batch(cursor)

    def micro_batches(self, cursor: int, *, rank: int, world_size: int, accumulation: int) -> Sequence[MaskedBatch]:
        """This rank's share of the `cursor`-th global batch; the next one is begun."""
        asked = (cursor, rank, world_size, accumulation)
        begun, ready = self._next or (None, None)
        if ready is None or begun != asked:
            ready = self._pool.submit(self._make, *asked)
        made = ready.result()
        following = (cursor + 1, rank, world_size, accumulation)
        self._next = (following, self._pool.submit(self._make, *following))
        return made

    def _make(self, cursor: int, rank: int, world_size: int, accumulation: int) -> list[MaskedBatch]:
        made = self._batches.micro_batches(cursor, rank=rank, world_size=world_size, accumulation=accumulation)
        return [batch.pinned() for batch in made] if self._pinned else made
