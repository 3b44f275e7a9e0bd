"""The steps since the last line of metrics: what that line says is theirs, not the last step's alone."""

from dataclasses import dataclass, field

from tinydistil.errors import require
from tinydistil.train.step import StepResult


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
