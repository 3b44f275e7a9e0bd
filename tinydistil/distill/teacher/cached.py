"""What a teacher computes of a corpus, written down once and read back in training, so that it need not run again.

A cache is bound to everything its numbers depend on (teacher, vocabularies, text, masks, recipe); one that was made for
anything else is refused by the field that differs. Its sequences are cut into parts, one file for each part and mask
epoch, whole or absent, so an interrupted writing goes on with the next part. A part holds, as TERM.KIND, what the
states of each term keep of every sequence (see `terms.vocabulary.Distribution`; of vectors numbers in 16 bits, or in
`codes`), where each sequence starts in it, and a checksum for each sequence.
"""

import re
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor

from tinydistil.base.errors import InputError, require
from tinydistil.base.files import Ownership, map_tensors, write_atomic
from tinydistil.batches.masked_batches import MaskedBatch, MaskedBatches
from tinydistil.distill.options import CacheConfig
from tinydistil.distill.teacher.codes import VectorCodes
from tinydistil.distill.teacher.live import LiveTeacher
from tinydistil.distill.terms.base import State, TeacherStates, Vectors

FITTED, CODES, WORDS = "projections.safetensors", "codes.safetensors", "words.safetensors"
OWNERSHIP = Ownership(
    "cache.json",
    # Parts too: what another cache wrote fails its checksum and is written anew.
    lambda name: name in (FITTED, CODES, WORDS) or re.fullmatch(r"epoch-\d+-part-\d+\.safetensors", name) is not None,
    noun="teacher_cache",
    remedy="give the same value, or another --teacher-cache",
)
# Sequences of a part: some 1.6 MB a part for short sentences with top tokens, 50 MB for full blocks with all of a row.
PART = 1024
# Files of a cache: 100 million sequences in one epoch of masks, or 10,000 in 10,000 epochs.
MOST_PARTS = 200_000
# Parts that are kept open, each a memory map and a file handle; opening one takes 0.4 ms.
_MOST_OPEN = 256
# Tokens of a batch that the teacher reads at a time; sequences of like length lie together.
_TOKENS = 4096
# By which it is chosen how vectors are written: half a minute of a teacher of 12 x 768 on two cores.
_TOKENS_FITTED = 16_384
_CRC, _STARTS = "crc", "_starts"
_STRANGE = "is not what was written, or was written for another run"

# What is kept of a sequence by its index in a part. Raises InputError where that is not what was written.
Part = Callable[[int], dict[str, NDArray[Any]]]


def checksum(tensors: Mapping[str, Tensor | NDArray[Any]], seed: int = 0) -> int:
    """CRC-32 of names, types, shapes and numbers, in the order of names."""
    for name in sorted(tensors):
        given = tensors[name]
        numbers = given.detach().cpu().contiguous().numpy() if isinstance(given, Tensor) else given
        seed = zlib.crc32(numbers.data, zlib.crc32(f"{name} {numbers.dtype.str} {numbers.shape}".encode(), seed))
    return seed


def _mapped(path: Path) -> tuple[dict[str, NDArray[Any]], NDArray[Any]]:
    """The arrays of a file, memory-mapped, and their checksums."""
    try:
        arrays = map_tensors(path, remedy="")
        return arrays, arrays.pop(_CRC)
    except (InputError, OSError, KeyError):
        raise _damaged(path, "it is cut short, or no file of ours") from None


def _damaged(path: Path, reason: str) -> InputError:
    return InputError(f"{path} is damaged ({reason}); delete it and run again, it is written anew")


