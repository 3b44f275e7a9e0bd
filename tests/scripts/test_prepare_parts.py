"""scripts/prepare.py --part and --merge: whatever is wrong with parts is one message with their number and a remedy."""

import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scripts.test_prepare_interrupt import contents, wait_for
from tinydistil.base.errors import STOPPED_EXIT_CODE

Call = Callable[..., int]
WriteCorpus = Callable[[Path, int], Path]
GOOD = ["--input", "good.jsonl", "--output", "out", "--tokenizer", "tokenizer", "--set", "segment_mb=0.05"]


@pytest.fixture
def folder(tmp_path: Path, tokenizer: Path, write_corpus: WriteCorpus, monkeypatch: pytest.MonkeyPatch) -> Path:
    """good.jsonl and a tokenizer, in the current folder."""
    monkeypatch.chdir(tmp_path)
    write_corpus(tmp_path / "good.jsonl", 200)
    shutil.copytree(tokenizer, tmp_path / "tokenizer")
    return tmp_path


def made(call: Call, *parts: str, options: tuple[str, ...] = ()) -> None:
    for part in parts:
        assert call(*GOOD, *options, "--part", part) == 0


def copy_of_part(folder: Path) -> object:
    return shutil.copytree(folder / "out/parts/1-of-2", folder / "out/parts/2-of-2")


def other_input(folder: Path) -> object:
    return (folder / "good.jsonl").write_bytes((folder / "good.jsonl").read_bytes()[:-200])


