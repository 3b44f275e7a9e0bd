"""Files of texts without labels, in the shape of a task."""

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from tinydistil.base.errors import InputError, require
from tinydistil.corpus.language import split_sentences
from tinydistil.corpus.records import plain_name
from tinydistil.tasks.examples import LabelledText, TaggedSentence, TaskData, content_of, data_of, texts_of
from tinydistil.tasks.folder import word_spans
from tinydistil.tasks.label_task import TextTask
from tinydistil.tasks.labelled import Columns, read_labelled
from tinydistil.tasks.task import AnyTask


def read_unlabelled(path: Path, task: AnyTask, columns: Columns) -> TaskData[LabelledText] | TaskData[TaggedSentence]:
    """What a file holds for `task`, labels not looked at: a task file, or .txt with a text a line, of pairs with a tab
    between; to tag .txt, CoNLL, whose first column counts, or documents, whose sentences do. Raises InputError,
    by file, for texts of another shape."""
    is_lines = plain_name(path).endswith(".txt")
    if not isinstance(task, TextTask):
        if plain_name(path).endswith((".conll", ".iob")):
            lines = _lines(path, columns, ".conll", ".iob")
            blocks = [[*block] for blank, block in groupby(lines, lambda line: not line[1].strip()) if not blank]
            sentences = [(block[0][0], [line.split()[0] for _, line in block]) for block in blocks]
        else:
            lines = _lines(path, columns) if is_lines else list(_sentences(path, columns))
            sentences = [(number, [line[a:b] for a, b in word_spans(line)]) for number, line in lines]
        return data_of(path, [(number, TaggedSentence(tuple(each), ())) for number, each in sentences if each])
    if is_lines:
        parts = [(n, line.partition("\t")) for n, line in _lines(path, columns) if line.strip()]
        texts = [(number, LabelledText(one, two if tab else None, "")) for number, (one, tab, two) in parts]
        sound = [(n, e if all(text.strip() for text in texts_of(e)) else "a text is empty") for n, e in texts]
        found = data_of(path, sound)
    else:
        found = read_labelled(path, replace(columns, label=None), numbers=False)
    wanted = "pairs (--second-column, or in .txt a tab between)" if task.paired else "single texts"
    for row in found.examples:
        same = (row.second is not None) == task.paired
        require(same, f"--unlabelled {str(path)!r} must hold {wanted}, as --train does, got {row.text[:80]!r}")
    return found


def _sentences(path: Path, columns: Columns) -> Iterator[tuple[int, str]]:
    """The sentences of the documents that a table or JSON lines hold, with the numbers of the documents."""
    documents = read_labelled(path, replace(columns, label=None), numbers=False).examples
    for number, document in enumerate(documents, start=1):
        yield from ((number, sentence) for sentence in split_sentences(document.text))


def _lines(path: Path, columns: Columns, *endings: str) -> list[tuple[int, str]]:
    """The lines of a file of text with their numbers."""
    data = content_of(path, (".txt", *endings), "format of unlabelled texts")
    try:
        return list(enumerate(re.split("\r?\n", data.decode(columns.encoding)), start=1))
    except UnicodeDecodeError as error:
        remedy = "name its encoding with --encoding, perhaps cp1252"
        raise InputError(f"{str(path)!r} is not {columns.encoding} (byte {error.start}); {remedy}") from None
