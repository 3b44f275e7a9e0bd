"""How scripts end: with closed or broken streams, leftovers of torchrun, no memory, no other rank."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tinydistil.base.errors import InputError, rank_and_world_size, reason_of, whole_from_environment

ROOT = Path(__file__).parents[2]
# Prints more than a pipe holds, and writes a file at the very end, as training does.
LONG = """
import sys
from pathlib import Path
from tinydistil.base.errors import InputError, run_script
def main():
    for line in range(5000):
        print("x" * 100)
        print("y" * 100, file=sys.stderr)
    {then}
    Path("done").touch()
run_script(main, {options})
"""


def run(tmp_path: Path, shell: str, *, options: str = "", then: str = "pass") -> "subprocess.CompletedProcess[str]":
    (tmp_path / "script.py").write_text(LONG.format(options=options, then=then))
    python = f"PYTHONPATH={ROOT} {sys.executable} script.py"
    return subprocess.run(
        ["bash", "-c", shell.format(python=python)], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize(
    "shell",
    [
        "{python} 2>&1 | head -n 1 > /dev/null; exit ${{PIPESTATUS[0]}}",
        "{python} 2>/dev/null | head -n 1 > /dev/null; exit ${{PIPESTATUS[0]}}",
        "{python} 2> >(head -n 1 > /dev/null) > /dev/null",
        "{python} 2>&-",
        "{python} >&-",
        "{python} >&- 2>&-",
        "{python} <&- >&- 2>&-",
    ],
)
def test_work_goes_on_without_a_reader(tmp_path: Path, shell: str) -> None:
    assert run(tmp_path, shell).returncode == 0 and (tmp_path / "done").exists()


@pytest.mark.parametrize(
    "shell", ["{python} 2>&-", "{python} >&- ", "{python} 2>&1 | head -n 1; exit ${{PIPESTATUS[0]}}"]
)
def test_an_error_keeps_its_code_without_a_reader(tmp_path: Path, shell: str) -> None:
    found = run(tmp_path, shell, then="raise InputError('wrong')")
    assert found.returncode == 2 and "Traceback" not in found.stderr + found.stdout


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_line_of_progress_is_seen_when_it_is_said(tmp_path: Path, unbuffered: str) -> None:
    """In a file too, and whatever PYTHONUNBUFFERED says; results only where that asks for it."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom tinydistil.base.errors import run_script\n"
        "def main():\n    print('said', file=sys.stderr)\n    print('found')\n"
        "    Path('seen').write_text(Path('err').read_text() + Path('out').read_text())\n"
        "run_script(main)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": unbuffered}
    with (tmp_path / "out").open("w") as out, (tmp_path / "err").open("w") as err:
        command = [sys.executable, "-c", code]
        subprocess.run(command, cwd=tmp_path, env=environment, stdout=out, stderr=err, check=True, timeout=60)
    assert (tmp_path / "seen").read_text() == ("said\nfound\n" if unbuffered else "said\n")


def test_results_end_with_their_reader(tmp_path: Path) -> None:
    found = run(tmp_path, "{python} 2>/dev/null | head -n 1; exit ${{PIPESTATUS[0]}}", options="pipe=True")
    assert found.returncode == 0 and found.stdout == "x" * 100 + "\n" and not (tmp_path / "done").exists()
    closed = run(tmp_path, "{python} >&-", options="pipe=True")
    assert closed.returncode == 2 and "standard output is closed" in closed.stderr


@pytest.mark.parametrize("ranks", [False, True])
def test_a_leftover_rank_changes_nothing(tmp_path: Path, ranks: bool) -> None:
    found = run(tmp_path, "RANK=1 {python} | tail -n 1", options=f"ranks={ranks}")
    assert (tmp_path / "done").exists() and found.stdout == "x" * 100 + "\n"


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("WORLD_SIZE=2 RANK=1", "no MASTER_ADDR"),
        ("WORLD_SIZE=2 RANK=1 MASTER_ADDR=localhost", "no MASTER_PORT"),
        ("WORLD_SIZE=2 RANK=2", "RANK=2 and WORLD_SIZE=2"),
        ("WORLD_SIZE=two RANK=0", "WORLD_SIZE='two'"),
        ("WORLD_SIZE= RANK=0", "WORLD_SIZE=''"),
        ("WORLD_SIZE=0", "WORLD_SIZE='0'"),
        ("WORLD_SIZE=2 RANK=-1", "RANK='-1'"),
        ("WORLD_SIZE=99999999999999999999 RANK=1", "WORLD_SIZE='9999"),
    ],
)
def test_contradicting_leftovers_are_one_message(tmp_path: Path, setting: str, reason: str) -> None:
    found = run(tmp_path, f"{setting} {{python}} > /dev/null", options="ranks=True")
    assert found.returncode == 2 and "Traceback" not in found.stderr
    assert reason in found.stderr and not (tmp_path / "done").exists()


