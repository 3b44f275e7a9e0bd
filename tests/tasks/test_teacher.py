"""Distillation while fine-tuning: divergences by hand, padding that changes nothing, teachers that do not fit."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file
from scipy.special import softmax
from torch.nn import functional as F

from tests.tasks.conftest import Left, opinions, questions, tagged
from tinydistil.base.errors import InputError
from tinydistil.distill.losses import IGNORED
from tinydistil.model.heads import BertForQuestionAnswering, BertForTokenClassification
from tinydistil.model.quantised import QuantisedLinear
from tinydistil.tasks.answer_task import AnswerTask
from tinydistil.tasks.examples import Example, Question, TaggedSentence
from tinydistil.tasks.folder import FineTuned, new_model, save
from tinydistil.tasks.label_task import TextTask
from tinydistil.tasks.soft_targets import SoftTargets
from tinydistil.tasks.tag_task import TagTask
from tinydistil.tasks.task import AnyTask, EncodedExample, collate, logits_of
from tinydistil.tasks.train_task import TaskObjective
from tinydistil.tokenizer.tokenizer import Tokenizer, train_wordpiece

Script = Callable[..., Left]
SHORT = (
    "--set",
    "epochs=1",
    "--set",
    "batch_size=8",
    "--set",
    "max_length=48",
    "--set",
    "stride=12",
    "--device",
    "cpu",
)


@pytest.fixture
def tagging(vocabulary: Tokenizer) -> tuple[TagTask, list[TaggedSentence]]:
    rows = [*tagged(3), replace(tagged(1)[0], words=("Oi",), tags=("O",))]  # lengths far apart
    return TagTask.of(rows, vocabulary, 64), rows


@pytest.fixture
def answering(vocabulary: Tokenizer) -> tuple[AnswerTask, list[Question]]:
    rows = questions(3)
    short = replace(rows[0], context=f"O {rows[0].answers[0][0]} dorme.", answers=((rows[0].answers[0][0], 2),))
    return AnswerTask(vocabulary, 48, 12), [*rows, short]


def taught(folder: Path, task: AnyTask, rows: Sequence[Example], seed: int) -> list[EncodedExample]:
    teacher = FineTuned(new_model(folder, task, pooling="mean", seed=seed).eval(), task)
    examples = task.encode(rows)
    logits = SoftTargets(teacher, task).of_tokens(rows, examples)
    return [replace(each, soft=7 * soft) for each, soft in zip(examples, logits, strict=True)]  # far from flat


def test_divergence_of_tags(folder: Path, tagging: tuple[TagTask, list[TaggedSentence]]) -> None:
    """T^2 times torch's kl_div, sentence by sentence without padding, at first pieces only."""
    task, rows = tagging
    examples = taught(folder, task, rows, seed=1)
    model = new_model(folder, task, pooling="mean", seed=2).eval()
    assert isinstance(model, BertForTokenClassification)
    total, count = 0.0, 0
    for each in examples:
        with torch.no_grad():
            logits = model(torch.from_numpy(each.ids)[None])[0].double()  # (T, C)
        asked = torch.from_numpy(each.target != IGNORED)
        assert each.soft is not None
        targets = (torch.from_numpy(each.soft).double() / 3).softmax(-1)[asked]
        total += 9 * float(F.kl_div((logits[asked] / 3).log_softmax(-1), targets, reduction="sum"))
        count += int(asked.sum())
    batch = collate(examples, task.tokenizer.pad_id)
    objective = TaskObjective(model, soft=0.5, temperature=3.0)
    part = objective(batch)["soft"]
    assert part.total.item() == pytest.approx(total, rel=1e-4) and total > 1e-3
    assert count == objective.counts(batch)["soft"]


def test_both_losses_of_answers(folder: Path, answering: tuple[AnswerTask, list[Question]], tmp_path: Path) -> None:
    """Cross-entropy as `transformers` has it, T^2 times torch's kl_div: each window alone, so without padding."""
    task, rows = answering
    examples = taught(folder, task, rows, seed=1)
    model = new_model(folder, task, pooling="mean", seed=2).eval()
    assert isinstance(model, BertForQuestionAnswering)
    save(model, task, tmp_path)
    theirs = transformers.BertForQuestionAnswering.from_pretrained(tmp_path).eval()
    hard = soft = 0.0
    for each in examples:
        ids, types = (torch.from_numpy(part)[None] for part in (each.ids, each.type_ids))
        first, last = (torch.tensor([int(position)]) for position in each.target)
        with torch.no_grad():
            output = theirs(input_ids=ids, token_type_ids=types, start_positions=first, end_positions=last)
        hard += output.loss.item()
        assert each.soft is not None
        for side, logits in enumerate((output.start_logits, output.end_logits)):
            targets = (torch.from_numpy(each.soft[:, side]).double() / 2).softmax(-1)
            soft += 4 * float(F.kl_div((logits[0].double() / 2).log_softmax(-1), targets, reduction="sum"))
    batch = collate(examples, task.tokenizer.pad_id)
    assert (batch.attention_mask == 0).any()
    objective = TaskObjective(model, soft=0.25, temperature=2.0)
    parts = objective(batch)
    # theirs is the mean of both ends, of which ours counts each
    assert (parts["task"].total / objective.counts(batch)["task"]).item() == pytest.approx(
        hard / len(examples), rel=1e-5
    )
    assert parts["soft"].total.item() == pytest.approx(soft, rel=1e-4) and soft > 1e-3
    assert objective.counts(batch) == {"task": 2 * len(examples), "soft": 2 * len(examples)}
    (parts["task"].total + parts["soft"].total).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("form", ["tagging", "answering"])
