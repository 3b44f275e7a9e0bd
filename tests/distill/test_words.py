"""Likelihoods of words: against `transformers` and plain loops in float64; what counts; draws; refusals."""

import copy
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor
from torch.nn import functional as F

from tests.train.toy import make_learner
from tinydistil.base.errors import InputError
from tinydistil.batches.masked_batches import MaskedBatch, TeacherView
from tinydistil.distill.options import CacheConfig, Schedule, Shapes
from tinydistil.distill.recipe import RECIPES, Recipe
from tinydistil.distill.teacher.cached import CachedTeacher, TeacherCache
from tinydistil.distill.teacher.live import LiveTeacher
from tinydistil.distill.teacher.precision import quantise_teacher
from tinydistil.distill.terms.base import Learner, ModelStates
from tinydistil.distill.terms.words import WordsOptions, divergence, hidden_words, likelihoods
from tinydistil.model.bert import BertForMaskedLM
from tinydistil.model.config import BertConfig

PAD, UNK, CLS, SEP, MASK = range(5)
OWN = BertConfig(
    vocab_size=24, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
    max_position_embeddings=40, initializer_range=0.5, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
)  # fmt: skip
OTHER = OWN.replace(vocab_size=30, hidden_size=12, intermediate_size=24)


@dataclass(frozen=True)
class Word:
    """Its pieces on both sides, and which of the student's are hidden; `seen`: asked for, but shown as they are."""

    student: tuple[int, ...]
    teacher: tuple[int, ...]
    hidden: tuple[bool, ...] = ()
    seen: bool = False

    @property
    def counts(self) -> bool:
        whole = len(self.hidden) == len(self.student) and all(self.hidden)
        return whole and not self.seen and UNK not in (*self.student, *self.teacher)


def word(student: tuple[int, ...], teacher: tuple[int, ...], how: str = "visible") -> Word:
    hidden = {"hidden": (True,) * len(student), "seen": (True,) * len(student), "half": (True,), "visible": ()}[how]
    return Word(student, teacher, hidden, seen=how == "seen")


TEXTS = [
    [
        word((5,), (6,)), word((6,), (7,), "hidden"), word((7,), (8,)), word((7,), (8,)), word((8, 9), (9,)),
        word((10, 11), (10,), "hidden"), word((8, 11), (11,)), word((12, 13), (12,), "half"),
        word((14,), (13,), "seen"), word((6,), (14,)), word((15,), (7,)), word((16,), (15,)), word((5,), (6,)),
    ],
    # The only one of its lengths; unknown on either side; no alternative with what is unknown.
    [
        word((5, 6, 7), (5, 6), "hidden"), word((UNK,), (7,)), word((8,), (UNK,), "hidden"), word((9,), (8,), "hidden"),
        word((10,), (UNK,)),
    ],
    [word((9,), (8,))],
]  # fmt: skip


def batch_of(texts: list[list[Word]], *, apart: bool = True, wider: int = 0, epoch: int = 3) -> MaskedBatch:
    """The batch of such texts, padded by `wider` more tokens than it need be."""
    sides: list[list[list[Any]]] = []
    for name in ("student", "teacher"):
        side: list[list[Any]] = [[], [], [], []]  # ids, shown, words, asked
        for text in texts:
            ids, shown, words, asked = [CLS], [CLS], [-1], [False]
            for number, each in enumerate(text):
                pieces = getattr(each, name)
                at = [*each.hidden, *(False for _ in pieces)][: len(pieces)]
                at = [any(each.hidden)] * len(pieces) if name == "teacher" else at  # masked whole
                ids += pieces
                shown += [MASK if h and not (each.seen and name == "student") else p
                          for p, h in zip(pieces, at, strict=True)]  # fmt: skip
                words += [number] * len(pieces)
                asked += at
            for kept, found in zip(side, (ids, shown, words, asked), strict=True):
                kept.append(found)
            for kept, end in zip(side, (SEP, SEP, -1, False), strict=True):
                kept[-1].append(end)
        longest = max(map(len, side[0])) + wider
        for kept, fill in zip(side, (PAD, PAD, -1, False), strict=True):
            kept[:] = [row + [fill] * (longest - len(row)) for row in kept]
        sides.append(side)
    (ids, shown, words, asked), (ids2, shown2, words2, _) = (map(torch.tensor, side) for side in sides)
    view = TeacherView(shown2, ids2, (ids2 != PAD).long(), ids2 != PAD, words2) if apart else None
    positions = asked.flatten().nonzero().squeeze(1)
    return MaskedBatch(
        shown, ids, (ids != PAD).long(), ids != PAD, words, positions, ids.flatten()[positions],
        torch.arange(len(texts)) + 7, view, epoch, tokens=int((ids != PAD).sum()), unk_ids=(UNK, UNK),
    )  # fmt: skip


