"""A run on a cached teacher: bound to all that its numbers depend on, written by any number of ranks, gone on with."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.scripts.models import make_models
from tests.train.processes import RankProcesses
from tinydistil.base import errors
from tinydistil.base import ranks as ranks_module
from tinydistil.base.errors import InputError
from tinydistil.base.ranks import Ranks, joined
from tinydistil.batches.masked_batches import MaskedBatch
from tinydistil.corpus.prepare_config import resolve_raw
from tinydistil.corpus.raw_text import plan_raw
from tinydistil.distill.initialise import Moments
from tinydistil.distill.teacher.cached import OWNERSHIP, TeacherCache
from tinydistil.model import quantised
from tinydistil.model.bert import BertForMaskedLM, BertModel
from tinydistil.train import models
from tinydistil.train import run as run_module
from tinydistil.train.loop import Loop
from tinydistil.train.plan import Plan
from tinydistil.train.records import CheckpointStore
from tinydistil.train.run import bound_to, execute
from tinydistil.train.run import build as build_with
from tinydistil.train.teachers import hash_of_weights

ALONE = Ranks(0, 1, torch.device("cpu"))
# What a cache is bound to, and an option that changes it and nothing else.
BOUND: dict[str, dict[str, object]] = {
    "teacher_precision": {"teacher_precision": "int8"},
    "teacher_prefix": {"teacher_prefix": "o gato "},
    "train.seed": {"train.seed": 5},
    "train.mask.rate": {"train.mask.rate": 0.3},
    "train.mask.whole_words": {"train.mask.whole_words": True},
    "train.mask.epochs": {"train.mask.epochs": 2},
    "train.order.sequences": {"train.order.sequences": 30},
    "train.order.shortest": {"train.order.shortest": 5},
    "train.order.longest": {"train.order.longest": 20},
    "recipe.temperature": {"recipe.temperature": 3.0},
    "recipe.unit": {"recipe.unit": "word"},
    "recipe.projection": {"recipe.projection": "teacher-to-student"},
    "recipe.teacher_sees": {"recipe.teacher_sees": "original"},
    "teacher's states": {"recipe.pooled": 1.0},
    "cache.top": {"cache.top": 9},
    "cache.drawn": {"cache.drawn": 9},
    "cache.vector_bits": {"cache.vector_bits": 8},
}
# Changed on both sides: a teacher with a prefix is not compared token by token.
BESIDE: dict[str, dict[str, object]] = {
    "teacher_prefix": {"recipe.soft": 0.0, "recipe.unit": "word", "student.tokenizer": "teacher"}
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
        plan_of("made", {"corpus": ["corpus.jsonl"], "shards": ""}).text.prepare(ALONE, workers=0, say=print)
        (folder / "made" / "shards").rename(folder / "shards")
    finally:
        os.chdir(before)
    return folder


@pytest.fixture(autouse=True)
def there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In that folder, on one thread as the processes of ranks: another number of them rounds otherwise."""
    monkeypatch.chdir(folder)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def build(plan: Plan, ranks: Ranks) -> Loop[MaskedBatch]:
    return build_with(plan, ranks, run_module.load_teachers(plan))


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
    return plan_raw(resolve_raw(nested), Path(output), resume=True, device="cpu")


def differing(
    changes: Mapping[str, object], fingerprint: str = "f", *, but: Mapping[str, object] = MappingProxyType({})
) -> set[str]:
    """What a cache of another run is refused by; `but`: what is changed in both."""
    changes = {**but, **changes}
    one, other = bound_to(plan_of("none", but), "f"), bound_to(plan_of("none", changes), fingerprint)
    return {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}


@pytest.mark.parametrize("name", BOUND)
def test_it_is_bound_to(name: str) -> None:
    assert differing(BOUND[name], but=BESIDE.get(name, {})) == {name}


