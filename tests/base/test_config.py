"""Configurations: types, unknown keys with the nearest name, TOML and assignments."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import pytest

from tinydistil.base.config import (
    FLOAT32,
    INT64,
    Checked,
    Count,
    OneOf,
    Positive,
    Range,
    Share,
    from_mapping,
    override,
    read_toml,
    to_mapping,
)
from tinydistil.base.errors import InputError, require


@dataclass(frozen=True)
class Loss:
    temperature: float = 2.0
    terms: tuple[str, ...] = ("mlm",)

    def __post_init__(self) -> None:
        require(self.temperature > 0, f"loss.temperature must be > 0, got {self.temperature}")


@dataclass(frozen=True)
class Run:
    steps: int = 10
    compile: bool = False
    teacher: str | None = None
    loss: Loss = field(default_factory=Loss)


def test_nested_values_and_back() -> None:
    run = from_mapping(Run, {"steps": 3, "teacher": None, "loss": {"temperature": 4, "terms": ["mlm", "kl"]}})
    assert run == Run(3, False, None, Loss(4.0, ("mlm", "kl")))
    assert from_mapping(Run, to_mapping(run)) == run


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"step": 3}, "unknown option 'step'; did you mean 'steps'"),
        ({"loss": {"temprature": 1.0}}, "unknown option 'loss.temprature'; did you mean 'temperature'"),
        ({"zzz": 1}, "unknown option 'zzz'; known: compile, loss, steps, teacher"),
        ({"steps": "3"}, "steps must be of type int, got '3'"),
        ({"steps": True}, "steps must be of type int, got True"),
        ({"compile": 1}, "compile must be of type bool, got 1"),
        ({"loss": 2}, "loss must be a table of options, got 2"),
        ({"loss": {"terms": "mlm"}}, "loss.terms must be a list, got 'mlm'"),
        ({"loss": {"terms": [1]}}, r"loss.terms\[0\] must be of type str, got 1"),
        ({"loss": {"temperature": 0}}, "loss.temperature must be > 0, got 0.0"),
    ],
)
def test_refusals(values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_mapping(Run, values)


def test_toml_then_assignments(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("steps = 5\n[loss]\ntemperature = 1.5\n", encoding="utf-8")
    values = read_toml(path)
    for assignment in ("loss.temperature=3", 'loss.terms=["kl"]', "teacher=neuralmind/bert", "compile=true"):
        override(values, [assignment])
    assert from_mapping(Run, values) == Run(5, True, "neuralmind/bert", Loss(3.0, ("kl",)))


@pytest.mark.parametrize("assignment", ["steps", "=3", "steps.more=3"])
def test_bad_assignments(assignment: str) -> None:
    with pytest.raises(InputError, match=r"option|assignment"):
        override({"steps": 1}, [assignment])


def test_bad_toml(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("steps =")
    with pytest.raises(InputError, match="is not valid TOML"):
        read_toml(tmp_path / "bad.toml")
    with pytest.raises(InputError, match="does not exist"):
        read_toml(tmp_path / "nothing.toml")


@dataclass(frozen=True)
class Bounded(Checked, table="bounded"):
    steps: Count = 1
    length: Annotated[int, Range(8, 512)] = 8
    share: Annotated[float, Range(0, 1, without=(1,))] = 0.0
    rate: Positive = 1.0
    plain: int = 0
    shape: Annotated[str, OneOf(("", "linear", "cosine"))] = ""
    bits: Annotated[int, OneOf((8, 16))] = 8
    shares: Annotated[tuple[Share, ...], Range(0, 2)] = ()
    dropout: Annotated[float, Range(0, 0.5)] | None = None


OUT_OF_RANGE = [
    ({"steps": 0}, "steps must be >= 1, got 0"),
    ({"steps": 10**30}, "steps must fit 64 bits, got 1000"),
    ({"steps": INT64}, "steps must be <= 1,000,000,000, got 9223372036854775807"),
    ({"steps": 1e300}, r"steps must be of type int, got 1e\+300"),
    ({"plain": -(10**30)}, "plain must fit 64 bits"),
    ({"plain": 1 << 20_000}, "plain must fit 64 bits, got a int too large to show"),
    ({"length": 7}, "length must be in 8..512, got 7"),
    ({"length": 513}, "length must be in 8..512, got 513"),
    ({"share": 1}, r"share must be in \[0, 1\), got 1.0"),
    ({"share": -0.1}, r"share must be in \[0, 1\), got -0.1"),
    ({"share": float("nan")}, "share must be finite, got nan"),
    ({"rate": 0}, "rate must be > 0, got 0.0"),
    ({"rate": 1e300}, r"rate must be <= 3.4e\+38, got 1e\+300"),
    ({"rate": float("inf")}, "rate must be finite, got inf"),
    ({"rate": 10**400}, "rate is too large for a number with a fraction"),
    ({"shape": "lineer"}, "shape 'lineer' is unknown; did you mean 'linear'"),
    ({"shape": "x" * 9999}, "shape 'xxx.*xxx... is unknown; known: cosine, linear"),
    ({"bits": 4}, "bits must be 8 or 16, got 4"),
    ({"shares": [0.5, 1.5]}, r"shares\[1\] must be in \[0, 1\], got 1.5"),
    ({"shares": [0.5] * 3}, "shares must be a list of at most 2, got 3"),
    ({"dropout": 0.6}, r"dropout must be in \[0, 0.5\], got 0.6"),
]


@pytest.mark.parametrize(("values", "message"), OUT_OF_RANGE)
def test_bounds_stand_beside_the_type(values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        from_mapping(Bounded, values, where="a.b.")
    assert str(refused.value).startswith("a.b.") and len(str(refused.value)) < 200
    with pytest.raises(InputError, match=rf"bounded\.{message}"):
        Bounded(**values)  # type: ignore[arg-type]


def test_values_at_their_bounds() -> None:
    values = {"steps": 10**9, "length": 512, "share": 0, "rate": FLOAT32, "plain": -INT64, "shares": [0, 1],
              "dropout": 0.5}  # fmt: skip
    assert from_mapping(Bounded, values) == replace(from_mapping(Bounded, values), shape="")


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("steps", "must have the form section.key=value"),
        (" = 3", "must have the form"),
        ("loss..terms=3", "must have the form"),
        (".steps=3", "must have the form"),
        ("steps=" + "9" * 5000, "is not valid TOML: a number of too many digits"),
        ("steps=" + "[" * 5000, "is not valid TOML: it is nested too deep"),
        ("steps=" + "[" * 60 + "]" * 60, "'steps' is nested more than 10 deep"),
        ("teacher=a\nsteps = 4", "holds a line break"),
        ('teacher="a\\nb"', "holds a line break"),
        ('teacher="a\\u0000"', "a NUL"),
        ("teacher=a\0", "a NUL"),
        ("loss=3", "'loss' must be a table of options, got 3"),
        ("steps.more=3", "'steps' must be a table of options, got 1"),
        ("steps=3 # 4", "steps must be of type int, got '3 # 4'"),
        ("steps=3, teacher = 4", "steps must be of type int, got '3, teacher = 4'"),
        ("teacher=2024", "teacher must be of type str, got 2024; put it in quotes"),
        ("loss.terms=3", "loss.terms must be a list, got 3"),
    ],
)
def test_malformed_assignments(assignment: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        from_mapping(Run, override({"steps": 1, "loss": {"temperature": 2}}, [assignment]))
    assert len(str(refused.value).splitlines()) == 1 and len(str(refused.value)) < 250


def test_a_table_changes_key_by_key() -> None:
    found = override({"loss": {"temperature": 3.0}}, ["loss={terms=['kl']}"], {"steps": 5, "teacher": None})
    assert from_mapping(Run, found) == Run(5, loss=Loss(3.0, ("kl",)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps = 1\nsteps = 2", "is not valid TOML: Cannot overwrite"),
        ("steps = " + "9" * 5000, "is not valid TOML: a number of too many digits"),
        ("steps = " + "[" * 5000, "is not valid TOML: it is nested too deep"),
        (".".join("a" * 2000) + " = 1", "is nested more than 10 deep"),
        ('teacher = "a\\nb"', "holds a line break"),
        ('"a\\nb" = 1', "holds a line break"),
        ("#" * (1 << 20) + "#", "a regular file of at most 1 MiB"),
    ],
)
def test_malformed_files(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(InputError, match=message) as refused:
        from_mapping(Run, read_toml(tmp_path / "bad.toml"))
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("path", [".", "/dev/zero", "/dev/stdin"])
def test_a_configuration_is_a_file(path: str) -> None:
    with pytest.raises(InputError, match=r"must be a regular file|does not exist"):
        read_toml(Path(path))
