"""Sound files are read as meant, those that would take the machine are refused, what libraries raise is translated."""

import datetime
import decimal
import gzip
import io
import json
import unicodedata
from encodings.aliases import aliases
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.corpus.conftest import read, texts
from tinydistil.base.errors import InputError
from tinydistil.corpus.duplicates import EvaluationNgrams, evaluation_texts
from tinydistil.corpus.prepare import looks_wrapped
from tinydistil.corpus.prepare_config import find_files
from tinydistil.corpus.readers import ReadConfig, keeps_ascii, parse_record
from tinydistil.corpus.records import open_lines, unpacked_bytes
from tinydistil.tasks.labelled import Columns, class_name, is_missing, number, read_labelled

SENTENCE = "O rio corre devagar até o mar."


def labelled(path: Path, content: str | bytes, columns: Columns | None = None, *, numbers: bool = False):  # type: ignore[no-untyped-def]
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_labelled(path, columns or Columns(), numbers=numbers)


# Labels


@pytest.mark.parametrize("value", ["None", "null", "NULL", "N/A", "n/a", "NA", "nan", "NaN", "<NA>", "#N/A", " None "])
def test_what_stands_for_no_value_is_set_aside(tmp_path: Path, value: str) -> None:
    data = labelled(tmp_path / "a.csv", f"text,label\na,{value}\n{value},x\nb,x\n")
    assert [(row.text, row.label) for row in data.examples] == [("b", "x")]
    assert [bad.line for bad in data.bad] == [2, 3] and "stands for no value" in data.bad[0].reason


def test_words_and_assins_class_are_no_missing_values(tmp_path: Path) -> None:
    assert not any(map(is_missing, ("na", "Na", "nada", "nenhum", "0", "-", "nulo")))
    data = labelled(tmp_path / "a.xml", '<c><pair entailment="None"><t>a</t><h>na</h></pair></c>')
    assert [(row.label, row.second) for row in data.examples] == [("None", "na")]


@pytest.mark.parametrize(
    ("spellings", "name"),
    [
        (("não", unicodedata.normalize("NFD", "não")), "não"),
        (("1", "1.0", "1.00"), "1"),
        (("-1", "-1.0"), "-1"),
        (("positivo", " positivo "), "positivo"),
    ],
)
def test_spellings_of_one_class_are_one_with_a_note(tmp_path: Path, spellings: tuple[str, ...], name: str) -> None:
    rows = "".join(f"t,{label}\n" for label in spellings)
    data = labelled(tmp_path / "a.csv", f"text,label\n{rows}")
    assert {row.label for row in data.examples} == {name} == {class_name(label) for label in spellings}
    assert ("is also spelled" in data.report()) == (len({label.strip() for label in spellings}) > 1)


def test_numbers_and_floats_of_json_are_one_class(tmp_path: Path) -> None:
    data = labelled(
        tmp_path / "a.jsonl", '{"text":"a","label":1}\n{"text":"b","label":1.0}\n{"text":"c","label":"1"}\n'
    )
    assert [row.label for row in data.examples] == [
        "1",
        "1",
        "1",
    ] and "class '1' is also spelled '1.0'" in data.report()


@pytest.mark.parametrize(
    "pair", [("Pos", "pos"), ("não", "nao"), ("2", "２"), ("1.5", "1,5"), ("muito bom", "muito_bom")]
)
def test_classes_that_look_alike_are_named(tmp_path: Path, pair: tuple[str, str]) -> None:
    data = labelled(tmp_path / "a.tsv", f"text\tlabel\na\t{pair[0]}\nb\t{pair[1]}\n")
    assert [row.label for row in data.examples] == list(pair)
    assert all(repr(label) in data.notes[0] for label in pair) and "told apart" in data.notes[0]


def test_classes_that_differ_get_no_note(tmp_path: Path) -> None:
    assert labelled(tmp_path / "a.csv", "text,label\na,1\nb,-1\nc,A+\nd,A-\ne,B\n").notes == ()


def test_labels_that_no_file_can_hold_are_set_aside(tmp_path: Path) -> None:
    data = labelled(tmp_path / "a.jsonl", '{"text":"a","label":"\\ud800"}\n{"text":"b","label":"x"}\n')
    assert len(data.examples) == 1 and data.bad[0].line == 1 and "\\ud800" in data.bad[0].reason


