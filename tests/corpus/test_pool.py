"""Order, bounds and ends of worker processes."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.corpus.pool_steps import lengths, troubled
from tinydistil.base.errors import InputError
from tinydistil.corpus.pool import Batch, worker_pool
from tinydistil.corpus.records import Record


def make_batches(words: list[str]) -> list[Batch]:
    return [
        Batch((Record("a.txt", number, "txt", word.encode()),), len(word), ends_segment=False)
        for number, word in enumerate(words)
    ]


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_results_come_in_order(workers: int) -> None:
    batches = make_batches(["x" * (number % 13) for number in range(60)])
    with worker_pool(lengths, workers) as mapped:
        results = list(mapped(batches))
    assert [batch for batch, _ in results] == batches
    assert [[outcome.dropped_by for outcome in outcomes] for _, outcomes in results] == [[str(n)] for n in range(60)]


def test_input_is_read_only_so_far_ahead() -> None:
    read = 0

    def source() -> Iterator[Batch]:
        nonlocal read
        for batch in make_batches(["x"] * 100):
            read += 1
            yield batch

    with worker_pool(lengths, 2) as mapped:
        for done, _ in enumerate(mapped(source()), start=1):
            assert read <= done + 8


def test_large_messages_both_ways_do_not_block() -> None:
    # 4 MB a batch is far more than a socket holds: with a worker that reads only between batches, both wait.
    batches = make_batches(["x" * 4_000_000] * 12)
    with worker_pool(lengths, 2) as mapped:
        assert [outcomes[0].characters for _, outcomes in mapped(batches)] == [4_000_000] * 12


@pytest.mark.parametrize("workers", [0, 2])
def test_the_users_mistake_arrives_as_such(workers: int) -> None:
    with pytest.raises(InputError, match="campo 'texto' falta"), worker_pool(troubled, workers) as mapped:
        list(mapped(make_batches(["ok", "input", "ok"])))


def test_a_bug_arrives_with_the_workers_traceback() -> None:
    with (
        pytest.raises(RuntimeError, match=r"(?s)worker failed.*pool_steps.*KeyError: 'bug'"),
        worker_pool(troubled, 2) as mapped,
    ):
        list(mapped(make_batches(["ok", "bug"])))


def test_a_killed_worker_is_told() -> None:
    with (
        pytest.raises(InputError, match=r"worker process was ended \(signal 9\).*fewer --workers"),
        worker_pool(troubled, 2) as mapped,
    ):
        list(mapped(make_batches(["ok"] * 5 + ["kill"] + ["ok"] * 50)))


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def wait_until_gone(processes: list[int]) -> None:
    deadline = time.monotonic() + 5
    while any(map(alive, processes)):
        assert time.monotonic() < deadline, "orphans"
        time.sleep(0.02)


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks processes up in /proc")
def test_no_worker_outlives_an_exception() -> None:
    processes: list[int] = []
    with pytest.raises(ZeroDivisionError), worker_pool(troubled, 2) as mapped:
        for _, outcomes in mapped(make_batches(["ok"] * 6 + ["sleep"] * 4)):
            processes.append(int(str(outcomes[0].dropped_by)))
            if len(processes) == 6:
                raise ZeroDivisionError
    assert len(set(processes)) == 2
    wait_until_gone(processes)


ORPHANAGE = """
import os, signal
from tests.corpus.pool_steps import troubled
from tests.corpus.test_pool import make_batches
from tinydistil.corpus.pool import worker_pool
with worker_pool(troubled, 2) as mapped:
    for done, (_, outcomes) in enumerate(mapped(make_batches(["ok"] * 6 + ["sleep"] * 4)), start=1):
        print(outcomes[0].dropped_by, flush=True)
        if done == 6:
            os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks processes up in /proc")
def test_no_worker_outlives_a_killed_parent() -> None:
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    run = subprocess.run(
        [sys.executable, "-c", ORPHANAGE],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert run.returncode == -9, run.stderr
    wait_until_gone([int(line) for line in set(run.stdout.split())])


def test_workers_are_spared_torch() -> None:
    """It takes a second and 200 MB of each, and no worker needs it."""
    code = "import sys, tinydistil.corpus.pool, tinydistil.corpus.document_step; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
