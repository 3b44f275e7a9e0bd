"""A fine-tuned teacher's logits for training examples, as soft targets. Shapes: T tokens, C classes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tinydistil.base.errors import InputError, require
from tinydistil.tasks.examples import LabelledText
from tinydistil.tasks.folder import FineTuned
from tinydistil.tasks.task import AnyTask, logits_of
from tinydistil.tasks.task_batches import EncodedExample
from tinydistil.tasks.text_task import TextTask


class SoftTargets:
    """A fine-tuned teacher's logits for examples of `task`, its classes in that task's order; each computed once.

    Of texts the teacher reads the example with its own tokenizer. Of tags and answers it reads the student's tokens,
    since its logits belong to tokens. Raises InputError where its classes are others, or there its tokenizer is.
    """

    def __init__(self, teacher: FineTuned, task: AnyTask) -> None:
        self.model, self.task = teacher.model, teacher.task
        if self.task.kind != task.kind or set(self.task.labels) != set(task.labels):
            raise InputError(
                f"the teacher was fine-tuned to {self.task.kind} {list(self.task.labels)}, "
                f"the student is asked to {task.kind} {list(task.labels)}"
            )
        if not isinstance(task, TextTask):
            require(
                self.task.tokenizer.fingerprint == task.tokenizer.fingerprint,
                f"to {task.kind}, teacher and student must share one tokenizer: the teacher's predictions are of "
                "tokens, and here the two cut words differently; fine-tune a teacher with the student's tokenizer",
            )
            longest = teacher.model.config.max_position_embeddings
            fits = task.max_length <= longest
            require(fits, f"max_length must be <= {longest}, the teacher's positions, got {task.max_length}")
        self._order = [self.task.labels.index(label) for label in task.labels] or [0, 1]  # answers have no labels
        self._known: dict[object, NDArray[np.float32]] = {}

    def of_texts(self, examples: Sequence[LabelledText]) -> list[NDArray[np.float32]]:
        """For each example the logits (C,) up to a constant, or the number, (1,)."""
        new = [example for example in dict.fromkeys(examples) if example not in self._known]
        for example, found in zip(new, self.task.predict(self.model, new), strict=True):
            # Logarithms of probabilities are logits but for a constant, which softmax does not see.
            logits = found if self.task.kind == "regress" else np.log(np.maximum(found[self._order], 1e-30))
            self._known[example] = logits.astype(np.float32)
        return [self._known[example] for example in examples]

    def of_tokens(self, encoded: Sequence[EncodedExample]) -> list[NDArray[np.float32]]:
        """For each example the logits (T, C) of tags, or (T, 2) of where the answer begins and ends."""
        keys = [(each.ids.tobytes(), each.type_ids.tobytes()) for each in encoded]
        new = {key: each for key, each in zip(keys, encoded, strict=True) if key not in self._known}
        logits = logits_of(self.model, list(new.values()), pad_id=self.task.tokenizer.pad_id)
        self._known |= {key: found[:, self._order] for key, found in zip(new, logits, strict=True)}
        return [self._known[key] for key in keys]
