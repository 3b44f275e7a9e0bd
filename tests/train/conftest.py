"""Toy models are so small that a second thread only waits for the first."""

from collections.abc import Iterator

import pytest
import torch

from tests.train.processes import RankProcesses
from tests.train.toy_loop import Run


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of two ranks that nothing disturbed: 100 steps in bfloat16 with dropout and accumulation."""
    run = Run(tmp_path_factory.mktemp("unbroken"), 100, "bfloat16")
    ranks = RankProcesses(run.folder, 2, run)
    assert ranks.wait() == [0, 0], ranks.errors()
    return run


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
