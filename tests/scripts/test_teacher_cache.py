"""A run on a cached teacher: bound to all that its numbers depend on, written by any number of ranks, gone on with."""

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from tests.scripts.models import make_models
from tests.train.processes import RankProcesses
from tinydistil.distill.cache import TeacherCache
from tinydistil.errors import InputError
from tinydistil.ranks import Ranks, joined
from tinydistil.train.plan import Plan, make_plan
from tinydistil.train.run import build, execute, prepare_shards
from tinydistil.train.run_config import resolve_run
from tinydistil.train.teacher_cache import bound_to

ALONE = Ranks(0, 1, torch.device("cpu"))
# What a cache is bound to, and an option that changes it and nothing else.
BOUND: dict[str, dict[str, object]] = {
    "teacher_precision": {"teacher_precision": "int8"},
    "train.seed": {"train.seed": 5},
    "train.mask.rate": {"train.mask.rate": 0.3},
    "train.mask.whole_words": {"train.mask.whole_words": True},
    "train.mask.epochs": {"train.mask.epochs": 2},
    "train.order.sequences": {"train.order.sequences": 30},
    "train.order.longest": {"train.order.longest": 20},
    "recipe.temperature": {"recipe.temperature": 3.0},
    "recipe.unit": {"recipe.unit": "word"},
    "recipe.projection": {"recipe.projection": "teacher-to-student"},
    "recipe.centred": {"recipe.centred": True},
    "recipe.whitening": {"recipe.whitening": 0.5},
    "recipe.fit_sequences": {"recipe.fit_sequences": 100},
    "recipe.teacher_sees": {"recipe.teacher_sees": "original"},
    "recipe.soft > 0": {"recipe.soft": 0.0},
    "recipe.hidden > 0": {"recipe.hidden": 0.0},
    "recipe.pooled > 0": {"recipe.pooled": 1.0},
    "cache.top": {"cache.top": 9},
    "cache.drawn": {"cache.drawn": 9},
    "cache.vector_bits": {"cache.vector_bits": 8},
}
FREE: dict[str, object] = {
    "train.steps": 9, "train.batch_size": 3, "train.accumulation": 2, "train.optimizer.learning_rate": 1e-4,
    "train.order.window": 4, "recipe.soft": 2.0, "recipe.hard": 0.5, "recipe.distance": "mse",
    "student.model": "2x8",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, write_corpus: Callable[[Path, int], Path]) -> Path:
    """Models, and shards/ made of a corpus."""
    folder = tmp_path_factory.mktemp("cache")
    make_models(folder, write_corpus(folder / "corpus.jsonl", 40))
    before = Path.cwd()
    os.chdir(folder)
    try:
        prepare_shards(plan_of("made", {"corpus": ["corpus.jsonl"], "shards": ""}), rank=0, workers=0, say=print)
        (folder / "made" / "shards").rename(folder / "shards")
    finally:
        os.chdir(before)
    return folder


@pytest.fixture(autouse=True)
def there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def plan_of(output: str, changes: Mapping[str, object]) -> Plan:
    """A run of `total` on the cache in folder "cache", with options changed."""
    values: dict[str, object] = {
        "recipe.name": "total", "teacher": "teacher", "student.model": "1x8", "shards": "shards",
        "teacher_cache": "cache", "cache.top": 6, "train.steps": 2, "train.batch_size": 6, "train.log_every": 1,
    }  # fmt: skip
    values |= changes
    if values["shards"] == "":
        values |= {"prepare.max_length": 32}
    nested: dict[str, dict[str, object]] = {}
    for option, value in values.items():
        *sections, name = option.split(".")
        table: dict[str, object] = nested  # type: ignore[assignment]
        for section in sections:
            table = table.setdefault(section, {})  # type: ignore[assignment]
        table[name] = value
    return make_plan(resolve_run(nested), Path(output), resume=False, device="cpu")


def differing(changes: Mapping[str, object], fingerprint: str = "f") -> set[str]:
    one, other = bound_to(plan_of("none", {}), "f"), bound_to(plan_of("none", changes), fingerprint)
    assert one.keys() == other.keys()
    return {name for name in one if one[name] != other[name]}


@pytest.mark.parametrize("name", BOUND)
def test_it_is_bound_to(name: str) -> None:
    assert differing(BOUND[name]) == {name}


