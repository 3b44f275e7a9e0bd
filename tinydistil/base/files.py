"""Files that are whole or absent (temporary name, fsync, rename), the JSON and tensors in them, who owns a folder."""

import errno
import fcntl
import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinydistil.base.errors import InputError, require

PARTIAL_SUFFIX = ".partial"
LOCK = ".lock"
_END_BYTES = 1 << 16
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # EFBIG under `ulimit -f`, EDQUOT under a quota


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` to `path`; errors as of `replacing`."""
    with replacing(path) as partial:
        partial.write_bytes(data)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`, the same each time, to write to; what lies there at the end takes its place.

    After a crash at any moment `path` holds all of it or what it held before.

    Raises InputError where the disk is full; OSError, with the file's name, for anything else the system refuses.
    """
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    try:
        with readable(partial):
            yield partial
        sync(partial)  # or a power cut may keep the rename and lose the bytes: a file of zeros under a good name
        partial.replace(path)
        sync(path.parent)
    except BaseException as error:
        partial.unlink(missing_ok=True)  # on a full disk this room is what the user needs first
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
    path.touch()
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
    # Lone surrogates, as of a file name that is no UTF-8, only JSON's escapes can carry.
    write_text(path, (text if is_utf8(text) else json.dumps(values, indent=2)) + "\n")


def is_utf8(text: str) -> bool:
    """Whether UTF-8 can hold `text`: it has no half of a UTF-16 pair, which no tokenizer takes either."""
    return re.search("[\ud800-\udfff]", text) is None


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


def map_tensors(path: Path, *, remedy: str, expected_bytes: int | None = None) -> dict[str, NDArray[Any]]:
    """The arrays in the safetensors file `path`, as views of one memory map.

    By hand: opening a shard of 48 MB takes 0.2 ms, with the arrays of `safe_open`, which are copies, 30 ms.
    Raises InputError, with the `remedy`, where the file is missing, not of `expected_bytes`, or its header is damaged.
    """
    require(path.is_file(), f"{path} is missing; {remedy}")
    size = path.stat().st_size
    if expected_bytes not in (None, size):
        raise InputError(f"{path} has {size:,} bytes, its manifest says {expected_bytes:,}; {remedy}")
    found = {}
    try:
        raw = np.memmap(path, np.uint8, "r").view(np.ndarray)
        # The format: 8 bytes with the header's length, the header as JSON, then the arrays.
        start = 8 + min(int(raw[:8].view("<u8")[0]), 1 << 16)  # ours have less than a kilobyte
        header = json.loads(bytes(raw[8:start]))
        header.pop("__metadata__", None)
        for name, entry in header.items():
            first, last = entry["data_offsets"]
            kind, shape = entry["dtype"], entry["shape"]  # U16: unsigned, of 16 bits
            array = raw[start:][first:last].view(f"<{kind[0].lower()}{int(kind[1:]) // 8}")
            # Slicing past the end gives less, silently; the shape says how much it should have been.
            if first < 0 or any(type(size) is not int or size < 0 for size in shape) or array.size != math.prod(shape):
                raise ValueError("shape does not match its bytes")
            found[name] = array.reshape(shape)
    # Whatever a flipped bit makes of length, JSON or fields.
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: damaged header ({type(error).__name__}); {remedy}") from None
    return found


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


@dataclass(frozen=True, slots=True)
class Ownership:
    """How a kind of folder is claimed: its `record` says what it was begun with.

    ours: names that this program may have left there before the record. noun: the option that names the folder.
    must_agree: whether an option (dotted name) may not change. remedy: behind "now it is ...". tables: those that every
    record has but the ones of the first edition, whose folders are refused. defaults: what options had (dotted names)
    that a record lacks, as it is of a version before them.
    """

    record: str
    ours: Callable[[str], bool]
    noun: str = "output"
    must_agree: Callable[[str], bool] = lambda name: True
    remedy: str = "give the same value, or another --output"
    tables: tuple[str, ...] = ()
    defaults: Mapping[str, object] = field(default_factory=dict)

    def check(self, folder: Path, origin: Mapping[str, object], *, resume: bool = True) -> None:
        """Raise InputError where `folder` is no place for `origin`; nothing is written."""
        named, record = f"{self.noun} {str(folder)!r}", folder / self.record
        if not record.exists():
            refuse_strangers(folder, self.is_ours, noun=self.noun)
            return
        require(resume, f"{named} holds a run already; go on with --resume, or choose another folder")
        found = read_json(record, remedy=f"delete it to go on with the options of this command, or {self.remedy}")
        require(
            set(self.tables) <= found.keys(),
            f"{named} was begun by an older version of this program, whose layout is no longer read; finish it with "
            "that version, or choose another folder",
        )
        if differing := difference({**self.defaults, **flatten(found)}, origin, self.must_agree):
            name, before, now = differing
            raise InputError(f"{named} was begun with {name} = {before!r}, now it is {now!r}; {self.remedy}")

    def is_ours(self, name: str) -> bool:
        """Whether this program may have made file or folder `name`."""
        whole = name.removesuffix(PARTIAL_SUFFIX)
        return whole in (LOCK, self.record) or self.ours(whole)

    @contextmanager
    def claim(
        self,
        folder: Path,
        origin: Mapping[str, object],
        *,
        resume: bool = True,
        prepare: Callable[[], None] = lambda: None,
        record_now: bool = True,
    ) -> Iterator[None]:
        """Hold `folder`, made if need be, for `origin`; the record is written at once, or else left to the caller.

        prepare: called under the lock, before the record is read. Errors as of `check`, and where another run holds it.
        """
        named, record = f"{self.noun} {str(folder)!r}", folder / self.record
        if not record.exists():  # the lock, too, is written to no stranger's folder
            refuse_strangers(folder, self.is_ours, noun=self.noun)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{named} cannot be made ({error.strerror}); name another folder") from None
        with _locked(folder, f"{named} is being written by another run; wait for it or end it"):
            prepare()
            self.check(folder, origin, resume=resume)
            for left in folder.glob(f"*{PARTIAL_SUFFIX}"):
                if left.is_file() and self.is_ours(left.name):
                    left.unlink()
            if record_now and not (record.exists() and difference(read_json(record), origin) is None):
                write_json(record, origin)
            yield


def refuse_strangers(folder: Path, is_ours: Callable[[str], bool], *, noun: str = "output") -> None:
    """Raise InputError where `folder` holds others' files, which a mistyped option must not mix with ours."""
    named, remedy = f"{noun} {str(folder)!r}", "which this program did not write; choose an empty folder"
    require(not folder.exists() or folder.is_dir(), f"{named} is a file; name a folder")
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        require(is_ours(path.name), f"{named} holds {path.name!r}, {remedy}")


