"""`--corpus` with several ranks: rank 0 prepares with every core, the others wait without a limit and say so."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scripts.models import make_models
from tests.train.processes import RankProcesses
from tinydistil.base import ranks as ranks_module
from tinydistil.base.ranks import joined
from tinydistil.corpus import progress, raw_text
from tinydistil.corpus.prepare import Prepared
from tinydistil.corpus.prepare_config import resolve_raw
from tinydistil.corpus.raw_text import plan_raw


def prepare_slowly(folder: Path) -> None:
    """On a machine of three cores, and for two seconds at the least."""
    os.chdir(folder)
    ranks_module._TOLD_AFTER_S, progress._SECONDS_PER_LINE = 0.5, 0.0
    raw_text.available_cores = lambda: 3
    whole = raw_text.prepare

    def prepare(*arguments: object, workers: int, **more: object) -> Prepared:
        (folder / "workers").write_text(str(workers))
        time.sleep(2)
        return whole(*arguments, workers=0, **more)  # type: ignore[arg-type]

    raw_text.prepare = prepare
    values = {"recipe": "mlm", "student": {"model": "student"}, "corpus": ["corpus.jsonl"]}
    with joined("cpu") as ranks:
        plan = plan_raw(resolve_raw(values), folder / "run", resume=False, device="cpu")
        plan.text.prepare(ranks, workers=None, say=print)
        assert (folder / "run" / "shards" / "manifest.json").exists()


def test_rank_0_prepares_with_all_cores(
    tmp_path: Path, write_corpus: Callable[[Path, int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_models(tmp_path, write_corpus(tmp_path / "corpus.jsonl", 400))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    ranks = RankProcesses(tmp_path, 2, prepare_slowly, tmp_path)
    assert ranks.wait() == [0, 0], ranks.errors()
    assert (tmp_path / "workers").read_text() == "3"
    main, other = ranks.errors()
    assert "MB/s, 100%, 0 s left" in main and "documents/s" not in other
    assert "rank 1: waiting for other ranks to prepare the corpus, " in other
