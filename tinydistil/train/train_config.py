"""How long a run lasts, how it learns, and when it logs, validates and saves."""

from dataclasses import dataclass, field
from typing import Annotated

from tinydistil.base.config import Checked, Count, NonNegative, OneOf, Positive, Range, Seed, Share, Whole
from tinydistil.base.errors import require
from tinydistil.batches.masking import MaskConfig
from tinydistil.batches.order import OrderConfig

SHAPES = ("linear", "cosine", "wsd", "constant")


@dataclass(frozen=True)
class OptimizerConfig(Checked, table="optimizer"):
    """AdamW (Loshchilov & Hutter 2019) as BERT used it; `clip_norm` limits the whole gradient's norm, 0 does not."""

    learning_rate: Positive = 5e-4
    weight_decay: NonNegative = 0.01
    beta1: Annotated[float, Range(0, 1, without=(1,))] = 0.9
    beta2: Annotated[float, Range(0, 1, without=(1,))] = 0.999
    epsilon: Positive = 1e-8
    clip_norm: NonNegative = 1.0


@dataclass(frozen=True)
class ScheduleConfig(Checked, table="schedule"):
    """Warm-up from 0 over a share of the steps, then a shape down to `final` (a share of the peak).

    linear    straight down (Devlin et al. 2019)
    cosine    half a cosine wave (Loshchilov & Hutter 2017)
    wsd       at the peak until the last `decay_share`, then straight down (Hu et al. 2024)
    constant  at the peak
    """

    shape: Annotated[str, OneOf(SHAPES)] = "linear"
    warmup_share: Share = 0.06
    decay_share: Share = 0.2
    final: Share = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        shares = self.warmup_share + self.decay_share
        message = f"schedule.warmup_share + schedule.decay_share must be <= 1, got {shares}"
        require(self.shape != "wsd" or shares <= 1, message)


@dataclass(frozen=True)
class TrainConfig(Checked, table="train"):
    """A training run.

    steps, tokens, minutes: the budget; the first to be used up ends the run, 0 means no such limit. epochs: passes over
    the corpus, the budget where none of the three is given. batch_size is the global one, in sequences; each rank's
    share is cut into `accumulation` micro-batches. log_every, validate_every and save_every are in steps. patience:
    validations without a better loss before an early stop, 0 for none. bad_steps: steps in a row that were not finite
    before the run gives up. order: which sequences are read together. tensorboard: write the figures for it, too.
    """

    # A thousand steps a second for thirty years; ten years; no text is read a million times.
    steps: Annotated[int, Range(0, 10**12)] = 0
    tokens: Annotated[int, Range(0, 10**15)] = 0
    minutes: Annotated[float, Range(0, 5_300_000)] = 0.0
    epochs: Annotated[float, Range(0, 1_000_000, without=(0,))] = 1.0
    # Ids and masks of a step are held at once: a million sequences of 128 tokens are 2 GB.
    batch_size: Annotated[int, Range(1, 1_000_000)] = 64
    accumulation: Annotated[int, Range(1, 1_000_000)] = 1
    precision: str = "float32"
    seed: Seed = 1
    log_every: Count = 10
    validate_every: Count = 200
    validation_sequences: Count = 1000
    save_every: Count = 200
    keep_last: Count = 2
    patience: Whole = 0
    bad_steps: Count = 5
    tensorboard: bool = False
    order: OrderConfig = field(default_factory=OrderConfig)
    mask: MaskConfig = field(default_factory=MaskConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_parts(self.accumulation, self.batch_size, "train.")

    @property
    def micro_batch(self) -> int:
        """Sequences that one process has in memory at a time, at the most."""
        return -(-self.batch_size // self.accumulation)

    def counted_sequences(self, tokens: float) -> float | None:
        """Sequences of the budget in steps or tokens, with `tokens` in one on average; None where there is neither."""
        found = [float(self.steps * self.batch_size)] if self.steps else []
        found += [self.tokens / tokens] if self.tokens else []
        return min(found, default=None)

    def seconds_at(self, pace_s: float, sequences: int, tokens: float) -> float:
        """Seconds of the whole budget at `pace_s` per sequence, with `sequences` in the corpus."""
        counted = self.counted_sequences(tokens)
        found = [] if counted is None else [pace_s * counted]
        found += [60 * self.minutes] if self.minutes else []
        return min(found or [pace_s * self.epochs * sequences])


def require_parts(accumulation: int, batch_size: int, table: str = "") -> None:
    """Raise InputError where a step is to be cut into more micro-batches than it has sequences."""
    require(
        accumulation <= batch_size,
        f"{table}accumulation must be <= {table}batch_size ({batch_size}), of which each part holds at least one, "
        f"got {accumulation}",
    )
