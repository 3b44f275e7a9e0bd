"""The benchmark of the whole step compares like with like: the same losses, the same updates, the same work."""

import json
import runpy
import sys
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path

import bench_step
import pytest
import torch
from contestants import CONTESTANTS, OWN_TOLERANCES, WARMUP, Contestant, Ours, Theirs, WrittenOut
from measure import record, timing_of
from torch.utils.flop_counter import FlopCounterMode
from workload import batch_at, forward_flops, step_flops

from tinydistil.base.errors import InputError

BENCHMARKS = Path(bench_step.__file__).parent


class Here:
    """A contestant asked in this process."""

    def __init__(self, name: str, contestant: Contestant) -> None:
        self.name, self.contestant = name, contestant

    def ask(self, question: str) -> dict[str, float]:
        return self.contestant.answer(question)


class Counted(WrittenOut):
    """Attention written out: torch has no count for its fused kernel on a CPU."""

    attention = "eager"


class OffBy(Here):
    """One whose soft loss is wrong by a share."""

    def __init__(self, share: float, contestant: Contestant) -> None:
        super().__init__("off", contestant)
        self.share = share

    def ask(self, question: str) -> dict[str, float]:
        found = super().ask(question)
        return found | {"soft": found["soft"] * (1 + self.share)}


@pytest.mark.parametrize("text", ["sentences", "blocks"])
def test_all_have_the_same_losses_and_updates(small: Namespace, text: str) -> None:
    small.text = text
    names = [name for name in CONTESTANTS if name != "tuned-compiled"]  # compiling would take longer than all else
    candidates = [Here(name, CONTESTANTS[name](small)) for name in names]
    memory = bench_step.check(candidates, 1e-5)
    assert all(figures["peak_mib"] >= figures["before_mib"] > 50 for figures in memory.values())
    peer, *others = (each.contestant for each in candidates if each.name not in OWN_TOLERANCES)
    assert isinstance(peer, Theirs)
    theirs = peer.peer.student.state_dict()
    for each in others:
        if isinstance(each, Ours):
            for name, weight in each.learner.student.file_weights().items():
                # Adam divides by a gradient's own size: where that is rounding alone, so is the update's direction.
                different = (weight - theirs[name]).abs() > 1e-6
                assert different.float().mean() < 0.01, name


def test_other_losses_are_refused(small: Namespace) -> None:
    honest, other = (CONTESTANTS["live"](small) for _ in range(2))
    with pytest.raises(SystemExit, match=r"soft is .* by 'off'.*nothing was timed"):
        bench_step.check([Here("live", honest), OffBy(1e-3, other)], bench_step.TOLERANCE)


def test_figures_and_tables(
    small: Namespace, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    candidates = [Here(name, CONTESTANTS[name](small)) for name in ("peer", "live")]
    memory = bench_step.check(candidates, 1e-4)
    rounds, peaks = bench_step.measured(candidates, small)
    for name, (figures,) in rounds.items():
        parts = sum(value for key, value in figures.items() if key.startswith("part."))
        # The line that is cut into parts is the whole step, but for a last call of the clock.
        assert 0.9 * figures["seconds"] <= parts <= figures["seconds"], name
        assert figures["part.teacher encoder"] > 0 and figures["part.student"] > 0, name
    tables = [bench_step.whole_steps("Title", rounds, peaks, memory), bench_step.by_part(rounds)]
    assert {"against peer", "real tokens/s"} <= set(tables[0].header)
    results = tmp_path / "results.jsonl"
    timings = {name: timing_of(name, [1.0]) for name in rounds}
    for title in ("overtaken", "Title"):
        written = [asdict(table) | {"title": title} for table in tables]
        record(results, "step", timings, options={"threads": "1"}, tables=written)
    monkeypatch.setattr(sys, "argv", ["table.py", str(results)])
    runpy.run_path(str(BENCHMARKS / "table.py"), run_name="__main__")
    shown = capsys.readouterr().out
    assert "**Title**" in shown and "| live | " in shown and "`bench_step.py`: threads 1" in shown
    assert json.loads(results.read_text().splitlines()[0])["timings"][0]["name"] == "peer"


def test_operations_are_those_that_torch_counts(small: Namespace) -> None:
    small.text = "blocks"  # without padding all that is computed is needed
    contestant = Counted(small)
    batch = batch_at(contestant.batches, 0)
    teacher, student = contestant.teacher, contestant.learner.student
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        teacher.bert(batch.input_ids)
    assert forward_flops(batch, teacher.config) == pytest.approx(counted.get_total_flops(), rel=1e-6)
    with FlopCounterMode(display=False) as counted:
        contestant.step(WARMUP)
    batch = batch_at(contestant.batches, WARMUP)
    # Less than three times forward: nothing is propagated into the first layer's input, nor twice through attention.
    assert step_flops(batch, teacher.config, student.config) == pytest.approx(counted.get_total_flops(), rel=0.1)


def test_shapes_and_sizes_are_checked(small: Namespace) -> None:
    small.teacher_shape = "12by768"
    with pytest.raises(InputError, match="LAYERSxWIDTH"):
        CONTESTANTS["live"](small)