Change = Callable[[Path], object]
CASES: dict[str, tuple[str, list[str], list[str], Change]] = {
    "part 0/4": (r"--part must be I/N with I in 1..N .* got '0/4'", ["--part", "0/4"], [], lambda f: None),
    "part 5/4": (r"--part must be I/N .* got '5/4'", ["--part", "5/4"], [], lambda f: None),
    "part x/y": (r"--part must be I/N .* such as 3/100, got 'x/y'", ["--part", "x/y"], [], lambda f: None),
    "part of none": (r"--part must be I/N .* got ''", ["--part", ""], [], lambda f: None),
    "part of too many": (r"N at most 99,999.* got '1/1000000'", ["--part", "1/1000000"], [], lambda f: None),
    "part and merge": (r"argument --merge: not allowed with argument --part", ["--part", "1/2", "--merge"], [],
                       lambda f: None),
    "merge and verify": (r"--verify: not allowed with argument --merge", ["--merge", "--verify"], [], lambda f: None),
    "workers of a merge": (r"leave them out with --merge", ["--merge", "--workers", "2"], ["1/1"], lambda f: None),
    "another number": (r"--part 1/3: 'out/parts' holds parts of 2; give that number", ["--part", "1/3"], ["2/2"],
                       lambda f: None),
    "no parts": (r"'out' holds no parts; make them with scripts/prepare.py --part 1/N", ["--merge"], [],
                 lambda f: None),
    "a missing part": (r"unfinished parts: 2/3, 3/3; run scripts/prepare.py --part 2/3 with .* then --merge again",
                       ["--merge"], ["1/3"], lambda f: None),
    "an unfinished part": (r"missing or unfinished parts: 2/2; run .* --part 2/2 ", ["--merge"], ["1/2", "2/2"],
                           lambda f: (f / "out/parts/2-of-2/part.json").unlink()),
    "a damaged list": (r"missing or unfinished parts: 2/2; run .* --part 2/2 ", ["--merge"], ["1/2", "2/2"],
                       lambda f: (f / "out/parts/2-of-2/part.json").write_text('{"units": {"x": []}}')),
    "a part twice": (r"part 2/2 in 'out/parts/2-of-2' was made with part.number = 1, now it is 2; .*delete the folder "
                     r"and run scripts/prepare.py --part 2/2", ["--merge"], ["1/2"], copy_of_part),
    "parts of two numbers": (r"holds parts of several numbers \(1/2, 1/3\); delete the folders of all but one",
                             ["--merge"], ["1/2"], lambda f: (f / "out/parts/1-of-3").mkdir()),
    "a stranger": (r"'out/parts/copy' is no part, which are named as 3-of-100; move it away", ["--merge"], ["1/1"],
                   lambda f: (f / "out/parts/copy").mkdir()),
    "another option at a part": (r"was begun with config.max_length = 128, now it is 64; .*--overwrite",
                                 ["--part", "1/2", "--max-length", "64"], ["1/2"], lambda f: None),
    "another option at the merge": (r"part 1/1 in .* was made with config.max_length = 128, now it is 64; give "
                                    r"the same value, or .* --part 1/1", ["--merge", "--max-length", "64"], ["1/1"],
                                    lambda f: None),
    "another input": (r"part 1/1 in .* was made with inputs\[0\].bytes = \d+, now it is \d+; .* --part 1/1",
                      ["--merge"], ["1/1"], other_input),
    "a damaged record": (r"parts/1-of-1/config.json' is not valid JSON .*delete the folder and run .*--part 1/1",
                         ["--merge"], ["1/1"], lambda f: (f / "out/parts/1-of-1/config.json").write_text("{")),
    "parts without merge": (r"'out' holds parts of a corpus; scripts/prepare.py --merge makes it of them", [], ["1/2"],
                            lambda f: None),
    "part of others": (r"output 'out' holds 'tese.odt', which this program did not write", ["--part", "1/2"], [],
                       lambda f: ((f / "out").mkdir(), (f / "out/tese.odt").write_text("x"))),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_one_message_and_exit_code_2(name: str, call: Call, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    message, arguments, parts, change = CASES[name]
    made(call, *parts)
    change(folder)
    capfd.readouterr()
    assert call(*GOOD, *arguments) == 2
    error = capfd.readouterr().err
    assert re.search(message, error), error
    assert error.strip().splitlines()[-1].startswith("error: ") and "Traceback" not in error
    assert not (folder / "out" / "manifest.json").exists()


def test_parts_of_another_corpus_go_with_overwrite(call: Call, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shorter = ("--max-length", "64", "--workers", "0")
    assert call(*GOOD, *shorter, "--output", "whole") == 0
    made(call, "1/2", "2/2")
    made(call, "1/2", "2/2", options=(*shorter, "--overwrite"))
    (folder / "out" / "train-000000.safetensors").write_bytes(b"of an earlier merge")
    assert call(*GOOD, "--max-length", 64, "--merge", "--overwrite") == 0
    assert contents(folder / "out") == contents(folder / "whole")
    capfd.readouterr()
    assert call(*GOOD, *shorter, "--part", "2/2") == 0
    assert capfd.readouterr().out == "out is finished already; nothing to do\n"
    assert call(*GOOD, *shorter, "--part", "2/2", "--overwrite") == 2
    assert "output 'out' holds a finished corpus, which no part changes" in capfd.readouterr().err
    assert call(*GOOD, "--part", "2/2") == 2
    assert "was begun with config.max_length = 64, now it is 128" in capfd.readouterr().err
    made(call, "1/2", options=("--output", "other"))
    assert call(*GOOD, "--output", "other", "--overwrite", "--workers", 0) == 0
    assert not (folder / "other" / "parts").exists()


def test_a_part_that_is_stopped_goes_on(
    call: Call, folder: Path, write_corpus: WriteCorpus, start: Callable[..., object]
) -> None:
    write_corpus(folder / "good.jsonl", 3000)
    assert call(*GOOD, "--output", "whole", "--workers", 0) == 0
    for asked, code in ((signal.SIGTERM, STOPPED_EXIT_CODE), (signal.SIGKILL, -signal.SIGKILL)):
        process = start(*GOOD, "--part", "1/2", "--workers", 1)
        there = len(list(folder.glob("out/parts/1-of-2/*.unit")))
        wait_for(lambda: len(list(folder.glob("out/parts/1-of-2/*.unit"))) > there + 1)  # noqa: B023
        process.send_signal(asked)  # type: ignore[attr-defined]
        _, error = process.communicate(timeout=60)  # type: ignore[attr-defined]
        assert process.returncode == code, error  # type: ignore[attr-defined]
        assert ("going on after" in error) == (there > 0) and "Traceback" not in error
    made(call, "2/2", "1/2")
    assert call(*GOOD, "--merge") == 0
    assert contents(folder / "out") == contents(folder / "whole")
