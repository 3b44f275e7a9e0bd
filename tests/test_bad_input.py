"""A sample of the bad inputs of tests/bad_input_driver.py: each ends with one line and exit code 2, or is harmless."""

import shutil
from pathlib import Path

import pytest

from tests.bad_input.material import SOUND, make_material
from tests.bad_input.processes import call, warm
from tests.bad_input_driver import outcome

# Every kind once.
NUMBERS = range(40)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    warm()
    folder = tmp_path_factory.mktemp("bad-input") / "good"
    make_material(folder)
    return folder


@pytest.mark.parametrize("number", NUMBERS)
def test_bad_input(number: int, good: Path, tmp_path: Path) -> None:
    found = outcome(number, 1, good, tmp_path)
    assert not found.failed, f"\n{found}"


LATIN_1 = "informa\udce7\udce3o"  # as Python has the bytes of an older system's file name


@pytest.mark.parametrize(
    ("script", "arguments", "verdict"),
    [
        ("prepare", ["--input", f"{LATIN_1}.txt"], "accepted"),
        ("prepare", ["--input", LATIN_1], "accepted"),
        ("distill", ["--shards", "", "--corpus", f"{LATIN_1}.txt", "--max-length", "32"], "accepted"),
        ("finetune", ["--train", f"{LATIN_1}.tsv"], "accepted"),
        ("distill", ["--output", f"{LATIN_1}-run"], "refused"),
        ("finetune", ["--output", f"{LATIN_1}-run"], "refused"),
        ("evaluate", ["--output", f"{LATIN_1}-tables"], "refused"),
        ("predict", [f"O dia {LATIN_1}"], "refused"),
    ],
)
def test_names_that_are_no_utf_8(script: str, arguments: list[str], verdict: str, good: Path, tmp_path: Path) -> None:
    """Texts may have them; folders that safetensors opens, and texts themselves, may not."""
    folder = tmp_path / "names"
    shutil.copytree(good, folder)
    (folder / LATIN_1).mkdir()
    for copy in (folder / f"{LATIN_1}.txt", folder / LATIN_1 / "a.txt"):
        shutil.copy(folder / "corpus.txt", copy)
    shutil.copy(folder / "train.tsv", folder / f"{LATIN_1}.tsv")
    left = call(script, [*SOUND[script], *arguments], folder)
    assert left.verdict == verdict, left
    assert verdict == "accepted" or "lone surrogate" in left.err
