"""The text of the demonstration and its four measures, all on held-out passages and none with labels made by people.

Shapes: N texts, D hidden size, C classes.
"""

import hashlib
import lzma
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, groupby
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
SNIPPET_CHARACTERS, MOST_PAIRS = 230, 500
_SENTENCE_CHARACTERS = 40
_MAX_LENGTH = 64  # what the teacher has positions for
# Of the logistic regressions: the best of 1e-3 to 1e-1 in three folds of the training passages, for all models alike.
_L2 = 1e-2
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Work:
    """A novel or a collection of stories: `passages` in the order of the book, each of whole paragraphs."""

    title: str
    passages: tuple[str, ...]

    def runs(self, *, held_out: bool) -> list[list[str]]:
        """The passages that nobody learns from, or else all others, in runs that follow one another."""
        first = PERIOD // 2
        found = groupby(enumerate(self.passages), lambda each: first <= each[0] % PERIOD < first + HELD_OUT)
        return [[passage for _, passage in run] for is_held_out, run in found if is_held_out == held_out]


def read_works(content: bytes) -> list[Work]:
    """The works in the text file's own format: a title after "# ", then a paragraph per line."""
    works = []
    for part in content.decode("utf-8").removeprefix("# ").split("\n# "):
        title, *paragraphs = part.strip().split("\n")
        passages = [""]
        for paragraph in paragraphs:
            if len(passages[-1]) >= PASSAGE_CHARACTERS:
                passages.append("")
            passages[-1] += f"\n{paragraph}" if passages[-1] else paragraph
        works.append(Work(title, tuple(filter(None, passages))))
    return works


def works() -> list[Work]:
    """The package's works. Raises InputError where the file is damaged."""
    try:
        content = lzma.decompress(TEXT.read_bytes())
    except (OSError, lzma.LZMAError):
        content = b""
    require(hashlib.sha256(content).hexdigest() == SHA256, f"{str(TEXT)!r} is damaged; install the package anew")
    return read_works(content)


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
        runs = [run for work in works for run in work.runs(held_out=True)]
        self.passages = _evenly(list(chain(*runs)), num_passages)
        self.hidden_words = choose_words(self.passages, tokenizers, max_length=_MAX_LENGTH)
        pairs = [pair for run in runs for pair in snippet_pairs(" ".join(run))]
        self.snippets = list(zip(*_evenly(pairs, MOST_PAIRS), strict=True))  # queries, what follows each
        self.training, self.test = (
            list(zip(*sentence_pairs(works, num_sentences, held_out=held_out), strict=True))  # first, second, work
            for held_out in (False, True)
        )

    def __call__(self, folder: Path) -> Scores:
        """Measure the model in `folder` as somebody who was given the folder would."""
        tokenizer = Tokenizer.from_pretrained(folder)
        model = BertForMaskedLM.from_pretrained(folder, heads="require", attention="packed").to(self.device)
        sequences = encode_sequences(self.passages, tokenizer, max_length=_MAX_LENGTH)
        words = word_loss(model, tokenizer, self.passages, self.hidden_words, max_length=_MAX_LENGTH)
        first, second, test_first, test_second = (
            vectors(model.bert, tokenizer, side) for part in (self.training, self.test) for side in part[:2]
        )
        # Few directions hold most of the length of a BERT's vectors (Timkey and van Schijndel 2021): each counts alike.
        training, test = np.concatenate([first, second]), np.concatenate([test_first, test_second])
        mean, deviation = training.mean(0), training.std(0) + 1e-6
        snippets = ((vectors(model.bert, tokenizer, side) - mean) / deviation for side in self.snippets)
        guesses = classify(training, np.tile(self.training[2], 2), test)
        # Each pair stands in both orders, so that neither is the likelier one.
        (inputs, orders), (test_inputs, test_orders) = (
            (np.concatenate([each, -each]), np.repeat([1, 0], len(each)))
            for each in (first - second, test_first - test_second)
        )
        return Scores(
            masked_lm=ratio(masked_lm_scores(model, tokenizer, sequences), 0, 3),
            bits=ratio(words, 0, 2) / math.log(2),
            next_passage=recall_at_10(cosines(*snippets)),
            work=precision_recall_f1(np.tile(self.test[2], 2), guesses, average="macro").f1,
            order=accuracy(test_orders, classify(inputs, orders, test_inputs)),
        )

    def word_overlap(self) -> float:
        """Recall@10 by shared words over all words of a pair, without any model."""
        queries, candidates = (list(map(words_of, side)) for side in self.snippets)
        return recall_at_10(np.array([[jaccard(query, each) for each in candidates] for query in queries]))


