"""One file of a teacher's cache: sealed when it is written, checked where it is opened and wherever it is read.

Sequence i of S has, of each kind of tensor, the rows KIND_starts[i] ... KIND_starts[i + 1] - 1, and a checksum `crc`
(S,) over all of them, begun with the `seed` of the cache: what another cache wrote is no more accepted than damage.
"""

import zlib
from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from tinydistil.errors import InputError, require
from tinydistil.files import write_atomic

_CRC = "crc"


def checksum(tensors: Mapping[str, Tensor], seed: int = 0) -> int:
    """CRC-32 of names, types, shapes and numbers, in the order of names."""
    for name in sorted(tensors):
        tensor = tensors[name]
        seed = zlib.crc32(f"{name} {tensor.dtype} {tensor.shape}".encode(), seed)
        seed = zlib.crc32(tensor.flatten().view(torch.uint8).numpy().data, seed)
    return seed


def write_part(path: Path, sequences: Sequence[Mapping[str, Tensor]], seed: int) -> None:
    """Write the tensors of each sequence, all of the same kinds, to `path`."""
    tensors = {kind: torch.cat([each[kind] for each in sequences]) for kind in sequences[0]}
    for kind in sequences[0]:
        tensors[f"{kind}_starts"] = torch.tensor([0, *accumulate(len(each[kind]) for each in sequences)])
    tensors[_CRC] = torch.tensor([checksum(each, seed) for each in sequences])
    write_atomic(path, save(tensors))


class Part:
    """A part's file, memory-mapped: only the sequences that are asked for are read."""

    def __init__(self, path: Path, size: int, kinds: Collection[str], seed: int) -> None:
        """size: sequences it must hold; kinds: what it must hold of each. Raises InputError where it does not."""
        self._path, self._seed = path, seed
        file = _opened(path)
        try:
            self._slices = {kind: file.get_slice(kind) for kind in kinds}
            self._starts = {kind: file.get_tensor(f"{kind}_starts") for kind in kinds}
            self._crc = file.get_tensor(_CRC)
        except SafetensorError as error:
            raise _damaged(path, error) from None
        for kind, starts in self._starts.items():
            rows = self._slices[kind].get_shape()[:1]
            whole = (
                starts.dtype == torch.int64 and starts.shape == (size + 1,) and starts[[0, -1]].tolist() == [0, *rows]
            )
            sound = whole and bool((starts.diff() >= 0).all())
            require(sound and self._crc.shape == (size,), str(_damaged(path, f"{kind} and its sequences differ")))
        self.sequence(0)  # which tells a part of another cache at once

    def sequence(self, place: int) -> dict[str, Tensor]:
        """What is kept of the sequence at `place` of the part. Raises InputError where it is not what was written."""
        found = {}
        for kind, starts in self._starts.items():
            first, last = starts[place : place + 2].tolist()
            found[kind] = self._slices[kind][first:last]
        if checksum(found, self._seed) != self._crc[place]:
            raise _damaged(self._path, f"sequence {place} is not what was written, or was written for another run")
        return found


def write_sealed(path: Path, tensors: Mapping[str, Tensor], seed: int) -> None:
    """Write a few `tensors` with one checksum over them all."""
    write_atomic(path, save({**tensors, _CRC: torch.tensor([checksum(tensors, seed)])}))


def read_sealed(path: Path, seed: int) -> dict[str, Tensor]:
    """What `write_sealed` wrote. Raises InputError for anything else."""
    file = _opened(path)
    found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    crc = found.pop(_CRC, torch.empty(0))
    if crc.tolist() != [checksum(found, seed)]:
        raise _damaged(path, "it is not what was written, or was written for another run")
    return found


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, reason: object) -> InputError:
    return InputError(f"{path} is damaged ({reason}); delete it and run again, it is written anew")
