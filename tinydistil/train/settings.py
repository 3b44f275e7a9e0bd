"""How long a run lasts, and when it looks, saves and speaks."""

import math
from dataclasses import dataclass, field

from tinydistil.data.masking import MaskConfig
from tinydistil.data.order import OrderConfig
from tinydistil.errors import require
from tinydistil.train.optimizer import OptimizerConfig
from tinydistil.train.schedule import ScheduleConfig


@dataclass(frozen=True)
class TrainConfig:
    """A training run.

    steps, tokens, minutes: the budget; the first to be used up ends the run, 0 means no such limit. epochs: passes over
    the corpus, the budget where none of the three is given. batch_size is the global one, in sequences; each rank's
    share is cut into `accumulation` micro-batches. log_every, validate_every and save_every are in steps. patience:
    validations without a better loss before an early stop, 0 for none. bad_steps: steps in a row that were not finite
    before the run gives up. order: which sequences are read together. tensorboard: write the figures for it, too.
    """

    steps: int = 0
    tokens: int = 0
    minutes: float = 0.0
    epochs: float = 1.0
    batch_size: int = 64
    accumulation: int = 1
    precision: str = "float32"
    seed: int = 1
    log_every: int = 10
    validate_every: int = 200
    validation_sequences: int = 1000
    save_every: int = 200
    keep_last: int = 2
    patience: int = 0
    bad_steps: int = 5
    tensorboard: bool = False
    order: OrderConfig = field(default_factory=OrderConfig)
    mask: MaskConfig = field(default_factory=MaskConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)

    def __post_init__(self) -> None:
        for name in ("steps", "tokens", "minutes", "patience", "seed"):
            require(getattr(self, name) >= 0, f"train.{name} must be >= 0, got {getattr(self, name)}")
        require(0 < self.epochs < math.inf, f"train.epochs must be > 0 and finite, got {self.epochs}")
        for name in (
            "batch_size",
            "accumulation",
            "log_every",
            "validate_every",
            "validation_sequences",
            "save_every",
            "keep_last",
            "bad_steps",
        ):
            require(getattr(self, name) >= 1, f"train.{name} must be >= 1, got {getattr(self, name)}")
