"""The options of all terms of this package, and what a plan asks of a term: read by --help, so without torch.

Shapes: D student width, E teacher width.
"""

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, cast, get_args

import numpy as np

from tinydistil.base.config import Checked, OneOf, Range, Share, hints_of
from tinydistil.base.errors import require

if TYPE_CHECKING:  # needs torch
    from tinydistil.model.config import BertConfig

DISTANCES = ("cosine", "mse")
DIVERGENCES = ("forward", "reverse", "jensen-shannon")
AUTO = "auto"  # as a teacher's precision: the fastest that is exact enough, see `distill.teacher.precision`
EMBEDDINGS = ("random", "spelling", "pca")
FIXED = ("pca", "random")  # projections of which nothing is learned
PROJECTIONS = ("none", "student-to-teacher", "teacher-to-student", *FIXED)


@dataclass(frozen=True)
class Schedule(Checked, table="schedule"):
    """A number by the share of a run's steps that are done: {shape = "cosine", start = 4.0, end = 1.0}.

    linear, cosine: from `start` to `end`. points: straight lines through (share, value), shares rising within [0, 1];
    the first and the last value hold before and after. What is constant is written as a plain number.
    """

    shape: Annotated[str, OneOf(("linear", "cosine", "points"))] = "linear"
    start: float = 0.0
    end: float = 0.0
    points: tuple[tuple[float, ...], ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        pairs = self.points if all(len(each) == 2 for each in self.points) else ()
        shares = [each[0] for each in pairs]
        rising = all(a < b for a, b in pairwise(shares)) and all(0 <= a <= 1 for a in shares)
        require(
            (self.shape == "points") == bool(self.points) and (not self.points or (bool(pairs) and rising)),
            "schedule.points are pairs [share, value] with shares rising from 0 to 1, for the shape 'points' alone, "
            f"got {self.points} for {self.shape!r}",
        )

    def at(self, progress: float) -> float:
        """The value once the share `progress` of the steps is done."""
        if self.shape == "points":
            shares, values = np.array(self.points).T
            return float(np.interp(progress, shares, values))
        share = min(max(progress, 0.0), 1.0)
        share = (1 - math.cos(math.pi * share)) / 2 if self.shape == "cosine" else share
        return self.start + (self.end - self.start) * share


def values_of(number: float | Schedule) -> tuple[float, ...]:
    """Those between which the number stays."""
    if not isinstance(number, Schedule):
        return (number,)
    return tuple(each[1] for each in number.points) or (number.start, number.end)


def written(number: float | Schedule) -> str:
    """For a person: 2, or 4 to 1."""
    return " to ".join(f"{each:g}" for each in values_of(number))


# Beyond these, a term drowns all others in float32, whose numbers have 7 digits.
Weight = Annotated[float, Range(0, 1e7)] | Schedule
Temperature = Annotated[float, Range(0, 1000, without=(0,))] | Schedule


@dataclass(frozen=True)
class CacheConfig(Checked, table="cache"):
    """What is kept of a teacher, and how finely.

    words: of each masked token the `top` likeliest words, and so many `drawn` from the rest, whose mass they share
    ("top"), or the "hidden" row that all of them come from, exactly. vector_bits: of each number of the vectors that
    are compared, 16, or so many in the mean over directions, more for those in which more varies.
    """

    words: Annotated[str, OneOf(("top", "hidden"))] = "top"
    # Held-out masked LM loss of 2 x 128 after 300 steps of `total` with the demonstration's teacher: 6.297, of the live
    # one 6.299; with projection=pca in 4 bits 6.311, in 3 6.320, in 2 with 16 draws 6.340, of the live one 6.309.
    # No vocabulary has a hundred thousand words whose rows would not be kept whole (words=hidden) for less.
    top: Annotated[int, Range(1, 100_000)] = 8
    drawn: Annotated[int, Range(1, 100_000)] = 32
    vector_bits: Annotated[int, OneOf((2, 3, 4, 5, 6, 7, 8, 16))] = 4


@dataclass(frozen=True, slots=True)
class Needs:
    """What a term reads, known before a model is loaded.

    student, teacher: the states, by name, of "hidden" and "logits"; of the teacher also "pooled", the vector of a
    sequence as the teacher's folder declares it. tokens: both must read the same tokens. masks: it is about masked
    positions alone, and has nothing to say where none is masked. reason: why it needs that, as a message begins.
    batch: sequences of a step that it compares with each other, at the least; 1 where it compares none. Without
    "hidden" of the student a term has it read other text itself, and its head where it needs "logits". pairs: the kinds
    of pairs of texts that it reads (see `batches.pairs`). family: of which the student must be, and a new one is.
    """

    student: tuple[str, ...] = ("hidden",)
    teacher: tuple[str, ...] = ("hidden",)
    tokens: bool = False
    masks: bool = False
    reason: str = ""
    batch: int = 1
    pairs: tuple[str, ...] = ()
    family: str = ""


@dataclass(frozen=True, slots=True)
class Shapes:
    """Student and teacher as far as their folders tell; the teacher is None where there is none.

    others: the same with each further teacher. name: of the teacher, for messages.
    """

    student: "BertConfig"
    teacher: "BertConfig | None" = None
    teacher_has_head: bool = False
    teacher_pooling: str = "mean"
    name: str = "the teacher"
    others: tuple["Shapes", ...] = ()

    @property
    def each(self) -> "tuple[Shapes, ...]":
        """The student with one teacher at a time."""
        return (replace(self, others=()), *self.others)


@dataclass(frozen=True)
class TermOptions(Checked, table="recipe"):
    """The options of a term; what a plan asks of it before there are models. Subclasses add fields."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, hint in hints_of(cast(type, type(self))).items():
            if isinstance(scheduled := getattr(self, name), Schedule):
                for limit in (each for kind in get_args(hint) for each in get_args(kind) if isinstance(each, Range)):
                    for value in values_of(scheduled):
                        limit.check(value, f"{self._table}{name}")

    @property
    def needs(self) -> Needs:
        """What the term reads."""
        return Needs()

    def asked_by(self, name: str) -> tuple[str, ...]:
        """The options that ask for the term, which is called `name`, for messages."""
        return (f"recipe.terms.{name}",)

    def described(self, name: str, weight: float | Schedule) -> str:
        """The term in a formula, as in "100 x hidden"."""
        return f"{written(weight)} x {name}"

    def check(self, name: str, shapes: Shapes, cache: CacheConfig | None = None) -> None:
        """Raise InputError where student and teacher cannot give what the term needs, or a `cache` cannot keep it."""
        kind, wanted = shapes.student.model_type, self.needs.family
        require(
            not wanted or kind == wanted,
            f"{self.asked_by(name)[0]} trains a model of family {wanted}, and the student is {kind}; give a shape such "
            f"as 2x128 as student.model, or a folder of {wanted}",
        )
        if shapes.teacher is None:  # then the recipe reads none, see `Recipe.check`
            return
        needs, student, teacher = self.needs, shapes.student.vocab_size, shapes.teacher.vocab_size
        reason = needs.reason or f"{self.asked_by(name)[0]} asks for it"
        require(
            "logits" not in needs.teacher or shapes.teacher_has_head,
            f"{reason}, but {shapes.name} has no masked language model head to give logits; set "
            f"{self.asked_by(name)[-1]}=0, or choose a teacher that has the head",
        )
        require(
            not needs.tokens or student == teacher,
            f"{reason}, which compares token by token, but the vocabularies have {student} (student) and "
            f"{teacher} tokens; give the student the teacher's vocabulary (recipe total), or set recipe.soft=0 and "
            "recipe.unit=word (recipe partial)",
        )

    def bound(self, cache: CacheConfig, shapes: Shapes) -> dict[str, object]:
        """What the teacher's states that the term reads depend on, by option; its own, where it prepares them."""
        return {"cache.vector_bits": cache.vector_bits} if "hidden" in self.needs.teacher else {}


@dataclass(frozen=True)
class RepresentationOptions(TermOptions, table="recipe"):
    """distance: of two vectors. projection: brings them to one width: "student-to-teacher" (a learned D -> E map, which
    cannot collapse), "teacher-to-student" (learned, E -> D: it can learn to flatter the student), "pca" (the teacher's
    own first components, fixed), "random" (D directions at right angles, fixed: it favours none of the teacher's) or
    "none". centred: the teacher's mean vector is taken off first, which otherwise makes
    all cosines large and alike. whitening: in [0, 1], evens out the teacher's directions, see `Projection`.
    fit_sequences: of the training text, for mean and directions."""

    distance: Annotated[str, OneOf(DISTANCES)] = "cosine"
    projection: Annotated[str, OneOf(PROJECTIONS)] = "none"
    centred: bool = False
    whitening: Share = 0.0
    fit_sequences: Annotated[int, Range(1, 10_000_000)] = 2048

    @property
    def is_fitted(self) -> bool:
        """Whether a sample of the teacher's vectors must be seen before training."""
        return self.projection == "pca" or self.centred or self.whitening > 0

    @property
    def begins_words(self) -> bool:
        """Whether word vectors can begin in the space where both meet, or where a learned map begins."""
        learned = self.projection == "student-to-teacher" and not self.centred and self.whitening == 0
        return learned or self.projection in FIXED

    def asked_by(self, name: str) -> tuple[str, ...]:
        return (f"recipe.{name}",)

    def check(self, name: str, shapes: Shapes, cache: CacheConfig | None = None) -> None:
        super().check(name, shapes, cache)
        if shapes.teacher is None:
            return
        student, teacher = shapes.student.hidden_size, shapes.teacher.hidden_size
        require(
            self.projection != "none" or student == teacher,
            f"{self._table}projection must not be 'none' where widths differ ({student} and {teacher}); "
            "choose student-to-teacher, teacher-to-student, pca or random",
        )
        require(
            self.projection not in FIXED or teacher >= student,
            f"{self._table}projection {self.projection!r} reduces the teacher ({teacher}) to the student ({student}), "
            "which is wider; choose student-to-teacher",
        )

    def bound(self, cache: CacheConfig, shapes: Shapes) -> dict[str, object]:
        names = ("unit", "projection", "centred", "whitening", *(("fit_sequences",) * self.is_fitted))
        found: dict[str, object] = {f"recipe.{name}": getattr(self, name) for name in names if hasattr(self, name)}
        if self.projection in FIXED:
            found["student's width"] = shapes.student.hidden_size
        return found | {"cache.vector_bits": cache.vector_bits}


@dataclass(frozen=True)
class HiddenOptions(RepresentationOptions, table="recipe"):
    """unit: what is compared, each "token" or "word" (the mean of its tokens, which needs no common vocabulary)."""

    unit: Annotated[str, OneOf(("token", "word"))] = "token"

    @property
    def needs(self) -> Needs:
        return Needs(tokens=self.unit == "token", reason=f"recipe.unit is {self.unit!r}")


@dataclass(frozen=True)
class PooledOptions(RepresentationOptions, table="recipe"):
    """The options of any representation."""

    @property
    def needs(self) -> Needs:
        return Needs(teacher=("pooled",))

    def bound(self, cache: CacheConfig, shapes: Shapes) -> dict[str, object]:
        """A sequence's vector is kept as the teacher gives it; how it is prepared is free."""
        return {"cache.vector_bits": cache.vector_bits}


@dataclass(frozen=True)
class VocabularyOptions(TermOptions, table="recipe"):
    """hard, soft: weights of cross-entropy and divergence; 0 leaves one out. temperature, divergence, soft_positions
    ("masked" or "all"): of the soft targets."""

    hard: Weight = 1.0
    soft: Weight = 0.0
    temperature: Temperature = 2.0
    divergence: Annotated[str, OneOf(DIVERGENCES)] = "forward"
    soft_positions: Annotated[str, OneOf(("masked", "all"))] = "masked"

    @property
    def has_hard(self) -> bool:
        """Whether cross-entropy is ever weighed."""
        return max(values_of(self.hard)) > 0

    @property
    def has_soft(self) -> bool:
        """Whether the divergence is."""
        return max(values_of(self.soft)) > 0

    @property
    def needs(self) -> Needs:
        masks = self.has_hard or self.soft_positions == "masked"
        reason = f"recipe.soft is {written(self.soft) if isinstance(self.soft, Schedule) else self.soft}"
        return Needs(("hidden", "logits"), ("logits",) * self.has_soft, self.has_soft, masks, reason)

    def asked_by(self, name: str) -> tuple[str, ...]:
        return ("recipe.hard",) * self.has_hard + ("recipe.soft",) * self.has_soft

    def described(self, name: str, weight: float | Schedule) -> str:
        soft = f"{written(self.soft)} x soft (T = {written(self.temperature)})"
        return " + ".join([f"{written(self.hard)} x hard"] * self.has_hard + [soft] * self.has_soft)

    def check(self, name: str, shapes: Shapes, cache: CacheConfig | None = None) -> None:
        super().check(name, shapes, cache)
        if cache is None or not self.has_soft or shapes.teacher is None:
            return
        require(
            self.soft_positions == "masked",
            "a teacher's cache keeps masked tokens' distributions, not those of all; set recipe.soft_positions=masked",
        )
        if cache.words == "hidden":
            return
        words, whole = shapes.teacher.vocab_size, "choose cache.words=hidden, which keeps all of it"
        require(
            not isinstance(self.temperature, Schedule),
            "cache.words=top keeps the distribution at one temperature, and recipe.temperature follows a schedule; "
            f"{whole}",
        )
        from tinydistil.distill.recipe import check_divergence  # which imports this file

        check_divergence(self.divergence, 1.0, sparse=True)
        require(cache.top < words, f"cache.top must be below the teacher's vocabulary ({words}), got {cache.top}")
        rest = words - cache.top
        drawn = (
            f"cache.drawn must be <= the teacher's vocabulary without cache.top ({rest}), got {cache.drawn}; {whole}"
        )
        require(cache.drawn <= rest, drawn)

    def bound(self, cache: CacheConfig, shapes: Shapes) -> dict[str, object]:
        """Whole rows depend on nothing else; a sample of tokens does."""
        found: dict[str, object] = {"cache.words": cache.words}
        sample = {"recipe.temperature": self.temperature, "cache.top": cache.top, "cache.drawn": cache.drawn}
        return found if cache.words == "hidden" else found | sample
