"""scripts/distill.py and pretrain.py as a user runs them: what they leave, and that a run can be broken and gone on."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.scripts.models import make_models
from tinydistil.base.files import Ownership, read_json
from tinydistil.batches.shards import TokenShards
from tinydistil.distill.teacher import cached as cache_module
from tinydistil.tokenizer.tokenizer import Tokenizer

SCRIPTS = Path(__file__).parents[2] / "scripts"
ROOT = SCRIPTS.parent
TOTAL = ["--recipe", "total", "--teacher", "teacher", "--student", "student", "--corpus", "corpus.jsonl",
         "--batch-size", "6", "--max-length", "32", "--device", "cpu", "--set", "train.log_every=1"]  # fmt: skip
Run = Callable[..., str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, write_corpus: Callable[[Path, int], Path]) -> Path:
    folder = tmp_path_factory.mktemp("distil")
    make_models(folder, write_corpus(folder / "corpus.jsonl", 60))
    return folder


def metrics(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "student" / "model.safetensors")


def test_total_writes_an_ordinary_folder(run: Run, folder: Path) -> None:
    transformers = pytest.importorskip("transformers")
    out = run("distill.py", *TOTAL, "--output", "total", "--steps", "4")
    assert "student: total/student" in out
    student, teacher = folder / "total" / "student", folder / "teacher"
    assert (student / "vocab.txt").read_bytes() == (teacher / "vocab.txt").read_bytes()
    model = transformers.AutoModelForMaskedLM.from_pretrained(student)
    tokenizer = transformers.AutoTokenizer.from_pretrained(student)
    guessed = transformers.pipeline("fill-mask", model=model, tokenizer=tokenizer)("os [MASK] cantavam")
    assert len(guessed) == 5
    card = (student / "README.md").read_text()
    assert "language: pt" in card and "recipe `total`" in card and "4 steps" in card
    lines = [line for line in metrics(folder / "total") if "hard" in line]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert {"hard", "soft", "hidden", "gradient_norm"} <= lines[0].keys()
    outcome = read_json(folder / "total" / "outcome.json")
    assert outcome["steps"] == 4 and float(str(outcome["validation_loss"])) > 0
    resolved = read_json(folder / "total" / "run.json")
    assert resolved["student"]["model"] == "student" and resolved["recipe"]["temperature"] == 2.0  # type: ignore[index]


def test_a_model_goes_on_with_another_vocabulary_and_fewer_layers(run: Run, folder: Path) -> None:
    """pretrain.py --model DIR --tokenizer OTHER: the layers stay, each word begins as the mean of its old pieces."""
    arguments = ["--model", "teacher", "--tokenizer", "student", "--corpus", "corpus.jsonl", "--batch-size", "6"]
    run("pretrain.py", *arguments, "--max-length", "32", "--steps", "2", "--learning-rate", "1e-9", "--output", "moved",
        "--set", "student.layers=1")  # fmt: skip
    assert (folder / "moved" / "student" / "vocab.txt").read_bytes() == (folder / "student" / "vocab.txt").read_bytes()
    old, new = load_file(folder / "teacher" / "model.safetensors"), weights(folder / "moved")
    kept = "bert.encoder.layer.0.output.dense.weight"
    torch.testing.assert_close(new[kept], old[kept])
    assert not any(".layer.1." in name for name in new)
    words, table = "bert.embeddings.word_embeddings.weight", len((folder / "student" / "vocab.txt").read_text().split())
    assert len(new[words]) == table != len(old[words])
    mask = [(folder / name / "vocab.txt").read_text().split().index("[MASK]") for name in ("teacher", "student")]
    torch.testing.assert_close(new[words][mask[1]], old[words][mask[0]])


def test_stopped_while_the_teachers_cache_is_written(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM then leaves with 75 and whole parts; the same command writes the rest and trains."""
    monkeypatch.setattr(cache_module, "PART", 12)
    original, written, stopped = cache_module.TeacherCache.write, [], []

    def write(self: cache_module.TeacherCache, part: tuple[int, int], *rest: object) -> None:
        if len(written) == 1 and not stopped:
            stopped.append(part)
            os.kill(os.getpid(), signal.SIGTERM)
        original(self, part, *rest)
        written.append(part)

    monkeypatch.setattr(cache_module.TeacherCache, "write", write)
    arguments = [*TOTAL, "--output", "stopped", "--steps", "2", "--teacher-cache", "stopped-cache"]
    with pytest.raises(SystemExit) as stop:
        run("distill.py", *arguments)
    assert stop.value.code == 75
    assert len(list((folder / "stopped-cache").glob("epoch-*.safetensors"))) == 1
    out = run("distill.py", *arguments)
    assert "student: stopped/student" in out
    parts = len(list((folder / "stopped-cache").glob("epoch-*.safetensors")))
    assert len(written) == parts > 1 and len(set(written)) == parts


