"""Files that are either whole or absent: temporary name, fsync, rename."""

import errno
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from tinydistil.errors import InputError

PARTIAL_SUFFIX = ".partial"
# EFBIG is what a process sees under `ulimit -f`, EDQUOT under a quota: to the user all three are a full disk.
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` to `path`: after a crash at any moment the file holds all of it or does not exist.

    Raises InputError where the disk is full; OSError for anything else the system refuses.
    """
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    try:
        with partial.open("wb") as handle:
            handle.write(data)
            handle.flush()
            # Without it a power cut may keep the rename and lose the bytes: a file of zeros under a good
            # name.
            os.fsync(handle.fileno())
        partial.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        # On a full disk this room is what the user needs first.
        partial.unlink(missing_ok=True)
        if error.errno in _DISK_FULL:
            raise InputError(
                f"{path}: no room for {len(data):,} bytes ({error.strerror}); "
                "free some space and run the same command again, it goes on after the last whole segment"
            ) from None
        raise


def sync_folder(folder: Path) -> None:
    """Make renames and removals inside `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, values: Mapping[str, object]) -> None:
    """Write `values` as indented JSON, atomically. The key order is that of `values`."""
    try:
        data = json.dumps(values, ensure_ascii=False, indent=1).encode()
    except UnicodeEncodeError:
        # A file name that is no UTF-8 comes as lone surrogates, which only escapes can carry.
        data = json.dumps(values, indent=1).encode()
    write_atomic(path, data + b"\n")


def read_json(path: Path, *, remedy: str = "prepare the corpus again with --overwrite") -> dict[str, object]:
    """The JSON object in `path`. Raises InputError if it is missing, and with the `remedy` if damaged or no object."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; make a corpus with scripts/prepare.py") from None
    except ValueError as error:  # JSON's and Unicode's errors both are
        raise InputError(f"{path} is damaged ({error}); {remedy}") from None
    if not isinstance(values, dict):
        raise InputError(f"{path} holds no JSON object; {remedy}")
    return values


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read in pieces."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
