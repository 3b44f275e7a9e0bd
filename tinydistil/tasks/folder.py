"""The four kinds of tasks: which files they read, how examples make a task, which model learns it, and its folder.

A fine-tuned folder is an ordinary Hugging Face folder, with task.json about what it was tuned for.
"""

import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import torch

from tinydistil.base.config import shown
from tinydistil.base.errors import InputError, require
from tinydistil.base.files import read_json, write_json
from tinydistil.base.hub import resolve_folder
from tinydistil.evaluate.inference import check_match
from tinydistil.model import heads
from tinydistil.model.config import BertConfig
from tinydistil.model.sentence_folder import declare_sentence_encoder
from tinydistil.tasks.answer_task import AnswerTask, read_squad
from tinydistil.tasks.examples import LONGEST_TEXT, ExampleT, LabelledText, Question, TaggedSentence, TaskData, portions
from tinydistil.tasks.finetune_config import FineTuneConfig
from tinydistil.tasks.forms import PAIR_MODELS, form_of, forms_of, is_line
from tinydistil.tasks.label_task import TextTask
from tinydistil.tasks.labelled import Columns, read_labelled
from tinydistil.tasks.tag_task import TagTask, are_transitions
from tinydistil.tasks.tagged import read_conll
from tinydistil.tasks.task import JOINT, AnyTask, Prediction, Task, TaskModel
from tinydistil.tokenizer.tokenizer import Tokenizer

AnyData: TypeAlias = TaskData[LabelledText] | TaskData[TaggedSentence] | TaskData[Question]
TASK_FILE = "task.json"
MODELS: dict[str, type[TaskModel]] = {
    "classify": heads.BertForSequenceClassification,
    "regress": heads.BertForSequenceClassification,
    JOINT: heads.BertForSequenceClassification,
    "tag": heads.BertForTokenClassification,
    "answer": heads.BertForQuestionAnswering,
}
KINDS = tuple(kind for kind in MODELS if kind != JOINT)


@dataclass(frozen=True, slots=True)
class FineTuned:
    """A fine-tuned model, in eval mode, and its task with tokenizer and labels."""

    model: TaskModel
    task: AnyTask


def read_examples(kind: str, path: Path, columns: Columns) -> AnyData:
    """What a task file of this form holds; of `columns`, CoNLL looks at the encoding only and SQuAD at nothing."""
    if kind == "answer":
        return read_squad(path)
    if kind == "tag":
        return read_conll(path, encoding=columns.encoding)
    return read_labelled(path, columns, numbers=kind != "classify", classes=kind != "regress")


def make_task(
    kind: str, examples: Sequence[Any], tokenizer: Tokenizer, config: FineTuneConfig, shape: BertConfig
) -> AnyTask:
    """The task that training examples of this form make: labels from them, lengths from `config`, for a model `shape`.

    Raises InputError where they make none: one class only, pairs and single texts mixed, and so on.
    """
    if kind not in ("tag", "answer"):
        task = TextTask.of(kind, examples, tokenizer, config.max_length)
        return replace(task, form=form_of(task, config, shape))
    chosen = config.form or config.comparison
    require(not chosen, f"form and comparison are for pairs of texts, the task is to {kind}; leave {chosen!r} out")
    if kind == "answer":
        return AnswerTask(tokenizer, config.max_length, config.stride)
    return TagTask.of(examples, tokenizer, config.max_length)


def model_of(task: AnyTask) -> type[TaskModel]:
    """The class of model that learns `task`."""
    return PAIR_MODELS.get(task.form, MODELS[task.kind]) if isinstance(task, TextTask) else MODELS[task.kind]


def new_model(folder: Path, task: AnyTask, *, pooling: str, seed: int) -> TaskModel:
    """The encoder in `folder` under a new head for `task`, drawn from `seed`.

    Raises InputError where model and tokenizer do not belong together, or `max_length` is beyond the model.
    """
    changes = task.changes
    if isinstance(task, TextTask):
        changes = changes | {"pooling": pooling if task.form == "cross" else "mean"}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model_of(task).from_pretrained(folder, heads="new", changes=changes, attention="packed")
    check_match(model, task.tokenizer)
    check_length(model, task, "the model's")
    return model


