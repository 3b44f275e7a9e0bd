"""Forms of tasks: from rows to examples and back, long texts in parts; folders that `transformers` opens alike."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from transformers import BertForQuestionAnswering as TheirQuestionAnswering

from tests.tasks.conftest import entailments, opinions, questions, similarities, tagged
from tinydistil.base.errors import InputError
from tinydistil.base.files import read_json, write_json
from tinydistil.model.heads import BertForSequenceClassification
from tinydistil.tasks.answer_task import AnswerTask
from tinydistil.tasks.examples import LabelledText, Question, TaggedSentence
from tinydistil.tasks.folder import load, new_model, question_examples, save, sentence_examples, stream, text_examples
from tinydistil.tasks.label_task import NUMBER, TextTask
from tinydistil.tasks.tag_task import TagTask
from tinydistil.tasks.task import AnyTask, collate, logits_of
from tinydistil.tokenizer.tokenizer import Tokenizer


def tasks_of(vocabulary: Tokenizer) -> dict[str, AnyTask]:
    return {
        "classify": TextTask.of("classify", entailments(9), vocabulary, 64),
        "regress": TextTask.of("regress", similarities(9), vocabulary, 64),
        "tag": TagTask.of(tagged(9), vocabulary, 64),
        "answer": AnswerTask(vocabulary, 48, 12),
    }


THEIRS = {
    "classify": transformers.BertForSequenceClassification,
    "regress": transformers.BertForSequenceClassification,
    "tag": transformers.BertForTokenClassification,
    "answer": TheirQuestionAnswering,
}


@pytest.mark.parametrize("kind", THEIRS)
def test_folders_open_in_transformers(kind: str, folder: Path, vocabulary: Tokenizer, tmp_path: Path) -> None:
    """The same logits and label names, and the same again when we load the folder."""
    task = tasks_of(vocabulary)[kind]
    model = new_model(folder, task, pooling="pooler", seed=0).eval()
    save(model, task, tmp_path)
    rows = {"classify": entailments(9), "regress": similarities(9), "tag": tagged(9), "answer": questions(9)}[kind]
    batch = collate(task.encode(rows), vocabulary.pad_id)  # type: ignore[arg-type]
    inputs = (batch.input_ids, batch.attention_mask, batch.token_type_ids)
    theirs, notes = THEIRS[kind].from_pretrained(tmp_path, output_loading_info=True)
    assert not notes["missing_keys"] and not notes["unexpected_keys"]
    with torch.inference_mode():
        ours, output = model(*inputs), theirs.eval()(*inputs)
        again = load(tmp_path, (kind,)).model(*inputs)
    real = batch.attention_mask.bool()
    if kind == "answer":
        torch.testing.assert_close(ours.first[real], output.start_logits[real], rtol=1e-5, atol=2e-5)
        torch.testing.assert_close(ours.last[real], output.end_logits[real], rtol=1e-5, atol=2e-5)
        assert torch.equal(again.first, ours.first)
        return
    kept = real if kind == "tag" else slice(None)
    torch.testing.assert_close(ours[kept], output.logits[kept], rtol=1e-5, atol=2e-5)
    assert torch.equal(again, ours)
    assert tuple(theirs.config.id2label[i] for i in range(len(task.labels))) == task.labels
    assert load(tmp_path, (kind,)).task.labels == task.labels


def test_prediction_does_not_depend_on_batches_or_order(folder: Path, vocabulary: Tokenizer) -> None:
    task = TextTask.of("classify", opinions(20), vocabulary, 64)
    model = new_model(folder, task, pooling="max", seed=0)
    examples = task.encode(opinions(20))
    at_once = logits_of(model, examples, pad_id=vocabulary.pad_id, batch_size=20)
    one_by_one = logits_of(model, examples, pad_id=vocabulary.pad_id, batch_size=1)
    np.testing.assert_allclose(at_once, one_by_one, atol=1e-6)
    assert not model.training  # it came in eval mode
    assert logits_of(model.train(), examples[:1], pad_id=0)[0].shape == (3,) and model.training


def test_text_figures(vocabulary: Tokenizer) -> None:
    rows = [LabelledText("a", None, label) for label in ("x", "y", "x", "x")]
    task = TextTask.of("classify", rows, vocabulary, 16)
    evidence = task.evidence(rows, [np.array(p) for p in ([0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.7, 0.3])])
    assert evidence.tolist() == [[0, 0], [1, 1], [0, 1], [0, 0]]
    # x: precision 1, recall 2/3; y: precision 1/2, recall 1
    assert task.figures(evidence)["f1_macro"] == pytest.approx((0.8 + 2 / 3) / 2)
    numbers = TextTask.of("regress", [LabelledText("a", None, "1.5")] * 3, vocabulary, 16)
    assert numbers.labels == (NUMBER,)
    assert numbers.figures(np.array([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]]))["pearson"] == pytest.approx(1.0)


def test_long_sentences_are_tagged_in_parts(folder: Path, vocabulary: Tokenizer) -> None:
    """Each word once, whatever the length; parts end between words."""
    rows = [TaggedSentence(row.words * 4, row.tags * 4) for row in tagged(6)]
    long_word = TaggedSentence(("a" * 90, "fim"), ("O", "B-NOME"))
    task = TagTask.of(tagged(9), vocabulary, 24)
    examples = task.encode([*rows, long_word])
    assert max(len(example.ids) for example in examples) <= 24 and len(examples) > 2 * len(rows)
    asked = sum(int((example.target >= 0).sum()) for example in examples)
    assert asked == sum(len(row.words) for row in [*rows, long_word])
    targets = [t for e in task.encode(rows[:1]) for t in e.target.tolist() if t >= 0]
    assert tuple(task.labels[t] for t in targets) == rows[0].tags
    model = new_model(folder, task, pooling="pooler", seed=0)
    found = task.predict(model, [*rows, TaggedSentence(("\u200b", "sim"), ())])
    assert [len(tags) for tags in found] == [*(len(row.words) for row in rows), 2]
    assert found[-1][0] == "O"  # a word that the tokenizer drops


def test_tag_evidence(vocabulary: Tokenizer) -> None:
    rows = [TaggedSentence(("a", "b", "c"), ("B-X", "I-X", "O")), TaggedSentence(("d",), ("B-Y",))]
    task = TagTask.of(rows, vocabulary, 16)
    evidence = task.evidence(rows, [["B-X", "I-X", "B-Y"], ["O"]])
    assert evidence.tolist() == [[1, 2, 1, 2, 3], [0, 0, 1, 0, 1]]
    assert task.figures(evidence) == pytest.approx(
        {"entity_f1": 0.5, "entity_precision": 0.5, "entity_recall": 0.5, "word_accuracy": 0.5}
    )


def test_windows_overlap_and_hold_every_answer(vocabulary: Tokenizer) -> None:
    """Answers all over a context of many windows: each is whole in one, at the tokens that spell it."""
    context = " ".join(row.text for row in opinions(12))
    words = context.split()
    rows = []
    for number, word in enumerate(words):
        start = len(" ".join(words[:number])) + (number > 0)
        rows.append(Question(str(number), "Onde?", context, ((word, start),)))
    task = AnswerTask(vocabulary, 48, 12)
    for row in rows:
        found = task.encode([row])
        assert 1 <= len(found) <= 2, row.answers
        for example in found:
            first, last = example.target
            spelt = vocabulary.backend.decode(example.ids[first : last + 1].tolist()).replace(" ", "")
            assert spelt == row.answers[0][0]
            assert len(example.ids) <= 48


def test_windows_of_any_size_cover_the_context(vocabulary: Tokenizer) -> None:
    row = replace(questions(1)[0], question="Onde está o gato que dormia? " * 3)
    for max_length in (9, 10, 13, 30):
        for stride in range(1, (max_length - 3) // 2):
            covered: set[int] = set()
            for window in AnswerTask(vocabulary, max_length, stride).encode([row], labelled=False):
                assert len(window.ids) <= max_length
                covered.update(position for first, end in window.spans.tolist() for position in range(first, end))
            missing = {position for position, letter in enumerate(row.context) if not letter.isspace()} - covered
            assert not missing, (max_length, stride)


def test_long_questions_are_cut(vocabulary: Tokenizer, folder: Path) -> None:
    row = replace(questions(1)[0], question="Onde " * 200)
    task = AnswerTask(vocabulary, 48, 12)
    assert all(len(example.ids) <= 48 for example in task.encode([row]))
    assert len(task.predict(new_model(folder, task, pooling="pooler", seed=0), [row])) == 1


def test_the_best_passage_wins(vocabulary: Tokenizer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logits that point at one word in the middle of many windows give that word; an end before its start does not."""
    context = " ".join(row.text for row in opinions(12))
    word = context.split()[40]
    start = context.index(f" {word} ") + 1
    row = Question("0", "Onde?", context, ((word, start),))
    task = AnswerTask(vocabulary, 48, 12)

    def pointing(model: object, examples: list, **_: object) -> list[np.ndarray]:
        logits = []
        for window in task.encode([row], labelled=False):
            inside = (
                (window.spans[:, 0] >= start) & (window.spans[:, 1] <= start + len(word)) & (window.spans[:, 0] >= 0)
            )
            each = np.zeros((len(window.ids), 2), np.float32)
            each[np.flatnonzero(inside)[:1], 0] = 9.0
            each[np.flatnonzero(inside)[-1:], 1] = 9.0
            each[0] = 50.0  # [CLS] is no part of the context
            logits.append(each)
        return logits

    monkeypatch.setattr("tinydistil.tasks.task.logits_of", pointing)
    (answer,) = task.predict(None, [row])  # type: ignore[arg-type]
    assert answer.text == word and answer.probability > 0.5
    assert task.figures(task.evidence([row], [answer])) == {"word_f1": 1.0, "exact_match": 1.0}


