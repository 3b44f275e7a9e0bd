"""What a person sees of a run: aligned figures with units, and the time that the whole command still takes."""

import re
from pathlib import Path

import pytest

from tinydistil.train import records as module
from tinydistil.train.records import Pace, Records, figures_of

SHOWN = {"hard": 7.118, "soft": 0.5, "hidden": 0.0123, "gradient_norm": 2.0, "learning_rate": 1.25e-5,
         "tokens_per_second": 31_080.4}  # fmt: skip


def test_figures_have_units_and_stand_in_columns() -> None:
    line = "  ".join(figures_of(SHOWN))
    assert line == (
        "masked LM   7.1180 nats (perplexity     1,234)  soft   0.5000 nats  hidden   0.0123  gradient    2.0000  "
        "rate   0.0000125     31,080 tokens/s"
    )
    other = "  ".join(
        figures_of(
            {
                **SHOWN,
                "hard": 10.36,
                "soft": 12.25,
                "gradient_norm": 125.1,
                "learning_rate": 1.25e-6,
                "tokens_per_second": 9_999,
            }
        )
    )
    assert [m.end() for m in re.finditer("nats|perplexity|hidden|tokens/s", line)] == [
        m.end() for m in re.finditer("nats|perplexity|hidden|tokens/s", other)
    ]
    huge = " ".join(figures_of({"hard": 1e9, "hidden": 3.1e38, "gradient_norm": float("nan")}))
    assert re.search(r"\d[eE][+-]?\d", huge) is None and "over 10^304" in huge and "not a number" in huge


@pytest.mark.parametrize(("still_to_come", "left"), [(0.0, "1 min 30 s left"), (2.0, "4 min 50 s left")])
def test_lines_carry_label_and_time_left_of_the_whole_command(
    still_to_come: float, left: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = Records(tmp_path / "m.jsonl", label="pequeno · sentiment · seed 2", still_to_come=still_to_come)
    records.begin(0)
    records.step_done(100, 1000, 90.0, {"task": 0.25})
    records.step_done(101, 1000, 90.0, None)  # a step that is not logged
    assert capsys.readouterr().err == f"pequeno · sentiment · seed 2: step   100 of 1,000  task   0.2500  {left}\n"


def test_time_left_counts_validations_and_saves(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    pace = Pace()
    for step in range(4):
        clock[0] += 2
        left = pace.left_s(10 - step, {"validation": 3, "save": 1})
        assert left == pytest.approx(2 * (10 - step) + (3 * 30 if step > 1 else 0))
        if step == 1:
            with pace.aside("validation"):
                clock[0] += 30


@pytest.mark.parametrize("torn", [b"\0" * 40, b'{"step": 3, "los', b"\xff\xfe\n", b"[1]", b'{"step": "x"}\n', b"\n\n"])
def test_lines_that_a_power_cut_tore_are_dropped(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n{"step": 2}\n' + torn)
    Records(path).begin(2)
    assert path.read_text().splitlines() == ['{"step": 1}', '{"step": 2}']