def check_length(model: TaskModel, task: AnyTask, whose: str) -> None:
    """Raise InputError where the task's examples are longer than `model` reads."""
    longest = model.config.longest
    fits = task.max_length <= longest
    require(fits, f"max_length must be <= {longest}, {whose} positions, got {task.max_length}")


def save(model: TaskModel, task: AnyTask, folder: Path) -> None:
    """Write model, tokenizer and task.json."""
    model.save_pretrained(folder)
    task.tokenizer.save_pretrained(folder)
    known: dict[str, object] = {"kind": task.kind, "max_length": task.max_length, "labels": list(task.labels)}
    if isinstance(task, TextTask):
        known |= {"paired": task.paired, "form": task.form} | ({"line": task.line} if task.form == "cosine" else {})
        if model.config.pooling != "pooler":
            # Others take such a folder for a plain encoder; so it also says which of its vectors to use.
            declare_sentence_encoder(folder, model.config, pooling=model.config.pooling, max_length=task.max_length)
    elif isinstance(task, AnswerTask):
        known["stride"] = task.stride
    elif isinstance(task, TagTask):
        known["transitions"] = task.transitions
    write_json(folder / TASK_FILE, known)


def load(name: str | Path, kinds: tuple[str, ...], *, revision: str | None = None, offline: bool = False) -> FineTuned:
    """The fine-tuned model in folder or hub name `name`.

    Raises InputError where it was not fine-tuned by us, for another kind of task, or lacks the head.
    """
    folder = resolve_folder(name, revision=revision, offline=offline)
    path = folder / TASK_FILE
    missing = f"{str(name)!r} has no {TASK_FILE}: no fine-tuned model; make one with scripts/finetune.py"
    require(path.is_file(), missing)
    default = {"kind": None, "max_length": None, "stride": None, "paired": None, "form": "cross", "line": [1.0, 0.0],
               "transitions": []}  # fmt: skip
    known: dict[str, Any] = default | read_json(path)
    kind, max_length, stride, paired, form, line, transitions = (known[key] for key in default)
    if kind not in kinds:
        raise InputError(f"{str(name)!r} was fine-tuned to {kind!r}, not to {' or '.join(kinds)}; choose another model")
    forms = forms_of(kind, paired=paired is True)
    require(form in forms, f"{str(path)!r}: form must be {' or '.join(forms)}, got {shown(form)}")
    model = PAIR_MODELS.get(form, MODELS[kind]).from_pretrained(folder, heads="require", attention="packed")
    tokenizer = Tokenizer.from_pretrained(folder)
    longest, labels = model.config.longest, model.config.labels
    # type(), not isinstance(): true is an int too. [CLS], a token and [SEP] are the least.
    fits = type(max_length) is int and 3 <= max_length <= longest
    for field, sound, wanted in (
        ("max_length", fits, f"be in 3..{longest}, the model's positions"),
        ("stride", kind != "answer" or type(stride) is int, "be an integer"),
        ("paired", kind in ("tag", "answer") or type(paired) is bool, "be true or false"),
        ("line", is_line(line), "be two finite numbers, the first above 0"),
        (
            "transitions",
            are_transitions(transitions, len(labels)),
            "be [], or a row of numbers for each label and one for the start",
        ),
    ):
        require(sound, f"{str(path)!r}: {field} must {wanted}, got {shown(known.get(field))}")
    require(
        kind == "answer" or known.get("labels") == list(labels),
        f"{str(folder)!r}: {TASK_FILE} has the labels {shown(known.get('labels'))}, config.json "
        f"{shown(list(labels))}; they do not belong together",
    )
    check_match(model, tokenizer)
    if kind == "answer":
        return FineTuned(model, AnswerTask(tokenizer, max_length, stride))
    if kind == "tag":
        return FineTuned(model, TagTask(labels, tokenizer, max_length, tuple(map(tuple, transitions))))
    return FineTuned(model, TextTask(kind, labels, tokenizer, max_length, paired, form, (line[0], line[1])))


