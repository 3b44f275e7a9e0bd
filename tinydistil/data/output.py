"""The folder of a corpus: what it was made with, its committed segments, what a restart goes on from.

    config.json                 the origin, written first; a run with another origin is refused
    train-000000.safetensors    shards, one a segment and split
    segments/000000.json        counts and shards of segment 0: written last, its presence commits the segment
    segments/000000.state       keys and signatures of its documents (safetensors)
    manifest.json               written when all segments are; segments/ is removed then

Every file appears whole or not at all (see `atomic`), and what no committed segment lists is thrown away.
"""

import fcntl
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from tinydistil.atomic import PARTIAL_SUFFIX, read_json, sync_folder, write_atomic, write_json
from tinydistil.data.shards import MANIFEST, SPLITS, entries_of
from tinydistil.errors import InputError, require

CONFIG = "config.json"
TABLE = "table.json"
SAMPLES = "samples.jsonl"
_LOCK = ".lock"


@dataclass(frozen=True, slots=True)
class DuplicateState:
    """What later documents are compared with: keys (N, 16) uint8, signatures (N, P) or (0, 0) uint32."""

    keys: NDArray[np.uint8]
    signatures: NDArray[np.uint32]


class OutputFolder:
    """A locked output folder. A context manager, so that the lock is given back."""

    def __init__(self, folder: Path, lock: TextIO) -> None:
        self.folder = folder
        self._segments = folder / "segments"
        self._lock = lock

    @classmethod
    def claim(cls, folder: Path, origin: Mapping[str, object], *, overwrite: bool = False) -> "OutputFolder":
        """Make or re-enter `folder` for a corpus of `origin`, and lock it against a second run.

        Raises InputError where another run holds it, where it belongs to another origin (the message names
        the first field that differs) or holds files that are not ours. With `overwrite` our files in it go.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"output {folder} cannot be made: {error.strerror}; name a folder") from None
        # Before anything is written there.
        _refuse_strangers(folder)
        lock = (folder / _LOCK).open("w")
        try:
            # The system gives this lock back when the process ends, however it ends; a file of its own would
            # stay.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise InputError(f"output {folder} is being written by another run; wait for it or end it") from None
        output = cls(folder, lock)
        if overwrite:
            output._clear()
        if (folder / CONFIG).exists():
            _compare(folder, read_json(folder / CONFIG), origin)
        else:
            write_json(folder / CONFIG, origin)
        output._discard_uncommitted()
        return output

    def __enter__(self) -> "OutputFolder":
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()

    @property
    def finished(self) -> bool:
        """Whether the corpus is whole."""
        return (self.folder / MANIFEST).exists()

    def committed(self) -> list[dict[str, object]]:
        """What `commit` was given for each committed segment, in order."""
        return [read_json(path) for path in self._committed_paths()]

    def states(self) -> Iterator[DuplicateState]:
        """The duplicate state of each committed segment, in order."""
        for path in self._committed_paths():
            state = path.with_suffix(".state")
            try:
                arrays = load_file(state)
            except (OSError, SafetensorError) as error:
                raise InputError(f"{state} is damaged ({error}); prepare again with --overwrite") from None
            yield DuplicateState(arrays["keys"], arrays["signatures"])

    def commit(self, number: int, values: Mapping[str, object], state: DuplicateState) -> None:
        """Make segment `number` final; its shards are written already."""
        self._segments.mkdir(exist_ok=True)
        # The state first: it is no harm without the JSON, which would be without it.
        name = f"{number:06d}"
        write_atomic(self._segments / f"{name}.state", save({"keys": state.keys, "signatures": state.signatures}))
        write_json(self._segments / f"{name}.json", values)

    def finish(self, manifest: Mapping[str, object]) -> None:
        """Write the manifest, which makes the corpus whole, and remove what only a restart needs."""
        write_json(self.folder / MANIFEST, manifest)
        self._discard_uncommitted()

    def _committed_paths(self) -> list[Path]:
        return sorted(self._segments.glob("*.json"))

    def _discard_uncommitted(self) -> None:
        """Remove what a run that was ended left behind; damage to what it had committed is an error."""
        if self.finished:
            shutil.rmtree(self._segments, ignore_errors=True)
            return
        # Shards of the segment in work when the last run ended; it is done again, from its beginning.
        listed = {entry.file: entry for each in self.committed() for entry in entries_of(each, self.folder)}
        for path in self._shards():
            if path.name not in listed:
                path.unlink()
        for name, entry in listed.items():
            path = self.folder / name
            require(
                # Hashing all at each restart would take minutes for brWaC; --verify does.
                path.is_file() and path.stat().st_size == entry.bytes,
                f"{path}, of a finished segment, is missing or cut short; prepare again with --overwrite",
            )
        for path in (*self.folder.glob(f"*{PARTIAL_SUFFIX}"), *self._segments.glob(f"*{PARTIAL_SUFFIX}")):
            path.unlink()

    def _clear(self) -> None:
        # The manifest first: without it nobody takes the rest for a corpus.
        for path in (self.folder / MANIFEST, *self._ours()):
            path.unlink(missing_ok=True)
        shutil.rmtree(self._segments, ignore_errors=True)
        sync_folder(self.folder)

    def _shards(self) -> list[Path]:
        return [path for split in SPLITS for path in self.folder.glob(f"{split}-*.safetensors")]

    def _ours(self) -> list[Path]:
        return [path for path in self.folder.iterdir() if _is_ours(path) and path.is_file() and path.name != _LOCK]


def _is_ours(path: Path) -> bool:
    name = path.name.removesuffix(PARTIAL_SUFFIX)
    shard = name.endswith(".safetensors") and name.startswith(tuple(f"{split}-" for split in SPLITS))
    return shard or name in {CONFIG, MANIFEST, TABLE, SAMPLES, _LOCK, "segments"}


def _refuse_strangers(folder: Path) -> None:
    """A mistyped --output must never mix with, or clear, files of the user's own."""
    for path in sorted(folder.iterdir()):
        require(
            _is_ours(path),
            f"output {folder} holds {path.name!r}, which this program did not write; choose an empty folder",
        )


def _compare(folder: Path, found: Mapping[str, object], wanted: Mapping[str, object]) -> None:
    # Field by field, not as a whole: the user is told which option it was.
    before, now = flatten(found), flatten(wanted)
    for name in [*now, *before]:
        require(
            before.get(name) == now.get(name),
            f"output {folder} was made with {name} = {before.get(name)!r}, now it is {now.get(name)!r}; "
            "give the same value, another --output, or --overwrite to start anew",
        )


def flatten(values: object, prefix: str = "") -> dict[str, object]:
    """Nested tables and lists as one table with dotted names, for comparison field by field."""
    if isinstance(values, Mapping):
        pairs = [(f"{prefix}.{key}" if prefix else str(key), value) for key, value in values.items()]
    elif isinstance(values, list | tuple):
        pairs = [(f"{prefix}[{position}]", value) for position, value in enumerate(values)]
    else:
        return {prefix: values}
    return {name: leaf for key, value in pairs for name, leaf in flatten(value, key).items()}