def test_it_is_bound_to_models_text_and_kind(folder: Path) -> None:
    assert differing({}, fingerprint="g") == {"teacher"}
    assert differing({"cache.words": "hidden"}) == {"cache.words", "cache.top", "cache.drawn"}
    manifest = folder / "shards" / "manifest.json"
    saved = manifest.read_text()
    before = bound_to(plan_of("none", {}), "f")
    changed = json.loads(saved)
    changed["shards"][0]["sha256"] = "0" * 64
    manifest.write_text(json.dumps(changed))
    try:
        after = bound_to(plan_of("none", {}), "f")
    finally:
        manifest.write_text(saved)
    assert {name for name in before if before[name] != after[name]} == {"shards"}


def test_it_is_not_bound_to_what_only_the_student_sees() -> None:
    for name, value in FREE.items():
        assert differing({name: value}) == set(), name
    whole: dict[str, object] = {"cache.words": "hidden"}
    assert differing(whole | {"recipe.divergence": "reverse"}) == differing(whole)


def contents(cache: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(Path(cache).iterdir())}


@dataclass(frozen=True)
class Write:
    """What a rank does: build a run, which writes the cache first."""

    folder: Path
    cache: str

    def __call__(self) -> None:
        os.chdir(self.folder)
        with joined("cpu") as ranks:
            changes = {"teacher_cache": self.cache, "train.mask.epochs": 3}
            if ranks.rank == 1:
                look = TeacherCache.missing.fget
                TeacherCache.missing = property(lambda cache: time.sleep(1) or look(cache))  # long after rank 0
            build(plan_of(f"run-{self.cache}-{ranks.world_size}", changes), ranks).records.close()


def test_two_ranks_write_the_same_bytes_and_an_interrupted_writing_goes_on(folder: Path, tmp_path: Path) -> None:
    changes: dict[str, object] = {"teacher_cache": "alone", "train.mask.epochs": 3}
    build(plan_of("run-alone", changes), ALONE).records.close()
    written = contents("alone")
    assert sum(name.startswith("epoch-") for name in written) == 3
    ranks = RankProcesses(tmp_path, 2, Write(folder, "two"))
    assert ranks.wait() == [0, 0], ranks.errors()
    assert contents("two") == written
    lost, kept = Path("alone/epoch-001-part-000000.safetensors"), Path("alone/epoch-002-part-000000.safetensors")
    lost.rename(lost.with_name(lost.name + ".partial"))
    time = kept.stat().st_mtime_ns
    build(plan_of("run-again", changes), ALONE).records.close()
    assert contents("alone") == written and kept.stat().st_mtime_ns == time
    with pytest.raises(InputError, match=r"'alone' was made with train.seed = 1, this run has 7; give the same value"):
        build(plan_of("run-other", changes | {"train.seed": 7}), ALONE)


@pytest.mark.parametrize(
    ("words", "precision", "nearness"), [("hidden", "", 5e-3), ("hidden", "int8", 5e-3), ("top", "", 0.1)]
)
def test_training_on_it_is_training_on_the_live_teacher(words: str, precision: str, nearness: float) -> None:
    """Three steps. Of 220 tokens, all nearly as likely, 210 are kept and the ten others drawn from."""
    lines = {}
    for cache in ("", f"{words}-{precision}"):
        changes: dict[str, object] = {"teacher_precision": precision, "train.steps": 3, "train.mask.epochs": 1}
        changes |= {"teacher_cache": cache, "cache.words": words if cache else "top", "cache.top": 210 if cache else 8}
        output = f"trained-{words}-{precision}-{cache or 'live'}"
        assert execute(plan_of(output, changes), ALONE) is not None
        text = (Path(output) / "metrics.jsonl").read_text()
        lines[cache] = [line for line in map(json.loads, text.splitlines()) if "soft" in line]
    live, cached = lines.values()
    assert len(live) == len(cached) == 3
    for one, other in zip(live, cached, strict=True):
        assert one["hard"] == pytest.approx(other["hard"], rel=1e-3)
        assert one["hidden"] == pytest.approx(other["hidden"], rel=1e-3)
        assert other["soft"] == pytest.approx(one["soft"], rel=nearness)
