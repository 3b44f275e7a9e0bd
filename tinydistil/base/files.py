"""Files that are whole or absent (temporary name, fsync, rename), the JSON in them, their fingerprints."""

import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tinydistil.base.errors import InputError, require

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


LOCK = ".lock"


@dataclass(frozen=True, slots=True)
class Ownership:
    """How a kind of folder is claimed.

    record: the file that says what the folder was begun with. ours: names that this program may have left there
    before the record. noun: the option that names the folder. must_agree: whether an option (dotted name) may not
    change; tables that the record or the origin lacks altogether are not compared. remedy: behind "now it is ...".
    tables: those that every record has but the ones of the first edition, whose folders are refused.
    """

    record: str
    ours: Callable[[str], bool]
    noun: str = "output"
    must_agree: Callable[[str], bool] = lambda name: True
    remedy: str = "give the same value, or another --output"
    tables: tuple[str, ...] = ()

    def check(self, folder: Path, origin: Mapping[str, object], *, resume: bool = True) -> None:
        """Raise InputError where `folder` is no place for `origin`; nothing is written."""
        named = f"{self.noun} {str(folder)!r}"
        require(not folder.exists() or folder.is_dir(), f"{named} is a file; name a folder")
        record = folder / self.record
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
        differing = difference(found, origin, self.must_agree)
        if differing is not None:
            name, before, now = differing
            raise InputError(f"{named} was begun with {name} = {before!r}, now it is {now!r}; {self.remedy}")

    def is_ours(self, name: str) -> bool:
        """Whether this program may have made the file or folder `name`, whole or in part."""
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

        prepare: called under the lock, before the record is read. Raises InputError as `check` does, and where
        another process holds the folder.
        """
        require(not folder.is_file(), f"{self.noun} {str(folder)!r} is a file; name a folder")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            remedy = f"({error.strerror}); name another folder"
            raise InputError(f"{self.noun} {str(folder)!r} cannot be made {remedy}") from None
        record = folder / self.record
        if not record.exists():  # the lock, too, is written to no stranger's folder
            refuse_strangers(folder, self.is_ours, noun=self.noun)
        with _locked(folder, self.noun):
            prepare()
            self.check(folder, origin, resume=resume)
            for left in folder.glob(f"*{PARTIAL_SUFFIX}"):
                if left.is_file() and self.is_ours(left.name):
                    left.unlink()
            if record_now and not (record.exists() and difference(read_json(record), origin) is None):
                write_json(record, origin)
            yield


def refuse_strangers(folder: Path, is_ours: Callable[[str], bool], *, noun: str = "output") -> None:
    """Raise InputError where `folder` holds others' files, which a mistyped option must never mix with ours."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        require(
            is_ours(path.name),
            f"{noun} {str(folder)!r} holds {path.name!r}, which this program did not write; choose an empty folder",
        )


def difference(
    before: Mapping[str, object], now: Mapping[str, object], must_agree: Callable[[str], bool] = lambda name: True
) -> tuple[str, object, object] | None:
    """The first option, by its dotted name, in which two configurations differ, and both values."""
    old, new = flatten(before), flatten(now)
    # A table that the record lacks came with a later version of this program; one that is lacking now (what files hold,
    # say, before they are read) is compared when it is known.
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
def _locked(folder: Path, noun: str) -> Iterator[None]:
    """Hold the lock of `folder`, and remove its file at the end."""
    path, is_current = folder / LOCK, False
    while not is_current:
        with path.open("w") as lock:
            # The system gives this lock back when the process ends, however it ends; some network file systems have
            # none.
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                busy = "is being written by another run; wait for it or end it"
                raise InputError(f"{noun} {str(folder)!r} {busy}") from None
            except OSError:
                pass
            # Whoever held it removed its file before letting go; what was opened meanwhile has no name any more.
            with suppress(FileNotFoundError):
                is_current = os.path.samestat(os.fstat(lock.fileno()), path.stat())
            if is_current:
                try:
                    yield
                finally:
                    path.unlink(missing_ok=True)
