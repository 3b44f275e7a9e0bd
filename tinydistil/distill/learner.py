"""What is trained: the student, and the terms of a recipe with all that they own."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from tinydistil.batches.masked_batches import MaskedBatch
from tinydistil.distill.options import Schedule, Shapes
from tinydistil.distill.recipe import Recipe
from tinydistil.distill.terms import term_of
from tinydistil.distill.terms.base import Loss, ModelStates, State, TeacherStates, Term
from tinydistil.model.bert import BertForMaskedLM


class Learner(nn.Module):
    """The student and the terms of `recipe`: what DistributedDataParallel wraps, an `Objective` of the one loop.

    Learned projections draw from torch's global generator. Raises InputError where shapes and recipe do not go
    together.
    """

    def __init__(self, student: BertForMaskedLM, recipe: Recipe, shapes: Shapes) -> None:
        super().__init__()
        recipe.check(recipe.name, shapes)
        self.student, self.recipe = student, recipe
        terms = {part.name: term_of(part.kind)(part.options, shapes) for part in recipe.parts}
        self.terms: Mapping[str, Term] = nn.ModuleDict(terms)  # type: ignore[assignment]
        # What is reported, and of which term.
        self.reports = {number: name for name, term in terms.items() for number in term.reports or (name,)}
        if "logits" not in recipe.needs.student:
            # No term reaches the head. DistributedDataParallel would wait for its gradients and average no others.
            student.masked_lm.requires_grad_(False)

    def states(self) -> dict[str, Mapping[str, State]]:
        """What of the teacher is read, by term."""
        return {name: states for name, term in self.terms.items() if (states := term.states())}

    def counts(self, batch: MaskedBatch) -> dict[str, int]:
        """What each term of this micro-batch is divided by."""
        return {name: term.count(batch) for name, term in self.terms.items()}

    def forward(self, batch: MaskedBatch, teacher: TeacherStates | None, progress: float = 0.0) -> dict[str, Loss]:
        """The sum of each term over one micro-batch, with its weight at the share `progress` of all steps."""
        hidden = self.student.bert(batch.input_ids, batch.attention_mask).last_hidden  # (B, T, D)
        states, theirs, losses = ModelStates(self.student, hidden), teacher or {}, {}
        for part in self.recipe.parts:
            term = self.terms[part.name]
            term.progress = progress
            weight = part.weight.at(progress) if isinstance(part.weight, Schedule) else part.weight
            losses[part.name] = replace(term(states, theirs.get(part.name, {}), batch), weight=weight)
        return losses

    def fitted_tensors(self) -> dict[str, Tensor]:
        """What is fitted to the teacher, by name: the buffers of the terms."""
        return dict(self.get_submodule("terms").named_buffers())

    @torch.no_grad()
    def fit(self, read: Callable[[MaskedBatch], ModelStates], sample: Iterable[MaskedBatch]) -> dict[str, str]:
        """Fit what terms fit to the teacher, from as many batches of `sample` as any asks for; what it came to.

        A pure function of the sample: ranks that draw the same one fit the same.
        """
        wanted = {name: term for name, term in self.terms.items() if term.to_be_fitted() > 0}
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
