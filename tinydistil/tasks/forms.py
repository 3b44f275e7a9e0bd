"""The four forms of tasks by name: which files they read, and how rows make a task."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from tinydistil.tasks.answer_task import AnswerTask
from tinydistil.tasks.finetune_config import FineTuneConfig
from tinydistil.tasks.labelled import Columns, read_labelled
from tinydistil.tasks.questions import read_squad
from tinydistil.tasks.tag_task import TagTask
from tinydistil.tasks.tagged import read_conll
from tinydistil.tasks.task import AnyTask
from tinydistil.tasks.task_records import LabelledText, Question, TaggedSentence, TaskData
from tinydistil.tasks.text_task import TextTask
from tinydistil.tokenizer.tokenizer import Tokenizer

KINDS = ("classify", "regress", "tag", "answer")
AnyData: TypeAlias = TaskData[LabelledText] | TaskData[TaggedSentence] | TaskData[Question]


def read_rows(kind: str, path: Path, columns: Columns) -> AnyData:
    """The rows of a task file of this form; of `columns`, CoNLL looks at the encoding only and SQuAD at nothing."""
    if kind == "answer":
        return read_squad(path)
    if kind == "tag":
        return read_conll(path, encoding=columns.encoding)
    return read_labelled(path, columns, numbers=kind == "regress")


def make_task(kind: str, rows: Sequence[Any], tokenizer: Tokenizer, config: FineTuneConfig) -> AnyTask:
    """The task that training rows of this form make: labels from them, lengths from `config`.

    Raises InputError where they make none: one class only, pairs and single texts mixed, and so on.
    """
    if kind == "answer":
        return AnswerTask(tokenizer, config.max_length, config.stride)
    if kind == "tag":
        return TagTask.of(rows, tokenizer, config.max_length)
    return TextTask.of(kind, rows, tokenizer, config.max_length)
