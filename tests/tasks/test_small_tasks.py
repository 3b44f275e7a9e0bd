"""The quick examinations: repeatable, above chance where there is something to learn, and without a trace."""

from pathlib import Path

import pytest
import torch

from tests.tasks.conftest import opinions
from tinydistil.tasks.finetune_config import FineTuneConfig
from tinydistil.tasks.small_tasks import entailment_f1, sentiment_f1, text_f1

CPU = torch.device("cpu")


@pytest.mark.parametrize("examine", [sentiment_f1, entailment_f1])
def test_figures_repeat(examine: object, folder: Path) -> None:
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    figures = [examine(folder, num_training=40, num_test=30, device=CPU) for _ in range(2)]  # type: ignore[operator]
    assert torch.equal(torch.rand(1), expected)  # the caller's generator is left alone
    assert figures[0] == figures[1] and 0 < figures[0] < 1


def test_training_texts_are_learnt_by_heart(folder: Path) -> None:
    config = FineTuneConfig(epochs=40, batch_size=8, learning_rate=5e-3, max_length=48, pooling="max")
    assert text_f1(folder, opinions(24), opinions(24), config, device=CPU) > 0.95
