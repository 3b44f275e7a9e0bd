"""The parts of an evaluation: size and speed, masked words, zero-shot similarity, and five that are fine-tuned."""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from tinydistil.base.errors import InputError, require
from tinydistil.base.ranks import Ranks
from tinydistil.distill.step import check_precision
from tinydistil.evaluate.inference import embed
from tinydistil.evaluate.intervals import Figure, Items, Statistic, with_interval
from tinydistil.evaluate.masked_lm import Span, encode_sequences, masked_lm_scores, mean_of, word_loss
from tinydistil.evaluate.metrics import pearson, precision_recall_f1, scores_of
from tinydistil.evaluate.results import PartResult
from tinydistil.evaluate.similarity import SimilarityScores, cosine_similarity, untrained_copy, word_overlap
from tinydistil.evaluate.vectors import Model
from tinydistil.model.bert import BertForMaskedLM, BertModel
from tinydistil.model.sentence_folder import SentenceVectors, read_sentence_folder
from tinydistil.tasks.examples import LabelledText
from tinydistil.tasks.finetune import Material, mean_and_deviation, measured, run_seeds
from tinydistil.tasks.finetune_config import FineTuneConfig, settings_for
from tinydistil.tasks.folder import AnyData, load, make_task
from tinydistil.tasks.task import check_examples
from tinydistil.tasks.task_output import FIGURES
from tinydistil.tokenizer.tokenizer import Tokenizer


def _pearson(items: Items) -> float:
    return pearson(items[:, 0], items[:, 1])


def _macro_f1(items: Items) -> float:
    return precision_recall_f1(items[:, 0], items[:, 1], average="macro").f1


@dataclass(frozen=True)
class Part:
    """A part of an evaluation.

    files: by their names in the data's folder; to fine-tune training, dev if there is one, test, which chooses nothing.
    primary: the primary metric as a function of its items; None where those are not the same for two models, as tokens
    are not for two vocabularies. kind, title: of the task that is fine-tuned; "" for none.
    """

    files: tuple[str, ...] = ()
    primary: Statistic | None = None
    kind: str = ""
    title: str = ""


_ASSIN2 = ("assin2/assin2-train-only.xml", "assin2/assin2-dev.xml", "assin2/assin2-test.xml")
_SENTIMENT = ("sentiment/train.csv", "sentiment/dev.csv", "sentiment/test.csv")
_ENTITIES = ("lenerbr/train.conll", "lenerbr/dev.conll", "lenerbr/test.conll")
_ANSWERS = ("faquad/train.json", "faquad/dev.json")
PAIRS = _ASSIN2[-1]
PARTS: Mapping[str, Part] = {
    "speed": Part((PAIRS,)),
    "masked_lm": Part(),
    "similarity": Part((PAIRS,), _pearson),
    "entailment": Part(_ASSIN2, _macro_f1, "classify", "ASSIN 2 entailment"),
    "similarity_tuned": Part(_ASSIN2, _pearson, "regress", "ASSIN 2 similarity"),
    "sentiment": Part(_SENTIMENT, _macro_f1, "classify", "tweets"),
    "entities": Part(_ENTITIES, lambda items: scores_of(items[:, :3]).f1, "tag", "LeNER-Br"),
    "answers": Part(_ANSWERS, lambda items: float(items[:, 0].mean()), "answer", "FaQuAD"),
}
# Enough that a median stands still; the first few warm the caches.
LATENCY_RUNS, WARM_UP = 40, 5


def speed(model: Model, texts: Sequence[str], device: torch.device) -> PartResult:
    """Parameters, bytes on disk, median time of one sentence, and sentences per second in batches of 32."""
    encoder = BertModel.from_pretrained(model.folder, attention="packed").to(device)
    times_ms = []
    for text in texts[: LATENCY_RUNS + WARM_UP]:
        started = time.perf_counter()
        next(embed(encoder, model.tokenizer, [text], truncate=True))
        times_ms.append(1000 * (time.perf_counter() - started))
    started = time.perf_counter()
    count = sum(1 for _ in embed(encoder, model.tokenizer, texts, truncate=True))
    figures = {
        "parameters": sum(parameter.numel() for parameter in encoder.parameters()),
        "disk_mb": sum(file.stat().st_size for file in model.folder.iterdir() if file.is_file()) / 1e6,
        "latency_ms": statistics.median(times_ms[WARM_UP:]),
        "sentences_per_second": count / (time.perf_counter() - started),
    }
    protocol = (
        f"encoder alone on {device.type}, {torch.get_num_threads()} threads; latency: tokens, encoder and mean of one "
        "ASSIN 2 sentence, median of 40; rate: the test sentences in batches of 32"
    )
    return PartResult({name: Figure(float(value)) for name, value in figures.items()}, protocol, np.empty((0, 2)))


