"""The four forms of tasks by name: which files they read, and how rows make a task."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias, cast

from tinydistil.base.config import nearest
from tinydistil.base.errors import require
from tinydistil.tasks.answer_task import AnswerTask
from tinydistil.tasks.finetune_config import FineTuneConfig
from tinydistil.tasks.labelled import Columns, read_labelled
from tinydistil.tasks.questions import read_squad
from tinydistil.tasks.tag_task import TagTask
from tinydistil.tasks.tagged import read_conll
from tinydistil.tasks.task_records import LabelledText, Question, TaggedSentence, TaskData
from tinydistil.tasks.text_task import TextTask
from tinydistil.tokenizer.tokenizer import Tokenizer

KINDS = ("classify", "regress", "tag", "answer")
AnyTask: TypeAlias = TextTask | TagTask | AnswerTask
AnyData: TypeAlias = TaskData[LabelledText] | TaskData[TaggedSentence] | TaskData[Question]
AnyRow: TypeAlias = LabelledText | TaggedSentence | Question


def read_rows(kind: str, path: Path, columns: Columns) -> AnyData:
    """The rows of a task file of this form; of `columns`, CoNLL looks at the encoding only and SQuAD at nothing."""
    if kind == "answer":
        return read_squad(path)
    if kind == "tag":
        return read_conll(path, encoding=columns.encoding)
    return read_labelled(path, columns, numbers=kind == "regress")


def make_task(kind: str, rows: Sequence[AnyRow], tokenizer: Tokenizer, config: FineTuneConfig) -> AnyTask:
    """The task that training rows of this form make: labels from them, lengths from `config`.

    Raises InputError where they make none: one class only, pairs and single texts mixed, and so on.
    """
    if kind == "answer":
        return AnswerTask(tokenizer, config.max_length, config.stride)
    if kind == "tag":
        return TagTask.of(cast(Sequence[TaggedSentence], rows), tokenizer, config.max_length)
    return TextTask.of(kind, cast(Sequence[LabelledText], rows), tokenizer, config.max_length)


def label_counts(kind: str, rows: Sequence[AnyRow]) -> Counter[str]:
    """How often each class or tag occurs; empty for numbers and answers."""
    if kind == "tag":
        return Counter(tag for row in cast(Sequence[TaggedSentence], rows) for tag in row.tags)
    return Counter(row.label for row in cast(Sequence[LabelledText], rows) if kind == "classify")


def label_report(task: AnyTask, rows: Sequence[AnyRow]) -> str:
    """The labels of training by number, with their counts, for a person; "" where the task has none."""
    counts = label_counts(task.kind, rows)
    return ", ".join(f"{number} {label!r} ({counts[label]:,})" for number, label in enumerate(task.labels) if counts)


def unseen_labels(task: AnyTask, rows: Sequence[AnyRow]) -> str:
    """What is to be said of labels in `rows` that training did not have; "" for none.

    Raises InputError where no label is known: then it is another column, or another task.
    """
    counts = label_counts(task.kind, rows)
    unseen = {label: count for label, count in counts.most_common() if label not in task.labels}
    if not unseen:
        return ""
    named = ", ".join(f"{label!r} ({count:,})" for label, count in list(unseen.items())[:5])
    more = f" and {len(unseen) - 5} more" if len(unseen) > 5 else ""
    hint = nearest(next(iter(unseen)), task.labels)
    require(len(unseen) < len(counts), f"training had none of its labels: {named}{more}{hint}")
    return f"labels that training did not have count as wrong: {named}{more}{hint}"
