"""A fine-tuned model on encoded examples. Letters: B examples, T tokens, C classes, N examples of the whole set."""

import sys
import time
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from tinydistil.errors import require
from tinydistil.finetune.examples import TaskExample, collate
from tinydistil.finetune.objective import TaskModel
from tinydistil.model.heads import SpanLogits
from tinydistil.train.signals import Interrupted, stop_asked

# How long it is silent, in seconds.
SAY_EVERY_S = 20.0


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
    tokens, all_tokens = 0, sum(len(example.ids) for example in examples)
    began = said = time.monotonic()
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
        if (now := time.monotonic()) - said > SAY_EVERY_S:
            said, left_s = now, (now - began) * (all_tokens / tokens - 1)
            print(f"predicted {len(found):,} of {len(examples):,} examples, {left_s:,.0f} s left", file=sys.stderr)
    model.train(was_training)
    return [found[i] for i in range(len(examples))]
