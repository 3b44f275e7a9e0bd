"""Nothing is lost without a word: lines in = rows kept + rows set aside, whatever a file holds."""

import csv
import gzip
import io
import json
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.corpus.conftest import read, texts
from tinydistil.base.errors import InputError
from tinydistil.corpus.readers import ReadConfig, read_records
from tinydistil.corpus.records import Record
from tinydistil.tasks.labelled import Columns, class_name, read_labelled

quick = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
# Much of what goes wrong: quotes, delimiters, line ends of other kinds, accents in both forms.
cell = st.text(st.sampled_from("ab ,;\t\"'é~\u0303\u2028\x85#-"), max_size=12)
lines_of_text = st.lists(cell.filter(lambda text: text.strip() != ""), max_size=8)


def count(path: Path, config: ReadConfig | None = None) -> int:
    """Documents and bad records of a file."""
    documents, bad = read(path, config)
    return len(documents) + len(bad)


def rows_of(path: Path, columns: Columns | None = None) -> int:
    """Rows kept and set aside."""
    try:
        data = read_labelled(path, columns or Columns(), numbers=False)
    except InputError as error:
        # Refused: then all were set aside, and the message says how many.
        text = str(error)
        return int(text.split("the first of ")[1].split()[0]) if "the first of" in text else 0
    return len(data.examples) + len(data.bad)


@quick
@given(lines_of_text, st.sampled_from(["\n", "\r\n", "\r"]), st.booleans())
def test_lines_of_txt(tmp_path: Path, given_lines: list[str], end: str, packed: bool) -> None:
    path = tmp_path / ("a.txt.gz" if packed else "a.txt")
    data = "".join(line + end for line in given_lines).encode()
    path.write_bytes(gzip.compress(data) if packed else data)
    assert count(path) == sum(bool(line.encode().strip()) for line in given_lines)


@quick
@given(lines_of_text, st.integers(1, 3))
def test_lines_of_unquoted_tsv_are_rows_each(tmp_path: Path, given_lines: list[str], columns: int) -> None:
    """Any line with the header's tabs is one row, however many quotes it has."""
    lines = ["\t".join([line.replace("\t", " "), *["x"] * (columns - 1)]) for line in given_lines]
    path = tmp_path / "a.tsv"
    path.write_bytes("\n".join(["\t".join(["text", *"bc"][:columns]), *lines]).encode())
    if columns > 1:
        documents, bad = read(path)
        assert len(documents) == len(lines) and not bad
    without = ReadConfig(table_quotes=False)
    assert [text.strip("\r") for text in texts(path, without)] == [line.split("\t")[0].strip("\r") for line in lines]


@quick
@given(lines_of_text, st.sampled_from(["csv", "tsv"]))
def test_every_physical_line_of_a_table_is_in_a_row(tmp_path: Path, given_lines: list[str], kind: str) -> None:
    """Anything at all below a header: each line lies in exactly one record, in the file's order."""
    path = tmp_path / f"a.{kind}"
    path.write_bytes(f"text{',' if kind == 'csv' else chr(9)}label\n".encode() + "\n".join(given_lines).encode())
    records = list(read_records(path, ReadConfig()))
    covered: list[int] = []
    for each in records:
        covered += range(each.line, each.line + (each.data.count(b"\n") if isinstance(each, Record) else 0) + 1)
    assert covered == [number for number, line in enumerate(given_lines, start=2) if line.encode().strip(b" ")]


@quick
@given(st.lists(st.tuples(cell, cell), max_size=6), st.sampled_from([",", ";"]))
def test_what_python_writes_is_read(tmp_path: Path, rows: Sequence[tuple[str, str]], delimiter: str) -> None:
    rows = [(f"t{text}\n{text}", f"l{label}") for text, label in rows]
    stream = io.StringIO(newline="")
    csv.writer(stream, delimiter=delimiter).writerows([("text", "label"), *rows])
    path = tmp_path / "a.csv"
    path.write_bytes(stream.getvalue().encode())
    data = read_labelled(path, Columns(delimiter=delimiter), numbers=False) if rows else None
    if data:
        assert [(row.text, row.label) for row in data.examples] == [(text, class_name(label)) for text, label in rows]
    assert rows_of(path, Columns(delimiter=delimiter)) == len(rows)


values = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), cell, st.lists(cell, max_size=2))


@quick
@given(st.lists(st.dictionaries(st.sampled_from(["text", "label", "text_b", "é"]), values, max_size=4), max_size=6))
def test_objects_of_json_lines(tmp_path: Path, rows: list[dict[str, object]]) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert count(path) == rows_of(path) == len(rows)


