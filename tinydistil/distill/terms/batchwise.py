"""Terms that compare each sequence with all others of the global batch: `contrast` and `similarity`.

A micro-batch has the losses of its own sequences, and the gradient by its own vectors of *all* losses: of its rows, and
of the columns that it is in the rows of others. Added up, these are the gradient of the whole batch in one pass (as in
GradCache, Gao et al. 2021), for any number of ranks and micro-batches. What the others' vectors are `GatheringTrainer`
finds out in a pass of its own.

Shapes: B sequences of a micro-batch, N of the global batch, n of a block, D student width, E teacher width, F width of
a projected vector, K numbers that a sequence is compared by.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tinydistil.base.config import OneOf
from tinydistil.batches.masked_batches import MaskedBatch
from tinydistil.distill.options import (
    PROJECTIONS,
    CacheConfig,
    Needs,
    PooledOptions,
    RepresentationOptions,
    Schedule,
    Shapes,
    Temperature,
    TermOptions,
)
from tinydistil.distill.terms.base import Loss, ModelStates, register
from tinydistil.distill.terms.representation import Pooled

# Cosines that are held at once, 64 MiB of each kind: all of a batch of 4,096 sequences, and of a larger one some rows.
_CELLS = 2**24
# Not -inf: where nothing is left to compare with, a softmax of it would be no number.
_LEAST = torch.finfo(torch.float32).min


class Gathering(nn.Module):
    """What compares the rows of a micro-batch with those of the whole global batch.

    seen: the rows of each micro-batch, in a pass that gathers them, else None. whole: those of all ranks and
    micro-batches, None where one micro-batch is all of it. start: where in it the next micro-batch begins.
    """

    seen: list[Tensor] | None = None
    whole: Tensor | None = None
    start: int = 0

    def together(self, mine: Tensor) -> tuple[Tensor, int]:
        """The rows (N, K) of the global batch, constant, and where those of this micro-batch, `mine` (B, K), begin."""
        if self.seen is not None:
            self.seen.append(mine.detach())
        if self.whole is None:
            return mine.detach(), 0
        start, self.start = self.start, self.start + len(mine)
        return self.whole, start


@dataclass(frozen=True)
class ContrastOptions(PooledOptions, table="recipe.terms.contrast"):
    """temperature: of the cosines. Vectors are projected as those of `pooled`."""

    distance: Annotated[str, OneOf(("cosine",))] = "cosine"
    projection: Annotated[str, OneOf(PROJECTIONS)] = "student-to-teacher"
    temperature: Temperature = 0.05
    asked_by = TermOptions.asked_by

    @property
    def needs(self) -> Needs:
        return Needs(teacher=("pooled",), batch=2)


@dataclass(frozen=True)
class SimilarityOptions(PooledOptions, table="recipe.terms.similarity"):
    """distance: of a sequence's cosines, "kl" as distributions at a `temperature`, or "mse". There is no projection:
    each side's vectors are compared with their like."""

    distance: Annotated[str, OneOf(("kl", "mse"))] = "kl"
    projection: Annotated[str, OneOf(("none",))] = "none"
    temperature: Temperature = 0.05
    asked_by = TermOptions.asked_by

    @property
    def needs(self) -> Needs:
        # Of two sequences each has one other, which is all of its distribution on both sides.
        return Needs(teacher=("pooled",), batch=3 if self.distance == "kl" else 2)

    def check(self, name: str, shapes: Shapes, cache: CacheConfig | None = None) -> None:
        super(RepresentationOptions, self).check(name, shapes, cache)  # widths may differ


