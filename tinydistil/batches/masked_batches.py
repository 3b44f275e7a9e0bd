"""Masked batches from token sequences: which sequences a step sees, what of them a rank sees, and their masks.

Everything is a pure function of (seed, cursor): the order of an epoch, the global batch of a step, the masks. Ranks
and micro-batches are slices of the global batch, so it is the same for any number of them.
Shapes: B sequences, T tokens (T' the teacher's), W words, R masked positions, G sequences in a global batch.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tinydistil.base.errors import require
from tinydistil.batches.pairs import PairMaker, PairView
from tinydistil.batches.sampling import (
    Ids,
    MaskConfig,
    OrderConfig,
    Padded,
    Tokens,
    candidates_of,
    epoch_order,
    mask_tokens,
    padded,
)
from tinydistil.batches.shards import WordPair
from tinydistil.tokenizer.rules import WordStarts
from tinydistil.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class TeacherView:
    """The B sequences of a batch in the tokens of a teacher with another vocabulary; all (B, T').

    input_ids: the text in which every word that the student is asked about is masked whole. original_ids,
    attention_mask, valid_mask, word_index: as in `MaskedBatch`; word w is the same word of the text on both sides.
    """

    input_ids: Tensor
    original_ids: Tensor
    attention_mask: Tensor
    valid_mask: Tensor
    word_index: Tensor


_READ = tuple(field.name for field in fields(TeacherView))  # what each side has


@dataclass(frozen=True, slots=True)
class MaskedBatch:
    """What teacher and student see of B sequences, and what is asked of the student.

    input_ids, attention_mask (B, T): the masked text. original_ids (B, T): the text before. valid_mask (B, T): tokens
    whose hidden states are compared, False at padding. word_index (B, T): each token's word, negative at special
    tokens and padding. positions (R,): the masked tokens among the flattened B * T; targets (R,): their ids.
    sequence_ids (B,): the sequences' numbers. epoch: of its masks. tokens: all but padding. teacher: what a teacher of
    another vocabulary sees, None where both read the same tokens: the teacher reads `batch.teacher or batch`. pairs:
    two texts in one input, by the kind of pair. unk_ids: of [UNK] on both sides, the student's and the teacher's.
    """

    input_ids: Tensor
    original_ids: Tensor
    attention_mask: Tensor
    valid_mask: Tensor
    word_index: Tensor
    positions: Tensor
    targets: Tensor
    sequence_ids: Tensor
    teacher: TeacherView | None = None
    epoch: int = 0
    pairs: Mapping[str, PairView] = field(default_factory=dict)
    tokens: int = field(kw_only=True)
    unk_ids: tuple[int, int] = (-1, -1)

    @property
    def num_words(self) -> int:
        """Words of a sequence at most: no more than tokens on either side."""
        return min(self.input_ids.shape[1], (self.teacher or self).input_ids.shape[1])

    def to(self, device: torch.device | None) -> "MaskedBatch":
        """The batch on `device`; None: in memory that an accelerator copies from while the processor goes on."""
        move = Tensor.pin_memory if device is None else lambda tensor: tensor.to(device, non_blocking=True)
        own: dict[str, Any] = {
            name: move(getattr(self, name)) for name in (*_READ, "positions", "targets", "sequence_ids")
        }
        view = None if self.teacher is None else TeacherView(*(move(getattr(self.teacher, name)) for name in _READ))
        return replace(self, **own, teacher=view, pairs={kind: each.map(move) for kind, each in self.pairs.items()})


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


class MaskedBatches:
    """Makes the batches of one split. `batch_size` is the global one, G.

    With a `teacher_tokenizer` the teacher reads other tokens than the student, whose is `tokenizer`, and every batch
    has a teacher's view: of another tokenization, or of the same with `teacher_prefix` before each text, which counts
    among its valid tokens where `pools_prefix`. seed: of the order, and of the masks unless `mask_seed` is another.
    side: the tokenization that the student reads, where there are two; by default the second where the teacher reads
    the first. pairs: the kinds of pairs that batches have, too (see `pairs`).
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
        teacher_prefix: Sequence[int] = (),
        pools_prefix: bool = True,
        side: int | None = None,
        order: OrderConfig | None = None,
        pairs: Sequence[str] = (),
    ) -> None:
        self.sequences, self.tokenizer, self.teacher_tokenizer = sequences, tokenizer, teacher_tokenizer
        apart = teacher_tokenizer is not None and teacher_tokenizer.fingerprint != tokenizer.fingerprint
        self.side = int(apart) if side is None else side
        self._teacher_side = 1 - self.side if apart else self.side
        self._prefix, self._pools_prefix = np.array(teacher_prefix, np.uint32), pools_prefix
        self.mask, self.order = mask, order or OrderConfig()
        self.batch_size, self.seed, self.mask_seed = batch_size, seed, seed if mask_seed is None else mask_seed
        self._lengths = self.lengths() if self.order != OrderConfig() else None
        self.candidates = candidates_of(len(sequences), self._lengths, self.order)
        require(batch_size >= 1, f"batch_size must be >= 1, got {batch_size}")
        short = f" of at least {self.order.shortest} tokens" if self.order.shortest else ""
        short += f" of at most {self.order.longest} tokens" if self.order.longest else ""
        require(
            len(self.candidates) >= batch_size,
            f"batch_size must be <= {len(self.candidates)}, the sequences of the corpus{short}, got {batch_size}",
        )
        self.batches_per_epoch = len(self.candidates) // batch_size
        special = {tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id, tokenizer.mask_id, tokenizer.unk_id}
        self._ordinary_ids = np.array([i for i in range(tokenizer.vocab_size) if i not in special])
        self._starts = WordStarts(tokenizer)
        self.pair_makers = {kind: PairMaker(kind, tokenizer, self._read, self.candidates, seed=seed) for kind in pairs}
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
        rate = self.mask.rate_at(cursor / self.batches_per_epoch) if self.mask.final_rate else None
        return [self.collate(ids[rank * accumulation + part :: parts], masks, rate) for part in range(accumulation)]

    def length(self, index: int) -> int:
        """The student's tokens of a sequence, special ones included."""
        return len(self._read(index)) + 2

    def _read(self, index: int) -> Tokens:
        return self.sequences.pair(index).side(self.side)[0] if self.side else self.sequences[index]

    def collate(self, sequence_ids: Ids, epoch: int, rate: float | None = None) -> MaskedBatch:
        """The batch of these sequences with the masks of `epoch`, of the first rate or `rate`, padded to the longest.

        Without a sequence nothing in it counts: it keeps a rank in step with the others.
        """
        own, theirs = self.tokenizer, self.teacher_tokenizer
        if not len(sequence_ids):
            none = torch.empty(0, dtype=torch.int64)
            view = None if theirs is None else TeacherView(*_empty(theirs))
            pairs = {kind: make(none.numpy(), epoch) for kind, make in self.pair_makers.items()}
            return MaskedBatch(*_empty(own), none, none, none, view, epoch, pairs, tokens=0)
        both = [self.sequences.pair(int(i)) for i in sequence_ids] if self.sequences.has_words else []
        single = [] if both else [self.sequences[int(i)] for i in sequence_ids]
        read = [pair.side(self.side) for pair in both]
        student = padded(own, single or [each for each, _ in read], [each for _, each in read] or self._starts)
        masked = mask_tokens(
            student.ids,
            student.text & (student.ids != own.unk_id),
            sequence_ids,
            self.mask,
            mask_id=own.mask_id,
            ordinary_ids=self._ordinary_ids,
            seed=self.mask_seed,
            epoch=epoch,
            word_index=student.words,
            rate=rate,
        )
        view = None
        if theirs is not None:
            read = [pair.side(self._teacher_side) for pair in both]
            words = [each for _, each in read] or self._starts
            teacher = padded(theirs, single or [each for each, _ in read], words, self._prefix)
            # What the student is asked for is masked whole where the teacher reads it.
            asked = np.zeros_like(student.text)  # (B, W), W = T
            asked[masked.rows // asked.shape[1], student.words.reshape(-1)[masked.rows]] = True
            in_words = np.take_along_axis(asked, np.clip(teacher.words, 0, asked.shape[1] - 1), 1) & teacher.text
            view = TeacherView(*_tensors(teacher, np.where(in_words, theirs.mask_id, teacher.ids)))
            if not self._pools_prefix:  # nor the [CLS] before it, as sentence-transformers has it
                view.valid_mask[:, : len(self._prefix) + 1] = False
        positions, targets, ids = map(torch.from_numpy, (masked.rows, masked.targets, sequence_ids))
        pairs, tokens = {k: make(sequence_ids, epoch) for k, make in self.pair_makers.items()}, int(student.valid.sum())
        made, unks = _tensors(student, masked.input_ids), (own.unk_id, (theirs or own).unk_id)
        return MaskedBatch(*made, positions, targets, ids, view, epoch, pairs, tokens=tokens, unk_ids=unks)


def _tensors(side: Padded, input_ids: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """What a batch and a teacher's view begin with."""
    shown, original, valid, words = map(torch.from_numpy, (input_ids, side.ids, side.valid, side.words))
    return shown, original, valid.long(), valid, words


def _empty(tokenizer: Tokenizer) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
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
        self.batches_per_epoch, self.mean_tokens = batches.batches_per_epoch, batches.mean_tokens
        self.global_batch = batches.global_batch
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._next: tuple[tuple[int, ...], Future[list[MaskedBatch]]] | None = None

    def micro_batches(self, cursor: int, *, rank: int, world_size: int, accumulation: int) -> Sequence[MaskedBatch]:
        """This rank's share of the `cursor`-th global batch; the next one is begun."""
        asked, following = ((each, rank, world_size, accumulation) for each in (cursor, cursor + 1))
        begun, ready = self._next or (None, None)
        made = (ready if ready is not None and begun == asked else self._pool.submit(self._make, *asked)).result()
        self._next = (following, self._pool.submit(self._make, *following))
        return made

    def _make(self, cursor: int, rank: int, world_size: int, accumulation: int) -> list[MaskedBatch]:
        made = self._batches.micro_batches(cursor, rank=rank, world_size=world_size, accumulation=accumulation)
        return [batch.to(None) for batch in made] if self._pinned else made