def difference(
    before: Mapping[str, object], now: Mapping[str, object], must_agree: Callable[[str], bool] = lambda name: True
) -> tuple[str, object, object] | None:
    """The first option, by its dotted name, in which two configurations differ, and both values."""
    old, new = flatten(before), flatten(now)
    # A table that the record lacks came with a later version of this program; one that is lacking now is not known yet.
    tables = {name.partition(".")[0] for name in old} & {name.partition(".")[0] for name in new}
    for name in [*new, *old]:
        known = "." not in name or name.partition(".")[0] in tables
        if known and must_agree(name) and old.get(name) != new.get(name):
            return name, old.get(name), new.get(name)
    return None


def flatten(values: object, prefix: str = "") -> dict[str, object]:
    """Nested tables and lists as one table with dotted names, for comparison option by option."""
    if isinstance(values, Mapping):
        pairs = [(f"{prefix}.{key}" if prefix else str(key), value) for key, value in values.items()]
    elif isinstance(values, list | tuple):
        pairs = [(f"{prefix}[{position}]", value) for position, value in enumerate(values)]
    else:
        return {prefix: values}
    return {name: leaf for key, value in pairs for name, leaf in flatten(value, key).items()}


@contextmanager
def _locked(folder: Path, busy: str) -> Iterator[None]:
    """Hold the lock of `folder`, and remove its file at the end. Raises InputError(busy) where another holds it."""
    path, is_current = folder / LOCK, False
    while not is_current:
        with path.open("w") as lock:
            try:  # the system gives this lock back when the process ends, however it ends
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(busy) from None
            except OSError:  # some network file systems have none
                pass
            # Whoever held it removed its file before letting go; what was opened meanwhile has no name any more.
            with suppress(FileNotFoundError):
                is_current = os.path.samestat(os.fstat(lock.fileno()), path.stat())
            if is_current:
                try:
                    yield
                finally:
                    path.unlink(missing_ok=True)
