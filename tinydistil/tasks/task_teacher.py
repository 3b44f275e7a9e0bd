"""A fine-tuned teacher's logits for training examples, as soft targets. Shapes: T tokens, C classes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tinydistil.base.errors import InputError, require
from tinydistil.tasks.examples import TaskExample
from tinydistil.tasks.folder import FineTuned
from tinydistil.tasks.predict import predict
from tinydistil.tasks.task import AnyTask
from tinydistil.tasks.task_records import LabelledText
from tinydistil.tasks.text_task import TextTask


class SoftTargets:
    """A fine-tuned teacher's logits for examples of `task`, its classes in that task's order; each computed once.

    Of texts the teacher reads the row with its own tokenizer. Of tags and answers it reads the student's tokens, since
    its logits belong to tokens. Raises InputError where its classes are others, or there its tokenizer is another.
    """

    def __init__(self, teacher: FineTuned, task: AnyTask) -> None:
        teacher_task = teacher.task
        if teacher_task.kind != task.kind or set(teacher_task.labels) != set(task.labels):
            raise InputError(
                f"the teacher was fine-tuned to {teacher_task.kind} {list(teacher_task.labels)}, "
                f"the student is asked to {task.kind} {list(task.labels)}"
            )
        if not isinstance(teacher_task, TextTask):
            _check_tokens(teacher, task)
        self.model, self.task = teacher.model, teacher_task
        self._order = [teacher_task.labels.index(label) for label in task.labels]
        self._known: dict[object, NDArray[np.float32]] = {}

    def of_texts(self, rows: Sequence[LabelledText]) -> list[NDArray[np.float32]]:
        """For each row the logits (C,) up to a constant, or the number, (1,)."""
        assert isinstance(self.task, TextTask)
        new = [row for row in dict.fromkeys(rows) if row not in self._known]
        for row, found in zip(new, self.task.predict(self.model, new), strict=True):
            # Logarithms of probabilities are logits but for a constant, which softmax does not see.
            logits = found if self.task.kind == "regress" else np.log(np.maximum(found[self._order], 1e-30))
            self._known[row] = logits.astype(np.float32)
        return [self._known[row] for row in rows]

    def of_tokens(self, examples: Sequence[TaskExample]) -> list[NDArray[np.float32]]:
        """For each example the logits (T, C) of tags, or (T, 2) of where the answer begins and ends."""
        keys = [(each.ids.tobytes(), each.type_ids.tobytes()) for each in examples]
        new = {key: each for key, each in zip(keys, examples, strict=True) if key not in self._known}
        logits = predict(self.model, list(new.values()), pad_id=self.task.tokenizer.pad_id)
        order = self._order or [0, 1]  # answers have no labels
        self._known |= {key: found[:, order] for key, found in zip(new, logits, strict=True)}
        return [self._known[key] for key in keys]


def _check_tokens(teacher: FineTuned, task: AnyTask) -> None:
    """Raise InputError unless the teacher can read what the student reads, token by token."""
    require(
        teacher.task.tokenizer.fingerprint == task.tokenizer.fingerprint,
        f"to {task.kind}, teacher and student must share one tokenizer: the teacher's predictions are of tokens, and "
        "here the two cut words differently; fine-tune a teacher with the student's tokenizer",
    )
    longest = teacher.model.config.max_position_embeddings
    require(
        task.max_length <= longest,
        f"max_length must be <= {longest}, the teacher's positions, got {task.max_length}",
    )
