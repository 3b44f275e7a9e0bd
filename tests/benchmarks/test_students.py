"""The benchmark of students: rows of a file that are among more rows of it, and the table of its runs."""

from pathlib import Path

import pytest
from bench_students import rows_of, table_of

from tinydistil.tasks.labelled import Columns, read_labelled
from tinydistil.tasks.tagged import read_conll

PAIRS = "".join(
    f'<pair entailment="{"None" if i % 2 else "Entailment"}" id="{i}" similarity="{1 + i % 5}.0"><t>O gato {i}</t>'
    f"<h>A gata {i}</h></pair>"
    for i in range(30)
)
FILES = {
    "train.xml": f'<?xml version="1.0" encoding="UTF-8"?>\n<entailment-corpus>{PAIRS}</entailment-corpus>',
    "train.csv": "text,label\n" + "".join(f"tweet {i},{'bom' if i % 2 else 'ruim'}\n" for i in range(30)),
    "train.conll": "\n\n".join(f"Ana{i} B-PER\nlê O" for i in range(30)) + "\n",
}


@pytest.mark.parametrize("name", FILES)
def test_fewer_rows_are_among_more(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(FILES[name], encoding="utf-8")

    def read(count: str) -> set[object]:
        path = rows_of(tmp_path / name, count, tmp_path / "cut")
        data = read_conll(path) if name.endswith("conll") else read_labelled(path, Columns(), numbers=False)
        assert not data.bad and path.suffix == Path(name).suffix
        return set(data.examples)

    few, more, every = read("7"), read("20"), read("all")
    assert (len(few), len(more), len(every)) == (7, 20, 30) and few < more < every


def test_the_table_compares_with_the_first_route() -> None:
    runs = {name: [{"f1_macro": value, "seconds": 90.0} for value in values]
            for name, values in {"random": (0.5, 0.52, 0.54), "vectors": (0.7, 0.71, 0.72)}.items()}  # fmt: skip
    table = table_of("tweets", "100", runs)
    assert table.rows[0] == ("random", "0.520 ±0.020", "", "1.5") and table.rows[1][1] == "0.710 ±0.010"
    assert float(table.rows[1][2]) < 0.01
