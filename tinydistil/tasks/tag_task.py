"""Tagging: one tag per word. Shapes: N sentences, T tokens, C tags."""

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
from numpy.typing import NDArray

from tinydistil.base.config import nearest
from tinydistil.base.errors import InputError, require
from tinydistil.distill.losses import IGNORED
from tinydistil.evaluate.metrics import count_entities, entities_of, entity_scores_by_type, scores_of
from tinydistil.tasks.examples import TaggedSentence
from tinydistil.tasks.tagged import OUTSIDE
from tinydistil.tasks.task import Evidence, Task
from tinydistil.tasks.task_batches import EncodedExample
from tinydistil.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True)
class TagTask(Task[TaggedSentence, list[str]]):
    """Tagging by the first piece of each word (Devlin et al. 2019, 5.3); the other pieces have no target."""

    kind: str = field(default="tag", init=False)

    def __post_init__(self) -> None:
        require(self.max_length >= 3, f"max_length must be >= 3, two of them special tokens, got {self.max_length}")

    @classmethod
    def of(cls, examples: Sequence[TaggedSentence], tokenizer: Tokenizer, max_length: int) -> "TagTask":
        """The task that training sentences make: its tags are theirs, sorted. Raises InputError for one tag only."""
        labels = tuple(sorted({tag for example in examples for tag in example.tags}))
        if len(labels) < 2:
            raise InputError(f"all training words have the tag {labels[0]!r}; a tagger needs at least two")
        return cls(labels, tokenizer, max_length)

    def labels_of(self, examples: Sequence[TaggedSentence]) -> list[str]:
        return [tag for example in examples for tag in example.tags]

    def encode(self, examples: Sequence[TaggedSentence], *, labelled: bool = True) -> list[EncodedExample]:
        """The sentences, longer ones in parts of whole words."""
        encodings = self.tokenizer.backend.encode_batch(
            # Composed, as models have read their text, whether a file has been through macOS or not.
            [[unicodedata.normalize("NFC", word) for word in example.words] for example in examples],
            is_pretokenized=True,
            add_special_tokens=False,
        )
        numbers = {tag: i for i, tag in enumerate(self.labels)}
        parts = []
        for sentence, (example, encoding) in enumerate(zip(examples, encodings, strict=True)):
            if labelled and (strangers := set(example.tags) - numbers.keys()):
                tag = min(strangers)
                hint = nearest(tag, numbers)
                raise InputError(f"sentence {sentence + 1} has the tag {tag!r}, which training did not have{hint}")
            words = np.array([-1 if word is None else word for word in encoding.word_ids], np.int64)
            # A word that fills several parts by itself has its target in the first only.
            begun = np.where(words != np.append(-2, words[:-1]), words, -1)
            targets = np.full(len(words), IGNORED, np.int64)
            if labelled:
                targets[begun >= 0] = [numbers[example.tags[word]] for word in begun[begun >= 0]]
            for start, end in _cuts(words.tolist(), self.max_length - 2):
                ids = np.array([self.tokenizer.cls_id, *encoding.ids[start:end], self.tokenizer.sep_id], np.int64)
                target = np.pad(targets[start:end], 1, constant_values=IGNORED)
                spans = np.pad(begun[start:end], 1, constant_values=-1)
                parts.append(EncodedExample(ids, np.zeros_like(ids), target, source=sentence, spans=spans))
        return parts

    def decode(
        self,
        examples: Sequence[TaggedSentence],
        encoded: Sequence[EncodedExample],
        logits: Sequence[NDArray[np.float32]],
    ) -> list[list[str]]:
        """A tag for each word; words of which no piece is left (control characters) are outside."""
        found = [[OUTSIDE] * len(example.words) for example in examples]
        for part, each in zip(encoded, logits, strict=True):
            for word, label in zip(part.spans.tolist(), each.argmax(1).tolist(), strict=True):
                if word >= 0:
                    found[part.source][word] = self.labels[label]
        return found

    def evidence(self, examples: Sequence[TaggedSentence], predictions: Sequence[Sequence[str]]) -> Evidence:
        """Entities found rightly, predicted and there, and words right and all, (N, 5)."""
        gold = [example.tags for example in examples]
        counts = count_entities(gold, predictions)
        right = [sum(a == b for a, b in zip(*pair, strict=True)) for pair in zip(gold, predictions, strict=True)]
        return np.column_stack([counts, right, list(map(len, predictions))]).astype(np.float64)

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

    def details(self, examples: Sequence[TaggedSentence], predictions: Sequence[Sequence[str]]) -> dict[str, object]:
        """Precision, recall, F1 and count of each type of entity."""
        gold = [example.tags for example in examples]
        counts = Counter(entity.kind for tags in gold for entity in entities_of(tags))
        scores = entity_scores_by_type(gold, predictions)
        return {"types": {kind: {**asdict(each), "count": counts[kind]} for kind, each in scores.items()}}


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