BATCH = batch_of(TEXTS)


def models(*, apart: bool = True) -> tuple[BertForMaskedLM, BertForMaskedLM]:
    torch.manual_seed(0)
    return tuple(BertForMaskedLM(each).double().eval() for each in (OWN, OTHER if apart else OWN))  # type: ignore[return-value]


def learn(
    student: BertForMaskedLM, teacher: BertForMaskedLM, batch: MaskedBatch = BATCH, **options: Any
) -> tuple[Tensor, Learner]:
    learner = make_learner(student, teacher, Recipe(hard=0.0, terms={"words": options})).double()
    return learner(batch, LiveTeacher(teacher, learner.states())(batch))["words"].total, learner


def log_probs_of(model: BertForMaskedLM, view: MaskedBatch | TeacherView, folder: Path) -> Tensor:
    """Of `transformers`, (B, T, V)."""
    model.save_pretrained(folder)
    other = transformers.BertForMaskedLM.from_pretrained(folder, attn_implementation="eager").double().eval()
    with torch.no_grad():
        logits = other(input_ids=view.input_ids, attention_mask=view.attention_mask).logits
    return logits.log_softmax(-1)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_against_transformers_and_plain_loops(temperature: float, tmp_path: Path) -> None:
    """All words of a sequence that may stand in each other's place are outcomes, each once."""
    student, teacher = models()
    total, learner = learn(student, teacher, temperature=temperature, alternatives=20)
    assert BATCH.teacher is not None
    read = [log_probs_of(student, BATCH, tmp_path / "s"), log_probs_of(teacher, BATCH.teacher, tmp_path / "t")]
    expected, count, outcomes = 0.0, 0, []
    for row, text in enumerate(TEXTS):
        for number, hidden in enumerate(text):
            if not hidden.counts:
                continue
            count += 1
            # None of these shares its spelling with another on one side alone.
            others = {(hidden.student, hidden.teacher)}
            for each in text:
                lengths = len(each.student) == len(hidden.student) and len(each.teacher) == len(hidden.teacher)
                known = UNK not in (*each.student, *each.teacher)
                if lengths and known and hidden.student != each.student and hidden.teacher != each.teacher:
                    others.add((each.student, each.teacher))
            sides = []
            for side, log_probs in enumerate(read):
                before = 1 + sum(len((each.student, each.teacher)[side]) for each in text[:number])
                found = {
                    each: sum(float(log_probs[row, before + j, piece]) for j, piece in enumerate(each[side]))
                    for each in others
                }
                found[((), ())] = math.log(1 - sum(map(math.exp, found.values())))
                weights = {each: math.exp(value / temperature) for each, value in found.items()}
                sides.append({each: weight / sum(weights.values()) for each, weight in weights.items()})
            q, p = sides
            expected += temperature**2 * sum(p[each] * math.log(p[each] / q[each]) for each in p)
            outcomes.append(len(p))
    assert learner.counts(BATCH) == {"words": count} == {"words": 4}
    assert outcomes == [2 + 4, 2 + 3, 2, 2]
    assert total.item() == pytest.approx(expected, rel=1e-9) and expected > 0.1


