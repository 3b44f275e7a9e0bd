"""Ended at random moments and started again, a preparation gives the bytes of one that was left in peace."""

import os
import random
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tinydistil.base.errors import STOPPED_EXIT_CODE

Call = Callable[..., int]
WriteCorpus = Callable[[Path, int], Path]
# All twenty take half a minute; the default run does one of each kind.
INTERRUPTS = int(os.environ.get("TINYDISTIL_INTERRUPTS", "3"))
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGKILL]
MESSAGE = "stopped by {}; the same command goes on after the last finished segment"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, write_corpus: WriteCorpus) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus") / "a.jsonl", 1200)


def arguments_of(corpus: Path, tokenizer: Path, output: Path) -> list[object]:
    options = ["--set", "segment_mb=0.1", "--sample-dropped", 2]
    return ["--input", corpus, "--tokenizer", tokenizer, "--output", output, *options]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def committed(output: Path) -> int:
    """Segments that a restart need not do again."""
    if (output / "manifest.json").exists():
        return 0
    return len(list((output / "segments").glob("*.json")))


def workers_alive(output: Path) -> bool:
    """Whether a worker of a run into `output` lives; they carry its name in their environment."""
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"TEST_OUTPUT={output}".encode() in environment.read_bytes().split(b"\0"):
                return True
        except OSError:
            continue
    return False


def test_interrupted_at_random_moments(
    corpus: Path,
    tokenizer: Path,
    call: Call,
    start: Callable[..., object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = tmp_path / "whole"
    began = time.monotonic()
    assert call(*arguments_of(corpus, tokenizer, whole), "--workers", 0) == 0
    whole_seconds = time.monotonic() - began
    source, interrupted, corpora, resumed = random.Random(0), 0, 0, 0
    while interrupted < INTERRUPTS or (corpora == 0 and interrupted < 100):
        output = tmp_path / f"broken{corpora}"
        monkeypatch.setenv("TEST_OUTPUT", str(output))
        lock = output / ".lock"
        before = lock.stat().st_mtime_ns if lock.exists() else 0
        done_before = committed(output)
        process = start(*arguments_of(corpus, tokenizer, output), "--workers", source.choice([1, 2, 3]))
        # The run has begun once it holds the lock; before that Python is still importing.
        wait_for(lambda: lock.exists() and lock.stat().st_mtime_ns > before)  # noqa: B023
        if interrupted < INTERRUPTS:
            if interrupted == 0:  # at least once there must be something to go on after
                wait_for(lambda: committed(output) > 0)  # noqa: B023
            else:
                time.sleep(source.uniform(0, 0.8 * whole_seconds))
            asked = SIGNALS[interrupted % 3]
            process.send_signal(asked)
            _, errors = process.communicate(timeout=30)
            # A signal that comes while Python leaves, the work done, ends it in the system's way.
            finished = process.returncode == -asked and (output / "manifest.json").exists()
            if process.returncode != 0 and not finished:
                interrupted += 1
                assert process.returncode == (-9 if asked == signal.SIGKILL else STOPPED_EXIT_CODE), errors
                assert asked == signal.SIGKILL or MESSAGE.format(asked.name) in errors
                assert "Traceback" not in errors
                wait_for(lambda: not workers_alive(output))  # noqa: B023
                continue
        else:
            _, errors = process.communicate(timeout=60)
        assert process.returncode in (0, -signal.SIGINT, -signal.SIGTERM, -signal.SIGKILL), errors
        assert ("going on after" in errors) == (done_before > 0)
        resumed += done_before > 0
        assert contents(output) == contents(whole)
        corpora += 1
    assert resumed


def test_disk_full_leaves_no_half_shard(
    corpus: Path, tokenizer: Path, call: Call, start: Callable[..., object], tmp_path: Path
) -> None:
    output, whole = tmp_path / "full", tmp_path / "whole"
    assert call(*arguments_of(corpus, tokenizer, whole), "--workers", 0) == 0
    shards = sorted((path.stat().st_size for path in whole.glob("*.safetensors")), reverse=True)
    limit = shards[0] - 1  # the largest shard does not fit
    process = start(
        *arguments_of(corpus, tokenizer, output),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "no room for" in errors and "run the same command again" in errors and "Traceback" not in errors
    assert not (output / "manifest.json").exists() and not list(output.rglob("*.partial"))
    assert call(*arguments_of(corpus, tokenizer, output), "--workers", 2) == 0
    assert contents(output) == contents(whole)