def test_streams_keep_their_order(folder: Path, vocabulary: Tokenizer) -> None:
    task = TextTask.of("classify", opinions(9), vocabulary, 64)
    model = new_model(folder, task, pooling="mean", seed=0).eval()
    texts = [row.text for row in opinions(50)]
    streamed = list(stream(task, model, text_examples(texts, paired=False), batch_size=2))
    assert [row.text for row, _ in streamed] == texts
    expected = task.predict(model, [LabelledText(text, None, "") for text in texts])
    np.testing.assert_allclose([found for _, found in streamed], expected, atol=1e-6)
    assert next(sentence_examples(["Olá, Zé!"])).words == ("Olá", ",", "Zé", "!")
    for lines, paired in ((["a\tb"], False), (["a"], True), ([" "], False)):
        with pytest.raises(InputError, match="text 1 must be"):
            list(text_examples(lines, paired=paired))
    with pytest.raises(InputError, match="text 2 must be a question"):
        list(question_examples(["a\tb", "c"], None))


def test_refused_folders(folder: Path, vocabulary: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no fine-tuned model"):
        load(folder, ("tag",))
    task = TagTask.of(tagged(9), vocabulary, 64)
    model = new_model(folder, task, pooling="pooler", seed=0)
    save(model, task, tmp_path)
    with pytest.raises(InputError, match="fine-tuned to 'tag', not to classify or regress"):
        load(tmp_path, ("classify", "regress"))
    known = read_json(tmp_path / "task.json")
    write_json(tmp_path / "task.json", {**known, "labels": ["O"]})
    with pytest.raises(InputError, match="do not belong together"):
        load(tmp_path, ("tag",))
    write_json(tmp_path / "task.json", {**known, "max_length": 4000})
    with pytest.raises(InputError, match=r"max_length must be in 3\.\.96"):
        load(tmp_path, ("tag",))
    write_json(tmp_path / "task.json", {**known, "kind": "classify"})
    with pytest.raises(InputError, match=r"lacks '(bert\.)?pooler"):
        load(tmp_path, ("classify",))
    with pytest.raises(InputError, match="max_length must be <= 96"):
        new_model(folder, TagTask.of(tagged(9), vocabulary, 97), pooling="pooler", seed=0)
    with pytest.raises(InputError, match="stride"):
        AnswerTask(vocabulary, 48, 24)


def test_other_poolings_are_declared_encoders(folder: Path, vocabulary: Tokenizer, tmp_path: Path) -> None:
    task = TextTask.of("classify", opinions(9), vocabulary, 64)
    model = new_model(folder, task, pooling="mean", seed=0)
    save(model, task, tmp_path)
    loaded = load(tmp_path, ("classify",)).model
    assert isinstance(loaded, BertForSequenceClassification) and loaded.config.pooling == "mean"
    assert read_json(tmp_path / "config.json")["architectures"] == ["BertModel"]
    assert read_json(tmp_path / "1_Pooling" / "config.json")["pooling_mode_mean_tokens"] is True