def test_without_alternatives_it_is_two_outcomes() -> None:
    """sigmoid(log-odds / T) of both sides, by torch's own binary divergence."""
    student, teacher = models()
    asked = hidden_words(BATCH, 0)
    assert BATCH.teacher is not None
    with torch.no_grad():
        hidden = student.bert(BATCH.input_ids, BATCH.attention_mask).last_hidden
        others = teacher.bert(BATCH.teacher.input_ids, BATCH.teacher.attention_mask).last_hidden
        total, _ = learn(student, teacher, temperature=3.0, alternatives=0)
        ours = likelihoods(ModelStates(student, hidden), asked.student, asked.outcome_mask)[:, 0]
        theirs = likelihoods(ModelStates(teacher, others), asked.teacher, asked.outcome_mask)[:, 0]
    q, p = (torch.logit(each.exp()) / 3 for each in (ours, theirs))
    target = p.sigmoid()
    expected = F.binary_cross_entropy_with_logits(q, target, reduction="sum")
    expected = expected - F.binary_cross_entropy(target, target, reduction="sum")
    assert total.item() == pytest.approx(9 * float(expected), rel=1e-9)


def test_never_above_the_divergence_of_all_pieces() -> None:
    """With one vocabulary, whose words are independent pieces: outcomes that are put together tell less."""
    student, teacher = models(apart=False)
    batch = batch_of(TEXTS, apart=False)
    asked = hidden_words(batch, 20).student
    with torch.no_grad():
        rows = [model.bert(batch.input_ids, batch.attention_mask).last_hidden for model in (student, teacher)]
        q, p = (
            model.logits_at(hidden, asked.positions).log_softmax(-1)
            for model, hidden in zip((student, teacher), rows, strict=True)
        )
        whole = float(F.kl_div(q, p, log_target=True, reduction="sum"))
        found = [float(learn(student, teacher, batch, temperature=1.0, alternatives=k)[0]) for k in (0, 2, 20)]
    assert 0 < found[0] < found[2] < whole and found[1] < whole


def test_zero_and_flat_where_the_student_is_the_teacher() -> None:
    student, teacher = models(apart=False)
    teacher.load_state_dict(student.state_dict())
    total, learner = learn(student.train(), teacher, batch_of(TEXTS, apart=False))
    total.backward()
    assert abs(total.item()) < 1e-12
    gradients = {name: each.grad for name, each in learner.named_parameters()}
    assert all(each is not None and float(each.abs().max()) < 1e-9 for each in gradients.values()), gradients.keys()


@pytest.mark.parametrize("apart", [True, False])
def test_padding_and_other_sequences_do_not_matter(apart: bool) -> None:
    student, teacher = models(apart=apart)
    alone, wide = (batch_of(TEXTS, apart=apart, wider=wider) for wider in (0, 6))
    total, learner = learn(student, teacher, alone, alternatives=2)
    total.backward()
    gradient = student.bert.embeddings.word.weight.grad
    assert gradient is not None
    student.zero_grad()
    wider, _ = learn(student, teacher, wide, alternatives=2)
    wider.backward()
    assert wider.item() == pytest.approx(total.item(), rel=1e-12)
    torch.testing.assert_close(student.bert.embeddings.word.weight.grad, gradient, rtol=1e-10, atol=1e-13)
    first = batch_of(TEXTS[:1], apart=apart)
    (one, other), here = (hidden_words(each, 2) for each in (alone, first)), hidden_words(alone, 2).sequences == 0
    assert torch.equal(one.outcome_mask[here], other.outcome_mask)
    own = here[one.student.owners]
    assert torch.equal(one.student.ids[own], other.student.ids)
    assert learner.counts(first) == {"words": int(here.sum())}


