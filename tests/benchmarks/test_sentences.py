"""The benchmark of sentence vectors: correlations of a row, the projection it takes, rows that are recipes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from bench_sentences import COMMON, ROWS, learned_map, projected_pearson
from scipy.stats import pearsonr
from torch import nn

from tests.evaluate.conftest import random_model
from tests.evaluate.test_similarity import FIRST, GOLD, SECOND
from tests.portuguese import sentences
from tinydistil.base.config import from_mapping, override
from tinydistil.evaluate.similarity import cosine_similarity
from tinydistil.tokenizer.tokenizer import train_wordpiece
from tinydistil.train.plan import CHECKPOINTS
from tinydistil.train.records import CheckpointStore
from tinydistil.train.run_config import RunConfig


def test_projected_against_scipy() -> None:
    tokenizer = train_wordpiece(sentences(100), 300)
    encoder = random_model(tokenizer.vocab_size, 0).bert
    torch.manual_seed(0)
    projection = nn.Linear(16, 5)
    vectors = []
    with torch.inference_mode():
        for text in [*FIRST, *SECOND]:
            mean = encoder(torch.tensor([tokenizer.encode(text).ids])).last_hidden[0].mean(0).double().numpy()
            projected = projection.weight.double().numpy() @ mean + projection.bias.double().numpy()
            vectors.append(projected / np.linalg.norm(projected))
    cosines = [float(a @ b) for a, b in zip(vectors[:4], vectors[4:], strict=True)]
    found = projected_pearson(encoder, tokenizer, projection, FIRST, SECOND, GOLD)
    assert found == pytest.approx(pearsonr(GOLD, cosines).statistic, abs=1e-5)
    with torch.no_grad():
        projection = nn.Linear(16, 16, bias=False)
        projection.weight.copy_(torch.eye(16))
    raw = cosine_similarity(encoder, tokenizer, FIRST, SECOND, GOLD).pearson
    assert projected_pearson(encoder, tokenizer, projection, FIRST, SECOND, GOLD) == pytest.approx(raw, abs=1e-6)


def test_the_projection_of_the_last_checkpoint(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / CHECKPOINTS, keep_last=2, say=print)
    for step in (9, 10):
        weights = {"weight": torch.full((3, 2), float(step)), "bias": torch.full((3,), float(step))}
        store.save(
            step, {f"terms.pooled.projection.map.{part}": each for part, each in weights.items()}, {}, {}, score=None
        )
    found = learned_map(tmp_path)
    assert found is not None and found.weight.tolist() == [[10.0, 10.0]] * 3 and found.bias.tolist() == [10.0] * 3
    store.save(11, {"projections.pooled.basis": torch.ones(2)}, {}, {}, score=None)
    assert learned_map(tmp_path) is None


@pytest.mark.parametrize("row", ROWS)
def test_rows_are_recipes_and_all_different(row: str) -> None:
    def recipe_of(name: str) -> object:
        values: dict[str, object] = {"teacher": "t", "student": {"model": "2x128"}, "shards": "s"}
        for setting in (*COMMON, *ROWS[name]):
            override(values, [setting])
        return from_mapping(RunConfig, values).recipe

    assert sum(recipe_of(other) == recipe_of(row) for other in ROWS) == 1
