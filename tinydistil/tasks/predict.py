"""A fine-tuned model on encoded examples. Letters: B examples, T tokens, C classes, N examples of the whole set."""

import sys
import time
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from tinydistil.base.errors import require
from tinydistil.base.stop import Interrupted, stop_asked
from tinydistil.model.heads import SpanLogits
from tinydistil.tasks.examples import TaskExample, collate
from tinydistil.tasks.task_objective import TaskModel

# How long it is silent, in seconds.
SAY_EVERY_S = 20.0


class TimeLeft:
    """Says on standard error, where work is long, how much of it is done and how long the rest takes."""

    def __init__(self) -> None:
        self._began = self._said = time.monotonic()

    def say(self, done: str, share: float) -> None:
        """`done`, and the time left when that is so great a `share` of all; at most every SAY_EVERY_S."""
        if (now := time.monotonic()) - self._said > SAY_EVERY_S:
            self._said, left_s = now, (now - self._began) * (1 / share - 1)
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
    order = sorted(range(len(examples)), key=lambda i: len(examples[i].ids))
    found: dict[int, NDArray[np.float32]] = {}
    tokens, all_tokens, time_left = 0, sum(len(example.ids) for example in examples), TimeLeft()
    for start in range(0, len(order), batch_size):
        if stop_asked():  # a pass over a large development set may take minutes
            raise Interrupted
        chosen = order[start : start + batch_size]
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
            found[i] = logits if logits.ndim == 1 else logits[: len(examples[i].ids)]
        tokens += sum(len(examples[i].ids) for i in chosen)
        time_left.say(f"predicted {len(found):,} of {len(examples):,} examples", tokens / all_tokens)
    model.train(was_training)
    return [found[i] for i in range(len(examples))]
