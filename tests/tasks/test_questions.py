"""Questions as files have them, long contexts in windows, and a stream of them: blank lines, contexts, accents."""

import gzip
import json
import re
import tempfile
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tasks.conftest import Left, opinions, questions, tagged
from tinydistil.base.errors import InputError
from tinydistil.evaluate.metrics import exact_match
from tinydistil.tasks.answer_task import AnswerTask, _best, _candidates, read_squad
from tinydistil.tasks.examples import Question
from tinydistil.tasks.folder import new_model, question_examples, save, sentence_examples, without_blank, word_spans
from tinydistil.tasks.tag_task import TagTask
from tinydistil.tokenizer.tokenizer import Tokenizer

CONTEXT = "O céu é azul."
BLUE = Question("a", "Cor?", CONTEXT, (("azul", 8),))


def flat(answers: object, **changes: object) -> dict[str, object]:
    return {"id": "a", "question": "Cor?", "context": CONTEXT, "answers": answers, **changes}


@pytest.mark.parametrize(
    "answers",
    [
        [{"text": "azul", "answer_start": 8}],
        {"text": ["azul"], "answer_start": [8]},
        {"text": "azul", "answer_start": 8},
        [{"text": "azul", "answer_start": 8.0}],
        [{"text": "azul", "answer_start": "8"}],
        [{"text": "azul", "answer_start": " 8.0 "}],
        {"text": ["verde", "azul"], "answer_start": ["8", 8.0]},
        [{"text": ["azul", "azul"], "answer_start": [8, 8]}],
        [None, {"text": "azul"}, {"text": "azul", "answer_start": 8}],
    ],
)
def test_answers_in_many_spellings(tmp_path: Path, answers: object) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps([flat(answers)]))
    assert read_squad(path).examples == (BLUE,)


@pytest.mark.parametrize(
    "answers",
    [
        None,
        [],
        {},
        {"text": [], "answer_start": []},
        3,
        "azul",
        [["azul", 8]],
        *(
            [{"text": "azul", "answer_start": start}]
            for start in (None, True, 8.5, -8, "oito", "1_0", "８", [], 10**30, 1e400, "9" * 5000)
        ),
        [{"text": 8, "answer_start": 8}],
        [{"text": "", "answer_start": 8}],
    ],
)
def test_answers_that_are_none(tmp_path: Path, answers: object) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(json.dumps(each) for each in (flat(answers), flat({"text": "azul", "answer_start": 8}))))
    data = read_squad(path)
    assert data.examples == (BLUE,) and [bad.line for bad in data.bad] == [1]


def squad_of(*entries: dict[str, object]) -> dict[str, object]:
    return {"data": [{"paragraphs": [{"context": CONTEXT, "qas": list(entries)}]}]}


