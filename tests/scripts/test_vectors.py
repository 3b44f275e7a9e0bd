"""scripts/distill.py --recipe vectors: a cache in the run's folder, one for all seeds, and a sentence encoder."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.scripts.models import make_models
from tests.scripts.test_distill import start, weights
from tinydistil.base.files import read_json
from tinydistil.model.bert import BertModel
from tinydistil.tokenizer.tokenizer import Tokenizer

CONSTANT = ["--set", "train.schedule.shape=constant"]
VECTORS = ["distill.py", "--recipe", "vectors", "--teacher", "encoder", "--teacher-prefix", "as ", "--student", "2x8",
           "--corpus", "corpus.jsonl", "--batch-size", "8", "--device", "cpu",
           "--teacher-precision", "float32"]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, write_corpus: Callable[[Path, int], Path]) -> Path:
    folder = tmp_path_factory.mktemp("vectors")
    make_models(folder, write_corpus(folder / "corpus.jsonl", 60))
    return folder


def test_a_sentence_encoder_that_others_open(run: Callable[..., str], folder: Path) -> None:
    said = run(*VECTORS, "--output", "run", "--vocab-size", "150", "--lowercase", "--steps", "60")
    assert "held-out objective" in said and "student: run/student" in said
    assert {"cache", "student", "shards", "vocabulary"} <= {path.name for path in (folder / "run").iterdir()}
    losses = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    held_out = [line["validation_loss"] for line in losses if "validation_loss" in line]
    assert held_out[-1] < 0.7 * held_out[0]
    library = pytest.importorskip("sentence_transformers")
    texts = ["As professoras esperavam a chuva passar.", "Os ferreiros do vale."]
    student = folder / "run" / "student"
    large, small = Tokenizer.from_pretrained(student).encode_batch(["ÁGUA", "água"]).input_ids
    assert torch.equal(large, small)
    theirs = library.SentenceTransformer(str(student), device="cpu").encode(texts)
    batch = Tokenizer.from_pretrained(student).encode_batch(texts)
    with torch.inference_mode():
        hidden = BertModel.from_pretrained(student)(batch.input_ids, batch.attention_mask).last_hidden
    mask = batch.attention_mask.unsqueeze(-1)
    np.testing.assert_allclose(theirs, (hidden * mask).sum(1) / mask.sum(1), atol=1e-5)


def test_seeds_share_a_cache_and_an_interrupted_run_goes_on_bit_for_bit(run: Callable[..., str], folder: Path) -> None:
    options = ["--tokenizer", "student", "--teacher-cache", "shared", "--set", "train.save_every=3"]
    run(*VECTORS, *options, "--output", "first", "--steps", "9")
    files = {path.name: path.stat().st_mtime_ns for path in (folder / "shared").iterdir()}
    assert "words.safetensors" in files
    run(*VECTORS, *options, "--output", "second", "--steps", "9", "--seed", "2")
    assert files == {path.name: path.stat().st_mtime_ns for path in (folder / "shared").iterdir()}
    first, second = weights(folder / "first"), weights(folder / "second")
    assert any(not torch.equal(first[name], second[name]) for name in first)
    run(*VECTORS, *options, "--output", "broken", "--steps", "3", *CONSTANT)
    run(*VECTORS, *options, "--output", "broken", "--steps", "6", *CONSTANT, "--resume")
    run(*VECTORS, *options, "--output", "whole", "--steps", "6", *CONSTANT)
    broken, whole = weights(folder / "broken"), weights(folder / "whole")
    assert all(torch.equal(broken[name], whole[name]) for name in whole)


def test_the_words_begin_as_the_teacher_has_them(run: Callable[..., str], folder: Path) -> None:
    """Near in the teacher, near in the student before its first step; and a random start where that is asked for."""
    cosines = {}
    for begin in ("encoded", "random"):
        options = ["--set", f"student.embeddings={begin}"] if begin == "encoded" else ["--set", "student.embeddings="]
        run(
            *VECTORS,
            "--tokenizer",
            "student",
            "--output",
            f"words-{begin}",
            "--steps",
            "1",
            "--learning-rate",
            "1e-9",
            *options,
        )
        words = weights(folder / f"words-{begin}")["embeddings.word_embeddings.weight"].double()
        encoded = load_file(folder / "words-encoded" / "cache" / "words.safetensors")["words"].double()
        known = encoded.abs().sum(1) > 0
        ours, theirs = words[: len(encoded)][known], encoded[known] - encoded[known].mean(0)
        pairs = [torch.nn.functional.cosine_similarity(each[:-1], each[1:]) for each in (ours, theirs)]
        cosines[begin] = float(np.corrcoef(*pairs)[0, 1])
    assert cosines["encoded"] > 0.5 > abs(cosines["random"])
    assert read_json(folder / "words-encoded" / "run.json")["teacher_cache"] == "inside"


def test_two_processes_train_as_one(run: Callable[..., str], folder: Path) -> None:
    options = ["--tokenizer", "student", "--steps", "4"]
    run(*VECTORS, *options, "--output", "alone")
    two = start(folder, *VECTORS[1:], *options, "--output", "two", processes=2)
    _, error = two.communicate(timeout=240)
    assert two.returncode == 0, error
    one, other = weights(folder / "alone"), weights(folder / "two")
    for name in one:
        torch.testing.assert_close(other[name], one[name], rtol=1e-3, atol=1e-4)
