"""In what order sequences are read, as a pure function of (seed, epoch). Shapes: G sequences in a global batch."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from tinydistil.base.config import LONGEST, Checked, Range
from tinydistil.base.errors import require

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class OrderConfig(Checked, table="order"):
    """Which sequences are read, and which of them together.

    sequences: of the corpus, spread evenly over it; 0 for all. longest: tokens of a sequence at most, [CLS] and [SEP]
    included; longer ones are left out, 0 for none. window: so many global batches are drawn at random and then dealt
    out by length, which spares padding; 1 deals at random.
    """

    sequences: Annotated[int, Range(0, 10**12)] = 0
    longest: Annotated[int, Range(0, LONGEST)] = 0
    window: Annotated[int, Range(1, 1_000_000)] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.longest == 0 or self.longest >= 3, f"order.longest must be 0 or >= 3, got {self.longest}")


def candidates_of(count: int, lengths: NDArray[np.int64] | None, config: OrderConfig) -> Ids:
    """The numbers, ascending, of the sequences that are read of `count`; `lengths` of all, for `config.longest`."""
    candidates = np.arange(count)
    if config.longest:
        assert lengths is not None, "a longest sequence needs lengths"
        candidates = np.flatnonzero(lengths <= config.longest)
    if 0 < config.sequences < len(candidates):
        candidates = candidates[np.arange(config.sequences) * len(candidates) // config.sequences]
    return candidates


def epoch_order(
    candidates: Ids, lengths: NDArray[np.int64] | None, batch_size: int, window: int, *, seed: int, epoch: int
) -> Ids:
    """The numbers of an epoch's sequences in the order they are read, a whole number of batches of G = `batch_size`.

    candidates: the numbers to choose from; lengths: of all sequences, needed where `window` is above 1.
    """
    random = np.random.default_rng((seed, epoch))
    order: Ids = candidates[random.permutation(len(candidates))]
    order = order[: len(order) // batch_size * batch_size]
    if window > 1:
        assert lengths is not None, "a window needs lengths"
        for start in range(0, len(order), window * batch_size):
            part = order[start : start + window * batch_size]
            batches = part[np.argsort(lengths[part], kind="stable")].reshape(-1, batch_size)
            # Batches themselves at random, or every window would begin with its shortest.
            order[start : start + len(part)] = batches[random.permutation(len(batches))].reshape(-1)
    return order


def by_length(lengths: Mapping[int, int], batch_size: int) -> Iterator[list[int]]:
    """The keys of `lengths` in batches of like length, the shortest first: little padding to compute."""
    order = sorted(lengths, key=lengths.__getitem__)
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]