class Batchwise(Gathering, Pooled):
    """One loss per sequence, by its vectors and those of all others.

    A sequence is compared by its student's vector and its teacher's, both of length 1, and whether it has text.
    """

    options: ContrastOptions | SimilarityOptions
    _found: tuple[Tensor, Tensor, Tensor] | None = None

    @abstractmethod
    def losses(self, ours: Tensor, theirs: Tensor, present: Tensor, rows: Tensor) -> Tensor:
        """The loss (n,) of the sequences `rows` (n,), from unit vectors (N, F); present (N,): which count."""

    @property
    def temperature(self) -> float:
        """At this step."""
        given = self.options.temperature
        return given.at(self.progress) if isinstance(given, Schedule) else given

    def forward(self, student: ModelStates, teacher: Mapping[str, Any], batch: MaskedBatch) -> Loss:
        prepared = self.projection.prepare(teacher["pooled"])
        pair = self.projection(self.vectors(student.hidden, batch), prepared)
        exact = torch.float64 if pair[0].dtype == torch.float64 else torch.float32
        ours, theirs = (F.normalize(each.to(exact), dim=-1) for each in pair)
        mine = torch.cat([ours, theirs, self.present(batch).unsqueeze(1).to(exact)], 1)  # (B, K)
        whole, start = self.together(mine)
        if self._found is None or self._found[0] is not whole:  # the same for all micro-batches of a step
            self._found = (whole, *self.of_all(whole, ours.shape[1]))
        _, losses, gradients = self._found
        own = slice(start, start + len(mine))
        # Of no value, but with the gradient.
        attached = ((mine - mine.detach()) * gradients[own]).sum()
        return Loss(losses[own].sum() + attached)

    @torch.enable_grad()
    def of_all(self, whole: Tensor, width: int) -> tuple[Tensor, Tensor]:
        """The loss of every sequence (N,), and the gradient of their sum (N, K), block by block.

        whole: what they are compared by (N, K), with the student's vectors, of `width`, first.
        """
        whole, found = whole.detach().requires_grad_(), []
        gradients, numbers = torch.zeros_like(whole), torch.arange(len(whole), device=whole.device)
        with torch.autocast(whole.device.type, enabled=False):
            for rows in torch.split(numbers, max(1, _CELLS // len(whole))):
                present = whole[:, -1] > 0
                losses = self.losses(whole[:, :width], whole[:, width:-1], present, rows)
                losses = torch.where(present[rows], losses, 0.0)
                gradients += torch.autograd.grad(losses.sum(), whole)[0]
                found.append(losses.detach())
        return torch.cat(found), gradients


@register("contrast")
class Contrast(Batchwise):
    """InfoNCE (van den Oord et al. 2018, eq. 4): which of the teacher's vectors is that of the same sequence, by cosine
    with the student's. With others of the batch as in Tian et al. 2020 (CRD) with those of a memory."""

    Options = ContrastOptions
    options: ContrastOptions

    def losses(self, ours: Tensor, theirs: Tensor, present: Tensor, rows: Tensor) -> Tensor:
        logits = (ours[rows] @ theirs.T / self.temperature).masked_fill(~present, _LEAST)  # (n, N)
        return -logits.log_softmax(1).gather(1, rows.unsqueeze(1)).squeeze(1)


@register("similarity")
class Similarity(Batchwise):
    """How alike a sequence is to each other, by cosine, for the student as for the teacher.

    kl: KL(teacher || student) of distributions over the others (Passalis & Tefas 2018; SEED, Fang et al. 2021). mse:
    the mean squared difference (Tung & Mori 2019, of cosines).
    """

    Options = SimilarityOptions
    options: SimilarityOptions

    def losses(self, ours: Tensor, theirs: Tensor, present: Tensor, rows: Tensor) -> Tensor:
        others = present & (rows.unsqueeze(1) != torch.arange(len(present), device=rows.device))  # (n, N)
        own, taught = (each[rows] @ each.T for each in (ours, theirs))
        if self.options.distance == "mse":
            return torch.where(others, (own - taught).square(), 0.0).sum(1) / others.sum(1).clamp(min=1)
        log_q, log_p = ((each / self.temperature).masked_fill(~others, _LEAST).log_softmax(1) for each in (own, taught))
        return (log_p.exp() * (log_p - log_q)).sum(1)
