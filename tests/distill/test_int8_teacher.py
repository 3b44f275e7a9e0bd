"""A teacher in int8: the error it tells is that of its answers, and its precision is its own, not that of training."""

import copy
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from tinydistil.base.errors import InputError
from tinydistil.batches.masked_batches import MaskedBatch, TeacherView
from tinydistil.distill.options import Shapes, VocabularyOptions
from tinydistil.distill.teacher.live import LiveTeacher, check_teacher_precision, fastest_precision
from tinydistil.distill.teacher.quantise import quantise_teacher
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
        p, q = ((each["vocabulary"]["logits"].logits() / 3.0).log_softmax(-1) for each in (before, after))
        divergences += F.kl_div(q, p, log_target=True, reduction="none").sum(-1).tolist()
        for row, length in enumerate(batch.attention_mask.sum(1).tolist()):
            one, other = exact.read(batch).hidden[row, :length], teacher.read(batch).hidden[row, :length]
            cosines += ((one * other).sum(-1) / one.norm(dim=-1) / other.norm(dim=-1)).tolist()
    assert (told.tokens, told.positions) == (9 + 5 + 7 + 3 + 8 + 4, 8)
    assert told.cosine == pytest.approx(sum(cosines) / len(cosines), abs=1e-6) and 0.99 < told.cosine < 1
    assert told.divergence == pytest.approx(sum(divergences) / len(divergences), rel=1e-3) and told.divergence > 0
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


def test_what_a_device_has_no_use_for_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": True}, raising=False)
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    for precision, device in (("", cpu), ("float32", cpu), ("int8", cpu), ("", cuda), ("bfloat16", cuda)):
        check_teacher_precision(precision, device)
    with pytest.raises(InputError, match=r"teacher_precision 'int4' is unknown; did you mean 'int8'"):
        check_teacher_precision("int4", cpu)
    with pytest.raises(InputError, match=r"'bfloat16' is for CUDA and for CPUs .* this one would take .* choose int8"):
        check_teacher_precision("bfloat16", cpu)
    assert (fastest_precision(cpu), fastest_precision(cuda)) == ("float32", "bfloat16")
    for instructions in ("avx512_bf16", "amx_bf16"):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda name=instructions: {name: True}, raising=False)
        check_teacher_precision("bfloat16", cpu)
        assert fastest_precision(cpu) == "bfloat16"
    for instructions, fastest in (("avx512_vnni", "int8"), ("avx_vnni", "int8"), ("amx_bf16", "bfloat16")):
        has = {"avx512_bf16": True, "avx512_vnni": True, instructions: True}
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda has=has: has, raising=False)
        check_teacher_precision("bfloat16", cpu)
        assert (fastest_precision(cpu), fastest_precision(cuda)) == (fastest, "bfloat16")
    with pytest.raises(InputError, match=r"'int8' is for the CPU; choose bfloat16 on CUDA"):
        check_teacher_precision("int8", cuda)
