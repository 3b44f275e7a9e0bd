"""Pairs in both forms, one task or two: from files to predictions, folders, teachers, what is refused."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.tasks.conftest import QUICK, Left, entailments, opinions, similarities, write_csv
from tinydistil.base.errors import InputError
from tinydistil.evaluate.metrics import pearson, precision_recall_f1
from tinydistil.model.bert import BertModel
from tinydistil.model.config import BertConfig, read_config
from tinydistil.tasks.examples import LabelledText, ScoredText
from tinydistil.tasks.finetune_config import FineTuneConfig
from tinydistil.tasks.folder import FineTuned, load, make_task, model_of, new_model, save
from tinydistil.tasks.label_task import TextTask
from tinydistil.tasks.labelled import Columns, read_labelled
from tinydistil.tasks.soft_targets import SoftTargets
from tinydistil.tasks.task import JOINT, collate
from tinydistil.tasks.train_task import TaskObjective
from tinydistil.tokenizer.tokenizer import Tokenizer

Script = Callable[..., Left]


def scored(count: int, split: str = "train") -> list[ScoredText]:
    """Pairs with a number and a class that follows from it."""
    rows = similarities(count, split)
    return [ScoredText(r.text, r.second, "sim" if float(r.label) > 3 else "não", r.label) for r in rows]


def task_of(rows: list[LabelledText], vocabulary: Tokenizer, kind: str, **settings: object) -> TextTask:
    config = FineTuneConfig(max_length=48, **settings)  # type: ignore[arg-type]
    task = make_task(kind, rows, vocabulary, config, BertConfig(num_hidden_layers=2))
    assert isinstance(task, TextTask)
    return task


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """train.tsv, dev.tsv and test.tsv with the columns text, text_b, nota and classe."""
    for split, count in (("train", 40), ("dev", 12), ("test", 12)):
        rows = ["\t".join((r.text, str(r.second), r.number, r.label)) for r in scored(count, split)]
        text = "\n".join(["text\ttext_b\tnota\tclasse", *rows]) + "\n"
        (tmp_path / f"{split}.tsv").write_text(text, encoding="utf-8")
    return tmp_path


def call_of(pairs: Path, folder: Path, task: str, column: str) -> list[object]:
    files = [part for split in ("train", "dev", "test") for part in (f"--{split}", pairs / f"{split}.tsv")]
    return ["--model", folder, "--task", task, *files, "--label-column", column, *QUICK]


FORMS = [
    ("regress", [], "cosine"), ("regress", ["--set", "comparison=aligned"], "aligned"),
    ("regress", ["--form", "cross"], "cross"), ("classify", [], "aligned"), ("classify", ["--form", "cross"], "cross"),
    (JOINT, [], "aligned"), (JOINT, ["--form", "cross"], "cross"),
    ("classify,regress", ["--form", "siamese"], "aligned"),
]  # fmt: skip
COLUMNS = {"regress": "nota", "classify": "classe", JOINT: "nota,classe", "classify,regress": "classe,nota"}


@pytest.mark.parametrize(("task", "options", "form"), FORMS)
def test_from_files_to_predictions(
    task: str, options: list[str], form: str, script: Script, pairs: Path, folder: Path
) -> None:
    """A student of a teacher of its own kind and form, seeds, resume; predictions as the folder's own figures."""
    call = [*call_of(pairs, folder, task, COLUMNS[task]), *options]
    assert script("finetune", *call, "--output", pairs / "teacher").code == 0
    call += ["--teacher", pairs / "teacher", "--seeds", "1,2", "--output", pairs / "out"]
    done = script("finetune", *call)
    assert done.code == 0, done.err
    again = script("finetune", *call, "--resume")
    assert (again.code, again.out) == (0, done.out)
    out = pairs / "out" / "seed-1"
    known = json.loads((out / "task.json").read_text())
    assert known["form"] == form and known["kind"] == (JOINT if "," in task else task)
    rows = scored(12, "test")
    texts = [f"{row.text}\t{row.second}" for row in rows]
    told = script("predict", "classify", "--model", out, "--json", "--device", "cpu", *texts)
    lines = [json.loads(line) for line in told.out.splitlines()]
    figures = json.loads((out / "figures.json").read_text())["test"]
    if "regress" in task:
        numbers = [line["number"] for line in lines]
        assert figures["pearson"] == pytest.approx(pearson([float(row.number) for row in rows], numbers), abs=1e-4)
    if "classify" in task:
        gold, found = ([["não", "sim"].index(each) for each in labels]
                       for labels in ([row.label for row in rows], [line["label"] for line in lines]))  # fmt: skip
        assert figures["f1_macro"] == pytest.approx(precision_recall_f1(gold, found, average="macro").f1)
        assert all(sum(line["probabilities"].values()) == pytest.approx(1) for line in lines)
    if "," in task:
        assert next(iter(figures)) == "pearson_and_f1"
        assert figures["pearson_and_f1"] == pytest.approx((figures["pearson"] + figures["f1_macro"]) / 2)
    shown = script("predict", "classify", "--model", out, "--device", "cpu", texts[0])
    assert len(shown.out.splitlines()) == 1 and rows[0].text in shown.out
    assert ("transformers has no class for pairs" in done.err) == (form != "cross")