# Examples are sorted by length inside a window of this many batches: little padding, bounded memory.
WINDOW_BATCHES = 16
# A letter or digit with the marks that stand on it, which `word_spans` writes as U+0300. Inside a word (d'água,
# Procuradoria-Geral, 5.815/2017) marks are kept: so 98.6 % of the tokens of LeNER-Br's development set are one word
# each, 96.1 % if all marks cut.
_LETTER = r"\w\u0300*"
_WORD = re.compile(rf"(?:{_LETTER})+(?:(?:[-'’./:@]|(?<=\d),(?=\d))(?:{_LETTER})+)*|[^\w\s]\u0300*")


def stream(
    task: Task[ExampleT, Prediction], model: TaskModel, examples: Iterable[ExampleT], *, batch_size: int
) -> Iterator[tuple[ExampleT, Prediction]]:
    """Each example with its prediction, in order; at most 16 batches are held at a time."""
    for window in portions(examples, batch_size * WINDOW_BATCHES):
        yield from zip(window, task.predict(model, window, batch_size=batch_size), strict=True)


def without_blank(lines: Iterable[str]) -> Iterator[str]:
    """The lines that hold something; the first five that do not, and how many, are printed on standard error."""
    blank = 0
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield line
            continue
        blank += 1
        if blank <= 5:
            print(f"line {number} is blank; skipped", file=sys.stderr)
    if blank > 5:
        print(f"{blank:,} blank lines skipped", file=sys.stderr)


def text_examples(lines: Iterable[str], *, paired: bool) -> Iterator[LabelledText]:
    """Lines as examples without labels; of a pair the two texts stand with a tab between.

    Raises InputError, by number, for a line that is empty or has another number of texts than the model was tuned for.
    """
    wanted = "two texts with a tab between" if paired else "one text, without tabs"
    for number, line in enumerate(lines, start=1):
        first, tab, second = line.partition("\t")
        sound = first.strip() and bool(tab) == paired
        require(bool(sound), f"text {number} must be {wanted}, got {line[:80]!r}")
        yield LabelledText(first, second if paired else None, "")


def sentence_examples(lines: Iterable[str]) -> Iterator[TaggedSentence]:
    """Lines as words without tags, as CoNLL files have them: other marks than those inside words stand alone."""
    for line in lines:
        yield TaggedSentence(tuple(line[start:end] for start, end in word_spans(line)), ())


def word_spans(text: str) -> list[tuple[int, int]]:
    """Where the words of `text` begin and end, composed (NFC) and decomposed (NFD) text alike."""
    # Joiners and soft hyphens (Cf) belong to what they stand behind, as accents (M) do.
    kinds = ((c, unicodedata.category(c)) for c in text)
    marked = "".join("\u0300" if kind[0] == "M" or kind == "Cf" else c for c, kind in kinds)
    return [found.span() for found in _WORD.finditer(marked)]


def question_examples(lines: Iterable[str], context: str | None) -> Iterator[Question]:
    """Lines as questions on `context`, or where that is None each with its own behind a tab.

    Raises InputError, by number, for a line without question or context, and for a context that is too long.
    """
    for number, line in enumerate(lines, start=1):
        question, _, own = line.partition("\t")
        text = own if context is None else context
        wanted = "must be a question, a tab and its context (or give predict.py --context)"
        require(bool(question.strip() and text.strip()), f"text {number} {wanted}")
        too_long = f"the context of text {number} has {len(text):,} characters; cut it to {LONGEST_TEXT:,}"
        require(len(text) <= LONGEST_TEXT, too_long)
        yield Question(str(number), question, text, ())
