""" "This folder belongs to that configuration", for runs, corpora, caches and tables alike.

The record, a JSON file in the folder, says what it was begun with; a lock keeps a second run out for as long as the
first one lives.
"""

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tinydistil.base.errors import InputError, require
from tinydistil.base.files import PARTIAL_SUFFIX, read_json, write_json

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
