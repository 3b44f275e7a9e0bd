"""A message names only flags that the script has that shows it, or says which script has them."""

import ast
import re
import runpy
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = {path.stem: path for path in sorted((ROOT / "scripts").glob("*.py"))}
FLAG = re.compile(r"--[a-z][a-z-]*[a-z]")
SUBCOMMANDS = ("fill-mask", "embed", "pooling", "classify", "tag", "answer")
# Flags in messages that a script imports and cannot reach.
UNREACHED = {
    "pretrain": {"--teacher", "--teacher-cache"},  # it refuses all options of a teacher
    # Files and columns of its own, folders that are always gone on with, no file of options, no teacher.
    "evaluate": {
        "--resume",
        "--text-column",
        "--second-column",
        "--label-column",
        "--config",
        "--train",
        "--dev",
        "--test",
        "--teacher",
        "--teacher-cache",
        # Of what a run or a grid says, which stand in files that it takes a configuration from.
        "--accumulation",
        "--batch-size",
        "--corpus",
        "--dry-run",
        "--epochs",
        "--eval-set",
        "--grid",
        "--learning-rate",
        "--max-length",
        "--minutes",
        "--precision",
        "--seed",
        "--shards",
        "--steps",
        "--tokenizer",
        "--tokens",
        "--workers",
    },
    "finetune": {"--teacher-cache"},
    "prepare": {"--resume"},
    "predict": {"--text-column", "--second-column", "--label-column", "--set", "--config", "--teacher-cache"},
}

# A configuration's file also holds what the command line of a whole run says, which these scripts have not.
for SCRIPT, FLAGS in {
    "finetune": {
        "--dry-run",
        "--precision",
        "--tokenizer",
        "--max-length",
        "--epochs",
        "--eval-set",
        "--shards",
        "--learning-rate",
        "--minutes",
        "--batch-size",
        "--corpus",
        "--workers",
        "--accumulation",
        "--tokens",
        "--steps",
        "--seed",
    },
    "predict": {
        "--dry-run",
        "--precision",
        "--teacher",
        "--tokenizer",
        "--shards",
        "--epochs",
        "--eval-set",
        "--learning-rate",
        "--minutes",
        "--corpus",
        "--resume",
        "--accumulation",
        "--workers",
        "--tokens",
        "--steps",
        "--seed",
    },
    "prepare": {
        "--dry-run",
        "--precision",
        "--device",
        "--teacher",
        "--shards",
        "--epochs",
        "--teacher-cache",
        "--learning-rate",
        "--minutes",
        "--batch-size",
        "--corpus",
        "--accumulation",
        "--tokens",
        "--steps",
    },
}.items():
    UNREACHED[SCRIPT] |= FLAGS


def flags_of(script: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> set[str]:
    for arguments in [[name] for name in SUBCOMMANDS] if script == "predict" else [[]]:
        monkeypatch.setattr(sys, "argv", [f"{script}.py", *arguments, "--help"])
        with pytest.raises(SystemExit):
            runpy.run_path(str(SCRIPTS[script]), run_name="__main__")
    return {*FLAG.findall(re.sub(r"^  [a-z].*|[Ee]xample.*", "", capsys.readouterr().out))}


@cache
def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def closure(path: Path) -> set[Path]:
    """A file and all files of the package that it imports, at any place."""
    found, todo = set[Path](), [path]
    while todo:
        if (file := todo.pop()) in found:
            continue
        found.add(file)
        for node in nodes_of(file):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tinydistil"):
                for name in (str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)):
                    module = ROOT.joinpath(*name.split(".")).with_suffix(".py")
                    todo += [module] if module.is_file() else []
    return found


def messages(path: Path) -> Iterator[str]:
    """The texts in a file that are no docstrings; "{}" stands for what is filled in."""
    nodes = nodes_of(path)
    skipped: set[ast.AST] = {node.value for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        if isinstance(node, ast.JoinedStr):
            skipped |= {*node.values}
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    yield from (n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str) and n not in skipped)


def test_advice_names_flags_of_the_script(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    known = {script: flags_of(script, monkeypatch, capsys) for script in SCRIPTS}
    known["torchrun"] = {"--nproc-per-node", "--max-restarts", "--master-port"}
    wrong = []
    for script, path in SCRIPTS.items():
        for file in sorted(closure(path)):
            for text in messages(file):
                named = {script, "torchrun", *re.findall(r"(\w+)\.py", text)} & {*known}
                flags = {*FLAG.findall(text)} - UNREACHED.get(script, set())
                lacking = flags - set[str]().union(*(known[each] for each in named))
                wrong += [f"{script}: {file.relative_to(ROOT)}: {flag}: {text}" for flag in lacking]
    assert not wrong, "\n".join(wrong)
    assert "--overwrite" in known["prepare"] and "--overwrite" not in known["distill"]
