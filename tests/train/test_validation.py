"""Which sequences validation looks at."""

import numpy as np
import torch
from numpy.typing import NDArray

from tests.train.toy import CASES, toy_trainer
from tinydistil.base.ranks import Ranks
from tinydistil.batches.masked_batches import MaskedBatch
from tinydistil.train.outcome import masked_lm_loss


def test_a_part_of_the_split_is_spread_over_all_of_it() -> None:
    """Shards follow the files of a corpus: the first sequences would be of one kind of text."""
    ranks = Ranks(0, 1, torch.device("cpu"))
    trainer, batches = toy_trainer(CASES["mlm"], ranks)
    seen: list[int] = []
    collate = batches.collate

    def watched(ids: NDArray[np.int64], epoch: int) -> MaskedBatch:
        seen.extend(ids.tolist())
        return collate(ids, epoch)

    batches.collate = watched  # type: ignore[method-assign]
    masked_lm_loss(trainer.objective.student, batches, ranks, sequences=4)
    assert seen == [0, 2, 5, 8]  # of 11
    seen.clear()
    masked_lm_loss(trainer.objective.student, batches, ranks, sequences=50)
    assert seen == list(range(11))
