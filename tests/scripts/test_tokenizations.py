"""Which tokenization of the shards feeds which model: decided in the plan, the same in a dry run and in the run."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from tests.scripts.models import make_models
from tinydistil.base.errors import InputError
from tinydistil.base.files import read_json
from tinydistil.base.ranks import Ranks
from tinydistil.corpus.prepare import Job, prepare
from tinydistil.corpus.prepare_config import PrepareConfig, resolve_raw
from tinydistil.corpus.progress import Progress
from tinydistil.corpus.raw_text import plan_raw
from tinydistil.tokenizer.tokenizer import Tokenizer
from tinydistil.train.estimate import estimate
from tinydistil.train.plan import Plan, make_batches
from tinydistil.train.run import execute

ALONE = Ranks(0, 1, torch.device("cpu"))
# Shards by the tokenizers they are made with, in this order.
MADE = {"one": ["teacher"], "other": ["student"], "two": ["teacher", "student"], "turned": ["student", "teacher"]}
SHARED = {"student.vocabulary": "teacher"}
# A run, its options beside the recipe, and for each of MADE the tokenizations of student and teacher, "" if refused.
RUNS: dict[str, tuple[dict[str, object], str]] = {
    "total": ({"student.model": "student"}, "00 -- 00 11"),
    "total of a new student": ({"student.model": "1x8"}, "00 -- 00 11"),
    "distilbert": ({}, "00 -- 00 11"),
    "partial": ({"student.model": "student"}, "-- -- 10 01"),
    "partial, the teacher's vocabulary": ({"student.model": "student", **SHARED}, "00 -- 00 11"),
    "partial of a new student": ({"student.model": "1x8", "student.tokenizer": "teacher"}, "00 -- 00 11"),
    "partial, respelled": ({"student.model": "student", "student.tokenizer": "teacher"}, "00 -- 00 11"),
    "mlm": ({"student.model": "student"}, "-- 0. 1. 0."),
    "mlm, respelled": ({"student.model": "student", "student.tokenizer": "teacher"}, "0. -- 0. 1."),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, write_corpus: Callable[[Path, int], Path]) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("tokenizations")
    with contextlib.chdir(folder):
        make_models(folder, write_corpus(folder / "corpus.jsonl", 20))
        for name, tokenizers in MADE.items():
            opened = [(each, Tokenizer.from_pretrained(each)) for each in tokenizers]
            job = Job.of(["corpus.jsonl"], opened, PrepareConfig(max_length=32))
            prepare(job, folder / name, workers=0, progress=Progress(None))
        yield folder


def plan_of(name: str, shards: str, output: str) -> Plan:
    options: dict[str, object] = {
        "recipe.name": name.split()[0].rstrip(","), "teacher": "" if name.startswith("mlm") else "teacher",
        "shards": shards, "train.steps": 2, "train.batch_size": 4, "train.log_every": 1, **RUNS[name][0],
    }  # fmt: skip
    values: dict[str, object] = {}
    for option, value in options.items():
        table, _, key = option.rpartition(".")
        if table:
            inner = values.setdefault(table, {})
            assert isinstance(inner, dict)
            inner[key] = value
        else:
            values[key] = value
    return plan_raw(resolve_raw(values), Path(output), resume=False, device="cpu")


@pytest.mark.parametrize("name", RUNS)
def test_each_model_reads_its_own_tokens(name: str, folder: Path) -> None:
    for shards, sides in zip(MADE, RUNS[name][1].split(), strict=True):
        if sides == "--":
            with pytest.raises(
                InputError, match=rf"text '{shards}' was made with the vocabulary .*; give the tokenizer"
            ):
                plan_of(name, shards, "never")
            continue
        plan = plan_of(name, shards, "never")
        assert f"{plan.sides.student}{'.' if plan.sides.teacher is None else plan.sides.teacher}" == sides
        batches = make_batches(plan, "train")
        assert batches is not None
        batch = batches.collate(batches.candidates[:5], 0)
        assert int(batch.original_ids.max()) < plan.student.shape.vocab_size
        if plan.teacher is not None:
            read = [
                [_folded(tokenizer, row) for row in view.original_ids.tolist()]
                for tokenizer, view in (
                    (plan.student.tokenizer, batch),
                    (plan.teacher.tokenizer, batch.teacher or batch),
                )
            ]
            assert read[0] == read[1] and len(read[0][0]) > 20


def _folded(tokenizer: Tokenizer, ids: list[int]) -> str:
    folding = Tokenizer.from_pretrained("student").backend.normalizer
    return str(folding.normalize_str(tokenizer.backend.decode(ids)))  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["total", "partial", "partial, the teacher's vocabulary", "distilbert"])
def test_both_orders_of_two_tokenizations_train_the_same(name: str, folder: Path) -> None:
    """And a dry run of what trains says so."""
    losses = []
    for shards in ("two", "turned"):
        plan = plan_of(name, shards, f"{name.replace(' ', '-')}-{shards}")
        assert "sequences of" in estimate(plan, ALONE.device)
        outcome = execute(plan, ALONE)
        assert outcome is not None
        losses.append(outcome.validation_loss)
    assert losses[0] == losses[1] is not None


def test_a_damaged_manifest_names_no_tokenizer(folder: Path) -> None:
    manifest = folder / "one" / "manifest.json"
    whole = manifest.read_text()
    manifest.write_text(whole.replace('"tokenizer"', '"tokeniser"'))
    with pytest.raises(InputError, match="'one' was made with"):
        plan_of("total", "one", "never")
    manifest.write_text(whole)
    assert read_json(manifest)["tokenizer"]
