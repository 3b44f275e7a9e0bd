"""The loop around the step: batches in order, a budget, validation, checkpoints, guards.

Every random thing is a function of (seed, cursor, rank): the batches and masks, and torch's generator, which is seeded
anew for each batch (dropout). A resumed run has therefore nothing to restore but weights, moments and counters.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Generic

import torch

from tinydistil.config import from_mapping
from tinydistil.errors import InputError
from tinydistil.ranks import Ranks
from tinydistil.train.checkpoint import Checkpoint, CheckpointStore, optimizer_tensors, restore_optimizer
from tinydistil.train.objective import Batches, BatchT, SignalT
from tinydistil.train.records import Records
from tinydistil.train.schedule import learning_rate_share
from tinydistil.train.settings import TrainConfig
from tinydistil.train.signals import StopRequest
from tinydistil.train.step import StepResult, Trainer


@dataclass
class LoopState:
    """Where a run stands. steps: taken; cursor: global batches drawn, one more for each step that was not taken."""

    steps: int = 0
    cursor: int = 0
    bad_in_a_row: int = 0
    bad_steps: int = 0
    tokens: int = 0
    seconds: float = 0.0
    best_loss: float | None = None
    validations_since_best: int = 0
    validation_loss: float | None = None
    stopped_early: bool = False


class Loop(Generic[BatchT, SignalT]):
    """Trains until the budget is used up, the loss no longer falls, or somebody asks it to stop.

    `validate` returns the number that early stopping and the best checkpoint minimise, the same on every rank.
    """

    def __init__(
        self,
        trainer: Trainer[BatchT, SignalT],
        batches: Batches[BatchT],
        config: TrainConfig,
        store: CheckpointStore,
        records: Records,
        *,
        validate: Callable[[], float] | None = None,
    ) -> None:
        self.trainer, self.batches, self.config, self.validate = trainer, batches, config, validate
        self.store, self.records = store, records
        self.ranks: Ranks = trainer.ranks
        self.state = LoopState()

    def resume(self, checkpoint: Checkpoint) -> None:
        """Go on where `checkpoint` stands. Raises InputError where it belongs to another model."""
        learner = self.trainer.module
        try:
            learner.load_state_dict(checkpoint.learner)
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise InputError(
                f"checkpoint {str(checkpoint.folder)!r} is of another model ({reason}); choose another output folder"
            ) from None
        restore_optimizer(self.trainer.optimizer, learner, checkpoint.optimizer)
        known = {field.name for field in fields(LoopState)}
        self.state = from_mapping(LoopState, {k: v for k, v in checkpoint.state.items() if k in known})

    def run(self) -> bool:
        """Train; True when done, False when asked to stop before (everything is saved then)."""
        with StopRequest() as request:
            started = time.monotonic() - self.state.seconds
            self.trainer.model.train()
            while not self._finished():
                result = self._one_step()
                self.state.seconds = time.monotonic() - started
                if result.taken:
                    self._after_step(result)
                # Asked of one, agreed by all: half a decision is a hang.
                if not self.ranks.all_agree(not request.asked):
                    self._save()
                    self.records.say(f"asked to stop: saved at step {self.state.steps}; go on with --resume auto")
                    return False
            self._save()
        return True

    def _one_step(self) -> StepResult:
        state, config = self.state, self.config
        torch.manual_seed((config.seed * 1_000_003 + state.cursor) * 4099 + self.ranks.rank)
        micro_batches = self.batches.micro_batches(
            state.cursor, rank=self.ranks.rank, world_size=self.ranks.world_size, accumulation=config.accumulation
        )
        share = learning_rate_share(config.schedule, state.steps, self._total_steps())
        result = self.trainer.step(micro_batches, config.optimizer.learning_rate * share)
        state.cursor += 1
        if result.taken:
            state.steps += 1
            state.bad_in_a_row = 0
            state.tokens += result.tokens
        else:
            self._refuse_endless_bad_steps(result)
        return result

    def _refuse_endless_bad_steps(self, result: StepResult) -> None:
        state = self.state
        state.bad_steps += 1
        state.bad_in_a_row += 1
        _, ids = self.batches.global_batch(state.cursor - 1)
        bad = ", ".join(f"{name} {value}" for name, value in result.terms.items())
        what = (
            f"step {state.steps} was not finite on some rank ({bad}; gradient norm {result.gradient_norm}); "
            f"sequences {', '.join(map(str, ids[:8].tolist()))}{' ...' if len(ids) > 8 else ''}"
        )
        self.records.say(f"skipped: {what}")
        if state.bad_in_a_row >= self.config.bad_steps:
            # Raised on every rank alike: all have seen the same counts.
            raise InputError(
                f"{what}: {state.bad_in_a_row} such steps in a row; lower train.optimizer.learning_rate or look at "
                "these sequences. The last checkpoint is whole"
            )

    def _after_step(self, result: StepResult) -> None:
        state, config = self.state, self.config
        if state.steps % config.validate_every == 0 and self.validate is not None:
            self._validate(self.validate())
        if state.steps % config.save_every == 0:
            self._save()
        shown = None
        if state.steps % config.log_every == 0:
            shown = {
                **result.terms,
                "gradient_norm": result.gradient_norm,
                "tokens_per_second": state.tokens / max(state.seconds, 1e-9),
            }
            self.records.write({"step": state.steps, "tokens": state.tokens, **shown, "seconds": state.seconds})
        left = self._total_steps() - state.steps
        self.records.step_done(state.steps, state.seconds / state.steps * left, shown)

    def _validate(self, loss: float) -> None:
        state = self.state
        state.validation_loss = loss
        if state.best_loss is None or state.validation_loss < state.best_loss:
            state.best_loss, state.validations_since_best = state.validation_loss, 0
        else:
            state.validations_since_best += 1
            state.stopped_early = 0 < self.config.patience <= state.validations_since_best
        self.records.write({"step": state.steps, "validation_loss": state.validation_loss})
        self.records.say(f"step {state.steps}: validation loss {state.validation_loss:.4f}")

    def _save(self) -> None:
        if self.ranks.is_main:
            learner = self.trainer.module
            self.store.save(
                self.state.steps,
                learner.state_dict(),
                optimizer_tensors(self.trainer.optimizer, learner),
                asdict(self.state),
            )
        self.ranks.barrier()

    def _finished(self) -> bool:
        config, state = self.config, self.state
        used_up = (
            (config.steps and state.steps >= config.steps)
            or (config.tokens and state.tokens >= config.tokens)
            or (config.minutes and state.seconds >= 60 * config.minutes)
        )
        return not self.ranks.all_agree(not (used_up or state.stopped_early))

    def _total_steps(self) -> int:
        """Steps of the whole budget; where it is in tokens or minutes, at the pace so far."""
        config, state = self.config, self.state
        totals = [config.steps] if config.steps else []
        if config.tokens:
            lengths = state.tokens / state.steps if state.steps else self.batches.mean_tokens
            totals.append(round(config.tokens / lengths))
        if config.minutes:
            pace = state.seconds / state.steps if state.steps else 1.0
            totals.append(round(60 * config.minutes / max(pace, 1e-9)))
        mine = torch.tensor([max(min(totals), 1) if self.ranks.is_main else 0], device=self.ranks.device)
        return int(self.ranks.sum_(mine))


def metrics_without_times(line: Mapping[str, object]) -> dict[str, object]:
    """A line of metrics.jsonl without what differs between two runs of the same seed."""
    return {key: value for key, value in line.items() if key not in ("seconds", "tokens_per_second")}
