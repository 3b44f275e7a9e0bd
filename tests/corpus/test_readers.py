"""Every format gives the documents that were written, plain and compressed."""

import csv
import gzip
import json
import random
import time
from pathlib import Path

import pytest

from tests.corpus.conftest import lines, read, texts
from tinydistil.base.errors import InputError
from tinydistil.corpus.readers import ReadConfig
from tinydistil.corpus.records import unpacked_bytes
from tinydistil.corpus.tables import cells_in

LINES = ["A primeira linha é curta.", "A segunda tem “aspas” e vírgulas, sim.", "Fim."]


def test_txt_lines_skip_blank_ones_and_know_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("\n".join([LINES[0], "", "   ", *LINES[1:]]), encoding="utf-8")
    documents, bad = read(path)
    assert [document.text for document in documents] == LINES and not bad
    assert lines(path) == [1, 4, 5]


def test_txt_blocks_are_separated_by_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\n\num\r\ndois\r\n\r\n \r\ntr\xc3\xaas\n")
    config = ReadConfig(txt_mode="blocks")
    assert texts(path, config) == ["um\ndois", "três"] and lines(path, config) == [3, 7]


@pytest.mark.parametrize("ending", [".jsonl", ".ndjson", ".jsonl.gz", ".JSONL.GZ"])
def test_the_field_of_jsonl_is_configurable(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    rows = [{"corpo": line, "n": i} for i, line in enumerate(LINES)]
    data = "".join(json.dumps(row, ensure_ascii=i == 1) + "\n" for i, row in enumerate(rows)).encode()
    path.write_bytes(gzip.compress(data) if "gz" in ending.lower() else data)
    assert texts(path, ReadConfig(text_field="corpo")) == LINES


@pytest.mark.parametrize(("ending", "delimiter"), [("csv", ","), ("tsv", "\t"), ("csv", ";")])
def test_tables_agree_with_pythons_csv(tmp_path: Path, ending: str, delimiter: str) -> None:
    rows = [
        [1, "simples"],
        [2, f"com {delimiter} separador"],
        [3, 'com "aspas" e\nduas\nlinhas'],
        [4, '"'],
        [5, '""\n""'],
        [6, f'{delimiter}"x"{delimiter}'],
        [7, "fim\n"],
    ]
    path = tmp_path / f"a.{ending}"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows([["id", "text"], *rows])
    documents, bad = read(path, ReadConfig(csv_delimiter=delimiter if ending == "csv" else ","))
    assert not bad
    assert [document.text for document in documents] == [text for _, text in rows]


def test_a_quote_inside_a_field_opens_nothing() -> None:
    assert cells_in(b'1,tela de 5" nova', b",", inside=False) == (2, False)
    assert cells_in(b'1,"tela de 5', b",", inside=False) == (1, True)
    assert cells_in(b'fim",a,"outra', b",", inside=True) == (2, True)
    assert cells_in(b'fim ""dito"" ",', b",", inside=True) == (2, False)
    assert cells_in(b'so ""aspas""', b",", inside=True) == (0, True)
    assert cells_in(b'fim" e', b",", inside=True) is None


def test_quotes_can_be_ordinary_characters(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text('id\ttext\n1\t"abre e não fecha\n2\toutra\n', encoding="utf-8")
    assert texts(path, ReadConfig(table_quotes=False)) == ['"abre e não fecha', "outra"]


def test_table_without_the_column_names_those_it_has(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("titulo;corpo\nx;y\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"no column 'text'; its columns: 'titulo;corpo'.*delimiter"):
        read(path)


VERT = """<doc docid="netg-1" title="Título com "aspas" e <sinais>" uri="http://exemplo.br/a">
<p>
<s>
Disse
"
<g/>
não
<g/>
"
<g/>
,
e
saiu
<g/>
.
</s>
<s>
Voltou
depois
<g/>
.
</s>
</p>
<p>
<s>
Fim
<g/>
.
</s>
</p>
</doc>
"""


def test_vert_keeps_paragraphs_and_sentences(tmp_path: Path) -> None:
    path = tmp_path / "a.vert"
    path.write_text(VERT + VERT.replace("netg-1", "netg-2"), encoding="utf-8")
    documents, bad = read(path)
    assert not bad and len(documents) == 2 and lines(path) == [1, VERT.count("\n") + 1]
    # Glue stands on both sides of the opening quote only where the format says so.
    assert documents[0].sentences == (('Disse "não", e saiu.', "Voltou depois."), ("Fim.",))
    assert documents[0].text == 'Disse "não", e saiu. Voltou depois.\nFim.'


@pytest.mark.parametrize(
    ("damage", "sentences"),
    [
        (lambda t: t.replace("</s>\n<s>", "<s>"), (('Disse "não", e saiu.', "Voltou depois."), ("Fim.",))),
        (
            lambda t: t.replace("<p>", "<p").replace("</p>", "< /p>"),
            (('Disse "não", e saiu.', "Voltou depois."), ("Fim.",)),
        ),
        (lambda t: t.replace("</doc>\n", ""), (('Disse "não", e saiu.', "Voltou depois."), ("Fim.",))),
        (lambda t: t.replace("<g/>", "<g />"), (('Disse "não", e saiu.', "Voltou depois."), ("Fim.",))),
        (lambda t: t.replace("\n", "\r\n"), (('Disse "não", e saiu.', "Voltou depois."), ("Fim.",))),
        (lambda t: t.replace("Voltou", "<3\n<b>\nVoltou"), (('Disse "não", e saiu.', "<3 Voltou depois."), ("Fim.",))),
        (lambda t: "<corpus>\n" + t + "</corpus>\n", (('Disse "não", e saiu.', "Voltou depois."), ("Fim.",))),
    ],
)
def test_vert_survives_damaged_tags(tmp_path: Path, damage: object, sentences: object) -> None:
    path = tmp_path / "a.vert"
    path.write_text(damage(VERT), encoding="utf-8", newline="")  # type: ignore[operator]
    documents, bad = read(path)
    assert not bad and [document.sentences for document in documents] == [sentences]


def test_vert_without_opening_tag_is_a_document_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "a.vert"
    path.write_text(VERT + VERT.replace("<doc docid", "<dco docid"), encoding="utf-8")
    documents, _ = read(path)
    assert lines(path) == [1, VERT.count("\n") + 1]
    assert documents[1].text.endswith("Fim.")


@pytest.mark.parametrize("title", ["a" * 300_000, "= " * 100_000, "a=" * 100_000, "<" * 200_000, " " * 300_000])
def test_vert_attributes_cost_linear_time(tmp_path: Path, title: str) -> None:
    path = tmp_path / "a.vert"
    opening = f'<doc docid="netg-1" title="{title}"'
    path.write_text(f"{opening}\n<p>\n<s>\nOi\n</s>\n</p>\n</doc>\n", encoding="utf-8")
    start = time.perf_counter()
    assert texts(path) == ["Oi"]
    assert time.perf_counter() - start < 5.0


def test_vert_is_the_same_for_any_size_of_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.vert"
    path.write_text(VERT * 3, encoding="utf-8")
    whole, _ = read(path)
    for size in (1, 2, 3, 7, 64):
        monkeypatch.setattr("tinydistil.corpus.readers.BLOCK_BYTES", size)
        assert read(path) == (whole, [])


def test_the_real_sample_of_brwac(data: Path) -> None:
    documents, bad = read(data / "brwac" / "brwac_sample.vert")
    assert len(documents) == 5 and not bad
    assert "Conteúdo recente" in documents[0].text
    assert 'ESPUMA MARROM CHAMADA "NINGUÉM MERECE"' in documents[0].text


def test_zstandard_files(tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard")
    path = tmp_path / "a.txt.zst"
    # Two frames, as parallel compressors write them.
    path.write_bytes(b"".join(zstandard.compress(f"{line}\n".encode()) for line in LINES))
    assert texts(path) == LINES
    path.write_bytes(path.read_bytes()[:-7])
    documents, bad = read(path)
    assert len(documents) <= 2
    assert len(bad) + len(documents) >= 2


def test_parquet_streams_by_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    table = arrow.table({"id": [1, 2, 3, 4], "text": [*LINES, None], "peso": [0.5] * 4})
    parquet.write_table(table, path, row_group_size=2)
    monkeypatch.setattr("tinydistil.corpus.tables.PARQUET_BATCH_ROWS", 1)
    documents, bad = read(path)
    assert [document.text for document in documents] == LINES
    assert [(record.line, "no field 'text'" in record.reason) for record in bad] == [(4, True)]
    with pytest.raises(InputError, match=r"no column 'corpo'; its columns: 'id', 'text', 'peso'"):
        read(path, ReadConfig(text_field="corpo"))


def test_the_size_of_what_is_compressed_is_estimated(tmp_path: Path) -> None:
    draw = random.Random(8)
    data = " ".join("".join(draw.choices("aeiourstlm", k=6)) for _ in range(200_000)).encode()
    plain, packed, empty, broken = (tmp_path / name for name in ("a.txt", "a.txt.gz", "b.txt.gz", "c.txt.gz"))
    plain.write_bytes(data)
    packed.write_bytes(gzip.compress(data))
    empty.write_bytes(b"")
    broken.write_bytes(b"nada de gzip")
    assert unpacked_bytes(plain) == len(data)
    assert abs(unpacked_bytes(packed) / len(data) - 1) < 0.03
    # Short enough to be unpacked whole.
    packed.write_bytes(gzip.compress(data[:5000]))
    assert unpacked_bytes(packed) == 5000
    assert unpacked_bytes(empty) == 0 and unpacked_bytes(broken) == 12


def test_the_size_of_zstandard_files(tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard")
    path = tmp_path / "a.txt.zst"
    path.write_bytes(zstandard.compress(b"abc\n" * 1000))
    assert unpacked_bytes(path) == 4000


@pytest.mark.parametrize(("ending", "package"), [("txt.zst", "zstandard"), ("parquet", "pyarrow.parquet")])
def test_missing_package_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, package: str
) -> None:
    monkeypatch.setitem(__import__("sys").modules, package, None)
    path, name = tmp_path / f"a.{ending}", package.partition(".")[0]
    path.write_bytes(b"x")
    with pytest.raises(InputError, match=rf"needs the package '{package}'; pip install {name} .*tinydistil\[formats\]"):
        read(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("text_field", ""),
        ("csv_delimiter", ""),
        ("csv_delimiter", '"'),
        ("csv_delimiter", "ab"),
        ("txt_mode", "pages"),
        ("on_bad_bytes", "ignore"),
        ("max_document_bytes", 0),
        ("encoding", "utf-16"),
        ("encoding", "nenhuma"),
    ],
)
def test_configuration_checks_itself(field: str, value: object) -> None:
    with pytest.raises(InputError, match=field):
        ReadConfig(**{field: value})  # type: ignore[arg-type]
