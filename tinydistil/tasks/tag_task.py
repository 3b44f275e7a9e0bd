"""One tag per word. Shapes: W words of a sentence, T tokens, C tags."""

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from tinydistil.base.errors import require
from tinydistil.distill.losses import IGNORED
from tinydistil.evaluate import metrics
from tinydistil.tasks.examples import TaggedSentence
from tinydistil.tasks.tagged import OUTSIDE
from tinydistil.tasks.task import EncodedExample, Evidence, Logits, Task
from tinydistil.tokenizer.tokenizer import Tokenizer

# By how much of their logarithm neighbours count: 0.7 was best of 0.3 to 1 for random and distilled students.
_WEIGHT = 0.7
_LARGEST = 1e6  # of a transition out of a file


def transitions_of(sentences: Sequence[TaggedSentence], labels: Sequence[str]) -> tuple[tuple[float, ...], ...]:
    """What follows what: _WEIGHT * ln(P(b | a) / P(b)) in row a and column b, (C + 1, C); last, what begins a sentence.

    Counted in `sentences`; each row also holds one tag drawn from P, so that what was never seen is unlikely, no more.
    """
    number = {label: i for i, label in enumerate(labels)}
    counts = np.zeros((len(labels) + 1, len(labels)))
    for sentence in sentences:
        for before, tag in pairwise([len(labels), *(number[tag] for tag in sentence.tags)]):
            counts[before, tag] += 1
    ratios = (counts / (counts.sum(0) / counts.sum()) + 1) / (counts.sum(1, keepdims=True) + 1)
    return tuple(map(tuple, (_WEIGHT * np.log(ratios)).round(4).tolist()))


def are_transitions(rows: object, count: int) -> bool:
    """Whether `rows`, out of a file, are transitions between `count` tags, or []."""
    if not isinstance(rows, list) or not rows:
        return rows == []
    sound = len(rows) == count + 1 and all(isinstance(row, list) and len(row) == count for row in rows)
    return sound and all(type(each) in (int, float) and abs(each) < _LARGEST for row in rows for each in row)


def likeliest(logits: NDArray[np.floating], transitions: NDArray[np.floating]) -> list[int]:
    """The tags (W,) of the largest sum of log-softmax(logits) (W, C) and `transitions` (C + 1, C), by Viterbi's
    algorithm: a hybrid of network and Markov chain (Bourlard and Morgan 1994, ch. 7)."""
    scores, back = log_softmax(logits.astype(np.float64), axis=1), list[NDArray[np.intp]]()
    best = scores[0] + transitions[-1]
    for score in scores[1:]:
        through = best[:, None] + transitions[:-1]
        back.append(through.argmax(0))
        best = through.max(0) + score
    path = [int(best.argmax())]
    for each in reversed(back):
        path.append(int(each[path[-1]]))
    return path[::-1]