def test_it_is_bound_to_models_text_and_kind(folder: Path) -> None:
    assert differing({}, fingerprint="g") == {"teacher"}
    of_words = {"cache.top", "cache.drawn", "recipe.temperature"}
    assert differing({"cache.words": "hidden"}) == {"cache.words", *of_words}
    assert differing({"recipe.soft": 0.0}) == {"teacher's states", "cache.words", *of_words}
    of_vectors = {"cache.vector_bits", *(f"recipe.{name}" for name in ("unit", "projection", "centred", "whitening"))}
    assert differing({"recipe.hidden": 0.0}) == {"teacher's states", *of_vectors}
    assert differing({"recipe.centred": True}) == {"recipe.centred", "recipe.fit_sequences"}
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


def test_only_packed_numbers_are_of_a_newer_format() -> None:
    """Rows and vectors in 16 bits are read where they were written before; what is packed is told by its options."""
    whole: dict[str, object] = {"cache.words": "hidden", "cache.vector_bits": 16}
    packed: list[dict[str, object]] = [{}, {"cache.words": "top"}, {"cache.vector_bits": 8}]
    *of_all, last = bound_to(plan_of("none", whole), "f")
    assert last == "format" and bound_to(plan_of("none", whole), "f")[last] == 5 and of_all
    for changes in packed:
        assert bound_to(plan_of("none", {**whole, **changes} if changes else {}), "f")[last] == 6
    assert bound_to(plan_of("none", {"recipe.soft": 0.0, "cache.vector_bits": 16}), "f")[last] == 5


def test_vectors_of_sequences_bind_nothing_but_the_teacher_and_its_text() -> None:
    """One cache serves students of any width, by any projection, and any seed: nothing is masked."""
    vectors: dict[str, object] = {
        "recipe.name": "vectors",
        "recipe.teacher_sees": "original",
        "student.tokenizer": "teacher",
    }
    free: dict[str, object] = {
        "recipe.projection": "pca", "recipe.whitening": 1.0, "recipe.centred": False, "recipe.distance": "mse",
        "student.model": "1x16", "train.seed": 7, "train.epochs": 2, "recipe.fit_sequences": 3,
    }  # fmt: skip
    vectors |= {"teacher": "encoder", "cache.top": 8}
    assert differing(free, but=vectors) == set()
    assert differing({"train.seed": 7, "train.mask.rate": 0.1}, but=vectors) == {"train.mask.rate", "train.seed"}


def test_it_is_not_bound_to_what_only_the_student_sees() -> None:
    for name, value in FREE.items():
        assert differing({name: value}) == set(), name
    whole: dict[str, object] = {"cache.words": "hidden"}
    for name, value in {"recipe.divergence": "reverse", "recipe.temperature": 4.0, "cache.top": 3}.items():
        assert differing(whole | {name: value}) == differing(whole), "the whole distribution is there"
    vectors: dict[str, object] = {"recipe.soft": 0.0}
    for name, value in {"recipe.temperature": 4.0, "cache.words": "hidden", "cache.drawn": 3}.items():
        assert differing(vectors | {name: value}) == differing(vectors), "no distribution is there"
    words: dict[str, object] = {"recipe.hidden": 0.0}
    assert differing(words | {"cache.vector_bits": 8}) == differing(words), "no vector is there"


def contents(cache: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(Path(cache).iterdir())}


@dataclass(frozen=True)
class Write:
    """What a rank does: build a run, which writes the cache first."""

    folder: Path
    cache: str
    changes: Mapping[str, object] = field(default_factory=dict)
    late: Callable[[], None] = lambda: None

    def __call__(self) -> None:
        errors._SPEAKING_S = 1
        os.chdir(self.folder)
        with joined("cpu") as ranks:
            changes = {"teacher_cache": self.cache, "train.mask.epochs": 3, **self.changes}
            changes |= {} if self.cache else {"cache.top": 8}
            if ranks.rank == 1:
                self.late()
            loop = build(plan_of(f"run-{self.cache}-{ranks.world_size}", changes), ranks)
            loop.records.close()
            save_file(loop.trainer.module.state_dict(), f"run-{self.cache}-{ranks.rank}.safetensors")


def a_second_late() -> None:
    write = TeacherCache.write
    TeacherCache.write = lambda *arguments: time.sleep(1) or write(*arguments)  # type: ignore[method-assign]


