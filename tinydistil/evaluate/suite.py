"""An evaluation: what of it lies measured in its folder, and the measuring of all else, part by part."""

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

from tinydistil.base.claim import Ownership, difference, flatten, refuse_strangers
from tinydistil.base.config import to_mapping
from tinydistil.base.console import duration
from tinydistil.base.errors import InputError, require
from tinydistil.base.files import fingerprint, read_json
from tinydistil.base.ranks import Ranks
from tinydistil.distill.step import check_precision
from tinydistil.evaluate import suite_result as result
from tinydistil.evaluate.intervals import paired_significance
from tinydistil.evaluate.suite_models import OVERLAP, SETTINGS, TABLES, Model
from tinydistil.evaluate.suite_result import PartResult
from tinydistil.evaluate.suite_table import shown
from tinydistil.evaluate.tuned_parts import PARTS, Rows, material_of, statistic_of, tuned
from tinydistil.evaluate.untrained_parts import masked_words, overlap_similarity, speed, zero_shot_similarity
from tinydistil.evaluate.word_loss import Span
from tinydistil.tasks.finetune_config import FineTuneConfig, settings_for
from tinydistil.tasks.forms import read_rows
from tinydistil.tasks.labelled import Columns
from tinydistil.tasks.task_records import LabelledText

UNTRAINED = ("speed", "masked_lm", "similarity")
ALL_PARTS = (*UNTRAINED, *PARTS)
PAIRS = "assin2/assin2-test.xml"
# What a part leaves in its model's folder: its result, and the folder of what is tuned for it.
_RESULT = re.compile(rf"({'|'.join(ALL_PARTS)})(-[0-9a-f]{{12}})?(\.json|\.npy)?(\.partial)?")
# Weights that a layer's fixed costs amount to, for the time left.
_OVERHEAD = 300_000


@dataclass(frozen=True)
class Asked:
    """What is to be measured, the same for every model; texts and the words hidden in them are for masked_lm."""

    parts: Sequence[str]
    data: Path
    pairs: Sequence[LabelledText]
    texts: Sequence[str]
    hidden: Sequence[tuple[Span, ...]]
    changes: Mapping[str, object]
    seeds: int
    pooling: str
    prefix: str

    @cached_property
    def words(self) -> str:
        """A fingerprint of texts and hidden words."""
        return sha256(repr((self.texts, self.hidden)).encode("utf-8", "surrogatepass")).hexdigest()[:12]

    @cached_property
    def files(self) -> dict[str, str]:
        """Fingerprints of the data's files, by their names in the data's folder."""
        return {name: fingerprint([self.data / name]) for part in self.parts for name in files_of(part)}


@dataclass(frozen=True)
class Cell:
    """A part of a model. path: of its result; origin: what its figures depend on; cost: its work, in weights times
    bytes of text."""

    model: Model
    part: str
    path: Path
    origin: dict[str, object]
    cost: float

    def __str__(self) -> str:
        return f"{self.model.name} · {self.part}"


def files_of(part: str) -> list[str]:
    """The files that a part needs, by their names in the data's folder."""
    if part in PARTS:
        return PARTS[part].files
    return [PAIRS] if part != "masked_lm" else []


def ownership(output: Path) -> Ownership:
    """How an evaluation owns its folder: results without a record are known by their names, tables by results.

    A damaged record beside results is removed: each of them says itself what it was measured on.
    """
    results = {path.name for path in output.iterdir() if _holds_results(path)} if output.is_dir() else set()
    if results and (record := output / SETTINGS).is_file():
        try:
            read_json(record)
        except InputError:
            _say(f"{str(record)!r} is damaged and is made anew")
            record.unlink()
    ours = results | set(TABLES) if results else set()
    return Ownership(SETTINGS, lambda name: name in ours, must_agree=lambda name: name == "suite")


def _holds_results(folder: Path) -> bool:
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return bool(names) and all(_RESULT.fullmatch(name) for name in names)


