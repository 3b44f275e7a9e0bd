"""A short run of the loop, alone or as one rank under torchrun; can be told to ask itself to stop.

python -m tests.train.toy_loop FOLDER STEPS PRECISION [--stop-at N] [--nan-at CURSOR --nan-times N]
"""

import argparse
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import torch

from tests.train.toy import CASES, Repeating, toy_trainer
from tinydistil.data.masked_batches import MaskedBatches
from tinydistil.errors import run_script
from tinydistil.ranks import Ranks, joined
from tinydistil.train.checkpoint import CheckpointStore
from tinydistil.train.loop import Loop
from tinydistil.train.optimizer import OptimizerConfig
from tinydistil.train.records import Records
from tinydistil.train.settings import TrainConfig
from tinydistil.train.signals import STOPPED_EXIT_CODE
from tinydistil.train.step import StepResult
from tinydistil.train.validation import masked_lm_loss


class Hooked(Records):
    """Records that ask the process to stop, at a step."""

    stop_at = -1

    def step_done(self, steps: int, total_steps: int, left_s: float, shown: Mapping[str, float] | None) -> None:
        super().step_done(steps, total_steps, left_s, shown)
        if steps == self.stop_at:
            os.kill(os.getpid(), signal.SIGTERM)


def make_loop(folder: Path, ranks: Ranks, *, steps: int, precision: str, **changes: object) -> tuple[Loop, Hooked]:
    """Dropout, dynamic masks, two micro-batches, validation; resumed from the folder's latest checkpoint if any."""
    options: dict[str, object] = {
        "steps": steps, "batch_size": 6, "accumulation": 2, "precision": precision, "log_every": 1,
        "validate_every": 10, "save_every": 10, "validation_sequences": 7,
        "optimizer": OptimizerConfig(learning_rate=0.01),
    }  # fmt: skip
    config = TrainConfig(**(options | changes))  # type: ignore[arg-type]
    trainer, batches = toy_trainer(CASES["total"], ranks, dropout=0.1, precision=precision, learning_rate=0.01)
    sequences = Repeating()
    train = MaskedBatches(sequences, batches.tokenizer, config.mask, batch_size=6, seed=config.seed)
    said: list[str] = []
    store = CheckpointStore(folder / "checkpoints", keep_last=2, say=said.append)
    checkpoint = store.latest()
    records = Hooked(folder / "metrics.jsonl" if ranks.is_main else None)
    loop = Loop(
        trainer, train, config, store, records,
        validate=lambda: masked_lm_loss(trainer.objective.student, train, ranks, sequences=config.validation_sequences),
    )  # fmt: skip
    if checkpoint is not None:
        loop.resume(checkpoint)
    return loop, records


def poison(loop: Loop, rank: int, cursor: int, times: int) -> None:
    """Make this rank's loss NaN for `times` global batches from `cursor` on."""
    step = loop.trainer.step

    def poisoned(micro_batches: list, learning_rate: float) -> StepResult:  # type: ignore[type-arg]
        bias = loop.trainer.objective.student.masked_lm.bias
        clean = bias.detach().clone()
        if loop.ranks.rank == rank and cursor <= loop.state.cursor < cursor + times:
            bias.data[3] = torch.nan
        result = step(micro_batches, learning_rate)
        if not result.taken:
            bias.data.copy_(clean)
        return result

    loop.trainer.step = poisoned  # type: ignore[method-assign, assignment]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("steps", type=int)
    parser.add_argument("precision")
    for option in ("--stop-at", "--nan-at", "--nan-times"):
        parser.add_argument(option, type=int, default=-1)
    args = parser.parse_args()
    args.folder.mkdir(exist_ok=True)
    with joined("cpu") as ranks:
        done = run(args, ranks)
    if not done:
        sys.exit(STOPPED_EXIT_CODE)


def run(args: argparse.Namespace, ranks: Ranks) -> bool:
    loop, records = make_loop(args.folder, ranks, steps=args.steps, precision=args.precision)
    records.stop_at = args.stop_at
    if args.nan_at >= 0:
        poison(loop, rank=ranks.world_size - 1, cursor=args.nan_at, times=args.nan_times)
    return loop.run()


if __name__ == "__main__":
    run_script(main)
