"""What a teacher computes of a corpus, written down once and read back in training, so that it need not run again.

A cache is bound to everything its numbers depend on (teacher, vocabularies, text, masks, recipe); one that was made for
anything else is refused by the field that differs. Its sequences are cut into parts, one file for each part and mask
epoch, whole or absent, so an interrupted writing goes on with the next part. A part (see `part`) holds, as TERM.KIND,
what the states of each term keep of every sequence: see `terms.base.Vectors` and `terms.vocabulary.Distribution`.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tinydistil.base.claim import Ownership
from tinydistil.base.errors import require
from tinydistil.batches.batch import MaskedBatch
from tinydistil.distill.options import CacheConfig
from tinydistil.distill.teacher.live import LiveTeacher
from tinydistil.distill.teacher.part import Part, read_sealed, write_part, write_sealed
from tinydistil.distill.terms.base import State, TeacherStates

FITTED = "projections.safetensors"
OWNERSHIP = Ownership(
    "cache.json",
    # Parts too: what another cache wrote fails its checksum and is written anew.
    lambda name: name == FITTED or re.fullmatch(r"epoch-\d+-part-\d+\.safetensors", name) is not None,
    noun="teacher_cache",
    remedy="give the same value, or another --teacher-cache",
)
# Sequences of a part: some 1.6 MB a part for short sentences with top tokens, 50 MB for full blocks with all of a row.
PART = 1024
# Files of a cache: 100 million sequences in one epoch of masks, or 10,000 in 10,000 epochs.
MOST_PARTS = 200_000
# Parts that are kept open, each a memory map and a file handle; opening one takes 0.4 ms.
_MOST_OPEN = 256


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

    def open(self, epoch: int, number: int, kinds: Collection[str]) -> Part:
        """A part, checked. Raises InputError where it is damaged or was written for anything else."""
        return Part(self.path(epoch, number), len(self.ids(number)), kinds, self.seed)

    def save_fitted(self, tensors: Mapping[str, Tensor]) -> None:
        """Keep what was fitted to the teacher: the cached states are made with it."""
        write_sealed(self.folder / FITTED, tensors.items(), self.seed)

    def load_fitted(self, tensors: Mapping[str, Tensor]) -> bool:
        """Fill `tensors` with what was fitted for this cache; False where that is still to be done.

        Raises InputError where the file is damaged or was written for anything else.
        """
        path = self.folder / FITTED
        if not path.exists():
            return False
        found = read_sealed(path, self.seed)
        require(
            {name: each.shape for name, each in found.items()} == {name: each.shape for name, each in tensors.items()},
            f"{path} holds other projections than this run has; delete it and run again, it is written anew",
        )
        for name, tensor in tensors.items():
            tensor.copy_(found[name])
        return True

    @torch.no_grad()
    def write(
        self,
        part: tuple[int, int],
        batches: Sequence[MaskedBatch],
        teacher: LiveTeacher,
        config: CacheConfig,
        device: torch.device,
    ) -> None:
        """Write one part from the `batches` that hold its sequences, in any order."""
        pieces: dict[int, dict[str, Tensor]] = {}
        for batch in (each.to(device) for each in batches):
            computed = teacher(batch)
            for (term, name), state in _stored(teacher.states).items():
                sizes = state.lengths(batch).tolist()
                for kind, kept in state.keep(computed[term][name], batch, config).items():
                    parts = torch.split(kept.cpu(), sizes)
                    for sequence, piece in zip(batch.sequence_ids.tolist(), parts, strict=True):
                        pieces.setdefault(sequence, {})[f"{term}.{kind}"] = piece
        write_part(self.path(*part), [pieces[sequence] for sequence in self.ids(part[1]).tolist()], self.seed)


def kinds_of(states: Mapping[str, Mapping[str, State]], config: CacheConfig) -> list[str]:
    """The names of what is kept of every sequence."""
    return [f"{term}.{kind}" for (term, _), state in _stored(states).items() for kind in state.kinds(config)]


def _stored(states: Mapping[str, Mapping[str, State]]) -> dict[tuple[str, str], State]:
    """By term and name the states that are written: a shared one for the first term that reads it."""
    found: dict[tuple[str, str], State] = {}
    for term, named in states.items():
        for name, state in named.items():
            if not (state.shared and any(other == name and each.shared for (_, other), each in found.items())):
                found[term, name] = state
    return found


class CachedTeacher:
    """Gives batch by batch the states that a cache holds. Of the model its vocabulary matrix alone is used."""

    def __init__(self, cache: TeacherCache, live: LiveTeacher, config: CacheConfig, device: torch.device) -> None:
        self.cache, self.states, self.model, self.config, self.device = cache, live.states, live.model, config, device
        kinds = kinds_of(self.states, config)
        # Bounded: each open part is a memory map and a file handle.
        self._open = lru_cache(_MOST_OPEN)(lambda epoch, number: cache.open(epoch, number, kinds))

    @torch.no_grad()
    def __call__(self, batch: MaskedBatch) -> TeacherStates:
        """The states for `batch`, whose masks must be of an epoch that the cache holds."""
        numbers = np.searchsorted(self.cache.sequences, batch.sequence_ids.cpu().numpy())
        found = [self._open(batch.epoch, int(n) // PART).sequence(int(n) % PART) for n in numbers]
        restored: dict[tuple[str, str], object] = {}
        shared: dict[str, object] = {}
        for (term, name), state in _stored(self.states).items():
            kept = {
                kind: torch.cat([each[f"{term}.{kind}"] for each in found]).to(self.device)
                for kind in (state.kinds(self.config) if found else ())
            }
            restored[term, name] = state.restore(kept, batch, self.config, self.model)
            if state.shared:
                shared[name] = restored[term, name]
        return {
            term: {name: shared[name] if state.shared else restored[term, name] for name, state in named.items()}
            for term, named in self.states.items()
        }
