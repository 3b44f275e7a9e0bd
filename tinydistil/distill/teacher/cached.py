"""What a teacher computes of a corpus, written down once and read back in training, so that it need not run again.

A cache is bound to everything its numbers depend on (teacher, vocabularies, text, masks, recipe); one that was made for
anything else is refused by the field that differs. Its sequences are cut into parts, one file for each part and mask
epoch, whole or absent, so an interrupted writing goes on with the next part. A part (see `part`) holds, as TERM.KIND,
what the states of each term keep of every sequence: see `terms.base.Vectors` and `terms.vocabulary.Distribution`.
"""

import re
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save as save_arrays
from safetensors.torch import save
from torch import Tensor

from tinydistil.base.errors import InputError, require
from tinydistil.base.files import Ownership, write_atomic
from tinydistil.base.mapped import map_tensors
from tinydistil.batches.masked_batches import MaskedBatch
from tinydistil.distill.options import CacheConfig
from tinydistil.distill.teacher.live import LiveTeacher
from tinydistil.distill.terms.base import State, TeacherStates

_CRC = "crc"


def checksum(tensors: Mapping[str, NDArray[Any]], seed: int = 0) -> int:
    """CRC-32 of names, types, shapes and numbers, in the order of names."""
    for name in sorted(tensors):
        numbers = tensors[name]
        seed = zlib.crc32(numbers.data, zlib.crc32(f"{name} {numbers.dtype.str} {numbers.shape}".encode(), seed))
    return seed


def numbers_of(tensors: Iterable[tuple[str, Tensor]]) -> dict[str, NDArray[Any]]:
    """Named tensors of any device as arrays."""
    return {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in tensors}


def write_part(path: Path, sequences: Sequence[Mapping[str, Tensor]], seed: int) -> None:
    """Write the tensors of each sequence, all of the same kinds, to `path`."""
    tensors = {kind: torch.cat([each[kind] for each in sequences]) for kind in sequences[0]}
    for kind in sequences[0]:
        tensors[f"{kind}_starts"] = torch.tensor([0, *accumulate(len(each[kind]) for each in sequences)])
    tensors[_CRC] = torch.tensor([checksum(numbers_of(each.items()), seed) for each in sequences])
    write_atomic(path, save(tensors))


class Part:
    """A part's file, memory-mapped: only the sequences that are asked for are read."""

    def __init__(self, path: Path, size: int, kinds: Collection[str], seed: int) -> None:
        """size: sequences it must hold; kinds: what it must hold of each. Raises InputError where it does not."""
        self._path, self._seed = path, seed
        arrays = _mapped(path, {_CRC, *kinds, *(f"{kind}_starts" for kind in kinds)})
        self._crc = arrays[_CRC]
        self._kinds = [(kind, arrays[kind], arrays[f"{kind}_starts"]) for kind in kinds]
        for kind, numbers, starts in self._kinds:
            whole = starts.dtype == np.int64 and starts.shape == (size + 1,) and self._crc.shape == (size,)
            whole = (
                whole
                and starts[[0, -1]].tolist() == [0, *numbers.shape[:1]]
                and bool((starts[1:] >= starts[:-1]).all())
            )
            require(whole, str(_damaged(path, f"{kind} and its sequences differ")))
        self.sequence(0)  # which tells a part of another cache at once

    def sequence(self, index: int) -> dict[str, Tensor]:
        """What is kept of the sequence at `index` of the part. Raises InputError where it is not what was written."""
        found = {kind: numbers[starts[index] : starts[index + 1]] for kind, numbers, starts in self._kinds}
        if checksum(found, self._seed) != self._crc[index]:
            raise _damaged(self._path, f"sequence {index} is not what was written, or was written for another run")
        return {kind: torch.tensor(numbers) for kind, numbers in found.items()}


def write_sealed(path: Path, tensors: Iterable[tuple[str, Tensor]], seed: int) -> None:
    """Write a few named `tensors` with one checksum over them all."""
    arrays = numbers_of(tensors)
    write_atomic(path, save_arrays({**arrays, _CRC: np.array([checksum(arrays, seed)])}))


def read_sealed(path: Path, seed: int) -> dict[str, Tensor]:
    """What `write_sealed` wrote. Raises InputError for anything else."""
    arrays = dict(_mapped(path, {_CRC}))
    if arrays.pop(_CRC).tolist() != [checksum(arrays, seed)]:
        raise _damaged(path, "it is not what was written, or was written for another run")
    return {name: torch.tensor(numbers) for name, numbers in arrays.items()}


def _mapped(path: Path, names: AbstractSet[str]) -> dict[str, NDArray[Any]]:
    try:
        arrays = map_tensors(path, remedy="")
    except (InputError, OSError):
        raise _damaged(path, "it is cut short, or no file of ours") from None
    missing = names - arrays.keys()
    if missing:
        raise _damaged(path, f"it lacks {min(missing)}")
    return arrays


def _damaged(path: Path, reason: object) -> InputError:
    return InputError(f"{path} is damaged ({reason}); delete it and run again, it is written anew")


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