def test_grid_and_folds_of_pairs(script: Script, pairs: Path, folder: Path) -> None:
    call = [*call_of(pairs, folder, JOINT, "nota,classe"), "--output", pairs / "out"]
    done = script("finetune", *call, "--grid", "learning_rate=1e-5,0.002", "--folds", "2")
    assert done.code == 0 and "pearson_and_f1" in done.out, done.err
    balanced = script("finetune", *call[:-1], pairs / "b", "--set", "class_weights=balanced")
    assert balanced.code == 0, balanced.err


def test_deep_models_read_pairs_together(vocabulary: Tokenizer) -> None:
    config = FineTuneConfig(max_length=48)
    for layers, kind, form in ((5, "regress", "cosine"), (5, "classify", "aligned"), (6, "classify", "cross")):
        task = make_task(kind, entailments(12) if kind == "classify" else similarities(12), vocabulary, config,
                         BertConfig(num_hidden_layers=layers))  # fmt: skip
        assert isinstance(task, TextTask) and task.form == form
    assert task_of(opinions(12), vocabulary, "classify").form == "cross"


def test_each_text_is_cut_by_itself(vocabulary: Tokenizer) -> None:
    long = " ".join(row.text for row in opinions(9))
    rows = [LabelledText(long, "O livro.", "a"), LabelledText("O livro.", long, "b")]
    task = replace(task_of([*rows, *rows], vocabulary, "classify"), max_length=12)
    first, second = task.encode(rows)
    short = vocabulary.encode_all(["O livro."])[0].ids
    cut = vocabulary.encode_all([long], max_length=12)[0].ids
    assert first.ids.tolist() == cut + short and second.ids.tolist() == short + cut
    assert first.type_ids.tolist() == [0] * 12 + [1] * len(short) and first.ids[12] == vocabulary.cls_id


def test_numbers_come_on_the_scale_of_the_labels(folder: Path, vocabulary: Tokenizer, tmp_path: Path) -> None:
    """A line of least squares, as numpy fits it, kept in the folder; it never falls."""
    rows = similarities(30)
    task = task_of(rows, vocabulary, "regress")
    model = new_model(folder, task, pooling="pooler", seed=0)
    cosines = np.concatenate(task.predict(model, rows))
    gold = np.array([float(row.label) for row in rows])
    fitted = task.with_line(model, rows)
    slope, offset = np.polyfit(cosines, gold, 1)
    assert slope > 0 and fitted.line == pytest.approx((slope, offset), rel=1e-6)
    save(model, fitted, tmp_path)
    again = load(tmp_path, ("regress",))
    assert again.task == replace(fitted, tokenizer=again.task.tokenizer)
    np.testing.assert_allclose(
        np.concatenate(again.task.predict(again.model, rows)), slope * cosines + offset, rtol=1e-5
    )
    falling = task.with_line(model, [replace(row, label=str(-float(row.label))) for row in rows])
    assert 0 < falling.line[0] < 1e-5
    alike = task.with_line(model, [rows[0]] * 3)
    assert alike.line[0] > 0 and np.isfinite(alike.line).all()


def test_a_folder_of_cosines_is_one_of_sentence_vectors(script: Script, pairs: Path, folder: Path) -> None:
    done = script("finetune", *call_of(pairs, folder, "regress", "nota"), "--output", pairs / "out")
    assert done.code == 0, done.err
    out, texts = pairs / "out", [row.text for row in scored(6, "test")]
    encoder, tokenizer = BertModel.from_pretrained(out), Tokenizer.from_pretrained(out)
    expected = []
    for text in texts:
        batch = tokenizer.encode_batch([text], max_length=48)
        with torch.inference_mode():
            expected.append(encoder(batch.input_ids).last_hidden[0].mean(0).numpy())
    vectors = pairs / "vectors.npy"
    assert script("predict", "embed", "--model", out, "--device", "cpu", "--output", vectors, *texts).code == 0
    np.testing.assert_allclose(np.load(vectors), expected, atol=1e-5)
    tuned = load(out, ("regress",))
    (number,) = tuned.task.predict(tuned.model, [LabelledText(texts[0], texts[1], "")])
    slope, offset = tuned.task.line
    cosine = F.cosine_similarity(*map(torch.from_numpy, expected[:2]), dim=0).item()
    assert float(number[0]) == pytest.approx(slope * cosine + offset, abs=1e-4)
    theirs = pytest.importorskip("sentence_transformers")
    reference = theirs.SentenceTransformer(str(out), device="cpu")
    np.testing.assert_allclose(reference.encode(texts), expected, atol=1e-5)


