"""An evaluation: what of it lies measured in its folder, and the measuring of all else, part by part."""

import math
import re
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from tinydistil.base.config import to_mapping
from tinydistil.base.console import duration
from tinydistil.base.errors import InputError
from tinydistil.base.files import Ownership, difference, fingerprint, flatten, read_json, refuse_strangers
from tinydistil.base.ranks import Ranks
from tinydistil.evaluate import parts, results
from tinydistil.evaluate.floors import overlap_floor
from tinydistil.evaluate.masked_lm import Span
from tinydistil.evaluate.parts import PARTS, Model
from tinydistil.evaluate.results import OVERLAP, RECORD, TABLES, Origin, PartResult, paired_significance
from tinydistil.tasks.examples import LabelledText
from tinydistil.tasks.folder import AnyData, read_examples
from tinydistil.tasks.labelled import Columns

# What a part leaves in its model's folder: its result, and the folder of what is tuned for it.
_RESULT = re.compile(rf"({'|'.join(PARTS)})(-[0-9a-f]{{12}})?(\.json|\.npy)?(\.partial)?")
# Weights that a layer's fixed costs amount to, for the time left.
_OVERHEAD = 300_000


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


@dataclass(frozen=True)
class Evaluation:
    """What is to be measured in `output`. texts and the words hidden in them: for masked_lm; settings: of fine-tuning;
    pooling and prefix None: what each model's folder declares."""

    output: Path
    models: Sequence[Model]
    parts: Sequence[str]
    data: Path
    pairs: Sequence[LabelledText]
    texts: Sequence[str]
    hidden_words: Sequence[tuple[Span, ...]]
    settings: Mapping[str, object]
    seeds: int
    pooling: str | None
    prefix: str | None
    ranks: Ranks

    @cached_property
    def cells(self) -> list[Cell]:
        """Every part of every model that can be measured."""
        pairs = [(model, part) for model in self.models for part in self.parts]
        return [self._cell(*pair) for pair in pairs if pair[1] != "masked_lm" or pair[0].predicts_words]

    def known(self) -> dict[Path, PartResult | None]:
        """By path what lies measured in `output`, None where it was begun with the same content and options.

        Says what is not believed and why. Raises InputError where a part was measured with other options.
        """
        for model in self.models:
            refuse_strangers(self.output / model.name, lambda name: _RESULT.fullmatch(name) is not None, noun="results")
        known: dict[Path, PartResult | None] = {}
        for cell in [cell for cell in self.cells if cell.path.is_file()]:
            try:
                before, found = results.load(cell.path)
            except InputError as error:
                _say(f"{cell}: {cell.path} is damaged ({error}); it is measured again")
                continue
            if changed := difference(before.content, cell.origin.content):
                name = changed[0].removeprefix("data.")
                _say(f"{cell}: {name} {'has' if name != 'weights' else 'have'} changed since; it is measured again")
                continue
            recorded = flatten(before.options)
            # an option that the record lacks came with a later version
            if changed := difference(recorded, cell.origin.options, recorded.__contains__):
                raise InputError(
                    f"{str(cell.path)!r} was measured with {changed[0]} = {changed[1]!r}, now it is {changed[2]!r}; "
                    "give the same value, or another --output"
                )
            same_seeds = before.seeds == cell.origin.seeds
            if found is not None and not same_seeds:
                _say(f"{cell}: measured with {before.seeds} seeds, now {cell.origin.seeds}; those there are kept")
            known[cell.path] = found if same_seeds else None
        return known

    def run(self, known: Mapping[Path, PartResult | None]) -> dict[str, dict[str, PartResult]]:
        """Measure what is missing; all results by model and part. Raises Interrupted where it was stopped."""
        missing = [cell for cell in self.cells if known.get(cell.path) is None]
        # All is read before the first begins: what is wrong with the last is said now.
        read = cache(lambda kind, file: read_examples(kind, self.data / file, Columns()))
        work = [self._work(cell, read) for cell in missing]
        began, done, new = time.monotonic(), 0.0, {}
        for number, cell in enumerate(missing):
            rest = sum(each.cost for each in missing[number:])
            left = f", {duration((time.monotonic() - began) / done * rest)} left" if done else ""
            _say(f"{cell}: measuring, {number + 1} of {len(missing)}{left}")
            if cell.path not in known:
                # What is there was tuned from other weights, on other data, or by nobody knows what.
                shutil.rmtree(cell.path.with_suffix(""), ignore_errors=True)
            results.save(cell.path, cell.origin)
            new[cell.path] = work[number](rest - cell.cost)
            results.save(cell.path, cell.origin, new[cell.path])
            name, figure = next(iter(new[cell.path].figures.items()))
            _say(f"{cell}: {name} {results.shown(figure)}")
            done += cell.cost
        found: dict[str, dict[str, PartResult]] = {}
        for cell in self.cells:
            result = new.get(cell.path) or known[cell.path]
            assert result is not None
            found.setdefault(cell.model.name, {})[cell.part] = result
        if "similarity" in self.parts:
            found[OVERLAP] = {"similarity": parts.overlap_similarity(self.pairs)}
        for name in [name for name in ("entailment", "similarity_tuned") if name in self.parts]:
            part = PARTS[name]
            assert part.primary is not None
            rows: list[Any] = [read(part.kind, file).examples for file in part.files]
            floor = overlap_floor(part.title, rows[0], rows[-1], part.primary, classify=part.kind == "classify")
            found.setdefault(OVERLAP, {})[name] = floor
        return found

    def _cell(self, model: Model, part: str) -> Cell:
        seeds, stem, files = 1, part, PARTS[part].files
        options: dict[str, object] = {}
        prints = {name: fingerprint([self.data / name]) for name in files}
        content: dict[str, object] = {**model.content, "data": prints}
        size = sum((self.data / name).stat().st_size for name in files)
        if part == "speed":
            content |= {"device": self.ranks.device.type, "threads": torch.get_num_threads()}
        elif part == "masked_lm":
            texts = repr((self.texts, self.hidden_words)).encode("utf-8", "surrogatepass")
            content["texts"] = sha256(texts).hexdigest()[:12]
            stem, size = f"{part}-{content['texts']}", 3 * sum(map(len, self.texts))
        elif part == "similarity":
            vectors = parts.sentence_vectors(model, self.pooling, self.prefix)
            options, size = {"pooling": str(vectors), "prefix": self.prefix or ""}, 4 * size
        else:
            config = parts.config_for(model, part, self.settings)
            # the seeds are 1 to `seeds`
            options = {name: value for name, value in to_mapping(config).items() if name != "seed"}
            options["device"] = self.ranks.device.type
            # a backward pass costs two forward passes
            seeds, size = self.seeds, int(3 * config.epochs * self.seeds * size)
        path = self.output / model.name / f"{stem}.json"
        return Cell(model, part, path, Origin(content, options, seeds), size * (model.weights + _OVERHEAD))

    def _work(self, cell: Cell, read: Callable[[str, str], AnyData]) -> Callable[[float], PartResult]:
        """What measures the cell, given the work that is left after it."""
        model, device = cell.model, self.ranks.device
        if cell.part == "speed":
            return lambda rest: parts.speed(model, [pair.text for pair in self.pairs], device)
        if cell.part == "masked_lm":
            return lambda rest: parts.masked_words(model, self.texts, self.hidden_words, device)
        if cell.part == "similarity":
            vectors = parts.sentence_vectors(model, self.pooling, self.prefix)
            return lambda rest: parts.zero_shot_similarity(model, self.pairs, vectors, self.prefix or "", device)
        part = PARTS[cell.part]
        sets = [read(part.kind, file) for file in part.files]
        config = parts.config_for(model, cell.part, self.settings)
        tune = parts.prepare_tuning(
            model, cell.part, self.data, sets, config,
            num_seeds=self.seeds, work=cell.path.with_suffix(""), ranks=self.ranks, label=str(cell),
        )  # fmt: skip
        return lambda rest: tune(rest / cell.cost * self.seeds if cell.cost else 0.0)


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
            if not any(math.isnan(next(iter(each.figures.values())).value) for each in (one, other)):
                p_values.setdefault(part, {})[model.name] = paired_significance(statistic, one.items, other.items)
    return p_values
