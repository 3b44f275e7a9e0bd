"""Bad input is counted with its place, or refused with a remedy; never a traceback, never without bound."""

import gzip
import json
import os
import tracemalloc
from pathlib import Path

import pytest

from tests.corpus.conftest import read, texts
from tinydistil.base.errors import InputError
from tinydistil.corpus.prepare_config import find_files
from tinydistil.corpus.readers import ReadConfig, read_records

SENTENCE = "O rio corre devagar até o mar."


def test_truncated_gzip_keeps_what_came_before(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.gz"
    whole = gzip.compress("".join(f"{SENTENCE} {i}\n" for i in range(20_000)).encode())
    path.write_bytes(whole[: len(whole) // 2])
    documents, bad = read(path)
    assert 1_000 < len(documents) < 20_000
    assert all(document.text == f"{SENTENCE} {i}" for i, document in enumerate(documents))
    assert [str(record) for record in bad] == [
        f"{path}:{len(documents) + 1}: truncated: the compressed stream ends too early"
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"isto nao e gzip\n", "damaged gzip data: Not a gzipped file"),
        (gzip.compress(b"abc\n" * 1000, mtime=0)[:-8] + b"\0" * 8, "damaged gzip data: CRC check failed"),
        (gzip.compress(b"abc\n", mtime=0) + b"lixo", "damaged gzip data: Not a gzipped file"),
    ],
)
def test_damaged_gzip_is_one_bad_record(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "a.txt.gz"
    path.write_bytes(content)
    _, bad = read(path)
    assert len(bad) == 1 and bad[0].reason.startswith(reason)


@pytest.mark.parametrize("content", [bytes(range(256)) * 64, "Olá, mundo.\n".encode("utf-16"), b"\x7fELF" + bytes(64)])
def test_binary_and_utf16_files_are_one_bad_record(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    documents, bad = read(path)
    assert not documents and len(bad) == 1 and "not UTF-8 text" in bad[0].reason


def test_invalid_utf8_is_replaced_and_counted_or_skipped(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"cora\xe7\xe3o partido\nlimpa \xef\xbf\xbd\n")
    documents, bad = read(path)
    assert [(document.text, document.replaced) for document in documents] == [
        ("cora\ufffd\ufffdo partido", 2),
        ("limpa \ufffd", 0),
    ]
    documents, bad = read(path, ReadConfig(on_bad_bytes="skip"))
    assert [document.text for document in documents] == ["limpa \ufffd"]
    assert [(record.line, record.reason) for record in bad] == [(1, "2 undecodable sequences")]
    assert texts(path, ReadConfig(encoding="cp1252"))[0] == "coração partido"


@pytest.mark.parametrize(
    ("ending", "before", "after", "filling"),
    [
        ("txt", "", "\n", b"a" * 997),
        ("jsonl", '{"text": "', '"}\n', b"a" * 997),
        ("csv", 'text\n"', '"\n', b"a" * 997),
        ("vert", "<doc>\n", "\n</doc>\n", b"a" * 997),
        ("vert", '<doc title="', '">\nb\n</doc>\n', b"a" * 997),
        ("vert", "<doc>\n", "\n</doc>\n", b"a\nb\nc\n" * 166),
    ],
)
def test_a_giant_record_is_counted_in_bounded_memory(
    tmp_path: Path, ending: str, before: str, after: str, filling: bytes
) -> None:
    path, small = (
        tmp_path / f"a.{ending}.gz",
        {"txt": "fim\n", "jsonl": '{"text": "fim"}\n', "csv": "fim\n", "vert": "<doc>\nfim\n</doc>\n"}[ending],
    )
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(before.encode())
        for _ in range(30_000):  # 30 MB
            file.write(filling)
        file.write((after + small).encode())
    tracemalloc.start()
    records = list(read_records(path, ReadConfig(max_document_bytes=100_000)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    bad = [record for record in records if not hasattr(record, "data")]
    assert len(bad) == 1 and "100000 bytes" in bad[0].reason
    assert records[-1] is not bad[0] and b"fim" in records[-1].data  # type: ignore[union-attr]
    # Some copies of a block of 1 MiB, where the record has 30.
    assert peak < 10 * 2**20


def test_a_block_that_is_too_long_is_skipped_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("um\n\n" + "cheio\n" * 50 + "\nfim\n", encoding="utf-8")
    documents, bad = read(path, ReadConfig(txt_mode="blocks", max_document_bytes=100))
    assert [document.text for document in documents] == ["um", "fim"]
    assert [(record.line, record.reason) for record in bad] == [(3, "block is longer than 100 bytes")]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"text": "aberta', "not valid JSON: Unterminated string starting at at column 10"),
        ('{"corpo": "x"}', "no field 'text'; fields: 'corpo'"),
        ('{"text": null}', "no field 'text'"),
        ('{"text": ["x"]}', "field 'text' is no text but list"),
        ('["text"]', "a JSON object is expected, got list"),
        ("[" * 100_000, "maximum recursion depth exceeded"),
        ('{"text": "x", "n": ' + "9" * 5000 + "}", "Exceeds the limit"),
        ("\ufeff", "not valid JSON"),
    ],
)
def test_broken_jsonl_lines_are_counted_with_their_place(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "a.jsonl"
    good = json.dumps({"text": SENTENCE}) + "\n"
    path.write_text(good + line + "\n" + good, encoding="utf-8")
    documents, bad = read(path)
    assert [document.text for document in documents] == [SENTENCE, SENTENCE]
    assert [(record.file, record.line) for record in bad] == [(str(path), 2)]
    assert bad[0].reason.startswith(reason)


def test_lone_surrogates_and_nul_in_json_escapes(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(r'{"text": "a\ud83db \ud83d\ude00 \u0000c"}' + "\n", encoding="utf-8")
    documents, _ = read(path)
    assert [(document.text, document.replaced) for document in documents] == [("a\ufffdb 😀 \0c", 1)]
    assert documents[0].text.encode("utf-8")


def test_byte_order_mark_and_crlf_leave_no_trace(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'\xef\xbb\xbftext,id\r\n"um\r\ndois",1\r\n')
    assert texts(path) == ["um\ndois"]


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.csv", "a.vert", "a.txt.gz"])
def test_empty_files_hold_nothing(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(b"") if name.endswith("gz") else b"")
    assert read(path) == ([], [])


def test_table_rows_that_do_not_fit_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('id,text\n1,a,b\n2,boa\n3,"nunca fecha\n', encoding="utf-8")
    documents, bad = read(path)
    assert [document.text for document in documents] == ["boa"]
    assert [(record.line, record.reason) for record in bad] == [
        (2, "row has 3 fields where the header has 2"),
        (
            4,
            "a quote opens a field here and does not close as RFC 4180 has it; if quotes are ordinary characters, "
            "set table_quotes=false (finetune.py: --no-quotes)",
        ),
    ]


def test_nul_bytes_in_text_are_no_reason_to_refuse(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(SENTENCE.encode() * 3 + b"\0\n")
    assert texts(path) == [SENTENCE * 3 + "\0"]


def test_find_files_in_folders_globs_and_through_links(tmp_path: Path) -> None:
    (tmp_path / "dentro" / "fundo").mkdir(parents=True)
    for name in ("b.txt", "a.jsonl.gz", "leia.md", "dentro/c.vert", "dentro/fundo/d.csv", ".oculto.txt"):
        (tmp_path / name).write_text("x")
    (tmp_path / "dentro" / "volta").symlink_to(tmp_path)  # a loop
    (tmp_path / "mesmo.txt").symlink_to(tmp_path / "b.txt")
    expected = ["a.jsonl.gz", "b.txt", "dentro/c.vert", "dentro/fundo/d.csv"]
    assert find_files([str(tmp_path)]) == [tmp_path / name for name in expected]
    assert find_files([f"{tmp_path}/*.txt", f"{tmp_path}/b.txt"]) == [tmp_path / "b.txt"]
    assert find_files([f"{tmp_path}/dentro/f*/**/*"]) == [tmp_path / "dentro/fundo/d.csv"]


def test_folders_that_the_kernel_makes_up_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of /proc, say: its processes end while they are listed, and link to every folder of the machine."""
    for name in ("proc/7", "proc/7/cwd", "sys", "process"):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / name / "a.txt").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "proc")
    made_up = (str(tmp_path / "proc"), str(tmp_path / "sys"), str(tmp_path / "none"))
    monkeypatch.setattr("tinydistil.corpus.prepare_config._MADE_UP", made_up)
    assert find_files([str(tmp_path)]) == [tmp_path / "process" / "a.txt"]
    for name in ("proc", "sys", "link"):
        with pytest.raises(InputError, match="holds no file of a known format"):
            find_files([str(tmp_path / name)])


def test_find_files_names_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "vazia").mkdir()
    (tmp_path / "a.pdf").write_text("x")
    os.mkfifo(tmp_path / "cano.txt")
    (tmp_path / "laco.txt").symlink_to(tmp_path / "laco.txt")
    (tmp_path / "quebrados").mkdir()
    (tmp_path / "quebrados" / "a.txt").symlink_to(tmp_path / "nada.txt")
    for name, message in [
        ("nada.txt", "there is no file or folder"),
        ("nada/*.txt", "no file matches"),
        ("vazia", "holds no file of a known format"),
        ("a.pdf", "of no known format; known endings: .txt"),
        ("*.pdf", "matches no file of a known format"),
        ("cano.txt", "no regular file"),
        ("laco.txt", "cannot be followed|no file or folder"),
        ("quebrados", "leads nowhere"),
    ]:
        with pytest.raises(InputError, match=message):
            find_files([str(tmp_path / name)])
    with pytest.raises(InputError, match="no input files given"):
        find_files([])
