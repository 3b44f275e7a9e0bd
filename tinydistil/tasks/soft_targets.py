"""What a fine-tuned teacher predicts, as a student of the same task learns it, whichever tokenizer each has.

Shapes: T tokens, W words, C classes.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tinydistil.base.errors import require
from tinydistil.distill.options import AUTO
from tinydistil.distill.teacher.live import check_teacher_precision
from tinydistil.distill.teacher.precision import Reading, convert, fastest, table_of, tried
from tinydistil.tasks.examples import Example, LabelledText, Question
from tinydistil.tasks.folder import FineTuned, check_length
from tinydistil.tasks.label_task import TextTask
from tinydistil.tasks.task import JOINT, AnyTask, EncodedExample, collate, logits_of
from tinydistil.tasks.train_task import NOWHERE

_CALIBRATION = 32  # examples


class SoftTargets:
    """A fine-tuned teacher's logits for examples of `task`, its classes in that task's order; each computed once.

    The teacher reads texts and sentences with its own tokenizer; what it says of a word's first piece is of the word.
    Of a window that a student reads for an answer, a teacher of the same tokenizer reads the same tokens; another reads
    the same characters, and what it gives to a token goes to the student's token where that one begins, or ends.
    precision: of `distill.teacher.live.PRECISIONS`, for which the model is changed in place, by the first of `sample`
    where it is int8; or AUTO, which is float32 on CUDA, and whose trial is printed. Raises InputError where the classes
    are others, or for a precision that this machine lacks.
    """

    def __init__(
        self, teacher: FineTuned, task: AnyTask, precision: str = "float32", sample: Sequence[Example] = ()
    ) -> None:
        self.model, self.task = teacher.model, teacher.task
        require(
            self.task.kind == task.kind and set(self.task.labels) == set(task.labels),
            f"the teacher was fine-tuned to {self.task.kind} {list(self.task.labels)}, "
            f"the student is asked to {task.kind} {list(task.labels)}",
        )
        if isinstance(task, TextTask):
            assert isinstance(self.task, TextTask)
            form = "pairs of texts" if task.paired else "single texts"
            require(self.task.paired == task.paired, f"the teacher was not fine-tuned on {form}; give one that was")
        self._reads_tokens = task.kind == "answer" and self.task.tokenizer.fingerprint == task.tokenizer.fingerprint
        if self._reads_tokens:
            check_length(teacher.model, task, "the teacher's")
        self._order = [self.task.labels.index(label) for label in task.labels] or [0, 1]  # answers have no labels
        self._known: dict[object, NDArray[np.float32]] = {}
        device = next(self.model.parameters()).device
        check_teacher_precision(precision, device)
        if precision == AUTO and (device.type != "cpu" or not sample):
            precision = "float32"
        encoder, texts = self.model.bert, []
        if precision in (AUTO, "int8"):
            batch = collate(self.task.encode(sample[:_CALIBRATION], labelled=False), self.task.tokenizer.pad_id)
            texts.append((batch.input_ids, batch.attention_mask))
        if precision == AUTO:
            trials = tried(
                [encoder], texts, lambda: [Reading(encoder(ids, mask).last_hidden[mask != 0]) for ids, mask in texts]
            )
            print(table_of(trials))
            precision = fastest(trials)
        self.precision = precision
        self._autocast = partial(torch.autocast, device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")
        convert(encoder, precision, texts)

    def of_texts(self, examples: Sequence[LabelledText]) -> list[NDArray[np.float32]]:
        """For each example the logits (C,) up to a constant, the number, (1,), or both, (1 + C,)."""
        new = [example for example in dict.fromkeys(examples) if example not in self._known]
        with self._autocast():
            predictions = self.task.predict(self.model, new)
        for example, found in zip(new, predictions, strict=True):
            # Logarithms of probabilities are logits but for a constant, which softmax does not see.
            count, found = int(self.task.kind in ("regress", JOINT)), found[self._order]
            logits = np.concatenate([found[:count], np.log(np.maximum(found[count:], 1e-30))])
            self._known[example] = logits.astype(np.float32)
        return [self._known[example] for example in examples]

    def of_tokens(self, examples: Sequence[Example], encoded: Sequence[EncodedExample]) -> list[NDArray[np.float32]]:
        """For each part that `examples` were encoded to the logits (T, C) of tags, which only first pieces of words
        have, or (T, 2) of where the answer begins and ends."""
        if self.task.kind == "tag":
            return self._of_words(examples, encoded)
        keys = [(each.ids.tobytes(), each.type_ids.tobytes()) for each in encoded]
        new = {key: each for key, each in zip(keys, encoded, strict=True) if key not in self._known}
        read = (
            self._logits_of(list(new.values()))
            if self._reads_tokens
            else self._of_characters(examples, list(new.values()))
        )
        self._known |= dict(zip(new, read, strict=True))
        return [self._known[key] for key in keys]

    def _logits_of(self, encoded: Sequence[EncodedExample]) -> list[NDArray[np.float32]]:
        with self._autocast():
            logits = logits_of(self.model, encoded, pad_id=self.task.tokenizer.pad_id)
        return [each[:, self._order] for each in logits]

    def _of_words(self, examples: Sequence[Any], encoded: Sequence[EncodedExample]) -> list[NDArray[np.float32]]:
        new = [each for each in {each.words: each for each in examples}.values() if each.words not in self._known]
        read = self.task.encode(new, labelled=False)
        for each in new:  # even, where no piece is left of a word
            self._known[each.words] = np.zeros((len(each.words), len(self._order)), np.float32)
        for part, logits in zip(read, self._logits_of(read), strict=True):
            begun = part.spans >= 0
            self._known[new[part.source].words][part.spans[begun]] = logits[begun]
        parts = [(self._known[examples[each.source].words], each.spans[:, None]) for each in encoded]
        return [np.where(words >= 0, known[words[:, 0]], np.float32(0)) for known, words in parts]

    def _of_characters(self, examples: Sequence[Any], windows: Sequence[EncodedExample]) -> list[NDArray[np.float32]]:
        """For each window the logits (T, 2) up to a constant; outside of the context NOWHERE."""
        questions, begins = list[Question](), list[int]()
        for window in windows:
            inside = window.spans[window.spans[:, 0] >= 0]
            begins.append(int(inside[0, 0]))
            asked = examples[window.source]
            questions.append(replace(asked, context=asked.context[begins[-1] : inside[-1, 1]]))
        read = self.task.encode(questions, labelled=False)
        best = [np.full((len(each.context), 2), -np.inf) for each in questions]  # by first and by last character
        for part, logits in zip(read, self._logits_of(read), strict=True):
            (inside,) = np.nonzero(part.spans[:, 0] >= 0)
            for side in (0, 1):
                # Windows that overlap say two things of a token.
                np.maximum.at(best[part.source][:, side], part.spans[inside, side] - side, logits[inside, side])
        found = []
        for window, begin, of_characters in zip(windows, begins, best, strict=True):
            logits, (tokens,) = np.full((len(window.ids), 2), NOWHERE), np.nonzero(window.spans[:, 0] >= 0)
            for side in (0, 1):
                (characters,) = np.nonzero(np.isfinite(of_characters[:, side]))
                holders = tokens[np.searchsorted(window.spans[tokens, 1], characters + begin, side="right")]
                np.logaddexp.at(logits[:, side], holders, of_characters[characters, side])
            found.append(logits.astype(np.float32))
        return found