@dataclass(frozen=True)
class TagTask(Task[TaggedSentence, list[str]]):
    """Tagging by the first piece of each word (Devlin et al. 2019, 5.3); the other pieces have no target.

    transitions: what a tag adds to the score of the next, (C + 1, C), the last row at the beginning of a sentence; ()
    for none, which gives each word its own likeliest tag.
    """

    kind: str = field(default="tag", init=False)
    transitions: tuple[tuple[float, ...], ...] = ()

    def __post_init__(self) -> None:
        require(self.max_length >= 3, f"max_length must be >= 3, two of them special tokens, got {self.max_length}")

    @classmethod
    def of(cls, examples: Sequence[TaggedSentence], tokenizer: Tokenizer, max_length: int) -> "TagTask":
        """The task that training sentences make: its tags are theirs, sorted. Raises InputError for one tag only."""
        labels = tuple(sorted({tag for example in examples for tag in example.tags}))
        require(len(labels) > 1, f"all training words have the tag {labels[0]!r}; a tagger needs at least two")
        return cls(labels, tokenizer, max_length, transitions_of(examples, labels))

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
        parts = []
        for source, (example, encoding) in enumerate(zip(examples, encodings, strict=True)):
            for tag in sorted({*example.tags}) if labelled else ():
                self.require_known(tag, f"sentence {source + 1} has the tag")
            words = np.array([-1 if word is None else word for word in encoding.word_ids], np.int64)
            # A word that fills several parts by itself has its target in the first only.
            begun = np.where(words != np.append(-2, words[:-1]), words, -1)
            targets = np.full(len(words), IGNORED, np.int64)
            if labelled:
                targets[begun >= 0] = [self.numbers[example.tags[word]] for word in begun[begun >= 0]]
            for start, end in _cuts(words.tolist(), self.max_length - 2):
                ids = np.array([self.tokenizer.cls_id, *encoding.ids[start:end], self.tokenizer.sep_id], np.int64)
                target = np.pad(targets[start:end], 1, constant_values=IGNORED)
                spans = np.pad(begun[start:end], 1, constant_values=-1)
                parts.append(EncodedExample(ids, np.zeros_like(ids), target, source=source, spans=spans))
        return parts

    def decode(
        self, examples: Sequence[TaggedSentence], encoded: Sequence[EncodedExample], logits: Logits
    ) -> list[list[str]]:
        """The likeliest tags of each sentence; words of which no piece is left (control characters) are outside."""
        words: list[dict[int, NDArray[np.float32]]] = [{} for _ in examples]
        for part, each in zip(encoded, logits, strict=True):
            words[part.source] |= {word: each[token] for token, word in enumerate(part.spans.tolist()) if word >= 0}
        transitions = np.array(self.transitions or np.zeros((len(self.labels) + 1, len(self.labels))))
        found = [[OUTSIDE] * len(example.words) for example in examples]
        for tags, of_words in zip(found, words, strict=True):
            numbers = likeliest(np.stack(list(of_words.values())), transitions) if of_words else ()
            for word, number in zip(of_words, numbers, strict=True):
                tags[word] = self.labels[number]
        return found

    def evidence(self, examples: Sequence[TaggedSentence], predictions: Sequence[Sequence[str]]) -> Evidence:
        """Entities found rightly, predicted and there, and words right and all, (N, 5)."""
        gold = [example.tags for example in examples]
        counts = metrics.count_entities(gold, predictions)
        right = [sum(a == b for a, b in zip(*pair, strict=True)) for pair in zip(gold, predictions, strict=True)]
        return np.column_stack([counts, right, list(map(len, predictions))]).astype(np.float64)

    def figures(self, evidence: Evidence) -> Mapping[str, float]:
        """F1, precision and recall of entities as conlleval counts them, and the share of words with the right tag."""
        scores = asdict(metrics.scores_of(evidence[:, :3].astype(np.int64)))
        found = {f"entity_{name}": scores[name] for name in ("f1", "precision", "recall")}
        return found | {"word_accuracy": float(evidence[:, 3].sum() / evidence[:, 4].sum())}

    def details(self, examples: Sequence[TaggedSentence], predictions: Sequence[Sequence[str]]) -> dict[str, object]:
        """Precision, recall, F1 and count of each type of entity."""
        gold = [example.tags for example in examples]
        counts = Counter(entity.kind for tags in gold for entity in metrics.entities_of(tags))
        scores = metrics.entity_scores_by_type(gold, predictions)
        return {"types": {kind: {**asdict(each), "count": counts[kind]} for kind, each in scores.items()}}


def _cuts(words: Sequence[int], capacity: int) -> list[tuple[int, int]]:
    """Where to cut pieces, each of the word given, into parts of at most `capacity`, between words where possible."""
    cuts, start = [], 0
    while start < len(words):
        end = min(start + capacity, len(words))
        while start < end < len(words) and words[end - 1] == words[end]:
            end -= 1
        end = end if end > start else start + capacity
        cuts.append((start, end))
        start = end
    return cuts