@quick
@given(lines_of_text)
def test_any_lines_as_json(tmp_path: Path, given_lines: list[str]) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes("\n".join(given_lines).encode())
    expected = sum(bool(line.encode().strip()) for line in given_lines)
    assert count(path) == rows_of(path) == expected


@quick
@given(st.lists(st.tuples(st.one_of(st.none(), cell), st.one_of(st.none(), cell)), min_size=1, max_size=6))
def test_pairs_of_xml(tmp_path: Path, pairs: list[tuple[str | None, str | None]]) -> None:
    path = tmp_path / "a.xml"
    texts = [f"<t>{escape(text)}</t>" if text is not None else "" for text, _ in pairs]
    labels = [f"entailment={quoteattr(label)}" if label is not None else "" for _, label in pairs]
    body = "".join(f"<pair {label}>{text}<h>b</h></pair>\n" for text, label in zip(texts, labels, strict=True))
    path.write_text(f"<c>{body}</c>", encoding="utf-8")
    assert rows_of(path) == len(pairs)


@quick
@given(st.lists(st.one_of(st.none(), cell), max_size=6), st.sampled_from(["string", "binary", "large_string"]))
def test_rows_of_parquet(tmp_path: Path, rows: list[str | None], kind: str) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    found = [row.encode() if row is not None and kind == "binary" else row for row in rows]
    column = arrow.array(found, getattr(arrow, kind)())
    parquet.write_table(arrow.table({"text": column, "label": ["x"] * len(rows)}), path)
    assert count(path) == rows_of(path) == len(rows)
    assert [document.text for document in read(path)[0]] == [row for row in rows if row is not None]


@quick
@given(st.lists(st.lists(st.sampled_from(["Oi", "<g/>", "<s>", "</s>", "<p>", '"', "<3", "<b>", "é"]), max_size=6)))
def test_documents_of_vert(tmp_path: Path, documents: list[list[str]]) -> None:
    path = tmp_path / "a.vert"
    path.write_text("".join(f"<doc>\n{chr(10).join(tokens)}\n</doc>\n" for tokens in documents), encoding="utf-8")
    assert count(path) == len(documents)


MINIMAL = ['"Bom dia, disse ele\tpos', "Não gostei\tneg", '"Nada demais\tneg', "Tudo certo\tpos"]


@pytest.mark.parametrize(
    "lines",
    [
        MINIMAL,
        [*MINIMAL, '"aberta até o fim\tneg'],
        ['"abre\tpos', "meio\tneg", 'fecha"\tneg', '"oi" disse\tpos'],
        ['a "b\t"c', 'd\t"e', 'f "\tg"', '"""h\ti'],
        ['x "y\t"z'] * 40,
        ['fim"\t"abre'] * 40,
        ['"\tx', '""a\ty', '"""\tz', '" "b\tw'],
    ],
)
def test_a_quote_costs_no_row_of_a_tsv(tmp_path: Path, lines: list[str]) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("\n".join(["text\tlabel", *lines]), encoding="utf-8")
    data = read_labelled(path, Columns(), numbers=False)
    assert [[row.text, row.label] for row in data.examples] == [line.split("\t") for line in lines] and not data.bad
    assert [document.text for document in read(path)[0]] == [line.split("\t")[0] for line in lines]


