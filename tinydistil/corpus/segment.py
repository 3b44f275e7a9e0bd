"""One segment in the making: in input order, each document is found a duplicate or kept in a split."""

import hashlib
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinydistil.batches.manifest import SPLITS
from tinydistil.batches.shards import ShardBuilder
from tinydistil.corpus.corpus_folder import DuplicateState
from tinydistil.corpus.document_step import EXACT_DUPLICATE, NEAR_DUPLICATE, Kept, Outcome
from tinydistil.corpus.duplicates import KEY_BYTES, DuplicateIndex
from tinydistil.corpus.input_batches import Item
from tinydistil.corpus.prepare_config import PrepareConfig
from tinydistil.corpus.rules_table import Counts
from tinydistil.corpus.samples import KEPT, Samples
from tinydistil.tokenizer.word_encoder import WordEncoder


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

    def take(self, item: Item, outcome: Outcome) -> None:
        """Decide about one document and count it."""
        # An outcome names at most one rule of its own; only who passed them all is compared with others.
        self.counts.items += 1
        rule = outcome.dropped_by
        if outcome.kept is not None:
            rule = self._duplicate_of(outcome.kept)
        if rule is not None:
            self.counts.drop(outcome, rule)
            self.samples.offer(item, rule, "dropped")
        else:
            self._keep(item, outcome)

    def _duplicate_of(self, kept: Kept) -> str | None:
        if self._index.seen_exact(kept.key):
            return EXACT_DUPLICATE
        if kept.signature is not None and self._index.seen_near(kept.signature):
            return NEAR_DUPLICATE
        return None

    def _keep(self, item: Item, outcome: Outcome) -> None:
        kept = outcome.kept
        assert kept is not None
        # Only kept documents are remembered: one that looks like a dropped one may still be the first kept.
        self._index.add(kept.key, kept.signature)
        split = split_of(kept.key, self.config)
        self._builders[split].add(kept.sequences)
        self._keys.append(kept.key)
        if kept.signature is not None:
            self._signatures.append(kept.signature)
        self.counts.keep(outcome, split)
        self.samples.offer(item, KEPT, KEPT)
        for rule, _ in kept.removed:
            self.samples.offer(item, rule, "changed")

    def write(self, folder: Path, number: int) -> dict[str, object]:
        """Write the shards of this segment; returns what commits it: counts, shards and samples."""
        entries = [self._builders[split].write(folder, split, number) for split in SPLITS]
        return {
            "counts": asdict(self.counts),
            "shards": [asdict(entry) for entry in entries if entry is not None],
            "samples": [asdict(sample) for sample in self.samples],
        }

    def state(self) -> DuplicateState:
        """What later segments, after a restart, need to know of this one's documents."""
        keys = np.frombuffer(b"".join(self._keys), np.uint8).reshape(-1, KEY_BYTES)
        # Saved as they are, not as the index's own tables: those may change with its implementation.
        none = np.empty((0, 0), np.uint32)
        return DuplicateState(keys, np.stack(self._signatures) if self._signatures else none)


def split_of(key: bytes, config: PrepareConfig) -> str:
    """The split of a document, by its own hash: where it stands in which file does not matter."""
    # 64 bits of a keyed hash are a uniform number; the key makes another seed another split.
    digest = hashlib.blake2b(key, key=str(config.seed).encode(), digest_size=8).digest()
    return SPLITS[int.from_bytes(digest, "big") < config.validation_share * 2.0**64]