# Numbers


@pytest.mark.parametrize(
    ("text", "value"),
    [("3.75", "3.75"), (" 4 ", "4"), ("-.5", "-.5"), ("5.", "5."), ("1e3", "1e3"), ("+2", "+2")]
    + [
        (bad, None)
        for bad in ("1_000", "１２", "٣", "inf", "nan", "1e400", "0x10", "3,75", "1.000,5", "", "1 000", "²")
    ],
)
def test_numbers_are_ascii_and_finite(text: str, value: str | None) -> None:
    assert number(text) == value
    assert value is None or float(value) == float(text)


def test_decimal_commas_by_option() -> None:
    assert [number(text, ",") for text in ("3,75", "4", "-,5", "3.75", "1.000,5")] == ["3.75", "4", "-.5", None, None]


@pytest.mark.parametrize(
    ("sign", "labels"), [(".", ["3,75", "4", "2,5"]), (".", ["4", "2,5"]), (",", ["3.75", "4"]), (".", ["-0,5", "1"])]
)
def test_a_column_of_the_other_decimal_sign_is_refused_once(tmp_path: Path, sign: str, labels: list[str]) -> None:
    path, other = tmp_path / "a.tsv", "." if sign == "," else ","
    content = "text\tlabel\n" + "".join(f"t\t{label}\n" for label in labels)
    with pytest.raises(InputError, match=rf"column 'label' with a decimal .*--decimal '\{other}'"):
        labelled(path, content, Columns(decimal=sign), numbers=True)
    data = labelled(path, content, Columns(decimal=other), numbers=True)
    assert [float(row.label) for row in data.examples] == [float(label.replace(",", ".")) for label in labels]


def test_both_decimal_signs_in_one_column_are_told(tmp_path: Path) -> None:
    data = labelled(tmp_path / "a.tsv", "text\tlabel\na\t1,5\nb\t2.5\nc\t3\n", numbers=True)
    assert [row.label for row in data.examples] == [
        "2.5",
        "3",
    ] and "with a decimal comma: 1, the first in line 2" in data.report()


# Columns


@pytest.mark.parametrize(
    ("names", "flag"),
    [
        ("texto,label", "--text-column texto"),
        ("Sentence,label", "--text-column Sentence"),
        ("text,rotulo", "--label-column rotulo"),
        ("text,sentiment", "--label-column sentiment"),
        ("text,xyz", "--label-column NAME"),
    ],
)
def test_a_missing_column_names_the_flag(tmp_path: Path, names: str, flag: str) -> None:
    with pytest.raises(InputError, match=flag):
        labelled(tmp_path / "a.csv", f"{names}\na,b\n")


def test_columns_are_compared_composed_and_without_space(tmp_path: Path) -> None:
    content = unicodedata.normalize("NFD", " text ;rótulo\na;x\n")
    data = labelled(tmp_path / "a.csv", content, Columns(label="rótulo", delimiter=";"))
    assert [(row.text, row.label) for row in data.examples] == [("a", "x")]


def test_marks_inside_assins_sentences_divide_nothing(tmp_path: Path) -> None:
    content = '<c><pair entailment="E"><t>um <b>gato</b> só</t> x <h>é <i/>isso</h></pair></c>'
    row = labelled(tmp_path / "a.xml", content).examples[0]
    assert (row.text, row.second) == ("um gato só", "é isso")


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.tsv"])
def test_a_file_of_another_encoding_is_refused_once(tmp_path: Path, name: str) -> None:
    """Rows without accents would be left, and be no sample of it."""
    texts_ = ["Não gostei", "Bom", "Ação", "Ruim", "É só"]
    separator = "\t" if name.endswith("tsv") else ","
    content = f"text{separator}label\n" + "".join(f"{text}{separator}x\n" for text in texts_)
    if name.endswith("jsonl"):
        content = "".join(json.dumps({"text": text, "label": "x"}, ensure_ascii=False) + "\n" for text in texts_)
    with pytest.raises(InputError, match=r"3 rows, and every one with accents, are not utf-8.*--encoding"):
        labelled(tmp_path / name, content.encode("cp1252"))
    data = labelled(tmp_path / name, content.encode("cp1252"), Columns(encoding="cp1252"))
    assert [row.text for row in data.examples] == texts_