def test_nothing_is_left_to_learn_from_oneself(
    form: str, folder: Path, request: pytest.FixtureRequest, vocabulary: Tokenizer
) -> None:
    task, rows = request.getfixturevalue(form)
    examples = task.encode(rows)
    model = new_model(folder, task, pooling="mean", seed=1).eval()
    logits = SoftTargets(FineTuned(model, task), task).of_tokens(rows, [*examples, examples[0]])
    assert [len(each) for each in logits[:-1]] == [len(each.ids) for each in examples]
    assert (logits[-1] == logits[0]).all()
    own = [replace(each, soft=soft) for each, soft in zip(examples, logits, strict=False)]
    part = TaskObjective(model, soft=1.0)(collate(own, vocabulary.pad_id))["soft"]
    assert abs(part.total.item()) < 1e-6


def test_soft_targets_follow_the_students_classes(
    folder: Path, vocabulary: Tokenizer, tagging: tuple[TagTask, list[TaggedSentence]]
) -> None:
    rows = opinions(12)
    task = TextTask.of("classify", rows, vocabulary, 48)
    other = replace(task, labels=task.labels[::-1])
    model = new_model(folder, task, pooling="mean", seed=0)
    soft = np.array(SoftTargets(FineTuned(model, task), other).of_texts([*rows, rows[0]]))
    expected = np.array(task.predict(model, [*rows, rows[0]]))
    powers = np.exp(soft.astype(np.float64))
    np.testing.assert_allclose(powers / powers.sum(1, keepdims=True), expected[:, ::-1], rtol=1e-5)

    tags, sentences = tagging
    examples = tags.encode(sentences)
    teacher = FineTuned(new_model(folder, tags, pooling="mean", seed=0), tags)
    straight, turned = (
        SoftTargets(teacher, each).of_tokens(sentences, examples)
        for each in (tags, replace(tags, labels=tags.labels[::-1]))
    )
    assert all((a[:, ::-1] == b).all() for a, b in zip(straight, turned, strict=True))


@pytest.mark.parametrize(("task", "part"), [("tag", "lenerbr/train.conll"), ("answer", "faquad/train.json")])
def test_from_the_command_line(
    script: Script, suite_data: Path, folder: Path, tmp_path: Path, task: str, part: str
) -> None:
    call = ["--model", folder, "--task", task, "--train", suite_data / part, *SHORT]
    assert script("finetune", *call, "--output", tmp_path / "teacher").code == 0
    call += ["--teacher", tmp_path / "teacher", "--set", "soft=1.0"]
    done = script("finetune", *call, "--output", tmp_path / "student")
    assert done.code == 0, done.err
    # The same start, rows and order: only what is learnt from differs.
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("teacher", "student"))
    assert not torch.equal(first["bert.encoder.layer.1.output.dense.weight"],
                           second["bert.encoder.layer.1.output.dense.weight"])  # fmt: skip


def test_teachers_that_do_not_fit(folder: Path, vocabulary: Tokenizer) -> None:
    tags, answers = TagTask.of(tagged(9), vocabulary, 48), AnswerTask(vocabulary, 48, 12)
    tagger, answerer = (FineTuned(new_model(folder, t, pooling="mean", seed=0), t) for t in (tags, answers))
    with pytest.raises(InputError, match=r"fine-tuned to tag .* the student is asked to answer"):
        SoftTargets(tagger, answers)
    with pytest.raises(InputError, match="the student is asked to tag"):
        SoftTargets(tagger, replace(tags, labels=("B-X", "O")))
    with pytest.raises(InputError, match="max_length must be <= 96, the teacher's positions, got 128"):
        SoftTargets(answerer, replace(answers, max_length=128))