ANSWER = {"id": "a", "question": "Cor?", "answers": [{"text": "azul", "answer_start": 8}]}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.json", json.dumps(squad_of(ANSWER))),
        ("x.json", "\ufeff" + json.dumps(squad_of(ANSWER), indent=2)),
        ("x.json", json.dumps({"data": [flat(ANSWER["answers"])]})),
        ("x.json", json.dumps(squad_of(ANSWER)["data"])),
        ("x.jsonl", json.dumps(flat(ANSWER["answers"]))),
        ("x.json", json.dumps(flat(ANSWER["answers"])) + "\n\n"),
        ("x.jsonl", json.dumps(squad_of(ANSWER)["data"][0])),
        ("x.json.gz", json.dumps(squad_of(ANSWER))),
    ],
)
def test_layouts(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_bytes(gzip.compress(content.encode()) if name.endswith("gz") else content.encode())
    assert read_squad(tmp_path / name).examples == (BLUE,)


def test_parquet(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = [flat({"text": ["azul"], "answer_start": [8]}), flat({"text": [], "answer_start": []})]
    parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "x.parquet")
    data = read_squad(tmp_path / "x.parquet")
    assert data.examples == (BLUE,) and [bad.line for bad in data.bad] == [2]


ENTRIES = st.one_of(
    st.just(json.dumps(flat({"text": "azul", "answer_start": 8}))),
    st.just(json.dumps(flat([{"text": "azul", "answer_start": 3}]))),
    st.just("{broken"),
    st.just("[" * 5000),
    st.just('{"question": "\\ud800"}'),
    st.one_of(st.none(), st.integers(), st.text(max_size=3), st.dictionaries(
        st.sampled_from(["question", "context", "answers", "id"]), st.sampled_from([None, 3, "a", {}, [3]]), max_size=4,
    )).map(json.dumps),
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(ENTRIES, min_size=1, max_size=8))
def test_lines_in_are_kept_or_set_aside(lines: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.jsonl"
        path.write_text("\n".join(lines) + "\n")
        try:
            data = read_squad(path)
        except InputError as error:
            sound = json.dumps(flat({"text": "azul", "answer_start": 8}))
            assert sound not in lines and "Traceback" not in str(error)
            return
    assert len(data.examples) + len(data.bad) == len(lines)


def test_windows_are_those_of_the_tokenizers_package(vocabulary: Tokenizer) -> None:
    """Its truncation with overflow, and its post-processing, as reference."""
    (row,) = questions(1)
    for max_length, stride in ((24, 5), (48, 12), (400, 100)):
        task = AnswerTask(vocabulary, max_length, stride)
        backend = vocabulary.backend
        question, context = vocabulary.encode_all([row.question, row.context], add_special=False)
        question.truncate(task._half)
        context.truncate(max_length - 3 - len(question.ids), stride=stride)
        theirs = [backend.post_process(question, part) for part in (context, *context.overflowing)]
        ours = task.encode([row], labelled=False)
        assert [window.ids.tolist() for window in ours] == [window.ids for window in theirs]
        assert [window.type_ids.tolist() for window in ours] == [window.type_ids for window in theirs]
        for window, other in zip(ours, theirs, strict=True):
            inside = np.array(other.sequence_ids) == 1
            np.testing.assert_array_equal(window.spans[inside], np.array(other.offsets)[inside])
            assert (window.spans[~inside] == -1).all()


def test_the_best_answer_is_that_of_trying_all(vocabulary: Tokenizer) -> None:
    """Against loops over every pair of ends, a passage that two windows offer counted once."""
    (row,) = questions(1)
    task, random = AnswerTask(vocabulary, 24, 5), np.random.default_rng(0)
    windows = task.encode([row], labelled=False)
    logits = [random.normal(size=(len(window.ids), 2)) for window in windows]
    best: dict[tuple[int, int], float] = {}
    for window, each in zip(windows, logits, strict=True):
        inside = [position for position, (start, _) in enumerate(window.spans) if start >= 0]
        firsts, lasts = (sorted(inside, key=lambda position: -each[position, side])[:20] for side in (0, 1))
        for first in firsts:
            for last in (last for last in lasts if first <= last < first + 30):
                passage = (int(window.spans[first, 0]), int(window.spans[last, 1]))
                best[passage] = max(best.get(passage, -np.inf), each[first, 0] + each[last, 1])
    (start, end), score = max(best.items(), key=lambda item: item[1])
    found = _best(row.context, [_candidates(*pair) for pair in zip(windows, logits, strict=True)])
    assert found.text == row.context[start:end]
    assert found.probability == pytest.approx(np.exp(score) / sum(np.exp(each) for each in best.values()))
    empty = np.empty(0), np.empty((0, 2), np.int64)
    assert _best(row.context, [empty]).probability == 0.0


def test_contexts_of_ten_megabytes_are_refused_at_once(tmp_path: Path) -> None:
    long = CONTEXT * (10_000_000 // len(CONTEXT))
    path = tmp_path / "x.json"
    path.write_text(json.dumps([flat([{"text": "azul", "answer_start": 8}], context=long), flat(ANSWER["answers"])]))
    start = time.monotonic()
    (bad,) = read_squad(path).bad
    assert "characters; cut it to at most 1,000,000" in bad.reason and time.monotonic() - start < 10
    with pytest.raises(InputError, match=r"context of text 1 has 9,999,\d+ characters"):
        list(question_examples(["Cor?"], long))


def test_many_questions_on_one_long_context(vocabulary: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tokenized once; windows are held for some questions at a time."""
    context = " ".join(row.text for row in opinions(20))
    rows = [Question(str(i), f"Onde {i}?", context, ((context[:4], 0),)) for i in range(30)]
    task = AnswerTask(vocabulary, 48, 12)
    encoded: list[int] = []
    encode_all = Tokenizer.encode_all

    def counting(self: Tokenizer, texts: list[str], *others: object, **options: object) -> object:
        encoded.extend(map(len, texts))
        return encode_all(self, texts, *others, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Tokenizer, "encode_all", counting)
    assert len([example for row in rows for example in task.encode([row])]) >= len(rows)
    assert sum(length == len(context) for length in encoded) == 1
    held: list[int] = []
    monkeypatch.setattr("tinydistil.tasks.task.logits_of",
                        lambda model, examples, **_: held.append(len(examples)) or [np.zeros((len(e.ids), 2)) for e in examples])  # fmt: skip  # noqa: E501
    monkeypatch.setattr("tinydistil.tasks.examples.LONGEST_TEXT", 3 * len(context))
    assert len(task.predict(None, rows)) == len(rows) and len(held) == len(rows) // 3  # type: ignore[arg-type]


@pytest.mark.parametrize("max_length", [-1, 0, 1, 2])
def test_taggers_without_room(vocabulary: Tokenizer, max_length: int) -> None:
    with pytest.raises(InputError, match="max_length must be >= 3"):
        TagTask(("B-X", "O"), vocabulary, max_length)
    with pytest.raises(InputError, match="max_length must leave room"):
        AnswerTask(vocabulary, max_length, 1)


def test_the_smallest_tagger(vocabulary: Tokenizer) -> None:
    task = TagTask(("B-NOME", "I-NOME", "O"), vocabulary, 3)
    assert all(len(example.ids) == 3 for example in task.encode(tagged(3)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("João não é açoriano.", ["João", "não", "é", "açoriano", "."]),
        ("Procuradoria-Geral n.º 5.815/2017", ["Procuradoria-Geral", "n.º", "5.815/2017"]),
        ("d'água, R$ 1.000,50 (às 17:26)", ["d'água", ",", "R", "$", "1.000,50", "(", "às", "17:26", ")"]),
        ("guar\u00addo 👩‍💻 ❤️", ["guar\u00addo", "👩‍", "💻", "❤️"]),
        ("e\u0301\u0323x \u0301", ["e\u0301\u0323x", "\u0301"]),
        ("हिन्दी עִבְרִית", ["हिन्दी", "עִבְרִית"]),
        ("-a- 'b' ..", ["-", "a", "-", "'", "b", "'", ".", "."]),
        ("", []),
    ],
)
def test_words_keep_their_marks(text: str, words: list[str]) -> None:
    for form in ("NFC", "NFD"):
        shaped = unicodedata.normalize(form, text)
        found = [shaped[start:end] for start, end in word_spans(shaped)]
        assert [unicodedata.normalize("NFC", word) for word in found] == [
            unicodedata.normalize("NFC", w) for w in words
        ]
    assert next(sentence_examples([text])).words == tuple(words)


def test_decomposed_text_is_tagged_and_answered_as_composed(vocabulary: Tokenizer, folder: Path) -> None:
    task = TagTask.of(tagged(9), vocabulary, 64)
    model = new_model(folder, task, pooling="pooler", seed=0)
    texts = [row.text for row in opinions(8)]
    found = [
        task.predict(model, [*sentence_examples(unicodedata.normalize(form, text) for text in texts)])
        for form in ("NFC", "NFD")
    ]
    assert found[0] == found[1]
    assert exact_match(unicodedata.normalize("NFD", "São João"), ["São João"]) == 1.0


def test_blank_lines_are_skipped_with_a_notice(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(without_blank(["a", "", " \t", "b", *[""] * 9])) == ["a", "b"]
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "line 2 is blank; skipped" and told[-1] == "11 blank lines skipped" and len(told) == 6


Script = Callable[..., Left]


def tuned(task: TagTask | AnswerTask, folder: Path, path: Path) -> Path:
    save(new_model(folder, task, pooling="pooler", seed=0), task, path)
    return path


def test_predict_groups_entities(script: Script, folder: Path, vocabulary: Tokenizer, tmp_path: Path,
                                 monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    model = tuned(TagTask(("B-NOME", "I-NOME", "O"), vocabulary, 64), folder, tmp_path / "m")
    monkeypatch.setattr(TagTask, "predict", lambda self, model, rows, **_: [
        ["B-NOME", "I-NOME", *["O"] * (len(row.words) - 2)] for row in rows])  # fmt: skip
    (tmp_path / "t.txt").write_text("Ana  Lima saiu.\n\nRui Sá ficou\n")
    left = script("predict", "tag", "--model", model, "--file", tmp_path / "t.txt")
    assert left.code == 0 and "line 2 is blank; skipped" in left.err
    assert left.out.splitlines() == [
        "Ana/B-NOME Lima/I-NOME saiu/O ./O\tNOME: Ana  Lima",
        "Rui/B-NOME Sá/I-NOME ficou/O\tNOME: Rui Sá",
    ]
    left = script("predict", "tag", "--model", model, "--json", "Ana  Lima saiu.")
    assert json.loads(left.out)["entities"] == [
        {"type": "NOME", "text": "Ana  Lima", "first": 0, "last": 1, "start": 0, "end": 9}
    ]


def test_predict_answers_from_a_file(script: Script, folder: Path, vocabulary: Tokenizer, tmp_path: Path) -> None:
    model = tuned(AnswerTask(vocabulary, 48, 12), folder, tmp_path / "m")
    (tmp_path / "c.txt").write_text("\ufeff" + questions(1)[0].context + "\nfim\n")
    (tmp_path / "q.txt").write_text("Quem?\n\nOnde?\n")
    left = script("predict", "answer", "--model", model, "--context", tmp_path / "c.txt", "--file", tmp_path / "q.txt")
    assert left.code == 0 and len(left.out.splitlines()) == 2 and "line 2 is blank; skipped" in left.err, left.err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("ação".encode("latin-1"), "line 1 of .* is not UTF-8 .*iconv"),
        ("linha\nação".encode("cp1252"), "line 2 of .* is not UTF-8"),
        (b" \n\n", "holds no text"),
        (None, "does not exist"),
        ("folder", "is a folder"),
    ],
)
def test_contexts_that_cannot_be_read(script: Script, folder: Path, vocabulary: Tokenizer, tmp_path: Path,
                                      content: bytes | str | None, message: str) -> None:  # fmt: skip
    path = tmp_path / "c.txt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        path.mkdir()
    model = tuned(AnswerTask(vocabulary, 48, 12), folder, tmp_path / "m")
    left = script("predict", "answer", "--model", model, "--context", path, "Quem?")
    assert left.code == 2 and "Traceback" not in left.err
    assert re.search(message, left.err), left.err
