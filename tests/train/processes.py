"""Several ranks of one run: forked from a process that has already imported torch, or started by torchrun."""

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.distributed as dist

from tinydistil.base.errors import run_script

ROOT = Path(__file__).parent.parent.parent
# Importing torch takes a rank seconds, forking one that has it none.
_server = multiprocessing.get_context("forkserver")
# DistributedDataParallel imports _dynamo when it is first made.
_server.set_forkserver_preload(["tests.train.toy_loop", "torch._dynamo"])
# Far more than any run here takes: a loaded machine must not fail a test, a hang must.
PATIENCE_S = 300.0


class RankProcesses:
    """`world_size` ranks that call `work(*arguments)`; what each writes to standard error is kept apart."""

    def __init__(self, folder: Path, world_size: int, work: Callable[..., None], *arguments: object) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # A store on a port that the system chooses, as torchrun's own: nobody can take it in between.
        self._store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        self._logs = [folder / f"stderr-{rank}" for rank in range(world_size)]
        self.processes = []
        for rank, log in enumerate(self._logs):
            variables = {
                "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world_size, "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": self._store.port, "TORCHELASTIC_USE_AGENT_STORE": True,
            }  # fmt: skip
            environment = {key: str(value) for key, value in variables.items()}
            self.processes.append(_server.Process(target=_rank, args=(environment, str(log), work, arguments)))
            self.processes[-1].start()

    def signal(self, number: int, ranks: Sequence[int]) -> None:
        for rank in ranks:
            os.kill(self.processes[rank].pid, number)

    def until_metrics(self, folder: Path, lines: int) -> None:
        """Wait until the run has written so many lines of metrics more."""
        metrics = folder / "metrics.jsonl"
        before = _lines_of(metrics)
        deadline = time.monotonic() + PATIENCE_S
        while _lines_of(metrics) < before + lines:
            assert time.monotonic() < deadline, self.errors()
            assert all(process.is_alive() for process in self.processes), self.errors()
            time.sleep(0.01)

    def wait(self, seconds: float = PATIENCE_S) -> list[int]:
        """The exit codes of the ranks, negative for the signal that ended one."""
        deadline = time.monotonic() + seconds
        for process in self.processes:
            process.join(max(deadline - time.monotonic(), 0))
        codes = [process.exitcode for process in self.processes]
        for process in self.processes:
            process.kill()
        assert None not in codes, f"still running after {seconds} s: {self.errors()}"
        return codes

    def errors(self) -> list[str]:
        return [log.read_text() if log.exists() else "" for log in self._logs]


def _lines_of(file: Path) -> int:
    return len(file.read_text().splitlines()) if file.exists() else 0


def _rank(environment: dict[str, str], log: str, work: Callable[..., None], arguments: tuple[object, ...]) -> None:
    os.environ.update(environment)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 2)
    # Under pytest the server's own stream is captured, and not that of descriptor 2.
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(1)
    run_script(lambda: work(*arguments), ranks=True)


def torchrun(module: str, *arguments: object, restarts: int = 0) -> "subprocess.Popen[str]":
    """Two ranks as a user starts them."""
    options = ["--nproc-per-node=2", f"--max-restarts={restarts}", f"--master-port={free_port()}"]
    return _launch(options, module, arguments, {})


def machine(port: int, module: str, *arguments: object, is_host: bool) -> "subprocess.Popen[str]":
    """One of two machines with a rank each, as the README starts them; that which `is_host` keeps where they meet.

    A machine that went is given up after 6 s instead of 15.
    """
    options = ["--nnodes=2", "--nproc-per-node=1", "--max-restarts=3", "--rdzv-backend=c10d", "--rdzv-id=toy",
               f"--rdzv-endpoint=127.0.0.1:{port}", f"--rdzv-conf=is_host={is_host},keep_alive_interval=2"]  # fmt: skip
    return _launch(options, module, arguments, {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"})


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _launch(
    options: list[str], module: str, arguments: Sequence[object], environment: dict[str, str]
) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "torch.distributed.run", *options, "-m", module, *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip


def finish(run: "subprocess.Popen[str]") -> str:
    """What a run started by `torchrun` wrote to standard error, once it has ended."""
    try:
        return run.communicate(timeout=PATIENCE_S)[1]
    except subprocess.TimeoutExpired:
        run.kill()
        raise


def children_of(pid: int) -> list[int]:
    """The processes that `pid` started and that still live."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
