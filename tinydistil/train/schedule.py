"""Learning-rate schedules as pure functions of the step: nothing to save, nothing to restore."""

import math
from dataclasses import dataclass
from typing import Annotated

from tinydistil.base.config import Checked, OneOf, Share
from tinydistil.base.errors import require

SHAPES = ("linear", "cosine", "wsd", "constant")


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
        require(
            self.shape != "wsd" or self.warmup_share + self.decay_share <= 1,
            f"schedule.warmup_share + schedule.decay_share must be <= 1, got {self.warmup_share + self.decay_share}",
        )


def learning_rate_share(config: ScheduleConfig, step: int, total_steps: int) -> float:
    """The share of the peak learning rate for step 0 <= `step` < `total_steps`; later steps get the last one's.

    Step 0 of a warm-up is not 0 but its first fraction: a step at rate 0 would be a wasted one.
    """
    warmup = round(config.warmup_share * total_steps)
    if step < warmup:
        return (step + 1) / warmup
    start = round((1 - config.decay_share) * total_steps) if config.shape == "wsd" else warmup
    # From 1 at the first step of the descent to `final` at the step after the last.
    progress = min(max(step - start, 0) / max(total_steps - start, 1), 1.0)
    if config.shape == "constant":
        return 1.0
    fall = (1 + math.cos(math.pi * progress)) / 2 if config.shape == "cosine" else 1 - progress
    return config.final + (1 - config.final) * fall
