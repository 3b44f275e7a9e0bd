"""Where in a context the answer to a question stands. Shapes: N questions, T tokens, P passages."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tinydistil.base.errors import InputError, require
from tinydistil.corpus.records import BadRecord, kind_of
from tinydistil.corpus.tables import parquet_rows
from tinydistil.evaluate.metrics import exact_match, word_f1
from tinydistil.tasks.examples import (
    LONGEST_TEXT,
    Question,
    TaskData,
    content_of,
    data_of,
    existing,
    is_sound,
    portions,
)
from tinydistil.tasks.task import EncodedExample, Evidence, Logits, Task

# An entry and its context, or why there is none.
_Entry: TypeAlias = tuple[object, Mapping[str, object]] | str
_WHOLE = re.compile(r"\s*(\d{1,15})(?:\.0*)?\s*", re.ASCII)  # 61, 61.0 or "61"


def read_squad(path: Path) -> TaskData[Question]:
    """The questions of `path`: SQuAD's JSON, or entries with question, context and answers in a list, as JSON lines or
    in Parquet. Answers that do not stand where the file says are left out.

    Set aside, by their line or else their number in the file: questions without text, without context or without
    an answer that is left. Raises InputError where the file is no such JSON, or no question is left.
    """
    entries = list(_entries(existing(path)))
    require(bool(entries), f"{str(path)!r} is not laid out as SQuAD 1.1 (data, paragraphs, qas): no question")
    return data_of(path, ((n, each if isinstance(each, str) else _question(*each, str(n))) for n, each in entries))


def _entries(path: Path) -> Iterator[tuple[int, _Entry]]:
    """The entries of a file, each with its number. Raises InputError where it is neither JSON nor Parquet."""
    if kind_of(path) == "parquet":
        for record in parquet_rows(path, ("id", "question", "context", "answers"), "question", "utf-8"):
            entry = record.reason if isinstance(record, BadRecord) else next(_nested(json.loads(record.data)))
            yield record.line, entry
        return
    content = content_of(path, ("",), "format")
    try:
        yield from enumerate(_nested(json.loads(content.decode())), start=1)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is one
        found = list(_lines(content))
        if all(isinstance(entry, str) for _, entry in found):
            raise InputError(f"{str(path)!r} is no UTF-8 JSON: {error}") from None
        yield from found


def _lines(content: bytes) -> Iterator[tuple[int, _Entry]]:
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            found = list(_nested(json.loads(line.decode()))) if line.strip() else []
        except (ValueError, RecursionError) as error:
            found = [f"is no UTF-8 JSON: {error}"]
        yield from ((number, entry) for entry in found)


def _nested(node: object, context: object = None, depth: int = 0) -> Iterator[_Entry]:
    """The entries in articles, paragraphs and lists, however they are nested."""
    if isinstance(node, dict):
        parts = next((node[name] for name in ("data", "paragraphs", "qas") if name in node), None)
        context = node.get("context", context)
        if parts is None and ("question" in node or "answers" in node):
            yield context, node
            return
        node = parts
    if not isinstance(node, list) or depth > 8:
        yield "is not laid out as SQuAD 1.1 (data, paragraphs, qas), nor a question with its context and answers"
        return
    for part in node:
        yield from _nested(part, context, depth + 1)


def _question(context: object, entry: Mapping[str, object], number: str) -> Question | str:
    """The question, or why there is none."""
    text = entry.get("question")
    for name, value in (("context", context), ("question", text)):
        if not isinstance(value, str) or not is_sound(value):
            return f"{name} is missing or empty"
        if len(value) > LONGEST_TEXT:
            return f"{name} has {len(value):,} characters; cut it to at most {LONGEST_TEXT:,}"
    text, context, identifier = str(text), str(context), entry.get("id")
    if not (answers := list(_answers(entry.get("answers")))):
        return f"has no answer{' (is_impossible)' if entry.get('is_impossible') else ''}"
    found = dict.fromkeys(each for each in answers if each[0].strip() and each[1] >= 0 and context.startswith(*each))
    if not found:
        return "no answer stands in the context where answer_start says"
    return Question(number if identifier is None else str(identifier), text, context, (*found,))


def _answers(answers: object) -> Iterator[tuple[str, int]]:
    """Text and first character of each answer: of {text, answer_start}, alone, in a list, or with a list in each.

    -1 for what is no position, "" for what is no text.
    """
    for answer in answers if isinstance(answers, list) else [answers]:
        if isinstance(answer, dict):
            columns = (answer.get("text"), answer.get("answer_start"))
            texts, starts = (column if isinstance(column, list) else [column] for column in columns)
            for text, start in zip(texts, starts, strict=False):
                whole = _WHOLE.fullmatch(str(start)) if isinstance(start, int | float | str) else None
                yield text if isinstance(text, str) else "", int(whole[1]) if whole else -1


# As in Devlin et al. 2019's code for SQuAD: answers of at most 30 tokens, among the 20 best ends of each side.
LONGEST_ANSWER = 30
CANDIDATES = 20
# All tokens of a context, (T, 3): id, first character, end.
_Context = NDArray[np.int64]
# Scores (P,), and first and last characters (P, 2), of passages.
_Passages = tuple[NDArray[np.float64], NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class Answer:
    """A passage of the context, and its probability among the candidates."""

    text: str
    probability: float


@dataclass(frozen=True)
class AnswerTask(Task[Question, Answer]):
    """Extractive question answering; contexts longer than `max_length` tokens are read in overlapping windows.

    Neighbouring windows share `stride` tokens, so that an answer cut by one lies whole in the next.
    """

    batch_size: ClassVar[int] = 32

    kind: str = field(default="answer", init=False)
    labels: tuple[str, ...] = field(default=(), init=False)
    stride: int
    # Those of the latest examples: many questions share a context, which may be a book.
    _contexts: dict[str, _Context] = field(default_factory=dict, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        require(self._half >= 2, f"max_length must leave room for question and context, got {self.max_length}")
        require(
            0 < self.stride < self._half,
            f"stride must be in 1..{self._half - 1}, less than half of a window of max_length {self.max_length} "
            f"without its special tokens, got {self.stride}",
        )

    @property
    def _half(self) -> int:
        """Half of a window: what a question may take at most, and a context always has."""
        return (self.max_length - self.tokenizer.backend.num_special_tokens_to_add(True)) // 2

    def encode(self, examples: Sequence[Question], *, labelled: bool = True) -> list[EncodedExample]:
        """The windows of each context; `labelled`, those that hold the whole of a question's first answer, with its
        first and last token. Windows without it are left out: SQuAD 1.1 knows no question without an answer."""
        found = []
        (token,) = self.tokenizer.encode_all(["a"], add_special=False)
        token.truncate(1)
        for some in portions(examples, len(examples)):
            self._tokenize_contexts(some)
            questions = self.tokenizer.encode_all([example.question for example in some], add_special=False)
            for source, (example, question) in enumerate(zip(some, questions, strict=True)):
                context = self._contexts[example.context]
                answer = _answer_in(context, *example.answers[0]) if labelled else None
                if labelled and answer is None:
                    continue
                question.truncate(self._half)
                # The question with its special tokens, and one token for all that will stand in its position.
                frame = self.tokenizer.backend.post_process(question, token)
                around = np.column_stack([frame.ids, np.full((len(frame.ids), 2), -1)])
                position, counts = frame.sequence_ids.index(1), np.ones(len(around), np.int64)
                room = self.max_length - len(around) + 1
                for begin in range(0, max(1, len(context) - self.stride), room - self.stride):
                    inside = context[begin : begin + room]
                    if answer is not None and not begin <= answer[0] <= answer[1] < begin + len(inside):
                        continue
                    target = np.zeros(2, np.int64) if answer is None else np.array(answer) - begin + position
                    counts[position] = len(inside)
                    tokens, types = np.repeat(around, counts, axis=0), np.repeat(frame.type_ids, counts)
                    tokens[position : position + len(inside)] = inside
                    found.append(EncodedExample(tokens[:, 0], types, target, source=source, spans=tokens[:, 1:]))
        return found

    def _tokenize_contexts(self, examples: Sequence[Question]) -> None:
        texts = dict.fromkeys(example.context for example in examples)
        new = [text for text in texts if text not in self._contexts]
        for text in self._contexts.keys() - texts.keys():
            del self._contexts[text]
        for text, found in zip(new, self.tokenizer.encode_all(new, add_special=False), strict=True):
            spans = np.array(found.offsets, np.int64).reshape(-1, 2)
            self._contexts[text] = np.column_stack([np.array(found.ids, np.int64), spans])

    def decode(self, examples: Sequence[Question], encoded: Sequence[EncodedExample], logits: Logits) -> list[Answer]:
        """The best answer to each question over all windows of its context."""
        candidates: list[list[_Passages]] = [[] for _ in examples]
        for window, each in zip(encoded, logits, strict=True):
            candidates[window.source].append(_candidates(window, each.astype(np.float64)))
        return [_best(example.context, each) for example, each in zip(examples, candidates, strict=True)]

    def evidence(self, examples: Sequence[Question], predictions: Sequence[Answer]) -> Evidence:
        """Word F1 and exact match of each answer, (N, 2)."""
        accepted = [[text for text, _ in example.answers] for example in examples]
        pairs = list(zip(predictions, accepted, strict=True))
        return np.array([(word_f1(found.text, texts), exact_match(found.text, texts)) for found, texts in pairs])

    def figures(self, evidence: Evidence) -> Mapping[str, float]:
        """Mean word F1 and share of exact matches."""
        return {"word_f1": float(evidence[:, 0].mean()), "exact_match": float(evidence[:, 1].mean())}


def _answer_in(context: _Context, text: str, start: int) -> tuple[int, int] | None:
    """The first and last token of the answer at character `start`; None where the tokens do not hold all of it."""
    positions = np.flatnonzero((context[:, 1] < start + len(text)) & (context[:, 2] > start))
    if not len(positions):
        return None
    first, last = int(positions[0]), int(positions[-1])
    whole = context[first, 1] <= start and context[last, 2] >= start + len(text.rstrip())
    return (first, last) if whole else None


def _candidates(window: EncodedExample, logits: NDArray[np.float64]) -> _Passages:
    """The likeliest passages of one window; logits (T, 2)."""
    scores = np.where(window.spans[:, :1] >= 0, logits, -np.inf)
    firsts, lasts = (np.argsort(-scores[:, side], kind="stable")[:CANDIDATES] for side in (0, 1))
    sums = scores[firsts, 0][:, None] + scores[lasts, 1]
    lengths = lasts - firsts[:, None]
    first, last = np.nonzero((lengths >= 0) & (lengths < LONGEST_ANSWER) & np.isfinite(sums))
    spans = np.column_stack([window.spans[firsts[first], 0], window.spans[lasts[last], 1]])
    return sums[first, last], spans


def _best(context: str, candidates: Sequence[_Passages]) -> Answer:
    """The likeliest passage; windows that overlap may offer one twice, which counts once, with its better score."""
    scores, spans = (np.concatenate(parts) for parts in zip(*candidates, strict=True))
    if not len(scores):
        return Answer("", 0.0)
    order = np.argsort(-scores, kind="stable")
    # Numbers, as np.unique is slow with pairs: a long context has millions.
    _, kept = np.unique(spans[order] @ np.array([len(context) + 1, 1]), return_index=True)
    scores, spans = scores[order][kept], spans[order][kept]
    start, end = spans[scores.argmax()]
    return Answer(context[start:end].strip(), float(1 / np.exp(scores - scores.max()).sum()))
