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
# Flags in messages that a script names and cannot reach.
UNREACHED = {
    "pretrain": {"--teacher", "--teacher-cache"},  # it refuses all options of a teacher
    # Columns of its own, folders that are always gone on with, no file of options.
    "evaluate": {"--resume", "--text-column", "--second-column", "--label-column", "--config"},
    "prepare": {"--resume"},
    "predict": {"--set", "--config"},
}


def flags_of(script: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> set[str]:
    for arguments in [[name] for name in SUBCOMMANDS] if script == "predict" else [[]]:
        monkeypatch.setattr(sys, "argv", [f"{script}.py", *arguments, "--help"])
        with pytest.raises(SystemExit):
            runpy.run_path(str(SCRIPTS[script]), run_name="__main__")
    return {*FLAG.findall(re.sub(r"^  [a-z].*|[Ee]xample.*", "", capsys.readouterr().out))}


@cache
def pieces_of(path: Path) -> dict[str, list[ast.stmt]]:
    """The top-level statements of a file by the name that they define, under "" those that run whenever it is read."""
    found: dict[str, list[ast.stmt]] = {"": []}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        names = [getattr(node, "name", ""), *(each.id for each in targets if isinstance(each, ast.Name))]
        for name in filter(None, names) if any(names) else [""]:
            found.setdefault(name, []).append(node)
    return found


def file_of(module: str) -> Path | None:
    path = ROOT.joinpath(*module.split("."))
    files = [path.with_suffix(".py"), path / "__init__.py"] if module.startswith("tinydistil.") else []
    return next((file for file in files if file.is_file()), None)


@cache
def imported_by(path: Path) -> dict[str, tuple[Path, str]]:
    """What the names that a file imports from the package, at any place, stand for; "*" for a whole file."""
    found: dict[str, tuple[Path, str]] = {}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for alias in node.names if isinstance(node, ast.ImportFrom) and node.module else ():
            if (file := file_of(f"{node.module}.{alias.name}")) is not None:
                found[alias.asname or alias.name] = (file, "*")
            elif (file := file_of(str(node.module))) is not None:
                found[alias.asname or alias.name] = (file, alias.name)
    return found


def reached(script: Path) -> set[tuple[Path, str]]:
    """The pieces (file, name) that a script names, and those that these name; "module:Name" in a text names, too."""
    found, todo = set[tuple[Path, str]](), [(script, "*")]
    while todo:
        file, name = todo.pop()
        pieces, imported = pieces_of(file), imported_by(file)
        wanted = [*pieces] if name == "*" else ["", *{name} & {*pieces}]
        todo += [imported[name]] if name in imported and name not in pieces else []  # handed on by a package
        for piece in {(file, each) for each in wanted} - found:
            found.add(piece)
            for node in (inner for statement in pieces[piece[1]] for inner in ast.walk(statement)):
                if isinstance(node, ast.Name):
                    todo += [imported[node.id]] if node.id in imported else []
                    todo += [(file, node.id)] if node.id in pieces else []
                elif isinstance(node, ast.Constant) and (
                    named := re.fullmatch(r"(tinydistil[\w.]+):(\w+)", str(node.value))
                ):
                    target = file_of(named[1])
                    assert target is not None, named[0]
                    todo.append((target, named[2]))
    return found


def messages(statements: list[ast.stmt]) -> Iterator[str]:
    """The texts in some statements that are no docstrings; "{}" stands for what is filled in."""
    nodes = [node for each in statements for node in ast.walk(each)]
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
        for file, piece in sorted(reached(path)):
            for text in messages(pieces_of(file)[piece]):
                named = {script, "torchrun", *re.findall(r"(\w+)\.py", text)} & {*known}
                flags = {*FLAG.findall(text)} - UNREACHED.get(script, set())
                lacking = flags - set[str]().union(*(known[each] for each in named))
                wrong += [f"{script}: {file.relative_to(ROOT)}: {flag}: {text}" for flag in lacking]
    assert not wrong, "\n".join(wrong)
    assert "--overwrite" in known["prepare"] and "--overwrite" not in known["distill"]
