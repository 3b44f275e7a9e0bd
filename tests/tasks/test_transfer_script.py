"""Transfer sets from the command line: labels asked for once, interruptions, bits that repeat, what is refused."""

import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.tasks.conftest import (
    QUICK,
    Left,
    classify,
    opinions,
    similarities,
    stop_after,
    tagged,
    write_conll,
    write_csv,
)
from tinydistil.base.errors import STOPPED_EXIT_CODE
from tinydistil.tasks import transfer
from tinydistil.tasks.examples import LabelledText, texts_of
from tinydistil.tasks.label_task import TextTask
from tinydistil.tasks.labelled import Columns
from tinydistil.tasks.soft_targets import SoftTargets
from tinydistil.tasks.unlabelled import read_unlabelled
from tinydistil.tokenizer.tokenizer import Tokenizer

Script = Callable[..., Left]

TEXTS = [f"O {noun} de Ana é {kind}." for noun in ("livro", "bolo", "jardim") for kind in ("ruim", "bom", "comum")]


@pytest.fixture
def call(script: Script, files: Path, folder: Path) -> list[object]:
    """A command that learns from a tuned teacher, all but what makes its transfer set."""
    assert script("finetune", *classify(files, folder)[:6], *QUICK, "--output", files / "teacher").code == 0
    (files / "texts.txt").write_text("\n".join(TEXTS) + "\n\n", encoding="utf-8")
    return [*classify(files, folder), "--teacher", files / "teacher"]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def same(first: Path, second: Path) -> bool:
    return all(torch.equal(each, weights(second)[name]) for name, each in weights(first).items())


