"""Recipes as data: which terms, with which weights, through which projection.

A recipe is no loop of its own. `mlm`, `total`, `partial` and `distilbert` are compositions of the same terms.
"""

from dataclasses import dataclass, replace

from tinydistil.config import nearest
from tinydistil.distill.losses import DIVERGENCES
from tinydistil.errors import InputError, require

UNITS = ("token", "word", "pooled")
DISTANCES = ("cosine", "mse")
PROJECTIONS = ("none", "student-to-teacher", "teacher-to-student", "pca")
SOFT_POSITIONS = ("masked", "all")


@dataclass(frozen=True)
class Recipe:
    """The loss of a run: hard * masked LM + soft * divergence + hidden * distance; a weight of 0 leaves a term out.

    hard, soft, hidden: weights. temperature, divergence, soft_positions: of the soft targets.
    unit: what hidden states are compared by, each token, each word, or the mean of the sentence. distance: how.
    projection: "student-to-teacher" (a learned 128 -> 768 map, which cannot collapse), "teacher-to-student" (learned,
    768 -> 128: it can learn to flatter the student), "pca" (the teacher's own first components, fixed) or "none".
    """

    name: str = "custom"
    hard: float = 1.0
    soft: float = 0.0
    hidden: float = 0.0
    temperature: float = 2.0
    divergence: str = "forward"
    soft_positions: str = "masked"
    unit: str = "token"
    distance: str = "cosine"
    projection: str = "none"

    def __post_init__(self) -> None:
        for name in ("hard", "soft", "hidden"):
            require(getattr(self, name) >= 0, f"recipe.{name} must be >= 0, got {getattr(self, name)}")
        require(self.hard + self.soft + self.hidden > 0, "recipe: one of hard, soft and hidden must be > 0")
        require(self.temperature > 0, f"recipe.temperature must be > 0, got {self.temperature}")
        for name, known in (
            ("divergence", DIVERGENCES),
            ("soft_positions", SOFT_POSITIONS),
            ("unit", UNITS),
            ("distance", DISTANCES),
            ("projection", PROJECTIONS),
        ):
            value = getattr(self, name)
            if value not in known:
                raise InputError(f"recipe.{name} {value!r} is unknown{nearest(value, known)}")

    @property
    def needs_teacher(self) -> bool:
        """Whether any term looks at a teacher."""
        return self.soft > 0 or self.hidden > 0


RECIPES = {
    "mlm": Recipe("mlm"),
    # The student keeps its vocabulary: words are what both have in common.
    "partial": Recipe("partial", hidden=1.0, unit="word", projection="pca"),
    "total": Recipe("total", soft=1.0, hidden=1.0, projection="student-to-teacher"),
    # Sanh et al. 2019 as its published code weighs the terms: 5 soft, 2 hard, 1 cosine, here on the scale.
    "distilbert": Recipe("distilbert", hard=0.5, soft=0.5, hidden=1.0),
}


def recipe(name: str, **changes: object) -> Recipe:
    """A known recipe, with some of its fields replaced. Raises InputError with the nearest name if unknown."""
    if name not in RECIPES:
        raise InputError(f"recipe {name!r} is unknown{nearest(name, RECIPES)}")
    return replace(RECIPES[name], **changes)  # type: ignore[arg-type]