def test_both_losses_of_two_tasks_by_hand(folder: Path, vocabulary: Tokenizer) -> None:
    rows = scored(6)
    task = task_of(rows, vocabulary, JOINT)
    assert task.labels == ("number", "não", "sim") and task.classes == ("não", "sim")
    model = new_model(folder, task, pooling="pooler", seed=0)
    soft = np.array([2.5, 1.0, -1.0], np.float32)
    batch = collate([replace(each, soft=soft) for each in task.encode(rows)], vocabulary.pad_id)
    weights = torch.tensor([0.5, 1.5])
    objective = TaskObjective(model, class_weights=weights, soft=0.25, temperature=3.0, joint=True)
    parts = objective(batch)
    with torch.no_grad():
        output = model(batch.input_ids, batch.attention_mask, batch.token_type_ids).double()
    numbers, logits = output[:, 0], output[:, 1:]
    gold = torch.tensor([float(row.number) for row in rows]).double()
    classes = torch.tensor([task.classes.index(row.label) for row in rows])
    hard = (numbers - gold).square().sum() + F.cross_entropy(logits, classes, weights.double(), reduction="none").sum()
    p = (torch.from_numpy(soft[1:]).double() / 3).softmax(0)
    divergence = 9 * (p * (p.log() - (logits / 3).log_softmax(1))).sum()
    assert parts["task"].total.item() == pytest.approx(hard.item(), rel=1e-5)
    expected = ((numbers - 2.5).square().sum() + divergence).item()
    assert parts["soft"].total.item() == pytest.approx(expected, rel=1e-5)
    assert objective.counts(batch) == {"task": 6, "soft": 6}


def test_a_teacher_of_the_other_form(folder: Path, vocabulary: Tokenizer) -> None:
    """What it predicts is of pairs; its classes may stand in another order."""
    rows = scored(12)
    siamese, cross = (task_of(rows, vocabulary, JOINT, form=form) for form in ("siamese", "cross"))
    teacher = FineTuned(new_model(folder, cross, pooling="mean", seed=0), cross)
    soft = np.array(SoftTargets(teacher, replace(siamese, labels=("number", "sim", "não"))).of_texts(rows), np.float64)
    predicted = np.array(cross.predict(teacher.model, rows))
    np.testing.assert_allclose(soft[:, 0], predicted[:, 0], rtol=1e-6)
    powers = np.exp(soft[:, 1:])
    np.testing.assert_allclose(powers / powers.sum(1, keepdims=True), predicted[:, :0:-1], rtol=1e-5)
    with pytest.raises(InputError, match="the teacher was fine-tuned to regress,classify"):
        SoftTargets(teacher, task_of(rows, vocabulary, "classify"))


def test_numbers_and_classes_of_files(tmp_path: Path) -> None:
    rows = "a\tb\t3.5\tsim\nc\td\t1\tnão\ne\tf\tmuito\tsim\ng\th\t2\t\ni\tj\t4\t1.0\n"
    (tmp_path / "x.tsv").write_text("text\ttext_b\tnota\tclasse\n" + rows, encoding="utf-8")
    data = read_labelled(tmp_path / "x.tsv", Columns(label="nota,classe"), numbers=True, classes=True)
    assert data.examples == (ScoredText("a", "b", "sim", "3.5"), ScoredText("c", "d", "não", "1"),
                             ScoredText("i", "j", "1", "4"))  # fmt: skip
    assert [(bad.line, bad.reason.split(",")[0]) for bad in data.bad] == [
        (4, "'nota' is 'muito'"), (5, "'classe' is empty")]  # fmt: skip
    pair = '<pair entailment="None" id="1" similarity="2.5"><t>um</t><h>dois</h></pair>'
    (tmp_path / "x.xml").write_text(f"<corpus>{pair}</corpus>")
    found = read_labelled(tmp_path / "x.xml", Columns(), numbers=True, classes=True).examples
    assert found == (ScoredText("um", "dois", "None", "2.5"),)


