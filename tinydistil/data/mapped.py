"""Reading a safetensors file through a memory map: views, no copies."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinydistil.errors import InputError

_DTYPES = {"U8": "<u1", "U16": "<u2", "U32": "<u4", "U64": "<u8"}
# Ours have less than a kilobyte.
_LARGEST_HEADER = 1 << 16
# What mends a damaged corpus, whichever script has found it.
AGAIN = "prepare it again with --overwrite (scripts/prepare.py), or delete the folder"


def map_tensors(path: Path, expected_bytes: int) -> dict[str, NDArray[np.unsignedinteger]]:
    """The flat unsigned arrays in the safetensors file `path`, as views of one memory map.

    safetensors' own reader copies each array it hands out; a corpus of gigabytes must not be.
    Raises InputError where the file is missing, not of `expected_bytes`, or its header is damaged.
    """
    if not path.is_file():
        raise InputError(f"{path} is missing; {AGAIN}")
    size = path.stat().st_size
    if size != expected_bytes:
        raise InputError(f"{path} has {size:,} bytes, its manifest says {expected_bytes:,}; {AGAIN}")
    try:
        # One map a file, cut into views below: a map for each array would cost a system call and a handle each.
        raw = np.memmap(path, np.uint8, "r").view(np.ndarray)
        # The format: 8 bytes with the header's length, the header as JSON, then the arrays.
        header_bytes = min(int(raw[:8].view("<u8")[0]), _LARGEST_HEADER)
        header = json.loads(bytes(raw[8 : 8 + header_bytes]))
        start = 8 + header_bytes
        return {
            name: _view(raw[start:], entry["data_offsets"], _DTYPES[entry["dtype"]], entry["shape"])
            for name, entry in header.items()
        }
    # Whatever a flipped bit makes of length, JSON or fields.
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: damaged header ({type(error).__name__}); {AGAIN}") from None


def _view(raw: NDArray[np.uint8], span: list[int], dtype: str, shape: list[int]) -> NDArray[np.unsignedinteger]:
    first, last = span
    if first < 0:
        raise ValueError("numbers before the header's end")
    array: NDArray[np.unsignedinteger] = raw[first:last].view(np.dtype(dtype))
    # Slicing past the end gives less, silently; the shape says how much it should have been.
    if list(array.shape) != shape:
        raise ValueError("shape does not match its bytes")
    return array
