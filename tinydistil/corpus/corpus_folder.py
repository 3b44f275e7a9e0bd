"""The folder of a corpus: what it was made with, its committed segments, what a restart goes on from.

    config.json                 the origin, written first; a run with another origin is refused
    train-000000.safetensors    shards, one a segment and split
    segments/000000.json        counts and shards of segment 0: written last, its presence commits the segment
    segments/000000.state       keys and signatures of its documents (safetensors)
    parts/                      of a preparation in parts, see `parts`
    manifest.json               written when all segments are; segments/ and parts/ are removed then

Every file appears whole or not at all (see `files`), and what no committed segment lists is thrown away.
"""

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from tinydistil.base.config import from_mapping
from tinydistil.base.errors import InputError, require
from tinydistil.base.files import (
    LOCK,
    Ownership,
    read_json,
    refuse_strangers,
    sha256_of_ends,
    sync,
    write_atomic,
    write_json,
)
from tinydistil.batches.manifest import AGAIN, MANIFEST, SPLITS, ShardEntry, entries_of
from tinydistil.corpus.segment import Counts, Sample, Segment

CONFIG, TABLE, SAMPLES, PARTS = "config.json", "table.json", "samples.jsonl", "parts"


@dataclass(frozen=True, slots=True)
class Committed:
    """What the file that commits a segment says. state_sha256: of its duplicate state."""

    counts: Counts
    shards: tuple[ShardEntry, ...]
    samples: tuple[Sample, ...]
    state_sha256: str


class OutputFolder:
    """An output folder that this process holds. `committed`: its segments, in order."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.committed: list[Committed] = []
        self._segments = folder / "segments"

    @classmethod
    @contextmanager
    def claim(
        cls, folder: Path, origin: Mapping[str, object], *, overwrite: bool = False, merges: bool = False
    ) -> "Iterator[OutputFolder]":
        """Make or re-enter `folder` for a corpus of `origin`, and lock it against a second run.

        With `overwrite` our files in it go, but not the parts if it `merges` them. Raises InputError where another run
        holds it, where it belongs to another origin (the message names the first field that differs), holds parts that
        would not be used, or files that are not ours.
        """
        output = cls(folder)
        # Also where the record is there: --overwrite clears, and a mistyped folder must not be touched.
        refuse_strangers(folder, OWNERSHIP.is_ours)
        require(
            overwrite or merges or output.finished or not (folder / PARTS).exists(),
            f"output {str(folder)!r} holds parts of a corpus; scripts/prepare.py --merge makes it of them, --overwrite "
            "discards them",
        )
        clear = partial(output._clear, parts=not merges) if overwrite else lambda: None
        with OWNERSHIP.claim(folder, origin, prepare=clear):
            output._discard_uncommitted()
            yield output

    @property
    def finished(self) -> bool:
        """Whether the corpus is whole."""
        return (self.folder / MANIFEST).exists()

    def counts(self) -> Counts:
        """Those of all committed segments."""
        total = Counts()
        for segment in self.committed:
            total.merge(segment.counts)
        return total

    def states(self) -> Iterator[dict[str, NDArray[np.unsignedinteger]]]:
        """The duplicate state of each committed segment, in order."""
        for number, segment in enumerate(self.committed):
            path = self._segments / f"{number:06d}.state"
            try:
                data = path.read_bytes()
                arrays = load(data)
            except (OSError, SafetensorError) as error:
                raise InputError(f"{path} is damaged ({error}); {AGAIN}") from None
            sound = hashlib.sha256(data).hexdigest() == segment.state_sha256
            require(sound and {"keys", "signatures"} <= arrays.keys(), f"{path} is damaged; {AGAIN}")
            yield arrays

    def commit(self, segment: Segment) -> None:
        """Write the shards of the next segment and make it final."""
        self._segments.mkdir(exist_ok=True)
        number, state = len(self.committed), save(segment.state())
        shards, state_sha256 = tuple(segment.write(self.folder, number)), hashlib.sha256(state).hexdigest()
        self.committed.append(Committed(segment.counts, shards, tuple(segment.samples), state_sha256))
        # The state first: it is no harm without the JSON, which would be without it.
        write_atomic(self._segments / f"{number:06d}.state", state)
        write_json(self._segments / f"{number:06d}.json", asdict(self.committed[-1]))

    def finish(self, manifest: Mapping[str, object]) -> None:
        """Write the manifest, which makes the corpus whole, and remove what only a restart needs."""
        write_json(self.folder / MANIFEST, manifest)
        self._discard_uncommitted()

    def _discard_uncommitted(self) -> None:
        """Remove what a run that was ended left behind. Raises InputError for damage to what it had committed."""
        if self.finished:
            for made_of in (self._segments, self.folder / PARTS):
                shutil.rmtree(made_of, ignore_errors=True)
            return
        paths = sorted(self._segments.glob("*.json"))
        for number, path in enumerate(paths):
            expected = path.with_name(f"{number:06d}.json")
            # Over a gap, its shards would be thrown away as nobody's, and later segments be made twice.
            require(path == expected, f"{expected} is missing, {path.name} is there; {AGAIN}")
        self.committed = list(map(_read_segment, paths))
        listed = {self.folder / entry.file: entry for segment in self.committed for entry in segment.shards}
        for path, entry in listed.items():
            # Hashing all at each restart would take minutes for brWaC; --verify does.
            sound = path.is_file() and path.stat().st_size == entry.bytes
            sound = sound and entry.sha256_of_ends in ("", sha256_of_ends(path))
            require(sound, f"{path}, of a finished segment, is missing, cut short or damaged; {AGAIN}")
        # Shards of the segment in work when the last run ended; it is done again, from its beginning.
        shards = (path for split in SPLITS for path in self.folder.glob(f"{split}-*.safetensors"))
        for path in {*shards} - listed.keys():
            path.unlink()

    def _clear(self, *, parts: bool) -> None:
        # The manifest first: without it nobody takes the rest for a corpus.
        for path in sorted(self.folder.iterdir(), key=lambda path: path.name != MANIFEST):
            if path.is_file() and OWNERSHIP.is_ours(path.name) and path.name != LOCK:
                path.unlink()
        for made_of in (self._segments, *[self.folder / PARTS] * parts):
            shutil.rmtree(made_of, ignore_errors=True)
        sync(self.folder)


def _read_segment(path: Path) -> Committed:
    """The segment that JSON file `path` commits."""
    values = read_json(path, remedy=AGAIN)
    try:
        entries_of(values, path.parent)  # which knows how shards are named
        return from_mapping(Committed, values)
    except InputError as error:
        raise InputError(f"{path} is damaged ({error}); {AGAIN}") from None


def _is_ours(name: str) -> bool:
    shard = name.endswith(".safetensors") and name.startswith(tuple(f"{split}-" for split in SPLITS))
    return shard or name in {MANIFEST, TABLE, SAMPLES, PARTS, "segments"}


REMEDY = "give the same value, another --output, or start anew with --overwrite (scripts/prepare.py)"
OWNERSHIP = Ownership(CONFIG, _is_ours, remedy=REMEDY)
