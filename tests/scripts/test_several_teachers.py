"""scripts/distill.py with several teachers of one vocabulary: end to end, gone on with, refused where they differ."""

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.scripts.models import make_models, shape
from tests.scripts.test_distill import weights
from tests.train.processes import RankProcesses
from tinydistil.base.files import read_json
from tinydistil.base.ranks import Ranks, joined
from tinydistil.corpus.prepare_config import resolve_raw
from tinydistil.corpus.raw_text import plan_raw
from tinydistil.model.bert import BertForMaskedLM, BertModel
from tinydistil.tokenizer.tokenizer import Tokenizer
from tinydistil.train import models
from tinydistil.train import run as run_module
from tinydistil.train.plan import Plan
from tinydistil.train.run import bound_to

COMMON = ["--student", "1x8", "--corpus", "corpus.jsonl", "--batch-size", "6", "--max-length", "32", "--device", "cpu",
          "--set", "train.log_every=1", "--set", "train.schedule.shape=constant",
          "--set", "train.schedule.warmup_share=0"]  # fmt: skip
BOTH = ["--teacher", "teacher", "wide"]
Run = Callable[..., str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, write_corpus: Callable[[Path, int], Path]) -> Path:
    """teacher/ (2 x 16), wide/ (1 x 24) and headless/ of one vocabulary, other/ of another."""
    folder = tmp_path_factory.mktemp("several")
    make_models(folder, write_corpus(folder / "corpus.jsonl", 40))
    tokenizer = Tokenizer.from_pretrained(folder / "teacher")
    torch.manual_seed(5)
    wide, long = shape(tokenizer.vocab_size, 1, 24), shape(tokenizer.vocab_size + 8, 1, 8)
    for name, model in (
        ("wide", BertForMaskedLM(wide)),
        ("headless", BertModel(wide, pooler=False)),
        ("long", BertForMaskedLM(long)),
    ):
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    shutil.copytree(folder / "teacher", folder / "prompted")
    (folder / "prompted" / "1_Pooling").mkdir()
    modules = [{"path": "", "type": "sentence_transformers.models.Transformer"},
               {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]  # fmt: skip
    (folder / "prompted" / "modules.json").write_text(json.dumps(modules))
    (folder / "prompted" / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    prompts = {"prompts": {"query": "as "}, "default_prompt_name": "query"}
    (folder / "prompted" / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    shutil.copytree(folder / "student", folder / "other")
    return folder


def the_same(folder: Path, one: str, other: str) -> bool:
    first, second = weights(folder / one), weights(folder / other)
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    "options",
    [["--recipe", "total"], ["--recipe", "total", "--teacher-precision", "int8"],
     ["--recipe", "total", "--teacher-cache", "cache-of-both"],
     ["--recipe", "partial", "--set", "student.tokenizer=student", "--set", "student.start=projected"]],
    ids=["total", "int8", "cached", "partial, projected"],
)  # fmt: skip
def test_broken_off_and_gone_on_equals_unbroken(run: Run, folder: Path, options: list[str]) -> None:
    name = "-".join(options).replace("/", "").replace("--", "")
    said = run("distill.py", *BOTH, *COMMON, *options, "--output", f"whole-{name}", "--steps", "4", stream="err")
    if "int8" in options:
        for each in ("teacher", "wide"):
            assert re.search(rf"teacher '{each}' in int8: mean token cosine with float32 \d\.\d+ .*KL at T", said)
    for steps in ("2", "4"):
        run("distill.py", *BOTH, *COMMON, *options, "--output", name, "--steps", steps, "--resume")
    assert the_same(folder, f"whole-{name}", name)
    assert read_json(folder / name / "run.json")["teacher"] == ["teacher", "wide"]
    card = (folder / name / "student" / "README.md").read_text()
    assert "Distilled from `" in card and "/teacher` and `" in card and "16 wide" in card and "24 wide" in card


def test_one_in_a_list_is_one_as_before(run: Run, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "list.toml").write_text('teacher = ["teacher"]\n')
    options = [*COMMON, "--recipe", "total", "--output", "one"]
    run("distill.py", *options, "--teacher", "teacher", "--steps", "2")
    assert read_json(folder / "one" / "run.json")["teacher"] == "teacher"
    run("distill.py", *options, "--config", "list.toml", "--steps", "3", "--resume")
    (folder / "list.toml").write_text('teacher = ["teacher", "wide"]\n')
    with pytest.raises(SystemExit) as stop:
        run("distill.py", *options, "--config", "list.toml", "--steps", "4", "--resume")
    assert stop.value.code == 2 and "was begun with content.teacher = " in capsys.readouterr().err


def test_a_file_names_them_too(run: Run, folder: Path) -> None:
    (folder / "both.toml").write_text('teacher = ["teacher", "wide"]\n')
    run("distill.py", *COMMON, "--recipe", "total", "--output", "file", "--config", "both.toml", "--steps", "2")
    run("distill.py", *COMMON, "--recipe", "total", "--output", "flags", *BOTH, "--steps", "2")
    assert the_same(folder, "file", "flags")
    dry = run("distill.py", *COMMON, "--recipe", "total", "--output", "dry", *BOTH, "--dry-run")
    assert re.search(r"teacher   teacher: 2 layers x 16, .*\nteacher   wide: 1 layers x 24, ", dry), dry
    assert not (folder / "dry").exists()


def test_terms_without_a_teacher_go_beside(run: Run, folder: Path) -> None:
    beside = ["--recipe", "total", *BOTH, "--set", "recipe.terms.causal=1", "--set", "recipe.soft_positions=all"]
    run("distill.py", *COMMON, *beside, "--output", "beside", "--steps", "2")
    line = json.loads((folder / "beside" / "metrics.jsonl").read_text().splitlines()[1])
    assert {"hard", "soft", "hidden", "causal"} <= line.keys()


def test_the_card_names_all_of_them(run: Run, folder: Path) -> None:
    for name in ("teacher", "wide"):
        shutil.copytree(folder / name, folder / "hub" / f"models--org--{name}" / "snapshots" / "1")
    both = [f"hub/models--org--{name}/snapshots/1" for name in ("wide", "teacher")]
    run("distill.py", *COMMON, "--recipe", "total", "--teacher", *both, "--output", "card", "--steps", "1")
    card = (folder / "card" / "student" / "README.md").read_text()
    assert (
        "\nbase_model: [org/wide, org/teacher]\n" in card and "Distilled from `org/wide` and `org/teacher` with" in card
    )
    marks = read_json(folder / "card" / "run.json")["content"]
    assert isinstance(marks, dict) and f"(files' SHA-256 {marks['teacher']})" in card and ", " in marks["teacher"]


@pytest.mark.parametrize("recipe", ["vectors", "leaf"])
def test_sentence_encoders_of_two(run: Run, folder: Path, recipe: str) -> None:
    """One pools by its first token, the other by the mean; the words begin as what both have of them."""
    options = ["--recipe", recipe, "--teacher", "prompted", "headless", "--teacher-prefix", "as ", "--tokenizer",
               "student", *COMMON, "--set", "train.order.longest=0", "--output"]  # fmt: skip
    run("distill.py", *options, recipe, "--steps", "2")
    run("distill.py", *options, recipe, "--steps", "4", "--resume")
    said = run("distill.py", *options, f"{recipe}-whole", "--steps", "4", stream="err")
    assert the_same(folder, recipe, f"{recipe}-whole")
    if recipe == "vectors":
        assert re.search(r"pooled: teacher 1: the projection keeps .*; teacher 2: the projection keeps", said)
    words = load_file(folder / recipe / "cache" / "words.safetensors")["words"]
    assert words.shape[1] == 16 + 24
    student = folder / recipe / "student"
    assert (student / "2_Dense").is_dir() == (recipe == "leaf")


def plan_of(output: str, *teachers: str, **changes: object) -> Plan:
    values: dict[str, object] = {
        "recipe": "total", "teacher": list(teachers), "student": {"model": "1x8"}, "corpus": ["corpus.jsonl"],
        "prepare": {"max_length": 32}, "train": {"steps": 2, "batch_size": 6},
    }  # fmt: skip
    return plan_raw(resolve_raw(values | changes), Path(output), resume=True, device="cpu")


def test_a_cache_is_bound_to_all_of_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In their order, which their projections and the student's start follow."""
    monkeypatch.chdir(folder)
    alone = Ranks(0, 1, torch.device("cpu"))
    plan_of("bound", "teacher").text.prepare(alone, workers=0, say=print)
    changes: dict[str, object] = {"corpus": [], "prepare": {}, "shards": "bound/shards", "teacher_cache": "bound-cache"}

    def of(*teachers: str) -> dict[str, object]:
        return bound_to(plan_of("none", *teachers, **changes), "f")

    assert of("teacher", "wide") == of("teacher", "wide")
    for others in (("teacher",), ("wide", "teacher"), ("teacher", "wide", "more")):
        if "more" in others:
            shutil.copytree("wide", "more")
        assert of(*others) != of("teacher", "wide")


@dataclass(frozen=True)
class OnARank:
    """A run of two ranks, of which the second's second teacher has weights of its own where they are to differ."""

    folder: Path
    output: str
    differ: bool

    def __call__(self) -> None:
        os.chdir(self.folder)
        load = models.load_teachers
        with joined("cpu") as ranks:

            def changed(plan: Plan) -> list[BertForMaskedLM | BertModel]:
                found = load(plan)
                next(found[1].parameters()).data[0] += float(self.differ and ranks.rank == 1)
                return found

            run_module.load_teachers = changed
            plan = plan_of(self.output, "teacher", "wide", corpus=[], prepare={}, shards="shards")
            run_module.execute(plan, ranks)


def test_two_ranks_are_one(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    alone = Ranks(0, 1, torch.device("cpu"))
    plan_of("made", "teacher").text.prepare(alone, workers=0, say=print)
    Path("made", "shards").rename("shards")
    both = RankProcesses(tmp_path / "same", 2, OnARank(folder, "on-two", differ=False))
    assert both.wait() == [0, 0], both.errors()
    run_module.execute(plan_of("on-one", "teacher", "wide", corpus=[], prepare={}, shards="shards"), alone)
    one, two = weights(folder / "on-one"), weights(folder / "on-two")
    for name, each in one.items():
        torch.testing.assert_close(two[name], each, rtol=1e-3, atol=1e-5)
    others = RankProcesses(tmp_path / "others", 2, OnARank(folder, "on-others", differ=True))
    assert others.wait() == [2, 2], others.errors()
    assert "error: teacher 'wide' differs between ranks" in others.errors()[0]


REFUSED = {
    "vocabularies": (
        r"teachers 'teacher' and 'other' read different vocabularies \(\d+ and \d+ tokens, .*; give teachers of one",
        ["--recipe", "total", "--teacher", "teacher", "other"],
    ),
    "embeddings": (
        r"'teacher' and 'long' have one tokenizer, but embeddings of \d+ and \d+ tokens, .*; give teachers of one size",
        ["--recipe", "total", "--teacher", "teacher", "long"],
    ),
    "head": (
        r"recipe.soft is 1.0, but teacher 'headless' has no masked language model head to give logits; set recipe.soft",
        ["--recipe", "total", "--teacher", "teacher", "headless"],
    ),
    "twice": (
        r"teacher './teacher' is the folder of 'teacher', and would weigh double; name each once",
        ["--recipe", "total", "--teacher", "teacher", "./teacher"],
    ),
    "prompts": (
        r"teachers 'teacher' and 'prompted' read other prompts first \('' and 'as '\), .* as teacher_prefix",
        ["--recipe", "vectors", "--tokenizer", "student", "--teacher", "teacher", "prompted"],
    ),
    "attention": (
        r"recipe.terms.attention follows one teacher, and 2 are given; .*: give one teacher, or set recipe.terms.att",
        ["--recipe", "total", *BOTH, "--set", "recipe.terms.attention=1"],
    ),
    "contrast": (
        r"recipe.terms.contrast follows one teacher, and 2 are given",
        ["--recipe", "contrast", "--tokenizer", "student", *BOTH],
    ),
    "none": (r"teacher \(\) names none; give a folder or hub name each", ["--recipe", "total", "--set", "teacher=[]"]),
    "one of no name": (r"teacher \('teacher', ''\) names none", ["--recipe", "total", "--teacher", "teacher", ""]),
    "flag alone": (r"argument --teacher: expected at least one argument", ["--recipe", "total", "--teacher"]),
    "number": (r"teacher must be of type str, got 3", ["--recipe", "total", "--set", "teacher=3"]),
    "number in a list": (
        r"teacher\[1\] must be of type str, got 3", ["--recipe", "total", "--set", 'teacher=["teacher", 3]']
    ),
    "one that is not there": (r"'nowhere'", ["--recipe", "total", "--teacher", "teacher", "nowhere"]),
    "projection": (
        r"recipe.projection 'pca' reduces the teacher \(16\) to the student \(20\), which is wider",
        ["--recipe", "total", "--teacher", "wide", "teacher", "--set", "recipe.projection=pca", "--student", "1x20"],
    ),
    "layers": (
        r"student.start 'layers' copies layers, so the student \(16 wide\) must be as wide as the teacher \(24\)",
        ["--recipe", "total", "--teacher", "wide", "teacher", "--set", "student.start=layers", "--student", "1x16"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused(
    name: str, run: Run, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message, options = REFUSED[name]
    with pytest.raises(SystemExit) as stop:
        run("distill.py", *COMMON, *options, "--output", str(tmp_path / "run"))
    error = capsys.readouterr().err
    assert stop.value.code == 2 and re.search(message, error) and "Traceback" not in error, error