def test_from_the_command_line(
    script: Script, call: list[object], files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both sources, two seeds, one labelling; the bits repeat, and other texts give others."""
    asked: list[int] = []
    of_texts = SoftTargets.of_texts
    monkeypatch.setattr(SoftTargets, "of_texts", lambda self, each: asked.append(len(each)) or of_texts(self, each))
    options = ["--unlabelled", files / "texts.txt", files / "dev.tsv", "--transfer", "30", "--seeds", "1,2"]
    done = script("finetune", *call, *options, "--output", files / "a")
    assert done.code == 0, done.err
    assert "texts.txt: 9 rows, 0 set aside" in done.err
    assert re.search(r"transfer set: 39 texts \(9 unlabelled, .*\); \d+ dropped", done.err)
    assert asked == [39, 40, 40]  # training rows are asked for once a seed, and known
    sample = (files / "a" / "transfer_sample.txt").read_text(encoding="utf-8").splitlines()
    assert len(sample) == 39 and all(re.match(r"\w+\t(positive|negative|neutral) 0\.\d\d\t\S", line) for line in sample)
    assert script("finetune", *call, *options, "--output", files / "b").code == 0
    assert same(files / "a" / "seed-2", files / "b" / "seed-2")
    again = script("finetune", *call, *options, "--output", files / "a", "--resume")
    assert again.code == 0 and again.out == done.out
    for changed in (options[3:], [*options[:4], "29", *options[5:]]):
        refused = script("finetune", *call, *changed, "--output", files / "a", "--resume")
        assert refused.code == 2 and "was begun with content." in refused.err, refused.err
    assert script("finetune", *call, "--output", files / "c", "--seeds", "1,2").code == 0
    assert not same(files / "a" / "seed-1", files / "c" / "seed-1")


def test_labels_are_not_looked_at(script: Script, call: list[object], files: Path) -> None:
    """The same texts as a table without labels, with labels, and as lines."""
    (files / "bare.tsv").write_text("\n".join(["text", *TEXTS]) + "\n", encoding="utf-8")
    write_csv(files / "rows.tsv", [LabelledText(text, None, "never seen") for text in TEXTS])
    for name in ("texts.txt", "bare.tsv", "rows.tsv"):
        assert (
            script(
                "finetune", *call, "--unlabelled", files / name, "--set", "soft=1.0", "--output", files / name[:4]
            ).code
            == 0
        )
    assert same(files / "text", files / "bare") and same(files / "text", files / "rows")
    lines = [json.loads(line) for line in (files / "text" / "metrics.jsonl").read_text().splitlines()]
    assert all("task" not in line for line in lines)


def test_interrupted_labelling_goes_on(
    script: Script, call: list[object], files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "PART", 8)
    options = ["--transfer", "30", "--unlabelled", files / "texts.txt"]
    assert script("finetune", *call, *options, "--output", files / "whole").code == 0
    of_texts, asked = SoftTargets.of_texts, list[int]()

    def stopped(self: SoftTargets, examples: list[LabelledText]) -> object:
        asked.append(len(examples))
        if len(asked) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return of_texts(self, examples)

    with monkeypatch.context() as patch:
        patch.setattr(SoftTargets, "of_texts", stopped)
        cut = script("finetune", *call, *options, "--output", files / "cut")
    assert cut.code == STOPPED_EXIT_CODE and "--resume" in cut.err and asked == [8, 8, 8]
    assert sorted(each.name for each in (files / "cut" / "transfer").glob("part*")) == [
        "part-00000.npy",
        "part-00001.npy",
    ]
    monkeypatch.setattr(SoftTargets, "of_texts", lambda self, each: asked.append(len(each)) or of_texts(self, each))
    resumed = script("finetune", *call, *options, "--output", files / "cut", "--resume")
    assert resumed.code == 0, resumed.err
    assert asked[3:] == [8, 8, 7, 40] and same(files / "whole", files / "cut")


def test_interrupted_training_goes_on(
    script: Script, call: list[object], files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--transfer", "30", "--set", "accumulation=2"]
    whole = script("finetune", *call, *options, "--output", files / "whole")
    with monkeypatch.context() as patch:
        stop_after(4, patch)
        assert script("finetune", *call, *options, "--output", files / "cut").code == STOPPED_EXIT_CODE
    resumed = script("finetune", *call, *options, "--output", files / "cut", "--resume")
    assert resumed.code == 0 and resumed.out == whole.out and same(files / "whole", files / "cut")


def test_what_lies_in_the_folder(script: Script, call: list[object], files: Path, folder: Path) -> None:
    """A damaged part is labelled again; labels of another teacher, and strangers' files, are refused."""
    options = ["--transfer", "20", "--output", files / "out"]
    assert script("finetune", *call, *options).code == 0
    kept, part = (files / "kept"), files / "out" / "transfer" / "part-00000.npy"
    shutil.copytree(files / "out", kept)
    good = part.read_bytes()
    other = np.load(part)
    for damage in (good[:100], b"", b"no array", None):
        shutil.rmtree(files / "out")
        shutil.copytree(kept / "transfer", files / "out" / "transfer")
        part.write_bytes(damage) if damage is not None else np.save(part, other[:-1])
        again = script("finetune", *call, *options)
        assert again.code == 0 and "part-00000.npy' is damaged; its texts are labelled again" in again.err, again.err
        assert part.read_bytes() == good and same(kept, files / "out")
    tuned = files / "teacher" / "model.safetensors"
    for change, said in (
        (lambda: save_file({k: v + 1 for k, v in load_file(tuned).items()}, tuned),
         "was begun with teacher = .*delete"),
        (lambda: (files / "out" / "transfer" / "notes.txt").write_text("mine"), "holds 'notes.txt'"),
    ):  # fmt: skip
        shutil.rmtree(files / "out")
        shutil.copytree(kept / "transfer", files / "out" / "transfer")
        if "notes" in said:
            (files / "out" / "transfer" / "transfer.json").unlink()
        change()
        refused = script("finetune", *call, *options)
        assert refused.code == 2 and re.search(said, refused.err), refused.err
        assert not (files / "out" / "task.json").exists()


def test_a_grid_with_folds(script: Script, call: list[object], files: Path) -> None:
    done = script(
        "finetune", *call, "--transfer", "30", "--grid", "soft=0.2,0.9", "--folds", "2", "--output", files / "out"
    )
    assert done.code == 0, done.err
    known = json.loads((files / "out" / "grid.json").read_text())
    assert len(known) == 2 and all(len(folds) == 2 for folds in known.values())


@pytest.mark.parametrize("form", ["lines", "documents", "words", "tagged"])
def test_tags_from_sentences_without_tags(script: Script, folder: Path, tmp_path: Path, form: str) -> None:
    write_conll(tmp_path / "train.conll", tagged(16))
    more = tagged(24)[16:]
    texts = [" ".join(row.words) for row in more]
    if form in ("lines", "documents"):
        path = tmp_path / ("texts.txt" if form == "lines" else "texts.jsonl")
        written = "\n".join(texts) if form == "lines" else json.dumps({"text": "\n".join(texts[:3])}) + "\n"
        written += "" if form == "lines" else json.dumps({"text": "\n".join(texts[3:]), "id": 2})
        path.write_text(written + "\n", encoding="utf-8")
        texts = [re.sub(r"(?<=\w)([,:])", r" \1", text) for text in texts]  # as CoNLL files have them
    else:
        path = tmp_path / "texts.conll"
        write_conll(path, more)
        if form == "words":
            path.write_text("\n\n".join("\n".join(row.words) for row in more) + "\n", encoding="utf-8")
    call = ["--model", folder, "--task", "tag", "--train", tmp_path / "train.conll", *QUICK]
    assert script("finetune", *call, "--output", tmp_path / "teacher").code == 0
    done = script(
        "finetune", *call, "--teacher", tmp_path / "teacher", "--unlabelled", path, "--output", tmp_path / "out"
    )
    assert done.code == 0 and "transfer set: 8 texts (8 unlabelled)" in done.err, done.err
    sample = (tmp_path / "out" / "transfer_sample.txt").read_text(encoding="utf-8").splitlines()
    assert [line.split("\t")[2] for line in sample] == texts
    assert all(len(tags.split()) == len(text.split()) for _, tags, text in (line.split("\t") for line in sample))


def test_pairs_from_files(vocabulary: Tokenizer, tmp_path: Path) -> None:
    task = TextTask.of("regress", similarities(24), vocabulary, 64)
    (tmp_path / "a.txt").write_text("um\tdois\r\n\n três\tquatro\n\tvazio\n", encoding="utf-8")
    data = read_unlabelled(tmp_path / "a.txt", task, Columns())
    assert [texts_of(each) for each in data.examples] == [["um", "dois"], [" três", "quatro"]]
    assert [(each.line, each.reason) for each in data.bad] == [(4, "a text is empty")]
    (tmp_path / "b.xml").write_text('<c><pair id="1"><t>um</t><h>dois</h></pair></c>', encoding="utf-8")
    assert [texts_of(each) for each in read_unlabelled(tmp_path / "b.xml", task, Columns()).examples] == [
        ["um", "dois"]
    ]
    (tmp_path / "c.jsonl").write_text('{"a": "um", "b": "dois", "label": null}\n', encoding="utf-8")
    columns = Columns("a", "b", "no such column")
    assert [texts_of(each) for each in read_unlabelled(tmp_path / "c.jsonl", task, columns).examples] == [
        ["um", "dois"]
    ]


CASES = {
    "transfer of zero": (["--transfer", "0"], r"--transfer must be in 1\.\.1,000,000, got 0; leave it out"),
    "transfer below zero": (["--transfer", "-3"], "--transfer must be in .* got -3"),
    "transfer beyond all bounds": (["--transfer", "9999999999"], "--transfer must be in"),
    "transfer no number": (["--transfer", "muitos"], "--transfer.*muitos"),
    "transfer without a teacher": (["--no-teacher", "--transfer", "9"], "--transfer needs --teacher"),
    "unlabelled without a teacher": (["--no-teacher", "--unlabelled", "texts.txt"], "--unlabelled needs --teacher"),
    "a teacher without soft": (["--transfer", "9", "--set", "soft=0"], "no effect with soft = 0"),
    "an unknown precision": (["--teacher-precision", "int7"], "teacher_precision 'int7' is unknown.*int8"),
    "a precision of nobody": (["--no-teacher", "--teacher-precision", "int8"], "--teacher-precision needs --teacher"),
    "transfer of tags": (["--task", "tag", "--transfer", "9"], "--transfer makes texts and pairs; to tag, give"),
    "transfer of answers": (["--task", "answer", "--transfer", "9"], "--transfer is for texts and tags"),
    "unlabelled answers": (["--task", "answer", "--unlabelled", "texts.txt"], "--unlabelled is for texts and tags"),
    "no such file": (["--unlabelled", "none.txt"], "'none.txt' does not exist"),
    "a folder as file": (["--unlabelled", "."], "is a folder"),
    "unknown ending": (["--unlabelled", "texts.pdf"], "known endings"),
    "an empty file": (["--unlabelled", "empty.txt"], "holds no usable row: it is empty"),
    "pairs for single texts": (["--unlabelled", "pairs.tsv"], "'pairs.tsv' must hold single texts"),
    "tabs for single texts": (["--unlabelled", "pairs.txt"], "'pairs.txt' must hold single texts"),
    "single texts for pairs": (["--train", "pairs.tsv", "--teacher", "TEACHER2", "--unlabelled", "texts.txt"],
                               r"'texts.txt' must hold pairs \(--second-column"),
    "another text column": (["--unlabelled", "renamed.tsv"], "no column 'text'; did you mean 'texto'"),
    "another encoding": (["--unlabelled", "latin.txt"], "'latin.txt' is not utf-8 .* --encoding"),
    "nothing that is new": (["--unlabelled", "train.tsv", "test.tsv"], "no text is left that no row of --train"),
    "a teacher of other labels": (["--teacher", "TEACHER2", "--transfer", "9"], "the teacher was fine-tuned to"),
    "a teacher of pairs": (["--teacher", "TEACHER3", "--transfer", "9"], "not fine-tuned on single texts"),
    "a file where the labels go": (["--transfer", "9", "--output", "blocked"], "transfer' is a file; name a folder"),
    "strangers where the labels go": (["--transfer", "9", "--output", "strange"], "holds 'notes.txt'"),
    "a damaged record": (["--transfer", "9", "--output", "begun"], "transfer.json' is not valid JSON.*delete it"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_bad_input(
    name: str, script: Script, call: list[object], files: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line on standard error, exit code 2, no traceback."""
    given, message = CASES[name]
    monkeypatch.chdir(files)
    shutil.copy("texts.txt", "texts.pdf")
    Path("empty.txt").write_text("")
    Path("pairs.txt").write_text("a\tb\n")
    write_csv(Path("pairs.tsv"), [LabelledText("a", "b", "x"), LabelledText("c", "d", "y")])
    Path("renamed.tsv").write_text("texto\tlabel\na\tx\n")
    Path("latin.txt").write_bytes("ação\n".encode("latin-1"))
    for output in ("blocked", "strange", "begun"):
        Path(output).mkdir()
    Path("blocked/transfer").write_text("")
    for file, text in (("strange/transfer/notes.txt", "mine"), ("begun/transfer/transfer.json", "{")):
        Path(file).parent.mkdir()
        Path(file).write_text(text)
    arguments = [*call, *([] if "--output" in given else ["--output", "out"]), *given]
    if "TEACHER2" in given:
        second = ["--model", folder, "--task", "classify", "--train", "pairs.tsv", *QUICK, "--output", "teacher2"]
        assert script("finetune", *second).code == 0
        arguments = ["teacher2" if each == "TEACHER2" else each for each in arguments]
    if "TEACHER3" in given:
        write_csv(Path("opinions.tsv"), [LabelledText(row.text, row.text, row.label) for row in opinions(12)])
        third = ["--model", folder, "--task", "classify", "--train", "opinions.tsv", *QUICK, "--output", "teacher3"]
        assert script("finetune", *third).code == 0
        arguments = ["teacher3" if each == "TEACHER3" else each for each in arguments]
    if "--no-teacher" in given:
        at = arguments.index("--teacher")
        arguments = [each for i, each in enumerate(arguments) if i not in (at, at + 1) and each != "--no-teacher"]
    if "pairs.tsv" in given and "--train" in given:
        arguments = [*arguments[:6], *arguments[10:]]  # without dev and test, whose texts are single
    left = script("finetune", *arguments)
    assert left.code == 2, (left.out, left.err)
    last = left.err.strip().splitlines()[-1]
    assert re.search(message, last), left.err
    assert "Traceback" not in left.err and not Path("out/task.json").exists()


def test_a_sentence_that_no_piece_is_left_of(script: Script, folder: Path, tmp_path: Path) -> None:
    write_conll(tmp_path / "train.conll", tagged(16))
    call = ["--model", folder, "--task", "tag", "--train", tmp_path / "train.conll", *QUICK]
    assert script("finetune", *call, "--output", tmp_path / "teacher").code == 0
    (tmp_path / "a.txt").write_text("\u200b\n", encoding="utf-8")
    call += ["--teacher", tmp_path / "teacher", "--unlabelled", tmp_path / "a.txt"]
    assert script("finetune", *call, "--output", tmp_path / "out").code == 0