def test_draws_are_of_epoch_and_sequence() -> None:
    """Of twelve words that may stand for each other; all of them are drawn in some epoch, never the word itself."""
    text = [word((5 + i,), (6 + i,), "hidden" if i < 2 else "visible") for i in range(13)]
    drawn = []
    for epoch in range(40):
        found = hidden_words(batch_of([text], epoch=epoch), 3)
        assert found.outcome_mask.all() and torch.equal(found.student.ids + 1, found.teacher.ids)
        for number, row in enumerate(found.student.ids.tolist()):
            assert row[0] == 5 + number and len(set(row)) == 4
        drawn.append(tuple(found.student.ids.flatten().tolist()))
        assert torch.equal(found.student.ids, hidden_words(batch_of([text], epoch=epoch), 3).student.ids)
    assert len(set(drawn)) > 35
    assert {each for row in drawn for each in row[1:4]} == {*range(6, 18)}
    other = replace(batch_of([text]), sequence_ids=torch.tensor([8]))
    assert not torch.equal(hidden_words(other, 3).student.ids, hidden_words(batch_of([text]), 3).student.ids)


def test_nothing_hidden_is_finite_and_attached() -> None:
    student, teacher = models()
    for texts in ([[word((5,), (6,)), word((6, 7), (7,), "half")]], [[word((5,), (UNK,), "hidden")]], [[]]):
        total, learner = learn(student, teacher, batch := batch_of(texts))
        total.backward()
        assert total.item() == 0 and learner.counts(batch) == {"words": 0}
        for name, parameter in learner.named_parameters():
            assert parameter.grad is not None and not parameter.grad.any(), name


def test_gradient_and_certainty() -> None:
    """By finite differences; and in float32 finite where a word has all of the probability, or none."""
    student, _ = models()
    asked = hidden_words(BATCH, 3)
    theirs = torch.randn(4, 5, dtype=torch.float64).log_softmax(1)
    hidden = torch.randn(*BATCH.input_ids.shape, 8, dtype=torch.float64, requires_grad=True)

    def loss(hidden: Tensor) -> Tensor:
        return divergence(
            theirs, likelihoods(ModelStates(student, hidden), asked.student, asked.outcome_mask), asked.outcome_mask, 2
        )

    assert torch.autograd.gradcheck(loss, (hidden,))
    student.float()
    for scale in (1e2, 1e4):
        for sign in (-1, 1):
            student.masked_lm.bias.data[:] = 0
            student.masked_lm.bias.data[asked.student.ids[:, 0]] = sign * scale
            certain = hidden.detach().float().requires_grad_()
            ours = likelihoods(ModelStates(student, certain), asked.student, asked.outcome_mask)
            total = divergence(theirs.float(), ours, asked.outcome_mask, 2)
            total.backward()
            assert certain.grad is not None and torch.isfinite(ours).all()
            assert torch.isfinite(total) and torch.isfinite(certain.grad).all()


def test_a_temperature_that_follows_a_schedule() -> None:
    student, teacher = models()
    schedule = {"shape": "linear", "start": 4.0, "end": 1.0}
    moving = learn(student, teacher, temperature=schedule)[1]
    states = LiveTeacher(teacher, moving.states())(BATCH)
    for progress, temperature in ((0.0, 4.0), (1 / 3, 3.0), (1.0, 1.0)):
        found = moving(BATCH, states, progress)["words"].total
        assert found.item() == pytest.approx(learn(student, teacher, temperature=temperature)[0].item(), rel=1e-9)
    options = moving.recipe.parts[0].options
    assert isinstance(options, WordsOptions) and isinstance(options.temperature, Schedule)


def test_the_teacher_reads_the_masked_text_whatever_the_recipe_shows() -> None:
    student, teacher = models()
    learner = make_learner(student, teacher, replace(RECIPES["partial"], projection="student-to-teacher", centred=False,
                                                     whitening=0.0, terms={"words": 1.0})).double()  # fmt: skip
    both = {sees: LiveTeacher(teacher, learner.states(), sees=sees)(BATCH) for sees in ("original", "masked")}
    assert torch.equal(both["original"]["words"]["logits"], both["masked"]["words"]["logits"])
    assert not torch.equal(both["original"]["pooled"]["pooled"], both["masked"]["pooled"]["pooled"])
    assert learner.recipe.teacher_sees == "original"