def masked_words(
    model: Model, texts: Sequence[str], hidden_words: Sequence[tuple[Span, ...]], device: torch.device
) -> PartResult:
    """Loss and accuracy per masked token, loss per word, bits per character."""
    masked_lm = BertForMaskedLM.from_pretrained(model.folder, heads="require", attention="packed").to(device)
    scores = masked_lm_scores(masked_lm, model.tokenizer, encode_sequences(texts, model.tokenizer))
    words = word_loss(masked_lm, model.tokenizer, texts, hidden_words)
    items = scores.sums[scores.sums[:, 3] > 0]
    figures = {
        "loss": with_interval(lambda chosen: mean_of(chosen, 0), items),
        "perplexity": Figure(scores.perplexity),
        "accuracy_1": with_interval(lambda chosen: mean_of(chosen, 1), items),
        "accuracy_5": Figure(mean_of(scores.sums, 2)),
        "loss_per_word": Figure(words.loss_per_word),
        "bits_per_character": Figure(words.bits_per_character),
    }
    protocol = (
        f"{len(texts)} texts cut to 128 tokens, vocabulary {'lower-cases' if model.tokenizer.lowercases else 'cased'}; "
        "loss and accuracy: 15 % of the tokens, masks by the text's hash; word and character: 15 % of the words that "
        "every vocabulary knows, whole and all hidden"
    )
    return PartResult(figures, protocol, items)


def sentence_vectors(model: Model, pooling: str | None, prefix: str | None) -> str | SentenceVectors:
    """The `pooling` that was given, else what the model's folder declares, with `prefix` for its prompt, else mean."""
    declared = read_sentence_folder(model.folder, model.config) if pooling is None else None
    if declared is None:
        return pooling or "mean"
    return declared if prefix is None else replace(declared, prompt=prefix)


def zero_shot_similarity(
    model: Model, pairs: Sequence[LabelledText], vectors: str | SentenceVectors, prefix: str, device: torch.device
) -> PartResult:
    """Cosines of sentence vectors against human scores.

    The figures of `vectors`; the Pearson of the same model with random weights, and of the other poolings it has.
    """
    encoder = BertModel.from_pretrained(model.folder, attention="packed").to(device)
    texts = columns(pairs)

    def scores(encoder: BertModel, pooling: str | SentenceVectors) -> SimilarityScores:
        # what a folder declares has its own prompt
        before = prefix if isinstance(pooling, str) else ""
        return cosine_similarity(encoder, model.tokenizer, *texts, pooling=pooling, prefix=before)

    trained, untrained = scores(encoder, vectors), scores(untrained_copy(encoder), vectors)
    figures = _similarity_figures(trained)
    figures["untrained_pearson"] = with_interval(_pearson, untrained.items)
    for pooling in ("mean", "cls", *(["pooler"] if model.has_pooler else [])):
        if pooling != vectors:
            figures[f"{pooling}_pearson"] = Figure(scores(encoder, pooling).pearson)
    said = f"{vectors} vectors" if isinstance(vectors, str) else f"the folder's vectors ({vectors})"
    protocol = f"ASSIN 2 test, zero-shot: cosine of {said}" + (f", prefix {prefix!r}" if prefix else "")
    return PartResult(figures, protocol, trained.items)


def overlap_similarity(pairs: Sequence[LabelledText]) -> PartResult:
    """The floor without a model: shared words over all words."""
    scores, protocol = word_overlap(*columns(pairs)), "ASSIN 2 test, no model: words in common over all words"
    return PartResult(_similarity_figures(scores), protocol, scores.items)


