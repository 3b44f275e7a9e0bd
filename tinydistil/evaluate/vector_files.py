"""Vectors to disk as they come: JSON lines, or a .npy matrix whose height is known only at the end."""

import io
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from tinydistil.base.errors import require

Write = Callable[[str, NDArray[np.float32]], None]


def check_output(path: str | None) -> None:
    """Raise InputError where `open_vector_writer` could not write, before any work is done."""
    if path is None:
        return
    target = Path(path)
    require(target.suffix in (".npy", ".jsonl"), f"output {path!r} must end in .npy or .jsonl")
    require(not target.is_dir(), f"output {path!r} is a folder; give a file")
    require(target.parent.is_dir(), f"output folder {str(target.parent)!r} does not exist; make it first")


@contextmanager
def open_vector_writer(path: str | None, width: int) -> Iterator[Write]:
    """A function that writes one text and its vector of `width` numbers.

    To FILE.npy (vectors only), FILE.jsonl, or JSON lines on standard output (None). A file gets its name when
    complete; if the work ends before, for whatever reason, what was done lies readable in FILE.partial.npy (or
    .jsonl), and a line on standard error says so. Raises InputError as `check_output` does.
    """
    check_output(path)
    if path is None:
        yield lambda text, vector: print(_json_line(text, vector))
        return
    target = Path(path)
    partial = target.with_suffix(f".partial{target.suffix}")
    try:
        with (_npy_file if target.suffix == ".npy" else _json_file)(partial, width) as write:
            yield write
    except BaseException as error:
        print(f"what was done before is in {str(partial)!r}", file=sys.stderr)
        if isinstance(error, OSError) and error.filename is None:  # a failing write does not say which file it was
            raise OSError(error.errno, error.strerror, str(partial)) from None
        raise
    partial.replace(target)


@contextmanager
def _json_file(path: Path, width: int) -> Iterator[Write]:
    with path.open("w", encoding="utf-8", buffering=1) as stream:
        yield lambda text, vector: print(_json_line(text, vector), file=stream)


@contextmanager
def _npy_file(path: Path, width: int) -> Iterator[Write]:
    def write(_text: str, vector: NDArray[np.float32]) -> None:
        data = np.ascontiguousarray(vector, dtype="<f4").tobytes()
        while data:  # an unbuffered write may take a part
            data = data[stream.write(data) :]

    def write_header(height: int) -> int:
        # numpy pads the header so that a longer first axis fits in the same space
        header = io.BytesIO()
        npy.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (height, width)})
        stream.seek(0)
        return stream.write(header.getvalue())

    # Unbuffered: on a full disk, what the file holds is what was written.
    with path.open("wb", buffering=0) as stream:
        start = write_header(0)
        try:
            yield write
        finally:
            height = (stream.seek(0, 2) - start) // (4 * width)
            stream.truncate(start + height * 4 * width)
            write_header(height)


def _json_line(text: str, vector: NDArray[np.float32]) -> str:
    # Nine significant digits are enough to give every float32 back exactly.
    numbers = ", ".join(f"{number:.9g}" for number in vector.tolist())
    return f'{{"text": {json.dumps(text, ensure_ascii=False)}, "embedding": [{numbers}]}}'
