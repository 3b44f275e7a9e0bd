"""Files that are whole or absent (temporary name, fsync, rename), the JSON in them, their fingerprints."""

import errno
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tinydistil.base.errors import InputError

PARTIAL_SUFFIX = ".partial"
_END_BYTES = 1 << 16
# EFBIG is what a process sees under `ulimit -f`, EDQUOT under a quota: to the user all three are a full disk.
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` to `path`: after a crash at any moment the file holds all of it or what it held before.

    Raises InputError where the disk is full; OSError, with the file's name, for anything else the system refuses.
    """
    with replacing(path) as partial:
        partial.write_bytes(data)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` to write to; what lies there at the end is synced and takes its place.

    The name is the same each time, so what a kill leaves behind is overwritten. Errors as in `write_atomic`.
    """
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    try:
        with readable(partial):
            yield partial
        # Without it a power cut may keep the rename and lose the bytes: a file of zeros under a good name.
        sync(partial)
        partial.replace(path)
        sync(path.parent)
    except BaseException as error:
        # On a full disk this room is what the user needs first.
        partial.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        if error.errno in _DISK_FULL:
            remedy = "free some space and run the same command again"
            raise InputError(f"{path}: no room for it ({error.strerror}); {remedy}") from None
        # A failing write or fsync does not say which file it was.
        raise OSError(error.errno, error.strerror, str(path)) from None


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Give `path` the mode that the umask says, whatever writes it inside: safetensors keeps files to their owner."""
    path.unlink(missing_ok=True)  # a leftover has the mode of another day
    path.open("wb").close()
    mode = path.stat().st_mode
    yield
    path.chmod(mode)


def sync(path: Path) -> None:
    """Make the bytes of a file, or renames and removals inside a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically; lone surrogates, which UTF-8 cannot hold, as escapes."""
    write_atomic(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, values: object) -> None:
    """Write `values` as indented JSON, atomically. The key order is that of `values`."""
    text = json.dumps(values, ensure_ascii=False, indent=2)
    # A file name or label that is no UTF-8 comes as lone surrogates, which only JSON's escapes can carry.
    write_text(path, (text if is_utf8(text) else json.dumps(values, indent=2)) + "\n")


def is_utf8(text: str) -> bool:
    """Whether UTF-8 can hold `text`: it has no half of a UTF-16 pair, which no tokenizer takes either."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_json(path: Path, *, remedy: str = "fetch the file again") -> dict[str, object]:
    """The object in JSON file `path`. Raises InputError if it is missing, and with the `remedy` if damaged."""
    values = read_json_value(path, remedy=remedy)
    if not isinstance(values, dict):
        raise InputError(f"{str(path)!r} must hold a JSON object, got {type(values).__name__}; {remedy}")
    return values


def read_json_value(path: Path, *, remedy: str = "fetch the file again") -> object:
    """Whatever JSON file `path` holds. Errors as in `read_json`."""
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also an integer of thousands of digits
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise InputError(f"{str(path)!r} is not valid JSON ({reason}); {remedy}") from None


def read_text(path: Path) -> str:
    """The UTF-8 text of `path`. Raises InputError naming the file, and the byte where it is not UTF-8."""
    try:
        # utf-8-sig: some editors on Windows put a byte-order mark first
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"file {str(path)!r} does not exist") from None
    except UnicodeDecodeError as error:
        remedy = "convert it, for instance with `iconv -f latin1 -t utf-8`"
        raise InputError(f"{str(path)!r} is not UTF-8 (byte {error.start}: {error.reason}); {remedy}") from None


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read in pieces."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def sha256_of_ends(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's first and last 64 KiB: instant for files of any size."""
    with path.open("rb") as handle:
        ends = handle.read(_END_BYTES)
        handle.seek(max(0, path.stat().st_size - _END_BYTES))
        return hashlib.sha256(ends + handle.read(_END_BYTES)).hexdigest()


def fingerprint(paths: Iterable[Path]) -> str:
    """16 hexadecimal digits of names and contents of files; where the files lie does not matter."""
    found = hashlib.sha256()
    for path in paths:
        found.update(f"{path.name}\0{sha256_of(path)}\0".encode("utf-8", "surrogateescape"))
    return found.hexdigest()[:16]
