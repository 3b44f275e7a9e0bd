"""The parts of the suite that train nothing: size and speed, masked words, zero-shot similarity."""

import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from tinydistil.base.errors import InputError
from tinydistil.evaluate.fixed_masks import encode_sequences
from tinydistil.evaluate.inference import embed
from tinydistil.evaluate.masked_lm import masked_lm_scores, mean_of
from tinydistil.evaluate.metrics import pearson
from tinydistil.evaluate.similarity import SimilarityScores, cosine_similarity, untrained_copy, word_overlap
from tinydistil.evaluate.suite_result import Figure, PartResult, Rows, with_interval
from tinydistil.evaluate.word_loss import Span, word_loss
from tinydistil.model.bert import BertModel
from tinydistil.model.heads import BertForMaskedLM
from tinydistil.tasks.task_records import LabelledText
from tinydistil.tokenizer.tokenizer import Tokenizer

NOTHING = np.empty((0, 2))
# Enough that a median stands still; the first few warm the caches.
LATENCY_RUNS, WARM_UP = 40, 5


def speed(folder: Path, tokenizer: Tokenizer, texts: Sequence[str], device: torch.device) -> PartResult:
    """Parameters, bytes on disk, median time of one sentence, and sentences a second in batches of 32."""
    model = BertModel.from_pretrained(folder, attention="packed").to(device)
    times = []
    for text in texts[: LATENCY_RUNS + WARM_UP]:
        started = time.perf_counter()
        next(embed(model, tokenizer, [text], truncate=True))
        times.append(1000 * (time.perf_counter() - started))
    started = time.perf_counter()
    count = sum(1 for _ in embed(model, tokenizer, texts, truncate=True))
    rate = count / (time.perf_counter() - started)
    weights = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    figures = {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "disk_mb": weights / 1e6,
        "latency_ms": statistics.median(times[WARM_UP:]),
        "sentences_per_second": rate,
    }
    protocol = (
        f"encoder alone on {device.type}, {torch.get_num_threads()} threads; latency: tokens, encoder and mean of one "
        "ASSIN 2 sentence, median of 40; rate: the test sentences in batches of 32"
    )
    return PartResult({name: Figure(float(value)) for name, value in figures.items()}, protocol, NOTHING)


def masked_words(
    folder: Path, tokenizer: Tokenizer, texts: Sequence[str], hidden: Sequence[tuple[Span, ...]], device: torch.device
) -> PartResult:
    """Loss and accuracy a masked token, loss a word, bits a character.

    Raises InputError where the model has no masked LM head.
    """
    model = BertForMaskedLM.from_pretrained(folder, heads="require", attention="packed").to(device)
    scores = masked_lm_scores(model, tokenizer, encode_sequences(texts, tokenizer))
    words = word_loss(model, tokenizer, texts, hidden)
    rows = scores.rows[scores.rows[:, 3] > 0]
    figures = {
        "loss": with_interval(lambda chosen: mean_of(chosen, 0), rows),
        "perplexity": Figure(scores.perplexity),
        "accuracy_1": with_interval(lambda chosen: mean_of(chosen, 1), rows),
        "accuracy_5": Figure(scores.accuracy_5),
        "loss_per_word": Figure(words.loss_per_word),
        "bits_per_character": Figure(words.bits_per_character),
    }
    cased = "lower-cases" if tokenizer.lowercases else "cased"
    protocol = (
        f"{len(texts)} texts cut to 128 tokens, vocabulary {cased}; loss and accuracy: 15 % of the tokens, masks "
        "by the text's hash; word and character: 15 % of the words that every vocabulary knows, whole and all hidden"
    )
    return PartResult(figures, protocol, rows)


def zero_shot_similarity(
    folder: Path, tokenizer: Tokenizer, pairs: Sequence[LabelledText], pooling: str, prefix: str, device: torch.device
) -> PartResult:
    """Cosines of sentence vectors against people's scores.

    The figures of `pooling`; the Pearson of the same model with random weights, and of the other poolings it has.
    """
    model = BertModel.from_pretrained(folder, attention="packed").to(device)
    texts = columns(pairs)

    def scores(encoder: BertModel, kind: str) -> SimilarityScores:
        return cosine_similarity(encoder, tokenizer, *texts, pooling=kind, prefix=prefix)

    trained, untrained = scores(model, pooling), scores(untrained_copy(model), pooling)
    figures = _similarity_figures(trained) | {"untrained_pearson": with_interval(_pearson, untrained.rows)}
    others = ["mean", "cls"] if model.pooler is None else ["mean", "cls", "pooler"]
    figures |= {f"{kind}_pearson": Figure(scores(model, kind).pearson) for kind in others if kind != pooling}
    protocol = f"ASSIN 2 test, zero-shot: cosine of {pooling} vectors" + (f", prefix {prefix!r}" if prefix else "")
    return PartResult(figures, protocol, trained.rows)


def overlap_similarity(pairs: Sequence[LabelledText]) -> PartResult:
    """The floor without a model: shared words over all words."""
    scores = word_overlap(*columns(pairs))
    return PartResult(
        _similarity_figures(scores), "ASSIN 2 test, no model: words in common over all words", scores.rows
    )


def columns(pairs: Sequence[LabelledText]) -> tuple[list[str], list[str], list[float]]:
    """First texts, second texts and scores. Raises InputError where rows are no pairs."""
    if any(pair.second is None for pair in pairs):
        raise InputError("similarity needs pairs of texts")
    return [p.text for p in pairs], [str(p.second) for p in pairs], [float(p.label) for p in pairs]


def _similarity_figures(scores: SimilarityScores) -> dict[str, Figure]:
    return {
        "pearson": with_interval(_pearson, scores.rows),
        "spearman": Figure(scores.spearman),
        "mse_linear": Figure(scores.mse_linear),
        "mse_isotonic": Figure(scores.mse_isotonic),
        "anisotropy": Figure(scores.anisotropy),
    }


def _pearson(rows: Rows) -> float:
    return pearson(rows[:, 0], rows[:, 1])
