"""A bar on a terminal, plain lines elsewhere, rates that count from the restart."""

import io
import re

import pytest

from tinydistil.corpus.progress import Progress


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("tinydistil.corpus.progress.time.monotonic", lambda: now[0])
    return now


def test_lines_now_and_then(clock: list[float]) -> None:
    stream = io.StringIO()
    progress = Progress(None, stream)
    progress.start(0, 0)
    for _ in range(25):
        clock[0] += 1.0
        progress.advance(10, 2_000_000)
    progress.close()
    assert stream.getvalue().splitlines() == [
        "100 documents, 20.0 MB in 10.0 s: 10 documents/s, 2.00 MB/s",
        "200 documents, 40.0 MB in 20.0 s: 10 documents/s, 2.00 MB/s",
        "250 documents, 50.0 MB in 25.0 s: 10 documents/s, 2.00 MB/s",
    ]


def test_a_restart_says_where_and_counts_from_there(clock: list[float]) -> None:
    stream = io.StringIO()
    progress = Progress(None, stream)
    progress.start(5000, 30_000_000)
    clock[0] += 2.0
    progress.advance(10, 1_000_000)
    progress.close()
    first, last = stream.getvalue().splitlines()
    assert first == "going on after 5,000 documents (30.0 MB) of an earlier run"
    assert last.endswith("5 documents/s, 0.50 MB/s")


def test_a_bar_on_a_terminal() -> None:
    stream = Terminal()
    progress = Progress(10_000_000, stream)
    progress.start(7, 2_000_000)
    progress.advance(3, 3_000_000)
    progress.close()
    assert re.search(r"50%\|.*5\.00M/10\.0M .*documents/s", stream.getvalue())


def test_nothing_done_says_nothing() -> None:
    stream = io.StringIO()
    progress = Progress(None, stream)
    progress.start(0, 0)
    progress.close()
    assert stream.getvalue() == ""
