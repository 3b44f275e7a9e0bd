"""Recipes as data: which terms, with which weights, through which projection.

A recipe is no loop of its own. `mlm`, `total`, `partial` and `distilbert` are compositions of the same terms.
"""

from dataclasses import dataclass, replace
from typing import Annotated

from tinydistil.base.config import Checked, OneOf, Range, Share, nearest
from tinydistil.base.errors import InputError, require
from tinydistil.distill.losses import DIVERGENCES

TERMS = ("hard", "soft", "hidden", "pooled")
UNITS = ("token", "word")
DISTANCES = ("cosine", "mse")
# Fixed maps of the teacher's vectors to the student's width.
REDUCING = ("pca", "folded")
PROJECTIONS = ("none", "student-to-teacher", "teacher-to-student", *REDUCING)
SOFT_POSITIONS = ("masked", "all")
VIEWS = ("masked", "original")
# Beyond these, a term drowns all others in float32, whose numbers have 7 digits.
Weight = Annotated[float, Range(0, 1e7)]


@dataclass(frozen=True)
class Recipe(Checked, table="recipe"):
    """The loss of a run: hard * masked LM + soft * divergence + hidden * distance + pooled * distance.

    hard, soft, hidden, pooled: weights; 0 leaves a term out. temperature, divergence, soft_positions: of the soft
    targets. unit: what hidden states are compared by, each token or each word (the mean of its pieces, which needs no
    common vocabulary); pooled compares the means of whole sequences. distance: of both.
    projection: "student-to-teacher" (a learned 128 -> 768 map, which cannot collapse), "teacher-to-student" (learned,
    768 -> 128: it can learn to flatter the student), "pca" (the teacher's own first components, fixed), "folded" (all
    of them, on as few numbers) or "none"; hidden and pooled have one each. centred: the teacher's mean vector is taken
    off first, which otherwise makes all cosines large and alike. whitening: in [0, 1], evens out the teacher's
    directions, see `Projection`. fit_sequences: of the training text, for mean and directions.
    teacher_sees: the "masked" text, as the student does, or the "original".
    """

    name: str = "custom"
    hard: Weight = 1.0
    soft: Weight = 0.0
    hidden: Weight = 0.0
    pooled: Weight = 0.0
    temperature: Annotated[float, Range(0, 1000, without=(0,))] = 2.0
    divergence: Annotated[str, OneOf(tuple(DIVERGENCES))] = "forward"
    soft_positions: Annotated[str, OneOf(SOFT_POSITIONS)] = "masked"
    unit: Annotated[str, OneOf(UNITS)] = "token"
    distance: Annotated[str, OneOf(DISTANCES)] = "cosine"
    projection: Annotated[str, OneOf(PROJECTIONS)] = "none"
    centred: bool = False
    whitening: Share = 0.0
    fit_sequences: Annotated[int, Range(1, 10_000_000)] = 2048
    teacher_sees: Annotated[str, OneOf(VIEWS)] = "masked"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(self.weights), f"recipe: one of {', '.join(TERMS)} must be > 0")

    @property
    def weights(self) -> dict[str, float]:
        """The terms by name, with their weights; only those above 0."""
        return {name: getattr(self, name) for name in TERMS if getattr(self, name) > 0}

    @property
    def needs_teacher(self) -> bool:
        """Whether any term looks at a teacher."""
        return self.soft > 0 or self.compares_vectors

    @property
    def compares_vectors(self) -> bool:
        """Whether any term compares representations, and so needs a projection where widths differ."""
        return self.hidden > 0 or self.pooled > 0

    @property
    def compares_tokens(self) -> bool:
        """Whether teacher and student must have the same tokens, and so one vocabulary."""
        return self.soft > 0 or (self.hidden > 0 and self.unit == "token")

    @property
    def looks_at_masks(self) -> bool:
        """Whether any term is about masked tokens, and so vanishes where none is masked."""
        return self.hard > 0 or (self.soft > 0 and self.soft_positions == "masked")

    @property
    def needs_fit(self) -> bool:
        """Whether a sample of the teacher's vectors must be seen before training."""
        return self.compares_vectors and (self.projection in REDUCING or self.centred or self.whitening > 0)


RECIPES = {
    "mlm": Recipe("mlm"),
    # The student keeps its vocabulary: words and sentences are what both have in common. Vectors weigh much, for the
    # reason given at "total": zero-shot Pearson on ASSIN 2's test set is 0.63 after 42,000 sentences, where weights of
    # 0.3 and 1 gave 0.41 after 20,000 and, with the masked words left out, 0.62 (untrained 0.52); first components that
    # are not whitened, pooled alone, give 0.56. Seeds and orders move these by some 0.02. No better, on the dev set:
    # random directions (0.650 against 0.675), whitened later components (0.645 to 0.66 against 0.655), folded ones.
    "partial": Recipe(
        "partial",
        hidden=30.0,
        pooled=100.0,
        unit="word",
        projection="pca",
        centred=True,
        whitening=1.0,
        teacher_sees="original",
    ),
    # Hidden states weigh much: they say something of every token, guesses of one in seven, and cosines have slopes of a
    # hundredth of theirs. Held-out masked LM loss of 2 x 128 after 500 steps: hidden=1 7.21, 10 6.94 (rate 1e-3); 100
    # 6.52 (3e-3); without a teacher 7.19 (1e-3).
    "total": Recipe("total", soft=1.0, hidden=100.0, projection="student-to-teacher"),
    # Weights and temperature of the command that Sanh et al. 2019 published: --alpha_ce 5 --alpha_mlm 2 --alpha_cos 1.
    # Their soft targets are of all tokens, not the masked: soft_positions=all, at seven times the vocabulary products.
    "distilbert": Recipe("distilbert", hard=2.0, soft=5.0, hidden=1.0),
}


def recipe(name: str, **changes: object) -> Recipe:
    """A known recipe, with some of its fields replaced. Raises InputError with the nearest name if unknown."""
    if name not in RECIPES:
        raise InputError(f"recipe {name!r} is unknown{nearest(name, RECIPES)}")
    return replace(RECIPES[name], **changes)  # type: ignore[arg-type]
