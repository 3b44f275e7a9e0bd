"""One segment in the making: in input order, each document is found a duplicate or kept in a split.

And samples: a few documents that each rule dropped or changed, chosen by hash, for a person to judge the rules by.
"""

import hashlib
from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinydistil.batches.manifest import SPLITS, ShardEntry
from tinydistil.batches.shards import ShardBuilder
from tinydistil.corpus.clean import clean_document
from tinydistil.corpus.document import BadRecord, Record
from tinydistil.corpus.document_step import EXACT_DUPLICATE, NEAR_DUPLICATE, Kept, Outcome
from tinydistil.corpus.duplicates import KEY_BYTES, DuplicateIndex
from tinydistil.corpus.prepare_config import PrepareConfig
from tinydistil.corpus.readers import parse_record
from tinydistil.corpus.rules_table import Counts
from tinydistil.tokenizer.word_encoder import WordEncoder

KEPT = "kept"
# Enough of a sample to judge it by, little enough to read twenty.
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


@dataclass(frozen=True, slots=True)
class Committed:
    """What the file that commits a segment says. state_sha256: of its duplicate state."""

    counts: Counts
    shards: list[ShardEntry]
    samples: list[Sample]
    state_sha256: str = ""


class Samples:
    """For each (rule, effect) the documents with the smallest hash: the same for any order of arrival."""

    def __init__(self, config: PrepareConfig) -> None:
        self._config = config
        self._chosen: dict[tuple[str, str], list[Sample]] = {}  # by rank, ascending

    def offer(self, item: Record | BadRecord, rule: str, effect: str) -> None:
        """Consider one document. Only if it enters, some size * ln(n / size) times, it is parsed again."""
        size = self._config.sample_dropped
        if size == 0:
            return
        # By its line, not by its text: the copies of an exact duplicate must not all be drawn together.
        line = f"{self._config.seed} {item.file}:{item.line}".encode("utf-8", "surrogateescape")
        rank = int.from_bytes(hashlib.blake2b(line, digest_size=6).digest(), "big")
        chosen = self._chosen.get((rule, effect), [])
        if len(chosen) < size or rank < chosen[-1].rank:
            self.add(_sample(item, rule, effect, rank, self._config))

    def add(self, sample: Sample) -> None:
        """Consider a sample, perhaps of another part of the corpus."""
        chosen = self._chosen.setdefault((sample.rule, sample.effect), [])
        insort(chosen, sample)
        del chosen[self._config.sample_dropped :]

    def __iter__(self) -> Iterator[Sample]:
        for key in sorted(self._chosen):
            yield from self._chosen[key]


def _sample(item: Record | BadRecord, rule: str, effect: str, rank: int, config: PrepareConfig) -> Sample:
    place = f"{item.file}:{item.line}"
    document = parse_record(item, config.read)
    if isinstance(document, BadRecord):
        raw = item.data if isinstance(item, Record) else b""
        return Sample(rank, rule, effect, place, raw[:_MAX_CHARACTERS].decode(errors="replace"), (document.reason,))
    # Cleaning is pure, so doing it again shows what was done in the worker, which sent no text.
    left = set(clean_document(document, config.clean).document.text.split("\n"))
    gone = [line[:_MAX_CHARACTERS] for line in document.text.split("\n") if line not in left]
    return Sample(rank, rule, effect, place, document.text[:_MAX_CHARACTERS], tuple(gone[:_MAX_LINES]))


class Segment:
    """What committing one segment writes. `index` outlives it: duplicates are found across segments."""

    def __init__(self, config: PrepareConfig, encoder: WordEncoder, index: DuplicateIndex) -> None:
        self.config = config
        self.counts = Counts()
        self.samples = Samples(config)
        self._index = index
        self._builders = {split: ShardBuilder(encoder) for split in SPLITS}
        self._keys: list[bytes] = []
        self._signatures: list[NDArray[np.uint32]] = []

    def take(self, item: Record | BadRecord, outcome: Outcome) -> None:
        """Decide about one document and count it."""
        self.counts.items += 1
        kept = outcome.kept
        # An outcome names at most one rule of its own; only who passed them all is compared with others.
        rule = outcome.dropped_by if kept is None else self._duplicate_of(kept)
        if kept is None or rule is not None:
            assert rule is not None
            self.counts.drop(outcome, rule)
            self.samples.offer(item, rule, "dropped")
            return
        # Only kept documents are remembered: one that looks like a dropped one may still be the first kept.
        self._index.add(kept.key, kept.signature)
        split = split_of(kept.key, self.config)
        self._builders[split].add(kept.sequences)
        self._keys.append(kept.key)
        if kept.signature is not None:
            self._signatures.append(kept.signature)
        self.counts.keep(outcome, split)
        self.samples.offer(item, KEPT, KEPT)
        for changed_by, _ in kept.removed:
            self.samples.offer(item, changed_by, "changed")

    def _duplicate_of(self, kept: Kept) -> str | None:
        if self._index.seen_exact(kept.key):
            return EXACT_DUPLICATE
        if kept.signature is not None and self._index.seen_near(kept.signature):
            return NEAR_DUPLICATE
        return None

    def write(self, folder: Path, number: int) -> Committed:
        """Write the shards of this segment; returns what commits it."""
        entries = [self._builders[split].write(folder, split, number) for split in SPLITS]
        return Committed(self.counts, [entry for entry in entries if entry is not None], list(self.samples))

    def state(self) -> dict[str, NDArray[np.unsignedinteger]]:
        """What later documents, after a restart, are compared with: keys (N, 16) uint8, signatures (N, P) uint32, of
        the documents kept; without near-duplicates (0, 0)."""
        keys = np.frombuffer(b"".join(self._keys), np.uint8).reshape(-1, KEY_BYTES)
        # Saved as they are, not as the index's own tables: those may change with its implementation.
        signatures = np.stack(self._signatures) if self._signatures else np.empty((0, 0), np.uint32)
        return {"keys": keys, "signatures": signatures}


def split_of(key: bytes, config: PrepareConfig) -> str:
    """The split of a document, by its own hash: where it stands in which file does not matter."""
    # 64 bits of a keyed hash are a uniform number; the key makes another seed another split.
    digest = hashlib.blake2b(key, key=str(config.seed).encode(), digest_size=8).digest()
    return SPLITS[int.from_bytes(digest, "big") < config.validation_share * 2.0**64]