def test_kept_at_no_temperature(tmp_path: Path) -> None:
    """One cache serves any; it is bound to how many alternatives there are."""
    student, teacher = models()
    learner = learn(student, teacher)[1]
    live, shapes = LiveTeacher(teacher, learner.states()), Shapes(OWN, OTHER, teacher_has_head=True)
    cache = TeacherCache(tmp_path, np.array([7, 8, 9]), 4)
    for epoch in range(4):
        cache.write((epoch, 0), [batch_of(TEXTS, epoch=epoch)], live, CacheConfig(), torch.device("cpu"))
    cached = CachedTeacher(cache, live, CacheConfig(), torch.device("cpu"))(BATCH)["words"]["logits"]
    exact, mask = live(BATCH)["words"]["logits"], hidden_words(BATCH, 8).outcome_mask
    assert cached.shape == exact.shape == (4, 10) and cached.dtype == torch.float32
    torch.testing.assert_close(cached[:, :-1][mask], exact[:, :-1][mask].float(), rtol=2**-11, atol=1e-6)
    bound = [
        Recipe(hard=0.0, terms={"words": options}).bound(CacheConfig(), shapes)
        for options in ({"temperature": 1.0}, {"temperature": {"start": 4.0, "end": 1.0}}, {"alternatives": 3})
    ]
    assert bound[0] == bound[1] != bound[2]
    assert (bound[0]["recipe.terms.words.alternatives"], bound[2]["recipe.terms.words.alternatives"]) == (8, 3)
    for name in ("top", "hidden"):
        Recipe(hard=0.0, terms={"words": {"temperature": {"start": 4.0, "end": 1.0}}}).check(
            "custom", shapes, CacheConfig(words=name)
        )


def test_a_teacher_in_int8() -> None:
    torch.manual_seed(1)
    student = BertForMaskedLM(OWN).eval()
    teacher = BertForMaskedLM(OTHER.replace(hidden_size=32, initializer_range=0.2)).eval()
    learner = make_learner(student, teacher, Recipe(hard=0.0, terms={"words": 1.0}))
    live = LiveTeacher(copy.deepcopy(teacher), learner.states(), precision="int8")
    quantise_teacher(live, [BATCH])
    exact, rough = (each(BATCH)["words"]["logits"] for each in (LiveTeacher(teacher, learner.states()), live))
    assert not torch.equal(exact, rough)
    torch.testing.assert_close(rough, exact, rtol=0, atol=0.2)
    assert torch.isfinite(learner(BATCH, live(BATCH))["words"].total)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "fewer than no alternatives": ({"alternatives": -1}, r"recipe.terms.words.alternatives must be"),
    "half an alternative": ({"alternatives": 0.5}, r"recipe.terms.words.alternatives"),
    "no temperature": ({"temperature": 0.0}, r"recipe.terms.words.temperature must be"),
    "down to no temperature": ({"temperature": {"start": 2.0, "end": 0.0}}, r"recipe.terms.words.temperature must be"),
    "an unknown option": ({"alternative": 4}, "unknown option.*alternative.*alternatives"),
    "no weight": ({"weight": -1.0}, "weight must be"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_options(name: str) -> None:
    options, message = BAD[name]
    with pytest.raises(InputError, match=message):
        Recipe(hard=0.0, terms={"words": options}).check("custom", Shapes(OWN, OTHER, teacher_has_head=True))


def test_teachers_that_do_not_fit() -> None:
    recipe = Recipe(hard=0.0, terms={"words": 1.0})
    with pytest.raises(InputError, match="needs a teacher"):
        recipe.check("custom", Shapes(OWN))
    message = r"recipe.terms.words compares likelihoods, but the teacher has no masked .* set recipe.terms.words=0"
    with pytest.raises(InputError, match=message):
        recipe.check("custom", Shapes(OWN, OTHER))
    with pytest.raises(InputError, match=r"mask.rate is 0, which leaves recipe.terms.words nothing to learn from"):
        recipe.check_mask_rate(0.0)
    recipe.check("custom", Shapes(OWN, OTHER, teacher_has_head=True))
    assert not recipe.needs.tokens and "logits" in recipe.needs.student


def test_the_head_is_trained() -> None:
    learner = learn(*models())[1]
    assert all(each.requires_grad for each in learner.student.masked_lm.parameters())
