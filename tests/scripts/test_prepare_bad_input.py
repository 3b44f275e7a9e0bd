"""Whatever a user gets wrong is one message with its name and a remedy, exit code 2, no traceback."""

import gzip
import json
import os
import re
import resource
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

Call = Callable[..., int]
WriteCorpus = Callable[[Path, int], Path]
GOOD = "À noite, os vizinhos da vila contavam histórias de quando o rio ainda corria limpo atrás das casas."


@dataclass
class Case:
    """A mistake: `make` prepares it in a folder that holds good.jsonl; `arguments` come after the good
    ones.
    """

    message: str
    arguments: list[str] = field(default_factory=list)
    make: Callable[[Path], object] = lambda folder: None


def text(name: str, content: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(content, encoding="utf-8")


def raw(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


LOREM = json.dumps({"text": GOOD * 5}, ensure_ascii=False).encode()

CASES = {
    # paths
    "input missing": Case(r"--input is missing; name files", ["--input"]),
    "no such file": Case(r"no file or folder 'none.jsonl'; give an existing", ["--input", "none.jsonl"]),
    "no such glob": Case(r"no file matches '\*.vert'", ["--input", "*.vert"]),
    "unknown format": Case(
        r"'a.docx' is of no known format; known endings: .txt", ["--input", "a.docx"], text("a.docx", "x")
    ),
    "empty folder": Case(r"folder 'empty' holds no file", ["--input", "empty"], lambda f: (f / "empty").mkdir()),
    "link to itself": Case(
        r"'loop.txt'(;| cannot be followed)",
        ["--input", "loop.txt"],
        lambda f: (f / "loop.txt").symlink_to("loop.txt"),
    ),
    "pipe": Case(r"'pipe.txt' is no regular file", ["--input", "pipe.txt"], lambda f: os.mkfifo(f / "pipe.txt")),
    # content: nothing is left
    "empty file": Case(
        r"no document of 0 was kept; the input holds no document", ["--input", "a.txt"], text("a.txt", "")
    ),
    "binary": Case(
        r"first a.txt:1: not UTF-8 text: \d+ of the first \d+ bytes",
        ["--input", "a.txt"],
        raw("a.txt", bytes(range(256)) * 40),
    ),
    "truncated gzip": Case(
        r"a.jsonl.gz:1: truncated",
        ["--input", "a.jsonl.gz"],
        raw("a.jsonl.gz", gzip.compress(os.urandom(9000).hex().encode())[:4000]),
    ),
    "no gzip": Case(r"a.jsonl.gz:1: damaged gzip", ["--input", "a.jsonl.gz"], raw("a.jsonl.gz", b"plain text " * 100)),
    "json of another field": Case(
        r"first a.jsonl:1: no field 'text'; fields: 'corpo'",
        ["--input", "a.jsonl"],
        text("a.jsonl", '{"corpo": "x"}\n'),
    ),
    "broken json": Case(
        r"first a.jsonl:2: not valid JSON", ["--input", "a.jsonl"], text("a.jsonl", '\n{"text": \n[]\n')
    ),
    "csv without the column": Case(r"a.csv.*'text'", ["--input", "a.csv"], text("a.csv", "id,corpo\n1,x\n")),
    "line beyond the limit": Case(
        r"a.txt:1: line is longer than 99 bytes",
        ["--input", "a.txt", "--set", "read.max_document_bytes=99"],
        raw("a.txt", b"x" * 5_000_000),
    ),
    "bytes skipped": Case(
        r"a.txt:1: 1 undecodable",
        ["--input", "a.txt", "--set", "read.on_bad_bytes=skip"],
        raw("a.txt", GOOD.encode() + b"\xff"),
    ),
    "all too short": Case(
        r"no document of 2 was kept; 2 were dropped by rule 'too_short'; see table.json",
        ["--input", "a.txt"],
        text("a.txt", "Oi.\nSim, vou.\n"),
    ),
    # options
    "unknown option": Case(r"unknown option 'max_lenght'; did you mean 'max_length'\?", ["--set", "max_lenght=9"]),
    "unknown option of a table": Case(
        r"unknown option 'read.txt_mod'; did you mean 'txt_mode'", ["--set", "read.txt_mod=lines"]
    ),
    "no assignment": Case(r"'max_length' must have the form section.key=value", ["--set", "max_length"]),
    "wrong type": Case(r"max_length must be of type int, got 'long'", ["--set", "max_length=long"]),
    "length too small": Case(r"max_length must be in 8..65536, got 3", ["--max-length", "3"]),
    "share too large": Case(r"validation_share must be .* got 1.5", ["--set", "validation_share=1.5"]),
    "segment of nothing": Case(r"segment_mb must be in .* got 0", ["--set", "segment_mb=0"]),
    "threshold": Case(r"threshold must be in \(0, 1\), got 7.0", ["--set", "duplicates.threshold=7"]),
    "samples": Case(r"sample_dropped must be in 0..10000, got -1", ["--sample-dropped", "-1"]),
    "workers beyond the machine": Case(r"--workers must be <= \d+, 16 for each core", ["--workers", "1024"]),
    "workers": Case(r"--workers must be in 0..1024, got -2", ["--workers", "-2"]),
    "no config file": Case(r"configuration file 'none.toml' does not exist", ["--config", "none.toml"]),
    "config no toml": Case(r"'a.toml' is not valid TOML", ["--config", "a.toml"], text("a.toml", "max_length = = 3")),
    "config unknown key": Case(
        r"unknown option 'cleaning'; did you mean 'clean'",
        ["--config", "a.toml"],
        text("a.toml", "[cleaning]\nhtml = true"),
    ),
    # tokenizers
    "tokenizer missing": Case(r"--tokenizer is missing; name a folder", ["--tokenizer", ""]),
    "tokenizer empty folder": Case(
        r"'empty' has no tokenizer: neither tokenizer.json nor vocab.txt",
        ["--tokenizer", "./empty"],
        lambda f: (f / "empty").mkdir(),
    ),
    "tokenizer damaged": Case(
        r"tokenizer.json' is not valid JSON",
        ["--student-tokenizer", "./bad"],
        lambda f: ((f / "bad").mkdir(), (f / "bad" / "tokenizer.json").write_text("{")),
    ),
    # evaluation sets
    "no such evaluation set": Case(r"evaluation set 'test.xml' does not exist", ["--eval-set", "test.xml"]),
    "damaged evaluation set": Case(
        r"evaluation set 'test.xml' cannot be read",
        ["--eval-set", "test.xml"],
        text("test.xml", "<pairs><pair>"),
    ),
    "empty evaluation set": Case(
        r"evaluation set 'test.txt' holds no text of 8 words",
        ["--eval-set", "test.txt"],
        text("test.txt", "\n"),
    ),
    # output
    "output is a file": Case(r"output 'taken' is a file; name a folder", ["--output", "taken"], text("taken", "x")),
    "output below a file": Case(
        r"output 'taken/out' cannot be made \(Not a directory\); name",
        ["--output", "taken/out"],
        text("taken", "x"),
    ),
    "output of others": Case(
        r"output 'theirs' holds 'tese.odt', which this program did not write",
        ["--output", "theirs"],
        lambda f: ((f / "theirs").mkdir(), (f / "theirs" / "tese.odt").write_text("x")),
    ),
    "output damaged": Case(
        r"config.json' is not valid JSON",
        ["--output", "torn"],
        lambda f: ((f / "torn").mkdir(), (f / "torn" / "config.json").write_text("{")),
    ),
    "verify nothing": Case(r"none/manifest.json does not exist; make a corpus with", ["--output", "none", "--verify"]),
}


@pytest.mark.parametrize("name", CASES)
def test_one_message_and_exit_code_2(
    name: str,
    call: Call,
    tokenizer: Path,
    write_corpus: WriteCorpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_corpus(tmp_path / "good.jsonl", 20)
    CASES[name].make(tmp_path)
    arguments = ["--input", "good.jsonl", "--output", "out", "--tokenizer", tokenizer, "--workers", 0]
    if CASES[name].arguments == ["--input"]:
        arguments, extra = arguments[2:], []
    else:
        extra = CASES[name].arguments
    assert call(*arguments, *extra) == 2
    message = capfd.readouterr().err
    assert re.search(CASES[name].message, message), message
    assert "Traceback" not in message
    assert message.strip().splitlines()[-1].startswith("error: ")
    assert not list(tmp_path.glob("*/manifest.json"))


def test_bad_lines_among_good_ones_are_counted(
    call: Call, tokenizer: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    good = [json.dumps({"text": f"{GOOD} Capítulo {n}. " * (n + 3)}, ensure_ascii=False).encode() for n in range(9)]
    bad = [b"{", b'{"texto": 1}', b'{"text": 3}', b"[]", b'{"text": "\xff\xfe' + GOOD.encode() * 3 + b'"}']
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(good[:4] + bad + good[4:]))
    arguments = ["--input", tmp_path / "a.jsonl", "--output", tmp_path / "out", "--tokenizer", tokenizer]
    assert call(*arguments, "--no-near-duplicates", "--set", 'clean.skip=["repeated_ngrams"]') == 0
    shown = capfd.readouterr().out
    assert re.search(r"dropped +unreadable +4 ", shown)
    assert "a.jsonl:5: not valid JSON" in shown
    assert "undecodable bytes replaced: 2 in 1 documents" in shown


def test_a_line_of_200_mb_is_skipped(call: Call, tokenizer: Path, write_corpus: WriteCorpus, tmp_path: Path) -> None:
    path = write_corpus(tmp_path / "a.jsonl", 5)
    with path.open("ab") as handle:
        handle.write(b'{"text": "')
        for _ in range(200):
            handle.write(b"palavra " * 125_000)
        handle.write(b'"}\n')
    before = peak_mib()
    assert call("--input", path, "--output", tmp_path / "out", "--tokenizer", tokenizer, "--workers", 0) == 0
    assert (
        json.loads((tmp_path / "out" / "manifest.json").read_text())["counts"]["dropped"]["unreadable"]["documents"]
        == 1
    )
    assert peak_mib() - before < 60


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def test_verify_names_the_flipped_shard_and_the_wrong_tokenizer(
    call: Call, tokenizer: Path, write_corpus: WriteCorpus, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write_corpus(tmp_path / "a.jsonl", 20)
    out = tmp_path / "out"
    assert call("--input", path, "--output", out, "--tokenizer", tokenizer) == 0
    assert call("--output", out, "--verify") == 0 and call("--output", out, "--verify", "--tokenizer", tokenizer) == 0
    assert "all hashes are as the manifest says" in capfd.readouterr().out
    other = tmp_path / "other"
    other.mkdir()
    (other / "vocab.txt").write_bytes((tokenizer / "vocab.txt").read_bytes())
    assert call("--output", out, "--verify", "--tokenizer", other) == 2
    assert re.search(r"fingerprint of tokenizer is \w{12}, that of the one given", capfd.readouterr().err)
    shard = out / "train-000000.safetensors"
    data = bytearray(shard.read_bytes())
    data[-5] ^= 4
    shard.write_bytes(data)
    assert call("--output", out, "--verify") == 2
    assert re.search(r"train-000000.safetensors: sha256 is .*--overwrite", capfd.readouterr().err)


def test_another_config_is_refused_unless_overwritten(
    call: Call, tokenizer: Path, write_corpus: WriteCorpus, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write_corpus(tmp_path / "a.jsonl", 20)
    arguments = ["--input", path, "--output", tmp_path / "out", "--tokenizer", tokenizer, "--workers", 0]
    assert call(*arguments) == 0
    assert call(*arguments) == 0
    assert "finished already; nothing to do" in capfd.readouterr().out
    assert call(*arguments, "--max-length", 32) == 2
    assert "config.max_length = 128, now it is 32" in capfd.readouterr().err
    assert call(*arguments, "--max-length", 32, "--overwrite") == 0
    assert json.loads((tmp_path / "out" / "config.json").read_text())["config"]["max_length"] == 32


def test_flags_go_over_set_and_set_over_the_file(
    call: Call, tokenizer: Path, write_corpus: WriteCorpus, tmp_path: Path
) -> None:
    path = write_corpus(tmp_path / "a.jsonl", 20)
    (tmp_path / "a.toml").write_text(
        "max_length = 40\nseed = 4\nsegment_mb = 5\n[duplicates]\nnear = true\nthreshold = 0.7\n"
    )
    assert (
        call(
            "--input",
            path,
            "--output",
            tmp_path / "out",
            "--tokenizer",
            tokenizer,
            "--config",
            tmp_path / "a.toml",
            "--set",
            "seed=5",
            "--set",
            "segment_mb=6",
            "--seed",
            6,
            "--no-near-duplicates",
        )
        == 0
    )
    config = json.loads((tmp_path / "out" / "config.json").read_text())["config"]
    assert (config["max_length"], config["seed"], config["segment_mb"]) == (40, 6, 6)
    assert config["duplicates"]["near"] is False and config["duplicates"]["threshold"] == 0.7
