"""One file of a teacher's cache: sealed when it is written, checked where it is opened and wherever it is read.

Sequence i of S has, of each kind of tensor, the rows KIND_starts[i] ... KIND_starts[i + 1] - 1, and a checksum `crc`
(S,) over all of them, begun with the `seed` of the cache: what another cache wrote is no more accepted than damage.
"""

import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
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
from tinydistil.base.files import write_atomic
from tinydistil.base.mapped import map_tensors

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
