"""The other benchmarks: candidates in processes, the loss, vectors of sentences, ranks."""

import re
import runpy
import subprocess
import sys
from argparse import Namespace
from functools import partial
from pathlib import Path

import bench_evaluate
import bench_inference
import bench_loss
import pytest
import torch
from processes import Candidate, peak_mib, running, start_peak
from workload import batches_of, config_of, tokenizer_of

from tests.benchmarks.conftest import BENCHMARKS

README = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
COMMANDS = [line for line in README.splitlines() if line.startswith(".venv/bin/python benchmarks/")]
SERVED = """
import sys
sys.path.insert(0, {folder!r})
from processes import serve
def answer(question):
    print("a library chatters")
    return {{"doubled": 2 * float(question)}}
def make():
    print("a library greets")
    return answer
serve(make)
"""


def test_only_answers_come_back(tmp_path: Path) -> None:
    script = tmp_path / "served.py"
    script.write_text(SERVED.format(folder=str(BENCHMARKS)))
    with running(["one", "two"], str(script), []) as candidates:
        assert [each.ask("21") for each in candidates] == [{"doubled": 42.0}] * 2
        candidates[0].send("1")
        candidates[0].send("2")
        assert [candidates[0].answer()["doubled"] for _ in range(2)] == [2.0, 4.0]
        with pytest.raises(SystemExit, match="candidate 'two' ended with code 1"):
            candidates[1].ask("no number")


def test_peak_memory_is_of_what_comes_after() -> None:
    torch.ones(50 << 20, dtype=torch.uint8)  # 50 MiB, given back before counting begins
    before_mib = start_peak()
    torch.ones(20 << 20, dtype=torch.uint8)
    assert 19 < peak_mib() - before_mib < 30  # the kernel counts some pages late


def small_loss() -> Namespace:
    return Namespace(size="small", rows=[64], device="cpu", threads=1, precision="float32")


class LossHere:
    """A form of the loss, asked in this process."""

    def __init__(self, name: str, contestant: bench_loss.Contestant) -> None:
        self.name, self.ask = name, contestant.answer


def test_losses_are_those_of_float64() -> None:
    forms = [
        LossHere(name, bench_loss.Contestant(small_loss(), bench_loss.FORMS[name]()))
        for name in ("eager", "fused-plain")
    ]
    errors = bench_loss.check(forms)
    assert all(0 < error < 1e-5 for each in errors.values() for error in each.values())
    assert forms[1].ask("time 64")["seconds"] > 0
    assert forms[1].ask("memory 64")["extra_mib"] >= 0
    assert min(forms[1].ask("floor 64").values()) > 0


def test_liger_is_asked_for_the_same_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    module = pytest.importorskip("liger_kernel.chunked_loss", reason="needs the package liger-kernel")
    # Compiling takes half a minute and changes nothing that is looked at here.
    plain = partial(module.LigerFusedLinearJSDLoss, compiled=False)
    monkeypatch.setattr(module, "LigerFusedLinearJSDLoss", plain)
    forms = ((name, bench_loss.FORMS[name]()) for name in ("eager", "liger"))
    bench_loss.check([LossHere(name, bench_loss.Contestant(small_loss(), loss)) for name, loss in forms])


def test_a_loss_that_is_wrong_is_not_timed() -> None:
    def twice_as_hot(*tensors: object, temperature: float, **options: object) -> object:
        return bench_loss.vocabulary_loss(*tensors, temperature=2 * temperature, **options)  # type: ignore[arg-type]

    eager, wrong = (
        LossHere(name, bench_loss.Contestant(small_loss(), loss))
        for name, loss in (("eager", bench_loss.vocabulary_loss), ("hot", twice_as_hot))
    )
    with pytest.raises(SystemExit, match="by 'hot' is off"):
        bench_loss.check([eager, wrong])


def test_vectors_are_those_of_transformers(small: Namespace) -> None:
    tokenizer = tokenizer_of(small)
    candidates = bench_inference.embedders(config_of("1x64", 2000, tokenizer), tokenizer)
    texts = ["O gato dorme no sofá.", "Chove.", "A médica chegou cedo à cidade e falou com todos na feira."] * 12
    bench_inference.check(candidates, texts)
    assert set(bench_inference.in_turn(candidates, [texts[:2], texts[2:]])) == set(candidates)
    shifted = {**candidates, "other": lambda texts: candidates["ours"](texts) + 1e-3}
    with pytest.raises(SystemExit, match="vectors by 'other' differ"):
        bench_inference.check(shifted, texts)


def test_memory_of_evaluation_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    output = tmp_path / "results.jsonl"
    monkeypatch.setattr(sys, "argv", ["", "--tokens", "600", "--vocabularies", "300", "--output", str(output)])
    bench_evaluate.main()
    cells = capsys.readouterr().out.splitlines()[2].split()
    assert (
        cells[0] == "300" and 0 < float(cells[1]) < float(cells[2]) and '"benchmark": "evaluate"' in output.read_text()
    )


def test_blocks_are_full_and_sentences_are_not(small: Namespace) -> None:
    tokenizer = tokenizer_of(small)
    small.text = "blocks"
    assert set(batches_of(small, tokenizer, 2).sequences.lengths()) == {126}
    small.text = "sentences"
    assert len(set(batches_of(small, tokenizer, 2).sequences.lengths())) > 5


def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    """The whole script, three processes of its own: it ends with another code where losses differ."""
    command = [sys.executable, str(BENCHMARKS / "bench_ranks.py"), "--size", "small", "--rounds", "1", "--threads", "2"]
    done = subprocess.run(
        [*command, "--data", str(tmp_path), "--output", str(tmp_path / "results.jsonl")],
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "gradient of 0.90 MB" in done.stdout and "NVLink" in done.stdout
    assert (tmp_path / "results.jsonl").read_text().count('"benchmark": "ranks"') == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_options_in_the_readme_exist(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = command.split("#")[0]
    script = BENCHMARKS / Path(command.split()[1]).name
    monkeypatch.setattr(sys, "argv", [str(script), "--help"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(script), run_name="__main__")
    assert stop.value.code == 0
    known = capsys.readouterr().out
    for option in re.findall(r"--[a-z][a-z0-9-]*", command):
        assert re.search(rf"{option}\b(?!-)", known), f"{script.name} has no {option}"


def test_a_candidate_that_is_gone_is_said(tmp_path: Path) -> None:
    script = tmp_path / "broken.py"
    script.write_text("raise SystemExit(3)")
    with pytest.raises(SystemExit, match="'broken' ended with code 3"):
        Candidate("broken", str(script), [], {}).ask("ready")
