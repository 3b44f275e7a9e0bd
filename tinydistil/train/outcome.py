"""What a run is worth and leaves for others: its loss on held-out text, and the student's folder."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import cast

import torch
from torch import Tensor, nn

from tinydistil.base.console import figure, per_token, reported
from tinydistil.base.errors import InputError, Interrupted, stop_asked
from tinydistil.base.files import write_json, write_text
from tinydistil.base.ranks import Ranks
from tinydistil.batches.masked_batches import MaskedBatch, MaskedBatches
from tinydistil.distill.fused import fused_vocabulary_loss
from tinydistil.distill.gather import parts_alone
from tinydistil.distill.recipe import Recipe
from tinydistil.distill.terms.base import Learner, TeacherStates
from tinydistil.distill.terms.representation import Pooled
from tinydistil.model.bert import BertForMaskedLM
from tinydistil.model.sentence_folder import declare_sentence_encoder
from tinydistil.train.card import model_card
from tinydistil.train.loop import Loop
from tinydistil.train.plan import Plan, make_batches

STUDENT = "student"
# The epoch whose masks validation uses: none that training reaches.
VALIDATION_EPOCH = 2**32 - 1
Teacher = Callable[[MaskedBatch], TeacherStates]
Measure = Callable[[MaskedBatch], list[tuple[Tensor, int]]]  # sums, and what each is divided by


def masked_lm_loss(student: BertForMaskedLM, batches: MaskedBatches, ranks: Ranks, *, sequences: int) -> float:
    """Loss per masked token, in nats, over `sequences` of a split; for mode, ranks and stops see `_means`."""

    def measure(batch: MaskedBatch) -> list[tuple[Tensor, int]]:
        hidden = student(batch.input_ids, batch.attention_mask).last_hidden
        # In chunks of positions: all logits of a batch would take more memory than a step of training.
        decoding = student.decoding_at(hidden, batch.positions)
        found = fused_vocabulary_loss(decoding, batch.targets, None, hard=1.0, soft=0.0, compiled=False)
        return [(found.total, len(batch.positions))]

    return _means(student, measure, 1, batches, ranks, sequences)[0]


def objective_loss(
    learner: Learner, teacher: Teacher | None, batches: MaskedBatches, ranks: Ranks, *, sequences: int
) -> float:
    """The recipe's terms by their weights at the end of the run, for recipes that train no masked language model."""

    def measure(batch: MaskedBatch) -> list[tuple[Tensor, int]]:
        counts, losses = learner.counts(batch), learner(batch, teacher and teacher(batch), 1.0)
        return [(loss.weight * loss.total, counts[name]) for name, loss in losses.items()]

    return float(sum(_means(learner, measure, len({*learner.reports.values()}), batches, ranks, sequences)))


def untaught(recipe: Recipe) -> list[str]:
    """The terms that ask no teacher, the vocabulary's apart, by name."""
    return [part.name for part in recipe.parts if not part.options.needs.teacher and part.kind != "vocabulary"]


def measured(learner: Learner, batches: MaskedBatches, ranks: Ranks, *, sequences: int) -> dict[str, float]:
    """What the `untaught` terms report on held-out text."""
    alone = untaught(learner.recipe)
    names = {number: of for number, of in learner.reports.items() if of.partition(".")[0] in alone}

    def measure(batch: MaskedBatch) -> list[tuple[Tensor, int]]:
        counts, losses = learner.counts(batch), learner(batch, None, 1.0)
        return [(losses[of].numbers.get(number, losses[of].total), counts[of]) for number, of in names.items()]

    with parts_alone(learner, lambda part, _: part.name in alone):
        return dict(zip(names, _means(learner, measure, len(names), batches, ranks, sequences), strict=True))