@dataclass(frozen=True, slots=True)
class TeacherCache:
    """A folder of parts for `sequences` (S,), ascending numbers, and `epochs` epochs of masks.

    seed: of the checksums, a number of all that the cache is bound to. codes: how vectors are written, by kind, see
    `with_codes`. Raises InputError where the parts would be more than a folder should hold.
    """

    folder: Path
    sequences: NDArray[np.int64]
    epochs: int
    seed: int = 0
    codes: Mapping[str, VectorCodes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        parts = self.epochs * self._per_epoch
        require(
            parts <= MOST_PARTS,
            f"train.mask.epochs {self.epochs:,} over {len(self.sequences):,} sequences would make {parts:,} files of "
            f"the teacher's cache, at most {MOST_PARTS:,}; lower train.mask.epochs",
        )

    @property
    def _per_epoch(self) -> int:
        return -(-len(self.sequences) // PART)

    @property
    def parts(self) -> list[tuple[int, int]]:
        """The epoch and the number of every part."""
        return [(epoch, number) for epoch in range(self.epochs) for number in range(self._per_epoch)]

    @property
    def missing(self) -> list[tuple[int, int]]:
        """The parts that are still to be written."""
        return [part for part in self.parts if not self.path(*part).exists()]

    def ids(self, number: int) -> NDArray[np.int64]:
        """The sequences of a part."""
        return self.sequences[number * PART : (number + 1) * PART]

    def path(self, epoch: int, number: int) -> Path:
        """A part's file."""
        return self.folder / f"epoch-{epoch:03d}-part-{number:06d}.safetensors"

    def open(self, epoch: int, number: int) -> Part:
        """A part, memory-mapped: only the sequences that are asked for are read.

        Raises InputError where it is damaged, as far as its ends tell, or was written for anything else.
        """
        path, size = self.path(epoch, number), len(self.ids(number))
        arrays, checksums = _mapped(path)
        starts = {name.removesuffix(_STARTS): arrays.pop(name) for name in [*arrays] if name.endswith(_STARTS)}
        whole = arrays.keys() == starts.keys() and checksums.shape == (size,) and all(
            ends.dtype == np.int64 and ends.shape == (size + 1,) and (ends[1:] >= ends[:-1]).all()
            and ends[[0, -1]].tolist() == [0, *arrays[kind].shape[:1]]
            for kind, ends in starts.items()
        )  # fmt: skip
        if not whole:
            raise _damaged(path, "its numbers and its sequences differ")

        def read(index: int) -> dict[str, NDArray[Any]]:
            found = {kind: arrays[kind][slice(*ends[index : index + 2])] for kind, ends in starts.items()}
            if checksum(found, self.seed) != checksums[index]:
                raise _damaged(path, f"sequence {index} {_STRANGE}")
            return found

        read(0)  # which tells a part of another cache at once
        return read

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
            for kind, kept, sizes in _written(teacher, batch, config):
                coded = self.codes[kind].encode(kept) if kind in self.codes else kept
                for sequence, piece in zip(batch.sequence_ids.tolist(), torch.split(coded.cpu(), sizes), strict=True):
                    pieces.setdefault(sequence, {})[kind] = piece
        sequences = [pieces[sequence] for sequence in self.ids(part[1]).tolist()]
        tensors = {kind: torch.cat([each[kind] for each in sequences]) for kind in sequences[0]}
        for kind in sequences[0]:
            tensors[kind + _STARTS] = torch.tensor([0, *accumulate(len(each[kind]) for each in sequences)])
        tensors[_CRC] = torch.tensor([checksum(each, self.seed) for each in sequences])
        write_atomic(self.path(*part), save(tensors))

    @torch.no_grad()
    def with_codes(
        self, teacher: LiveTeacher, batches: MaskedBatches, config: CacheConfig, device: torch.device
    ) -> "TeacherCache":
        """The cache with the codes of its vectors, if they are to be kept in less than 16 bits: as it has them, or
        fitted to tokens from all over the text, and saved."""
        has_vectors = any(isinstance(state, Vectors) for _, state in _stored(teacher.states).values())
        if config.vector_bits == 16 or not has_vectors:
            return self
        found = self.read_tensors(CODES)
        if found is None:
            tokens = batches.mean_tokens / batches.batch_size * len(self.sequences)
            seen = defaultdict[str, list[Tensor]](list)
            for ids in alike(batches, self.sequences[:: -(-int(tokens) // _TOKENS_FITTED)]):
                batch = batches.collate(ids, 0).to(device)
                for kind, kept, _ in _written(teacher, batch, config, all_states=False):
                    seen[kind].append(kept)
            found = {kind: VectorCodes.fitted(torch.cat(each), config.vector_bits).table for kind, each in seen.items()}
            self.save_tensors(CODES, found)
        codes = {kind: VectorCodes(table.to(device)) for kind, table in found.items()}
        return replace(self, codes=codes, seed=checksum(found, self.seed))

    def save_tensors(self, file: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep what all the text has in common: what was fitted, with which the cached states are made, or words."""
        crc = torch.tensor([checksum(tensors, self.seed)])
        write_atomic(self.folder / file, save({**tensors, _CRC: crc}))

    def load_tensors(self, file: str, tensors: Mapping[str, Tensor]) -> bool:
        """Fill `tensors` with what this cache has in `file`; False where that is still to be made.

        Raises InputError as `read_tensors` does, and where the file holds others.
        """
        found = self.read_tensors(file)
        if found is None:
            return False
        require(
            {name: each.shape for name, each in found.items()} == {name: each.shape for name, each in tensors.items()},
            f"{self.folder / file} holds other tensors than this run has; delete it and run again, it is written anew",
        )
        for name, tensor in tensors.items():
            tensor.copy_(found[name])
        return True

    def read_tensors(self, file: str) -> dict[str, Tensor] | None:
        """What this cache has in `file`, None where that is still to be made.

        Raises InputError where the file is damaged or was written for anything else.
        """
        path = self.folder / file
        if not path.exists():
            return None
        found, checksums = _mapped(path)
        if checksums.tolist() != [checksum(found, self.seed)]:
            raise _damaged(path, f"it {_STRANGE}")
        return {name: torch.tensor(each) for name, each in found.items()}


def _stored(states: Mapping[str, Mapping[str, State]]) -> dict[tuple[str, str], tuple[str, State]]:
    """The states that are written, each with its term; a shared one under no term's name, with the first to read it."""
    found: dict[tuple[str, str], tuple[str, State]] = {}
    for term, named in states.items():
        for name, state in named.items():
            found.setdefault(("" if state.shared else term, name), (term, state))
    return found


def _written(
    teacher: LiveTeacher, batch: MaskedBatch, config: CacheConfig, *, all_states: bool = True
) -> Iterator[tuple[str, Tensor, list[int]]]:
    """What is written of each state of `batch`, or only of vectors, by kind, and how much each sequence has of it.

    Vectors that are to be coded are as they were.
    """
    computed = teacher(batch)
    for (_, name), (term, state) in _stored(teacher.states).items():
        is_vectors = isinstance(state, Vectors)
        if is_vectors or all_states:
            halved, sizes = is_vectors and config.vector_bits == 16, state.lengths(batch).tolist()
            for kind, kept in state.keep(computed[term][name], batch, config).items():
                yield f"{term}.{kind}", kept.half() if halved else kept, sizes


class CachedTeacher:
    """Gives batch by batch the states that a cache holds. Of the model its vocabulary matrix alone is used."""

    def __init__(self, cache: TeacherCache, live: LiveTeacher, config: CacheConfig, device: torch.device) -> None:
        self.cache, self.states, self.model, self.config, self.device = cache, live.states, live.model, config, device
        self._open = lru_cache(_MOST_OPEN)(cache.open)

    @torch.no_grad()
    def __call__(self, batch: MaskedBatch) -> TeacherStates:
        """The states for `batch`, whose masks must be of an epoch that the cache holds."""
        numbers = np.searchsorted(self.cache.sequences, batch.sequence_ids.cpu().numpy()).tolist()
        found = [self._open(batch.epoch, number // PART)(number % PART) for number in numbers]
        read = {
            kind: torch.from_numpy(np.concatenate([each[kind] for each in found])).to(self.device)
            for kind in (found[0] if found else ())
        }
        decoded = {kind: codes.decode(read[kind]) for kind, codes in self.cache.codes.items() if kind in read}
        restored: dict[tuple[str, str], object] = {}
        for key, (term, state) in _stored(self.states).items():
            kept = {
                kind.removeprefix(f"{term}."): each
                for kind, each in {**read, **decoded}.items()
                if kind.startswith(f"{term}.")
            }
            restored[key] = state.restore(kept, batch, self.config, self.model)
        return {
            term: {name: restored["" if state.shared else term, name] for name, state in named.items()}
            for term, named in self.states.items()
        }


def alike(batches: MaskedBatches, ids: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """The sequences `ids` in batches of like length and about `_TOKENS` tokens."""
    lengths = np.array([batches.length(int(i)) for i in ids])
    order, start = np.argsort(lengths, kind="stable"), 0
    for stop in range(1, len(order) + 1):
        # The longest of a batch, its last, decides how many there is room for.
        if stop == len(order) or (stop + 1 - start) * lengths[order[stop]] > _TOKENS:
            yield ids[order[start:stop]]
            start = stop
