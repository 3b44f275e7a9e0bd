"""A short run of the loop, alone or as one rank of several, with faults to order.

python -m tests.train.toy_loop FOLDER STEPS PRECISION PAUSE_S
"""

import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from tests.train.toy import CASES, Repeating, toy_trainer
from tinydistil.base.errors import STOPPED_EXIT_CODE, InputError, run_script
from tinydistil.base.ranks import Ranks, joined
from tinydistil.batches.masked_batches import MaskedBatch, MaskedBatches
from tinydistil.distill.step import StepResult
from tinydistil.train.loop import Loop
from tinydistil.train.outcome import masked_lm_loss
from tinydistil.train.records import CheckpointStore, Records
from tinydistil.train.run_config import OptimizerConfig, TrainConfig


class Hooked(Records):
    """Records that do something at a step, as the main rank or any other reaches it."""

    at_step: Mapping[int, Callable[[], None]] = {}
    pause_s = 0.0

    def step_done(self, steps: int, total_steps: int, left_s: float, shown: Mapping[str, float] | None) -> None:
        super().step_done(steps, total_steps, left_s, shown)
        time.sleep(self.pause_s)
        if steps in self.at_step:
            self.at_step[steps]()


def ask_to_stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def make_loop(
    folder: Path, ranks: Ranks, *, steps: int, precision: str, dropout: float = 0.1, **changes: object
) -> tuple[Loop, Hooked]:
    """Dropout, dynamic masks, two micro-batches, validation; resumed from the folder's latest checkpoint if any."""
    options: dict[str, object] = {
        "steps": steps, "batch_size": 6, "accumulation": 2, "precision": precision, "log_every": 3,
        "validate_every": 10, "save_every": 10, "validation_sequences": 7,
        "optimizer": OptimizerConfig(learning_rate=0.01),
    }  # fmt: skip
    config = TrainConfig(**(options | changes))  # type: ignore[arg-type]
    folder.mkdir(parents=True, exist_ok=True)
    trainer, batches = toy_trainer(CASES["total"], ranks, dropout=dropout, precision=precision, learning_rate=0.01)
    train = MaskedBatches(Repeating(), batches.tokenizer, config.mask, batch_size=6, seed=config.seed)
    records = Hooked(folder / "metrics.jsonl" if ranks.is_main else None)
    store = CheckpointStore(folder / "checkpoints", keep_last=2, say=records.say)
    loop = Loop(
        trainer, train, config, store, records,
        validate=lambda: masked_lm_loss(trainer.objective.student, train, ranks, sequences=config.validation_sequences),
    )  # fmt: skip
    checkpoint = store.latest()
    if checkpoint is not None:
        loop.resume(checkpoint)
    return loop, records


def poison(loop: Loop, rank: int, cursor: int, times: int) -> None:
    """Make this rank's loss NaN for `times` global batches from `cursor` on."""
    step = loop.trainer.step

    def poisoned(micro_batches: list, learning_rate: float, progress: float) -> StepResult:  # type: ignore[type-arg]
        bias = loop.trainer.objective.student.masked_lm.bias
        clean = bias.detach().clone()
        if loop.ranks.rank == rank and cursor <= loop.state.cursor < cursor + times:
            bias.data[3] = torch.nan
        result = step(micro_batches, learning_rate, progress)
        if not result.taken:
            bias.data.copy_(clean)
        return result

    loop.trainer.step = poisoned  # type: ignore[method-assign, assignment]


class Damaged:
    """Batches that cannot be read from a cursor on, by one rank."""

    def __init__(self, batches: MaskedBatches, cursor: int, error: Exception) -> None:
        self.batches, self.cursor, self.error = batches, cursor, error
        self.global_batch, self.batches_per_epoch = batches.global_batch, batches.batches_per_epoch

    def micro_batches(self, cursor: int, *, rank: int, world_size: int, accumulation: int) -> list[MaskedBatch]:
        if cursor >= self.cursor and rank == 1:
            raise self.error
        return self.batches.micro_batches(cursor, rank=rank, world_size=world_size, accumulation=accumulation)


@dataclass(frozen=True)
class Run:
    """What a rank does. `fault`: "nan", "data" or "bug" (on rank 1) or "full disk", from step 12 on."""

    folder: Path
    steps: int
    precision: str = "float32"
    dropout: float = 0.1
    log_every: int = 3
    stop_at: int = -1
    pause_s: float = 0.0
    fault: str = ""

    def __call__(self) -> None:
        with joined("cpu") as ranks:
            done = self.train(ranks)
        if not done:
            sys.exit(STOPPED_EXIT_CODE)

    def train(self, ranks: Ranks) -> bool:
        loop, records = make_loop(
            self.folder,
            ranks,
            steps=self.steps,
            precision=self.precision,
            dropout=self.dropout,
            log_every=self.log_every,
        )
        records.at_step, records.pause_s = {self.stop_at: ask_to_stop}, self.pause_s
        if self.fault == "nan":
            poison(loop, rank=1, cursor=12, times=99)
        elif self.fault in ("data", "bug"):
            error = InputError("shard 3 is damaged") if self.fault == "data" else KeyError("a bug of ours")
            loop.batches = Damaged(loop.batches, 12, error)  # type: ignore[assignment, arg-type]
        elif self.fault == "full disk":
            # The system refuses to let a file grow further, as a full disk does.
            records.at_step = {12: lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, resource.RLIM_INFINITY))}
        return loop.run()


if __name__ == "__main__":
    run_script(Run(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], pause_s=float(sys.argv[4])), ranks=True)
