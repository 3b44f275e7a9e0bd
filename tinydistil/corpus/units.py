"""A unit: the outcomes of a stretch of an input file, which a part of a preparation writes and a merge reads.

No pickle, which would run what a damaged or foreign file says.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import astuple
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np

from tinydistil.base.files import write_atomic
from tinydistil.batches.shards import DocumentSequences
from tinydistil.corpus.document_step import Kept, Outcome
from tinydistil.corpus.records import BadRecord

_NAME = re.compile(r"\d{6,}-\d{6,}\.unit")


def path_of(folder: Path, file: int, unit: int) -> Path:
    """Where a unit lies: by the number of the input file and its own in that."""
    return folder / f"{file:06d}-{unit:06d}.unit"


def is_unit(name: str) -> bool:
    """Whether a file of this name is one."""
    return _NAME.fullmatch(name) is not None


def write_unit(path: Path, outcomes: Sequence[Outcome], raw_bytes: int) -> None:
    """A line of JSON that counts and vouches for the rest, a line with all that is small, and the arrays' bytes."""
    rows, arrays = [], list[bytes]()
    for each in outcomes:
        row: list[object] = [each.characters, each.dropped_by, each.bad and astuple(each.bad), each.replaced]
        if (kept := each.kept) is not None:
            signature = b"" if kept.signature is None else kept.signature.astype("<u4").tobytes()
            mine = [kept.key, signature, *kept.sequences.ids, *kept.sequences.pieces]
            row += [kept.characters, kept.removed, kept.sequences.sizes, list(map(len, mine))]
            arrays += mine
        rows.append(row)
    body = b"\n".join([json.dumps(rows).encode(), b"".join(arrays)])
    header = {"documents": len(rows), "bytes": raw_bytes, "sha256": hashlib.sha256(body).hexdigest()}
    write_atomic(path, json.dumps(header).encode() + b"\n" + body)


def read_header(path: Path) -> tuple[int, int]:
    """The documents and raw bytes of a unit. Raises ValueError where they are not to be read."""
    with path.open("rb") as file:
        documents, raw_bytes, _ = _header(file.readline())
    return documents, raw_bytes


def check_unit(path: Path) -> tuple[int, int]:
    """The same, once all of the file was found to be what was written. Raises ValueError where it is not."""
    documents, raw_bytes, _ = _opened(path)
    return documents, raw_bytes


def read_unit(path: Path) -> list[Outcome]:
    """The outcomes of a unit. Raises ValueError where the file is not what was written."""
    body = _opened(path)[2]
    rows, _, arrays = body.partition(b"\n")
    start, outcomes = 0, []
    for characters, dropped_by, bad, replaced, *rest in json.loads(rows):
        kept = None
        if rest:
            length, removed, sizes, lengths = rest
            bounds = list(accumulate(lengths, initial=start))
            key, signature, *columns = (arrays[first:last] for first, last in pairwise(bounds))
            start, sides = bounds[-1], (len(columns) + 1) // 2  # one has no pieces of words
            sequences = DocumentSequences(tuple(columns[:sides]), tuple(columns[sides:]), tuple(map(tuple, sizes)))
            minhash = np.frombuffer(signature, "<u4") if signature else None
            kept = Kept(length, tuple(map(tuple, removed)), key, minhash, sequences)
        outcomes.append(Outcome(characters, dropped_by, None if bad is None else BadRecord(*bad), replaced, kept))
    return outcomes


def _opened(path: Path) -> tuple[int, int, bytes]:
    header, _, body = path.read_bytes().partition(b"\n")
    documents, raw_bytes, sha256 = _header(header)
    if sha256 != hashlib.sha256(body).hexdigest():
        raise ValueError("a unit is damaged")
    return documents, raw_bytes, body


def _header(line: bytes) -> tuple[int, int, str]:
    try:
        values = json.loads(line)
        return int(values["documents"]), int(values["bytes"]), str(values["sha256"])
    except (LookupError, TypeError, RecursionError) as error:
        raise ValueError("a unit is damaged") from error
