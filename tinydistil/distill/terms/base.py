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
from typing import Any, ClassVar, TypeVar

from torch import Tensor, nn

from tinydistil.base.config import nearest
from tinydistil.base.errors import InputError
from tinydistil.batches.batch import MaskedBatch
from tinydistil.distill.options import Shapes, TermOptions
from tinydistil.distill.states import LastHidden, ModelStates, State


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


def term_of(kind: str, where: str = "recipe.terms:") -> type[Term]:
    """The term known by this name, or the class at "module:Class". Raises InputError, naming `where`, for another."""
    module, colon, attribute = kind.partition(":")
    if not colon:
        if kind not in TERMS:
            raise InputError(f"{where} term {kind!r} is unknown{nearest(kind, TERMS)}, or give its class")
        return TERMS[kind]
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"{where} {kind!r} cannot be imported ({error}); write module:Class") from None
    if not (isinstance(found, type) and issubclass(found, Term)):
        raise InputError(f"{where} {kind!r} is no Term")
    return found
