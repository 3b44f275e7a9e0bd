"""Where in a context the answer to a question stands. Letters: N questions, T tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding

from tinydistil.errors import require
from tinydistil.evaluate.answers import exact_match, word_f1
from tinydistil.finetune.examples import TaskExample
from tinydistil.finetune.objective import TaskModel
from tinydistil.finetune.predict import predict
from tinydistil.finetune.task import Evidence
from tinydistil.text.tasks.records import Question
from tinydistil.text.tokenizer import Tokenizer

# As in Devlin et al. 2019's code for SQuAD: answers of at most 30 tokens, among the 20 best ends of each side.
LONGEST_ANSWER = 30
CANDIDATES = 20


@dataclass(frozen=True, slots=True)
class Answer:
    """A passage of the context, and its probability among the candidates."""

    text: str
    probability: float


@dataclass(frozen=True, slots=True)
class _Window:
    """A stretch of a context beside its question; spans (T, 2): each token's characters, -1 outside the context."""

    question: int
    ids: NDArray[np.int64]
    type_ids: NDArray[np.int64]
    spans: NDArray[np.int64]


@dataclass(frozen=True)
class AnswerTask:
    """Extractive question answering; contexts longer than `max_length` tokens are read in overlapping windows.

    Neighbouring windows share `stride` tokens, so that an answer cut by one lies whole in the next.
    """

    tokenizer: Tokenizer
    max_length: int
    stride: int
    labels: tuple[str, ...] = ()
    kind: str = "answer"

    def __post_init__(self) -> None:
        require(
            0 < self.stride < self._half,
            f"stride must be in 1..{self._half - 1}, less than half of a window of max_length {self.max_length} "
            f"without its special tokens, got {self.stride}",
        )

    @property
    def _half(self) -> int:
        """Half of a window: what a question may take at most, and a context always has."""
        return (self.max_length - self.tokenizer.backend.num_special_tokens_to_add(True)) // 2

    @property
    def changes(self) -> dict[str, object]:
        """Nothing: the head has no labels."""
        return {}

    def examples(self, rows: Sequence[Question]) -> list[TaskExample]:
        """The windows that hold the whole of a question's first answer, with its first and last token.

        Windows without it are left out: SQuAD 1.1 knows no question without an answer.
        """
        found = []
        for window in self._windows(rows):
            text, start = rows[window.question].answers[0]
            inside = (window.spans[:, 0] < start + len(text)) & (window.spans[:, 1] > start)
            places = np.flatnonzero(inside)
            if (
                len(places)
                and window.spans[places[0], 0] <= start
                and (window.spans[places[-1], 1] >= start + len(text.rstrip()))
            ):
                target = np.array([places[0], places[-1]], np.int64)
                found.append(TaskExample(window.ids, window.type_ids, target))
        return found

    def predict(self, model: TaskModel, rows: Sequence[Question], *, batch_size: int = 32) -> list[Answer]:
        """The best answer to each question over all windows of its context."""
        windows = self._windows(rows)
        nowhere = np.zeros(2, np.int64)
        examples = [TaskExample(window.ids, window.type_ids, nowhere) for window in windows]
        logits = predict(model, examples, pad_id=self.tokenizer.pad_id, batch_size=batch_size)
        candidates: list[list[tuple[float, int, int]]] = [[] for _ in rows]
        for window, each in zip(windows, logits, strict=True):
            candidates[window.question] += _candidates(window, each.astype(np.float64))
        return [_best(row.context, found) for row, found in zip(rows, candidates, strict=True)]

    def evidence(self, rows: Sequence[Question], predictions: Sequence[Answer]) -> Evidence:
        """Word F1 and exact match of each answer, (N, 2)."""
        accepted = [[text for text, _ in row.answers] for row in rows]
        pairs = list(zip(predictions, accepted, strict=True))
        return np.array([(word_f1(found.text, texts), exact_match(found.text, texts)) for found, texts in pairs])

    def figures(self, evidence: Evidence) -> Mapping[str, float]:
        """Mean word F1 and share of exact matches."""
        return {"word_f1": float(evidence[:, 0].mean()), "exact_match": float(evidence[:, 1].mean())}

    def _windows(self, rows: Sequence[Question]) -> list[_Window]:
        backend = self.tokenizer.backend
        questions = self.tokenizer.encode_all([row.question for row in rows], add_special=False)
        contexts = self.tokenizer.encode_all([row.context for row in rows], add_special=False)
        windows = []
        for number, (question, context) in enumerate(zip(questions, contexts, strict=True)):
            question.truncate(self._half)
            room = self.max_length - backend.num_special_tokens_to_add(True) - len(question.ids)
            context.truncate(room, stride=self.stride)
            parts = (context, *context.overflowing)
            windows += [_window(number, backend.post_process(question, part)) for part in parts]
        return windows


def _window(question: int, encoding: Encoding) -> _Window:
    in_context = np.array([sequence == 1 for sequence in encoding.sequence_ids])
    spans = np.where(in_context[:, None], np.array(encoding.offsets, np.int64), -1)
    return _Window(question, np.array(encoding.ids, np.int64), np.array(encoding.type_ids, np.int64), spans)


def _candidates(window: _Window, logits: NDArray[np.float64]) -> list[tuple[float, int, int]]:
    """Score, first and last character of the likeliest passages of one window; logits (T, 2)."""
    scores = np.where(window.spans[:, :1] >= 0, logits, -np.inf)
    firsts, lasts = (np.argsort(-scores[:, side], kind="stable")[:CANDIDATES] for side in (0, 1))
    return [
        (float(scores[first, 0] + scores[last, 1]), int(window.spans[first, 0]), int(window.spans[last, 1]))
        for first in firsts
        for last in lasts
        if first <= last < first + LONGEST_ANSWER and np.isfinite(scores[first, 0] + scores[last, 1])
    ]


def _best(context: str, candidates: list[tuple[float, int, int]]) -> Answer:
    """The likeliest passage; windows that overlap may offer one twice, which counts once."""
    best = {(start, end): score for score, start, end in sorted(candidates)}
    if not best:
        return Answer("", 0.0)
    scores = np.array(list(best.values()))
    start, end = list(best)[int(scores.argmax())]
    return Answer(context[start:end].strip(), float(1 / np.exp(scores - scores.max()).sum()))