def test_partial_keeps_the_students_vocabulary(run: Run, folder: Path) -> None:
    arguments = [word if word != "total" else "partial" for word in TOTAL]
    run("distill.py", *arguments, "--output", "partial", "--steps", "3")
    kept = (folder / "partial" / "student" / "vocab.txt").read_bytes()
    assert kept == (folder / "student" / "vocab.txt").read_bytes()
    assert read_json(folder / "partial" / "student" / "tokenizer_config.json")["do_lower_case"] is True


def test_every_second_layer(run: Run, folder: Path) -> None:
    arguments = [word if word != "total" else "distilbert" for word in TOTAL]
    place = arguments.index("--student")
    run("distill.py", *arguments[:place], *arguments[place + 2 :], "--output", "layers", "--steps", "2",
        "--learning-rate", "1e-9")  # fmt: skip
    student, teacher = folder / "layers" / "student", folder / "teacher"
    assert read_json(student / "config.json")["num_hidden_layers"] == 1
    copied, own = (load_file(each / "model.safetensors") for each in (student, teacher))
    name = "bert.encoder.layer.0.attention.self.query.weight"
    torch.testing.assert_close(copied[name], own[name], atol=1e-6, rtol=0)


@pytest.mark.parametrize(("recipe", "teacher"), [("total", "teacher"), ("partial", "teacher"), ("partial", "encoder")])
def test_the_teachers_weights_in_fewer_dimensions(run: Run, folder: Path, recipe: str, teacher: str) -> None:
    """Nearer to the teacher than a random start, the same when gone on with, and a folder like any other."""
    changed = {"--recipe": recipe, "--teacher": teacher, "--student": "2x8"}
    options = [
        word for name, value in zip(TOTAL[::2], TOTAL[1::2], strict=True) for word in (name, changed.get(name, value))
    ]
    options += ["--resume", "auto", "--set", "train.schedule.shape=constant", "--set", "train.schedule.warmup_share=0"]
    options += ["--set", "student.tokenizer=student"] if recipe == "partial" else []
    projected = [*options, "--set", "student.start=projected"]
    name = f"projected-{recipe}-{teacher}"
    run("distill.py", *projected, "--output", f"{name}-whole", "--steps", "4")
    for steps in ("2", "4"):
        run("distill.py", *projected, "--output", name, "--steps", steps)
    run("distill.py", *options, "--output", f"{name}-random", "--steps", "4")
    whole, parts = weights(folder / f"{name}-whole"), weights(folder / name)
    assert all(torch.equal(whole[each], parts[each]) for each in whole)
    position = "bert.embeddings.position_embeddings.weight"
    assert not torch.equal(whole[position], weights(folder / f"{name}-random")[position])