def test_a_script_of_one_process_refuses_several(tmp_path: Path) -> None:
    found = run(tmp_path, "WORLD_SIZE=2 RANK=1 MASTER_ADDR=a MASTER_PORT=1 {python}")
    assert found.returncode == 2 and "runs in one process" in found.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("MemoryError()", 2),
        ("RuntimeError('[enforce fail] DefaultCPUAllocator: can\\'t allocate memory: you tried 1 byte')", 2),
        ("type('OutOfMemoryError', (RuntimeError,), {})('CUDA out of memory')", 2),
        ("OSError(28, 'No space left on device', 'model.safetensors')", 2),
        ("RuntimeError('Symlink loop from \\'a\\'')", 2),
        ("InputError('a\\\\nb' * 2000)", 2),
        ("KeyboardInterrupt()", 130),
        ("SystemExit(75)", 75),
    ],
)
def test_codes(tmp_path: Path, error: str, code: int) -> None:
    error = error.replace("{", "{{").replace("}", "}}")
    found = run(tmp_path, "{python} > /dev/null", then=f"raise {error}".format())
    assert found.returncode == code and "Traceback" not in found.stderr
    assert all(len(line) < 1100 for line in found.stderr.splitlines() if line.startswith("error:"))
    found = run(tmp_path, "{python} > /dev/null", then="raise RuntimeError('a bug')")
    assert found.returncode == 1 and "Traceback" in found.stderr


def test_rank_from_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    assert rank_and_world_size() == (1, 2)
    monkeypatch.delenv("MASTER_PORT")
    with pytest.raises(InputError):
        rank_and_world_size()
    monkeypatch.delenv("WORLD_SIZE")
    assert rank_and_world_size() == (0, 1) and os.environ["RANK"] == "1"


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb\u2028c\x85", "x" * 5000 + "; choose another", "a\x1cb"])
def test_a_reason_is_one_line_that_ends_with_the_remedy(text: str) -> None:
    for error in (InputError(text), OSError(2, "No such file", text)):
        reason = reason_of(error)
        assert len(reason.splitlines()) == 1 and len(reason) < 1000 and reason.endswith(text[-1:].strip() or "c")


@pytest.mark.parametrize("value", ["9" * 5000, "1.5", "", "x", "-1", "\u0661", " 1"])
@pytest.mark.parametrize("name", ["RANK", "WORLD_SIZE", "LOCAL_RANK", "TORCHELASTIC_RESTART_COUNT", "MASTER_PORT"])
def test_a_variable_that_is_no_number(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for each in {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "a", "MASTER_PORT": "1", name: value}.items():
        monkeypatch.setenv(*each)
    with pytest.raises(InputError, match=f"the environment has {name}="):
        whole_from_environment(name, least=int(name == "WORLD_SIZE"))
    if name in ("RANK", "WORLD_SIZE", "MASTER_PORT"):
        with pytest.raises(InputError, match=f"the environment has {name}="):
            rank_and_world_size()


def test_a_rank_that_meets_nobody_says_so(tmp_path: Path) -> None:
    """With a limit of two seconds instead of ten minutes."""
    (tmp_path / "script.py").write_text(
        "from datetime import timedelta\n"
        "from tinydistil.base import ranks\n"
        "from tinydistil.base.errors import run_script\n"
        "ranks.TIMEOUT, ranks._NOTICE_S = timedelta(seconds=2), 0.5\n"
        "def main():\n    with ranks.joined('cpu'):\n        pass\n"
        "run_script(main, ranks=True)\n"
    )
    variables = {
        "WORLD_SIZE": "2",
        "RANK": "0",
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": "0",
        "PYTHONPATH": str(ROOT),
    }
    found = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "rank 0 waits for 1 others at localhost:0" in found.stderr and "Traceback" not in found.stderr, found.stderr
    assert found.returncode == 2 and "error: rank 0 has not met the others" in found.stderr


@pytest.mark.parametrize(("handler", "code"), [("default_int_handler", 130), ("SIG_IGN", 0)])
def test_an_interrupt_during_imports_is_one_line(handler: str, code: int) -> None:
    script = (
        f"import os, signal; signal.signal(signal.SIGINT, signal.{handler})\n"
        "from tinydistil.base.errors import importing\n"
        "with importing():\n    os.kill(os.getpid(), signal.SIGINT)\n"
        f"assert signal.getsignal(signal.SIGINT) is signal.{handler}\n"
    )
    found = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (found.returncode, found.stderr) == (code, "interrupted\n" if code else "")
