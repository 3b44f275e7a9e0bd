"""Where a run stands, and what it has summed since its last line of metrics: what a checkpoint keeps beside tensors."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated

from tinydistil.base.config import INT64, NonNegative, Range, Whole, from_mapping
from tinydistil.base.errors import require
from tinydistil.distill.step import StepResult


@dataclass
class LoopState:
    """Where a run stands.

    steps: taken; cursor: global batches drawn, one more for each step that was not taken: bad_steps of them for a
    number that was not finite, overflows for a float16 scale that was too high. best_step: that of best_loss.
    validated_at: the step that validation_loss is of.
    """

    steps: Whole = 0
    cursor: Whole = 0
    bad_in_a_row: Whole = 0
    bad_steps: Whole = 0
    overflows: Whole = 0
    tokens: Annotated[int, Range(0, INT64)] = 0
    seconds: NonNegative = 0.0
    best_loss: float | None = None
    best_step: Whole = 0
    validations_since_best: Whole = 0
    validation_loss: float | None = None
    validated_at: Whole = 0
    stopped_early: bool = False


def state_from(saved: Mapping[str, object]) -> LoopState:
    """The state that a checkpoint holds. Raises InputError for a number of another type or out of range."""
    require({"steps", "cursor"} <= saved.keys(), "state.json lacks steps or cursor")
    known = {field.name for field in fields(LoopState)} & saved.keys()
    loss = saved.get("validation_loss")
    diverged = isinstance(loss, float) and not math.isfinite(loss)  # which no option may be, but a loss may
    values = {name: saved[name] for name in known if not (diverged and name == "validation_loss")}
    state = from_mapping(LoopState, values, where="state.json: ")
    drawn = state.steps + state.bad_steps + state.overflows
    require(state.cursor == drawn, f"state.json: cursor {state.cursor} is not the {drawn} batches of its steps")
    if isinstance(loss, float) and diverged:
        state.validation_loss = loss
    return state


@dataclass
class Window:
    """Sums over the steps since the last line. A checkpoint keeps them, so that a resumed run writes the same line."""

    steps: int = 0
    gradient_norm: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=dict)

    def add(self, result: StepResult) -> None:
        """Count a step that was taken."""
        self.steps += 1
        self.gradient_norm += result.gradient_norm
        for name, count in result.counts.items():
            self.counts[name] = self.counts.get(name, 0.0) + count
            self.sums[name] = self.sums.get(name, 0.0) + result.sums[name]

    def means(self) -> dict[str, float]:
        """Each term's mean over all that was counted, and the gradient norm's over steps."""
        terms = {name: self.sums[name] / max(count, 1.0) for name, count in self.counts.items()}
        return {**terms, "gradient_norm": self.gradient_norm / max(self.steps, 1)}


def restored(values: object) -> Window:
    """The window whose `dataclasses.asdict` is `values`, an empty one where a checkpoint has none.

    Raises InputError for anything else.
    """
    if values is None:
        return Window()
    try:
        window = Window(**values)  # type: ignore[arg-type]
        numbers = [window.steps, window.gradient_norm, *window.sums.values(), *window.counts.values()]
        sound = window.sums.keys() == window.counts.keys() and all(type(each) in (int, float) for each in numbers)
    except (TypeError, AttributeError):
        sound = False
    require(sound, "state.json: window is not what was saved")
    return window
