"""The closing table adds up."""

from dataclasses import asdict

import pytest

from tinydistil.base.errors import InputError
from tinydistil.batches.manifest import ShardEntry
from tinydistil.corpus.document_step import DocumentSequences, Kept, Outcome
from tinydistil.corpus.records import BadRecord
from tinydistil.corpus.segment import Counts, counts_from, describe, make_table, packing_efficiency

NOTHING = DocumentSequences((), (), ())


@pytest.fixture
def counts() -> Counts:
    """Five documents: two kept, one of them cut by two rules and grown by a repair."""
    counts = Counts()
    first, second = (Kept(82, (("html", 10), ("menus", 10)), b"", None, NOTHING), Kept(50, (), b"", None, NOTHING))
    counts.keep(Outcome(100, kept=first), first, "train")
    counts.keep(Outcome(50, replaced=3, kept=second), second, "validation")
    counts.drop(Outcome(30, dropped_by="language"), "language")
    counts.drop(Outcome(20, kept=Kept(20, (), b"", None, NOTHING)), "exact_duplicate")
    counts.drop(Outcome(0, dropped_by="unreadable", bad=BadRecord("a.txt", 7, "damaged")), "unreadable")
    return counts


def test_every_character_has_one_row(counts: Counts) -> None:
    rows = make_table(counts)
    assert [(row.effect, row.rule, row.documents, row.characters) for row in rows] == [
        ("read", "all", 5, 200),
        ("dropped", "language", 1, 30),
        ("dropped", "exact_duplicate", 1, 20),
        ("dropped", "unreadable", 1, 0),
        ("removed", "html", 1, 10),
        ("removed", "menus", 1, 10),
        ("changed", "repairs", 0, -2),
        ("kept", "train", 1, 82),
        ("kept", "validation", 1, 50),
    ]
    assert sum(row.characters for row in rows[1:]) == rows[0].characters
    assert sum(row.documents for row in rows if row.effect in ("dropped", "kept")) == rows[0].documents
    assert rows[1].share == 0.15
    assert counts.first_unreadable == "a.txt:7: damaged"


def test_parts_add_up_to_the_whole(counts: Counts) -> None:
    twice = Counts()
    twice.merge(counts)
    twice.merge(counts_from(asdict(counts)))
    assert [row.characters for row in make_table(twice)] == [2 * row.characters for row in make_table(counts)]
    assert twice.replaced_bytes.characters == 6


def test_the_table_is_aligned() -> None:
    counts = Counts()
    counts.drop(Outcome(1_234_567, dropped_by="language"), "language")
    assert describe({"counts": asdict(counts), "shards": []}).splitlines()[:6] == [
        "effect   rule        documents  characters    share",
        "read     all                 1   1,234,567  100.00%",
        "dropped  language            1   1,234,567  100.00%",
        "changed  repairs             0           0    0.00%",
        "kept     train               0           0    0.00%",
        "kept     validation          0           0    0.00%",
    ]


def test_packing_counts_the_room_left() -> None:
    one = ShardEntry("a", "train", sequences=10, tokens=600, student_tokens=900, words=500, bytes=1, sha256="")
    assert packing_efficiency([one, one], capacity=100) == {"tokens": 0.6, "student_tokens": 0.9}


def test_damaged_counts_are_refused() -> None:
    for damaged in (5, {}, {"dropped": {}, "removed": {}, "kept": 3}):
        with pytest.raises(InputError, match="counts must be a table with dropped, removed, kept"):
            counts_from(damaged)
