"""The loop around the step: batches in order, a budget, validation, checkpoints, guards.

Every random thing is a function of (seed, cursor, rank): the batches and masks, and torch's generator, which is seeded
anew for each batch (dropout). A resumed run has therefore nothing to restore but weights, moments and counters.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from tinydistil.base.errors import InputError, Interrupted, StopRequest, require
from tinydistil.base.ranks import Ranks
from tinydistil.distill.step import Batch, BatchT, StepResult, Trainer
from tinydistil.train.models import optimizer_tensors, restore_optimizer
from tinydistil.train.records import Checkpoint, CheckpointStore, LoopState, Pace, Records, Window
from tinydistil.train.run_config import ScheduleConfig, TrainConfig

# A stop is agreed on between two steps. Where one of several ranks waits so long for a dead one, it leaves unsaved:
# torchrun would kill it 30 s after the signal in any case.
_STOP_WITHIN_S = 15.0
_BatchOut = TypeVar("_BatchOut", bound=Batch, covariant=True)


class Batches(Protocol[_BatchOut]):
    """The batches of a run: pure functions of the cursor, the number of a global batch since the run's start.

    global_batch: the epoch and the numbers of its sequences, the same for any number of ranks. micro_batches: this
    rank's share of it; some may be empty. mean_tokens: of a global batch, which plans a budget in tokens.
    """

    batches_per_epoch: int

    @property
    def mean_tokens(self) -> float: ...

    def global_batch(self, cursor: int) -> tuple[int, NDArray[np.int64]]: ...

    def micro_batches(self, cursor: int, *, rank: int, world_size: int, accumulation: int) -> Sequence[_BatchOut]: ...


class Loop(Generic[BatchT]):
    """Trains until the budget is used up, the loss no longer falls, or somebody asks it to stop.

    `validate` returns the number that early stopping and the best checkpoint minimise, the same on every rank; `told`
    makes of it what metrics.jsonl and the person are told: a name, a value (None where it is undefined), a sentence.
    validate_first: before the first step too, since training on may make a model worse.
    """

    def __init__(
        self,
        trainer: Trainer[BatchT],
        batches: Batches[BatchT],
        config: TrainConfig,
        store: CheckpointStore,
        records: Records,
        *,
        validate: Callable[[], float] | None = None,
        told: Callable[[float], tuple[str, float | None, str]] = lambda x: ("validation_loss", x, f"loss {x:.4f}"),
        validate_first: bool = False,
    ) -> None:
        self.trainer, self.batches, self.config, self.store, self.records = trainer, batches, config, store, records
        self.validate, self.told, self.validate_first = validate, told, validate_first
        self.ranks: Ranks = trainer.ranks
        self.state, self.pace = LoopState(), Pace()
        self._timed_tokens: list[int] = []

    def resume(self, checkpoint: Checkpoint) -> None:
        """Go on where `checkpoint` stands. Raises InputError where it belongs to another model."""
        optimizer = self.trainer.optimizer
        try:
            self._take_weights(checkpoint)
            restore_optimizer(optimizer, self.trainer.module, checkpoint.optimizer)
            self.state = LoopState.restored(checkpoint.state)
            lost = self.state.steps > 0 and isinstance(optimizer, torch.optim.AdamW) and not checkpoint.optimizer
            require(not lost, "it has no moments")
            self.trainer.restore_scale(checkpoint.state.get("scaler"))
        except (RuntimeError, InputError) as error:
            reason = str(error).splitlines()[-1].strip()
            raise InputError(
                f"checkpoint {str(checkpoint.folder)!r} is of another model or damaged ({reason}); delete it to go on "
                "from the one before it, or choose another output folder"
            ) from None

    def take_best_weights(self) -> None:
        """Give the objective the weights of the lowest validation loss, where a checkpoint still holds them."""
        if (checkpoint := self.store.best()) is not None:
            self._take_weights(checkpoint)

    def _take_weights(self, checkpoint: Checkpoint) -> None:
        old = any(name.startswith("projections.") for name in checkpoint.learner)
        require(not old, "it is of an older version of this program, whose layout is no longer read")
        own = self.trainer.module.state_dict()
        other = [n for n, tensor in checkpoint.learner.items() if n in own and own[n].dtype != tensor.dtype]
        require(not other, f"{other[:1]} are numbers of another type")
        self.trainer.module.load_state_dict(checkpoint.learner)

    def run(self) -> bool:
        """Train; True when done, False when asked to stop before (everything is saved then)."""
        state, config = self.state, self.config
        with StopRequest(grace_s=_STOP_WITHIN_S if self.ranks.world_size > 1 else None) as request:
            self.pace = Pace()
            self.records.begin(state.steps if state.cursor > 0 or state.validation_loss is not None else -1)
            self.trainer.model.train()
            try:
                # Before the first step, or where the run that this one goes on from was interrupted in a validation.
                due = self.validate_first and state.validation_loss is None
                if state.steps > 0:
                    due = state.steps % config.validate_every == 0 and state.validated_at != state.steps
                # The first weights are kept where the best ones come back at the end.
                if due and self._validate() and (state.steps > 0 or config.patience > 0):
                    self._save()
                # From here: a first validation would make the first steps look slow, and a budget in minutes few steps.
                started = time.monotonic() - state.seconds
                while (total_steps := self._decide(request.asked)) > state.steps:
                    result, learning_rate = self._one_step(total_steps)
                    state.seconds = time.monotonic() - started
                    if result.taken:
                        self._after_step(total_steps, learning_rate)
                # The weights that the run ends with are those whose loss is asked for.
                if state.validated_at != state.steps:
                    self._validate()
            except Interrupted:
                # From here on saving may take what it takes: the ranks are together, none waits for a dead one.
                request.answered.set()
                self._save()
                self.records.say(f"asked to stop: saved at step {state.steps}")
                return False
            self._save()
        return True

    def _decide(self, asked: bool) -> int:
        """The steps of the whole run, no more than were taken if it is over. Interrupted where a rank is asked to stop.

        Half a decision is a hang, so the steps are the main rank's, whose clock may differ from others'.
        """
        total_steps = self._total_steps() if self.ranks.is_main else 0
        several_asked, total_steps = self.ranks.sum_(torch.tensor([int(asked), total_steps])).tolist()
        if several_asked:
            raise Interrupted
        return int(total_steps)

    def _total_steps(self) -> int:
        """Steps of the whole budget; where it is in tokens or minutes, at the pace so far."""
        config, state = self.config, self.state
        if state.stopped_early:
            return state.steps
        totals = [config.steps] if config.steps else []
        # While a budget is not used up its estimate is at least one step more than were taken.
        if config.tokens:
            mean = state.tokens / state.steps if state.steps else self.batches.mean_tokens
            totals.append(state.steps if state.tokens >= config.tokens else math.ceil(config.tokens / mean))
        if config.minutes:
            pace_s = max(state.seconds / state.steps, 1e-9) if state.steps else 1.0
            over = state.seconds >= 60 * config.minutes
            totals.append(state.steps if over else max(math.ceil(60 * config.minutes / pace_s), state.steps + 1))
        return min(totals or [math.ceil(config.epochs * self.batches.batches_per_epoch)])

    def _one_step(self, total_steps: int) -> tuple[StepResult, float]:
        """Draw a batch and learn from it; also the learning rate."""
        state, config, ranks = self.state, self.config, self.ranks
        self.trainer.watch.mark("")
        # Dropout: another stream for each batch and rank, the same one after a resume.
        torch.manual_seed(((config.seed * 1_000_003 + state.cursor) * 4099 + ranks.rank) % 2**63)
        micro_batches = self.batches.micro_batches(
            state.cursor, rank=ranks.rank, world_size=ranks.world_size, accumulation=config.accumulation
        )
        learning_rate = config.optimizer.learning_rate * learning_rate_share(config.schedule, state.steps, total_steps)
        result = self.trainer.step(micro_batches, learning_rate, state.steps / max(total_steps - 1, 1))
        # Also where the step was not taken: the batch that broke it would break the next one too.
        state.cursor += 1
        self._timed_tokens.append(result.tokens)
        if result.taken:
            state.steps += 1
            state.bad_in_a_row = 0
            state.tokens += result.tokens
            state.window.steps += 1
            state.window.gradient_norm += result.gradient_norm
            for sums, added in ((state.window.sums, result.sums), (state.window.counts, result.counts)):
                sums.update({name: sums.get(name, 0.0) + value for name, value in added.items()})
        elif result.overflowed:
            state.overflows += 1
        else:
            self._refuse_endless_bad_steps(result)
        return result, learning_rate

    def _refuse_endless_bad_steps(self, result: StepResult) -> None:
        state = self.state
        state.bad_steps += 1
        state.bad_in_a_row += 1
        ids = [str(number) for number in self.batches.global_batch(state.cursor - 1)[1]]
        bad = ", ".join(f"{name} {value}" for name, value in result.terms.items() if not math.isfinite(value))
        where = f" on rank {', '.join(map(str, result.bad_ranks))}" if result.bad_ranks else ""
        what = (
            f"step {state.steps} was not finite{where} ({bad or f'gradient norm {result.gradient_norm}'}); sequences "
            f"{', '.join(ids[:64])}{' ...' if len(ids) > 64 else ''}"
        )
        self.records.say(f"skipped: {what}")
        if state.bad_in_a_row >= self.config.bad_steps:
            # All ranks have seen the same numbers and come here together.
            self.ranks.refuse(
                f"{what}: {state.bad_in_a_row} such steps in a row; lower the learning rate or look at these "
                "sequences. The last checkpoint is whole"
            )

    def _after_step(self, total_steps: int, learning_rate: float) -> None:
        """Log, validate, save, where it is time; a checkpoint comes last, so that it knows what was logged."""
        state, config = self.state, self.config
        shown = self._log(learning_rate) if state.steps % config.log_every == 0 else None
        every = {"validation": config.validate_every, "save": config.save_every}
        ahead = {kind: -(-total_steps // steps) - state.steps // steps for kind, steps in every.items()}
        left_s = self.pace.left_s(total_steps - state.steps, ahead)
        self.records.step_done(state.steps, total_steps, left_s, shown)
        is_best = state.steps % config.validate_every == 0 and self._validate()
        if is_best or state.steps % config.save_every == 0:
            self._save()

    def _log(self, learning_rate: float) -> dict[str, float]:
        """Write what happened since the last line; returns what a person wants to see of it."""
        state, window, seconds = self.state, self.state.window, self.trainer.watch.read()
        tokens, self._timed_tokens = sum(self._timed_tokens) / len(self._timed_tokens), []
        shown = {
            **{name: window.sums[name] / max(count, 1.0) for name, count in window.counts.items()},
            "gradient_norm": window.gradient_norm / max(window.steps, 1),
            "learning_rate": learning_rate,
            "tokens_per_second": tokens / sum(seconds.values()),
        }
        per_step = {f"{part}_ms": 1000 * value for part, value in seconds.items()}
        line = {"step": state.steps, "tokens": state.tokens, **shown, **per_step, "seconds": state.seconds}
        self.records.write(line | {"bad_steps": state.bad_steps, "overflows": state.overflows})
        state.window = Window()
        return shown

    def _validate(self) -> bool:
        """Whether the loss is now the lowest so far; False, too, where there is nothing to validate on."""
        if self.validate is None:
            return False
        state = self.state
        with self.pace.aside("validation"):
            loss = self.validate()
        # Whatever `validate` evaluated in eval mode: without dropout the next steps would overfit unseen.
        self.trainer.model.train()
        state.validation_loss, state.validated_at = loss, state.steps
        # NaN compares as false with everything: as the first loss it would stay the best for ever.
        is_best = math.isfinite(loss) and (state.best_loss is None or loss < state.best_loss)
        if is_best:
            state.best_loss, state.best_step, state.validations_since_best = loss, state.steps, 0
        else:
            state.validations_since_best += 1
            state.stopped_early = 0 < self.config.patience <= state.validations_since_best
        # A line of its own: most steps have no validation, and those that have may not be logged.
        name, value, said = self.told(loss)
        self.records.write({"step": state.steps, name: value})
        if state.best_loss is not None and self.told(state.best_loss)[1] is not None:
            said += ", the best so far" if is_best else f", the best was at step {state.best_step}"
        self.records.say(f"step {state.steps:,}, epoch {state.cursor / self.batches.batches_per_epoch:.3g}: {said}")
        return is_best

    def _save(self) -> None:
        state, module = self.state, self.trainer.module
        with self.pace.aside("save"), self.ranks.agreed():
            if self.ranks.is_main:
                self.store.save(
                    state.steps,
                    module.state_dict(),
                    optimizer_tensors(self.trainer.optimizer, module),
                    {**asdict(state), "scaler": self.trainer.scaler.state_dict()},
                    score=state.validation_loss if state.validated_at == state.steps else None,
                )


def learning_rate_share(config: ScheduleConfig, step: int, total_steps: int) -> float:
    """The share of the peak learning rate for step 0 <= `step` < `total_steps`; later steps get the last one's."""
    warmup = round(config.warmup_share * total_steps)
    if step < warmup:
        return (step + 1) / warmup  # not from 0: a step at rate 0 would be a wasted one
    if config.shape == "constant":
        return 1.0
    start = round((1 - config.decay_share) * total_steps) if config.shape == "wsd" else warmup
    # From 1 at the first step of the descent to `final` at the step after the last.
    progress = min(max(step - start, 0) / max(total_steps - start, 1), 1.0)
    fall = (1 + math.cos(math.pi * progress)) / 2 if config.shape == "cosine" else 1 - progress
    return config.final + (1 - config.final) * fall
