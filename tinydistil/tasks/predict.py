"""A fine-tuned model on encoded examples, and on a stream of new text. Shapes: T tokens, C classes."""

import re
import sys
import time
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from tinydistil.base.errors import InputError, require
from tinydistil.base.stop import Interrupted, stop_asked
from tinydistil.batches.order import by_length
from tinydistil.model.heads import SpanLogits
from tinydistil.tasks.examples import TaskExample, collate
from tinydistil.tasks.task import Prediction, RowT, Task
from tinydistil.tasks.task_objective import TaskModel
from tinydistil.tasks.task_records import LONGEST_TEXT, LabelledText, Question, TaggedSentence, portions

# How long it is silent, in seconds.
SAY_EVERY_S = 20.0
# Rows are sorted by length inside a window of this many batches: little padding, bounded memory.
WINDOW_BATCHES = 16
# A letter or digit with the marks that stand on it, which `_word_spans` writes as U+0300. Inside a word (d'água,
# Procuradoria-Geral, 5.815/2017) marks are kept: so 98.6 % of the tokens of LeNER-Br's development set are one word
# each, 96.1 % if all marks cut.
_LETTER = r"\w\u0300*"
_WORD = re.compile(rf"(?:{_LETTER})+(?:(?:[-'’./:@]|(?<=\d),(?=\d))(?:{_LETTER})+)*|[^\w\s]\u0300*")


class TimeLeft:
    """Says on standard error, where work is long, how much of it is done and how long the rest takes."""

    def __init__(self) -> None:
        self._began = self._printed = time.monotonic()

    def say(self, done: str, share: float) -> None:
        """`done`, and the time left when that is so great a `share` of all; at most every SAY_EVERY_S."""
        if (now := time.monotonic()) - self._printed > SAY_EVERY_S:
            self._printed, left_s = now, (now - self._began) * (1 / share - 1)
            print(f"{done}, {left_s:,.0f} s left", file=sys.stderr)


@torch.inference_mode()
def predict(
    model: TaskModel, examples: Sequence[TaskExample], *, pad_id: int, batch_size: int = 64
) -> list[NDArray[np.float32]]:
    """The logits of each example, in order: (C,), for tagging (T, C), for answers (T, 2); computed in eval mode.

    The model is left in the mode it came in. Raises Interrupted between two batches where a loop around it was asked
    to stop, and InputError for logits that are not finite. What takes long says on standard error how long it will.
    """
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    lengths, found = {i: len(each.ids) for i, each in enumerate(examples)}, dict[int, NDArray[np.float32]]()
    tokens, time_left = 0, TimeLeft()
    for chosen in by_length(lengths, batch_size):
        if stop_asked():  # a pass over a large development set may take minutes
            raise Interrupted
        batch = collate([examples[i] for i in chosen], pad_id).to(device)
        output = model(batch.input_ids, batch.attention_mask, batch.token_type_ids)
        if isinstance(output, SpanLogits):
            output = torch.stack([output.first, output.last], -1)
        # Before a class or an answer is made of them: NaN would be class 0.
        require(
            bool(output.isfinite().all()),
            "the model's predictions are not finite; lower learning_rate to tune it, or choose a model that is sound",
        )
        for i, logits in zip(chosen, output.float().cpu().numpy(), strict=True):
            found[i] = logits if logits.ndim == 1 else logits[: lengths[i]]
        tokens += sum(lengths[i] for i in chosen)
        time_left.say(f"predicted {len(found):,} of {len(examples):,} examples", tokens / sum(lengths.values()))
    model.train(was_training)
    return [found[i] for i in range(len(examples))]


def stream(
    task: Task[RowT, Prediction], model: TaskModel, rows: Iterable[RowT], *, batch_size: int
) -> Iterator[tuple[RowT, Prediction]]:
    """Each row with its prediction, in order; at most 16 batches of rows are held at a time."""
    for window in portions(rows, batch_size * WINDOW_BATCHES):
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


def text_rows(lines: Iterable[str], *, paired: bool) -> Iterator[LabelledText]:
    """Lines as rows without labels; of a pair the two texts stand with a tab between.

    Raises InputError, by number, for a line that is empty or has another number of texts than the model was tuned for.
    """
    for number, line in enumerate(lines, start=1):
        first, tab, second = line.partition("\t")
        if not first.strip() or bool(tab) != paired:
            wanted = "two texts with a tab between" if paired else "one text, without tabs"
            raise InputError(f"text {number} must be {wanted}, got {line[:80]!r}")
        yield LabelledText(first, second if paired else None, "")


def sentence_rows(lines: Iterable[str]) -> Iterator[TaggedSentence]:
    """Lines as words without tags, as CoNLL files have them: other marks than those inside words stand alone."""
    for line in lines:
        yield TaggedSentence(tuple(line[start:end] for start, end in word_spans(line)), ())


def word_spans(text: str) -> list[tuple[int, int]]:
    """Where the words of `text` begin and end, composed (NFC) and decomposed (NFD) text alike."""
    # Joiners and soft hyphens (Cf) belong to what they stand behind, as accents (M) do.
    joined = (unicodedata.category(c) for c in text)
    marked = "".join("\u0300" if kind[0] == "M" or kind == "Cf" else c for c, kind in zip(text, joined, strict=True))
    return [found.span() for found in _WORD.finditer(marked)]


def question_rows(lines: Iterable[str], context: str | None) -> Iterator[Question]:
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