def test_a_quote_of_a_csv_is_named_with_the_option(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("\n".join(["text,label", '"Bom dia,pos', "Não,neg", '"Nada demais,neg', "Tudo,pos"]))
    data = read_labelled(path, Columns(), numbers=False)
    assert [row.text for row in data.examples] == ["Não", "Tudo"] and [bad.line for bad in data.bad] == [2, 4]
    assert "--no-quotes" in data.report() and "16,000,000" not in data.report()
    data = read_labelled(path, Columns(quotes=False), numbers=False)
    assert [row.text for row in data.examples] == ['"Bom dia', "Não", '"Nada demais', "Tudo"] and not data.bad


def test_fields_of_several_lines_are_noted(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('text,label\n"um\n\ndois",a\ntrês,a\n', encoding="utf-8")
    data = read_labelled(path, Columns(), numbers=False)
    assert [row.text for row in data.examples] == ["um\n\ndois", "três"]
    assert "several lines, in quotes: 1, the first from line 2" in data.report()


def test_many_quotes_that_never_close_cost_linear_time(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("text\tlabel\n" + '"abre ""x""\tpos\n' * 5_000 + 'fim\t"abre\n' * 5_000)
    assert count(path) == 10_000  # some 0.2 s; looked at anew for each line it would be minutes


@pytest.mark.parametrize("ending", ["txt", "jsonl", "csv", "vert"])
def test_line_ends_of_old_macintoshes(tmp_path: Path, ending: str) -> None:
    content = {
        "txt": "um\rdois\r",
        "jsonl": '{"text": "um"}\r{"text": "dois"}\r',
        "csv": 'text,id\rum,1\r"dois",2',
        "vert": "<doc>\rum\r</doc>\r<doc>\rdois\r</doc>\r",
    }[ending]
    path = tmp_path / f"a.{ending}.gz"
    path.write_bytes(gzip.compress(content.encode()))
    assert texts(path) == ["um", "dois"]


@pytest.mark.parametrize(
    ("first", "row"), [("sep=;", "a,b;x"), ('"sep=;"', "a,b;x"), ("sep=|", "a,b|x"), ("SEP=\t", "a,b\tx")]
)
def test_excels_first_line_names_the_delimiter(tmp_path: Path, first: str, row: str) -> None:
    path = tmp_path / "a.csv"
    delimiter = first.strip('"')[-1]
    path.write_text(f'{first}\ntext{delimiter}label\n{row}\n"c{delimiter}\nd"{delimiter}y\n')
    data = read_labelled(path, Columns(), numbers=False)
    assert [(each.text, each.label) for each in data.examples] == [("a,b", "x"), (f"c{delimiter}\nd", "y")]
    assert texts(path) == ["a,b", f"c{delimiter}\nd"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "text,text,label\na,b,x\n"),
        ("a.csv", "label,te\u0301xt,t\u00e9xt\na,b,x\n"),
        ("a.tsv", "text\t text\tlabel\na\tb\tx\n"),
        ("a.csv", "text,label,label\na,x,y\n"),
    ],
)
def test_two_columns_of_one_name_are_refused(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    columns = Columns("te\u0301xt") if "\u0301" in content else Columns()
    with pytest.raises(InputError, match="has two columns"):
        read_labelled(path, columns, numbers=False)
    if "label,label" not in content:
        with pytest.raises(InputError, match="has two columns"):
            read(path, ReadConfig(text_field=columns.text))


def test_two_columns_that_nobody_asked_for_may_have_one_name(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,,,label\na,1,2,x\n")
    assert len(read_labelled(path, Columns(), numbers=False).examples) == 1


def test_a_json_object_with_two_fields_of_one_name_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a", "text": "b"}\n{"te\u0301": 1, "t\u00e9": 2, "text": "c"}\n{"text": "d"}\n')
    documents, bad = read(path)
    assert [document.text for document in documents] == ["d"] and [each.line for each in bad] == [1, 2]


def test_a_quoted_row_of_a_csv_that_does_not_fit_is_one_bad_record(tmp_path: Path) -> None:
    """Its later lines, which may look like rows, are none."""
    path = tmp_path / "a.csv"
    path.write_text('text,label\n"um,\ndois",x,y\nquatro,z\n')
    documents, bad = read(path)
    assert [document.text for document in documents] == ["quatro"]
    assert [(each.line, each.reason) for each in bad] == [(2, "row has 3 fields where the header has 2")]


def test_delimiters_are_characters_of_the_encoding(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes('text§label\n"um\n§ dois"§é\n'.encode("cp1252"))
    data = read_labelled(path, Columns(delimiter="§", encoding="cp1252"), numbers=False)
    assert [(row.text, row.label) for row in data.examples] == [("um\n§ dois", "é")]
    for delimiter, encoding in (("\udcff", "utf-8"), ("§", "ascii"), ("→", "cp1252")):
        with pytest.raises(InputError, match="csv_delimiter"):
            read_labelled(path, Columns(delimiter=delimiter, encoding=encoding), numbers=False)


def test_messages_stay_short_whatever_a_header_holds(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(",".join(f"coluna{number}" for number in range(50_000)) + "\n" + "x," * 49_999 + "x\n")
    for call in (read, lambda path: read_labelled(path, Columns(), numbers=False)):
        with pytest.raises(InputError) as error:
            call(path)
        assert len(str(error.value)) < 6000 and "\n" not in str(error.value)
    (tmp_path / "a.jsonl").write_text(json.dumps({"a" * 10**6: 1}) + "\n")
    assert len(read(tmp_path / "a.jsonl")[1][0].reason) < 1000
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "a", "label": "e" + "\u0301\u0323" * 10**6}) + "\n")
    with pytest.raises(InputError, match="longer than 1000 characters"):
        read_labelled(tmp_path / "a.jsonl", Columns(), numbers=False)