def test_one_damaged_row_costs_one_row(tmp_path: Path) -> None:
    data = labelled(tmp_path / "a.csv", b"text,label\n" + b"a,x\n" * 40 + "não,x\n".encode("cp1252"))
    assert len(data.examples) == 40 and [bad.line for bad in data.bad] == [42]


# Containers


@pytest.mark.parametrize("log", [27, 28, 31])
def test_zstd_with_a_long_window(tmp_path: Path, log: int) -> None:
    zstandard = pytest.importorskip("zstandard")
    parameters = zstandard.ZstdCompressionParameters(window_log=log, enable_ldm=True)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    path = tmp_path / "a.jsonl.zst"
    path.write_bytes(packer.compress((json.dumps({"text": SENTENCE}) + "\n").encode() * 50) + packer.flush())
    assert texts(path) == [SENTENCE] * 50
    assert unpacked_bytes(path) > 0


@pytest.mark.parametrize("ending", ["zst", "gz"])
def test_what_unpacks_to_any_size_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    monkeypatch.setattr("tinydistil.corpus.records.ALWAYS_UNPACKED", 1 << 22)
    monkeypatch.setattr("tinydistil.corpus.records.MOST_RATIO", 500)
    path, block = tmp_path / f"a.txt.{ending}", b"a" * (1 << 20)
    if ending == "zst":
        zstandard = pytest.importorskip("zstandard")
        packer = zstandard.ZstdCompressor().compressobj()
        path.write_bytes(b"".join(packer.compress(block) for _ in range(80)) + packer.flush())
    else:
        path.write_bytes(gzip.compress(block * 80, compresslevel=9))
    documents, bad = read(path)
    assert not documents and "unpacks to more than 500 times its size" in bad[-1].reason
    assert unpacked_bytes(path) <= 80 << 20


@pytest.mark.parametrize("name", ["a.json", "a.json.gz", "a.JSON.GZ"])
def test_json_lines_under_the_name_of_json(tmp_path: Path, name: str) -> None:
    path, data = tmp_path / name, (json.dumps({"text": SENTENCE}) + "\n").encode() * 3
    path.write_bytes(gzip.compress(data) if name.lower().endswith("gz") else data)
    assert find_files([str(tmp_path)]) == [path] and texts(path) == [SENTENCE] * 3


PARAGRAPHS = [["Um.", "Dois. "], [], ["Três\nquatro."]]
NESTED = (("Um.", "Dois."), ("Três quatro.",))


@pytest.mark.parametrize(
    ("row", "sentences"),
    [
        ({"text": {"paragraphs": PARAGRAPHS}}, NESTED),
        ({"paragraphs": PARAGRAPHS, "uri": "x"}, NESTED),
        ({"text": PARAGRAPHS}, NESTED),
        ({"text": {"paragraphs": ["Um. Dois.", "Três quatro."]}}, None),
    ],
)
def test_nested_paragraphs(tmp_path: Path, row: dict[str, object], sentences: object) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(row) + "\n")
    documents, bad = read(path)
    assert not bad and documents[0].sentences == sentences and documents[0].text == "Um. Dois.\nTrês quatro."


@pytest.mark.parametrize("value", [{"paragraphs": 3}, {"paragraphs": [["a", 1]]}, {"p": []}, ["a"], [["a"], "b"], 7])
def test_other_nesting_is_set_aside(tmp_path: Path, value: object) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"text": value}) + "\n")
    documents, bad = read(path)
    assert not documents and "is no text but" in bad[0].reason


def test_compressed_xml(tmp_path: Path) -> None:
    content = '<c><pair entailment="E"><t>Ação</t><h>b</h></pair></c>'
    path = tmp_path / "a.xml.gz"
    assert labelled(path, gzip.compress(content.encode())).examples[0].text == "Ação"
    with pytest.raises(InputError, match=r"no whole XML.*damaged gzip"):
        labelled(path, content)


# Parquet


def parquet(path: Path, **columns: object) -> Path:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.table(columns), path)
    return path


