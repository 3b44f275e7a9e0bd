"""A projected start against the teacher itself, numpy's least squares, and a random start."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.distill.test_initialise import NEW, OLD, TEACHER, model
from tinydistil.batches.masked_batches import TeacherView
from tinydistil.demo.measures import works
from tinydistil.demo.run import TEACHER as DEMO_TEACHER
from tinydistil.distill.options import PooledOptions, Shapes
from tinydistil.distill.projected import (
    _fit,
    _fit_norm,
    _project_attention,
    encode_words,
    project_teacher,
    start_encoded,
)  # fmt: skip
from tinydistil.distill.teacher.live import LiveTeacher
from tinydistil.distill.terms.representation import Pooled
from tinydistil.evaluate.masked_lm import encode_sequences, masked_lm_scores, ratio
from tinydistil.model.bert import BertForMaskedLM, Layer, SelfAttention
from tinydistil.model.config import BertConfig, new_shape
from tinydistil.model.layers import PackedAttention
from tinydistil.tokenizer.tokenizer import Tokenizer

MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]])


def view(input_ids: Tensor, attention_mask: Tensor) -> TeacherView:
    return TeacherView(input_ids, input_ids, attention_mask, attention_mask.bool(), torch.zeros_like(input_ids))


def attention(width: int, heads: int) -> SelfAttention:
    return SelfAttention(BertConfig(hidden_size=width, num_attention_heads=heads, intermediate_size=8, vocab_size=9))


@pytest.mark.parametrize(("width", "heads"), [(16, 2), (8, 1)])
def test_attention_is_the_teachers_where_its_hidden_states_have_no_more_dimensions(width: int, heads: int) -> None:
    torch.manual_seed(width)
    teacher, own = attention(16, 2), attention(width, heads)
    nn.init.normal_(teacher.qkv.bias)
    basis = torch.linalg.qr(torch.randn(16, 16))[0][:width]
    rest = torch.randn(16)
    rest -= basis.T @ (basis @ rest)
    hidden = torch.randn(12, width)
    attend = PackedAttention.of(MASK)
    qkv = teacher.qkv(hidden @ basis + rest).unflatten(-1, (3, 2, 8))
    contexts = [attend(qkv[..., head : head + 1, :], dropout=0.0) for head in range(2)]
    by_head = [context @ teacher.output.weight[:, 8 * head : 8 * head + 8].T for head, context in enumerate(contexts)]
    with torch.no_grad():
        _project_attention(own, teacher, basis, rest)
        context = attend(own.qkv(hidden).unflatten(-1, (3, heads, -1)), dropout=0.0)
        wanted = [sum(by_head) @ basis.T] if heads == 2 else [each @ basis.T for each in by_head]
        found = [_fit(own.output, context, each) for each in wanted]
    assert min(float((a - b).abs().max() / b.abs().max()) for a, b in zip(found, wanted, strict=True)) < 2e-3


def test_fits_against_numpy() -> None:
    torch.manual_seed(0)
    inputs, targets = torch.randn(200, 6) + 3, torch.randn(200, 4)
    linear, norm = nn.Linear(6, 4), nn.LayerNorm(4)
    with torch.no_grad():
        _fit(linear, inputs, targets)
        plain = nn.functional.layer_norm(inputs[:, :4], (4,))
        _fit_norm(norm, inputs[:, :4], targets)
    reference = np.linalg.lstsq(np.insert(inputs.double().numpy(), 6, 1, 1), targets.double().numpy(), rcond=None)[0]
    np.testing.assert_allclose(linear.weight.detach().numpy(), reference[:6].T, atol=1e-4)
    np.testing.assert_allclose(linear.bias.detach().numpy(), reference[6], atol=5e-4)
    for i in range(4):
        slope, shift = np.polyfit(plain[:, i].double().numpy(), targets[:, i].double().numpy(), 1)
        assert norm.weight[i].item() == pytest.approx(slope, abs=1e-5)
        assert norm.bias[i].item() == pytest.approx(shift, abs=1e-5)


def test_words_of_another_vocabulary_are_means_of_the_teachers() -> None:
    student, twin = model(8, OLD.vocab_size), model(8, NEW.vocab_size + 3)
    torch.manual_seed(1)
    sample = view(torch.randint(5, NEW.vocab_size, (40, 12)), torch.ones(40, 12, dtype=torch.int64))
    project_teacher(student, TEACHER, sample, (NEW, OLD))
    project_teacher(twin, TEACHER, sample)
    pieces = NEW.encode("caso", add_special=False).ids
    token = OLD.backend.token_to_id("caso")
    own, teachers = student.bert.embeddings.word.weight, twin.bert.embeddings.word.weight
    torch.testing.assert_close(own[token], teachers[pieces].mean(0))
    torch.testing.assert_close(student.masked_lm.bias[token], twin.masked_lm.bias[pieces].mean())
    for each, tokenizer in ((own, OLD), (teachers, NEW)):
        assert float(each[tokenizer.pad_id].detach().abs().max()) == 0.0
    layer = "bert.layers.1.down.weight"
    assert torch.equal(student.state_dict()[layer], twin.state_dict()[layer])


@pytest.mark.parametrize(("layers", "hidden", "intermediate", "heads"), [(4, 12, 16, 2), (1, 12, 48, 4), (3, 4, 8, 1)])
def test_any_shape_that_is_no_larger(layers: int, hidden: int, intermediate: int, heads: int) -> None:
    """More neurons or heads than the teacher has keep what they were drawn as; fewer positions are enough."""
    student = BertForMaskedLM(
        BertConfig(vocab_size=NEW.vocab_size + 3, hidden_size=hidden, num_hidden_layers=layers,
                   num_attention_heads=heads, intermediate_size=intermediate, max_position_embeddings=8)
    )  # fmt: skip
    torch.manual_seed(1)
    sample = view(torch.randint(5, NEW.vocab_size, (40, 12)), torch.ones(40, 12, dtype=torch.int64))
    layer = student.bert.layers[0]
    assert isinstance(layer, Layer)
    drawn = copy.deepcopy(layer.up)
    project_teacher(student, TEACHER, sample)
    assert all(tensor.isfinite().all() for tensor in student.state_dict().values())
    normed = layer.attention_norm(torch.randn(50, hidden))
    torch.testing.assert_close(layer.up(normed)[:, 16:], drawn(normed)[:, 16:], atol=2e-2, rtol=0)


def test_it_starts_near_its_teacher() -> None:
    teacher = BertForMaskedLM.from_pretrained(DEMO_TEACHER, heads="require", attention="packed").float()
    tokenizer = Tokenizer.from_pretrained(DEMO_TEACHER)
    passages = [passage for run in works()[0].runs(held_out=False) for passage in run]
    held_out = encode_sequences(
        [p for run in works()[0].runs(held_out=True) for p in run][:24], tokenizer, max_length=64
    )
    ids = [encoding.ids[:64] for encoding in tokenizer.encode_all(passages[:200])]
    padded = torch.full((len(ids), 64), tokenizer.pad_id)
    for line, each in zip(padded, ids, strict=True):
        line[: len(each)] = torch.tensor(each)
    torch.manual_seed(0)
    random = BertForMaskedLM(new_shape(2, 128, tokenizer.vocab_size), attention="packed")
    student = BertForMaskedLM(random.config, attention="packed")
    project_teacher(student, teacher, view(padded, (padded != tokenizer.pad_id).long()))
    losses = [ratio(masked_lm_scores(each.eval(), tokenizer, held_out), 0, 3) for each in (teacher, student, random)]
    assert losses[0] < losses[1] < losses[0] + 0.4 * (losses[2] - losses[0])


def test_words_are_encoded_as_the_teacher_reads_each_alone() -> None:
    """By hand: [CLS] prefix pieces [SEP], mean over all of them; nothing of special tokens."""
    term = Pooled(PooledOptions(projection="random"), Shapes(model(4, 9).config, TEACHER.config))
    live = LiveTeacher(TEACHER, {"pooled": term.states()}, sees="original")
    prefix = NEW.encode("caso", add_special=False).ids
    found = encode_words(live, NEW, prefix, OLD)
    for word in ("caso", "##a"):
        token = OLD.backend.token_to_id(word)
        ids = [NEW.cls_id, *prefix, *NEW.encode(word.removeprefix("##"), add_special=False).ids, NEW.sep_id]
        expected = TEACHER.bert(torch.tensor([ids])).last_hidden[0].mean(0)
        torch.testing.assert_close(found[token], expected, rtol=1e-4, atol=1e-5)
    assert float(found[OLD.pad_id].abs().max()) == 0.0 and float(found[OLD.cls_id].abs().max()) == 0.0


def test_word_vectors_begin_on_the_directions_of_sequences() -> None:
    torch.manual_seed(4)
    encoded, basis, words = torch.randn(6, 12), torch.linalg.qr(torch.randn(12, 4))[0].T, torch.randn(7, 4)
    encoded[2] = 0
    before = words.clone()
    start_encoded(words, encoded, basis)
    known = [0, 1, 3, 4, 5]
    seen = (encoded[known] - encoded[known].mean(0)).double().numpy() @ basis.double().numpy().T
    expected = seen / np.linalg.norm(seen, axis=1, keepdims=True) * 0.1 * 2  # 0.1 in each of 4 numbers
    np.testing.assert_allclose(words[known].double().numpy(), expected, atol=1e-6)
    assert torch.equal(words[[2, 6]], before[[2, 6]])
