"""Configurations: types, unknown keys with the nearest name, TOML and assignments."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tinydistil.config import assign, from_mapping, read_toml, to_mapping
from tinydistil.errors import InputError, require


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
        assign(values, assignment)
    assert from_mapping(Run, values) == Run(5, True, "neuralmind/bert", Loss(3.0, ("kl",)))


@pytest.mark.parametrize("assignment", ["steps", "=3", "steps.more=3"])
def test_bad_assignments(assignment: str) -> None:
    with pytest.raises(InputError, match=r"option|assignment"):
        assign({"steps": 1}, assignment)


def test_bad_toml(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("steps =")
    with pytest.raises(InputError, match="is not valid TOML"):
        read_toml(tmp_path / "bad.toml")
    with pytest.raises(InputError, match="does not exist"):
        read_toml(tmp_path / "nothing.toml")
