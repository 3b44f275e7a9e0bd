"""The records that travel through the preparation of a corpus."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Record:
    """One document still in the bytes it has on disk: cheap to cut out, cheap to send to a worker.

    `line` is the 1-based line (row, for Parquet) where it starts. `kind` is one of text_files.KINDS. `header` is the
    undecoded header row that a table's row needs to be understood, else empty: so any worker can parse any row.
    """

    file: str
    line: int
    kind: str
    data: bytes
    header: bytes = b""


@dataclass(frozen=True, slots=True)
class Document:
    """A decoded document: `text` holds its paragraphs, one a line.

    `sentences` is the format's own division into paragraphs of sentences (.vert), else None.
    `replaced` counts the undecodable sequences that stand in `text` as U+FFFD.
    """

    identifier: str
    source: str
    text: str
    sentences: tuple[tuple[str, ...], ...] | None = None
    replaced: int = 0


@dataclass(frozen=True, slots=True)
class BadRecord:
    """Something in a file that is no document: where it stands and why. Counted, never raised."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"
