"""scripts/prepare.py in this process and in its own, and a corpus small enough for both."""

import importlib.util
import json
import os
import random
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "prepare.py"
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *".,!?-"] + [
    f"{prefix}{letter}" for prefix in ("", "##") for letter in "abcdefghijklmnopqrstuvwxyzáàâãçéêíóôõú"
]
PLACES = """
da serra
do litoral
do sertão
da capital
da fronteira
do vale
das ilhas
do planalto
da várzea
do cerrado
""".strip().splitlines()
PEOPLE = """
os pescadores
as professoras
os músicos
as costureiras
os estudantes
as parteiras
os ferreiros
as enfermeiras
""".strip().splitlines()
DEEDS = """
contavam histórias antigas
dividiam o pão quente
esperavam a chuva passar
ensaiavam para a festa
consertavam as redes
plantavam mandioca e feijão
cantavam à luz do lampião
ouviam o rádio baixinho
""".strip().splitlines()
TIMES = """
ao cair da tarde
antes de o sol nascer
nos dias de feira
durante a quaresma
quando o trem atrasava
depois da missa
no fim do inverno
em noites sem lua
""".strip().splitlines()


def write_document(source: random.Random) -> str:
    """A dozen sentences of plain Portuguese."""
    choice = source.choice
    return " ".join(
        f"{choice(TIMES).capitalize()}, {choice(PEOPLE)} {choice(PLACES)} {choice(DEEDS)}." for _ in range(12)
    )


@pytest.fixture(scope="session")
def write_corpus() -> Callable[[Path, int], Path]:
    """Write that many documents as JSON lines."""

    def write(path: Path, documents: int) -> Path:
        source = random.Random(0)
        lines = [
            json.dumps({"id": str(n), "text": write_document(source)}, ensure_ascii=False) for n in range(documents)
        ]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a letter vocabulary, cased."""
    folder = tmp_path_factory.mktemp("tokenizer")
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    return folder


@pytest.fixture(scope="session")
def prepare_script() -> ModuleType:
    """scripts/prepare.py as a module."""
    spec = importlib.util.spec_from_file_location("prepare_script", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def call(prepare_script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run the script with these arguments in this process; its exit code."""

    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["prepare.py", *map(str, arguments)])
        try:
            prepare_script.run_script(prepare_script.main)
        except SystemExit as leave:
            return leave.code if isinstance(leave.code, int) else 1
        return 0

    return run


@pytest.fixture(scope="session")
def start() -> Callable[..., "subprocess.Popen[str]"]:
    """Start the script in a process of its own."""

    def begin(*arguments: object, **options: object) -> "subprocess.Popen[str]":
        paths = os.pathsep.join([str(ROOT), *sys.path])
        return subprocess.Popen(
            [sys.executable, str(SCRIPT), *map(str, arguments)],
            env=os.environ | {"PYTHONPATH": paths},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,  # type: ignore[call-overload]
        )

    return begin


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a script in this process, in the folder of small models; what it printed, or told the person who watches."""

    def call(script: str, *arguments: str, stream: str = "out") -> str:
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", [script, *arguments])
        runpy.run_path(str(ROOT / "scripts" / script), run_name="__main__")
        return str(getattr(capsys.readouterr(), stream))

    return call
