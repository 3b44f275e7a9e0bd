"""The benchmark of the teacher's precision, at a small size."""

import json
import math
import re
from pathlib import Path

import bench_teacher
import pytest
import torch


def test_speed_and_error_stand_beside_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "results.jsonl"
    with torch.inference_mode():
        bench_teacher.time_linear(64, rounds=1, output=output)
        bench_teacher.time_encoder(64, layers=1, rounds=1, bfloat16=True, output=output)
    printed = capsys.readouterr().out
    assert len(re.findall(r"int8 faster by \d+\.\d\dx .*relative error 0\.0\d+", printed)) == 4
    assert re.search(r"encoder 1 x 64, \d+ tokens .* cosine \d\.\d+", printed) and "bfloat16 slower" in printed
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert [line["case"].split(",")[0] for line in lines] == [
        "linear qkv", "linear output", "linear up", "linear down", "encoder 1 x 64"
    ]  # fmt: skip
    assert lines[-1]["cosine"] > 0.99


def test_divergence_by_hand() -> None:
    p, q = torch.tensor([[0.5, 0.25, 0.25]]), torch.tensor([[0.25, 0.25, 0.5]])
    assert bench_teacher.divergence(p.log(), q.log()) == pytest.approx((0.5 - 0.25) * math.log(2))
