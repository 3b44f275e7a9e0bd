"""A term that nobody knew before: defined here, trained with by options alone, live, cached, on one and two ranks."""

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
import torch
from torch import nn

from tests.scripts.models import make_models
from tests.train.comparison import assert_same_run, weights_of
from tests.train.processes import RankProcesses
from tinydistil.base.config import Range, override
from tinydistil.base.errors import STOPPED_EXIT_CODE, InputError
from tinydistil.base.ranks import Ranks, joined
from tinydistil.batches.masked_batches import MaskedBatch
from tinydistil.corpus.prepare_config import resolve_raw
from tinydistil.corpus.raw_text import plan_raw
from tinydistil.distill.options import CacheConfig, Schedule, Shapes, TermOptions
from tinydistil.distill.recipe import Recipe, term_of
from tinydistil.distill.terms.base import Loss, ModelStates, Term, register
from tinydistil.model.config import BertConfig
from tinydistil.train import run as run_module
from tinydistil.train.plan import Plan
from tinydistil.train.run import build
from tinydistil.train.run_config import RunConfig, resolve_run


@dataclass(frozen=True)
class FirstTokenOptions(TermOptions):
    power: Annotated[float, Range(1, 4)] = 2.0


@register("first_token")
class FirstToken(Term):
    """A power of the distance between the first tokens, after a map that is learned with it."""

    Options = FirstTokenOptions

    def __init__(self, options: FirstTokenOptions, shapes: Shapes) -> None:
        super().__init__(options, shapes)
        assert shapes.teacher is not None
        self.power = options.power
        self.map = nn.Linear(shapes.student.hidden_size, shapes.teacher.hidden_size)

    def count(self, batch: MaskedBatch) -> int:
        return len(batch.sequence_ids)

    def forward(self, student: ModelStates, teacher: Mapping[str, Any], batch: MaskedBatch) -> Loss:
        apart = self.map(student.hidden[:, 0]) - teacher["hidden"][:, 0]
        present = batch.valid_mask.any(1)
        return Loss(torch.where(present, apart.abs().pow(self.power).mean(-1), 0.0).sum())


SET = [
    "recipe.hidden=0", "recipe.soft=1", "recipe.projection=none",
    'recipe.terms.first_token={weight = {shape = "cosine", start = 2.0, end = 0.5}, power = 1.5}',
    'recipe.temperature={shape = "linear", start = 4.0, end = 1.0}', "recipe.hard={shape = 'linear', end = 1.0}",
]  # fmt: skip
ALONE = Ranks(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, write_corpus: Callable[[Path, int], Path]) -> Path:
    """Models, and shards/ made of a corpus."""
    folder = tmp_path_factory.mktemp("new-term")
    make_models(folder, write_corpus(folder / "corpus.jsonl", 30))
    before = Path.cwd()
    os.chdir(folder)
    try:
        plan_of("made", "", corpus=["corpus.jsonl"]).text.prepare(ALONE, workers=0, say=print)
        (folder / "made" / "shards").rename(folder / "shards")
    finally:
        os.chdir(before)
    return folder


def plan_of(output: str, cache: str, *, corpus: list[str] | None = None) -> Plan:
    values: dict[str, object] = {
        "recipe": {"name": "total"}, "teacher": "teacher", "student": {"model": "1x8", "dropout": 0.1},
        "train": {"steps": 6, "batch_size": 5, "accumulation": 2, "log_every": 1, "validate_every": 4},
    }  # fmt: skip
    values |= {"corpus": corpus, "prepare": {"max_length": 32}} if corpus else {"shards": "shards"}
    if cache:
        values |= {"teacher_cache": cache, "cache": {"words": "hidden"}}
    return plan_raw(resolve_raw(override(values, SET)), Path(output), resume=True, device="cpu")


@dataclass(frozen=True)
class Train:
    """What a rank does."""

    folder: Path
    output: str
    cache: str
    stop_at: int = -1

    def __call__(self) -> None:
        os.chdir(self.folder)
        with joined("cpu") as ranks:
            run_module.build = self.build  # type: ignore[assignment]
            outcome = run_module.execute(plan_of(self.output, self.cache), ranks)
        sys.exit(STOPPED_EXIT_CODE if outcome is None else 0)

    def build(self, plan: Plan, ranks: Ranks, teachers: Any) -> Any:
        """The run's loop, which is asked to stop after a step."""
        loop = build(plan, ranks, teachers)
        step_done = loop.records.step_done

        def then_stop(steps: int, *rest: Any) -> None:
            step_done(steps, *rest)
            if steps == self.stop_at:
                os.kill(os.getpid(), signal.SIGTERM)

        loop.records.step_done = then_stop  # type: ignore[method-assign]
        return loop


