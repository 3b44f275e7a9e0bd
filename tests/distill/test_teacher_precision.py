"""What a teacher computes in: the error that is told is that of its answers, its precision is its own and not that of
training, and of those that are exact enough the fastest is taken."""

import copy
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from tinydistil.base.errors import InputError
from tinydistil.batches.masked_batches import MaskedBatch, TeacherView
from tinydistil.distill.options import Shapes, VocabularyOptions
from tinydistil.distill.teacher import precision as precision_module
from tinydistil.distill.teacher.live import LiveTeacher, check_teacher_precision
from tinydistil.distill.teacher.precision import (
    PrecisionError,
    Reading,
    Trial,
    convert,
    fastest,
    quantise_teacher,
    table_of,
    tried,
)
from tinydistil.distill.terms.vocabulary import Distribution
from tinydistil.model.bert import BertForMaskedLM, BertModel
from tinydistil.model.config import BertConfig


def shape(vocab_size: int = 60) -> BertConfig:
    return BertConfig(
        vocab_size=vocab_size, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        initializer_range=0.2,
    )  # fmt: skip


WORDS = Distribution(lambda batch: batch.positions, VocabularyOptions(temperature=3.0), Shapes(shape(), shape()))
TOTAL = {"vocabulary": {"logits": WORDS}}


def masked_batch(seed: int, lengths: tuple[int, ...], *, masked: int = 4) -> MaskedBatch:
    generator = torch.Generator().manual_seed(seed)
    size = (len(lengths), max(lengths))
    mask = (torch.arange(size[1]) < torch.tensor(lengths)[:, None]).long()
    ids = torch.randint(5, 60, size, generator=generator) * mask
    rows = mask.flatten().nonzero().squeeze(1)[:masked]
    words = torch.where(mask.bool(), torch.arange(size[1]), -1)
    return MaskedBatch(
        ids.flatten().index_fill(0, rows, 4).view(size), ids, mask, mask.bool(), words, rows, ids.flatten()[rows],
        torch.arange(len(lengths)), tokens=sum(lengths),
    )  # fmt: skip


def test_the_error_told_is_that_of_the_answers() -> None:
    torch.manual_seed(0)
    model = BertForMaskedLM(shape()).eval()
    batches = [masked_batch(0, (9, 5, 7)), masked_batch(1, (3, 8)), masked_batch(2, (4,), masked=0)]
    exact, teacher = LiveTeacher(copy.deepcopy(model), TOTAL), LiveTeacher(model, TOTAL, precision="int8")
    told = quantise_teacher(teacher, batches)
    cosines, divergences = [], []
    for batch in batches:
        before, after = exact(batch), teacher(batch)
        p, q = ((each["vocabulary"]["logits"].logits().double() / 3).log_softmax(-1) for each in (before, after))
        divergences += F.kl_div(q, p, log_target=True, reduction="none").sum(-1).tolist()
        for row, length in enumerate(batch.attention_mask.sum(1).tolist()):
            one, other = exact.read(batch).hidden[row, :length], teacher.read(batch).hidden[row, :length]
            cosines += ((one * other).sum(-1) / one.norm(dim=-1) / other.norm(dim=-1)).tolist()
    # A divergence of 6e-6 nats is the last digits of float32 sums.
    assert (told.tokens, told.positions) == (9 + 5 + 7 + 3 + 8 + 4, 8)
    assert told.cosine == pytest.approx(sum(cosines) / len(cosines), abs=1e-6) and 0.99 < told.cosine < 1
    assert told.divergence == pytest.approx(sum(divergences) / len(divergences), rel=1e-2) and told.divergence > 0
    divergence = f"KL at T = 3 {told.divergence:.4f} at 8 positions"
    assert str(told) == f"mean token cosine with float32 {told.cosine:.4f} on 36 tokens, {divergence}"


def test_without_soft_targets_only_hidden_states_are_compared() -> None:
    """The teacher has tokens of its own, and sees the text before masking."""
    torch.manual_seed(0)
    model = BertModel(shape(), pooler=False).eval()
    theirs = masked_batch(5, (6, 11))
    batch = masked_batch(3, (4, 8))
    view = TeacherView(
        theirs.input_ids, theirs.original_ids, theirs.attention_mask, theirs.valid_mask, theirs.word_index
    )
    two = replace(batch, teacher=view)
    exact, teacher = copy.deepcopy(model), LiveTeacher(model, {}, sees="original", precision="int8")
    told = quantise_teacher(teacher, [two])
    real = view.valid_mask
    with torch.no_grad():
        hidden = exact(view.original_ids, view.attention_mask).last_hidden[real]
    expected = F.cosine_similarity(hidden, teacher.read(two).hidden[real], dim=-1).mean()
    assert told.cosine == pytest.approx(float(expected), abs=1e-6) and told.tokens == 17
    assert str(told).endswith("on 17 tokens")


def test_the_same_sample_gives_the_same_teacher() -> None:
    torch.manual_seed(0)
    model = BertForMaskedLM(shape()).eval()
    batches = [masked_batch(0, (9, 5, 7)), masked_batch(1, (3, 8))]
    teachers = [LiveTeacher(copy.deepcopy(model), TOTAL, precision="int8") for _ in range(2)]
    errors = {quantise_teacher(teacher, batches) for teacher in teachers}
    assert len(errors) == 1
    one, other = (teacher.read(batches[0]) for teacher in teachers)
    assert torch.equal(one.hidden, other.hidden)


