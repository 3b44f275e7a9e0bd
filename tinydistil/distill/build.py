"""Student, teacher and recipe put together, and every contradiction between them refused.

Letters: D student width, E teacher width.
"""

from collections.abc import Callable, Iterable

import torch

from tinydistil.base.errors import require
from tinydistil.batches.batch import MaskedBatch
from tinydistil.distill.learner import Learner
from tinydistil.distill.projection import Moments, Projection, check_projection
from tinydistil.distill.recipe import Recipe
from tinydistil.distill.representation import there, vectors_of
from tinydistil.distill.teacher import TeacherSignal
from tinydistil.model.bert import BertModel
from tinydistil.model.config import BertConfig
from tinydistil.model.heads import BertForMaskedLM


def make_learner(
    student: BertForMaskedLM,
    teacher: BertForMaskedLM | BertModel | None,
    recipe: Recipe,
    *,
    fused: bool = True,
    teacher_pooling: str = "mean",
) -> Learner:
    """`student` with a projection for each term of `recipe` that compares vectors; they must still be fitted.

    fused, teacher_pooling: see `Learner`. Learned projections draw from torch's global generator. Raises InputError
    where the three do not go together.
    """
    require(
        teacher is not None or not recipe.needs_teacher,
        f"recipe {recipe.name!r} needs a teacher; give one, or choose recipe mlm",
    )
    projections: dict[str, Projection] = {}
    if teacher is not None:
        check_pair(recipe, student.config, teacher.config, predicts_words=isinstance(teacher, BertForMaskedLM))
        widths = student.config.hidden_size, teacher.config.hidden_size
        compared = [term for term in ("hidden", "pooled") if term in recipe.weights]
        projections = {
            term: Projection(recipe.projection, *widths, centred=recipe.centred, whitening=recipe.whitening)
            for term in compared
        }
    return Learner(student, recipe, projections, fused=fused, teacher_pooling=teacher_pooling)


def check_pair(recipe: Recipe, student: BertConfig, teacher: BertConfig, *, predicts_words: bool) -> None:
    """Raise InputError where `recipe` asks what a student and a teacher of these shapes cannot give.

    predicts_words: whether the teacher has a masked language model head.
    """
    require(
        predicts_words or recipe.soft == 0,
        f"recipe.soft is {recipe.soft}, but the teacher has no masked language model head to give soft targets; "
        "set recipe.soft=0, or choose a teacher that has the head",
    )
    if recipe.compares_tokens:
        field = f"recipe.soft is {recipe.soft}" if recipe.soft > 0 else "recipe.unit is 'token'"
        require(
            student.vocab_size == teacher.vocab_size,
            f"{field}, which compares token by token, but the vocabularies have {student.vocab_size} (student) and "
            f"{teacher.vocab_size} tokens; give the student the teacher's vocabulary (recipe total), or set "
            "recipe.soft=0 and recipe.unit=word (recipe partial)",
        )
    if recipe.compares_vectors:
        check_projection(recipe.projection, student.hidden_size, teacher.hidden_size)


def check_mask_rate(recipe: Recipe, rate: float) -> None:
    """Raise InputError where nothing is masked and a term is about masked tokens alone."""
    terms = " and ".join(f"recipe.{name}" for name in ("hard", "soft") if name in recipe.weights)
    require(
        rate > 0 or not recipe.looks_at_masks,
        f"mask.rate is 0, which leaves {terms} nothing to learn from; give mask.rate > 0, or set {terms} to 0",
    )


@torch.no_grad()
def fit_projections(
    learner: Learner, teach: Callable[[MaskedBatch], TeacherSignal], sample: Iterable[MaskedBatch]
) -> dict[str, float]:
    """Take what projections need of the teacher's vectors, their mean and components, from the batches of `sample`.

    As many batches are drawn as have `recipe.fit_sequences` sequences between them, fewer if there are no more; none
    where nothing is to be fitted. Returns for each term the share of squared length that its components keep.
    A pure function of the sample: ranks that draw the same one fit the same.
    """
    recipe = learner.recipe
    if not recipe.needs_fit:
        return {}
    device = next(learner.parameters()).device
    moments = {term: Moments(projection.mean.shape[0], device) for term, projection in _projections(learner).items()}
    seen = 0
    for batch in sample:
        batch = batch.to(device)
        hidden, view = teach(batch).hidden, batch.teacher_view
        for term, collected in moments.items():
            assert hidden is not None, "projections are fitted to a live teacher"
            vectors = vectors_of(term, recipe.unit, hidden, view, batch.num_words, pooling=learner.teacher_pooling)
            collected.add(vectors[there(term, recipe.unit, view, batch.num_words)])
        seen += len(batch.sequence_ids)
        if seen >= recipe.fit_sequences:
            break
    return {term: projection.fit(moments[term]) for term, projection in _projections(learner).items()}


def _projections(learner: Learner) -> dict[str, Projection]:
    found = learner.projections.items()
    return {term: projection for term, projection in found if isinstance(projection, Projection)}
