"""What splits share, on hand-made rows and on ASSIN 2; what is held out shares nothing with the rest."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.tasks.conftest import QUICK, Left, opinions, similarities, write_csv
from tinydistil.base.errors import InputError
from tinydistil.tasks.examples import LabelledText, Question, TaggedSentence, normalised_texts
from tinydistil.tasks.labelled import Columns, read_labelled
from tinydistil.tasks.splits import apart_from, folds_of, groups_of, held_out_of, hold_out, shared_with

Script = Callable[..., Left]


def pairs(*rows: str) -> list[LabelledText]:
    """ "a b" is a pair of the texts a and b."""
    return [LabelledText(*row.split(), "1") for row in rows]


def components(rows: list[LabelledText]) -> list[set[str]]:
    """The texts of each group, by joining sets until none touch."""
    found: list[set[str]] = []
    for row in rows:
        mine = set(normalised_texts(row))
        touching = [each for each in found if each & mine]
        found = [each for each in found if not each & mine] + [mine.union(*touching)]
    return found


def test_counts_by_hand() -> None:
    training = pairs("a b", "b c", "d d", "x y", "y x")
    dev = [*pairs("a b", "b a", "c b", "a c", "a q", "q a", "q r", "d d", "x y"), LabelledText(" A ", "B\n", "2")]
    found = shared_with(training, dev)
    # a b, A B, d d, x y; b a, c b, d d, x y; a c, a q, q a
    assert (found["same"], found["swapped"], found["either"], found["one"]) == (4, 4, 6, 3)
    single = [LabelledText(text, None, "1") for text in ("a", "B", "c")]
    found = shared_with(single, [LabelledText("b", None, "2"), LabelledText("z", None, "1")])
    assert (found["same"], found["swapped"], found["either"], found["one"]) == (1, 0, 1, 0)
    assert normalised_texts(TaggedSentence(("O", "Gato"), ("O", "O"))) == ("o gato",)
    assert normalised_texts(Question("1", "Quem?", "O  gato.", ())) == ("o gato.",)


def test_groups_are_connected_components() -> None:
    rows = pairs("a b", "c d", "b c", "e f", "g g", "F h", "i j")
    groups = groups_of(rows).tolist()
    assert groups[0] == groups[1] == groups[2] and groups[3] == groups[5] and len(set(groups)) == 4


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_what_is_held_out_shares_no_text_with_the_rest(seed: int) -> None:
    rows = pairs(*(f"{i // 3} {100 + i}" for i in range(150)), *(f"big {200 + i}" for i in range(90)))
    part = hold_out(rows, 0.2, seed)
    held, rest = [rows[i] for i in part], [each for i, each in enumerate(rows) if i not in part]
    assert 48 <= len(held) <= 50 and len(held) + len(rest) == 240
    assert not {t for row in held for t in normalised_texts(row)} & {t for row in rest for t in normalised_texts(row)}
    assert all(row.text != "big" for row in held)  # the largest group stays in training
    assert part == hold_out(rows, 0.2, seed) != hold_out(rows, 0.2, seed + 1)


def test_a_development_set_that_leaks_does_not_choose(capsys: pytest.CaptureFixture[str]) -> None:
    training, clean = pairs(*(f"a{i} b{i}" for i in range(100))), pairs("x y", "y z", "u v")
    leaks = pairs("b1 a1", "x y", "u v")
    rest, held = held_out_of(training, leaks, clean, None, 1)
    assert len(held) == 15 and len(rest) == 85 and {*rest} | {*held} == {*training}
    said = capsys.readouterr().err
    assert "dev: of 3 rows 0 have the texts of a training row, 1 those of one swapped, 0 share only" in said
    assert "as dev leaks (finetune.py --hold-out 0 keeps to it), weights are chosen by 15 of 100 training rows" in said
    for dev, share in ((clean, None), (leaks, 0.0), ([], None)):
        assert held_out_of(training, dev, [], share, 1) == (training, [])
    assert len(held_out_of(training, clean, [], 0.3, 1)[1]) == 30
    single = [LabelledText(f"a{i}", None, "1") for i in range(9)]
    assert held_out_of(single, single, [], None, 1) == (single, [])  # as it always was
    with pytest.raises(InputError, match=r"--hold-out 0\.5 would hold out no row"):
        held_out_of(pairs(*(f"a {i}" for i in range(50))), [], [], 0.5, 1)
    with pytest.raises(InputError, match="or all"):
        held_out_of(pairs("a b"), [], [], 0.5, 1)


def test_folds_hold_out_groups_once() -> None:
    rows = pairs(*(f"{i // 3} {100 + i}" for i in range(60)))
    parts = folds_of(rows, 4, 1)
    assert sorted(i for part in parts for i in part) == list(range(60)) and [len(part) for part in parts] == [15] * 4
    for part in parts:
        held = {t for i in part for t in normalised_texts(rows[i])}
        assert not held & {t for i in range(60) if i not in part for t in normalised_texts(rows[i])}
    # Rows as they were dealt out before, where no text is shared, where texts are single, and where too much is.
    alone = pairs(*(f"a{i} b{i}" for i in range(10)))
    single, star = [LabelledText("a", None, "1")] * 10, pairs(*(f"a {i}" for i in range(10)))
    assert folds_of(alone, 3, 5) == folds_of(single, 3, 5) == folds_of(star, 3, 5)
    assert [len(part) for part in folds_of(alone, 3, 5)] == [4, 3, 3]


def test_assin(shared_data: Path) -> None:
    """Counted as they are written and beside that whatever their case, in which two pairs more are alike."""
    folder = shared_data / "tasks" / "assin2"
    training, dev, test = (read_labelled(folder / f"assin2-{name}.xml", Columns(), numbers=True).examples
                           for name in ("train-only", "dev", "test"))  # fmt: skip
    written = {(row.text, row.second) for row in training}
    assert sum((row.second, row.text) in written for row in dev) == 401
    assert sum((row.text, row.second) in written for row in dev) == 11
    found = shared_with(training, dev)
    assert (found["swapped"], found["same"], found["either"], len(dev)) == (403, 13, 403, 500)
    found = shared_with(training, test)
    assert found["either"] == 10 and len(test) - found["either"] - found["one"] == 827
    assert len({*groups_of(training).tolist()}) == len(components(list(training)))
    rest, held = held_out_of(training, dev, test, None, 1)
    assert 975 <= len(held) <= 1015 and len(rest) + len(held) == 6500
    assert not {t for row in held for t in normalised_texts(row)} & {t for row in rest for t in normalised_texts(row)}


@pytest.fixture
def leaking(tmp_path: Path) -> Path:
    """train.tsv, and a dev.tsv of its pairs, swapped."""
    rows = similarities(60)
    write_csv(tmp_path / "train.tsv", rows)
    swapped = [LabelledText(str(row.second), row.text, row.label) for row in rows[:12]]
    write_csv(tmp_path / "dev.tsv", swapped)
    return tmp_path


def test_pairs_apart_from_training_are_measured_apart(script: Script, leaking: Path, folder: Path) -> None:
    """The figures of a test set of these pairs alone; none where training shares no text with it, or all."""
    training, fresh = similarities(60), similarities(12, "test")
    half = LabelledText(training[5].text.upper(), "Outro texto.", "3.0")
    sets = {"mixed": [*training[:3], *fresh, half], "fresh": fresh, "known": training[:4]}
    assert apart_from(training, sets["mixed"]) == fresh
    found = {}
    for name, rows in sets.items():
        write_csv(leaking / f"{name}.tsv", rows)
        files = ["--train", leaking / "train.tsv", "--test", leaking / f"{name}.tsv", "--hold-out", "0.2"]
        done = script("finetune", "--model", folder, "--task", "regress", *files, *QUICK, "--output", leaking / name)
        assert done.code == 0, done.err
        found[name] = json.loads((leaking / name / "figures.json").read_text())
    assert found["mixed"]["test_apart"] == found["fresh"]["test"] != found["mixed"]["test"]
    assert "test_apart" not in found["fresh"].keys() | found["known"].keys()


def test_from_the_command_line(script: Script, leaking: Path, folder: Path) -> None:
    call = [
        "--model",
        folder,
        "--task",
        "regress",
        "--train",
        leaking / "train.tsv",
        "--dev",
        leaking / "dev.tsv",
        *QUICK,
    ]
    done = script("finetune", *call, "--output", leaking / "out")
    assert done.code == 0 and re.search(
        r"of 12 rows \d have the texts of a training row, 12 those of one swapped", done.err
    )
    assert "as dev leaks" in done.err and "best held-out_pearson" in done.out + done.err
    figures = json.loads((leaking / "out" / "figures.json").read_text())
    assert figures.keys() == {"held_out", "dev"}
    other = script("finetune", *call, "--output", leaking / "out", "--resume", "--hold-out", "0.3")
    assert other.code == 2 and "was begun with hold_out = None, now it is 0.3" in other.err
    old = script("finetune", *call, "--output", leaking / "old", "--hold-out", "0")
    assert old.code == 0 and "best dev_pearson" in old.out + old.err
    # Without a development set, too, and the same rows again.
    call = [part for part in call if part not in ("--dev", leaking / "dev.tsv")]
    weights = []
    for name in ("a", "b"):
        done = script("finetune", *call, "--output", leaking / name, "--hold-out", "0.3", "--set", "patience=1")
        assert done.code == 0 and "held_out pearson" in done.out, done.err
        weights.append(load_file(leaking / name / "model.safetensors"))
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_classes_that_are_all_held_out(script: Script, tmp_path: Path, folder: Path) -> None:
    rare = [LabelledText(f"Um texto raro {i}.", None, "raro") for i in range(1)]
    rows = [*opinions(20), *rare]
    write_csv(tmp_path / "train.tsv", rows)
    call = ["--model", folder, "--task", "classify", "--train", tmp_path / "train.tsv", *QUICK, "--hold-out", "0.8"]
    left = script("finetune", *call, "--set", "class_weights=balanced", "--output", tmp_path / "out")
    assert left.code == 2 and "--hold-out takes all of" in left.err and not (tmp_path / "out").exists()
