"""A preparation in parts, made on any machines, and the shards that one machine would have made, from all of them.

    parts/3-of-100/config.json          what the part was made with, written first; anything else is refused
    parts/3-of-100/000000-000012.unit   outcomes of a stretch of an input file: the numbers of the file and the stretch
    parts/3-of-100/part.json            how many units each file has that the part read: written last

A part does what looks at one document alone: it decodes, cleans, compares with evaluation sets, hashes, tokenizes and
cuts. What looks at all of them (duplicates, splits, shards, words alone, samples, counts) is left to `merge`.
"""

import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from tinydistil.base.config import shown, table_of
from tinydistil.base.errors import InputError, require
from tinydistil.base.files import Ownership, read_json, refuse_strangers, write_json
from tinydistil.batches.manifest import MANIFEST
from tinydistil.corpus.corpus_folder import CONFIG, OWNERSHIP, PARTS, REMEDY
from tinydistil.corpus.document_step import DocumentStep, Outcome
from tinydistil.corpus.pool import Batch, cut_batches, worker_pool
from tinydistil.corpus.prepare import Job, check_workers, same_tokenizers, without_collecting
from tinydistil.corpus.progress import Progress
from tinydistil.corpus.readers import read_records
from tinydistil.corpus.records import COMPRESSIONS, kind_of
from tinydistil.corpus.units import check_unit, is_unit, path_of, write_unit

_DONE = "part.json"
_OWNERSHIP = Ownership(CONFIG, lambda name: name == _DONE or is_unit(name), remedy=REMEDY)
# Of a segment: 8 MB, so 2,200 of brWaC, which 100 parts share evenly, in files that no file system minds.
_UNITS_PER_SEGMENT = 8
_PACKED = 3  # what gzip and Parquet make of Portuguese
# 2^64 by the golden ratio: its multiples, modulo 2^64, lie evenly for any number of them (Knuth, vol. 3, sec. 6.4).
_GOLDEN = 0x9E3779B97F4A7C15


