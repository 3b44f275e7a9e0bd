"""Teachers of a run: several that teach together, what they compute in, how they fill a cache; what a student begins
with of theirs."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import nn

from tinydistil.base.errors import require
from tinydistil.base.ranks import Ranks
from tinydistil.batches.masked_batches import MaskedBatches
from tinydistil.distill.options import AUTO, Needs
from tinydistil.distill.projected import encode_words, project_teacher, start_encoded
from tinydistil.distill.teacher.cached import WORDS, TeacherCache
from tinydistil.distill.teacher.live import PRECISIONS, LiveTeacher
from tinydistil.distill.terms.base import Learner
from tinydistil.distill.terms.representation import Pooled, random_directions
from tinydistil.distill.terms.vocabulary import Distribution
from tinydistil.model.bert import BertForMaskedLM, BertModel
from tinydistil.train.models import sample_of

if TYPE_CHECKING:
    from tinydistil.train.plan import ModelFolder, Plan

# For a projected start: a feed-forward layer of 2 x 128 has 512 neurons to be fitted. Of BERT-base, more tokens would
# take gigabytes.
_PROJECTION_SEQUENCES, _PROJECTION_TOKENS = 256, 32_768
# Of the text by which a precision is chosen: of BERT-base a pass of 0.2 s in float32 on a core with AVX-512.
_TRIAL_TOKENS = 256
# Parts of a cache that are computed at a time, each in memory of its own.
_MOST_WORKERS = 8

_Item = TypeVar("_Item")


def check_together(teachers: "Sequence[ModelFolder]", needs: Needs) -> None:
    """Raise InputError where they cannot read the same tokens, or one of them is named twice.

    needs: those of the recipe, of which some compare token by token.
    """
    first, *others = teachers
    for number, other in enumerate(others, start=1):
        same = [each.given for each in teachers[:number] if each.folder.resolve() == other.folder.resolve()]
        require(
            not same,
            f"teacher {other.given!r} is the folder of {''.join(same[:1])!r}, and would weigh double; name each once",
        )
        both = f"teachers {first.given!r} and {other.given!r}"
        require(
            first.tokenizer.fingerprint == other.tokenizer.fingerprint,
            f"{both} read different vocabularies ({first.tokenizer.vocab_size:,} and {other.tokenizer.vocab_size:,} "
            "tokens, or other rules); give teachers of one tokenizer, or one alone",
        )
        sizes = first.config.vocab_size, other.config.vocab_size
        require(
            not needs.tokens or sizes[0] == sizes[1],
            f"{both} have one tokenizer, but embeddings of {sizes[0]:,} and {sizes[1]:,} tokens, so their logits "
            "have no mean; give teachers of one size, or choose recipe partial",
        )
        require(
            first.prefix == other.prefix,
            f"{both} read other prompts first ({first.prefix!r} and {other.prefix!r}), as their folders declare; "
            "give one for all as teacher_prefix",
        )
        require(
            not first.prefix or first.pools_prefix == other.pools_prefix,
            f"{both}: one counts its prompt {first.prefix!r} in the mean of a sequence, the other does not, as their "
            "folders declare (include_prompt); give one of them alone",
        )


def settle_precision(
    plan: "Plan",
    teachers: Sequence[BertForMaskedLM | BertModel],
    batches: Callable[[], MaskedBatches | None],
    ranks: Ranks,
    say: Callable[[str], None] = print,
) -> "Plan":
    """`plan` with what the teachers compute in: rank 0's, by a trial on text of `batches` where it is AUTO.

    A run that goes on has it from the first start: another trial might find another, and so other bits.
    """
    known, precision = ("", *PRECISIONS), plan.config.teacher_precision
    with ranks.agreed("try what the teacher computes in"):
        if ranks.is_main and precision == AUTO:
            precision = _fastest(plan, teachers, batches(), say)
    index = torch.tensor(known.index(precision) if ranks.is_main else 0)
    ranks.broadcast_([index])
    return replace(plan, config=replace(plan.config, teacher_precision=known[int(index)]))


def _fastest(
    plan: "Plan",
    teachers: Sequence[BertForMaskedLM | BertModel],
    batches: MaskedBatches | None,
    say: Callable[[str], None],
) -> str:
    """The precision in which `teachers` are fastest, of those that are exact enough; `say` hears how all of them do."""
    from tinydistil.distill.teacher.precision import fastest, table_of, try_teachers  # which other runs do without

    assert batches is not None, "checked by the plan"
    recipe, readers = plan.config.recipe, []
    for model, shapes in zip(teachers, plan.shapes.each, strict=True):
        words = Distribution(lambda batch: batch.positions, recipe, shapes)
        states = {"vocabulary": {"logits": words}} if "logits" in recipe.needs.teacher else {}
        readers.append(LiveTeacher(model, states, sees=recipe.teacher_sees))
    batch = sample_of(batches, max(1, round(_TRIAL_TOKENS * batches.batch_size / batches.mean_tokens)))
    trials = try_teachers(readers, batch)
    say(table_of(trials))
    return fastest(trials)


def start_projected(
    plan: "Plan", student: BertForMaskedLM, teacher: BertForMaskedLM | BertModel, batches: MaskedBatches, ranks: Ranks
) -> None:
    """Give `student` its teacher's weights in fewer dimensions, the same on every rank."""
    assert plan.teacher is not None, "checked by RunConfig"
    count = min(_PROJECTION_SEQUENCES, -(-_PROJECTION_TOKENS * batches.batch_size // int(batches.mean_tokens)))
    sample = sample_of(batches, count).to(ranks.device)
    tokenizers = (plan.teacher.tokenizer, plan.student.tokenizer) if plan.config.student_vocabulary == "own" else None
    project_teacher(student, teacher.to(ranks.device), sample.teacher or sample, tokenizers)
    ranks.broadcast_(tensor.data for tensor in student.parameters())


def start_with_words(
    plan: "Plan", learner: Learner, teacher: LiveTeacher, ranks: Ranks, cache: TeacherCache | None
) -> None:
    """Begin the student's word vectors with what `teacher` makes of each word alone, which a `cache` keeps."""
    own, new, words = plan.teacher, plan.student.tokenizer, learner.student.bert.embeddings.word.weight
    projections = [term.projection for term in learner.modules() if isinstance(term, Pooled)]
    ups = [each.upwards for each in projections if each.upwards is not None]
    assert own is not None and projections, "checked by RunConfig"
    widths, bases = [each.config.hidden_size for each in plan.teachers], []
    encoded = torch.zeros(new.vocab_size, sum(widths))  # of all teachers side by side
    with ranks.agreed("encode the vocabulary"):
        if ranks.is_main and not (cache and cache.load_tensors(WORDS, {"words": encoded})):
            found = encode_words(teacher, own.tokenizer, own.prefix_ids, new, pools_prefix=own.pools_prefix)
            encoded.copy_(found)
            if cache:
                cache.save_tensors(WORDS, {"words": encoded})
    encoded = encoded.to(words.device)
    known = encoded.abs().sum(1) > 0
    for number, (width, vectors) in enumerate(zip(widths, torch.split(encoded, widths, 1), strict=True)):
        of_one = projections[number :: len(widths)]
        basis = of_one[0].basis
        if basis is None:  # learned maps begin with such directions, and with what all its vectors have in common
            basis = random_directions(learner.student.config.hidden_size, width).to(words.device)
            for up in (each.upwards for each in of_one if each.upwards is not None):
                up.weight.data.copy_(basis.T)
                up.bias.data.copy_(vectors[known].mean(0))
        bases.append(basis)
    start_encoded(words.data, encoded, torch.cat(bases, 1))  # the mean of what each basis makes of its teacher's
    ranks.broadcast_([words.data, *(parameter.data for up in ups for parameter in up.parameters())])


def side_by_side(work: Callable[[_Item], None], items: Sequence[_Item], device: torch.device) -> Iterator[None]:
    """Do `work` with each item, in order; on the CPU with several at a time, which its cores share.

    A core that waits for no other at the end of each product does more: of short sentences, a fifth to a third.
    """
    cores = torch.get_num_threads()
    workers = min(cores, _MOST_WORKERS) if device.type == "cpu" else 1
    if min(workers, len(items)) < 2:
        yield from map(work, items)
        return
    each = cores // workers
    try:
        with ThreadPoolExecutor(workers, initializer=partial(torch.set_num_threads, each)) as pool:
            # The first alone, so that what is measured once it is done has the machine for itself.
            yield pool.submit(work, items[0]).result()
            yield from pool.map(work, items[1:])  # left early, what has not begun is dropped
    finally:
        torch.set_num_threads(cores)  # which a thread sets for all that begin later


def hash_of_weights(model: nn.Module) -> str:
    """Of names and numbers, whatever files they came in."""
    found = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        found.update(name.encode())
        found.update(tensor.detach().cpu().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()
