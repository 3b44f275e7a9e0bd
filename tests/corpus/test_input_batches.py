"""Where segments end depends on the records alone."""

import random
from pathlib import Path

import pytest

from tinydistil.corpus.pool import Batch, Item, cut_batches
from tinydistil.corpus.readers import ReadConfig, read_items
from tinydistil.corpus.records import BadRecord, Record


def make_items(count: int, seed: int = 0) -> list[Item]:
    source = random.Random(seed)
    return [
        BadRecord("a.txt", line, "bad")
        if source.random() < 0.1
        else Record("a.txt", line, "txt", b"x" * source.randrange(1, 2000))
        for line in range(count)
    ]


def segments_of(batches: list[Batch]) -> list[list[Item]]:
    segments: list[list[Item]] = [[]]
    for batch in batches:
        segments[-1] += batch.items
        if batch.ends_segment:
            segments.append([])
    assert segments.pop() == [], "the last batch ends a segment"
    return segments


def test_nothing_is_lost_and_segments_are_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinydistil.corpus.pool._BATCH_BYTES", 3000)
    for seed in range(20):
        items = make_items(200, seed)
        batches = list(cut_batches(iter(items), 20_000))
        segments = segments_of(batches)
        assert [item for segment in segments for item in segment] == items
        for segment in segments[:-1]:
            sizes = [len(item.data) for item in segment if isinstance(item, Record)]
            assert sum(sizes) >= 20_000 > sum(sizes[:-1])
        for batch in batches:
            assert batch.bytes == sum(len(item.data) for item in batch.items if isinstance(item, Record))
            assert batch.bytes < 3000 + 2000


def test_a_restart_cuts_the_rest_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinydistil.corpus.pool._BATCH_BYTES", 3000)
    items = make_items(300)
    segments = segments_of(list(cut_batches(iter(items), 20_000)))
    assert len(segments) > 5
    for done in range(len(segments) + 1):
        skip = sum(map(len, segments[:done]))
        assert segments_of(list(cut_batches(iter(items), 20_000, skip=skip))) == segments[done:]


def test_the_batch_size_changes_no_segment(monkeypatch: pytest.MonkeyPatch) -> None:
    items, results = make_items(300), []
    for size in (1, 3000, 10**9):
        monkeypatch.setattr("tinydistil.corpus.pool._BATCH_BYTES", size)
        results.append(segments_of(list(cut_batches(iter(items), 20_000))))
    assert results[0] == results[1] == results[2]


def test_bad_records_alone_are_batched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinydistil.corpus.pool._BATCH_ITEMS", 10)
    items: list[Item] = [BadRecord("a.txt", line, "bad") for line in range(25)]
    assert [len(batch.items) for batch in cut_batches(iter(items), 1000)] == [10, 10, 5]


def test_nothing_to_read() -> None:
    assert list(cut_batches(iter([]), 1000)) == []


def test_files_come_in_the_order_given(tmp_path: Path) -> None:
    for name, text in (("b.txt", "um\ndois\n"), ("a.txt", "três\n")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    items = list(read_items([tmp_path / "b.txt", tmp_path / "a.txt"], ReadConfig()))
    assert [item.data.decode() for item in items if isinstance(item, Record)] == ["um", "dois", "três"]
