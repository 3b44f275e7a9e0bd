"""A few documents that each rule dropped or changed, chosen by hash, for a person to judge the rules by."""

import hashlib
import heapq
from collections.abc import Iterator
from dataclasses import dataclass

from tinydistil.corpus.clean import clean_document
from tinydistil.corpus.document import BadRecord, Record
from tinydistil.corpus.prepare_config import PrepareConfig
from tinydistil.corpus.readers import parse_record

KEPT = "kept"
# Enough to judge a document by, little enough to read twenty.
_MAX_CHARACTERS = 2000
_MAX_LINES = 40


@dataclass(frozen=True, slots=True, order=True)
class Sample:
    """One example. `effect` is "dropped", "changed" or "kept"; `lines` are those that cleaning took out or
    rewrote, as they were; `text` is the document as it came, its beginning."""

    rank: int
    rule: str
    effect: str
    place: str
    text: str
    lines: tuple[str, ...]


class Samples:
    """For each (rule, effect) the documents with the smallest hash: the same for any order of arrival."""

    def __init__(self, config: PrepareConfig) -> None:
        self._config = config
        # Heaps of (-rank, sample): the largest rank kept is on top, ready to be pushed out.
        self._heaps: dict[tuple[str, str], list[tuple[int, Sample]]] = {}

    def offer(self, item: Record | BadRecord, rule: str, effect: str) -> None:
        """Consider one document. Only if it enters, some size * ln(n / size) times, it is parsed again."""
        size = self._config.sample_dropped
        if size == 0:
            return
        rank = _rank(item, self._config.seed)
        heap = self._heaps.setdefault((rule, effect), [])
        if len(heap) < size or -rank > heap[0][0]:
            self._insert(_sample(item, rule, effect, rank, self._config))

    def merge(self, samples: Iterator[Sample]) -> None:
        """Add samples of another part of the corpus."""
        for sample in samples:
            self._insert(sample)

    def _insert(self, sample: Sample) -> None:
        heap = self._heaps.setdefault((sample.rule, sample.effect), [])
        heapq.heappush(heap, (-sample.rank, sample))
        if len(heap) > self._config.sample_dropped:
            heapq.heappop(heap)

    def __iter__(self) -> Iterator[Sample]:
        for key in sorted(self._heaps):
            yield from sorted(sample for _, sample in self._heaps[key])


def _rank(item: Record | BadRecord, seed: int) -> int:
    # By its line, not by its text: the copies of an exact duplicate must not all be drawn together.
    place = f"{seed} {item.file}:{item.line}".encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(place, digest_size=6).digest(), "big")


def _sample(item: Record | BadRecord, rule: str, effect: str, rank: int, config: PrepareConfig) -> Sample:
    place = f"{item.file}:{item.line}"
    document = parse_record(item, config.read) if isinstance(item, Record) else item
    if isinstance(document, BadRecord):
        raw = item.data if isinstance(item, Record) else b""
        return Sample(rank, rule, effect, place, raw[:_MAX_CHARACTERS].decode(errors="replace"), (document.reason,))
    # Cleaning is pure, so doing it again shows what was done in the worker, which sent no text.
    cleaned = clean_document(document, config.clean).document.text.split("\n")
    left = set(cleaned)
    gone = [line[:_MAX_CHARACTERS] for line in document.text.split("\n") if line not in left]
    return Sample(rank, rule, effect, place, document.text[:_MAX_CHARACTERS], tuple(gone[:_MAX_LINES]))
