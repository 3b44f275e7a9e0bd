"""What a teacher says of a corpus, written down once and read back in training, so that it need not run again.

A cache is bound to everything its numbers depend on (teacher, vocabularies, text, masks, recipe); one that was made for
anything else is refused by the field that differs. Its sequences are cut into parts, one file for each part and mask
epoch, whole or absent, so an interrupted writing goes on with the next part. A part (see `cache_part`) holds:

    rows (R, E) fp16                           the teacher's rows at masked tokens: its exact distribution, or
    ids (R, N), log_probs (R, N) fp16, rest (R,) fp32    its likeliest tokens, a draw of the rest, and the rest's mass
    hidden (N, F), pooled (S, F) fp16          the vectors that the recipe compares, centred, reduced and whitened, or
    hidden (N, F) int8, hidden_steps (N, 1) fp32, and so on         the same in 8 bits: codes times steps

Letters: S sequences, R rows, E teacher width, N tokens or words, F width of a prepared vector,
B sequences of a batch, T tokens.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tinydistil.base.claim import Ownership
from tinydistil.base.config import Checked, OneOf, Range
from tinydistil.base.errors import require
from tinydistil.batches.batch import MaskedBatch
from tinydistil.distill.cache_part import Part, read_sealed, write_part, write_sealed
from tinydistil.distill.learner import Learner
from tinydistil.distill.representation import there
from tinydistil.distill.teacher import TeacherSignal
from tinydistil.distill.vocabulary_loss import SparseTargets, sparse_targets
from tinydistil.model.heads import BertForMaskedLM, Decoding

KINDS = ("top", "hidden")
PROJECTIONS = "projections.safetensors"
OWNERSHIP = Ownership(
    "cache.json",
    # Parts too: what another cache wrote fails its checksum and is written anew.
    lambda name: name == PROJECTIONS or re.fullmatch(r"epoch-\d+-part-\d+\.safetensors", name) is not None,
    noun="teacher_cache",
    remedy="give the same value, or another --teacher-cache",
)
# Sequences of a part: some 1.6 MB a part for short sentences with top tokens, 50 MB for full blocks with all of a row.
PART = 1024
# Files of a cache: 100 million sequences in one epoch of masks, or 10,000 in 10,000 epochs.
MOST_PARTS = 200_000
# Parts that are kept open, each a memory map and a file handle; opening one takes 0.4 ms.
_MOST_OPEN = 256


@dataclass(frozen=True)
class CacheConfig(Checked, table="cache"):
    """What is kept of a teacher, and how finely.

    words: of each masked token the `top` likeliest words, and so many `drawn` from the rest, whose mass they share
    ("top"), or the "hidden" row that all of them come from, exactly. vector_bits: of each number of the vectors that
    are compared, 16, or 8 with a scale for each vector.
    """

    words: Annotated[str, OneOf(KINDS)] = "top"
    # Held-out masked LM loss of 2 x 128 after 200 steps of `total`, the live teacher's 6.798: 8 and 64 6.804, 32 and 32
    # 6.806; with the rest as one outcome, none drawn, 8 6.811, 32 6.823, 128 6.839; shaped like the mean word 6.856.
    # No vocabulary has a hundred thousand words whose rows would not be kept whole (words=hidden) for less.
    top: Annotated[int, Range(1, 100_000)] = 8
    drawn: Annotated[int, Range(1, 100_000)] = 64
    vector_bits: Annotated[int, OneOf((8, 16))] = 16


@dataclass(frozen=True, slots=True)
class TeacherCache:
    """A folder of parts for `sequences` (S,), ascending numbers, and `epochs` epochs of masks.

    seed: of the checksums, a number of all that the cache is bound to. Raises InputError where the parts would be more
    than a folder should hold.
    """

    folder: Path
    sequences: NDArray[np.int64]
    epochs: int
    seed: int = 0

    def __post_init__(self) -> None:
        parts = self.epochs * -(-len(self.sequences) // PART)
        require(
            parts <= MOST_PARTS,
            f"train.mask.epochs {self.epochs:,} over {len(self.sequences):,} sequences would make {parts:,} files of "
            f"the teacher's cache, at most {MOST_PARTS:,}; lower train.mask.epochs",
        )

    @property
    def parts(self) -> list[tuple[int, int]]:
        """The epoch and the number of every part."""
        count = -(-len(self.sequences) // PART)
        return [(epoch, number) for epoch in range(self.epochs) for number in range(count)]

    def ids(self, number: int) -> NDArray[np.int64]:
        """The sequences of a part."""
        return self.sequences[number * PART : (number + 1) * PART]

    def path(self, epoch: int, number: int) -> Path:
        """A part's file."""
        return self.folder / f"epoch-{epoch:03d}-part-{number:06d}.safetensors"

    @property
    def missing(self) -> list[tuple[int, int]]:
        """The parts that are still to be written."""
        return [part for part in self.parts if not self.path(*part).exists()]

    def open(self, epoch: int, number: int, learner: Learner, config: CacheConfig) -> Part:
        """A part, checked. Raises InputError where it is damaged or was written for anything else."""
        return Part(self.path(epoch, number), len(self.ids(number)), _kinds(learner, config), self.seed)

    def save_projections(self, learner: Learner) -> None:
        """Keep what was fitted to the teacher's vectors: the cached ones are made with it."""
        write_sealed(self.folder / PROJECTIONS, learner.projections.named_buffers(), self.seed)

    def load_projections(self, learner: Learner) -> bool:
        """Give `learner` what was fitted for this cache; False where that is still to be done.

        Raises InputError where the file is damaged or was written for anything else.
        """
        path = self.folder / PROJECTIONS
        if not path.exists():
            return False
        found, wanted = read_sealed(path, self.seed), dict(learner.projections.named_buffers())
        require(
            {name: each.shape for name, each in found.items()} == {name: each.shape for name, each in wanted.items()},
            f"{path} holds other projections than this run has; delete it and run again, it is written anew",
        )
        for name, tensor in wanted.items():
            tensor.copy_(found[name])
        return True

    @torch.no_grad()
    def write(
        self,
        part: tuple[int, int],
        batches: Sequence[MaskedBatch],
        teach: Callable[[MaskedBatch], TeacherSignal],
        learner: Learner,
        config: CacheConfig,
        device: torch.device,
    ) -> None:
        """Write one part from the `batches` that hold its sequences, in any order."""
        pieces: dict[int, dict[str, Tensor]] = {}
        for batch in batches:
            for kind, kept, sizes in _said(batch.to(device), teach, learner, config):
                parts = torch.split(kept.cpu(), sizes.tolist())
                for sequence, piece in zip(batch.sequence_ids.tolist(), parts, strict=True):
                    pieces.setdefault(sequence, {})[kind] = piece
        write_part(self.path(*part), [pieces[sequence] for sequence in self.ids(part[1]).tolist()], self.seed)


