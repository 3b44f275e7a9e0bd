"""The folder of an evaluation: what is kept is bound to content, damage is measured again, others' files stay."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.tasks.conftest import Left, opinions
from tinydistil.evaluate import results
from tinydistil.evaluate.evaluation import ownership
from tinydistil.evaluate.parts import open_models
from tinydistil.tasks import finetune as finetune_run

Script = Callable[..., Left]
QUICK = ("--set", "epochs=1", "--set", "max_length=48", "--set", "batch_size=8", "--device", "cpu")


@pytest.fixture
def model(folder: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(folder, tmp_path / "models" / "pequeno"))


@pytest.fixture
def data(suite_data: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(suite_data, tmp_path / "tasks"))


def figures(output: Path, part: str, model: str = "pequeno") -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = json.loads((output / "table.json").read_text())["models"][model][part][
        "figures"
    ]
    return found


def change_weights(model: Path) -> None:
    weights = load_file(model / "model.safetensors")
    name = next(name for name in weights if "word_embeddings" in name)
    weights[name] = weights[name].flip(0).contiguous()
    save_file(weights, model / "model.safetensors", {"format": "pt"})


def change_tokenizer(model: Path) -> None:
    path = next(path for path in (model / "tokenizer.json", model / "vocab.txt") if path.is_file())
    path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")


def change_data(data: Path) -> None:
    path = data / "assin2" / "assin2-test.xml"
    path.write_text(path.read_text(encoding="utf-8").replace('similarity="1', 'similarity="4'), encoding="utf-8")


CHANGES = {
    "weights": ("weights have changed", change_weights, "model"),
    "tokenizer": ("tokenizer has changed", change_tokenizer, "model"),
    "data": ("assin2/assin2-test.xml has changed", change_data, "data"),
    "configuration": (
        "configuration has changed", lambda model: (model / "sentence_bert_config.json").write_text("{}"), "model"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_what_lies_under_the_same_path_is_measured(
    name: str, script: Script, model: Path, data: Path, tmp_path: Path
) -> None:
    said, change, what = CHANGES[name]
    call = ["--model", model, "--data", data, "--parts", "similarity", "--device", "cpu"]
    assert script("evaluate", *call, "--output", tmp_path / "out").code == 0
    again = script("evaluate", *call, "--output", tmp_path / "out")
    assert "measur" not in again.err
    change({"model": model, "data": data}[what])
    changed, fresh = (script("evaluate", *call, "--output", tmp_path / out) for out in ("out", "new"))
    assert f"pequeno · similarity: {said}" in changed.err and "measured again" in changed.err
    assert (changed.code, changed.out) == (0, fresh.out)
    assert (changed.out == again.out) == (name in ("tokenizer", "configuration"))


def test_tuned_seeds_are_of_the_same_weights_and_data(script: Script, model: Path, data: Path, tmp_path: Path) -> None:
    call = ["--model", model, "--data", data, "--parts", "sentiment", *QUICK]
    assert script("evaluate", *call, "--output", tmp_path / "out").code == 0
    lines = (data / "sentiment" / "train.csv").read_text(encoding="utf-8").splitlines()
    (data / "sentiment" / "train.csv").write_text("\n".join(lines[:-9]) + "\n", encoding="utf-8")
    changed, fresh = (script("evaluate", *call, "--output", tmp_path / out) for out in ("out", "new"))
    assert "sentiment/train.csv has changed" in changed.err and changed.code == 0
    assert changed.out == fresh.out and "fine-tuned on 39 rows" in changed.out


def test_more_seeds_go_on(
    script: Script, model: Path, suite_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = ["--model", model, "--data", suite_data, "--parts", "similarity,sentiment", *QUICK]
    output = tmp_path / "out"
    assert script("evaluate", *call, "--parts", "similarity", "--output", output).code == 0
    assert script("evaluate", *call, "--output", output).code == 0
    weights = output / "pequeno" / "sentiment" / "seed-1" / "model.safetensors"
    stamp = weights.stat().st_mtime_ns
    both = script("evaluate", *call, "--seeds", "2", "--output", output)
    assert both.code == 0 and "measured with 1 seeds, now 2; those there are kept" in both.err
    assert "similarity: measuring" not in both.err and weights.stat().st_mtime_ns == stamp
    assert "pequeno · sentiment · seed 2: step" in both.err and "seed 1: step" not in both.err
    assert figures(output, "sentiment")["f1_macro"]["deviation"] is not None
    monkeypatch.setattr(finetune_run, "fine_tune", None)  # one seed again: nothing is trained
    one = script("evaluate", *call, "--output", output)
    assert one.code == 0 and figures(output, "sentiment")["f1_macro"]["deviation"] is None


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("once") / "out"


@pytest.fixture
def call(script: Script, folder: Path, suite_data: Path, once: Path, tmp_path: Path) -> list[object]:
    """The command of an evaluation of similarity, whose output, measured once for all tests, is a copy."""
    call = ["--model", f"pequeno={folder}", "--data", suite_data, "--parts", "similarity", "--device", "cpu"]
    if not once.exists():
        assert script("evaluate", *call, "--output", once).code == 0
    return [*call, "--output", shutil.copytree(once, tmp_path / "out")]


REFUSED = {
    "pooling": (["--pooling", "cls"], "pooling = 'mean', now it is 'cls'"),
    "prefix": (["--prefix", "query: "], "prefix = '', now it is 'query: '"),
    "setting": (["--set", "learning_rate=0.5"], "learning_rate = 0.001, now it is 0.5"),
    "table of settings": (["--set", "augment.copies=2"], "augment.copies = 0, now it is 2"),
}


@pytest.fixture(scope="module")
def measured(folder: Path, suite_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output with similarity and sentiment of the model "pequeno"."""
    return tmp_path_factory.mktemp("measured") / "out"


