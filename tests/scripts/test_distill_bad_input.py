"""scripts/distill.py and pretrain.py: whatever a user gets wrong is one message with its name and a remedy, exit 2."""

import contextlib
import json
import re
import runpy
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from tests.scripts.models import make_models
from tinydistil.base.errors import InputError
from tinydistil.base.files import read_json
from tinydistil.corpus.prepare import Job, prepare
from tinydistil.corpus.prepare_config import PrepareConfig, resolve_raw
from tinydistil.corpus.progress import Progress
from tinydistil.corpus.raw_text import plan_raw
from tinydistil.tokenizer.tokenizer import Tokenizer
from tinydistil.train import models

SCRIPTS = Path(__file__).parents[2] / "scripts"


@dataclass
class Case:
    """A mistake: `make` prepares it in a folder of good things; `arguments` come after, and override, the good ones."""

    message: str
    arguments: list[str] = field(default_factory=list)
    make: Callable[[Path], object] = lambda folder: None
    script: str = "distill.py"
    without: tuple[str, ...] = ()


GOOD = {
    "distill.py": ["--recipe", "total", "--teacher", "teacher", "--student", "1x8", "--corpus", "corpus.jsonl",
                   "--output", "run", "--steps", "2", "--batch-size", "4", "--max-length", "32", "--device", "cpu"],
    "pretrain.py": ["--model", "1x8", "--tokenizer", "teacher", "--corpus", "corpus.jsonl", "--output", "run",
                    "--steps", "2", "--batch-size", "4", "--max-length", "32", "--device", "cpu"],
}  # fmt: skip


def options(*assignments: str) -> list[str]:
    return [word for assignment in assignments for word in ("--set", assignment)]


VECTORS = ["--recipe", "vectors", "--tokenizer", "teacher"]


