"""The parser of all scripts, and what any value of any option does: a configuration, or one line."""

import argparse
import dataclasses
import os
import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tinydistil.base.config import Range, from_mapping, hints_of, override, read_toml, to_mapping
from tinydistil.base.console import Parser, within
from tinydistil.base.errors import InputError
from tinydistil.corpus.prepare_config import PrepareConfig, RawRunConfig, resolve_raw
from tinydistil.tasks.finetune_config import FineTuneConfig

SCRIPTS = Path(__file__).parents[2] / "scripts"


def parser() -> Parser:
    made = Parser(description="x", options=FineTuneConfig)
    made.add_argument("--steps", type=int)
    made.add_argument("--workers", type=within(Range(0, 1024)))
    made.add_argument("--minutes", type=float)
    made.add_argument("--output", type=Path)
    made.add_argument("--model")
    made.add_argument("--input", nargs="+")
    made.add_argument("--mode", choices=("a", "b"))
    return made


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "10**30"], r"--steps must be a whole number, got '10\*\*30'"),
        (["--steps", "1.5"], "--steps must be a whole number, got '1.5'"),
        (["--steps", "9" * 5000], r"--steps must be a whole number, got '9+\.\.\. "),
        (["--steps", ""], "--steps must be a whole number, got ''"),
        (["--workers", "-1"], r"--workers must be in 0\.\.1024, got -1"),
        (["--workers", "1025"], r"--workers must be in 0\.\.1024, got 1025"),
        (["--minutes", "dez"], "--minutes must be a number, got 'dez'"),
        (["--minuts", "1"], "unrecognized arguments: --minuts 1; did you mean --minutes?"),
        (["--minut", "1"], "unrecognized arguments: --minut 1; did you mean --minutes?"),
        (["--zzz"], r"unrecognized arguments: --zzz \(--help lists"),
        (["--zz\nz"], "unrecognized arguments: --zz z"),
        (["--mode", "c"], "argument --mode: invalid choice: 'c'"),
        (["--steps"], "argument --steps: expected one argument"),
        (["--model=--"], "argument --model: expected one argument"),
        (["--output", "informa\udce7"], "holds a lone surrogate"),
        (["--model", "informa\udce7"], "holds a lone surrogate"),
        (["--input", "a", "informa\udce7"], "holds a lone surrogate"),
        (["--output", "a/" * 600], "is too long"),
        (["--model", "a" * 1001], "is too long"),
    ],
)
def test_one_line_names_the_flag(arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        parser().parse_args(arguments)
    assert len(str(refused.value).splitlines()) == 1 and len(str(refused.value)) < 600


def test_a_text_file_may_have_any_name(tmp_path: Path) -> None:
    """File names of older systems are Latin-1."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/informa\xe7\xe3o"))
    folder.mkdir()
    (folder / "a.txt").touch()
    found = parser().parse_args(["--input", str(folder), str(folder / "a.txt"), "--model", str(folder / "a.txt")])
    assert found.input[0] == str(folder)
    with pytest.raises(InputError, match="lone surrogate"):
        parser().parse_args(["--model", str(folder)])


def leaves(cls: Any, prefix: str = "") -> Iterator[str]:
    for field in dataclasses.fields(cls):
        hint = hints_of(cls)[field.name]
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            yield from leaves(hint, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}"


@pytest.mark.parametrize(
    ("script", "cls", "without"),
    [
        ("prepare", PrepareConfig, ()),
        ("distill", RawRunConfig, ()),
        (
            "pretrain",
            RawRunConfig,
            ("recipe", "teacher", "teacher_cache", "teacher_precision", "teacher_prefix", "cache"),
        ),
        ("finetune", FineTuneConfig, ()),
        ("evaluate", FineTuneConfig, ("seed",)),
    ],
)
def test_help_lists_the_options_of_set(
    script: str,
    cls: type,
    without: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", [f"{script}.py", "--help"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(SCRIPTS / f"{script}.py"), run_name="__main__")
    assert stop.value.code == 0
    listed = re.findall(r"^  ([a-z_0-9.]+) +\S", capsys.readouterr().out.partition("options of --set")[2], re.MULTILINE)
    assert listed == [name for name in leaves(cls) if not {name, name.partition(".")[0]} & {*without}]


def test_help_says_values_and_defaults() -> None:
    found = parser().format_help()
    for line in (
        "epochs +number > 0 ",
        r"max_length +int 8\.\.65536 \(128\)",
        r"pooling +[a-z]+(\|[a-z]+){3} \(pooler\)",
        r"freeze_embeddings +true\|false \(false\)",
        r"augment\.copies +int 0\.\.1000 \(0\)",
    ):
        assert re.search(line, found), line


# Any TOML value for any field. A third of the texts are names that some option knows.
WORDS = st.sampled_from(
    ["total", "mlm", "2x128", "own", "cosine", "utf-8", "pca", "wsd", "mean", "float32", "a" * 5000]
)
SCALARS = st.one_of(
    st.booleans(), st.integers(), st.sampled_from([2**63, -(2**63), 10**30, 10**4000, 0, 1, 8, 10**6]), st.floats(),
    st.text(), WORDS, st.dates(), st.datetimes(),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=3))
)
CLASSES = {"prepare": PrepareConfig, "run": RawRunConfig, "finetune": FineTuneConfig}


def tables(cls: Any, prefix: str = "") -> Iterator[str]:
    for field in dataclasses.fields(cls):
        hint = hints_of(cls)[field.name]
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            yield f"{prefix}{field.name}"
            yield from tables(hint, f"{prefix}{field.name}.")


def resolved(kind: str, values: dict[str, object]) -> object:
    return resolve_raw(values) if kind == "run" else from_mapping(CLASSES[kind], values)


def one_line(error: InputError) -> bool:
    return len(str(error).splitlines()) == 1 and len(str(error)) < 1000


@pytest.mark.parametrize("kind", CLASSES)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_value_for_any_option_is_a_configuration_or_one_line(kind: str, data: st.DataObject) -> None:
    names = [*leaves(CLASSES[kind]), *tables(CLASSES[kind])]
    values: dict[str, object] = {"corpus": ["x"], "teacher": "y"} if kind == "run" else {}
    for name in data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=3)):
        table: Any = values
        *sections, key = name.split(".")
        for section in sections:
            table = table[section] if isinstance(table.get(section), dict) else table.setdefault(section, {})
            if not isinstance(table, dict):
                return
        table[key] = data.draw(VALUES)
    try:
        config = resolved(kind, values)
    except InputError as error:
        assert one_line(error), error
        return
    # What was taken is within its bounds, and is written and read again as it is.
    assert resolved(kind, to_mapping(config)) == config


@pytest.mark.parametrize("name", ["csv_delimiter", "encoding", "txt_mode", "on_bad_bytes", "text_field"])
def test_a_long_value_is_cut(name: str) -> None:
    try:
        from_mapping(PrepareConfig, {"read": {name: "0" * 5000}})
    except InputError as error:
        assert one_line(error), error


@pytest.mark.parametrize("kind", CLASSES)
@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_assignment_is_a_configuration_or_one_line(kind: str, data: st.DataObject) -> None:
    names = st.sampled_from([*leaves(CLASSES[kind]), *tables(CLASSES[kind])])
    key = data.draw(st.one_of(names, st.text(), names.map(lambda name: name + ".x")))
    value = data.draw(st.one_of(st.text(), VALUES.map(repr), SCALARS.map(str), WORDS))
    try:
        resolved(kind, override({"corpus": ["x"], "teacher": "y"} if kind == "run" else {}, [f"{key}={value}"]))
    except InputError as error:
        assert one_line(error), error


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(), st.text().map(str.encode), st.text("[]{}=.\"'\n#a1", max_size=60).map(str.encode)))
def test_any_bytes_are_tables_or_one_line(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.toml").write_bytes(data)
    try:
        assert isinstance(read_toml(tmp_path / "x.toml"), dict)
    except InputError as error:
        assert one_line(error), error


@settings(max_examples=150, deadline=None)
@given(st.text(), st.sampled_from(["--steps", "--workers", "--minutes", "--mode", ""]))
def test_any_word_is_a_value_or_one_line(word: str, flag: str) -> None:
    try:
        found = parser().parse_args([f"{flag}={word}"] if flag else [word])
    except InputError as error:
        assert one_line(error), error
    except SystemExit:
        assert word in ("-h", "--help", "")
    else:
        assert isinstance(found, argparse.Namespace)
