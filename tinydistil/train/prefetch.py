"""The next step's batches, made while this step computes."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from tinydistil.batches.batch import MaskedBatch
from tinydistil.batches.masked_batches import MaskedBatches

_Asked = tuple[int, int, int, int]


class Prefetched:
    """`MaskedBatches`, one step ahead on a thread of its own; where the device is an accelerator, in pinned memory.

    A batch is a pure function of its cursor, so nothing changes but when it is made, and a resumed or repeated cursor
    costs one batch made in vain. One thread is enough: masks are numpy, and a step takes ten times as long. An error in
    the making is raised where the batch is asked for.
    """

    def __init__(self, batches: MaskedBatches, *, pinned: bool = False) -> None:
        self._batches, self._pinned = batches, pinned
        self.batches_per_epoch = batches.batches_per_epoch
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._next: tuple[_Asked, Future[list[MaskedBatch]]] | None = None

    @property
    def mean_tokens(self) -> float:
        """Tokens of a global batch on average."""
        return self._batches.mean_tokens

    def global_batch(self, cursor: int) -> tuple[int, NDArray[np.int64]]:
        """The epoch and the sequence numbers of the `cursor`-th batch since the start of the run."""
        return self._batches.global_batch(cursor)

    def micro_batches(self, cursor: int, *, rank: int, world_size: int, accumulation: int) -> Sequence[MaskedBatch]:
        """This rank's share of the `cursor`-th global batch; the next one is begun."""
        asked = (cursor, rank, world_size, accumulation)
        ready = self._next[1] if self._next is not None and self._next[0] == asked else self._begin(asked)
        made = ready.result()
        following = (cursor + 1, rank, world_size, accumulation)
        self._next = (following, self._begin(following))
        return made

    def _begin(self, asked: _Asked) -> Future[list[MaskedBatch]]:
        return self._pool.submit(self._make, asked)

    def _make(self, asked: _Asked) -> list[MaskedBatch]:
        cursor, rank, world_size, accumulation = asked
        made = self._batches.micro_batches(cursor, rank=rank, world_size=world_size, accumulation=accumulation)
        return [batch.pinned() for batch in made] if self._pinned else made
