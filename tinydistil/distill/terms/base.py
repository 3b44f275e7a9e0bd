"""What a term of the loss is. A new one is a class in a file of its own, registered by a name: nothing else changes.

    @register("first_token")
    class FirstToken(Term):
        def count(self, batch):
            return len(batch.sequence_ids)

        def forward(self, student, teacher, batch):
            return Loss((student.hidden[:, 0] - teacher["hidden"][:, 0]).square().mean(-1).sum())

It is trained with by `--set recipe.terms.first_token=0.5`.
"""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar, cast, get_args

from torch import Tensor, nn

from tinydistil.base.config import Checked, Range, hints_of, nearest
from tinydistil.base.errors import InputError, require
from tinydistil.batches.batch import MaskedBatch
from tinydistil.distill.scheduled import Schedule, written
from tinydistil.distill.states import CacheConfig, LastHidden, ModelStates, State
from tinydistil.model.config import BertConfig


@dataclass(frozen=True, slots=True)
class Needs:
    """What a term reads, known before a model is loaded.

    student, teacher: the states, by name, of "hidden" and "logits"; of the teacher also "pooled", the vector of a
    sequence as the teacher's folder declares it. tokens: both must read the same tokens. masks: it is about masked
    positions alone, and has nothing to say where none is masked.
    """

    student: tuple[str, ...] = ("hidden",)
    teacher: tuple[str, ...] = ("hidden",)
    tokens: bool = False
    masks: bool = False


@dataclass(frozen=True, slots=True)
class Shapes:
    """Student and teacher as far as their folders tell; the teacher is None where there is none."""

    student: BertConfig
    teacher: BertConfig | None = None
    teacher_has_head: bool = False
    teacher_pooling: str = "mean"


@dataclass(frozen=True)
class TermOptions(Checked, table="recipe"):
    """The options of a term; what a plan asks of it before there are models. Subclasses add fields."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, hint in hints_of(cast(type, type(self))).items():
            if isinstance(scheduled := getattr(self, name), Schedule):
                limits = [each for kind in get_args(hint) for each in get_args(kind) if isinstance(each, Range)]
                for value in scheduled.values:
                    for limit in limits:
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

    def reason(self, name: str) -> str:
        """Why it needs what it needs, as a message begins."""
        return f"{self.asked_by(name)[0]} asks for it"

    def check(self, name: str, shapes: Shapes) -> None:
        """Raise InputError where student and teacher cannot give what the term needs."""
        needs, asked, teacher = self.needs, " and ".join(self.asked_by(name)), shapes.teacher
        if teacher is None:
            require(not needs.teacher, f"{asked} needs a teacher; give one, or choose recipe mlm")
            return
        require(
            "logits" not in needs.teacher or shapes.teacher_has_head,
            f"{asked} reads logits, but the teacher has no masked language model head; leave the term out, or choose "
            "a teacher that has the head",
        )
        require(
            not needs.tokens or shapes.student.vocab_size == teacher.vocab_size,
            f"{self.reason(name)}, which compares token by token, but the vocabularies have "
            f"{shapes.student.vocab_size} (student) and {teacher.vocab_size} tokens; give the student the teacher's "
            "vocabulary (recipe total), or set recipe.soft=0 and recipe.unit=word (recipe partial)",
        )

    def check_cache(self, cache: CacheConfig, teacher: BertConfig | None) -> None:
        """Raise InputError where a cache cannot keep what the term reads; `teacher` is None before it is known."""

    def bound(self, cache: CacheConfig, shapes: Shapes) -> dict[str, object]:
        """What the teacher's states that the term reads depend on, by option; its own, where it prepares them."""
        return {"cache.vector_bits": cache.vector_bits} if "hidden" in self.needs.teacher else {}


@dataclass(frozen=True, slots=True)
class Loss:
    """What a term says of a micro-batch: one sum, attached to the graph, and the sums to report in its place."""

    total: Tensor
    numbers: Mapping[str, Tensor] = field(default_factory=dict)


class Term(nn.Module, ABC):
    """One sum of the loss. It may own what is learned with it, and what is fitted to the teacher (its buffers)."""

    Options: ClassVar[type[TermOptions]] = TermOptions

    def __init__(self, options: TermOptions, shapes: Shapes) -> None:
        super().__init__()
        self.needs, self.shapes = options.needs, shapes

    @abstractmethod
    def count(self, batch: MaskedBatch) -> int:
        """What the sum is divided by, known on the host before any pass."""

    @abstractmethod
    def forward(self, student: ModelStates, teacher: Mapping[str, Any], batch: MaskedBatch) -> Loss:
        """The sum over one micro-batch. teacher: the states that are needed of it, by name."""

    def states(self) -> Mapping[str, State]:
        """How the teacher's states are taken and kept, by the names in `needs`."""
        assert set(self.needs.teacher) <= {"hidden"}, "other states are described by the term that needs them"
        width = 0 if self.shapes.teacher is None else self.shapes.teacher.hidden_size
        return {name: LastHidden(width) for name in self.needs.teacher}

    def numbers(self) -> tuple[str, ...]:
        """The names in `Loss.numbers`; none where the sum itself is what is reported."""
        return ()

    def at(self, progress: float) -> None:
        """Follow its schedules to the share of the steps that are done."""

    def to_be_fitted(self) -> int:
        """Sequences of which the teacher's states are shown (`observe`) before the first step."""
        return 0

    def observe(self, teacher: ModelStates, batch: MaskedBatch) -> None:
        """Count in what is fitted to the teacher."""

    def fitted(self) -> str:
        """Take what `observe` has seen. What it came to, for a person."""
        return ""


TERMS: dict[str, type[Term]] = {}
_Class = TypeVar("_Class", bound=type[Term])


def register(name: str) -> Callable[[_Class], _Class]:
    """Make a term known by `name`."""

    def add(term: _Class) -> _Class:
        assert TERMS.setdefault(name, term) is term, f"two terms are called {name!r}"
        return term

    return add


def term_of(name: str, path: str = "") -> type[Term]:
    """The term called `name`, or the class at `path`, "module:Class". Raises InputError where there is none."""
    if not path:
        if name not in TERMS:
            raise InputError(f"recipe.terms: term {name!r} is unknown{nearest(name, TERMS)}, or give its class")
        return TERMS[name]
    module, _, attribute = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"recipe.terms.{name}.class {path!r} cannot be imported ({error}); write module:Class"
        ) from None
    if not (isinstance(found, type) and issubclass(found, Term)):
        raise InputError(f"recipe.terms.{name}.class {path!r} is no Term")
    return found
