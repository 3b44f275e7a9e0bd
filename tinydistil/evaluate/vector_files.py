"""Vectors to disk as they come: JSON lines, or a .npy matrix whose height is known only at the end."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from tinydistil.errors import InputError

Write = Callable[[str, NDArray[np.float32]], None]


@contextmanager
def open_vector_writer(path: str | None, width: int) -> Iterator[Write]:
    """A function that writes one text and its vector of `width` numbers.

    To FILE.npy (vectors only), FILE.jsonl, or JSON lines on standard output (None). A file gets its name when
    complete; if the work fails midway, what was done lies readable in FILE.partial.npy (or .jsonl) and the error
    says so. Raises InputError for another ending or a missing folder.
    """
    if path is None:
        yield lambda text, vector: _write_json_line(sys.stdout, text, vector)
        return
    target = Path(path)
    if target.suffix not in (".npy", ".jsonl"):
        raise InputError(f"output {path!r} must end in .npy or .jsonl")
    if not target.parent.is_dir():
        raise InputError(f"output folder {str(target.parent)!r} does not exist; make it first")
    partial = target.with_suffix(f".partial{target.suffix}")
    try:
        with _npy_file(partial, width) if target.suffix == ".npy" else _json_file(partial) as write:
            yield write
    except InputError as error:
        raise InputError(f"{error}; the vectors before it are in {str(partial)!r}") from None
    partial.replace(target)


@contextmanager
def _npy_file(path: Path, width: int) -> Iterator[Write]:
    count = 0

    def write(_text: str, vector: NDArray[np.float32]) -> None:
        nonlocal count
        stream.write(np.ascontiguousarray(vector, dtype="<f4").tobytes())
        count += 1

    def write_header() -> None:
        # numpy pads the header so that a longer first axis fits in the same place
        stream.seek(0)
        npy.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": (count, width)})

    with path.open("wb") as stream:
        write_header()
        try:
            yield write
        finally:
            write_header()


@contextmanager
def _json_file(path: Path) -> Iterator[Write]:
    with path.open("w", encoding="utf-8") as stream:
        yield lambda text, vector: _write_json_line(stream, text, vector)


def _write_json_line(stream: TextIO, text: str, vector: NDArray[np.float32]) -> None:
    # Nine significant digits are enough to give every float32 back exactly.
    numbers = ", ".join(f"{number:.9g}" for number in vector.tolist())
    stream.write(f'{{"text": {json.dumps(text, ensure_ascii=False)}, "embedding": [{numbers}]}}\n')