@pytest.mark.parametrize("world_size", [1, 2])
@pytest.mark.parametrize("cache", ["", "kept"])
def test_it_is_trained_with_and_resumed_bit_for_bit(cache: str, world_size: int, folder: Path, tmp_path: Path) -> None:
    names = [f"{cache or 'live'}-{world_size}-{kind}" for kind in ("whole", "broken")]
    for name, stop_at in ((names[0], -1), (names[1], 3), (names[1], -1)):
        ranks = RankProcesses(tmp_path, world_size, Train(folder, name, cache, stop_at))
        assert ranks.wait() == [STOPPED_EXIT_CODE if stop_at > 0 else 0] * world_size, ranks.errors()
    assert_same_run(folder / names[0], folder / names[1])
    lines = [json.loads(line) for line in (folder / names[0] / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "first_token" in line]
    assert len(steps) == 6 and {"hard", "soft"} <= steps[0].keys()
    assert steps[-1]["first_token"] < steps[0]["first_token"]
    assert "terms.first_token.map.weight" in weights_of(folder / names[0])


@pytest.mark.parametrize("world_size", [1, 2])
def test_from_a_cache_it_learns_what_it_learns_live(world_size: int, folder: Path) -> None:
    """To the rounding of 16 bits; the test before has trained both."""
    for live, cached in zip(
        *(
            [json.loads(line) for line in (folder / f"{kind}-{world_size}-whole" / "metrics.jsonl").open()]
            for kind in ("live", "kept")
        ),
        strict=True,
    ):
        for name in {"hard", "soft", "first_token"} & live.keys():
            assert cached[name] == pytest.approx(live[name], rel=5e-3, abs=1e-5), name


def test_by_its_class_and_refused_where_it_is_none() -> None:
    path = f"{__name__}:FirstToken"
    (_, part) = Recipe(terms={"mine": {"class": path, "weight": 2, "power": 3}}).parts
    assert (part.name, term_of(part.kind).__name__, part.weight) == ("mine", "FirstToken", 2.0)
    refused = {
        r"term 'frst_token' is unknown; did you mean 'first_token'": {"frst_token": 1.0},
        r"recipe.terms.mine.class 'nowhere:Mine' cannot be imported": {"mine": {"class": "nowhere:Mine"}},
        r"recipe.terms.mine.class 'json:JSONDecoder' is no Term": {"mine": {"class": "json:JSONDecoder"}},
        r"recipe.terms.first_token.power must be in \[1, 4\], got 9": {"first_token": {"power": 9}},
        r"unknown option 'recipe.terms.first_token.pwer'; did you mean 'power'": {"first_token": {"pwer": 2}},
        r"recipe.terms.first_token.weight must be >= 0, got -1": {"first_token": -1.0},
        r"recipe.terms: two terms of one name": {"vocabulary": 1.0},
    }
    for message, terms in refused.items():
        with pytest.raises(InputError, match=message):
            _ = Recipe(terms=terms).parts  # which a run's configuration asks for
        with pytest.raises(InputError, match=message):
            resolve_run({"shards": "s", "teacher": "t", "recipe": {"terms": terms}}, RunConfig)


def test_a_temperature_that_changes_needs_the_whole_distribution() -> None:
    changing = Recipe(soft=1.0, temperature=Schedule(start=4.0, end=1.0))
    shapes = Shapes(BertConfig(), BertConfig(), teacher_has_head=True)
    with pytest.raises(InputError, match=r"recipe.temperature follows a schedule; choose cache.words=hidden"):
        changing.check("custom", shapes, CacheConfig())
    changing.check("custom", shapes, CacheConfig(words="hidden"))


def test_schedules_are_held_to_the_bounds_of_their_numbers() -> None:
    given: dict[str, object] = {"shards": "s", "teacher": "t"}
    with pytest.raises(InputError, match=r"recipe.temperature must be in \(0, 1000\], got 0"):
        resolve_raw(override(dict(given), ["recipe.temperature={start = 4.0}"]))
    for shape, quarter in (("linear", 1.5), ("cosine", 2 - 0.5**0.5)):
        recipe = resolve_raw(override(dict(given), [f"recipe.hidden={{shape = '{shape}', start = 1, end = 3}}"])).recipe
        assert isinstance(recipe.hidden, Schedule)
        values = [recipe.hidden.at(each) for each in (0.0, 0.25, 0.5, 1.0)]
        assert values == pytest.approx([1.0, quarter, 2.0, 3.0])
    with pytest.raises(InputError, match=r"schedule.points are pairs"):
        resolve_raw(override(dict(given), ["recipe.hidden={shape = 'points', points = [[0.5, 1], [0.2, 3]]}"]))
    points = ["recipe.hidden={shape = 'points', points = [[0.2, 1], [0.6, 3]]}"]
    followed = resolve_raw(override(dict(given), points)).recipe.hidden
    assert isinstance(followed, Schedule)
    assert [round(followed.at(each), 9) for each in (0.0, 0.2, 0.4, 0.6, 1.0)] == [1, 1, 2, 3, 3]