def test_parquet_kinds_of_text(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    for kind in (arrow.string(), arrow.large_string(), arrow.binary(), arrow.large_binary()):
        values = [SENTENCE.encode() if "binary" in str(kind) else SENTENCE, None]
        documents, bad = read(parquet(tmp_path / "a.parquet", text=arrow.array(values, kind)))
        assert [document.text for document in documents] == [SENTENCE] and len(bad) == 1, kind
    words = arrow.array([SENTENCE, "b"]).dictionary_encode()
    assert texts(parquet(tmp_path / "b.parquet", text=words)) == [SENTENCE, "b"]
    assert texts(parquet(tmp_path / "c.parquet", text=[{"paragraphs": [["a.", "b."]]}])) == ["a. b."]
    fixed = arrow.array([b"abc"], arrow.binary(3))
    assert texts(parquet(tmp_path / "d.parquet", text=fixed, id=fixed)) == ["abc"]
    latin = parquet(tmp_path / "e.parquet", text=arrow.array(["Ação".encode("cp1252")]))
    assert texts(latin, ReadConfig(encoding="cp1252")) == ["Ação"]


def test_parquet_strings_that_are_no_utf8_are_replaced_and_counted(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    raw = arrow.array(["Ação".encode("cp1252"), SENTENCE.encode()])
    column = arrow.Array.from_buffers(arrow.string(), 2, raw.buffers())
    documents, bad = read(parquet(tmp_path / "a.parquet", text=column))
    assert [(each.text, each.replaced) for each in documents] == [("A\ufffd\ufffdo", 2), (SENTENCE, 0)] and not bad
    documents, bad = read(tmp_path / "a.parquet", ReadConfig(on_bad_bytes="skip"))
    assert len(documents) == len(bad) == 1


@pytest.mark.parametrize(
    "values", [[datetime.date(2020, 1, 1)], [decimal.Decimal("1.5")], [1], [datetime.datetime(2020, 1, 1)], [True]]
)
def test_parquet_columns_of_something_else_are_no_text(tmp_path: Path, values: list[object]) -> None:
    path = parquet(tmp_path / "a.parquet", text=values, label=["x"])
    with pytest.raises(InputError, match=r"column 'text' of .* not text"):
        read(path)
    with pytest.raises(InputError, match="'text' is no text"):
        read_labelled(path, Columns(), numbers=False)


def test_parquet_dates_out_of_range_cost_no_row(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    path = parquet(tmp_path / "a.parquet", text=[SENTENCE], source=arrow.array([10**15], arrow.timestamp("s")))
    assert texts(path) == [SENTENCE]


def test_parquet_for_tasks(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", text=["a", "b", None], label=[1.0, 2.0, 3.0])
    data = read_labelled(path, Columns(), numbers=False)
    assert [(row.text, row.label) for row in data.examples] == [("a", "1"), ("b", "2")] and [
        bad.line for bad in data.bad
    ] == [3]
    parquet(path, text=["a"], label=[decimal.Decimal("3.75")])
    assert read_labelled(path, Columns(), numbers=True).examples[0].label == "3.75"
    with pytest.raises(InputError, match="--label-column"):
        read_labelled(path, Columns(label="nota"), numbers=True)


@pytest.mark.parametrize("damage", ["cut", "page", "header", "empty"])
def test_damaged_parquet_is_one_message(tmp_path: Path, damage: str) -> None:
    data = parquet(tmp_path / "a.parquet", text=[f"{SENTENCE} {number}" for number in range(2000)]).read_bytes()
    content = {
        "cut": data[: len(data) // 2],
        "page": data[:200] + b"\xff" * 400 + data[600:],
        "header": b"\xff" * 40 + data[40:],
        "empty": b"",
    }[damage]
    (tmp_path / "b.parquet").write_bytes(content)
    for call in (read, lambda path: read_labelled(path, Columns(label="text"), numbers=False)):
        with pytest.raises(InputError, match=r"Parquet file '.*b\.parquet' cannot be read: [^\n]+$"):
            call(tmp_path / "b.parquet")


# What libraries raise


@pytest.mark.parametrize("encoding", ["nada", "shift_jis", "big5", "hex", "rot13", "utf-16", "base64", "x" * 300])
def test_xml_of_other_encodings_is_one_message(tmp_path: Path, encoding: str) -> None:
    pair = '<pair entailment="E"><t>um grupo de meninos que brinca no quintal da casa</t><h>b</h></pair>'
    path = tmp_path / "a.xml"
    content = f'<?xml version="1.0" encoding="{encoding}"?><c>{pair}</c>'
    with pytest.raises(InputError, match="in a known encoding"):
        labelled(path, content)
    with pytest.raises(InputError, match="cannot be read"):
        list(evaluation_texts(path))


@pytest.mark.parametrize("encoding", ["iso-8859-1", "windows-1252", "utf-8", "utf-16", "us-ascii"])
def test_xml_says_its_encoding(tmp_path: Path, encoding: str) -> None:
    text = "um grupo de meninos que brinca no quintal da casa" + (" é só" if encoding != "us-ascii" else "")
    path = tmp_path / "a.xml"
    content = f'<?xml version="1.0" encoding="{encoding}"?><c><pair entailment="E"><t>{text}</t><h>b</h></pair></c>'
    assert labelled(path, content.encode(encoding)).examples[0].text == text
    assert text in list(evaluation_texts(path))


def test_evaluation_sets_of_other_encodings_are_refused(tmp_path: Path) -> None:
    for ending in ("txt", "csv", "tsv", "conll", "jsonl"):
        path = tmp_path / f"a.{ending}"
        path.write_bytes(f'"{SENTENCE} E nós também, é claro."\n'.encode("cp1252"))
        with pytest.raises(InputError, match=r"is not UTF-8.*iconv"):
            EvaluationNgrams.from_files([path])
    path = tmp_path / "b.json"
    path.write_text("[" * 100_000)
    with pytest.raises(InputError, match="cannot be read"):
        EvaluationNgrams.from_files([path])


def test_a_quote_in_an_evaluation_set_hides_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text(f'"{SENTENCE} E volta.\tx\n{SENTENCE} E vai.\ty\n', encoding="utf-8")
    ngrams = EvaluationNgrams.from_files([path])
    assert len(ngrams) == 2 and ngrams.hit(f"{SENTENCE} E vai.")


def test_no_codec_of_python_ends_in_a_traceback() -> None:
    """Every name either is refused or decodes any bytes."""
    data = bytes(range(256)) + "Ação \\u00e7 \\N{DASH} \\x".encode()
    record = SimpleNamespace(file="a.txt", line=1, kind="txt", data=data, header=b"")
    names = {*aliases, *aliases.values(), "idna", "punycode", "undefined", "raw_unicode_escape", "unicode_escape",
             "mbcs", "oem", "utf_7", "utf-8-sig", "a\0b", "", "\ud800", "x" * 5000, "aliases", "../x"}  # fmt: skip
    kept = 0
    for name in sorted(names):
        if keeps_ascii(name):
            kept += 1
            parse_record(record, ReadConfig(encoding=name))  # type: ignore[arg-type]
        else:
            with pytest.raises(InputError, match="encoding"):
                ReadConfig(encoding=name)
            with pytest.raises(InputError, match="encoding"):
                Columns(encoding=name)
    assert kept > 100


# Lines without end, wrapped text


class Endless(io.RawIOBase):
    """Zeros for ever, as /dev/zero has them."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]
        buffer[:] = bytes(len(buffer))
        return len(buffer)


def test_a_line_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BufferedReader(Endless())))
    with pytest.raises(InputError, match="line 1 of standard input is longer than 16,000,000 bytes"):
        next(open_lines(None))
    with pytest.raises(InputError, match=r"line 1 of '/dev/zero' is longer"):
        next(open_lines("/dev/zero"))
    with pytest.raises(InputError, match="is no regular file"):
        read_labelled(Path("/dev/zero"), Columns(), numbers=False)


WRAPPED = (
    "O rio corre devagar até o mar, e quem mora nas margens sabe de cor\n"
    "as horas da maré; os barcos saem cedo, quando a névoa ainda cobre\n"
    "a água, e voltam à tarde com o que houve de peixe para vender na\n"
    "feira da praça.\n"
)


@pytest.mark.parametrize(
    ("content", "wrapped"),
    [
        (WRAPPED, True),
        (f"{WRAPPED}\n{WRAPPED}".replace("\n", "\r\n"), True),
        (f"{SENTENCE}\n" * 20, False),
        ("Governo anuncia novas medidas para a saúde\nPrefeitura fecha ruas do centro\n" * 5, False),
        ("sim\nnão\ntalvez\n" * 5, False),
        (f"{SENTENCE * 20}\n" * 5, False),
        ("", False),
    ],
)
def test_wrapped_text_is_told_from_lines(tmp_path: Path, content: str, wrapped: bool) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content.encode())
    assert looks_wrapped(path) == wrapped