class CachedTeacher:
    """Answers batch by batch what a cache holds of it. The teacher's model is asked for its vocabulary matrix alone."""

    def __init__(
        self, cache: TeacherCache, model: torch.nn.Module, learner: Learner, config: CacheConfig, device: torch.device
    ) -> None:
        self.cache, self.learner, self.config, self.device = cache, learner, config, device
        self.model = model
        self._open = lru_cache(_MOST_OPEN)(lambda epoch, number: cache.open(epoch, number, learner, config))

    @torch.no_grad()
    def __call__(self, batch: MaskedBatch) -> TeacherSignal:
        """The signal for `batch`, whose masks must be of an epoch that the cache holds."""
        places = np.searchsorted(self.cache.sequences, batch.sequence_ids.cpu().numpy())
        found = [self._open(batch.epoch, int(place) // PART).sequence(int(place) % PART) for place in places]
        vectors = {term: self._vectors(term, batch, found) for term in self.learner.projections}
        return TeacherSignal(None, self._words(found, batch), vectors)

    def _words(self, found: list[dict[str, Tensor]], batch: MaskedBatch) -> Decoding | SparseTargets | None:
        if self.learner.recipe.soft == 0:
            return None
        both = {kind: torch.cat([each[kind] for each in found]) for kind in _word_kinds(self.config)} if found else {}
        if self.config.words == "hidden":
            assert isinstance(self.model, BertForMaskedLM), "see build.check_pair"
            rows = both["rows"] if found else torch.empty(0, self.model.config.hidden_size)
            return self.model.decoding_of(rows.to(self.device).float())
        if not found:
            nothing = torch.empty(0, self.config.top + self.config.drawn, device=self.device)
            return SparseTargets(nothing.long(), nothing, nothing)
        ids, log_probs, rest = (both[kind].to(self.device) for kind in ("ids", "log_probs", "rest"))
        log_probs = log_probs.float()
        shares = (rest / self.config.drawn).unsqueeze(1).expand(-1, self.config.drawn)
        weights = torch.cat([log_probs[:, : self.config.top].exp(), shares], 1)
        return SparseTargets(ids.long(), log_probs, weights)

    def _vectors(self, term: str, batch: MaskedBatch, found: list[dict[str, Tensor]]) -> Tensor:
        """(N, F) as `vectors_of` lays them out, zeros where there is nothing."""
        present = there(term, self.learner.recipe.unit, batch.teacher_view, batch.num_words)
        width = self.learner.projection(term).prepared_width
        vectors = torch.zeros(len(present), width, device=self.device)
        if found:
            kept = torch.cat([each[term] for each in found]).to(self.device).float()
            if self.config.vector_bits == 8:
                kept *= torch.cat([each[f"{term}_steps"] for each in found]).to(self.device)
            vectors[present] = kept
        return vectors


def _kinds(learner: Learner, config: CacheConfig) -> list[str]:
    """What is kept of every sequence, see the top of this file."""
    terms = list(learner.projections)
    steps = [f"{term}_steps" for term in terms if config.vector_bits == 8]
    return [*(_word_kinds(config) if learner.recipe.soft > 0 else ()), *terms, *steps]


def _word_kinds(config: CacheConfig) -> tuple[str, ...]:
    return ("rows",) if config.words == "hidden" else ("ids", "log_probs", "rest")


def _said(
    batch: MaskedBatch, teach: Callable[[MaskedBatch], TeacherSignal], learner: Learner, config: CacheConfig
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Each kind of what is kept of a batch: its name, the numbers as they are written, how many each sequence has (B,).

    The numbers lie sequence after sequence.
    """
    signal, size = teach(batch), len(batch.sequence_ids)
    if isinstance(signal.words, Decoding):
        counts = torch.bincount(batch.rows // batch.input_ids.shape[1], minlength=size)
        if config.words == "hidden":
            yield "rows", signal.words.rows.half(), counts
        else:
            uniform = _uniform(batch, counts, config.drawn).to(batch.rows.device)
            targets = sparse_targets(signal.words, config.top, learner.recipe.temperature, uniform)
            for kind, kept in _words_kept(targets, config, len(signal.words.weight)).items():
                yield kind, kept, counts
    for term in learner.projections:
        present = there(term, learner.recipe.unit, batch.teacher_view, batch.num_words)
        vectors, counts = learner.teacher_vectors(term, signal, batch)[present], present.view(size, -1).sum(1)
        if config.vector_bits == 16:
            yield term, vectors.half(), counts
        else:
            steps = vectors.abs().amax(1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny) / 127
            yield term, (vectors / steps).round().to(torch.int8), counts
            yield f"{term}_steps", steps, counts


def _words_kept(targets: SparseTargets, config: CacheConfig, vocabulary: int) -> dict[str, Tensor]:
    """Sparse targets of R masked tokens as they are written, by `_word_kinds`."""
    narrow = torch.uint16 if vocabulary <= 2**16 else torch.int32  # half the bytes for most vocabularies
    log_probs = targets.log_probs.clamp(min=torch.finfo(torch.float16).min)
    rest = targets.weights[:, config.top :].sum(1)
    return {"ids": targets.ids.to(narrow), "log_probs": log_probs.half(), "rest": rest}


def _uniform(batch: MaskedBatch, counts: Tensor, drawn: int) -> Tensor:
    """Numbers in [0, 1) (R, M) to draw words by, which depend on sequence and epoch alone, not on the batch."""
    made = [np.empty((0, drawn))]
    for sequence, size in zip(batch.sequence_ids.tolist(), counts.tolist(), strict=True):
        made.append(np.random.default_rng((batch.epoch, sequence)).random((size, drawn)))
    return torch.from_numpy(np.concatenate(made))
