"""Whose folder it is: strangers, another configuration, a second run, and what kills leave behind."""

import json
import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from tinydistil.base.errors import InputError
from tinydistil.base.files import LOCK, Ownership, difference

OWNERSHIP = Ownership("run.json", ours=lambda name: name in ("checkpoints", "a.bin"), must_agree=lambda n: n != "steps")


def test_the_record_comes_first_and_is_compared_option_by_option(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "run"
    with OWNERSHIP.claim(folder, {"seed": 1, "steps": 5, "list": (1, 2)}):
        assert json.loads((folder / "run.json").read_text()) == {"seed": 1, "steps": 5, "list": [1, 2]}
    before = (folder / "run.json").stat().st_mtime_ns
    with OWNERSHIP.claim(folder, {"seed": 1, "steps": 5, "list": (1, 2)}):
        assert (folder / "run.json").stat().st_mtime_ns == before, "an equal record is left alone"
    with OWNERSHIP.claim(folder, {"seed": 1, "steps": 9, "list": (1, 2)}):
        assert json.loads((folder / "run.json").read_text())["steps"] == 9
    with (
        pytest.raises(InputError, match=r"was begun with list\[1\] = 2, now it is 3; give the same value"),
        OWNERSHIP.claim(folder, {"seed": 1, "steps": 9, "list": (1, 3)}),
    ):
        pass
    with pytest.raises(InputError, match="holds a run already"), OWNERSHIP.claim(folder, {"seed": 1}, resume=False):
        pass


@pytest.mark.parametrize("stranger", ["tese.odt", "a.bin.old", ".env", "run.json.bak"])
def test_a_folder_with_strangers_is_refused_untouched(tmp_path: Path, stranger: str) -> None:
    (tmp_path / stranger).write_text("x")
    with pytest.raises(InputError, match=rf"holds '{stranger}', which this program did not write"):
        OWNERSHIP.check(tmp_path, {})
    with pytest.raises(InputError, match=stranger), OWNERSHIP.claim(tmp_path, {}):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [stranger]


@pytest.mark.parametrize("left", ["run.json.partial", "a.bin.partial", "checkpoints", LOCK])
def test_own_leftovers_are_no_strangers(tmp_path: Path, left: str) -> None:
    (tmp_path / left).mkdir() if left == "checkpoints" else (tmp_path / left).touch()
    with OWNERSHIP.claim(tmp_path, {"seed": 1}):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoints"] * (left == "checkpoints") + ["run.json"]


@pytest.mark.parametrize("content", ["", "{", "[]", "\x00\x00", '{"seed": ' + "9" * 5000 + "}"])
def test_a_damaged_record_has_a_remedy_that_works(tmp_path: Path, content: str) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(InputError, match="delete it to go on"):
        OWNERSHIP.check(tmp_path, {"seed": 1})
    (tmp_path / "run.json").unlink()
    with OWNERSHIP.claim(tmp_path, {"seed": 1}):
        pass


def _hold(folder: Path, held: "multiprocessing.synchronize.Event") -> None:
    with OWNERSHIP.claim(folder, {"seed": 1}):
        held.set()
        signal.pause()


def test_a_second_run_is_refused_until_the_first_one_ends_however_it_ends(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    held = fork.Event()
    first = fork.Process(target=_hold, args=(tmp_path, held))
    first.start()
    assert held.wait(20)
    with pytest.raises(InputError, match="being written by another run"), OWNERSHIP.claim(tmp_path, {"seed": 1}):
        pass
    assert first.pid is not None
    os.kill(first.pid, signal.SIGKILL)
    first.join()
    with OWNERSHIP.claim(tmp_path, {"seed": 1}):
        assert (tmp_path / LOCK).exists()
    assert not (tmp_path / LOCK).exists()


def test_a_later_versions_table_is_not_compared() -> None:
    assert difference({"seed": 1}, {"seed": 1, "content": {"teacher": "ab"}}) is None
    assert difference({"seed": 1, "content": {}}, {"seed": 1, "content": {"teacher": "ab"}}) is None
    assert difference({"seed": 1, "content": {"teacher": "ab"}}, {"seed": 1}) is None, "not known yet"
    assert difference({"seed": 1, "content": {"teacher": "ab"}}, {"seed": 2}) == ("seed", 1, 2)
    found = difference({"content": {"teacher": "ab"}}, {"content": {"teacher": "cd"}})
    assert found == ("content.teacher", "ab", "cd")
    assert difference({"train.seed": 1}, {"train.seed": 2}) == ("train.seed", 1, 2)