@dataclass(frozen=True, slots=True)
class Part:
    """The part `number`, from 1, of `of`."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> "Part":
        """The part that "I/N" means."""
        found = re.fullmatch(r"(\d{1,5})/(\d{1,5})", text, re.ASCII)
        part = cls(*map(int, found.groups())) if found else cls(0, 0)
        require(
            1 <= part.number <= part.of,
            f"--part must be I/N with I in 1..N and N at most 99,999, such as 3/100, got {shown(text)}",
        )
        return part

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @property
    def folder(self) -> str:
        """The name of its folder."""
        return f"{self.number}-of-{self.of}"

    @property
    def command(self) -> str:
        """What makes it, or mends it."""
        return f"run scripts/prepare.py --part {self} with the other options as they are"


class Shares:
    """To which of `of` parts the units of each input file belong.

    The files lie end to end, by their size, and each part has a stretch of the same length. A file within a stretch is
    read by one part. The units of a file that several stretches reach into, whose number is known at its end only, are
    dealt by the golden ratio; each of these parts reads all of the file, at some 80 MB/s.
    """

    def __init__(self, files: Sequence[Path], of: int) -> None:
        self._ends, self._of = [0, *accumulate(path.stat().st_size * _packed(path) for path in files)], of

    def part_of(self, file: int, unit: int) -> int:
        """The number of the part that a unit belongs to."""
        start, end = self._ends[file : file + 2]
        return self._at(start + ((end - start) * (unit * _GOLDEN % 2**64) >> 64))

    def readers(self, file: int) -> range:
        """The numbers of the parts that have units of a file."""
        start, end = self._ends[file : file + 2]
        return range(self._at(start), self._at(max(start, end - 1)) + 1)

    def _at(self, place: int) -> int:
        return min(place * self._of // max(self._ends[-1], 1), self._of - 1) + 1


def _packed(path: Path) -> int:
    """How many bytes of text one on disk stands for, about, and on every machine the same."""
    return _PACKED if path.suffix.lower() in COMPRESSIONS or kind_of(path) == "parquet" else 1


class FinishedPart(NamedTuple):
    """A finished part: its documents and raw bytes, and whether it was finished before this run."""

    documents: int
    bytes: int
    was_finished: bool


def make_part(
    job: Job, output: Path, part: Part, *, workers: int, progress: Progress, overwrite: bool = False
) -> FinishedPart | None:
    """Make, go on making, or just find finished, `part` of the corpus of `job`; None where `output` has the corpus.

    Raises InputError as `prepare` does, and where parts of another number lie in `output`.
    """
    check_workers(workers)
    step, origin, parent = job.step(), job.origin(), output / PARTS
    refuse_strangers(output, OWNERSHIP.is_ours)
    if (output / MANIFEST).exists():
        whole = f"output {str(output)!r} holds a finished corpus, which no part changes"
        require(not overwrite, f"{whole}; delete the folder or name another --output")
        OWNERSHIP.check(output, same_tokenizers(origin, output))
        return None
    others = [each for each in found_parts(parent) if each.of != part.of]
    require(
        not others,
        f"--part {part}: {str(parent)!r} holds parts of {others[0].of if others else 0}; give that number, another "
        "--output, or delete them",
    )
    folder = parent / part.folder

    def clear() -> None:
        for path in sorted(folder.iterdir(), key=lambda path: path.name != _DONE) if overwrite else ():
            if is_unit(path.name) or path.name in (CONFIG, _DONE):
                path.unlink()

    bound = {**same_tokenizers(origin, folder), "part": asdict(part)}
    with _OWNERSHIP.claim(folder, bound, prepare=clear), without_collecting():
        shares, units, there = Shares(job.files, part.of), units_of(folder), _sound_units(folder)
        mine = {
            path_of(folder, file, unit)
            for file, count in (units or {}).items()
            for unit in range(count if file < len(job.files) else 0)
            if shares.part_of(file, unit) == part.number
        }
        was_finished = units is not None and mine <= there.keys()
        if not was_finished:
            progress.start(*_sums(there))
            units = _make_units(job, step, folder, part, shares, there, workers, progress)
            write_json(folder / _DONE, {"units": units})
        return FinishedPart(*_sums(there), was_finished)


def _make_units(
    job: Job,
    step: DocumentStep,
    folder: Path,
    part: Part,
    shares: Shares,
    there: dict[Path, tuple[int, int]],
    workers: int,
    progress: Progress,
) -> dict[int, int]:
    """Write the units of `part` that are not `there`, and add them; returns how many each file has that it read."""
    units: dict[int, int] = {}
    targets: deque[Path] = deque()  # of the units whose batches are on their way through the workers

    def batches() -> Iterator[Batch]:
        unit_bytes = round(job.config.segment_mb * 1_000_000 / _UNITS_PER_SEGMENT)
        for file, path in enumerate(job.files):
            if part.number not in shares.readers(file):
                continue
            units[file] = 0
            for batch in cut_batches(read_records(path, job.config.read), unit_bytes):
                target = path_of(folder, file, units[file])
                if shares.part_of(file, units[file]) == part.number and target not in there:
                    if batch.ends_segment:
                        targets.append(target)
                    yield batch
                units[file] += batch.ends_segment

    outcomes: list[Outcome] = []
    raw_bytes = 0
    with worker_pool(step, workers) as mapped:
        for batch, found in mapped(batches()):
            outcomes += found
            raw_bytes += batch.bytes
            progress.advance(len(found), batch.bytes)
            if batch.ends_segment:
                target = targets.popleft()
                write_unit(target, outcomes, raw_bytes)
                there[target] = len(outcomes), raw_bytes
                outcomes, raw_bytes = [], 0
    return units


def found_parts(folder: Path) -> list[Part]:
    """The parts that have a folder in `folder`, by name. Raises InputError where anything else is there."""
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        name = re.fullmatch(r"([1-9]\d{0,4})-of-([1-9]\d{0,4})", path.name, re.ASCII)
        if name is None or int(name[1]) > int(name[2]):
            raise InputError(f"{str(path)!r} is no part, which are named as 3-of-100; move it away")
        found.append(Part(int(name[1]), int(name[2])))
    return sorted(found, key=astuple)


def units_of(folder: Path) -> dict[int, int] | None:
    """How many units each file has that the part in `folder` read; None where it is unfinished, or that is damaged."""
    try:
        units = read_json(folder / _DONE)["units"]
        return {int(file): int(str(count)) for file, count in table_of(units, "units").items()}
    except (KeyError, ValueError):  # InputError, too
        return None


def _sound_units(folder: Path) -> dict[Path, tuple[int, int]]:
    """The units in `folder`, with their documents and raw bytes; damaged ones go, and are made again."""
    found = {}
    for path in filter(lambda path: is_unit(path.name), [*folder.iterdir()]):
        try:
            found[path] = check_unit(path)
        except ValueError:
            path.unlink()
    return found


def _sums(units: Mapping[Path, tuple[int, int]]) -> tuple[int, int]:
    return sum(documents for documents, _ in units.values()), sum(raw_bytes for _, raw_bytes in units.values())
