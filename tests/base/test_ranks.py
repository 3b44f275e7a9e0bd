"""How ranks meet, and wait for each other."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import torch.distributed as dist

from tests.train.processes import RankProcesses
from tinydistil.base import ranks as ranks_module
from tinydistil.base.ranks import _meeting, joined


def test_ranks_meet_under_a_name_of_their_own_whatever_an_earlier_meeting_left() -> None:
    """Three ranks meet twice in one store; the second time two of them are there long before rank 0."""
    store = dist.HashStore()
    store.set_timeout(timedelta(seconds=60))
    with ThreadPoolExecutor(3) as pool:
        first = {each.result() for each in [pool.submit(_meeting, store, rank, 3) for rank in range(3)]}
        early = [pool.submit(_meeting, store, rank, 3) for rank in (1, 2)]
        time.sleep(0.3)
        assert not any(each.done() for each in early)
        second = {pool.submit(_meeting, store, 0, 3).result(), *(each.result() for each in early)}
    assert len(first) == len(second) == 1 and first != second


def at_different_speed() -> None:
    ranks_module.TIMEOUT = timedelta(seconds=1)
    ranks_module._TOLD_AFTER_S = 1.0
    with joined("cpu") as ranks:
        for slow in (0, 1):
            with ranks.agreed("do their part"):
                time.sleep(3.0 * (ranks.rank == slow))


def test_a_wait_has_no_time_limit_and_is_told_of(tmp_path: Path) -> None:
    """Three seconds of work where ranks that do not answer are given up after one; whichever of them is late."""
    ranks = RankProcesses(tmp_path, 2, at_different_speed)
    assert ranks.wait() == [0, 0], ranks.errors()
    for error, rank in zip(ranks.errors(), (0, 1), strict=True):
        assert f"rank {rank}: waiting for other ranks to do their part, 1 s so far" in error
