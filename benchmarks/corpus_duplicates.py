"""Quality and memory of the duplicate search; printed by corpus_quality.py."""

import random
import tracemalloc
from collections.abc import Iterable, Sequence

import numpy as np

from tinydistil.base.errors import optional
from tinydistil.corpus.duplicates import DuplicateConfig, DuplicateIndex, exact_key, signature
from tinydistil.corpus.language import split_words


def near_duplicates(texts: Sequence[str], draw: random.Random) -> Iterable[str]:
    """Copies of real texts with words changed, by exact Jaccard similarity, against the closed form."""
    config = DuplicateConfig()
    index = DuplicateIndex(config)
    signatures = [signature(text, config) for text in texts]
    strangers = 0
    for text, value in zip(texts, signatures, strict=True):
        strangers += index.seen_near(value)
        index.add(exact_key(text), value)
    levels: dict[int, list[tuple[float, bool]]] = {}
    for text in texts:
        words = text.split()
        for rate in (0.002, 0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.1):
            copy = [draw.choice(words) if draw.random() < rate else word for word in words]
            similarity = jaccard(words, copy, config.shingle_words)
            found = index.seen_near(signature(" ".join(copy), config))
            levels.setdefault(min(9, int(10 * similarity)), []).append((similarity, found))
    yield (
        f"near-duplicates: {len(texts)} real texts, {index.bands} bands of {index.rows} rows, "
        f"threshold {config.threshold}; {strangers} unrelated texts taken for duplicates"
    )
    for level, pairs in sorted(levels.items()):
        closed = np.mean([1 - (1 - similarity**index.rows) ** index.bands for similarity, _ in pairs])
        hits = np.mean([found for _, found in pairs])
        yield (
            f"    Jaccard {level / 10:.1f} to {level / 10 + 0.1:.1f}: found {100 * hits:5.1f} %, "
            f"closed form {100 * closed:5.1f} %  ({len(pairs)} pairs)"
        )


def jaccard(first: Sequence[str], second: Sequence[str], length: int) -> float:
    """Brute force on the normalised words, as the signature sees them."""
    sets = []
    for words in (first, second):
        plain = split_words(" ".join(words))
        sets.append({tuple(plain[i : i + length]) for i in range(len(plain) - length + 1)})
    return len(sets[0] & sets[1]) / max(1, len(sets[0] | sets[1]))


def memory(documents: int = 20_000) -> Iterable[str]:
    """Bytes a document of our index and of datasketch's, on random signatures (nothing in common)."""
    datasketch = optional("datasketch", needed_by="the comparison", extra="corpus")
    config, numbers = DuplicateConfig(), np.random.default_rng(1)
    values = numbers.integers(2**32, size=(documents, config.num_permutations), dtype=np.uint32)
    index = DuplicateIndex(config)
    for number, value in enumerate(values):
        index.add(number.to_bytes(16, "little"), value)
    yield f"memory: ours {index.bytes_held / documents:.0f} bytes a document ({documents} documents)"
    tracemalloc.start()
    theirs = datasketch.MinHashLSH(threshold=config.threshold, num_perm=config.num_permutations)
    minhash = datasketch.MinHash(num_perm=config.num_permutations)
    for number, value in enumerate(values[:2000]):
        minhash.hashvalues = value.astype(np.uint64)
        theirs.insert(number, minhash)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    yield f"memory: datasketch {held / 2000:.0f} bytes a document (2000 documents)"