def columns(pairs: Sequence[LabelledText]) -> tuple[list[str], list[str], list[float]]:
    """First texts, second texts and scores. Raises InputError where they are no pairs."""
    if any(pair.second is None for pair in pairs):
        raise InputError("similarity needs pairs of texts")
    return [p.text for p in pairs], [str(p.second) for p in pairs], [float(p.label) for p in pairs]


def _similarity_figures(scores: SimilarityScores) -> dict[str, Figure]:
    others = ("spearman", "mse_linear", "mse_isotonic", "anisotropy")
    figures = {"pearson": with_interval(_pearson, scores.items)}
    return figures | {name: Figure(getattr(scores, name)) for name in others}


def config_for(model: Model, part: str, settings: Mapping[str, object]) -> FineTuneConfig:
    """How `part` is fine-tuned. Raises InputError for what the model is too small for."""
    config = settings_for(PARTS[part].kind, model.config, {"pooling": "mean", **settings})
    check_precision(config.precision)
    for name, value, most, what in (
        ("freeze_layers", config.freeze_layers, model.config.num_hidden_layers, "layers"),
        ("max_length", config.max_length, model.config.max_position_embeddings, "positions"),
    ):
        require(value <= most, f"{name} must be <= {most}, the {what} of model {model.name!r}, got {value}")
    return config


@dataclass(frozen=True)
class TuningJob:
    """A part to be fine-tuned; num_bad: how many lines of its files were set aside."""

    part: Part
    config: FineTuneConfig
    material: Material
    num_bad: int


def tuning_job(folder: Path, part: str, data: Path, data_sets: Sequence[AnyData], config: FineTuneConfig) -> TuningJob:
    """What the model in `folder` is tuned with; data_sets: what the part's files in `data` hold.

    Raises InputError, naming the file, where they make no task or cannot be measured on.
    """
    training, *dev, test = (each.examples for each in data_sets)
    subjects = [f"part {part!r}, {str(data / file)!r}" for file in PARTS[part].files]
    remedy = "; mend the file, or choose other --parts"
    try:
        task = make_task(PARTS[part].kind, training, Tokenizer.from_pretrained(folder), config)
    except InputError as error:
        raise InputError(f"{subjects[0]}: {error}{remedy}") from None
    for subject, each in zip(subjects, data_sets, strict=True):
        check_examples(task, each.examples, subject, remedy)
    material = Material(folder, task, training, dev[0] if dev else [], test)
    return TuningJob(PARTS[part], config, material, sum(len(each.bad) for each in data_sets))


def fine_tuned(
    job: TuningJob, num_seeds: int, work: Path, ranks: Ranks, *, label: str, still_to_come: float
) -> PartResult:
    """Fine-tune with the seeds 1 to `num_seeds`, and measure on the test set; raises Interrupted where it was stopped.

    `work` keeps each seed's model, so that an interrupted part goes on where it was. label, still_to_come: as in
    `run_seeds`.
    """
    part, config, material = job.part, job.config, job.material
    folders = {seed: work / f"seed-{seed}" for seed in range(1, num_seeds + 1)}
    found = run_seeds(material, config, folders, ranks, resume=True, label=label, still_to_come=still_to_come)
    runs = [figures.get("test", {}) for figures in found]
    model = load(folders[1], (part.kind,)).model.to(ranks.device)
    evidence, first, _ = measured(material.task, model, material.test)
    for folder, run in zip(folders.values(), runs, strict=True):
        require(first.keys() <= run.keys(), f"{str(folder / FIGURES)!r} is damaged; delete it, to measure again")
    assert part.primary is not None
    interval, primary, figures = with_interval(part.primary, evidence), next(iter(first)), {}
    for name in first:
        mean, deviation = mean_and_deviation([run[name] for run in runs])
        low, high = (interval.low, interval.high) if name == primary else (None, None)
        figures[name] = Figure(mean, low, high, deviation if num_seeds > 1 else None)
    chosen = "best weights on dev" if len(part.files) == 3 else "last weights"
    protocol = (
        f"{part.title}: fine-tuned on {len(material.training)} rows ({job.num_bad} of all set aside), "
        f"{config.epochs:g} epochs, learning rate {config.learning_rate:g}, {chosen}; "
        f"{num_seeds} seeds, mean, interval over test items of the first"
    )
    return PartResult(figures, protocol, evidence)