def test_broken_off_and_gone_on_equals_unbroken(run: Run, folder: Path) -> None:
    run("distill.py", *TOTAL, "--output", "whole", "--steps", "6", "--set", "train.schedule.shape=constant",
        "--set", "train.schedule.warmup_share=0")  # fmt: skip
    same = [*TOTAL, "--output", "parts", "--resume", "auto", "--set", "train.schedule.shape=constant",
            "--set", "train.schedule.warmup_share=0"]  # fmt: skip
    for steps in ("2", "4", "6"):
        run("distill.py", *same, "--steps", steps)
    whole, parts = weights(folder / "whole"), weights(folder / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_a_teacher_in_int8(run: Run, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Told, recorded, resumed to the same bits, and nowhere in what is written."""
    constant = ["--set", "train.schedule.shape=constant", "--set", "train.schedule.warmup_share=0"]
    options = [*TOTAL, *constant, "--resume", "auto", "--teacher-precision", "int8"]
    told = run("distill.py", *options, "--output", "int8", "--steps", "2", stream="err")
    found = re.search(
        r"teacher in int8: mean token cosine with float32 (\S+) on [\d,]+ tokens, KL at T = 2 (\S+)", told
    )
    assert found is not None, told
    assert 0.99 < float(found[1]) <= 1 and 0 <= float(found[2]) < 0.006
    run("distill.py", *options, "--output", "int8", "--steps", "4")
    run("distill.py", *options, "--output", "int8-whole", "--steps", "4")
    parts, whole = weights(folder / "int8"), weights(folder / "int8-whole")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert read_json(folder / "int8" / "run.json")["teacher_precision"] == "int8"
    widths = {tensor.shape[-1] for path in (folder / "int8" / "checkpoints").rglob("*.safetensors")
              for tensor in load_file(path).values() if tensor.dim() > 1}  # fmt: skip
    assert 32 not in widths, "the teacher's feed-forward layers are 32 wide, the student's 16"
    dry = run("distill.py", *TOTAL, "--teacher-precision", "int8", "--output", "dry-int8", "--dry-run")
    assert re.search(r"teacher   teacher: 2 layers x 16, .* parameters \(words .*\), in int8\n", dry)
    with pytest.raises(SystemExit) as stop:
        run(
            "distill.py",
            *TOTAL,
            *constant,
            "--teacher-precision",
            "float32",
            "--resume",
            "auto",
            "--output",
            "int8",
            "--steps",
            "6",
        )
    assert stop.value.code == 2
    assert "was begun with teacher_precision = 'int8', now it is 'float32'" in capsys.readouterr().err
    run("distill.py", *TOTAL, *constant, "--resume", "auto", "--output", "int8", "--steps", "5")
    assert read_json(folder / "int8" / "run.json")["teacher_precision"] == "int8", "auto is what it was before"


def test_an_untied_decoder_is_taken_over(run: Run, folder: Path, tmp_path: Path) -> None:
    """config.json says tied, the weights say otherwise: layers of such a teacher make a student of the same kind."""
    shutil.copytree(folder / "teacher", tmp_path / "teacher")
    file = tmp_path / "teacher" / "model.safetensors"
    weights_of = load_file(file)
    decoder = weights_of["bert.embeddings.word_embeddings.weight"] + 0.5
    save_file(weights_of | {"cls.predictions.decoder.weight": decoder}, file)
    arguments = [*TOTAL, "--set", "student.start=layers", "--set", "recipe.name=distilbert"]
    for option in ("--recipe", "--student"):
        place = arguments.index(option)
        del arguments[place : place + 2]
    arguments[arguments.index("--teacher") + 1] = str(tmp_path / "teacher")
    arguments += ["--recipe", "distilbert", "--output", str(tmp_path / "run"), "--steps", "1"]
    run("distill.py", *arguments, "--learning-rate", "1e-9")
    torch.testing.assert_close(weights(tmp_path / "run")["cls.predictions.decoder.weight"], decoder)


def test_a_run_of_other_options_is_not_gone_on(run: Run, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("distill.py", *TOTAL, "--output", "other", "--steps", "1")
    with pytest.raises(SystemExit) as stop:
        run("distill.py", *TOTAL, "--output", "other", "--steps", "2", "--resume", "auto", "--seed", "7")
    assert stop.value.code == 2
    assert "was begun with train.seed = 1, now it is 7" in capsys.readouterr().err


def test_a_run_is_bound_to_what_its_files_hold(
    run: Run, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under the same paths lie other weights, another vocabulary, other shards: none of them is gone on with."""
    for name in ("teacher", "student"):
        shutil.copytree(folder / name, tmp_path / name)
    shards = tmp_path / "shards"
    prepared = ["--input", "corpus.jsonl", "--tokenizer", "teacher", "--max-length", "32", "--output", str(shards)]
    run("prepare.py", *prepared)
    arguments = ["--recipe", "total", "--teacher", str(tmp_path / "teacher"), "--student", str(tmp_path / "student"),
                 "--shards", str(shards), "--batch-size", "6", "--resume", "auto", "--device", "cpu"]  # fmt: skip
    run("distill.py", *arguments, "--output", str(tmp_path / "run"), "--steps", "1")

    def refused() -> str:
        with pytest.raises(SystemExit) as stop:
            run("distill.py", *arguments, "--output", str(tmp_path / "run"), "--steps", "2")
        assert stop.value.code == 2
        return capsys.readouterr().err

    for name in ("teacher", "student"):
        file = tmp_path / name / "model.safetensors"
        before = file.read_bytes()
        save_file({key: tensor * 1.01 for key, tensor in load_file(file).items()}, file)
        assert f"was begun with content.{name} = " in refused()
        file.write_bytes(before)
    manifest = json.loads((shards / "manifest.json").read_text())
    (shards / "manifest.json").write_text(json.dumps(manifest | {"split": 2}))
    assert "was begun with content.shards = " in refused()
    (shards / "manifest.json").write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
    moved = shards.rename(tmp_path / "moved")
    arguments[arguments.index(str(shards))] = str(moved)
    run("distill.py", *arguments, "--output", str(tmp_path / "run"), "--steps", "2")
    validated = [line["step"] for line in metrics(tmp_path / "run") if "validation_loss" in line]
    assert validated == [0, 1, 2]


def test_a_run_of_an_older_version_goes_on_or_is_refused(
    run: Run, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On shards, older versions recorded options of raw text too; the first edition did not record what files hold."""
    run("prepare.py", "--input", "corpus.jsonl", "--tokenizer", "teacher", "--max-length", "32", "--output",
        str(tmp_path / "shards"))  # fmt: skip
    arguments = ["--teacher", "teacher", "--student", "1x8", "--shards", str(tmp_path / "shards"), "--batch-size", "6",
                 "--device", "cpu", "--resume", "auto", "--output", str(tmp_path / "run")]  # fmt: skip
    run("distill.py", *arguments, "--steps", "1")
    record = tmp_path / "run" / "run.json"
    values = read_json(record)
    raw = {"corpus": [], "evaluation_sets": [], "prepare": {"max_length": 128, "clean": {"mojibake": True}}}
    record.write_text(json.dumps({**values, **raw}))
    assert "2 steps" in run("distill.py", *arguments, "--steps", "2")
    assert [line["step"] for line in metrics(tmp_path / "run") if "hard" not in line] == [0, 1, 2]
    del values["content"]
    record.write_text(json.dumps({**values, **raw}))
    with pytest.raises(SystemExit) as stop:
        run("distill.py", *arguments, "--steps", "3")
    assert stop.value.code == 2
    refusal = (
        "was begun by an older version of this program, whose layout is no longer read; finish it with that version"
    )
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1 and refusal in error[0] and str(tmp_path / "run") in error[0]


@pytest.mark.parametrize(
    ("declared", "followed"), [("cls_token", "cls"), ("mean_tokens", "mean"), ("max_tokens", "mean")]
)
def test_a_sequence_is_taught_by_the_vector_that_the_teachers_folder_declares(
    run: Run, folder: Path, tmp_path: Path, declared: str, followed: str
) -> None:
    shutil.copytree(folder / "teacher", tmp_path / "teacher")
    (tmp_path / "teacher" / "1_Pooling").mkdir()
    types = {"": "Transformer", "1_Pooling": "Pooling"}
    modules = [{"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{name}"}
               for i, (path, name) in enumerate(types.items())]  # fmt: skip
    (tmp_path / "teacher" / "modules.json").write_text(json.dumps(modules))
    pooling = {f"pooling_mode_{name}": name == declared for name in ("cls_token", "mean_tokens", "max_tokens")}
    (tmp_path / "teacher" / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    arguments = ["partial" if each == "total" else each for each in TOTAL]
    arguments[arguments.index("--teacher") + 1] = str(tmp_path / "teacher")
    cache = str(tmp_path / "cache")
    said = run("distill.py", *arguments, "--output", str(tmp_path / "run"), "--steps", "1", "--teacher-cache", cache,
               stream="err")  # fmt: skip
    assert read_json(Path(cache) / "cache.json")["teacher's pooling"] == followed
    assert ("pools by max, which is not followed" in said) == (declared == "max_tokens")


@pytest.mark.parametrize(
    ("recipe", "kinds", "lowercase", "prompt", "said"),
    [
        ("partial", ["Dense", "Normalize"], False, None,
         "declares Dense behind the pooling, Normalize behind the pooling; training does not follow that"),
        ("total", ["Dense"], False, "query", "declares the default prompt 'busca: '; training does not follow that"),
        ("total", [], True, None, "declares do_lower_case; training does not follow that"),
        ("partial", ["Dropout"], False, "plain", None),
        ("total", ["Dense"], False, None, None),
    ],
)  # fmt: skip
def test_what_the_teachers_folder_declares_and_training_does_not_follow_is_named(
    run: Run, folder: Path, tmp_path: Path, recipe: str, kinds: list[str], lowercase: bool, prompt: str, said: str
) -> None:
    teacher = tmp_path / "teacher"
    shutil.copytree(folder / "teacher", teacher)
    (teacher / "1_Pooling").mkdir()
    types = {"": "Transformer", "1_Pooling": "Pooling", **{f"{i}_{kind}": kind for i, kind in enumerate(kinds, 2)}}
    modules = [{"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{name}"}
               for i, (path, name) in enumerate(types.items())]  # fmt: skip
    (teacher / "modules.json").write_text(json.dumps(modules))
    (teacher / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    (teacher / "sentence_bert_config.json").write_text(json.dumps({"do_lower_case": lowercase}))
    prompts = {"default_prompt_name": prompt, "prompts": {"query": "busca: ", "plain": ""}}
    (teacher / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    arguments = [recipe if each == "total" else each for each in TOTAL]
    arguments[arguments.index("--teacher") + 1] = str(teacher)
    err = run("distill.py", *arguments, "--output", str(tmp_path / "run"), "--steps", "1", stream="err")
    assert said in err if said else "does not follow" not in err


@pytest.mark.parametrize(("mode", "named"), [("lines", True), ("blocks", False)])
def test_a_wrapped_corpus_of_a_run_is_named(run: Run, folder: Path, tmp_path: Path, mode: str, named: bool) -> None:
    """The run succeeds, on lines for documents: the option that reads it as it is meant is told."""
    texts = [json.loads(line)["text"] for line in (folder / "corpus.jsonl").read_text().splitlines()]
    wrapped = ["\n".join(textwrap.wrap(" ".join(texts[i : i + 4]) + " Assim foi.", 60)) for i in range(0, 200, 4)]
    (tmp_path / "livro.txt").write_text("\n\n".join(wrapped))
    arguments = [*TOTAL, "--output", str(tmp_path / "run"), "--steps", "1", "--set", f"prepare.read.txt_mode={mode}"]
    arguments[arguments.index("corpus.jsonl") : arguments.index("corpus.jsonl") + 1] = [
        "corpus.jsonl", str(tmp_path / "livro.txt")
    ]  # fmt: skip
    err = run("distill.py", *arguments, stream="err")
    assert ("livro.txt looks wrapped" in err and "set read.txt_mode=blocks" in err) == named, err


def test_two_runs_do_not_share_a_folder(run: Run, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [*TOTAL, "--output", "shared", "--steps", "1"]
    with Ownership("run.json", lambda name: False).claim(folder / "shared", {}, record_now=False):
        with pytest.raises(SystemExit) as stop:
            run("distill.py", *arguments)
        assert stop.value.code == 2 and "being written by another run" in capsys.readouterr().err
    run("distill.py", *arguments)
    assert not (folder / "shared" / ".lock").exists()


def test_a_cache_inside_the_runs_folder_is_no_stranger(run: Run, folder: Path) -> None:
    inside = [*TOTAL, "--teacher-cache", "outer/cache", "--steps", "1", "--set", "train.mask.epochs=1"]
    run("distill.py", *inside, "--output", "elsewhere")
    run("distill.py", *inside, "--output", "outer")
    assert (folder / "outer" / "run.json").exists() and (folder / "outer" / "cache" / "cache.json").exists()


def test_dry_run_writes_nothing(run: Run, folder: Path) -> None:
    out = run("distill.py", *TOTAL, "--output", "dry", "--steps", "100", "--dry-run")
    assert not (folder / "dry").exists()
    for word in ("student", "teacher", "text", "step", "memory", "time", "MiB"):
        assert word in out
    assert "1 layers x 8" in out and "2 layers x 16" in out


def test_dry_run_knows_the_memory_that_the_run_takes(folder: Path) -> None:
    """The peak of the whole process, torch included, within a seventh of what the run itself comes to."""
    script = f"""import re, runpy, sys
runpy.run_path({str(SCRIPTS / "distill.py")!r}, run_name="__main__")
print("peak", int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024)"""
    options = [*TOTAL, "--student", "2x128", "--batch-size", "500", "--steps", "1", "--output"]
    found = []
    for more in (["memory", "--dry-run"], ["memory"]):
        done = subprocess.run(
            [sys.executable, "-c", script, *options, *more], cwd=folder, capture_output=True, text=True, check=True,
            timeout=240, env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        )  # fmt: skip
        found.append(done.stdout)
    said = re.search(r"memory    ([\d,]+) MiB at most on one process, with a micro-batch of 500;", found[0])
    peak = re.search(r"peak (\S+)", found[1])
    assert said is not None and peak is not None, found
    assert float(said[1].replace(",", "")) == pytest.approx(float(peak[1]), rel=0.15)
    assert float(peak[1]) > 400, "torch alone takes more than weights and activations"


def test_dry_run_knows_what_is_read_and_what_a_cache_saves(run: Run, folder: Path) -> None:
    """Lengths and number of the chosen sequences, not of the corpus; the teacher's time once, not in every epoch."""
    run("distill.py", *TOTAL, "--output", "prepared", "--steps", "1")
    shards = TokenShards.open(folder / "prepared" / "shards")
    lengths = np.sort(shards.lengths() + 2)
    longest = int(lengths[len(lengths) // 2])
    read = lengths[lengths <= longest]
    options = [*TOTAL[:6], "--shards", "prepared/shards", "--batch-size", "6", "--device", "cpu", "--dry-run"]
    chosen = ["--output", "dry2", "--epochs", "50", "--set", f"train.order.longest={longest}"]
    out = run("distill.py", *options, *chosen)
    assert f"{len(read):,} sequences of {read.mean():.0f} tokens on average" in out
    assert f"for {50 * read.sum():,} tokens" in out and "cache" not in out
    cached = run("distill.py", *options, *chosen, "--teacher-cache", "never")
    assert re.search(r"time      at most \S+ minutes for what of the cache is missing, then \S+ min", cached)
    assert not (folder / "never").exists() and not (folder / "dry2").exists()


def test_pretrain_with_a_vocabulary_of_its_own(
    run: Run, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Made once; the run goes on with it, also from where its folder has been moved to."""
    corpus = ["--corpus", str(folder / "corpus.jsonl"), "--batch-size", "8", "--max-length", "32", "--device", "cpu"]

    def own(output: Path, size: int, *more: str) -> str:
        return run("pretrain.py", "--model", "1x8", "--vocab-size", str(size), *corpus, "--output", str(output), *more)

    assert "vocabulary 210 (own)" in own(tmp_path / "own", 210, "--dry-run") and not (tmp_path / "own").exists()
    with pytest.raises(SystemExit):
        own(tmp_path / "own", 190, "--steps", "1", "--precision", "fp8")
    own(tmp_path / "own", 210, "--steps", "1")
    student = tmp_path / "own" / "student"
    words = len((student / "vocab.txt").read_text(encoding="utf-8").splitlines())
    assert words == read_json(student / "config.json")["vocab_size"] == 210
    own(tmp_path / "own", 210, "--steps", "2", "--resume", "auto")
    (tmp_path / "own").rename(tmp_path / "moved")
    own(tmp_path / "moved", 210, "--steps", "3", "--resume", "auto")
    steps = [line["step"] for line in metrics(tmp_path / "moved") if "validation_loss" in line]
    assert steps == [0, 1, 2, 3]
    with pytest.raises(SystemExit) as stop:
        own(tmp_path / "moved", 211, "--steps", "4", "--resume", "auto")
    assert stop.value.code == 2
    assert "was trained with vocab_size = 210, now it is 211" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        own(tmp_path / "moved", 210, "--steps", "4", "--resume", "auto", "--lowercase")
    assert "was trained with lowercase = False, now it is True" in capsys.readouterr().err
    assert not Tokenizer.from_pretrained(tmp_path / "moved" / "student").lowercases
    run("pretrain.py", "--model", str(tmp_path / "moved" / "student"), "--shards", str(tmp_path / "moved" / "shards"),
        "--output", str(tmp_path / "further"), "--steps", "1", "--device", "cpu", "--batch-size", "8")  # fmt: skip
    assert (tmp_path / "further" / "student" / "model.safetensors").exists()


def start(folder: Path, *arguments: str, processes: int, restarts: int = 0) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}",
               f"--max-restarts={restarts}", str(SCRIPTS / "distill.py"), *arguments]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_two_processes_equal_one(run: Run, folder: Path) -> None:
    run("distill.py", *TOTAL, "--output", "one", "--steps", "3", "--set", "train.optimizer.learning_rate=1e-4")
    two = start(folder, *TOTAL, "--output", "two", "--steps", "3", "--set", "train.optimizer.learning_rate=1e-4",
                processes=2)  # fmt: skip
    _, error = two.communicate(timeout=240)
    assert two.returncode == 0, error
    one_loss = [line["hard"] for line in metrics(folder / "one") if "hard" in line]
    two_loss = [line["hard"] for line in metrics(folder / "two") if "hard" in line]
    assert one_loss == pytest.approx(two_loss, rel=1e-5)


def test_a_mistake_under_torchrun_is_one_message(folder: Path) -> None:
    wrong = start(folder, *TOTAL, "--output", "wrong", "--steps", "3", "--set", "recipe.temperature=0", processes=2)
    _, error = wrong.communicate(timeout=240)
    assert wrong.returncode != 0
    assert error.count("error: recipe.temperature must be in (0, 1000], got 0.0") == 1


def test_tensorboard_shows_the_same_figures(run: Run, folder: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run("distill.py", *TOTAL, "--output", "board", "--steps", "3", "--set", "train.tensorboard=true")
    events = EventAccumulator(str(folder / "board" / "tensorboard"))
    events.Reload()
    shown = [(event.step, event.value) for event in events.Scalars("soft")]
    written = [(line["step"], line["soft"]) for line in metrics(folder / "board") if "soft" in line]
    assert shown == [(step, pytest.approx(value, rel=1e-6)) for step, value in written] and len(shown) == 3


def test_validation_of_a_recipe_without_masked_words_is_its_own_loss(run: Run, folder: Path) -> None:
    arguments = [word if word != "total" else "partial" for word in TOTAL]
    run("distill.py", *arguments, "--output", "vectors", "--steps", "3", "--set", "recipe.hard=0",
        "--set", "train.mask.rate=0")  # fmt: skip
    outcome = read_json(folder / "vectors" / "outcome.json")
    # cosine distances a word and a sentence, each at most 2, weighted 30 and 100; untaught they are near 1
    assert 30 < float(str(outcome["validation_loss"])) < 260


def test_a_run_that_could_not_begin_leaves_its_folder_free(run: Run, folder: Path) -> None:
    whole = (folder / "teacher" / "model.safetensors").read_bytes()
    (folder / "teacher" / "model.safetensors").write_bytes(whole[:-40])
    with pytest.raises(SystemExit):
        run("distill.py", *TOTAL, "--output", "again", "--steps", "1")
    (folder / "teacher" / "model.safetensors").write_bytes(whole)
    assert "1 steps" in run("distill.py", *TOTAL, "--output", "again", "--steps", "1")


def test_a_killed_rank_is_restarted_and_the_run_goes_on(folder: Path) -> None:
    options = ["--steps", "40", "--set", "train.save_every=2", "--set", "train.optimizer.learning_rate=1e-3"]
    # by the same launcher, which sets the number of threads, and with it the last bits
    unbroken_run = start(folder, *TOTAL, *options, "--output", "unbroken", processes=1)
    assert unbroken_run.wait(timeout=240) == 0
    killed = start(folder, *TOTAL, *options, "--output", "killed", processes=1, restarts=1)
    checkpoints = folder / "killed" / "checkpoints"
    until = time.monotonic() + 240
    while len(list(checkpoints.glob("step-*"))) < 2 and time.monotonic() < until:
        time.sleep(0.02)
    workers = subprocess.run(
        ["pgrep", "-P", str(killed.pid)], capture_output=True, text=True, check=True
    ).stdout.split()
    os.kill(int(workers[-1]), signal.SIGKILL)
    _, error = killed.communicate(timeout=240)
    assert killed.returncode == 0, error
    assert "going on from step" in error
    unbroken, gone_on = weights(folder / "unbroken"), weights(folder / "killed")
    assert all(torch.equal(unbroken[name], gone_on[name]) for name in unbroken)
