"""What a term of the loss is, and what learns by terms: the student with those of its recipe.

A new term is a class in a file of its own, registered by a name: nothing else changes.

    @register("first_token")
    class FirstToken(Term):
        def count(self, batch):
            return len(batch.sequence_ids)

        def forward(self, student, teacher, batch):
            return Loss((student.hidden[:, 0] - teacher["hidden"][:, 0]).square().mean(-1).sum())

It is trained with by `--set recipe.terms.first_token=0.5`.

Shapes: B sequences, T tokens (T' the teacher's), D width (E), N vectors, F width of a kept one, R positions.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from tinydistil.batches.masked_batches import MaskedBatch
from tinydistil.distill.options import CacheConfig, Schedule, Shapes, TermOptions
from tinydistil.distill.recipe import Recipe, term_for
from tinydistil.model.bert import BertForMaskedLM, BertModel

# By the name of a term, then of a state that it needs.
TeacherStates = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class ModelStates:
    """What `model` has computed of a batch: its last hidden states (B, T, D), none (0,) where no term reads them; its
    logits only where they are read.

    Where a term asks for them: layers, the embeddings and every layer's output, each (B, T, D); compared, by the number
    of a layer (1, 2, ...) what its attention compares and carries, (B, T, 3, H, K). others: those of further teachers.
    """

    model: BertForMaskedLM | BertModel
    hidden: Tensor
    layers: tuple[Tensor, ...] = ()
    compared: Mapping[int, Tensor] = field(default_factory=dict)
    others: tuple["ModelStates", ...] = ()


@dataclass(frozen=True, slots=True)
class Loss:
    """What a term says of a micro-batch: one sum, attached to the graph, and the sums to report in its place.

    weight: of the sum within its term, and then of both in the whole loss, at this step.
    """

    total: Tensor
    numbers: Mapping[str, Tensor] = field(default_factory=dict)
    weight: float = 1.0


class State(ABC):
    """A state of the teacher: how it is taken from the model, kept in a cache and restored from there.

    A cache keeps tensors by kind, each with any number of items per sequence; `shared` ones once for all terms.
    compares: the layers of which it takes what attention compares; None where it takes nothing between the ends.
    sees: the text it is taken of, "masked" or "original"; "" for the one that the recipe shows.
    """

    shared: ClassVar[bool] = False
    sees: ClassVar[str] = ""
    compares: Collection[int] | None = None

    @abstractmethod
    def take(self, teacher: ModelStates, batch: MaskedBatch) -> Any:
        """The state as the term reads it."""

    @abstractmethod
    def lengths(self, batch: MaskedBatch) -> Tensor:
        """Items of each sequence (B,)."""

    @abstractmethod
    def keep(self, state: Any, batch: MaskedBatch, cache: CacheConfig) -> dict[str, Tensor]:
        """What of `state` is written, by kind, sequence after sequence."""

    @abstractmethod
    def restore(self, kept: Mapping[str, Tensor], batch: MaskedBatch, cache: CacheConfig, model: Any) -> Any:
        """The state from what was kept, empty where the batch has no sequence; `model` is the teacher."""


class Vectors(State):
    """Vectors (N, F) of `width` F, each of one sequence, of which a cache writes numbers in cache.vector_bits bits."""

    def __init__(self, width: int) -> None:
        self.width = width

    @abstractmethod
    def present(self, batch: MaskedBatch) -> Tensor:
        """Which of them (N,) stand for something; the others are restored as zeros."""

    def lengths(self, batch: MaskedBatch) -> Tensor:
        return self.present(batch).view(len(batch.sequence_ids), -1).sum(1)

    def keep(self, state: Tensor, batch: MaskedBatch, cache: CacheConfig) -> dict[str, Tensor]:
        return {"vectors": state.flatten(0, -2)[self.present(batch)]}

    def restore(self, kept: Mapping[str, Tensor], batch: MaskedBatch, cache: CacheConfig, model: Any) -> Tensor:
        present = self.present(batch)
        vectors = torch.zeros(len(present), self.width, device=present.device)
        if kept:
            vectors[present] = kept["vectors"].float()
        return vectors


class LastHidden(Vectors):
    """The teacher's last hidden states (B, T', E) as they are; zeros at padding."""

    shared = True

    def take(self, teacher: ModelStates, batch: MaskedBatch) -> Tensor:
        return teacher.hidden

    def present(self, batch: MaskedBatch) -> Tensor:
        return (batch.teacher or batch).valid_mask.flatten()  # (B * T')

    def restore(self, kept: Mapping[str, Tensor], batch: MaskedBatch, cache: CacheConfig, model: Any) -> Tensor:
        shape = (batch.teacher or batch).input_ids.shape
        return super().restore(kept, batch, cache, model).view(*shape, self.width)


class Term(nn.Module, ABC):
    """One sum of the loss. It may own what is learned with it, and what is fitted to the teacher (its buffers).

    reports: the names in `Loss.numbers`; none where the sum itself is what is reported. progress: the share of the
    run's steps that are done, for what follows a schedule, set before each step. fits_kept: whether the states that it
    reads are enough to fit to, so that a cache, which keeps them, gives it all there are. compares: the layers of the
    student of which it reads what attention compares; None where it reads nothing between the student's ends. depth: so
    many layers have a part in what it reads, None for all. A term may be several sums, each with a count of its own:
    then `count` and `forward` name them, and `reports` tells of which a number is.
    """

    Options: ClassVar[type[TermOptions]] = TermOptions
    fits_kept: ClassVar[bool] = False
    compares: Collection[int] | None = None
    depth: int | None = None
    reports: tuple[str, ...] | Mapping[str, str] = ()
    progress: float = 0.0

    def __init__(self, options: TermOptions, shapes: Shapes) -> None:
        super().__init__()
        self.needs, self.shapes = options.needs, shapes

    @abstractmethod
    def count(self, batch: MaskedBatch) -> int | Mapping[str, int]:
        """What the sum is divided by, known on the host before any pass."""

    @abstractmethod
    def forward(
        self, student: ModelStates, teacher: Mapping[str, Any], batch: MaskedBatch
    ) -> Loss | Mapping[str, Loss]:
        """The sum over one micro-batch. teacher: the states that are needed of it, by name."""

    def written_with(self, student: BertForMaskedLM) -> tuple[str, dict[str, Tensor]] | None:
        """What is written beside the encoder: the architecture, and weights by the names of files; None for none."""
        return None

    def states(self) -> Mapping[str, State]:
        """How the teacher's states are taken and kept, by the names in `needs`."""
        assert set(self.needs.teacher) <= {"hidden"}, "other states are described by the term that needs them"
        width = 0 if self.shapes.teacher is None else self.shapes.teacher.hidden_size
        return {name: LastHidden(width) for name in self.needs.teacher}

    def to_be_fitted(self) -> int:
        """Sequences of which the teacher's states are shown (`observe`) before the first step."""
        return 0

    def observe(self, teacher: ModelStates, batch: MaskedBatch) -> None:
        """Count in what is fitted to the teacher."""

    def observe_kept(self, states: Mapping[str, Any], batch: MaskedBatch) -> None:
        """The same of the states that it reads, by name; where `fits_kept`."""

    def fitted(self) -> str:
        """Take what `observe` has seen. What it came to, for a person."""
        return ""


