"""What the README shows exists: every script, subcommand and option, and its Python example runs."""

import re
import runpy
import sys
from pathlib import Path

import pytest
import torch

from tinydistil.model.bert import BertForMaskedLM
from tinydistil.model.config import new_shape
from tinydistil.tokenizer.tokenizer import train_wordpiece

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = [
    line for language, block in BLOCKS if language == "bash" for line in block.splitlines() if "scripts/" in line
]


@pytest.mark.parametrize("command", COMMANDS)
def test_options_exist(command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    words = command[command.index("scripts/") :].split()
    script = ROOT / words[0]
    subcommand = words[1:2] if len(words) > 1 and re.fullmatch(r"[a-z][a-z-]+", words[1]) else []
    monkeypatch.setattr(sys, "argv", [str(script), *subcommand, "--help"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(script), run_name="__main__")
    assert stop.value.code == 0
    known = capsys.readouterr().out
    for option in re.findall(r"--[a-z][a-z-]*", command[command.index("scripts/") :]):
        assert re.search(rf"{option}\b(?!-)", known), f"{words[0]} has no {option}"


def test_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / link).exists(), link


def test_the_two_commands_are_marked() -> None:
    """.ci/run takes the test command from here."""
    for mark in ("main", "tests"):
        assert len(re.findall(rf"<!-- {mark} -->\n```bash\npython3 -m venv [^\n]+\n```", README)) == 1


def test_python_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = train_wordpiece(["O gato dorme no sofá. Não."] * 3, 80)
    tokenizer.save_pretrained(tmp_path)
    model = BertForMaskedLM(new_shape(2, 128, tokenizer.vocab_size))
    model.save_pretrained(tmp_path)
    monkeypatch.chdir(tmp_path)
    (example,) = (block for language, block in BLOCKS if language == "python")
    names: dict[str, object] = {"folder": tmp_path}
    exec(example, names)
    assert isinstance(names["logits"], torch.Tensor)
    assert names["logits"].shape == (1, tokenizer.vocab_size)
    assert (tmp_path / "copia" / "vocab.txt").is_file()