def test_precision_is_the_teachers_own() -> None:
    torch.manual_seed(0)
    model, batch = BertForMaskedLM(shape()).eval(), masked_batch(0, (9, 5, 7))
    exact = LiveTeacher(model, TOTAL).read(batch).hidden
    with torch.autocast("cpu", torch.bfloat16):
        as_training = LiveTeacher(model, TOTAL).read(batch).hidden
        assert torch.equal(LiveTeacher(model, TOTAL, precision="float32").read(batch).hidden, exact)
    rough = LiveTeacher(model, TOTAL, precision="bfloat16").read(batch).hidden
    assert torch.equal(rough, as_training)
    assert 1e-4 < float((rough - exact).norm() / exact.norm()) < 0.05


def test_what_a_device_has_no_product_for_is_refused() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    for precision, device in (("", cpu), ("float32", cpu), ("bfloat16", cpu), ("int8", cpu), ("bfloat16", cuda)):
        check_teacher_precision(precision, device)
    with pytest.raises(InputError, match=r"teacher_precision 'int4' is unknown; did you mean 'int8'"):
        check_teacher_precision("int4", cpu)
    with pytest.raises(InputError, match=r"'int8' is for the CPU; choose bfloat16 on CUDA"):
        check_teacher_precision("int8", cuda)


def tried_on(model: BertForMaskedLM) -> tuple[list[Trial], list[list[Reading]]]:
    """The trials, and what was read in each call."""
    batch, found = masked_batch(0, (9, 5, 7)), list[list[Reading]]()

    def read() -> Sequence[Reading]:
        hidden = model.encoder(batch.input_ids, batch.attention_mask).last_hidden
        words = [(model.decoding_at(hidden, batch.positions), 2.0)]
        found.append([Reading(hidden[batch.valid_mask], words)])
        return found[-1]

    return tried([model], [(batch.input_ids, batch.attention_mask)], read), found


def test_each_precision_is_tried_and_the_model_is_as_before() -> None:
    torch.manual_seed(0)
    model, batch = BertForMaskedLM(shape()).eval().requires_grad_(False), masked_batch(0, (9, 5, 7))
    before, exact = {name: id(each) for name, each in model.named_modules()}, LiveTeacher(model, TOTAL).read(batch)
    trials, found = tried_on(model)
    assert [trial.precision for trial in trials] == ["float32", "bfloat16", "int8"]
    assert {name: id(each) for name, each in model.named_modules()} == before
    assert torch.equal(LiveTeacher(model, TOTAL).read(batch).hidden, exact.hidden)
    assert torch.equal(found[0][0].hidden, exact.hidden[batch.valid_mask])
    errors = [trial.error for trial in trials]
    assert errors[0] is not None and errors[0].cosine == pytest.approx(1.0, abs=1e-6)
    for precision, error in zip(("bfloat16", "int8"), errors[1:], strict=True):
        # Of a teacher that was converted for good, in float64.
        other = copy.deepcopy(model)
        convert(other, precision, [(batch.input_ids, batch.attention_mask)])
        teacher = LiveTeacher(other, TOTAL, precision=precision)
        rough = teacher.read(batch).hidden[batch.valid_mask].double()
        cosine = F.cosine_similarity(exact.hidden[batch.valid_mask].double(), rough, dim=-1).mean()
        assert error is not None and error.cosine == pytest.approx(float(cosine), abs=1e-6) and error.cosine < 1
        read = (
            LiveTeacher(each, TOTAL, precision=name)(batch)["vocabulary"]["logits"]
            for each, name in ((model, "float32"), (other, precision))
        )
        p, q = (
            ((each.rows.double() @ each.weight.double().T + each.bias.double()) / 2).log_softmax(-1) for each in read
        )
        divergence = F.kl_div(q, p, log_target=True, reduction="none").sum(-1).mean()
        assert error.divergence == pytest.approx(float(divergence), rel=0.05) and error.positions == 4


@pytest.mark.parametrize("taken", ["float32", "bfloat16", "int8"])
def test_the_fastest_that_is_exact_enough_is_taken(taken: str) -> None:
    exact, rough = PrecisionError(9, 0.9991, 4, 0.0029, 2.0), PrecisionError(9, 0.9979, 4, 0.0001, 2.0)
    seconds = {"float32": 0.9, "bfloat16": 0.5, "int8": 0.4} | {taken: 0.1}
    trials = [Trial(name, spent, exact) for name, spent in seconds.items()]
    assert fastest(trials) == taken
    lines = table_of(trials).splitlines()
    assert [line.split()[0] for line in lines[1:]] == [*seconds] and lines[0].startswith("teacher computes in")
    assert [line.split()[0] for line in lines if line.endswith("taken")] == [taken]
    if taken != "float32":
        spoilt = [replace(each, error=rough) if each.precision == taken else each for each in trials]
        assert fastest(spoilt) != taken and "not exact enough" in table_of(spoilt)
        diverges = replace(exact, divergence=0.0031)
        assert fastest([replace(t, error=diverges) if t.precision == taken else t for t in trials]) != taken


def test_a_precision_that_the_machine_lacks_or_that_is_slow_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking() -> None:
        raise InputError("this PyTorch has no int8 product; use float32")

    torch.manual_seed(0)
    model = BertForMaskedLM(shape()).eval().requires_grad_(False)
    monkeypatch.setattr("tinydistil.distill.teacher.live.check_engine", lacking)
    clock = iter([0.0, 1.0, 1.0, 2.0, 2.0, 3.0, 10.0, 20.0])  # bfloat16 takes ten times as long: it runs once
    monkeypatch.setattr(precision_module.time, "perf_counter", lambda: next(clock))
    trials, found = tried_on(model)
    assert [trial.seconds for trial in trials] == [1.0, 10.0, 0.0] and len(found) == 4
    assert fastest(trials) == "float32"
    assert "not here" in table_of(trials) and table_of(trials).endswith("no int8 product; use float32")
