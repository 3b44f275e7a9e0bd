"""The folder of a corpus: what it was made with, its committed segments, what a restart goes on from.

    config.json                 the origin, written first; a run with another origin is refused
    train-000000.safetensors    shards, one a segment and split
    segments/000000.json        counts and shards of segment 0: written last, its presence commits the segment
    segments/000000.state       keys and signatures of its documents (safetensors)
    manifest.json               written when all segments are; segments/ is removed then

Every file appears whole or not at all (see `files`), and what no committed segment lists is thrown away.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from tinydistil.claim import LOCK, Ownership, refuse_strangers
from tinydistil.data.shards import MANIFEST, SPLITS, entries_of
from tinydistil.errors import InputError, require
from tinydistil.files import PARTIAL_SUFFIX, read_json, sync_folder, write_atomic, write_json

CONFIG = "config.json"
TABLE = "table.json"
SAMPLES = "samples.jsonl"


@dataclass(frozen=True, slots=True)
class DuplicateState:
    """What later documents are compared with: keys (N, 16) uint8, signatures (N, P) or (0, 0) uint32."""

    keys: NDArray[np.uint8]
    signatures: NDArray[np.uint32]


class OutputFolder:
    """An output folder that this process holds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._segments = folder / "segments"

    @classmethod
    @contextmanager
    def claim(cls, folder: Path, origin: Mapping[str, object], *, overwrite: bool = False) -> "Iterator[OutputFolder]":
        """Make or re-enter `folder` for a corpus of `origin`, and lock it against a second run.

        Raises InputError where another run holds it, where it belongs to another origin (the message names
        the first field that differs) or holds files that are not ours. With `overwrite` our files in it go.
        """
        output = cls(folder)
        # Also where the record is there: --overwrite clears, and a mistyped folder must not be touched.
        refuse_strangers(folder, OWNERSHIP.is_ours)
        with OWNERSHIP.claim(folder, origin, prepare=output._clear if overwrite else lambda: None):
            output._discard_uncommitted()
            yield output

    @property
    def finished(self) -> bool:
        """Whether the corpus is whole."""
        return (self.folder / MANIFEST).exists()

    def committed(self) -> list[dict[str, object]]:
        """What `commit` was given for each committed segment, in order."""
        return [read_json(path, remedy="prepare the corpus again with --overwrite") for path in self._committed_paths()]

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
        for path in self._segments.glob(f"*{PARTIAL_SUFFIX}"):
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
        files = (path for path in self.folder.iterdir() if path.is_file() and path.name != LOCK)
        return [path for path in files if OWNERSHIP.is_ours(path.name)]


def _is_ours(name: str) -> bool:
    shard = name.endswith(".safetensors") and name.startswith(tuple(f"{split}-" for split in SPLITS))
    return shard or name in {MANIFEST, TABLE, SAMPLES, "segments"}


OWNERSHIP = Ownership(CONFIG, _is_ours, remedy="give the same value, another --output, or --overwrite to start anew")