def between(readers: Iterable[Term | State]) -> frozenset[int] | None:
    """The layers of which any of `readers` reads what attention compares; None where none looks between the ends."""
    asked = [reader.compares for reader in readers if reader.compares is not None]
    return frozenset(chain(*asked)) if asked else None


TERMS: dict[str, type[Term]] = {}
_Class = TypeVar("_Class", bound=type[Term])


def register(name: str) -> Callable[[_Class], _Class]:
    """Make a term known by `name`."""

    def add(term: _Class) -> _Class:
        assert TERMS.setdefault(name, term) is term, f"two terms are called {name!r}"
        return term

    return add


class Learner(nn.Module):
    """The student and the terms of `recipe`: what DistributedDataParallel wraps, an `Objective` of the one loop.

    Learned projections draw from torch's global generator. Raises InputError where shapes and recipe do not go
    together.
    """

    def __init__(self, student: BertForMaskedLM, recipe: Recipe, shapes: Shapes) -> None:
        super().__init__()
        recipe.check(recipe.name, shapes)
        self.student, self.recipe, self.parts = student, recipe, recipe.parts  # of which `gather` may leave out some
        terms = {part.name: term_for(part, shapes) for part in recipe.parts}
        self.terms: Mapping[str, Term] = nn.ModuleDict(terms)  # type: ignore[assignment]
        self.compares = between(terms.values())
        self.reads = not {*recipe.needs.student} <= {"logits"}  # else each term has it read what it asks for
        # What is reported, and of which sum.
        self.reports: dict[str, str] = {}
        for name, term in terms.items():
            of = term.reports if isinstance(term.reports, Mapping) else dict.fromkeys(term.reports or (name,), "")
            self.reports |= {number: f"{name}.{part}" if part else name for number, part in of.items()}
        if "logits" not in recipe.needs.student:
            # No term reaches the head. DistributedDataParallel would wait for its gradients and average no others.
            student.masked_lm.requires_grad_(False)
        depths = [term.depth for term in terms.values() if term.depth is not None]
        if len(depths) == len(terms):
            from tinydistil.distill.terms.layerwise import freeze_above  # which imports this file

            freeze_above(student.bert, max(depths), self.compares or ())

    def states(self) -> dict[str, Mapping[str, State]]:
        """What of the teacher is read, by term."""
        return {name: states for name, term in self.terms.items() if (states := term.states())}

    def counts(self, batch: MaskedBatch) -> dict[str, int]:
        """What each sum of this micro-batch is divided by."""
        counts: dict[str, int] = {}
        for name, term in self.terms.items():
            found = term.count(batch)
            for of, each in found.items() if isinstance(found, Mapping) else [("", found)]:
                counts[f"{name}.{of}" if of else name] = each
        return counts

    def forward(self, batch: MaskedBatch, teacher: TeacherStates | None, progress: float = 0.0) -> dict[str, Loss]:
        """The sums of each term over one micro-batch, with their weight at the share `progress` of all steps."""
        if not self.reads:
            states = ModelStates(self.student, torch.empty(0))
        elif self.compares is None:
            hidden = self.student.bert(batch.input_ids, batch.attention_mask).last_hidden  # (B, T, D)
            states = ModelStates(self.student, hidden)
        else:
            from tinydistil.distill.terms.layerwise import read_between  # which imports this file

            states = read_between(self.student, batch.input_ids, batch.attention_mask, self.compares)
        theirs, losses = teacher or {}, {}
        for part in self.parts:
            term = self.terms[part.name]
            term.progress = progress
            weight = part.weight.at(progress) if isinstance(part.weight, Schedule) else part.weight
            found = term(states, theirs.get(part.name, {}), batch)
            for name, loss in found.items() if isinstance(found, Mapping) else [("", found)]:
                losses[f"{part.name}.{name}" if name else part.name] = replace(loss, weight=weight * loss.weight)
        return losses

    def fitted_tensors(self, *, kept: bool | None = None) -> dict[str, Tensor]:
        """What is fitted to the teacher, by name: the buffers of all terms, or of those with this `fits_kept`."""
        named = self.get_submodule("terms").named_buffers()
        return {name: each for name, each in named if kept in (None, self.terms[name.partition(".")[0]].fits_kept)}

    @torch.no_grad()
    def fit(
        self, read: Callable[[MaskedBatch], ModelStates], sample: Iterable[MaskedBatch], *, kept: bool | None = None
    ) -> dict[str, str]:
        """Fit what terms fit to the teacher, from as many batches of `sample` as any asks for; what it came to.

        A pure function of the sample: ranks that draw the same one fit the same. kept: as in `fitted_tensors`.
        """
        wanted = self._to_be_fitted(kept)
        device, seen = next(self.parameters()).device, 0
        for batch in sample if wanted else ():
            batch = batch.to(device)
            states = read(batch)
            for term in wanted.values():
                if seen < term.to_be_fitted():
                    term.observe(states, batch)
            seen += len(batch.sequence_ids)
            if seen >= max(term.to_be_fitted() for term in wanted.values()):
                break
        return {name: term.fitted() for name, term in wanted.items()}

    @torch.no_grad()
    def fit_kept(self, cached: Callable[[MaskedBatch], TeacherStates], sample: Iterable[MaskedBatch]) -> dict[str, str]:
        """`fit` for the terms that fit to what a cache keeps, on all of `sample`."""
        wanted = self._to_be_fitted(kept=True)
        device = next(self.parameters()).device
        for batch in (each.to(device) for each in (sample if wanted else ())):
            states = cached(batch)
            for name, term in wanted.items():
                term.observe_kept(states[name], batch)
        return {name: term.fitted() for name, term in wanted.items()}

    def _to_be_fitted(self, kept: bool | None) -> dict[str, Term]:
        every = self.terms.items()
        return {name: term for name, term in every if term.to_be_fitted() > 0 and kept in (None, term.fits_kept)}
