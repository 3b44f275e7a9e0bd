"""Input files cut into segments and batches, at the same records on every run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tinydistil.corpus.document import BadRecord, Record
from tinydistil.corpus.readers import ReadConfig, read_records

Item = Record | BadRecord

# A quarter of a second of work: small beside a segment, large beside the cost of sending it.
_BATCH_BYTES = 1 << 19
# Bad records weigh nothing, so a file of nothing else must be bounded by their number.
_BATCH_ITEMS = 4096


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive records. `bytes` are those of the records; `ends_segment` marks a segment's last batch."""

    number: int
    items: tuple[Item, ...]
    bytes: int
    ends_segment: bool


def read_items(files: Sequence[Path], config: ReadConfig) -> Iterator[Item]:
    """Every record of `files`, in order."""
    # One file after the other: it is the order of the input that decides which of two duplicates is kept.
    for path in files:
        yield from read_records(path, config)


def cut_batches(items: Iterator[Item], segment_bytes: int, *, skip: int = 0) -> Iterator[Batch]:
    """Batches of the items after the first `skip`; a segment ends with the record that fills `segment_bytes`.

    Where segments end depends on the records alone: a run that starts after a whole number of segments
    (`skip` is the number of their items) cuts the rest as an uninterrupted run does.
    """
    number = segment = size = 0
    batch: list[Item] = []
    for item in islice(items, skip, None):
        batch.append(item)
        # Raw bytes, since they are known before any work is done; tokens would depend on the rules.
        size += len(item.data) if isinstance(item, Record) else 0
        full = segment + size >= segment_bytes
        if full or size >= _BATCH_BYTES or len(batch) >= _BATCH_ITEMS:
            yield Batch(number, tuple(batch), size, full)
            segment = 0 if full else segment + size
            number, size, batch = number + 1, 0, []
    # The last segment is closed by an empty batch where the records end with a full batch.
    if batch or segment:
        yield Batch(number, tuple(batch), size, True)
