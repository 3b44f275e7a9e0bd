"""The folder of a fine-tuning run: bound to content, never blocked by a leftover; what is refused leaves nothing."""

import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.metrics import accuracy_score, f1_score

from tests.tasks.conftest import QUICK, Left, classify, opinions, similarities, write_csv
from tinydistil.base.errors import STOPPED_EXIT_CODE, InputError, Interrupted
from tinydistil.model.config import BertConfig
from tinydistil.tasks import finetune as runs
from tinydistil.tasks import grid as grids
from tinydistil.tasks.examples import LabelledText
from tinydistil.tasks.finetune import mean_and_deviation
from tinydistil.tasks.finetune_config import settings_for
from tinydistil.tasks.folder import new_model
from tinydistil.tasks.label_task import TextTask
from tinydistil.tasks.task_output import finite_or_none
from tinydistil.tokenizer.tokenizer import Tokenizer

Script = Callable[..., Left]


def edited(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def other_weights(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file({name: tensor + 0.01 for name, tensor in weights.items()}, folder / "model.safetensors")


def fewer_rows(path: Path) -> None:
    path.write_text("\n".join(path.read_text(encoding="utf-8").splitlines()[:-1]) + "\n", encoding="utf-8")


CHANGES: dict[str, tuple[str, Callable[[Path], object], list[str]]] = {
    "other rows, as many": ("content.dev = '12 rows, ", lambda d: edited(d / "dev.tsv", "\tp", "!\tp"), []),
    "fewer training rows": ("content.train = '40 rows, .*now it is '39", lambda d: fewer_rows(d / "train.tsv"), []),
    "another test set": ("content.test", lambda d: shutil.copy(d / "dev.tsv", d / "test.tsv"), []),
    "no test set": ("content.test = '12 rows, .*', now it is ''", lambda d: None, ["--test", ""]),
    "other weights": ("content.model", lambda d: other_weights(d / "model"), []),
    "another vocabulary": ("content.model", lambda d: edited(d / "model" / "vocab.txt", "[PAD]\n", "[PAD]\n[X]\n"), []),
    "other teacher weights": ("content.teacher", lambda d: other_weights(d / "teacher"), []),
    "no teacher": ("soft = 0.5, now it is 0.0", lambda d: None, ["--teacher", ""]),
    "other seeds": (r"seeds\[1\] = 2, now it is 3", lambda d: None, ["--seeds", "1,3"]),
    "more seeds": (r"seeds\[2\] = None, now it is 3", lambda d: None, ["--seeds", "1,2,3"]),
    "another setting": ("learning_rate = 0.002, now it is 0.003", lambda d: None, ["--set", "learning_rate=3e-3"]),
    "synonyms, a column apart": ("augment.copies = 0, now it is 1", lambda d: None, ["--set", "augment.copies=1"]),
    "folds": ("folds = None, now it is 2|grid", lambda d: None, ["--grid", "epochs=1", "--folds", "2"]),
}  # fmt: skip


WHOLE: list[Path] = []  # one run serves all cases


@pytest.fixture
def begun(script: Script, folder: Path, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Path:
    """A folder of one's own with data, model, teacher, and in `out` a whole run of two seeds."""
    if not WHOLE:
        path = tmp_path_factory.mktemp("begun")
        for split, count in (("train", 40), ("dev", 12), ("test", 12)):
            write_csv(path / f"{split}.tsv", opinions(count, split))
        shutil.copytree(folder, path / "model")
        assert script("finetune", *call(path)[:6], *QUICK, "--output", path / "teacher").code == 0
        done = script("finetune", *call(path))
        assert done.code == 0, done.err
        WHOLE.append(path)
    return Path(shutil.copytree(WHOLE[0], tmp_path / "begun"))


def call(path: Path) -> list[object]:
    return [*classify(path, path / "model"), "--teacher", path / "teacher", "--seeds", "1,2", "--output", path / "out"]


def test_the_same_content_elsewhere_goes_on(script: Script, begun: Path) -> None:
    again = script("finetune", *call(begun), "--resume")
    assert again.code == 0 and "test accuracy" in again.out and "step" not in again.err, again.err


@pytest.mark.parametrize("name", CHANGES)
def test_resume_names_what_differs(name: str, script: Script, begun: Path) -> None:
    message, change, arguments = CHANGES[name]
    before = {path: path.read_bytes() for path in (begun / "out").rglob("*.json")}
    change(begun)
    given = [each for each in map(str, call(begun))]
    for option, value in zip(arguments[::2], arguments[1::2], strict=True):
        if option in given and not value:
            del given[given.index(option) : given.index(option) + 2]
        elif value:
            given += [option, value]
    left = script("finetune", *given, "--resume")
    assert left.code == 2 and re.search(f"was begun with .*{message}", left.err), left.err
    assert before == {path: path.read_bytes() for path in (begun / "out").rglob("*.json")}


def test_renamed_labels_are_another_run(script: Script, files: Path, folder: Path) -> None:
    arguments = [*classify(files, folder), "--output", files / "out"]
    assert script("finetune", *arguments).code == 0
    for split in ("train", "dev", "test"):
        edited(files / f"{split}.tsv", "neutral", "neutro")
    left = script("finetune", *arguments, "--resume")
    assert left.code == 2 and "begun with content.labels[1] = 'neutral', now it is 'neutro'" in left.err, left.err


@pytest.mark.parametrize("damage", ["", "{", "null", "[1]", '{"dev": 3}', '{"dev": {"f1_macro": "x"}}'])
@pytest.mark.parametrize("file", ["seed-1/figures.json", "summary.json", "seed-2/task.json", "seed-2/metrics.jsonl"])
def test_damaged_leftovers_are_made_again(file: str, damage: str, script: Script, begun: Path) -> None:
    """From the weights that are there; a damaged task.json matters only where the figures are gone."""
    whole = json.loads((begun / "out" / "summary.json").read_text())
    (begun / "out" / file).write_text(damage)
    left = script("finetune", *call(begun), "--resume")
    assert left.code == 0, left.err
    assert json.loads((begun / "out" / "summary.json").read_text()) == whole


def test_a_damaged_record_has_a_remedy(script: Script, begun: Path) -> None:
    whole = script("finetune", *call(begun), "--resume").out
    for damage in ("", "{", "7"):
        (begun / "out" / "run.json").write_text(damage)
        left = script("finetune", *call(begun), "--resume")
        assert left.code == 2 and "delete it to go on" in left.err, left.err
    (begun / "out" / "run.json").unlink()
    assert "holds a run already; go on with --resume" in script("finetune", *call(begun)).err
    assert script("finetune", *call(begun), "--resume").out == whole
    assert script("finetune", *call(begun), "--resume", "--seeds", "1,3").code == 2  # bound again


def test_the_model_is_written_before_it_is_measured(
    script: Script, files: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that ends in measuring has its weights, and goes on from them: no step is repeated."""
    arguments = [*classify(files, folder), "--output", files / "out"]
    measured = runs.measured

    def failing(task: object, model: object, rows: object) -> object:
        if len(rows) == 12 and (files / "out" / "task.json").is_file():  # type: ignore[arg-type]
            raise MemoryError
        return measured(task, model, rows)  # type: ignore[type-var, arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(runs, "measured", failing)
        left = script("finetune", *arguments)
    assert left.code == 2 and "out of memory" in left.err
    weights = load_file(files / "out" / "model.safetensors")
    shutil.rmtree(files / "out" / "checkpoints")
    resumed = script("finetune", *arguments, "--resume")
    assert resumed.code == 0 and "best dev" not in resumed.err, resumed.err
    whole = script("finetune", *arguments[:-1], files / "whole")
    assert resumed.out == whole.out
    again = load_file(files / "whole" / "model.safetensors")
    assert all(torch.equal(weights[name], again[name]) for name in again)


def test_damaged_weights_are_trained_again(script: Script, files: Path, folder: Path) -> None:
    arguments = [*classify(files, folder), "--output", files / "out"]
    whole = script("finetune", *arguments)
    (files / "out" / "figures.json").unlink()
    (files / "out" / "model.safetensors").write_bytes(b"")
    resumed = script("finetune", *arguments, "--resume")
    assert resumed.code == 0 and resumed.out == whole.out and "trained again" in resumed.err


REFUSED: dict[str, tuple[str, list[str]]] = {
    "no such file": ("does not exist", ["--dev", "none.tsv"]),
    "no such model": ("does not exist|no such folder", ["--model", "none/at/all"]),
    "unseen labels only": ("training had none of its labels", ["--test", "other.tsv"]),
    "pairs": ("row 1 must be a single text; leave --dev out", ["--dev", "pairs.tsv"]),
    "too many frozen layers in a grid": ("freeze_layers must be <= 2, got 3", ["--grid", "freeze_layers=0,3"]),
    "unknown precision in a grid": ("precision must be one of", ["--grid", "precision=float32,int4"]),
    "a class that one fold holds": ("fold . holds out all of 'rare'",
                                    ["--train", "rare.tsv", "--grid", "epochs=1", "--set", "class_weights=balanced"]),
    "soft targets in a grid, without a teacher": ("soft > 0 needs --teacher", ["--grid", "soft=0,0.5"]),
    "patience in a grid, whose folds have no dev": ("--grid cannot vary 'patience'", ["--grid", "patience=1,2"]),
    "no folds": ("folds must be in 2..40, got 0", ["--grid", "epochs=1", "--folds", "0"]),
    "fewer than no folds": ("folds must be in 2..40, got -3", ["--grid", "epochs=1", "--folds=-3"]),
    "seed beyond 64 bits": ("seed must fit 64 bits", ["--seeds", f"1,{2**63}"]),
    "a grid of too many": ("has 160,000 combinations", [each for name in ("epochs", "batch_size", "freeze_layers",
                           "temperature") for each in ("--grid", f"{name}={','.join(map(str, range(1, 21)))}")]),
    "a value twice in a grid": ("twice", ["--grid", "epochs=1,1"]),
    "copies beyond memory": ("augment.copies must be <= ", ["--set", "augment.copies=1000", "--train", "long.tsv"]),
    "one row to test a regression": ("--test: 1 row: a correlation needs at least two", ["--task", "regress"]),
    "teacher of other classes": ("the teacher was fine-tuned", ["--teacher", "teacher"]),
    "not finite after the last step, no dev": ("predictions are not finite; lower learning_rate",
                                               ["--dev", "", "--set", "learning_rate=1e37", "--set", "batch_size=40"]),
    "not finite on dev": ("predictions are not finite", ["--set", "learning_rate=1e37", "--set", "batch_size=40"]),
    "seeds that are none": ("--seeds must be whole numbers", ["--seeds", ""]),
    "not finite from the first step": ("not finite", ["--set", "learning_rate=1e37", "--set", "epochs=20"]),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_leaves_nothing(
    name: str, script: Script, files: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before any training, and the corrected command is welcome in the same folder."""
    message, arguments = REFUSED[name]
    monkeypatch.chdir(files)
    write_csv(files / "other.tsv", [LabelledText("a", None, "novo")])
    write_csv(files / "pairs.tsv", [LabelledText("a", "b", "positive")])
    write_csv(files / "rare.tsv", [*opinions(39), LabelledText("a", None, "rare")])
    if name == "copies beyond memory":
        monkeypatch.setattr("os.sysconf", lambda field: 1 << 10)
        write_csv(files / "long.tsv", [LabelledText("a " * 400, None, row.label) for row in opinions(40)])
    sound = [*map(str, classify(files, folder)[:8]), *QUICK, "--output", "out"]
    if "regress" in arguments:
        numbers = [LabelledText(row.text, None, row.label) for row in similarities(40)]
        write_csv(files / "numbers.tsv", numbers)
        write_csv(files / "one.tsv", numbers[:1])
        arguments = [*arguments, "--train", "numbers.tsv", "--dev", "numbers.tsv", "--test", "one.tsv"]
    if "--teacher" in arguments:
        rows = [LabelledText(row.text, None, "x" if row.label == "positive" else "y") for row in opinions(20)]
        write_csv(files / "xy.tsv", rows)
        made = ["--model", folder, "--task", "classify", "--train", files / "xy.tsv", "--output", files / "teacher"]
        assert script("finetune", *made, *QUICK).code == 0
    left = script("finetune", *sound, *arguments)
    assert left.code == 2 and re.search(message, left.err.splitlines()[-1]), left.err
    assert name.startswith("not finite") or not (files / "out").exists()
    # A run that had a checkpoint is not thrown away.
    assert script("finetune", *sound).code == (2 if list((files / "out").glob("checkpoints/step-*")) else 0)


def test_a_folder_of_others_is_left_alone(script: Script, files: Path, folder: Path) -> None:
    """A model, a distilled run that has no step yet, a file: none is written into, not even with --resume."""
    encoder = Path(shutil.copytree(folder, files / "encoder"))
    distilled = files / "distilled"
    (distilled / "shards").mkdir(parents=True)
    (distilled / "run.json").write_text("{}")
    (files / "file").write_text("")
    for place in (encoder, distilled, files / "file"):
        before = sorted(place.rglob("*"))
        for resume in ([], ["--resume"]):
            left = script("finetune", *classify(files, folder), "--output", place, *resume)
            assert left.code == 2 and re.search("did not write|is a file", left.err), left.err
        assert sorted(place.rglob("*")) == before


def test_labels_that_training_lacks_count_as_wrong(script: Script, files: Path, folder: Path) -> None:
    """F1 and accuracy are scikit-learn's, to whom an unseen label is a class like others."""
    rows = [*opinions(11, "dev"), LabelledText("a", None, "positivo"), LabelledText("b", None, "neutra")]
    write_csv(files / "dev.tsv", rows)
    done = script("finetune", *classify(files, folder), "--output", files / "out")
    assert done.code == 0, done.err
    assert "labels of " in done.err and "0 'negative' (" in done.err and "2 'positive' (" in done.err
    said = "labels that training did not have count as wrong: 'positivo' (1), 'neutra' (1); did you mean 'positive'"
    assert f"--dev: {said}" in done.err
    told = script("predict", "classify", "--model", files / "out", "--json", "--device", "cpu", *(r.text for r in rows))
    predicted = [json.loads(line)["label"] for line in told.out.splitlines()]
    gold = [row.label for row in rows]
    figures = json.loads((files / "out" / "figures.json").read_text())["dev"]
    assert figures["f1_macro"] == pytest.approx(f1_score(gold, predicted, average="macro", zero_division=0))
    assert figures["accuracy"] == pytest.approx(accuracy_score(gold, predicted))


def test_undefined_figures(script: Script, files: Path, folder: Path) -> None:
    """Predictions that do not vary (every text the same): no correlation, null in JSON, no crash in grid or seeds."""
    same = [LabelledText("o mesmo texto", None, str(number)) for number in range(12)]
    write_csv(files / "same.tsv", same)
    sound = ["--model", folder, "--task", "regress", "--train", files / "same.tsv", "--dev", files / "same.tsv", *QUICK]
    done = script("finetune", *sound, "--seeds", "1,2", "--grid", "learning_rate=1e-3,2e-3", "--folds", "3",
                  "--output", files / "out")  # fmt: skip
    assert done.code == 0, done.err
    assert "undefined on a fold" in done.out and re.search("dev pearson +undefined", done.out)
    assert "no combination has a defined figure" in done.out and "dev_pearson was undefined throughout" in done.err
    for name in ("grid.json", "summary.json", "seed-1/figures.json", "seed-1/metrics.jsonl"):
        assert "NaN" not in (files / "out" / name).read_text()
    again = script("finetune", *sound, "--seeds", "1,2", "--grid", "learning_rate=1e-3,2e-3", "--folds", "3",
                   "--output", files / "out", "--resume")  # fmt: skip
    results = [line for line in done.out.splitlines() if re.search("fold [0-9]", line) is None]
    assert again.code == 0 and again.out.splitlines() == results


def test_mean_and_deviation() -> None:
    assert mean_and_deviation([1.0, 3.0]) == pytest.approx((2.0, 2**0.5)) and mean_and_deviation([4.0]) == (4.0, 0.0)
    assert all(math.isnan(each) for each in mean_and_deviation([1.0, math.nan]))
    assert finite_or_none({"a": [math.nan, 1.0], "b": {"c": (math.nan,)}}) == {"a": [None, 1.0], "b": {"c": [None]}}


def test_a_grid_goes_on_fold_by_fold(
    script: Script, files: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [*classify(files, folder), "--grid", "epochs=1,2", "--folds", "2", "--output", files / "out"]
    whole = script("finetune", *arguments[:-1], files / "whole")
    trained, count = grids.trained, 0

    def stopped_at_the_fourth(*given: object, **options: object) -> object:
        nonlocal count
        count += 1
        if count == 4:
            raise Interrupted
        return trained(*given, **options)  # type: ignore[arg-type]

    for module in (runs, grids):
        monkeypatch.setattr(module, "trained", stopped_at_the_fourth)
    assert script("finetune", *arguments).code == STOPPED_EXIT_CODE
    resumed = script("finetune", *arguments, "--resume")
    assert resumed.code == 0 and count == 6  # the fourth fold and the model itself were left
    table = [line for line in whole.out.splitlines() if " fold " not in line]
    assert [line for line in resumed.out.splitlines() if " fold " not in line] == table
    (files / "out" / "grid.json").write_text('{"epochs": [1,')
    assert script("finetune", *arguments, "--resume").code == 0 and count == 10


def test_defaults_follow_the_models_width() -> None:
    shape = BertConfig(vocab_size=9, hidden_size=128, num_attention_heads=2, max_position_embeddings=512)
    small = settings_for("classify", shape, {})
    base_shape = shape.replace(hidden_size=768, num_attention_heads=12)
    base = settings_for("classify", base_shape, {})
    assert (base.learning_rate, base.epochs) == (5e-5, 3) and small.learning_rate > 5 * base.learning_rate
    assert settings_for("tag", shape, {}).max_length == 256 and settings_for("answer", shape, {}).stride == 64
    assert settings_for("answer", shape, {"max_length": 100}).stride == 25
    assert settings_for("answer", shape, {"max_length": 100, "stride": 7, "epochs": 1.5}).stride == 7
    assert settings_for("tag", shape.replace(max_position_embeddings=96), {}).max_length == 96
    with pytest.raises(InputError, match="unknown option 'epoch'"):
        settings_for("tag", shape, {"epoch": 1})
    # Few rows are read more often, to 300 steps, unless somebody says how often, or the model is a large one.
    found = [settings_for("classify", shape, {}, rows).epochs for rows in (1, 100, 500, 960, 6500)]
    assert found == [300, 75, 19, small.epochs, small.epochs]
    assert settings_for("classify", shape, {"epochs": 2}, 100).epochs == 2
    assert settings_for("classify", shape, {"batch_size": 10}, 100).epochs == 30
    assert settings_for("classify", base_shape, {}, 100).epochs == 3


def test_what_takes_long_says_how_long(
    folder: Path, vocabulary: Tokenizer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    task = TextTask.of("classify", opinions(40), vocabulary, 48)
    model = new_model(folder, task, pooling="mean", seed=0)
    monkeypatch.setattr("tinydistil.tasks.task.SAY_EVERY_S", 0.0)
    task.predict(model, opinions(40), batch_size=20)
    assert re.match("predicted 20 of 40 examples, [0-9]+ s left", capsys.readouterr().err)
