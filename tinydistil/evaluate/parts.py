"""What an evaluation measures on models: size and speed, masked words, zero-shot similarity, and five tuned parts."""

import math
import statistics
import time
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from tinydistil.base.errors import InputError, require
from tinydistil.base.files import PARTIAL_SUFFIX, fingerprint
from tinydistil.base.hub import TOKENIZER_FILES, resolve_folder, weight_files
from tinydistil.base.ranks import Ranks
from tinydistil.distill.step import check_precision
from tinydistil.evaluate.inference import check_match, embed
from tinydistil.evaluate.masked_lm import Span, encode_sequences, masked_lm_scores, ratio, word_loss
from tinydistil.evaluate.metrics import pearson, precision_recall_f1, scores_of
from tinydistil.evaluate.results import OVERLAP, RECORD, TABLES, Figure, Items, PartResult, Statistic, with_interval
from tinydistil.evaluate.similarity import SimilarityScores, cosine_similarity, untrained_copy, word_overlap
from tinydistil.model.bert import BertForMaskedLM, BertModel
from tinydistil.model.config import BertConfig
from tinydistil.model.pretrained import HEAD_BIAS
from tinydistil.model.sentence_folder import SentenceVectors, read_sentence_folder
from tinydistil.tasks.examples import LabelledText
from tinydistil.tasks.finetune import Material, mean_and_deviation, measured, run_seeds
from tinydistil.tasks.finetune_config import FineTuneConfig, settings_for
from tinydistil.tasks.folder import AnyData, load, make_task
from tinydistil.tasks.splits import held_out_of
from tinydistil.tasks.task import check_examples
from tinydistil.tasks.task_output import FIGURES
from tinydistil.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True)
class Model:
    """A model to measure, by its name in the tables and on disk. weights: how many its layers have; content:
    fingerprints of its files, by kind."""

    name: str
    folder: Path
    tokenizer: Tokenizer
    config: BertConfig
    weights: int
    predicts_words: bool
    has_pooler: bool
    content: dict[str, str]


def open_models(given: Sequence[str], *, offline: bool) -> list[Model]:
    """The models of "[NAME=]MODEL", each loaded once. Raises InputError where one is damaged or does not fit its
    tokenizer, and for names that are no plain and different names of folders."""
    models: list[Model] = []
    for each in given:
        # Both may hold "=" themselves: the first split whose model is a folder counts.
        words = each.split("=")
        splits = [("=".join(words[:at]), "=".join(words[at:])) for at in range(len(words))]
        usual = splits[min(1, len(splits) - 1)]
        name, source = next((split for split in splits if split[1] and Path(split[1]).is_dir()), usual)
        folder = resolve_folder(source, offline=offline)
        # A hub name or a folder is called by its last part, unless NAME= says otherwise.
        name = name or (Path(source).name if Path(source).name not in ("", "..") else folder.resolve().name)
        _check_name(name, [model.name for model in models])
        tokenizer, encoder = Tokenizer.from_pretrained(folder), BertModel.from_pretrained(folder)
        check_match(encoder, tokenizer)
        weights = sum(parameter.numel() for parameter in encoder.layers.parameters())
        has_head = encoder.load_report is not None and HEAD_BIAS in encoder.load_report.left_over
        has_pooler, content = encoder.pooler is not None, _content_of(folder)
        models.append(Model(name, folder, tokenizer, encoder.config, weights, has_head, has_pooler, content))
    return models


def _content_of(folder: Path) -> dict[str, str]:
    """Fingerprints of what a model's figures depend on: weights, tokenizer, and all else that says how to use it."""
    weights = weight_files(folder)
    # A sentence encoder keeps pooling and further layers in folders beside the weights.
    modules = [path for path in sorted(folder.glob("[0-9]_*/*")) if path.suffix in (".json", ".safetensors", ".bin")]
    tokenizer = [folder / name for name in TOKENIZER_FILES]
    ours = {*weights, *tokenizer}
    others = [path for path in sorted(folder.glob("*.json")) if path not in ours and ".index." not in path.name]
    kinds = {"weights": weights, "tokenizer": tokenizer, "configuration": [*others, *modules]}
    return {kind: fingerprint(path for path in paths if path.is_file()) for kind, paths in kinds.items()}


