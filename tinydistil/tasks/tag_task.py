"""Tagging: one tag per word. Shapes: N sentences, T tokens, C tags."""

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from tinydistil.base.config import nearest
from tinydistil.base.errors import InputError, require
from tinydistil.distill.losses import IGNORED
from tinydistil.evaluate.metrics import count_entities, entities_of, entity_scores_by_type, scores_of
from tinydistil.tasks.examples import TaskExample
from tinydistil.tasks.predict import predict
from tinydistil.tasks.tagged import OUTSIDE
from tinydistil.tasks.task import Evidence
from tinydistil.tasks.task_objective import TaskModel
from tinydistil.tasks.task_records import TaggedSentence
from tinydistil.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class _Part:
    """A stretch of whole words of one sentence: its example, and which token begins which word of the sentence."""

    sentence: int
    example: TaskExample
    first_tokens: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class TagTask:
    """Tagging by the first piece of each word (Devlin et al. 2019, 5.3); the other pieces have no target."""

    labels: tuple[str, ...]
    tokenizer: Tokenizer
    max_length: int
    kind: str = "tag"

    def __post_init__(self) -> None:
        require(self.max_length >= 3, f"max_length must be >= 3, two of them special tokens, got {self.max_length}")

    @classmethod
    def of(cls, rows: Sequence[TaggedSentence], tokenizer: Tokenizer, max_length: int) -> "TagTask":
        """The task that training sentences make: its tags are theirs, sorted. Raises InputError for one tag only."""
        labels = tuple(sorted({tag for row in rows for tag in row.tags}))
        if len(labels) < 2:
            raise InputError(f"all training words have the tag {labels[0]!r}; a tagger needs at least two")
        return cls(labels, tokenizer, max_length)

    @property
    def changes(self) -> dict[str, object]:
        return {"labels": self.labels}

    def labels_of(self, rows: Sequence[TaggedSentence]) -> list[str]:
        return [tag for row in rows for tag in row.tags]

    def examples(self, rows: Sequence[TaggedSentence]) -> list[TaskExample]:
        """The sentences, longer ones in parts of whole words.

        Raises InputError for a tag that training did not have.
        """
        return [part.example for part in self._parts(rows, tagged=True)]

    def predict(self, model: TaskModel, rows: Sequence[TaggedSentence], *, batch_size: int = 64) -> list[list[str]]:
        """A tag for each word; words of which no piece is left (control characters) are outside."""
        parts = self._parts(rows, tagged=False)
        examples = [part.example for part in parts]
        found = [[OUTSIDE] * len(row.words) for row in rows]
        logits = predict(model, examples, pad_id=self.tokenizer.pad_id, batch_size=batch_size)
        for part, each in zip(parts, logits, strict=True):
            for token, word in part.first_tokens:
                found[part.sentence][word] = self.labels[int(each[token].argmax())]
        return found

    def evidence(self, rows: Sequence[TaggedSentence], predictions: Sequence[Sequence[str]]) -> Evidence:
        """Entities found rightly, predicted and there, and words right and all, (N, 5)."""
        counts = count_entities([row.tags for row in rows], predictions)
        words = [
            (sum(a == b for a, b in zip(row.tags, found, strict=True)), len(found))
            for row, found in zip(rows, predictions, strict=True)
        ]
        return np.column_stack([counts, words]).astype(np.float64)

    def figures(self, evidence: Evidence) -> Mapping[str, float]:
        """F1, precision and recall of entities as conlleval counts them, and the share of words with the right tag."""
        scores = scores_of(evidence[:, :3].astype(np.int64))
        words = float(evidence[:, 3].sum() / evidence[:, 4].sum())
        return {
            "entity_f1": scores.f1,
            "entity_precision": scores.precision,
            "entity_recall": scores.recall,
            "word_accuracy": words,
        }

    def details(self, rows: Sequence[TaggedSentence], predictions: Sequence[Sequence[str]]) -> dict[str, object]:
        """Precision, recall, F1 and count of each type of entity."""
        gold = [row.tags for row in rows]
        counts = Counter(entity.kind for tags in gold for entity in entities_of(tags))
        scores = entity_scores_by_type(gold, predictions)
        return {"types": {kind: {**asdict(each), "count": counts[kind]} for kind, each in scores.items()}}

    def _parts(self, rows: Sequence[TaggedSentence], *, tagged: bool) -> list[_Part]:
        encodings = self.tokenizer.backend.encode_batch(
            # Composed, as models have read their text, whether a file has been through macOS or not.
            [[unicodedata.normalize("NFC", word) for word in row.words] for row in rows],
            is_pretokenized=True,
            add_special_tokens=False,
        )
        numbers = {tag: i for i, tag in enumerate(self.labels)}
        parts = []
        for sentence, (row, encoding) in enumerate(zip(rows, encodings, strict=True)):
            if tagged and (strangers := set(row.tags) - numbers.keys()):
                tag = min(strangers)
                raise InputError(
                    f"sentence {sentence + 1} has the tag {tag!r}, which training did not have{nearest(tag, numbers)}"
                )
            words = [-1 if word is None else word for word in encoding.word_ids]
            begins = [i == 0 or words[i - 1] != word for i, word in enumerate(words)]
            for start, end in _cuts(words, self.max_length - 2):
                # + 1: behind [CLS]. A word that fills several parts by itself has its target in the first only.
                firsts = tuple((i - start + 1, words[i]) for i in range(start, end) if begins[i])
                target = np.full(end - start + 2, IGNORED, np.int64)
                for token, word in firsts if tagged else ():
                    target[token] = numbers[row.tags[word]]
                ids = [self.tokenizer.cls_id, *encoding.ids[start:end], self.tokenizer.sep_id]
                example = TaskExample(np.array(ids, np.int64), np.zeros(len(ids), np.int64), target)
                parts.append(_Part(sentence, example, firsts))
        return parts


def _cuts(words: Sequence[int], capacity: int) -> list[tuple[int, int]]:
    """Where to cut pieces, each of the word given, into parts of at most `capacity`, between words where possible."""
    cuts, start = [], 0
    while start < len(words):
        end = min(start + capacity, len(words))
        if end < len(words):
            while end > start and words[end - 1] == words[end]:
                end -= 1
            end = end if end > start else start + capacity
        cuts.append((start, end))
        start = end
    return cuts