def test_two_ranks_write_the_same_bytes_and_an_interrupted_writing_goes_on(folder: Path, tmp_path: Path) -> None:
    changes: dict[str, object] = {"teacher_cache": "alone", "train.mask.epochs": 3}
    build(plan_of("run-alone", changes), ALONE).records.close()
    written = contents("alone")
    assert sum(name.startswith("epoch-") for name in written) == 3
    ranks = RankProcesses(tmp_path, 2, Write(folder, "two", late=a_second_late))
    assert ranks.wait() == [0, 0], ranks.errors()
    assert contents("two") == written
    lost, kept = Path("alone/epoch-001-part-000000.safetensors"), Path("alone/epoch-002-part-000000.safetensors")
    lost.rename(lost.with_name(lost.name + ".partial"))
    time = kept.stat().st_mtime_ns
    build(plan_of("run-again", changes), ALONE).records.close()
    assert contents("alone") == written and kept.stat().st_mtime_ns == time
    with pytest.raises(InputError, match=r"'alone' was begun with train.seed = 1, now it is 7; give the same value"):
        build(plan_of("run-other", changes | {"train.seed": 7}), ALONE)


@pytest.mark.parametrize(
    ("words", "precision", "bits", "nearness"),
    [("hidden", "", 16, 5e-3), ("hidden", "int8", 16, 5e-3), ("top", "", 16, 0.1), ("top", "", 4, 0.1)],
)
def test_training_on_it_is_training_on_the_live_teacher(words: str, precision: str, bits: int, nearness: float) -> None:
    """Three steps. Of 220 tokens, all nearly as likely, 210 are kept and the ten others drawn from."""
    lines = {}
    for cache in ("", f"{words}-{precision}-{bits}"):
        changes: dict[str, object] = {"teacher_precision": precision, "train.steps": 3, "train.mask.epochs": 1}
        changes |= {"teacher_cache": cache, "cache.top": 8}
        changes |= (
            {"cache.words": words, "cache.top": 210, "cache.drawn": 10, "cache.vector_bits": bits} if cache else {}
        )
        output = f"trained-{words}-{precision}-{bits}-{cache or 'live'}"
        assert execute(plan_of(output, changes), ALONE) is not None
        text = (Path(output) / "metrics.jsonl").read_text()
        lines[cache] = [line for line in map(json.loads, text.splitlines()) if "soft" in line]
    live, cached = lines.values()
    assert len(live) == len(cached) == 3
    for one, other in zip(live, cached, strict=True):
        assert one["hard"] == pytest.approx(other["hard"], rel=1e-3)
        assert one["hidden"] == pytest.approx(other["hidden"], rel=1e-3 if bits == 16 else 5e-3)
        assert other["soft"] == pytest.approx(one["soft"], rel=nearness)


def impatient() -> None:
    """The limit of a collective is a second, and a wait is told of after one."""
    ranks_module.TIMEOUT, ranks_module._TOLD_AFTER_S = timedelta(seconds=1), 1.0


def slow() -> None:
    """Its share of the cache takes this rank three times as long as a limit that others may have."""
    write = TeacherCache.write
    TeacherCache.write = lambda *arguments: time.sleep(3.5) or write(*arguments)  # type: ignore[method-assign]


def gone() -> None:
    """It is killed in the midst of its share."""
    TeacherCache.write = lambda *_: time.sleep(2) or os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign]


@dataclass(frozen=True)
class WriteImpatiently(Write):
    def __call__(self) -> None:
        impatient()
        super().__call__()


def test_ranks_wait_for_a_slower_one_and_say_what_for(folder: Path, tmp_path: Path) -> None:
    ranks = RankProcesses(tmp_path, 2, WriteImpatiently(folder, "uneven", late=slow))
    assert ranks.wait(60) == [0, 0], ranks.errors()
    assert (
        "rank 0: waiting for other ranks to write their parts of the teacher's cache, 2 s so far" in ranks.errors()[0]
    )
    assert "gone" not in "".join(ranks.errors())