def test_older_folders_read_pairs_together(folder: Path, vocabulary: Tokenizer, tmp_path: Path) -> None:
    task = task_of(similarities(12), vocabulary, "regress", form="cross")
    model = new_model(folder, task, pooling="mean", seed=0)
    save(model, task, tmp_path)
    known = json.loads((tmp_path / "task.json").read_text())
    del known["form"]
    (tmp_path / "task.json").write_text(json.dumps(known))
    again = load(tmp_path, ("regress",))
    assert again.task.form == "cross" and type(again.model) is type(model)


@pytest.mark.parametrize(("kind", "change", "message"), [
    ("regress", {"form": "align"}, "form must be cross or cosine or aligned, got 'align'"),
    ("regress", {"form": ["cosine"]}, "form must be"), ("regress", {"form": None}, "form must be"),
    ("classify", {"form": "cosine"}, "form must be cross or aligned"),
    ("regress", {"paired": False}, "form must be cross"), ("regress", {"form": "aligned"}, "lacks 'compare.weight'"),
    ("regress", {"line": [0, 1]}, "line must be two finite numbers"), ("regress", {"line": "1,2"}, "line must be"),
    ("regress", {"line": [1]}, "line must be"), ("regress", {"line": [True, 0]}, "line must be"),
    ("regress", {"line": [1e999, 0]}, "line must be|JSON"), ("regress", {"line": None}, "line must be"),
])  # fmt: skip
def test_odd_folders(
    kind: str, change: dict[str, object], message: str, folder: Path, vocabulary: Tokenizer, tmp_path: Path
) -> None:
    task = task_of(similarities(12) if kind == "regress" else entailments(12), vocabulary, kind)
    save(model_of(task)(read_config(folder / "config.json").replace(**task.changes, pooling="mean")), task, tmp_path)
    assert load(tmp_path, (kind,)).task.form == task.form
    known = json.loads((tmp_path / "task.json").read_text())
    (tmp_path / "task.json").write_text(json.dumps(known | change))
    with pytest.raises(InputError, match=message):
        load(tmp_path, (kind,))