class Evaluation:
    """Models and parts in the folder `output`. Raises InputError where one was measured with other options."""

    def __init__(self, output: Path, models: Sequence[Model], asked: Asked, ranks: Ranks) -> None:
        self.asked, self.models, self.ranks = asked, models, ranks
        for model in models:
            refuse_strangers(output / model.name, lambda name: _RESULT.fullmatch(name) is not None, noun="results")
        parts = [(m, p) for m in models for p in asked.parts if p != "masked_lm" or m.predicts_words]
        self.cells = [self._cell(output, model, part) for model, part in parts]
        self.found: dict[Path, PartResult] = {}
        self.kept: set[Path] = set()
        for cell in self.cells:
            self._look(cell)

    def run(self) -> dict[str, dict[str, PartResult]] | None:
        """Measure what is missing; all results by model and part, None where it was asked to stop."""
        missing = [cell for cell in self.cells if cell.path not in self.found]
        materials = self._materials(missing)
        began, done = time.monotonic(), 0.0
        for number, cell in enumerate(missing, start=1):
            rest = sum(each.cost for each in missing[number - 1 :])
            left = f", {duration((time.monotonic() - began) / done * rest)} left" if done else ""
            _say(f"{cell}: measuring, {number} of {len(missing)}{left}")
            if cell.path not in self.kept:
                # What is there was tuned from other weights, on other data, or by nobody knows what.
                shutil.rmtree(cell.path.with_suffix(""), ignore_errors=True)
            result.begin(cell.path, cell.origin)
            measured = self._measure(cell, materials.get(cell.path), rest - cell.cost)
            if measured is None:
                return None
            measured.save(cell.path, cell.origin)
            name, figure = next(iter(measured.figures.items()))
            _say(f"{cell}: {name} {shown(figure)}")
            self.found[cell.path], done = measured, done + cell.cost
        results: dict[str, dict[str, PartResult]] = {}
        for cell in self.cells:
            results.setdefault(cell.model.name, {})[cell.part] = self.found[cell.path]
        if "similarity" in self.asked.parts:
            results[OVERLAP] = {"similarity": overlap_similarity(self.asked.pairs)}
        return results

    def _cell(self, output: Path, model: Model, part: str) -> Cell:
        asked, seeds = self.asked, 1
        options: dict[str, object] = {}
        device = self.ranks.device.type
        content: dict[str, object] = {**model.content, "data": {name: asked.files[name] for name in files_of(part)}}
        size = sum((asked.data / name).stat().st_size for name in files_of(part))
        if part == "speed":
            content |= {"device": device, "threads": torch.get_num_threads()}
        elif part == "masked_lm":
            content["texts"], size = asked.words, 3 * sum(map(len, asked.texts))
        elif part == "similarity":
            options, size = {"pooling": asked.pooling, "prefix": asked.prefix}, 4 * size
        else:
            config = self._config(model, part)
            # each seed is drawn by --seeds
            options = {name: value for name, value in to_mapping(config).items() if name != "seed"}
            options["device"] = device
            # a backward pass costs two forward passes
            seeds, size = asked.seeds, int(3 * config.epochs * asked.seeds * size)
        stem = f"{part}-{asked.words}" if part == "masked_lm" else part
        origin: dict[str, object] = {"content": content, "options": options, "seeds": seeds}
        return Cell(model, part, output / model.name / f"{stem}.json", origin, size * (model.weights + _OVERHEAD))

    def _config(self, model: Model, part: str) -> FineTuneConfig:
        config = settings_for(PARTS[part].kind, model.config, {"pooling": "mean", **self.asked.changes})
        check_precision(config.precision)
        longest, depth = model.config.max_position_embeddings, model.config.num_hidden_layers
        require(
            config.freeze_layers <= depth,
            f"freeze_layers must be <= {depth}, the layers of model {model.name!r}, got {config.freeze_layers}",
        )
        require(
            config.max_length <= longest,
            f"max_length must be <= {longest}, the positions of model {model.name!r}, got {config.max_length}",
        )
        return config

    def _look(self, cell: Cell) -> None:
        """Note what is known of the cell; say why what lies there is not believed."""
        if not cell.path.is_file():
            return
        try:
            before, known = result.load(cell.path)
        except InputError as error:
            _say(f"{cell}: {cell.path} is damaged ({error}); it is measured again")
            return
        (content, options), now = (before.get("content"), before.get("options")), cell.origin
        if not isinstance(content, dict) or not isinstance(options, dict):
            _say(f"{cell}: {cell.path} does not say what it was measured on; it is measured again")
            return
        if changed := difference(flatten(content), flatten(now["content"])):
            name = changed[0].removeprefix("data.")
            _say(f"{cell}: {name} {'has' if name != 'weights' else 'have'} changed since; it is measured again")
            return
        old = flatten(options)
        # an option that the record lacks came with a later version
        if changed := difference(old, flatten(now["options"]), lambda name: name in old):
            raise InputError(
                f"{str(cell.path)!r} was measured with {changed[0]} = {changed[1]!r}, now it is {changed[2]!r}; "
                "give the same value, or another --output"
            )
        self.kept.add(cell.path)
        if known is not None and before.get("seeds") == cell.origin["seeds"]:
            self.found[cell.path] = known
        elif known is not None:
            _say(f"{cell}: measured with {before.get('seeds')} seeds, now {cell.origin['seeds']}; those there are kept")

    def _materials(self, cells: Sequence[Cell]) -> dict[Path, tuple[Rows, int]]:
        """What the cells that are tuned learn from, and how many rows were set aside. All are read before one is tuned:
        what is wrong with the last is said now."""
        found, data = {}, self.asked.data
        names = dict.fromkeys(cell.part for cell in cells if cell.part in PARTS)
        rows = {
            name: [read_rows(PARTS[name].kind, data / file, Columns()) for file in files_of(name)] for name in names
        }
        for cell in cells:
            if (sets := rows.get(cell.part)) is not None:
                config = self._config(cell.model, cell.part)
                aside = sum(len(each.bad) for each in sets)
                found[cell.path] = material_of(cell.model.folder, cell.part, data, sets, config), aside
        return found

    def _measure(self, cell: Cell, material: tuple[Rows, int] | None, rest: float) -> PartResult | None:
        """Measure a cell, after which work of `rest` is left; None where it was asked to stop."""
        model, asked, device = cell.model, self.asked, self.ranks.device
        if cell.part == "speed":
            return speed(model.folder, model.tokenizer, [pair.text for pair in asked.pairs], device)
        if cell.part == "similarity":
            return zero_shot_similarity(model.folder, model.tokenizer, asked.pairs, asked.pooling, asked.prefix, device)
        if cell.part == "masked_lm":
            return masked_words(model.folder, model.tokenizer, asked.texts, asked.hidden, device)
        assert material is not None, "read before"
        return tuned(
            material[0],
            cell.part,
            material[1],
            self._config(model, cell.part),
            range(1, asked.seeds + 1),
            cell.path.with_suffix(""),
            self.ranks,
            label=str(cell),
            still_to_come=rest / cell.cost * asked.seeds if cell.cost else 0.0,
        )


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def significance(
    results: Mapping[str, Mapping[str, PartResult]], models: Sequence[Model]
) -> dict[str, dict[str, float]]:
    """For each part, the p of each further model's first figure against the first model's, on the same items."""
    found: dict[str, dict[str, float]] = {}
    first = results.get(models[0].name, {})
    for model in models[1:]:
        for part, measured in results.get(model.name, {}).items():
            base = first.get(part)
            # Tokens are not the same items for two vocabularies, so masked words are not compared.
            if part in ("speed", "masked_lm") or base is None or base.rows.shape != measured.rows.shape:
                continue
            p = paired_significance(statistic_of(part), base.rows, measured.rows)
            found.setdefault(part, {})[model.name] = p
    return found