def test_a_rank_that_dies_over_the_cache_is_noticed_by_those_that_wait(folder: Path, tmp_path: Path) -> None:
    began = time.monotonic()
    ranks = RankProcesses(tmp_path, 2, WriteImpatiently(folder, "left", late=gone))
    assert ranks.wait(60) == [1, -signal.SIGKILL], ranks.errors()
    assert "rank 0: another rank has gone" in ranks.errors()[0] and time.monotonic() - began < 30
    build(plan_of("run-left", {"teacher_cache": "left", "train.mask.epochs": 3}), ALONE).records.close()


FITTED: dict[str, object] = {"recipe.projection": "pca", "recipe.centred": True, "recipe.whitening": 0.5}


def turned() -> None:
    """Another LAPACK may give components of another sign."""
    directions = Moments.directions
    Moments.directions = lambda *arguments, **options: (  # type: ignore[method-assign]
        -(found := directions(*arguments, **options))[0], found[1]
    )  # fmt: skip


@pytest.mark.parametrize("cache", ["fitted", ""])
def test_what_is_fitted_is_the_same_on_every_rank(cache: str, folder: Path, tmp_path: Path) -> None:
    ranks = RankProcesses(tmp_path, 2, Write(folder, cache, FITTED | {"train.mask.epochs": 2}, late=turned))
    assert ranks.wait(60) == [0, 0], ranks.errors()
    one, other = (load_file(f"run-{cache}-{rank}.safetensors") for rank in (0, 1))
    assert one["terms.hidden.projection.basis"].abs().max() > 0
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    if cache:  # also the parts that the second rank wrote
        changes = {"teacher_cache": "fitted-1", "train.mask.epochs": 2}
        build(plan_of("run-fitted-1", FITTED | changes), ALONE).records.close()
        assert contents("fitted") == contents("fitted-1")


def test_a_projected_start_is_the_same_on_every_rank(folder: Path, tmp_path: Path) -> None:
    changes = {"student.start": "projected", "student.model": "1x8", "train.mask.epochs": 2}
    ranks = RankProcesses(tmp_path, 2, Write(folder, "", changes, late=turned))
    assert ranks.wait(60) == [0, 0], ranks.errors()
    one, other = (load_file(f"run--{rank}.safetensors") for rank in (0, 1))
    assert all(torch.equal(one[name], other[name]) for name in one)
    alone = build(plan_of("run-projected-alone", changes | {"cache.top": 8, "teacher_cache": ""}), ALONE)
    alone.records.close()
    own = alone.trainer.module.state_dict()
    assert torch.equal(one["student.bert.embeddings.position.weight"], own["student.bert.embeddings.position.weight"])


def test_int8_is_calibrated_alike_on_every_rank(folder: Path, tmp_path: Path) -> None:
    changes = {"teacher_precision": "int8", "train.mask.epochs": 2}
    ranks = RankProcesses(tmp_path, 2, Write(folder, "int8", changes, late=other_text))
    assert ranks.wait(60) == [0, 0], ranks.errors()
    build(plan_of("run-int8-alone", changes | {"teacher_cache": "int8-alone"}), ALONE).records.close()
    assert contents("int8") == contents("int8-alone")


def other_text() -> None:
    largest = quantised._largest_inputs
    quantised._largest_inputs = lambda *arguments: {  # type: ignore[assignment]
        layer: 3 * found for layer, found in largest(*arguments).items()
    }


def other_teacher() -> None:
    load = models.load_teachers

    def changed(plan: Plan) -> list[BertForMaskedLM | BertModel]:
        found = load(plan)
        next(found[-1].parameters()).data[0] += 1
        return found

    run_module.load_teachers = changed


def other_shards() -> None:
    os.chdir(shutil.copytree(Path.cwd(), Path.cwd().parent / "elsewhere"))
    manifest = Path("shards/manifest.json")
    manifest.write_text(manifest.read_text().replace("{", "{ ", 1))


