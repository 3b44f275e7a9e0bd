"""Files that are whole or absent, whatever fails while they are written."""

import errno
import json
import os
from pathlib import Path

import pytest

from tinydistil.base.errors import InputError
from tinydistil.base.files import fingerprint, read_json, replacing, write_atomic, write_json, write_text


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_mode_follows_the_umask(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        write_atomic(tmp_path / "a", b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO])
def test_a_failing_write_names_the_file_and_keeps_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    path = tmp_path / "run.json"
    write_json(path, {"seed": 1})

    def failing(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("tinydistil.base.files.os.fsync", failing)
    with pytest.raises((InputError, OSError)) as failure:
        write_json(path, {"seed": 2})
    assert "run.json" in str(failure.value) and os.strerror(number) in str(failure.value)
    assert read_json(path) == {"seed": 1} and [each.name for each in tmp_path.iterdir()] == ["run.json"]


def test_an_interrupted_writer_leaves_the_old_file(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "whole")
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "a") as partial:
        partial.write_text("ha")
        raise KeyboardInterrupt
    assert (tmp_path / "a").read_text() == "whole" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("text", ["ação", "caf\udce9", "\ud800", "😀", 'com "aspas"\n'])
def test_json_holds_any_name(tmp_path: Path, text: str) -> None:
    write_json(tmp_path / "a.json", {text: [text]})
    assert json.loads((tmp_path / "a.json").read_bytes()) == {text: [text]} == read_json(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not valid JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": ' + b"1" * 5000 + b"}", "not valid JSON"),
        (b"[1]", "must hold a JSON object, got list"),
        (b"\xff{}", "is not UTF-8"),
    ],
)
def test_damaged_json_is_one_message(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError, match=reason):
        read_json(tmp_path / "a.json", remedy="make it again")


def test_fingerprint_is_of_names_and_contents_not_of_places(tmp_path: Path) -> None:
    for folder, text in (("a", "x"), ("b", "x"), ("c", "y")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "w").write_text(text)
    first, same, other = (fingerprint([tmp_path / name / "w"]) for name in "abc")
    assert first == same != other and len(first) == 16
    assert fingerprint([tmp_path / "a" / "w", tmp_path / "c" / "w"]) not in (first, other)