def _means(
    module: nn.Module, measure: Measure, count: int, batches: MaskedBatches, ranks: Ranks, sequences: int
) -> list[float]:
    """The means of `count` sums over held-out text, with the same masks every time, shared out over the ranks.

    Leaves the mode of `module` as it was, gives every rank the same numbers, and raises Interrupted on every rank where
    one was asked to stop before the end.
    """
    sums, was_training = torch.zeros(count, 2, dtype=torch.float64, device=ranks.device), module.training
    there = len(batches.sequences)
    sequences = min(sequences, there)
    # Spread over the whole split: shards follow the files of the corpus, and the first would be of one kind of text.
    parts = torch.split(torch.arange(sequences) * there // sequences, batches.batch_size)
    module.eval()
    try:
        for first in range(0, len(parts), ranks.world_size):
            # Every rank asks as often, also one that has no batch left.
            if not ranks.all_agree(not stop_asked()):
                raise Interrupted
            if first + ranks.rank < len(parts):
                batch = batches.collate(parts[first + ranks.rank].numpy(), VALIDATION_EPOCH).to(ranks.device)
                with torch.no_grad():
                    for row, (total, counted) in zip(sums, measure(batch), strict=True):
                        row += torch.stack([total.double(), torch.tensor(counted, device=total.device)])
    finally:
        module.train(was_training)
    totals, counts = ranks.sum_(sums).T
    return [float(mean) for mean in totals / counts.clamp(min=1)]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: steps taken, text tokens read, seconds of training, and what was measured on held-out text.

    validation_loss: what the run watched, the "masked_lm" loss or, for recipes without it, the "objective" (see
    `validation`); None without held-out text. masked_lm_loss: in nats per token, None where there is no head to
    measure. head: the student's masked LM head is "trained" by the run (as a causal one, where nothing else trains it),
    "copied" from the teacher, or "none". measured: what terms without a teacher report, by name.
    """

    steps: int
    tokens: int
    seconds: float
    skipped_steps: int
    validation_loss: float | None
    validation: str
    masked_lm_loss: float | None
    head: str
    measured: dict[str, float]

    @property
    def said(self) -> str:
        """What was measured, for a person; "" where nothing was."""
        loss = self.validation_loss if self.masked_lm_loss is None else self.masked_lm_loss
        said = [] if loss is None else [held_out_loss(loss, is_masked_lm=self.masked_lm_loss is not None)]
        return "; ".join([*said, *map(reported, self.measured, self.measured.values())])


def held_out_loss(loss: float, *, is_masked_lm: bool) -> str:
    """A loss on held-out text, for a person: what it is, and in which units."""
    return f"held-out {f'masked LM loss {per_token(loss)}' if is_masked_lm else f'objective {figure(loss)}'}"


def write_results(plan: Plan, loop: Loop[MaskedBatch]) -> Outcome:
    """Write the student as an ordinary Hugging Face folder, its card and outcome.json; called on all ranks together."""
    state, recipe, train, ranks = loop.state, plan.config.recipe, plan.config.train, loop.ranks
    if early := train.patience > 0:
        loop.take_best_weights()
    learner, tokenizer, folder = loop.trainer.module, plan.student.tokenizer, plan.output / STUDENT
    student, loss = cast(Learner, learner).student, state.best_loss if early else state.validation_loss
    head = "trained" if "logits" in recipe.needs.student else "none"
    head = "copied" if head == "none" and plan.config.student.start == "layers" else head
    words, held_out = loss if recipe.has_hard else None, None
    own = untaught(recipe)
    guesses = not recipe.has_hard and head != "none" and train.mask.rate > 0
    if own or guesses:
        held_out = make_batches(plan, "validation")
    count, numbers = train.validation_sequences, dict[str, float]()
    if held_out is not None and guesses:
        words = masked_lm_loss(student, held_out, ranks, sequences=count)
    if held_out is not None and own:
        numbers = measured(cast(Learner, learner), held_out, ranks, sequences=count)
    seconds, watched = round(state.seconds, 1), "masked_lm" if recipe.has_hard else "objective"
    outcome = Outcome(state.steps, state.tokens, seconds, state.bad_steps, loss, watched, words, head, numbers)
    # Dropout is of the run; whoever fine-tunes the student gets what BERT has.
    student.config = student.config.replace(hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)
    student.bert.config = student.config
    with ranks.agreed():  # a full disk is found by rank 0 alone
        if not ranks.is_main:
            return outcome
        if head == "none":  # one that nobody trained guesses at random, and would be believed
            loop.records.say("no term of the recipe trains the masked LM head: the student is written without one")
        try:
            model = student.bert if head == "none" else student
            beside = [term.written_with(student) for term in cast(Learner, learner).terms.values()]
            model.save_pretrained(folder, beside=next(filter(None, beside), None))
            tokenizer.save_pretrained(folder)
            longest = student.config.longest
            declared = min(tokenizer.max_length or longest, longest)
            ups = [each.projection.upwards for each in learner.modules() if isinstance(each, Pooled)]
            up = next(filter(None, ups), None)  # of several teachers into the first one's space
            declare_sentence_encoder(folder, student.config, pooling="mean", max_length=declared, dense=up)
            write_text(folder / "README.md", model_card(plan, model, outcome))
            write_json(plan.output / "outcome.json", asdict(outcome))
        except OSError as error:
            remedy = "the last checkpoint is whole: free some space, then --resume auto"
            raise InputError(f"cannot write {str(folder)!r}: {error.strerror}; {remedy}") from None
    return outcome
