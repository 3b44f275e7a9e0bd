"""The benchmark of sentence vectors: correlations of a row, the projection it takes, rows that are recipes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from bench_sentences import COMMON, ROWS, learned_map, raw_and_projected
from safetensors.torch import save_file
from scipy.stats import pearsonr

from tests.evaluate.conftest import random_model
from tests.evaluate.test_similarity import FIRST, GOLD, SECOND
from tinydistil.config import assign, from_mapping
from tinydistil.evaluate.similarity import cosine_similarity
from tinydistil.text.embedded.sentences import sentences
from tinydistil.text.tasks.records import LabelledText
from tinydistil.text.train_wordpiece import train_wordpiece
from tinydistil.train.run_config import RunConfig

PAIRS = [LabelledText(a, b, str(score)) for a, b, score in zip(FIRST, SECOND, GOLD, strict=True)]


def test_raw_and_projected_against_scipy() -> None:
    tokenizer = train_wordpiece(list(sentences(seed=3, count=100)), 300)
    encoder = random_model(tokenizer.vocab_size, 0).bert
    random = np.random.default_rng(0)
    weight, bias = (random.normal(size=size).astype(np.float32) for size in ((5, 16), (5,)))
    vectors = []
    with torch.inference_mode():
        for text in [*FIRST, *SECOND]:
            mean = encoder(torch.tensor([tokenizer.encode(text).ids])).last_hidden[0].mean(0)
            projected = weight @ mean.double().numpy() + bias
            vectors.append(projected / np.linalg.norm(projected))
    cosines = [float(a @ b) for a, b in zip(vectors[:4], vectors[4:], strict=True)]
    found = raw_and_projected(encoder, tokenizer, PAIRS, (weight, bias))
    raw = cosine_similarity(encoder, tokenizer, FIRST, SECOND, GOLD).pearson
    assert found == (pytest.approx(raw, abs=1e-6), pytest.approx(pearsonr(GOLD, cosines).statistic, abs=1e-5))
    assert raw_and_projected(encoder, tokenizer, PAIRS) == (found[0], None)


def test_the_projection_of_the_last_checkpoint(tmp_path: Path) -> None:
    for step in (9, 10):
        folder = tmp_path / "checkpoints" / f"step-{step:08}"
        folder.mkdir(parents=True)
        save_file({f"projections.pooled.map.{part}": torch.full((2,), float(step)) for part in ("weight", "bias")},
                  folder / "learner.safetensors")  # fmt: skip
    found = learned_map(tmp_path)
    assert found is not None and found[0].tolist() == found[1].tolist() == [10.0, 10.0]
    save_file({"projections.pooled.basis": torch.ones(2)}, folder / "learner.safetensors")
    assert learned_map(tmp_path) is None


@pytest.mark.parametrize("row", ROWS)
def test_rows_are_recipes_and_all_different(row: str) -> None:
    def recipe_of(name: str) -> object:
        values: dict[str, object] = {"teacher": "t", "student": {"model": "2x128"}, "shards": "s"}
        for setting in (*COMMON, *ROWS[name]):
            assign(values, setting)
        return from_mapping(RunConfig, values).recipe

    assert sum(recipe_of(other) == recipe_of(row) for other in ROWS) == 1
