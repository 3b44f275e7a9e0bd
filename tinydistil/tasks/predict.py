"""New text for a fine-tuned model: lines of text as examples without labels, and a stream of predictions."""

import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator

from tinydistil.base.errors import InputError
from tinydistil.tasks.examples import LONGEST_TEXT, ExampleT, LabelledText, Question, TaggedSentence, portions
from tinydistil.tasks.task import Prediction, Task
from tinydistil.tasks.task_batches import TaskModel

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
    for number, line in enumerate(lines, start=1):
        first, tab, second = line.partition("\t")
        if not first.strip() or bool(tab) != paired:
            wanted = "two texts with a tab between" if paired else "one text, without tabs"
            raise InputError(f"text {number} must be {wanted}, got {line[:80]!r}")
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
        if not question.strip() or not text.strip():
            raise InputError(f"text {number} must be a question, a tab and its context (or give predict.py --context)")
        if len(text) > LONGEST_TEXT:
            raise InputError(f"the context of text {number} has {len(text):,} characters; cut it to {LONGEST_TEXT:,}")
        yield Question(str(number), question, text, ())
