"""The next step's batches, made while this step is computed."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from tinydistil.batches.masked_batches import MaskedBatch, MaskedBatches


class Prefetched:
    """`MaskedBatches`, one step ahead on a thread of its own; where the device is an accelerator, in pinned memory.

    A batch is a pure function of its cursor, so nothing changes but when it is made, and a resumed or repeated cursor
    costs one batch made in vain. One thread is enough: masks are numpy, and a step takes ten times as long. An error in
    the making is raised where the batch is asked for.
    """

    def __init__(self, batches: MaskedBatches, *, pinned: bool = False) -> None:
        self._batches, self._pinned = batches, pinned
        self.batches_per_epoch, self.mean_tokens = batches.batches_per_epoch, batches.mean_tokens
        self.global_batch = batches.global_batch
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._next: tuple[tuple[int, ...], Future[list[MaskedBatch]]] | None = None

    def micro_batches(self, cursor: int, *, rank: int, world_size: int, accumulation: int) -> Sequence[MaskedBatch]:
        """This rank's share of the `cursor`-th global batch; the next one is begun."""
        asked, following = ((each, rank, world_size, accumulation) for each in (cursor, cursor + 1))
        begun, ready = self._next or (None, None)
        made = (ready if ready is not None and begun == asked else self._pool.submit(self._make, *asked)).result()
        self._next = (following, self._pool.submit(self._make, *following))
        return made

    def _make(self, cursor: int, rank: int, world_size: int, accumulation: int) -> list[MaskedBatch]:
        made = self._batches.micro_batches(cursor, rank=rank, world_size=world_size, accumulation=accumulation)
        return [batch.to(None) for batch in made] if self._pinned else made
