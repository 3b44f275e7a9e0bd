"""An evaluation: what of it lies measured in its folder, and the measuring of all else, part by part."""

import math
import re
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import torch

from tinydistil.base.config import to_mapping
from tinydistil.base.console import duration
from tinydistil.base.errors import InputError
from tinydistil.base.files import Ownership, difference, fingerprint, flatten, read_json, refuse_strangers
from tinydistil.base.ranks import Ranks
from tinydistil.evaluate import parts, results
from tinydistil.evaluate.intervals import paired_significance
from tinydistil.evaluate.masked_lm import Span
from tinydistil.evaluate.parts import PARTS, TuningJob
from tinydistil.evaluate.results import OVERLAP, RECORD, TABLES, Origin, PartResult
from tinydistil.evaluate.vectors import Model
from tinydistil.tasks.examples import LabelledText
from tinydistil.tasks.folder import read_examples
from tinydistil.tasks.labelled import Columns

# What a part leaves in its model's folder: its result, and the folder of what is tuned for it.
_RESULT = re.compile(rf"({'|'.join(PARTS)})(-[0-9a-f]{{12}})?(\.json|\.npy)?(\.partial)?")
# Weights that a layer's fixed costs amount to, for the time left.
_OVERHEAD = 300_000


@dataclass(frozen=True)
class Request:
    """What is to be measured, the same for every model. texts and the words hidden in them are for masked_lm;
    settings: of fine-tuning; pooling and prefix None: what each model's folder declares."""

    parts: Sequence[str]
    data: Path
    pairs: Sequence[LabelledText]
    texts: Sequence[str]
    hidden_words: Sequence[tuple[Span, ...]]
    settings: Mapping[str, object]
    seeds: int
    pooling: str | None
    prefix: str | None

    @cached_property
    def words(self) -> str:
        """A fingerprint of texts and hidden words."""
        return sha256(repr((self.texts, self.hidden_words)).encode("utf-8", "surrogatepass")).hexdigest()[:12]

    @cached_property
    def files(self) -> dict[str, str]:
        """Fingerprints of the data's files, by their names in the data's folder."""
        return {name: fingerprint([self.data / name]) for part in self.parts for name in PARTS[part].files}


@dataclass(frozen=True)
class Cell:
    """A part of a model. path: of its result; cost: its work, in weights times bytes of text."""

    model: Model
    part: str
    path: Path
    origin: Origin
    cost: float

    def __str__(self) -> str:
        return f"{self.model.name} · {self.part}"


def ownership(output: Path) -> Ownership:
    """How an evaluation owns its folder: results without a record are known by their names, tables by results.

    A damaged record beside results is removed: each of them says itself what it was measured on.
    """
    folders = [path for path in output.iterdir() if path.is_dir()] if output.is_dir() else []
    found = {folder.name: [path.name for path in folder.iterdir()] for folder in folders}
    ours = {folder for folder, names in found.items() if names and all(map(_RESULT.fullmatch, names))}
    if ours and (record := output / RECORD).is_file():
        try:
            read_json(record)
        except InputError:
            _say(f"{str(record)!r} is damaged and is made anew")
            record.unlink()
    ours |= set(TABLES) if ours else set()
    return Ownership(RECORD, lambda name: name in ours, must_agree=lambda name: name == "suite")