@pytest.mark.parametrize("name", REFUSED)
def test_other_options_are_refused_for_parts_that_depend_on_them(
    name: str, script: Script, folder: Path, suite_data: Path, measured: Path
) -> None:
    call = ["--model", f"pequeno={folder}", "--data", suite_data, "--output", measured, *QUICK]
    assert script("evaluate", *call, "--parts", "similarity,sentiment").code == 0
    options, said = REFUSED[name]
    left = script("evaluate", *call, "--parts", "similarity,sentiment", *options)
    assert left.code == 2 and said in left.err and "or another --output" in left.err
    other = "similarity" if "--set" in options else "sentiment"
    left = script("evaluate", *call, "--parts", other, *options)
    assert left.code == 0 and "measuring" not in left.err and f"{options[0]} has no effect on the parts" in left.err


DAMAGE = {
    "empty": b"", "half": b'{"origin": {"content"', "list": b"[1, 2]", "number": b"3", "no UTF-8": b"\xff\xfe{}",
    "deep": b"[" * 5000, "nothing": b"{}", "figures of another type": b'{"figures": 3}', "earlier version": None,
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_result_is_measured_again(
    name: str, script: Script, call: list[object], once: Path, tmp_path: Path
) -> None:
    path, data = tmp_path / "out" / "pequeno" / "similarity.json", DAMAGE[name]
    values = json.loads(path.read_text())
    del values["origin"], values["rows"]
    path.write_bytes(json.dumps(values).encode() if data is None else data)
    left = script("evaluate", *call)
    assert (left.code, left.out) == (0, (once / "table.md").read_text()) and "measured again" in left.err, left.err
    assert "measur" not in script("evaluate", *call).err


@pytest.mark.parametrize(
    ("field", "value"),
    [("figures", []), ("figures", {}), ("figures", {"pearson": 3}), ("figures", {"pearson": {"value": "0.9"}}),
     ("figures", {"pearson": {"value": None}}), ("figures", {"pearson": {"value": True}}),
     ("figures", {"pearson": {"value": 0.9, "more": 1}}), ("protocol", 7), ("origin", []), ("origin", {"content": 1}),
     ("origin", {"content": {}, "options": 3, "seeds": 1}), ("rows", "0" * 64), ("rows", None)],
)  # fmt: skip
def test_values_of_other_types_are_measured_again(
    field: str, value: object, script: Script, call: list[object], once: Path, tmp_path: Path
) -> None:
    path = tmp_path / "out" / "pequeno" / "similarity.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    left = script("evaluate", *call)
    assert (left.code, left.out) == (0, (once / "table.md").read_text()) and "measured again" in left.err, left.err


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", None])
def test_damaged_rows_are_measured_again(
    damage: bytes | None, script: Script, call: list[object], once: Path, tmp_path: Path
) -> None:
    rows = tmp_path / "out" / "pequeno" / "similarity.npy"
    if damage is None:
        np.save(rows, np.load(rows)[::-1])
    else:
        rows.write_bytes(damage)
    left = script("evaluate", *call)
    assert (left.code, left.out) == (0, (once / "table.md").read_text()) and "measured again" in left.err


def test_others_files_stay(script: Script, folder: Path, suite_data: Path, tmp_path: Path) -> None:
    call = ["--model", folder, "--data", suite_data, "--parts", "similarity", "--device", "cpu", "--output"]
    for name, content in (("table.md", "minha tabela"), ("settings.json", '{"editor.fontSize": 12}'), ("a.txt", "")):
        theirs = tmp_path / name.replace(".", "-")
        theirs.mkdir()
        (theirs / name).write_text(content)
        left = script("evaluate", *call, theirs)
        assert left.code == 2 and str(theirs) in left.err, left.err
        assert [path.name for path in theirs.iterdir()] == [name] and (theirs / name).read_text() == content
    (tmp_path / "pasta" / "relatórios").mkdir(parents=True)
    assert script("evaluate", *call, tmp_path / "pasta").code == 2
    # nor within an output of ours, in a folder that a model is now called by
    assert script("evaluate", *call, tmp_path / "out").code == 0
    (tmp_path / "out" / "notas" / "similarity").mkdir(parents=True)
    (tmp_path / "out" / "notas" / "leia-me.txt").write_text("minhas")
    left = script("evaluate", *call, tmp_path / "out", "--model", f"notas={folder}")
    assert left.code == 2 and "holds 'leia-me.txt'" in left.err
    assert (tmp_path / "out" / "notas" / "similarity").is_dir()


@pytest.mark.parametrize("damage", [None, b"", b'{"suite": ', b"[]", b"\xff"])
def test_a_lost_or_damaged_record_does_not_block(
    damage: bytes | None, script: Script, call: list[object], once: Path, tmp_path: Path
) -> None:
    record = tmp_path / "out" / "settings.json"
    record.unlink() if damage is None else record.write_bytes(damage)
    (tmp_path / "out" / "table.md.partial").write_text("half")
    left = script("evaluate", *call)
    assert (left.code, left.out) == (0, (once / "table.md").read_text()), left.err
    assert "measuring" not in left.err and json.loads(record.read_text()) == {"suite": "portuguese"}
    assert not (tmp_path / "out" / "table.md.partial").exists()


def test_a_second_evaluation_is_kept_out(script: Script, call: list[object], tmp_path: Path) -> None:
    with ownership(tmp_path / "out").claim(tmp_path / "out", {"suite": "portuguese"}):
        left = script("evaluate", *call)
        assert left.code == 2 and "being written by another run" in left.err
    assert script("evaluate", *call).code == 0


def test_no_head_is_said(script: Script, model: Path, suite_data: Path, tmp_path: Path) -> None:
    weights = load_file(model / "model.safetensors")
    save_file({k: v for k, v in weights.items() if not k.startswith("cls.")}, model / "model.safetensors")
    text = tmp_path / "texto.txt"
    text.write_text("\n".join(row.text for row in opinions(40, "test")) + "\n", encoding="utf-8")
    call = ["--model", model, "--data", suite_data, "--text", text, "--output", tmp_path / "out", "--device", "cpu"]
    left = script("evaluate", *call, "--parts", "masked_lm")
    assert left.code == 2 and "no model has one" in left.err and "Traceback" not in left.err
    left = script("evaluate", *call, "--parts", "masked_lm,similarity,similarity, speed")
    assert left.code == 0 and "no masked LM head" in left.err and "* MLM loss: not measured" in left.out
    assert left.err.count("measuring") == 2


def test_names(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = Path(shutil.copytree(folder, tmp_path / "taxa=3e-4" / "student"))
    monkeypatch.chdir(odd)
    for given, name in (("..", "taxa=3e-4"), (".", "student"), (f"a={odd}", "a"), (str(odd), "student"),
                        (f"a=b={odd}", "a=b"), (f"a|b*c={odd}", "a|b*c"), (f"{odd}/", "student")):  # fmt: skip
        if given == "..":
            shutil.copytree(folder, tmp_path / "taxa=3e-4", dirs_exist_ok=True)
        assert open_models([given], offline=True)[0].name == name


def test_lines_say_model_part_and_time_left(
    script: Script, folder: Path, model: Path, suite_data: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    done = script("evaluate", "--model", model, "--model", f"outro={folder}", "--data", suite_data, "--parts",
                  "similarity,sentiment", "--output", tmp_path / "out", "--seeds", "2", *QUICK, "--set",
                  "batch_size=4")  # fmt: skip
    assert done.code == 0
    lines = done.err.strip().splitlines()
    assert all(line.startswith(("pequeno · ", "outro · ")) for line in lines), done.err
    steps = [line for line in lines if ": step" in line and "left" in line]
    assert steps and all("· sentiment · seed " in line for line in steps)
    assert any("measuring, 4 of 4, " in line and line.endswith(" left") for line in lines)


def keep_rows(path: Path, count: int) -> None:
    path.write_text("\n".join(path.read_text(encoding="utf-8").splitlines()[: count + 1]) + "\n", encoding="utf-8")


def one_pair(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    path.write_text(text[: text.index("</pair>") + 7] + "\n</entailment-corpus>\n", encoding="utf-8")


BAD_DATA = {
    "one class": ("sentiment/train.csv", lambda path: keep_rows(path, 1), "sentiment"),
    "no test row": ("sentiment/test.csv", lambda path: keep_rows(path, 0), "sentiment"),
    "no tagged sentence": ("lenerbr/dev.conll", lambda path: path.write_text("\n\n"), "entities"),
    "no question": ("faquad/dev.json", lambda path: path.write_text('{"data": []}'), "answers"),
    "one pair": ("assin2/assin2-dev.xml", one_pair, "similarity_tuned"),
}


@pytest.mark.parametrize("name", BAD_DATA)
def test_what_is_wrong_with_the_last_part_is_said_before_the_first(
    name: str, script: Script, folder: Path, data: Path, tmp_path: Path
) -> None:
    file, damage, part = BAD_DATA[name]
    damage(data / file)
    left = script("evaluate", "--model", folder, "--data", data, "--parts", f"speed,{part}", "--output",
                  tmp_path / "out", *QUICK, "--set", "stride=12")  # fmt: skip
    assert left.code == 2 and file in left.err and "measuring" not in left.err, left.err
    assert "--train" not in left.err and "--dev" not in left.err and "--test" not in left.err


def test_a_seeds_damaged_figures_are_not_believed(
    script: Script, folder: Path, suite_data: Path, tmp_path: Path
) -> None:
    call = [
        "--model",
        f"m={folder}",
        "--data",
        suite_data,
        "--parts",
        "sentiment",
        "--output",
        tmp_path / "out",
        *QUICK,
    ]
    done = script("evaluate", *call)
    figures, path = (tmp_path / "out" / "m" / name for name in ("sentiment/seed-1/figures.json", "sentiment.json"))
    origin = results.load(path)[0]
    for content, code in (("", 0), ("[]", 0), ('{"test": 3}', 0), ("{}", 0), ('{"test": {"accuracy": 1}}', 2)):
        results.save(path, origin)
        figures.write_text(content)
        left = script("evaluate", *call)
        assert left.code == code and "Traceback" not in left.err, left.err
        assert left.out == done.out if code == 0 else "delete it" in left.err
