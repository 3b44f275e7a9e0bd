"""The four measures of the demonstration, all on held-out passages and none with labels made by people.

Shapes: N texts, D hidden size, C classes.
"""

import hashlib
import lzma
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax

from tinydistil.base.errors import require
from tinydistil.corpus.language import split_sentences
from tinydistil.evaluate.inference import embed
from tinydistil.evaluate.masked_lm import choose_words, encode_sequences, masked_lm_scores, ratio, word_loss
from tinydistil.evaluate.metrics import accuracy, precision_recall_f1
from tinydistil.evaluate.similarity import jaccard, words_of
from tinydistil.model.bert import BertForMaskedLM, BertModel
from tinydistil.tokenizer.tokenizer import Tokenizer

TEXT = Path(__file__).parent / "machado.txt.xz"
SHA256 = "3a15860dc46d74e090d630754fc4191fec41f9264915c6ed222aaf21ed1c7069"
# A passage: paragraphs that follow one another, of at least so many characters together.
PASSAGE_CHARACTERS = 400
# Of every 120 passages of a work, twelve in a row are held out: neighbours to be found, and nothing learnt beside them.
PERIOD, HELD_OUT = 120, 12


@dataclass(frozen=True, slots=True)
class Work:
    """A novel or a collection of stories: `passages` in the order of the book, each of whole paragraphs."""

    title: str
    passages: tuple[str, ...]

    def held_out_runs(self) -> list[list[str]]:
        """Passages that nobody learns from, in runs that follow one another."""
        starts = range(PERIOD // 2, len(self.passages), PERIOD)
        return [list(self.passages[start : start + HELD_OUT]) for start in starts]

    def held_out(self) -> list[str]:
        """All of `held_out_runs` in one list."""
        return [passage for run in self.held_out_runs() for passage in run]

    def training_runs(self) -> list[list[str]]:
        """What lies between the held-out runs."""
        starts = [0, *range(PERIOD // 2 + HELD_OUT, len(self.passages), PERIOD)]
        ends = [*range(PERIOD // 2, len(self.passages), PERIOD), len(self.passages)]
        return [list(self.passages[start:end]) for start, end in zip(starts, ends, strict=False)]


def read_works(content: bytes) -> list[Work]:
    """The works in the text file's own format: a title after "# ", then a paragraph per line."""
    works = []
    for part in content.decode("utf-8").removeprefix("# ").split("\n# "):
        title, *paragraphs = part.strip().split("\n")
        passages, open_passage = [], ""
        for paragraph in paragraphs:
            open_passage = f"{open_passage}\n{paragraph}" if open_passage else paragraph
            if len(open_passage) >= PASSAGE_CHARACTERS:
                passages.append(open_passage)
                open_passage = ""
        works.append(Work(title, (*passages, open_passage) if open_passage else tuple(passages)))
    return works


def works() -> list[Work]:
    """The package's works. Raises InputError where the file is damaged."""
    try:
        content = lzma.decompress(TEXT.read_bytes())
    except (OSError, lzma.LZMAError):
        content = b""
    require(hashlib.sha256(content).hexdigest() == SHA256, f"{str(TEXT)!r} is damaged; install the package anew")
    return read_works(content)


T = TypeVar("T")
SNIPPET_CHARACTERS, MOST_PAIRS = 230, 500
_SENTENCE_CHARACTERS = 40
_MAX_LENGTH = 64  # what the teacher has positions for


@dataclass(frozen=True, slots=True)
class Scores:
    """One model's figures.

    masked_lm: nats per masked token, to be compared within one vocabulary; bits: per character of hidden words, to be
    compared between vocabularies; next_passage: zero-shot recall@10 of the passage that follows, among 500, by cosine
    of standardised mean vectors; work: macro F1 of the work a sentence is from; order: accuracy, which of two sentences
    comes first; both by logistic regression on mean vectors.
    """

    masked_lm: float
    bits: float
    next_passage: float
    work: float
    order: float


@dataclass(frozen=True, slots=True)
class SentencePairs:
    """The first two sentences of N paragraphs, and the number of the work that each paragraph is from."""

    first: list[str]
    second: list[str]
    works: NDArray[np.int64]

    @classmethod
    def of(cls, passages: Sequence[tuple[int, str]], most: int) -> "SentencePairs":
        """At most `most` pairs, evenly from (work, passage). Dialogue is left out: its dashes would tell the order."""
        found: list[tuple[str, str, int]] = []
        for work, passage in passages:
            for paragraph in passage.split("\n"):
                sentences = split_sentences(paragraph)[:2]
                if (
                    len(sentences) == 2
                    and "—" not in "".join(sentences)
                    and min(map(len, sentences)) >= _SENTENCE_CHARACTERS
                ):
                    found.append((sentences[0], sentences[1], work))
        chosen = _evenly(found, most)
        return cls([f for f, _, _ in chosen], [s for _, s, _ in chosen], np.array([w for _, _, w in chosen]))


class Measures:
    """The same questions for every model. `tokenizers` are those of all models, so that words can be hidden in all."""

    def __init__(
        self,
        works: Sequence[Work],
        tokenizers: Sequence[Tokenizer],
        *,
        num_passages: int,
        num_sentences: int,
        device: torch.device,
    ) -> None:
        self.device = device
        held_out = [passage for work in works for passage in work.held_out()]
        self.passages = _evenly(held_out, num_passages)
        self.hidden_words = choose_words(self.passages, tokenizers, max_length=_MAX_LENGTH)
        pairs = [pair for work in works for run in work.held_out_runs() for pair in snippet_pairs(" ".join(run))]
        self.snippets = list(zip(*_evenly(pairs, MOST_PAIRS), strict=True))  # queries, what follows each
        self.training, self.test = (
            SentencePairs.of([(i, passage) for i, work in enumerate(works) for passage in part(work)], num_sentences)
            for part in (lambda work: [p for run in work.training_runs() for p in run], Work.held_out)
        )

    def __call__(self, folder: Path) -> Scores:
        """Measure the model in `folder` as somebody who was given the folder would."""
        tokenizer = Tokenizer.from_pretrained(folder)
        model = BertForMaskedLM.from_pretrained(folder, heads="require", attention="packed").to(self.device)
        sequences = encode_sequences(self.passages, tokenizer, max_length=_MAX_LENGTH)
        first, second, test_first, test_second = (
            vectors(model.bert, tokenizer, side)
            for part in (self.training, self.test)
            for side in (part.first, part.second)
        )
        # Few directions hold most of the length of a BERT's vectors (Timkey and van Schijndel 2021): each counts alike.
        training = np.concatenate([first, second])
        mean, deviation = training.mean(0), training.std(0) + 1e-6
        snippets = ((vectors(model.bert, tokenizer, side) - mean) / deviation for side in self.snippets)
        words = word_loss(model, tokenizer, self.passages, self.hidden_words, max_length=_MAX_LENGTH)
        return Scores(
            masked_lm=ratio(masked_lm_scores(model, tokenizer, sequences), 0, 3),
            bits=ratio(words, 0, 2) / math.log(2),
            next_passage=recall_at_10(*snippets),
            work=self._work_f1(training, np.concatenate([test_first, test_second])),
            order=order_accuracy(first - second, test_first - test_second),
        )

    def word_overlap(self) -> float:
        """Recall@10 by shared words over all words of a pair, without any model."""
        queries, candidates = (list(map(words_of, side)) for side in self.snippets)
        shared = np.array([[jaccard(query, candidate) for candidate in candidates] for query in queries])
        return _recall_at_10(shared)

    def _work_f1(self, training: NDArray[np.float32], test: NDArray[np.float32]) -> float:
        """Macro F1 of the work that a sentence is from."""
        works, test_works = (np.concatenate([part.works, part.works]) for part in (self.training, self.test))
        return precision_recall_f1(test_works, classify(training, works, test), average="macro").f1


def order_accuracy(training: NDArray[np.float32], test: NDArray[np.float32]) -> float:
    """Accuracy of the order of two sentences from the differences (N, D) of their vectors, first minus second.

    Each pair stands in both orders, so that neither is the likelier one.
    """
    (inputs, orders), (test_inputs, test_orders) = (
        (np.concatenate([each, -each]), np.repeat([1, 0], len(each))) for each in (training, test)
    )
    return accuracy(test_orders, classify(inputs, orders, test_inputs))


def _evenly(items: Sequence[T], most: int) -> list[T]:
    """At most `most` of `items`, at equal distances."""
    return [items[i] for i in np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int)]


def snippet_pairs(text: str) -> list[tuple[str, str]]:
    """Pieces of `text` of SNIPPET_CHARACTERS, two that follow one another at a time."""
    pieces = [
        text[i : i + SNIPPET_CHARACTERS] for i in range(0, len(text) - SNIPPET_CHARACTERS + 1, SNIPPET_CHARACTERS)
    ]
    return list(zip(pieces[::2], pieces[1::2], strict=False))


def vectors(encoder: BertModel, tokenizer: Tokenizer, texts: Sequence[str]) -> NDArray[np.float32]:
    """Mean vectors (N, D), cut to `_MAX_LENGTH` tokens."""
    found = embed(encoder, tokenizer, texts, max_length=_MAX_LENGTH, truncate=True)
    return np.stack([each.vector for each in found])


def recall_at_10(queries: NDArray[np.float32], candidates: NDArray[np.float32]) -> float:
    """How often candidate i is among the ten nearest to query i, of vectors (N, D) by cosine."""
    units = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in (queries, candidates)]
    return _recall_at_10(units[0] @ units[1].T)


def _recall_at_10(similarities: NDArray[np.floating]) -> float:
    """The same from similarities (N, N); a candidate that is no nearer than the right one counts as farther by half."""
    right = similarities.diagonal()[:, None]
    rank = (similarities > right).sum(1) + ((similarities == right).sum(1) - 1) / 2
    return float((rank < 10).mean())


def classify(
    training: NDArray[np.float32], classes: NDArray[np.int64], test: NDArray[np.float32], *, l2: float = 1e-2
) -> NDArray[np.int64]:
    """Classes of `test` (N, D) by multinomial logistic regression on standardised `training` vectors.

    l2 is the best of 1e-3 to 1e-1 in three folds of the training passages, for the teacher and its students alike.
    """
    mean, deviation = training.mean(0), training.std(0) + 1e-6
    inputs, held = (np.insert((each - mean) / deviation, 0, 1, axis=1).astype(np.float64) for each in (training, test))
    targets = np.eye(int(classes.max()) + 1)[classes]  # (N, C)
    shape = (inputs.shape[1], targets.shape[1])
    penalised = l2 * (np.arange(shape[0]) > 0)[:, None]  # all but the bias

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weight = flat.reshape(shape)
        logs = log_softmax(inputs @ weight, axis=1)
        gradient = inputs.T @ (np.exp(logs) - targets) / len(inputs) + penalised * weight
        return float(-(targets * logs).sum() / len(inputs) + (penalised * weight**2).sum() / 2), gradient.ravel()

    found = minimize(loss, np.zeros(shape[0] * shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 200})
    guesses: NDArray[np.int64] = (held @ found.x.reshape(shape)).argmax(1)
    return guesses
