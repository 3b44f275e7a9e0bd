"""Shared helpers of the text tests."""

from pathlib import Path

import pytest

from tinydistil.corpus.readers import ReadConfig, parse_record, read_records
from tinydistil.corpus.records import BadRecord, Document

DATA = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture
def data() -> Path:
    """The real Portuguese data beside the repository."""
    if not DATA.is_dir():
        pytest.skip(f"real data not found at {DATA}")
    return DATA


def read(path: Path, config: ReadConfig | None = None) -> tuple[list[Document], list[BadRecord]]:
    """All documents and all bad records of a file."""
    config = config or ReadConfig()
    parsed = [parse_record(record, config) for record in read_records(path, config)]
    return (
        [item for item in parsed if isinstance(item, Document)],
        [item for item in parsed if isinstance(item, BadRecord)],
    )


def lines(path: Path, config: ReadConfig | None = None) -> list[int]:
    """Where the records of a file begin."""
    return [record.line for record in read_records(path, config or ReadConfig())]


def texts(path: Path, config: ReadConfig | None = None) -> list[str]:
    """The texts of a file without bad records."""
    documents, bad = read(path, config)
    assert not bad, bad
    return [document.text for document in documents]