def no_checkpoint() -> None:
    CheckpointStore.latest = lambda _: None  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("late", "what"),
    [
        (other_teacher, "teacher 'teacher'"),
        (other_shards, "corpus 'shards'"),
        (no_checkpoint, "the latest checkpoint in 'run--2/checkpoints'"),
    ],
)
def test_ranks_that_read_other_files_end_together(
    late: Callable[[], None], what: str, folder: Path, tmp_path: Path
) -> None:
    """Machines that share no disk."""
    if late is no_checkpoint:
        shutil.rmtree("run--2", ignore_errors=True)
        assert (
            execute(plan_of("run--2", {"teacher_cache": "", "cache.top": 8, "train.mask.epochs": 3}), ALONE) is not None
        )
    ranks = RankProcesses(tmp_path, 2, Write(folder, "", late=late))
    assert ranks.wait(60) == [2, 2], ranks.errors()
    assert f"error: {what} differs between ranks" in ranks.errors()[0] and not ranks.errors()[1]


def test_a_cache_is_for_one_writer_and_many_readers() -> None:
    changes: dict[str, object] = {"teacher_cache": "shared", "train.mask.epochs": 2}
    plan = plan_of("run-shared", changes)
    bound, folder = bound_to(plan, hash_of_weights(*models.load_teachers(plan))), Path(plan.config.teacher_cache)
    with (
        OWNERSHIP.claim(folder, bound),
        pytest.raises(InputError, match=r"'shared' is being written by"),
    ):
        build(plan, ALONE)
    build(plan, ALONE).records.close()
    with OWNERSHIP.claim(folder, bound):
        build(plan, ALONE).records.close()


@pytest.mark.parametrize("left", ["cache.json.partial", ".lock", "epoch-000-part-000000.safetensors.partial"])
def test_what_a_killed_run_left_is_its_own(left: str) -> None:
    cache = Path(f"left-{left}")
    cache.mkdir()
    (cache / left).write_bytes(b'{"form')
    build(plan_of(f"run-{left}", {"teacher_cache": str(cache)}), ALONE).records.close()
    assert not (cache / left).exists() and (cache / "cache.json").exists()


def test_what_is_damaged_is_written_anew(capsys: pytest.CaptureFixture[str]) -> None:
    """Also parts under the name of one, made by another run; cache.json may be deleted, as its message says."""
    changes: dict[str, object] = {"teacher_cache": "mended", "train.mask.epochs": 3, **FITTED}
    build(plan_of("run-mended", changes), ALONE).records.close()
    build(plan_of("run-mended-7", changes | {"teacher_cache": "mended-7", "train.seed": 7}), ALONE).records.close()
    written, parts = contents("mended"), sorted(Path("mended").glob("epoch-*"))
    parts[0].write_bytes(parts[0].read_bytes()[:-9])
    shutil.copy(f"mended-7/{parts[1].name}", parts[1])
    Path("mended/cache.json").unlink()
    for name in ("projections", "codes"):
        Path(f"mended/{name}.safetensors").write_bytes(b"")
    capsys.readouterr()
    build(plan_of("run-mended-again", changes), ALONE).records.close()
    assert contents("mended") == written
    told = capsys.readouterr().err
    for name in (parts[0].name, parts[1].name, "projections.safetensors", "codes.safetensors"):
        assert f"warning: mended/{name} is damaged" in told


def test_a_cache_larger_than_the_disk_is_refused_after_its_first_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(InputError, match=r"teacher_cache 'large' needs 0.0 GB more, 0.0 are free; lower"):
        build(plan_of("run-large", {"teacher_cache": "large", "train.mask.epochs": 3}), ALONE)


def test_endless_epochs_of_masks_are_refused_before_anything_is_loaded() -> None:
    with pytest.raises(InputError, match=r"train.mask.epochs"):
        plan_of("none", {"train.mask.epochs": 10**9})


@pytest.mark.parametrize("cache", ["within", "within/caches/one", "./within/cache", "{cwd}/within/cache"])
def test_a_cache_within_the_folder_of_its_run(cache: str, folder: Path) -> None:
    shutil.rmtree("within", ignore_errors=True)
    changes: dict[str, object] = {"teacher_cache": cache.format(cwd=folder), "train.mask.epochs": 1}
    if cache == "within":
        with pytest.raises(
            InputError, match=r"teacher_cache 'within' is the folder of the run itself; .* within/cache"
        ):
            plan_of("within", changes)
        return
    build(plan_of("within", changes), ALONE).records.close()
    assert execute(plan_of("within", changes), ALONE) is not None