@pytest.mark.parametrize("form", ["classify", "tag", "answer"])
def test_a_teacher_in_int8_says_nearly_the_same(
    form: str, folder: Path, vocabulary: Tokenizer, request: pytest.FixtureRequest
) -> None:
    """Probabilities against those of float32; the encoder is in integers, the head as it was."""
    if form == "classify":
        rows: Sequence[Example] = opinions(24)
        task: AnyTask = TextTask.of("classify", rows, vocabulary, 48)  # type: ignore[arg-type]
    else:
        task, rows = request.getfixturevalue({"tag": "tagging", "answer": "answering"}[form])
    exact, rough = (
        SoftTargets(FineTuned(new_model(folder, task, pooling="mean", seed=1).eval(), task), task, precision, rows)
        for precision in ("float32", "int8")
    )
    of = (
        (lambda each: each.of_texts(rows))
        if form == "classify"
        else (lambda each: each.of_tokens(rows, task.encode(rows)))
    )
    for one, other in zip(of(exact), of(rough), strict=True):
        assert not np.array_equal(one, other)
        axis = 0 if form == "answer" else -1
        np.testing.assert_allclose(softmax(one, axis), softmax(other, axis), atol=0.02)
    assert any(isinstance(module, QuantisedLinear) for module in rough.model.modules())


def test_soft_targets_are_bound_to_the_precision(
    script: Script, suite_data: Path, folder: Path, tmp_path: Path
) -> None:
    call = ["--model", folder, "--task", "tag", "--train", suite_data / "lenerbr/train.conll", *SHORT]
    assert script("finetune", *call, "--output", tmp_path / "teacher").code == 0
    call += ["--teacher", tmp_path / "teacher", "--output", tmp_path / "student"]
    assert script("finetune", *call, "--teacher-precision", "int8").code == 0
    refused = script("finetune", *call, "--resume")
    assert refused.code == 2 and "teacher" in refused.err.splitlines()[-1], refused.err
    assert script("finetune", *call, "--teacher-precision", "int8", "--resume").code == 0


@pytest.fixture(scope="module")
def stranger() -> Tokenizer:
    """A vocabulary of few pieces: it cuts words otherwise than the teacher's."""
    return train_wordpiece([row.text for row in opinions(50)], 300)


def test_tags_of_a_teacher_with_another_vocabulary(
    folder: Path, tagging: tuple[TagTask, list[TaggedSentence]], stranger: Tokenizer
) -> None:
    """Word by word what the teacher says in its own pieces, also where the student reads a sentence in parts."""
    task, rows = tagging
    teacher = FineTuned(new_model(folder, task, pooling="mean", seed=1).eval(), task)
    said = {row.words: logits_of(teacher.model, task.encode([row]), pad_id=task.tokenizer.pad_id)[0] for row in rows}
    begun = {row.words: task.encode([row])[0].spans for row in rows}
    student = replace(task, tokenizer=stranger, max_length=9)
    examples = student.encode(rows)
    assert len(examples) > len(rows) + 2
    logits = SoftTargets(teacher, student).of_tokens(rows, examples)
    seen = 0
    for each, soft in zip(examples, logits, strict=True):
        assert soft.shape == (len(each.ids), len(task.labels)) and soft.dtype == np.float32
        for token in np.flatnonzero(each.spans >= 0):
            words = rows[each.source].words
            (theirs,) = np.flatnonzero(begun[words] == each.spans[token])
            np.testing.assert_allclose(soft[token], said[words][theirs], rtol=1e-4, atol=1e-5)
            seen += 1
        assert not soft[each.spans < 0].any()
    assert seen == sum(len(row.words) for row in rows)


def test_answers_of_a_teacher_with_another_vocabulary(
    folder: Path, answering: tuple[AnswerTask, list[Question]], stranger: Tokenizer
) -> None:
    """Each side's probabilities summed by the student's token that holds the character, token by token in float64."""
    task, rows = answering
    task = replace(task, max_length=96, stride=24)
    teacher = FineTuned(new_model(folder, task, pooling="mean", seed=1).eval(), task)
    student = AnswerTask(stranger, 96, 24)
    examples = student.encode(rows)
    for each, soft in zip(examples, SoftTargets(teacher, student).of_tokens(rows, examples), strict=True):
        inside = np.flatnonzero(each.spans[:, 0] >= 0)
        begin, end = each.spans[inside[0], 0], each.spans[inside[-1], 1]
        asked = replace(rows[each.source], context=rows[each.source].context[begin:end])
        (read,) = task.encode([asked], labelled=False)  # one window, so that no token has two scores
        (logits,) = logits_of(teacher.model, [read], pad_id=task.tokenizer.pad_id)
        theirs = read.spans[:, 0] >= 0
        for side in (0, 1):
            powers = np.exp(logits[theirs, side].astype(np.float64))
            expected = np.zeros(len(each.ids))
            for (first, last), power in zip(read.spans[theirs] + begin, powers, strict=True):
                place = first if side == 0 else last - 1
                (holder,) = (t for t in inside if each.spans[t, 0] <= place < each.spans[t, 1])
                expected[holder] += power
            found = np.exp(np.maximum(soft[:, side].astype(np.float64), -700))
            np.testing.assert_allclose(found / found.sum(), expected / expected.sum(), rtol=1e-4, atol=1e-12)