ONE = ["--task", "classify", "--label-column", "label", "--train", "one.tsv", "--dev", "one.tsv", "--test", "one.tsv"]
BAD = {
    "siamese on single texts": ("form 'siamese' is for pairs", [*ONE, "--form", "siamese"]),
    "cross on single texts": ("form 'cross' is for pairs", [*ONE, "--form", "cross"]),
    "a comparison of single texts": ("comparison 'aligned' is for pairs", [*ONE, "--set", "comparison=aligned"]),
    "form of tags": ("form and comparison are for pairs of texts, the task is to tag",
                     ["--task", "tag", "--train", "x.conll", "--form", "cross"]),
    "comparison of answers": ("the task is to answer",
                              ["--task", "answer", "--train", "x.json", "--set", "comparison=aligned"]),
    "comparison without siamese": ("comparison 'cosine' is for pairs in the form 'siamese'",
                                   ["--form", "cross", "--set", "comparison=cosine"]),
    "cosine of classes": ("gives a number and no class", ["--task", "classify", "--label-column", "classe", "--set",
                                                          "comparison=cosine"]),
    "cosine of both": ("gives a number and no class", ["--task", JOINT, "--label-column", "nota,classe", "--set",
                                                       "comparison=cosine"]),
    "unknown form": ("invalid choice: 'siames'", ["--form", "siames"]),
    "unknown comparison": ("did you mean 'cosine'", ["--set", "comparison=cosin"]),
    "pooling of siamese": ("pooling 'max' is for the form 'cross'", ["--set", "pooling=max"]),
    "grid of poolings": ("pooling 'cls' is for the form 'cross'", ["--grid", "pooling=mean,cls"]),
    "grid of forms": ("--grid cannot vary 'form'", ["--grid", "form=siamese,cross"]),
    "grid of comparisons": ("--grid cannot vary 'comparison'", ["--grid", "comparison=cosine,aligned"]),
    "two tasks, one column": ("a number and a class stand in two columns", ["--task", JOINT]),
    "two tasks, three columns": ("stand in two columns", ["--task", JOINT, "--label-column", "nota,classe,nota"]),
    "two tasks, no such column": ("no column 'clase'; did you mean", ["--task", JOINT, "--label-column", "nota,clase"]),
    "two tasks, turned columns": ("'classe' is '...', no finite number",
                                  ["--task", JOINT, "--label-column", "classe,nota"]),
    "three tasks": ("invalid choice", ["--task", "regress,classify,tag"]),
    "tags and classes": ("invalid choice", ["--task", "classify,tag"]),
    "cosine with class weights": ("class_weights need classes", ["--set", "class_weights=balanced"]),
    "negative share": ("--hold-out must be in 0..0.9", ["--hold-out", "-0.1"]),
    "all rows": ("--hold-out must be in 0..0.9", ["--hold-out", "1"]),
    "no share": ("--hold-out.*tudo", ["--hold-out", "tudo"]),
    "share of nothing": ("--hold-out must be in", ["--hold-out", "nan"]),
    "connected rows": ("--hold-out 0.2 would hold out no row", ["--train", "same.tsv", "--hold-out", "0.2"]),
    "patience without a choice": ("patience needs --dev, a development set, or --hold-out",
                                  ["--dev=", "--set", "patience=2"]),
    "teacher of one of two tasks": ("the student is asked to regress,classify",
                                    ["--task", JOINT, "--label-column", "nota,classe", "--teacher", "teacher"]),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input(
    name: str, script: Script, pairs: Path, folder: Path, vocabulary: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line on standard error, exit code 2, no traceback, nothing written."""
    message, options = BAD[name]
    monkeypatch.chdir(pairs)
    write_csv(pairs / "one.tsv", opinions(30))
    (pairs / "x.conll").write_text("a B-X\nb O\n")
    asked = {"id": "1", "question": "Quem?", "answers": [{"text": "gato", "answer_start": 2}]}
    (pairs / "x.json").write_text(json.dumps({"data": [{"paragraphs": [{"context": "O gato.", "qas": [asked]}]}]}))
    same = [LabelledText("a", f"texto {i}", "1") for i in range(60)]
    lines = ["text\ttext_b\tnota", *(f"{row.text}\t{row.second}\t{i}" for i, row in enumerate(same))]
    (pairs / "same.tsv").write_text("\n".join(lines) + "\n")
    task = task_of(similarities(12), vocabulary, "regress")
    save(new_model(folder, task, pooling="mean", seed=0), task, pairs / "teacher")
    call = call_of(pairs, folder, "regress", "nota")
    if options[0] == "--dev=":
        call = [part for i, part in enumerate(call) if "--dev" not in (part, call[i - 1])]
        options = options[1:]
    if options[:2] in (["--task", "tag"], ["--task", "answer"]):
        call = [*call[:6], *QUICK]
    left = script("finetune", *call, "--output", pairs / "out", *options)
    assert left.code == 2 and "Traceback" not in left.err, (left.out, left.err)
    last = left.err.strip().splitlines()[-1]
    assert re.search(message, last) or message in last, left.err
    assert not (pairs / "out").exists()


def test_a_class_called_as_numbers_are(vocabulary: Tokenizer) -> None:
    rows = [replace(row, label="number" if row.label == "sim" else "não") for row in scored(12)]
    with pytest.raises(InputError, match="a class is called 'number', as numbers are; rename it"):
        task_of(rows, vocabulary, JOINT)


def test_evaluate_tunes_pairs_apart(script: Script, folder: Path, suite_data: Path, tmp_path: Path) -> None:
    """Figures of the table are those of the folder with its line; a development set that leaks does not choose."""
    data = shutil.copytree(suite_data, tmp_path / "data")
    shutil.copy(data / "assin2" / "assin2-train-only.xml", data / "assin2" / "assin2-dev.xml")
    call = ["--model", f"pequeno={folder}", "--data", data, "--parts", "similarity_tuned,entailment", *QUICK]
    done = script("evaluate", *call, "--set", "stride=12", "--output", tmp_path / "out")
    assert done.code == 0, done.err
    for part, form in (("similarity_tuned", "cosine"), ("entailment", "aligned")):
        seed = tmp_path / "out" / "pequeno" / part / "seed-1"
        assert json.loads((seed / "task.json").read_text())["form"] == form
        result = json.loads((tmp_path / "out" / "pequeno" / f"{part}.json").read_text())
        figures = json.loads((seed / "figures.json").read_text())
        assert figures.keys() == {"held_out", "dev", "test"}
        assert "best weights on held-out rows" in result["protocol"]
        for name, value in figures["test"].items():
            assert result["figures"][name]["value"] == pytest.approx(value, rel=1e-6), name


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("task", ["regress", JOINT])
def test_half_precision(task: str, precision: str, script: Script, pairs: Path, folder: Path) -> None:
    call = [*call_of(pairs, folder, task, COLUMNS[task]), "--output", pairs / "out", "--set", f"precision={precision}"]
    done = script("finetune", *call, "--set", "accumulation=2")
    assert done.code == 0, done.err
    known = json.loads((pairs / "out" / "figures.json").read_text())["test"]
    assert all(value is not None for value in known.values())