class Evaluation:
    """Models and parts in the folder `output`. Raises InputError where one was measured with other options."""

    def __init__(self, output: Path, models: Sequence[Model], request: Request, ranks: Ranks) -> None:
        self.request, self.ranks = request, ranks
        for model in models:
            refuse_strangers(output / model.name, lambda name: _RESULT.fullmatch(name) is not None, noun="results")
        self.cells = [
            self._cell(output, model, part)
            for model in models
            for part in request.parts
            if part != "masked_lm" or model.predicts_words
        ]
        self.found: dict[Path, PartResult] = {}
        self.kept: set[Path] = set()  # begun or done with the same content and options
        for cell in self.cells:
            self._look(cell)

    def run(self) -> dict[str, dict[str, PartResult]]:
        """Measure what is missing; all results by model and part. Raises Interrupted where it was stopped."""
        missing = [cell for cell in self.cells if cell.path not in self.found]
        jobs = self._jobs(missing)
        began, done = time.monotonic(), 0.0
        for number, cell in enumerate(missing, start=1):
            rest = sum(each.cost for each in missing[number - 1 :])
            left = f", {duration((time.monotonic() - began) / done * rest)} left" if done else ""
            _say(f"{cell}: measuring, {number} of {len(missing)}{left}")
            if cell.path not in self.kept:
                # What is there was tuned from other weights, on other data, or by nobody knows what.
                shutil.rmtree(cell.path.with_suffix(""), ignore_errors=True)
            results.save(cell.path, cell.origin)
            measured = self._measure(cell, jobs.get(cell.path), rest - cell.cost)
            results.save(cell.path, cell.origin, measured)
            name, figure = measured.primary
            _say(f"{cell}: {name} {results.shown(figure)}")
            self.found[cell.path], done = measured, done + cell.cost
        found: dict[str, dict[str, PartResult]] = {}
        for cell in self.cells:
            found.setdefault(cell.model.name, {})[cell.part] = self.found[cell.path]
        if "similarity" in self.request.parts:
            found[OVERLAP] = {"similarity": parts.overlap_similarity(self.request.pairs)}
        return found

    def _cell(self, output: Path, model: Model, part: str) -> Cell:
        request, seeds, stem = self.request, 1, part
        options: dict[str, object] = {}
        files = PARTS[part].files
        content: dict[str, object] = {**model.content, "data": {name: request.files[name] for name in files}}
        size = sum((request.data / name).stat().st_size for name in files)
        if part == "speed":
            content |= {"device": self.ranks.device.type, "threads": torch.get_num_threads()}
        elif part == "masked_lm":
            content["texts"], stem = request.words, f"{part}-{request.words}"
            size = 3 * sum(map(len, request.texts))
        elif part == "similarity":
            vectors = parts.sentence_vectors(model, request.pooling, request.prefix)
            options, size = {"pooling": str(vectors), "prefix": request.prefix or ""}, 4 * size
        else:
            config = parts.config_for(model, part, request.settings)
            # the seeds are 1 to `seeds`
            options = {name: value for name, value in to_mapping(config).items() if name != "seed"}
            options["device"] = self.ranks.device.type
            # a backward pass costs two forward passes
            seeds, size = request.seeds, int(3 * config.epochs * request.seeds * size)
        cost, path = size * (model.weights + _OVERHEAD), output / model.name / f"{stem}.json"
        return Cell(model, part, path, Origin(content, options, seeds), cost)

    def _look(self, cell: Cell) -> None:
        """Note what is known of the cell; say why what lies there is not believed."""
        if not cell.path.is_file():
            return
        try:
            before, known = results.load(cell.path)
        except InputError as error:
            _say(f"{cell}: {cell.path} is damaged ({error}); it is measured again")
            return
        if changed := difference(before.content, cell.origin.content):
            name = changed[0].removeprefix("data.")
            _say(f"{cell}: {name} {'has' if name != 'weights' else 'have'} changed since; it is measured again")
            return
        recorded = flatten(before.options)
        # an option that the record lacks came with a later version
        if changed := difference(recorded, cell.origin.options, lambda name: name in recorded):
            raise InputError(
                f"{str(cell.path)!r} was measured with {changed[0]} = {changed[1]!r}, now it is {changed[2]!r}; "
                "give the same value, or another --output"
            )
        self.kept.add(cell.path)
        if known is not None and before.seeds == cell.origin.seeds:
            self.found[cell.path] = known
        elif known is not None:
            _say(f"{cell}: measured with {before.seeds} seeds, now {cell.origin.seeds}; those there are kept")

    def _jobs(self, cells: Sequence[Cell]) -> dict[Path, TuningJob]:
        """What is to be fine-tuned. All is read before the first begins: what is wrong with the last is said now."""
        jobs, data = {}, self.request.data
        sets = {
            name: [read_examples(part.kind, data / file, Columns()) for file in part.files]
            for name, part in PARTS.items()
            if part.kind and any(cell.part == name for cell in cells)
        }
        for cell in cells:
            if cell.part in sets:
                config = parts.config_for(cell.model, cell.part, self.request.settings)
                jobs[cell.path] = parts.tuning_job(cell.model.folder, cell.part, data, sets[cell.part], config)
        return jobs

    def _measure(self, cell: Cell, job: TuningJob | None, rest: float) -> PartResult:
        """Measure a cell, after which work of `rest` is left."""
        model, request, device = cell.model, self.request, self.ranks.device
        if job is not None:
            still_to_come = rest / cell.cost * request.seeds if cell.cost else 0.0
            work = cell.path.with_suffix("")
            return parts.fine_tuned(job, request.seeds, work, self.ranks, label=str(cell), still_to_come=still_to_come)
        if cell.part == "speed":
            return parts.speed(model, [pair.text for pair in request.pairs], device)
        if cell.part == "masked_lm":
            return parts.masked_words(model, request.texts, request.hidden_words, device)
        vectors = parts.sentence_vectors(model, request.pooling, request.prefix)
        return parts.zero_shot_similarity(model, request.pairs, vectors, request.prefix or "", device)


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def significance(found: results.Results, models: Sequence[Model]) -> dict[str, dict[str, float]]:
    """For each part, the p of each further model's primary metric against the first model's, on the same items."""
    p_values: dict[str, dict[str, float]] = {}
    first = found.get(models[0].name, {})
    for model in models[1:]:
        for part, other in found.get(model.name, {}).items():
            one, statistic = first.get(part), PARTS[part].primary
            if one is None or statistic is None or one.items.shape != other.items.shape:
                continue
            if not any(math.isnan(each.primary[1].value) for each in (one, other)):
                p = paired_significance(statistic, one.items, other.items)
                p_values.setdefault(part, {})[model.name] = p
    return p_values
