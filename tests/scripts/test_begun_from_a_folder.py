"""A run that begins from a model reads its parent's text with other masks, in another order; and reproducibly so."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from tests.scripts.models import make_models
from tests.train.processes import RankProcesses
from tinydistil.base.ranks import Ranks, joined
from tinydistil.batches.masked_batches import MaskedBatches
from tinydistil.corpus import raw_text
from tinydistil.corpus.prepare_config import resolve_raw
from tinydistil.corpus.raw_text import make_vocabulary, plan_raw
from tinydistil.train.plan import Plan, make_batches
from tinydistil.train.run import execute

ALONE = Ranks(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, write_corpus: Callable[[Path, int], Path]) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("parents")
    with contextlib.chdir(folder):
        make_models(folder, write_corpus(folder / "corpus.jsonl", 40))
        plan_of(model="1x8", corpus=["corpus.jsonl"]).text.prepare(ALONE, workers=0, say=print)
        yield folder


def plan_of(
    model: str, teacher: str = "", cache: str = "", seed: int = 1, output: str = "made", **options: object
) -> Plan:
    train: dict[str, object] = {"steps": 2, "batch_size": 6, "seed": seed, "validate_every": 1}
    values: dict[str, object] = {
        "recipe": "total" if teacher else "mlm", "teacher": teacher, "teacher_cache": cache, "train": train,
        "student": {"model": model} | ({"tokenizer": "teacher"} if "x" in model and not teacher else {}),
    }  # fmt: skip
    if "corpus" in options:
        values |= {"prepare": {"max_length": 32}}
    else:
        values |= {"shards": "made/shards"}
    return plan_raw(resolve_raw(values | options), Path(output), resume=True, device="cpu")


def batches_of(split: str = "train", **changes: str | int) -> MaskedBatches:
    found = make_batches(plan_of(**changes), split)  # type: ignore[arg-type]
    assert found is not None
    return found


def order(batches: MaskedBatches) -> list[int]:
    return batches.global_batch(0)[1].tolist()


def masks(batches: MaskedBatches) -> list[int]:
    return batches.collate(batches.candidates[:40], 0).positions.tolist()


NEW: Mapping[str, str | int] = {"model": "1x8"}
LINEAGES: dict[str, Mapping[str, str | int]] = {
    "on from a folder": {"model": "teacher"},
    "of a teacher": {"model": "1x8", "teacher": "teacher"},
    "of another teacher": {"model": "1x8", "teacher": "other"},
    "of a teacher, on from a folder": {"model": "student", "teacher": "teacher"},
    "another seed": {"model": "1x8", "seed": 2},
    "another seed on from a folder": {"model": "teacher", "seed": 2},
}


def test_each_lineage_has_masks_and_an_order_of_its_own(folder: Path) -> None:
    if not Path("other").exists():
        make_models(folder / "more", folder / "corpus.jsonl")
        (folder / "more" / "teacher").rename(folder / "other")
        config = folder / "other" / "config.json"
        config.write_text(config.read_text() + "\n")
    seen = [NEW, *LINEAGES.values()]
    for found in ([order(batches_of(**each)) for each in seen], [masks(batches_of(**each)) for each in seen]):
        assert len({tuple(each) for each in found}) == len(seen)
    for each in seen:
        assert order(batches_of(**each)) == order(batches_of(**each))
        assert masks(batches_of(**each)) == masks(batches_of(**each))


def test_held_out_masks_are_the_same_for_every_run(folder: Path) -> None:
    found = [masks(batches_of("validation", **each)) for each in (NEW, *LINEAGES.values())]
    assert all(each == found[0] for each in found) and len(found[0]) > 20


def test_a_cache_serves_students_of_any_parent(folder: Path) -> None:
    """Its masks depend on seed and teacher; the order, which it does not hold, on the student too."""
    cached = [batches_of(model=model, teacher="teacher", cache="cache") for model in ("1x8", "student")]
    assert masks(cached[0]) == masks(cached[1]) and order(cached[0]) != order(cached[1])
    assert masks(cached[0]) != masks(batches_of(model="1x8"))


def test_a_run_on_from_a_folder_is_reproducible_resumable_and_begins_with_its_parents_loss(folder: Path) -> None:
    def losses(output: str, steps: int) -> list[float | None]:
        train = {"steps": steps, "batch_size": 6, "schedule": {"shape": "constant", "warmup_share": 0}}
        outcome = execute(plan_of("teacher", output=output, train=train), ALONE)
        assert outcome is not None
        text = Path(output, "metrics.jsonl").read_text().splitlines()
        return [outcome.validation_loss, *(line for line in text if '"step": 0' in line)]  # type: ignore[list-item]

    whole, (again, *_) = losses("whole", 4), losses("again", 2)
    assert len(whole) == 2 and again != whole[0]
    assert losses("again", 4) == whole == losses("once-more", 4)
    with contextlib.chdir(folder):
        parent = execute(plan_of("teacher", output="parent", train={"steps": 1, "batch_size": 6,
                                 "optimizer": {"learning_rate": 1e-12}}), ALONE)  # fmt: skip
    assert parent is not None and f"{parent.validation_loss:.6f}"[:-1] in str(whole[1])


@dataclass(frozen=True)
class Made:
    """What a rank does: make vocabulary and shards, rank 0 slowly; each in a folder of its own if `apart`."""

    folder: Path
    apart: bool

    def __call__(self) -> None:
        raw_text._SEEN_WITHIN_S = 1.0
        with joined("cpu") as ranks:
            output = self.folder / (f"out-{ranks.rank}" if self.apart else "out")
            os.chdir(self.folder)
            if ranks.is_main:
                time.sleep(2)
            config = resolve_raw({
                "recipe": "mlm", "student": {"model": "1x8", "tokenizer": str(output / "vocabulary")},
                "corpus": ["corpus.jsonl"], "train": {"batch_size": 6}, "prepare": {"max_length": 32},
            })  # fmt: skip
            make_vocabulary(config, output, 200, ranks, resume=True)
            plan_raw(config, output, resume=True, device="cpu").text.prepare(ranks, workers=0, say=print)


def test_ranks_wait_for_the_files_of_the_first(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").symlink_to(folder / "corpus.jsonl")
    ranks = RankProcesses(tmp_path / "logs", 2, Made(tmp_path, apart=False))
    assert ranks.wait(120) == [0, 0], ranks.errors()
    assert (tmp_path / "out" / "shards" / "manifest.json").exists()


def test_ranks_that_share_no_disk_end_with_a_message(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").symlink_to(folder / "corpus.jsonl")
    ranks = RankProcesses(tmp_path / "logs", 2, Made(tmp_path, apart=True))
    assert ranks.wait(120) == [2, 2], ranks.errors()
    assert "rank 1 does not see" in ranks.errors()[1] and "a disk that all machines share" in ranks.errors()[1]
    assert "error" not in ranks.errors()[0]