def _check_name(name: str, others: Sequence[str]) -> None:
    plain = name.isprintable() and name.strip() == name and "/" not in name and not name.startswith(".")
    require(
        plain and 0 < len(name.encode("utf-8", "surrogatepass")) <= 100,
        "models need names of at most 100 bytes, printable, no dot or space in front, without slashes: "
        f"{name[:120]!r}; give NAME=DIR",
    )
    reserved = _folded(name.removesuffix(PARTIAL_SUFFIX)) in (OVERLAP, RECORD, *TABLES)
    require(not reserved, f"models need names of their own, and {name!r} is one of this program's; change NAME")
    # Some file systems keep "Bert" and "bert", or two spellings of "é", in one folder.
    same = [other for other in others if _folded(other) == _folded(name)]
    require(not same, f"models need names of their own, got {name!r} and {[*same, ''][0]!r}; give NAME=DIR")


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _pearson(items: Items) -> float:
    return pearson(items[:, 0], items[:, 1])


def _macro_f1(items: Items) -> float:
    return precision_recall_f1(items[:, 0], items[:, 1], average="macro").f1


@dataclass(frozen=True)
class Part:
    """files: in the data's folder; to fine-tune: training, dev if there is one, test, which chooses nothing. primary:
    the primary metric of items, None where those are not the same for two models, as tokens are not for two
    vocabularies. kind, title: of the task that is fine-tuned; "" for none."""

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
    sums = masked_lm_scores(masked_lm, model.tokenizer, encode_sequences(texts, model.tokenizer))
    words = word_loss(masked_lm, model.tokenizer, texts, hidden_words)
    items = sums[sums[:, 3] > 0]
    loss = ratio(sums, 0, 3)
    figures = {
        "loss": with_interval(lambda chosen: ratio(chosen, 0, 3), items),
        "perplexity": Figure(math.exp(loss) if loss < 709 else math.inf),
        "accuracy_1": with_interval(lambda chosen: ratio(chosen, 1, 3), items),
        "accuracy_5": Figure(ratio(sums, 2, 3)),
        "loss_per_word": Figure(ratio(words, 0, 1)),
        "bits_per_character": Figure(ratio(words, 0, 2) / math.log(2)),
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
    """Cosines of `vectors` against human scores; Pearson of the same model untrained, and of its other poolings."""
    encoder = BertModel.from_pretrained(model.folder, attention="packed").to(device)

    def scores(encoder: BertModel, pooling: str | SentenceVectors) -> SimilarityScores:
        # what a folder declares has its own prompt
        before = prefix if isinstance(pooling, str) else ""
        return cosine_similarity(encoder, model.tokenizer, *columns(pairs), pooling=pooling, prefix=before)

    said = f"{vectors} vectors" if isinstance(vectors, str) else f"the folder's vectors ({vectors})"
    protocol = f"ASSIN 2 test, zero-shot: cosine of {said}" + (f", prefix {prefix!r}" if prefix else "")
    others = {"untrained_pearson": with_interval(_pearson, scores(untrained_copy(encoder), vectors).items)}
    for pooling in ("mean", "cls", *(["pooler"] if model.has_pooler else [])):
        if pooling != vectors:
            others[f"{pooling}_pearson"] = Figure(scores(encoder, pooling).pearson)
    return _similarity(scores(encoder, vectors), protocol, others)


def overlap_similarity(pairs: Sequence[LabelledText]) -> PartResult:
    """The floor without a model."""
    return _similarity(word_overlap(*columns(pairs)), "ASSIN 2 test, no model: words in common over all words", {})


def _similarity(scores: SimilarityScores, protocol: str, others: dict[str, Figure]) -> PartResult:
    figures = {n: Figure(getattr(scores, n)) for n in ("spearman", "mse_linear", "mse_isotonic", "anisotropy")}
    return PartResult({"pearson": with_interval(_pearson, scores.items)} | figures | others, protocol, scores.items)


def columns(pairs: Sequence[LabelledText]) -> tuple[list[str], list[str], list[float]]:
    """First texts, second texts and scores. Raises InputError where they are no pairs."""
    require(all(pair.second is not None for pair in pairs), "similarity needs pairs of texts")
    return [p.text for p in pairs], [str(p.second) for p in pairs], [float(p.label) for p in pairs]


def config_for(model: Model, part: str, settings: Mapping[str, object]) -> FineTuneConfig:
    """How `part` is fine-tuned. Raises InputError for what the model is too small for."""
    config = settings_for(PARTS[part].kind, model.config, {"pooling": "mean", **settings})
    check_precision(config.precision)
    for name, value, most, what in (
        ("freeze_layers", config.freeze_layers, model.config.num_hidden_layers, "layers"),
        ("max_length", config.max_length, model.config.longest, "positions"),
    ):
        require(value <= most, f"{name} must be <= {most}, the {what} of model {model.name!r}, got {value}")
    return config


def prepare_tuning(
    model: Model,
    name: str,
    data: Path,
    data_sets: Sequence[AnyData],
    config: FineTuneConfig,
    *,
    num_seeds: int,
    work: Path,
    ranks: Ranks,
    label: str,
) -> Callable[[float], PartResult]:
    """What fine-tunes `model` with the seeds 1 to `num_seeds` and measures it on the test set, given the work after it.

    That is in runs of one seed. Raises Interrupted where it was stopped; `work` keeps each seed's model to go on from.
    data_sets: what the files in `data` hold. Raises InputError at once, naming the file, where they make no task.
    """
    part, remedy = PARTS[name], "; mend the file, or choose other --parts"
    training, *dev, test = (each.examples for each in data_sets)
    subjects = [f"part {name!r}, {str(data / file)!r}" for file in part.files]
    try:
        task = make_task(part.kind, training, Tokenizer.from_pretrained(model.folder), config, model.config)
    except InputError as error:
        raise InputError(f"{subjects[0]}: {error}{remedy}") from None
    for subject, each in zip(subjects, data_sets, strict=True):
        check_examples(task, each.examples, subject, remedy)
    rest, held = held_out_of(training, dev[0] if dev else [], test, None, config.seed)
    material = Material(model.folder, task, rest, dev[0] if dev else [], test, held_out=held)
    kept = "last weights" if not dev else f"best weights on {'held-out rows' if held else 'dev'}"
    num_bad = sum(len(each.bad) for each in data_sets)
    folders = {seed: work / f"seed-{seed}" for seed in range(1, num_seeds + 1)}
    protocol = (
        f"{part.title}: fine-tuned on {len(rest)} rows ({num_bad} of all set aside), {config.epochs:g} epochs, "
        f"learning rate {config.learning_rate:g}, {kept}; {num_seeds} seeds, mean, interval over test rows of the first"
    )

    def tune(still_to_come: float) -> PartResult:
        found = run_seeds(material, config, folders, ranks, resume=True, label=label, still_to_come=still_to_come)
        tuned = load(folders[1], (part.kind,))
        evidence, first, _ = measured(tuned.task, tuned.model.to(ranks.device), test)
        runs = [figures.get("test", {}) for figures in found]
        for folder, run in zip(folders.values(), runs, strict=True):
            require(first.keys() <= run.keys(), f"{str(folder / FIGURES)!r} is damaged; delete it, to measure again")
        assert part.primary is not None
        interval, figures = with_interval(part.primary, evidence), dict[str, Figure]()
        for name in first:
            mean, deviation = mean_and_deviation([run[name] for run in runs])
            low, high = (None, None) if figures else (interval.low, interval.high)  # the primary metric is the first
            figures[name] = Figure(mean, low, high, deviation if num_seeds > 1 else None)
        return PartResult(figures, protocol, evidence)

    return tune