def write(name: str, content: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(content, encoding="utf-8")


def cut_in_half(file: str) -> Callable[[Path], object]:
    def cut(folder: Path) -> None:
        data = (folder / file).read_bytes()
        (folder / file).write_bytes(data[: len(data) // 2])

    return cut


def edit_config(file: str, **changes: object) -> Callable[[Path], object]:
    return lambda folder: (folder / file).write_text(json.dumps(read_json(folder / file) | changes))


CASES = {
    # options
    "recipe": Case(r"recipe 'totla' is unknown; did you mean 'total'", ["--recipe", "totla"]),
    "option": Case(r"unknown option 'train.setps'; did you mean 'steps'", options("train.setps=3")),
    "recipe's option": Case(
        r"unknown option 'recipe.temprature'; did you mean 'temperature'", options("recipe.temprature=3")
    ),
    "section": Case(r"unknown option 'trian'; did you mean 'train'", options("trian.steps=3")),
    "type": Case(r"train.log_every must be of type int, got .many.", options("train.log_every=many")),
    "assignment": Case(r"'train.steps' must have the form section.key=value", options("train.steps")),
    "temperature 0": Case(r"recipe.temperature must be in \(0, 1000\], got 0", options("recipe.temperature=0")),
    "epochs without end": Case(r"train.epochs must be finite, got inf", options("train.epochs=inf")),
    "negative weight": Case(r"recipe.soft must be >= 0, got -1", options("recipe.soft=-1")),
    "no term": Case(r"recipe: one of hard, soft", options("recipe.hard=0", "recipe.soft=0", "recipe.hidden=0")),
    "mask rate": Case(r"mask.rate must be in .*, got 1.5", options("train.mask.rate=1.5")),
    "steps": Case(r"train.steps must be >= 0, got -1", ["--steps", "-1"]),
    "batch size": Case(r"train.batch_size must be >= 1, got 0", ["--batch-size", "0"]),
    "learning rate": Case(r"optimizer.learning_rate must be > 0, got 0", ["--learning-rate", "0"]),
    "schedule": Case(
        r"schedule.shape 'lineer' is unknown; did you mean 'linear'", options("train.schedule.shape=lineer")
    ),
    "precision": Case(r"precision must be one of float32, bfloat16, float16, got 'fp8'", ["--precision", "fp8"]),
    "device": Case(r"device must be auto, cpu or cuda, got 'tpu'", ["--device", "tpu"]),
    "teacher's precision": Case(
        r"teacher_precision 'int9' is unknown; did you mean 'int8'", ["--teacher-precision", "int9"]
    ),
    "prefix of no teacher": Case(
        r"teacher_prefix 'query: ' needs a teacher, and there is none; give --teacher, or leave it out",
        ["--recipe", "mlm", "--student", "student", "--teacher-prefix", "query: "],
        without=("--teacher",),
    ),
    "precision of no teacher": Case(
        r"teacher_precision 'int8' needs a teacher, and there is none; give --teacher, or leave it out",
        ["--recipe", "mlm", "--student", "student", "--teacher-precision", "int8"],
        without=("--teacher",),
    ),
    "projection": Case(r"recipe.projection 'pcaa' is unknown; did you mean 'pca'", options("recipe.projection=pcaa")),
    "start": Case(r"student.start 'layer' is unknown; did you mean 'layers'", options("student.start=layer")),
    "dropout": Case(r"student.dropout must be in \[0, 1\), got 1", options("student.dropout=1.0")),
    "workers": Case(r"--workers must be in 0..1024, got -1", ["--workers", "-1"]),
    "config file": Case(r"configuration file 'none.toml' does not exist", ["--config", "none.toml"]),
    "config file's syntax": Case(
        r"'bad.toml' is not valid TOML", ["--config", "bad.toml"], write("bad.toml", "[train\n")
    ),
    # contradictions
    "two texts": Case(r"give --corpus .* or --shards .*, not both", ["--shards", "shards"], without=("--max-length",)),
    "no text": Case(r"no text: give --corpus FILE ... or --shards DIR", without=("--corpus",)),
    "no output": Case(r"--output is missing", without=("--output",)),
    "no teacher": Case(r"recipe 'total' needs a teacher: give --teacher", without=("--teacher",)),
    "needless teacher": Case(r"recipe 'mlm' asks no teacher, but one was given", ["--recipe", "mlm"]),
    "quick": Case(r"--quick is the small demonstration .* it takes no --recipe", ["--quick"]),
    "own vocabulary in total": Case(
        r"compares teacher and student token by token.*student.vocabulary teacher", options("student.vocabulary=own")
    ),
    "no vocabulary in partial": Case(r"student '1x8' is a new model and has no vocabulary", ["--recipe", "partial"]),
    "layers of another width": Case(
        r"student \(8 wide\) must be as wide as the teacher \(16\)", options("student.start=layers")
    ),
    "layers that do not divide": Case(
        r"3 does not divide the teacher's 2", ["--student", "3x16", *options("student.start=layers")]
    ),
    "projected to more dimensions": Case(
        r"student.start 'projected' reduces the teacher \(2x16\) to the student, which is larger \(2x32\)",
        ["--student", "2x32", *options("student.start=projected")],
    ),
    "projected to more layers": Case(
        r"reduces the teacher \(2x16\) to the student, which is larger \(3x8\)",
        ["--student", "3x8", *options("student.start=projected")],
    ),
    "projected embeddings": Case(
        r"student.embeddings is of no use with student.start 'projected'",
        ["--student", "2x8", *options("student.start=projected", "student.embeddings=pca")],
    ),
    "projected from nothing": Case(
        r"student.start 'projected' needs a teacher, and there is none; give --teacher, or leave it out",
        ["--recipe", "mlm", "--student", "2x8", *options("student.start=projected", "student.tokenizer=student")],
        without=("--teacher",),
    ),
    "own layers that do not divide": Case(
        r"student.layers must divide the 1 of 'student', got 2",
        ["--student", "student", *options("student.layers=2")],
    ),
    "own layers of a new model": Case(
        r"student.layers takes layers of a folder's own weights", ["--student", "2x8", *options("student.layers=1")]
    ),
    "masks that never come again": Case(
        r"--teacher-cache needs masks that come again: set train.mask.epochs",
        ["--teacher-cache", "cache", *options("train.mask.epochs=0")],
    ),
    "cache of every token's words": Case(
        r"a teacher.s cache keeps masked tokens' distributions",
        ["--teacher-cache", "cache", *options("recipe.soft_positions=all")],
    ),
    "cache of more than the vocabulary": Case(
        r"cache.top must be below the teacher's vocabulary \(\d+\), got 9999",
        ["--teacher-cache", "cache", *options("cache.top=9999")],
    ),
    "cache's options without cache": Case(r"options of cache are for a --teacher-cache", options("cache.top=9")),
    "cache of a sample for another divergence": Case(
        r"recipe.divergence 'reverse' needs the teacher's whole distribution, .*; choose cache.words=hidden",
        ["--teacher-cache", "cache", *options("recipe.divergence=reverse")],
    ),
    "prefix before tokens that are compared": Case(
        r"teacher_prefix 'query: ' moves the teacher's tokens, and recipe 'total' compares .* choose recipe vectors",
        ["--teacher-prefix", "query: "],
    ),
    "prefix longer than the teacher reads": Case(
        r"prepare.max_length 512 and a prefix of \d+ is longer than the position table of the teacher \(512\)",
        [*VECTORS, "--teacher-prefix", "o gato ", "--max-length", "512", *options("prepare.pack=false")],
    ),
    "encoded words of no pooled vector": Case(
        r"student.embeddings 'encoded' begins a new student .* as a term of sentences .*vectors",
        options("student.embeddings=encoded"),
    ),
    "encoded words of a learned projection": Case(
        r"student.embeddings 'encoded' begins a new student",
        [*VECTORS, *options("recipe.projection=student-to-teacher")],
    ),
    "encoded words of a student with its own": Case(
        r"student.embeddings 'encoded' begins a new student .*give .* a shape", [*VECTORS, "--student", "student"]
    ),
    "vectors in more dimensions": Case(
        r"recipe.projection 'random' reduces the teacher \(16\) to the student \(32\), which is wider",
        [*VECTORS, "--student", "1x32"],
    ),
    "vectors without a vocabulary": Case(
        r"student '1x8' is a new model and has no vocabulary; give student.tokenizer", ["--recipe", "vectors"]
    ),
    "phrases of joined sentences": Case(
        r"phrases 0.5 cuts sentences, which pack=true joins again; set pack=false too", options("prepare.phrases=0.5")
    ),
    "phrases beyond all": Case(
        r"prepare.phrases must be in \[0, 1\], got 1.5", [*VECTORS, *options("prepare.phrases=1.5")]
    ),
    "a vocabulary of shards": Case(
        r"--vocab-size trains a vocabulary on raw text; give --corpus",
        ["--shards", "shards", "--vocab-size", "200"],
        without=("--corpus", "--max-length"),
    ),
    "two vocabularies": Case(
        r"--vocab-size trains a vocabulary, --tokenizer names one; give one of them", [*VECTORS, "--vocab-size", "200"]
    ),
    "cache of nine bits": Case(
        r"cache.vector_bits must be 2 or .* or 8 or 16, got 9",
        ["--teacher-cache", "cache", *options("cache.vector_bits=9")],
    ),
    "cache of no word": Case(r"cache.top must be >= 1, got 0", ["--teacher-cache", "cache", *options("cache.top=0")]),
    "cache of no teacher": Case(
        r"teacher_cache 'cache' needs a teacher, and there is none; give --teacher, or leave it out",
        ["--recipe", "mlm", "--student", "student", "--teacher-cache", "cache"],
        without=("--teacher",),
    ),
    "cache of more draws than the vocabulary": Case(
        r"cache.drawn must be <= the teacher's vocabulary without cache.top \(\d+\), got 99999",
        ["--teacher-cache", "cache", *options("cache.drawn=99999")],
    ),
    "mask rate in percent of a percent": Case(
        r"mask.rate must be 0 or >= 0.001, got 1e-05", options("train.mask.rate=0.00001")
    ),
    "more parts than sequences": Case(
        r"train.accumulation must be <= train.batch_size \(4\), of which each part holds at least one, got 8",
        ["--accumulation", "8"],
    ),
    "a shape beyond memory": Case(
        r"999 layers of 9998 .* parameters, [\d,]+ GiB, and this machine has", ["--student", "999x9998"]
    ),
    "number for a table": Case(r"'train' must be a table of options, got 3", options("train=3")),
    "number for a table of a table": Case(r"train.mask must be a table of options, got 3", options("train.mask=3")),
    "text for a table": Case(r"'student' must be a table of options, got '2x128'", options("student=2x128")),
    "list for a recipe": Case(r"recipe \[1\] is unknown", options("recipe.name=[1]"), without=("--recipe",)),
    "table for a recipe": Case(r"recipe {'a': 1} is unknown", options("recipe.name={a=1}"), without=("--recipe",)),
    "steps beyond a machine word": Case(r"train.steps must fit 64 bits, got 1000", ["--steps", "1" + "0" * 30]),
    "minutes without end": Case(r"train.minutes must be finite, got inf", ["--minutes", "1e400"]),
    "seed beyond a machine word": Case(r"train.seed must fit 64 bits", ["--seed", str(2**63)]),
    "pretrain: an option of a teacher": Case(
        r"option 'recipe.soft' is for learning from a teacher; use scripts/distill.py",
        options("recipe.soft=1"),
        script="pretrain.py",
    ),
    "kind of cache": Case(
        r"cache.words 'tops' is unknown; did you mean 'top'", ["--teacher-cache", "cache", *options("cache.words=tops")]
    ),
    "cache in a file": Case(
        r"teacher_cache 'corpus.jsonl' is a file; name a folder", ["--teacher-cache", "corpus.jsonl"]
    ),
    "cache among other files": Case(
        r"teacher_cache 'teacher' holds .*, which this program did not write", ["--teacher-cache", "teacher"]
    ),
    "widths without projection": Case(
        r"recipe.projection must not be 'none' where widths differ \(8 and 16\)", options("recipe.projection=none")
    ),
    "pca of a narrower teacher": Case(
        r"projection 'pca' reduces the teacher \(16\)", ["--student", "1x32", *options("recipe.projection=pca")]
    ),
    "too long": Case(
        r"max_length 4000 is longer than the position table of the student \(512\)", ["--max-length", "4000"]
    ),
    "shape beyond memory": Case(
        r"999 layers of 9998 .* parameters, [\d,]+ GiB, and this machine has .*; choose a smaller shape",
        ["--student", "999x9998"],
    ),
    "masks of a million passes": Case(
        r"train.mask.epochs must be <= [\d,]+ with a teacher's cache",
        ["--teacher-cache", "cache", *options("train.mask.epochs=1000000")],
    ),
    "tokenizer of nobody": Case(
        r"student.tokenizer is of no use to a student that reads with the teacher's vocabulary",
        ["--student", "student", "--tokenizer", "student"],
    ),
    "odd shape": Case(r"width", ["--student", "2x9"]),
    "layers of a teacher without head": Case(
        r"copies the masked LM head too, which teacher 'encoder' lacks",
        [
            "--recipe",
            "partial",
            "--teacher",
            "encoder",
            "--student",
            "1x16",
            *options("student.start=layers", "student.vocabulary=teacher"),
        ],
    ),
    "embeddings of its own vocabulary": Case(
        r"this student keeps its own; leave it out",
        ["--recipe", "partial", "--student", "student", *options("student.embeddings=pca")],
    ),
    "spelling of nothing": Case(r"a new one has none; choose random or pca", options("student.embeddings=spelling")),
    "tokenizer of no use": Case(r"student.tokenizer is of no use", ["--tokenizer", "student"]),
    "tokenizer of another": Case(
        r"its tokenizer makes \d+ ids, its embeddings have \d+",
        ["--recipe", "partial", "--student", "student"],
        lambda folder: [shutil.copy(each, folder / "student") for each in (folder / "teacher").glob("[tv]*.*")],
    ),
    "options of raw text": Case(
        r"options of prepare .* are for raw text", ["--shards", "shards"], without=("--corpus",)
    ),
    "workers without work": Case(
        r"--workers prepare raw text", ["--shards", "shards", "--workers", "2"], without=("--corpus", "--max-length")
    ),
    # folders
    "no such teacher": Case(r"model folder './none' does not exist|'./none'", ["--teacher", "./none"]),
    "no such student": Case(r"'./none'", ["--student", "./none"]),
    "teacher without head": Case(
        r"recipe.soft is 1.0, but the teacher has no masked language model head .* set recipe.soft=0",
        ["--teacher", "encoder"],
    ),
    "teacher without config": Case(
        r"config.json", ["--teacher", "teacher"], lambda folder: (folder / "teacher" / "config.json").unlink()
    ),
    "teacher of another kind": Case(
        r"model_type must be one of bert, .* got 't5'", make=edit_config("teacher/config.json", model_type="t5")
    ),
    "teacher cut short": Case(r"is not a whole safetensors file", make=cut_in_half("teacher/model.safetensors")),
    "teacher's vocabulary too long": Case(
        r"its tokenizer makes \d+ ids, its embeddings have 20", make=edit_config("teacher/config.json", vocab_size=20)
    ),
    "student without weights": Case(
        r"student 'student' has no weights .* student.start=random",
        ["--student", "student"],
        lambda folder: (folder / "student" / "model.safetensors").unlink(),
    ),
    # text
    "no such corpus": Case(r"no file or folder 'none.jsonl'", ["--corpus", "none.jsonl"]),
    "empty corpus": Case(r"no document of 0 was kept", ["--corpus", "empty.txt"], write("empty.txt", "")),
    "corpus too small": Case(
        r"batch_size must be <= 2, the sequences of the corpus, got 4",
        ["--corpus", "one.txt"],
        write(
            "one.txt", "Os pescadores da vila contavam histórias antigas, ao cair da tarde, atrás das casas brancas."
        ),
    ),
    "no such shards": Case(
        r"shards 'none' is no folder; make one with scripts/prepare.py",
        ["--shards", "none"],
        without=("--corpus", "--max-length"),
    ),
    "folder of no shards": Case(r"manifest.json", ["--shards", "teacher"], without=("--corpus", "--max-length")),
    # output
    "output is a file": Case(r"output 'a.txt' is a file", ["--output", "a.txt"], write("a.txt", "")),
    "output of somebody else": Case(
        r"output 'teacher' holds .* which this program did not write", ["--output", "teacher"]
    ),
    # pretrain.py
    "pretrain: two vocabularies": Case(
        r"--vocab-size trains a vocabulary, --tokenizer names one", ["--vocab-size", "200"], script="pretrain.py"
    ),
    "pretrain: vocabulary of no text": Case(
        r"--vocab-size trains a vocabulary on raw text; give --corpus",
        ["--vocab-size", "200", "--shards", "shards"],
        script="pretrain.py",
        without=("--tokenizer", "--corpus"),
    ),
    "pretrain: small letters of a given vocabulary": Case(
        r"--lowercase is of the vocabulary that --vocab-size trains; give that too, or drop it",
        ["--lowercase"],
        script="pretrain.py",
    ),
    "pretrain: small vocabulary": Case(
        r"vocab_size must be >= ", ["--vocab-size", "7"], script="pretrain.py", without=("--tokenizer",)
    ),
    "pretrain: no vocabulary": Case(
        r"student '1x8' is a new model and has no vocabulary", script="pretrain.py", without=("--tokenizer",)
    ),
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory, write_corpus: Callable[[Path, int], Path]) -> Path:
    folder = tmp_path_factory.mktemp("good")
    make_models(folder, write_corpus(folder / "corpus.jsonl", 60))
    return folder


@pytest.mark.parametrize("name", CASES)
def test_mistakes(
    name: str,
    good: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    case = CASES[name]
    shutil.copytree(good, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    case.make(tmp_path)
    arguments = list(GOOD[case.script])
    for flag in case.without:
        place = arguments.index(flag)
        del arguments[place : place + 2]
    monkeypatch.setattr(sys, "argv", [case.script, *arguments, *case.arguments])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(SCRIPTS / case.script), run_name="__main__")
    error = capsys.readouterr().err
    assert stop.value.code == 2, error
    assert re.search(case.message, error), error
    assert "Traceback" not in error
    assert not torch.distributed.is_initialized()


def test_what_memory_cannot_hold_is_refused_before_it_is_asked_for(
    good: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By the least that training takes; a dry run measures the rest."""
    monkeypatch.chdir(good)
    tokenizers = [("teacher", Tokenizer.from_pretrained("teacher"))]
    job = Job.of(["corpus.jsonl"], tokenizers, PrepareConfig(max_length=32))
    prepare(job, tmp_path, workers=0, progress=Progress(None))
    values = {"recipe": "mlm", "student": {"model": "1x8", "tokenizer": "teacher"}, "shards": str(tmp_path)}
    for there, batch, message in (
        (50_000, 4, r"training a student of 0 M parameters takes at least .*; choose a smaller student"),
        (1_000_000, 500, r"a micro-batch of 500 sequences takes at least .*; lower train.batch_size or raise"),
        (1_000_000, 4, ""),
    ):
        monkeypatch.setattr(models, "memory_there", lambda there=there: there)
        config = resolve_raw(values | {"train": {"batch_size": batch}})
        with pytest.raises(InputError, match=message) if message else contextlib.nullcontext():
            plan_raw(config, Path("never"), resume=False, device="cpu")
