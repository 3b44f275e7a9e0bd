"""The shards that one machine would have made, from the parts that several have: `prepare` with outcomes that are read.

The merge reads the input once more and does what looks at all documents, 32 MB/s together (19 MB of blogs, a core of an
AMD EPYC), where a core makes outcomes at 2.5; it goes on after a break as `prepare` does.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path

from tinydistil.base.errors import InputError, require
from tinydistil.base.files import difference, read_json
from tinydistil.batches.manifest import MANIFEST
from tinydistil.corpus.corpus_folder import CONFIG, PARTS
from tinydistil.corpus.document_step import Outcome
from tinydistil.corpus.parts import Part, Shares, found_parts, units_of
from tinydistil.corpus.pool import Batch, Mapped
from tinydistil.corpus.prepare import Job, Prepared, prepare, same_tokenizers
from tinydistil.corpus.progress import Progress
from tinydistil.corpus.units import path_of, read_header, read_unit


def merge(job: Job, output: Path, *, progress: Progress, overwrite: bool = False) -> Prepared:
    """The corpus of `job` from its parts in `output`, which go then; else as `prepare`.

    Raises InputError, by number, for a part that is missing, unfinished, damaged, or of another configuration or input.
    """
    made = None if (output / MANIFEST).exists() and not overwrite else _Parts(job, output).beside
    return prepare(job, output, workers=0, progress=progress, overwrite=overwrite, made=made)


class _Parts:
    """The parts of `job` in a folder, all of them finished. Raises InputError where they are anything else."""

    def __init__(self, job: Job, output: Path) -> None:
        self._files, self._folder = job.files, output / PARTS
        found, origin = found_parts(self._folder), job.origin()
        require(
            bool(found),
            f"{str(output)!r} holds no parts; make them with scripts/prepare.py --part 1/N to --part N/N, then --merge",
        )
        self._of = of = found[0].of
        several = ", ".join(map(str, found[:5])) + " ..." * (len(found) > 5)
        require(
            all(each.of == of for each in found),
            f"{str(self._folder)!r} holds parts of several numbers ({several}); delete the folders of all but one",
        )
        for part in found:
            folder = self._folder / part.folder
            if (folder / CONFIG).exists():
                record = read_json(folder / CONFIG, remedy=f"delete the folder and {part.command}")
                if differing := difference(record, {**same_tokenizers(origin, folder), "part": asdict(part)}):
                    name, before, now = differing
                    raise InputError(
                        f"part {part} in {str(folder)!r} was made with {name} = {before!r}, now it is {now!r}; give "
                        f"the same value, or delete the folder and {part.command}"
                    )
        counts = {number: units_of(self._folder / Part(number, of).folder) for number in range(1, of + 1)}
        missing = [Part(number, of) for number, units in counts.items() if units is None]
        if missing:
            more = f" and {len(missing) - 5:,} more" if len(missing) > 5 else ""
            named = ", ".join(map(str, missing[:5]))
            raise InputError(f"missing or unfinished parts: {named}{more}; {missing[0].command}, then --merge again")
        self._shares, self._units = Shares(job.files, of), list[int]()
        for file, path in enumerate(job.files):
            told = {number: (counts[number] or {}).get(file, -1) for number in self._shares.readers(file)}
            first, units = next(iter(told.items()))
            differ = [number for number, count in told.items() if count != units or count < 0]
            require(
                not differ,
                f"parts {first}/{of} and {max(differ, default=0)}/{of} have cut {str(path)!r} differently; it changed "
                "meanwhile: delete the folders of both and run scripts/prepare.py --part for each again",
            )
            self._units.append(units)
            for unit in range(units):
                self._require(self._path(file, unit).exists(), file, unit, "missing")

    def beside(self, skip: int, batches: Iterable[Batch]) -> Mapped:
        """The batches, which begin behind `skip` items of the input, with their outcomes."""
        outcomes = self._outcomes(skip)
        for batch in batches:
            found = list(islice(outcomes, len(batch.items)))
            self._require_alike(len(found) == len(batch.items))
            yield batch, found
        self._require_alike(next(outcomes, None) is None)

    def _outcomes(self, skip: int) -> Iterator[Outcome]:
        for file, units in enumerate(self._units):
            for unit in range(units):
                path = self._path(file, unit)
                try:
                    documents, _ = read_header(path)
                    if skip >= documents:
                        skip -= documents
                        continue
                    found = read_unit(path)
                except ValueError:
                    self._require(False, file, unit, "damaged")
                yield from found[skip:]
                skip = 0

    def _path(self, file: int, unit: int) -> Path:
        part = Part(self._shares.part_of(file, unit), self._of)
        return path_of(self._folder / part.folder, file, unit)

    def _require(self, sound: bool, file: int, unit: int, what: str) -> None:
        part = Part(self._shares.part_of(file, unit), self._of)
        require(sound, f"{self._path(file, unit)} of part {part} is {what}; {part.command}, then --merge again")

    def _require_alike(self, alike: bool) -> None:
        changed = f"the parts in {str(self._folder)!r} hold other documents than the input does now"
        require(alike, f"{changed}; delete them and run scripts/prepare.py --part for each again")