def sentence_pairs(works: Sequence[Work], most: int, *, held_out: bool) -> list[tuple[str, str, int]]:
    """The first two sentences of at most `most` paragraphs, evenly, and the number of the work that each is from.

    Dialogue is left out: its dashes would tell the order.
    """
    passages = [(i, passage) for i, work in enumerate(works) for run in work.runs(held_out=held_out) for passage in run]
    found: list[tuple[str, str, int]] = []
    for number, passage in passages:
        for sentences in (split_sentences(paragraph)[:2] for paragraph in passage.split("\n")):
            long = len(sentences) == 2 and min(map(len, sentences)) >= _SENTENCE_CHARACTERS
            if long and "—" not in "".join(sentences):
                found.append((sentences[0], sentences[1], number))
    return _evenly(found, most)


def _evenly(items: Sequence[T], most: int) -> list[T]:
    """At most `most` of `items`, at equal distances."""
    return [items[i] for i in np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int)]


def snippet_pairs(text: str) -> list[tuple[str, str]]:
    """Pieces of `text` of SNIPPET_CHARACTERS, two that follow one another at a time."""
    size = SNIPPET_CHARACTERS
    pieces = [text[start : start + size] for start in range(0, len(text) - size + 1, size)]
    return list(zip(pieces[::2], pieces[1::2], strict=False))


def vectors(encoder: BertModel, tokenizer: Tokenizer, texts: Sequence[str]) -> NDArray[np.float32]:
    """Mean vectors (N, D), cut to `_MAX_LENGTH` tokens."""
    found = embed(encoder, tokenizer, texts, max_length=_MAX_LENGTH, truncate=True)
    return np.stack([each.vector for each in found])


def cosines(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """The cosine of each vector of (N, D) and each of (N', D): (N, N')."""
    units = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in (one, other)]
    found: NDArray[np.float32] = units[0] @ units[1].T
    return found


def recall_at_10(similarities: NDArray[np.floating]) -> float:
    """How often candidate i is among the ten nearest to query i, of similarities (N, N); a candidate that is no nearer
    than the right one counts as farther by half."""
    right = similarities.diagonal()[:, None]
    rank = (similarities > right).sum(1) + ((similarities == right).sum(1) - 1) / 2
    return float((rank < 10).mean())


def classify(training: NDArray[np.float32], classes: NDArray[np.int64], test: NDArray[np.float32]) -> NDArray[np.int64]:
    """Classes of `test` (N, D) by multinomial logistic regression on standardised `training` vectors."""
    mean, deviation = training.mean(0), training.std(0) + 1e-6
    inputs, held = (np.insert((each - mean) / deviation, 0, 1, axis=1).astype(np.float64) for each in (training, test))
    targets = np.eye(int(classes.max()) + 1)[classes]  # (N, C)
    shape = (inputs.shape[1], targets.shape[1])
    penalised = _L2 * (np.arange(shape[0]) > 0)[:, None]  # all but the bias

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weight = flat.reshape(shape)
        logs = log_softmax(inputs @ weight, axis=1)
        gradient = inputs.T @ (np.exp(logs) - targets) / len(inputs) + penalised * weight
        return float(-(targets * logs).sum() / len(inputs) + (penalised * weight**2).sum() / 2), gradient.ravel()

    found = minimize(loss, np.zeros(shape[0] * shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 200})
    guesses: NDArray[np.int64] = (held @ found.x.reshape(shape)).argmax(1)
    return guesses
