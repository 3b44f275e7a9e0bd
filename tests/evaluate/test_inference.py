"""Masked words and sentence vectors, against transformers and a result that can be known."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray
from scipy.stats import pearsonr, spearmanr

from tinydistil.base.errors import InputError
from tinydistil.evaluate import inference
from tinydistil.evaluate.inference import compare_poolings, embed, fill_mask, open_vector_writer
from tinydistil.model.bert import BertForMaskedLM, BertModel
from tinydistil.model.config import BertConfig
from tinydistil.tokenizer.tokenizer import Tokenizer, train_wordpiece

SENTENCES = ["O gato dorme no sofá.", "A Ação do coração é rápida!", "Pé-de-moleque e café, por favor.", "Não.", ""]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_wordpiece(SENTENCES * 3, 150)


@pytest.fixture(scope="module")
def folder(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model with a padded embedding table, in a folder."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model")
    config = BertConfig(
        vocab_size=tokenizer.vocab_size + 7, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=24, initializer_range=0.3,
    )  # fmt: skip
    BertForMaskedLM(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def masked_lm(folder: Path) -> BertForMaskedLM:
    return BertForMaskedLM.from_pretrained(folder, heads="require")


@pytest.fixture(scope="module")
def encoder(folder: Path) -> BertModel:
    return BertModel(BertModel.from_pretrained(folder).config).eval()  # with a pooler


def test_fill_mask_equals_the_pipeline(folder: Path, masked_lm: BertForMaskedLM, tokenizer: Tokenizer) -> None:
    reference = transformers.BertForMaskedLM.from_pretrained(folder)
    pipeline = transformers.pipeline(
        "fill-mask", model=reference, tokenizer=transformers.BertTokenizer.from_pretrained(folder), device="cpu"
    )
    # The pipeline also offers ids that the tokenizer has no spelling for; ask for enough to leave them out.
    theirs = [guess for guess in pipeline("O gato [MASK] no sofá.", top_k=20) if guess["token"] < tokenizer.vocab_size]
    (ours,) = fill_mask(masked_lm, tokenizer, "O gato [MASK] no sofá.", top_k=5)
    assert [guess.token for guess in ours] == [tokenizer.token(guess["token"]) for guess in theirs[:5]]
    odds = [guess.probability / ours[0].probability for guess in ours]
    assert odds == pytest.approx([guess["score"] / theirs[0]["score"] for guess in theirs[:5]], rel=1e-4)


def test_several_masks_and_the_text_around_them(masked_lm: BertForMaskedLM, tokenizer: Tokenizer) -> None:
    text = "O  [MASK] dorme no [MASK]!"
    first, second = fill_mask(masked_lm, tokenizer, text, top_k=tokenizer.vocab_size)
    assert sum(guess.probability for guess in first) == pytest.approx(1.0, abs=1e-4)
    texts = {guess.token: guess.text for guess in second}
    assert texts["gato"] == "O  [MASK] dorme no gato!"
    assert texts["##o"] == "O  [MASK] dorme noo!"


def test_embed_restores_the_order_and_streams(
    encoder: BertModel, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference, "WINDOW_BATCHES", 2)
    drawn = 0

    def texts() -> list[str]:
        nonlocal drawn
        for i in range(23):
            drawn += 1
            yield SENTENCES[i % len(SENTENCES)] + " gato" * (i % 4)

    stream = embed(encoder, tokenizer, texts(), batch_size=3)
    next(stream)
    assert drawn <= 7  # two batches of three and no more than one ahead
    vectors = np.stack([embedded.vector for embedded in embed(encoder, tokenizer, texts(), batch_size=3)])
    alone = [next(embed(encoder, tokenizer, [text], batch_size=1)).vector for text in texts()]
    np.testing.assert_allclose(vectors, np.stack(alone), atol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "pooler"])
def test_poolings_against_numpy(encoder: BertModel, tokenizer: Tokenizer, pooling: str) -> None:
    batch = tokenizer.encode_batch(SENTENCES)
    with torch.no_grad():
        encoded = encoder(batch.input_ids, batch.attention_mask)
    hidden, lengths = encoded.last_hidden.numpy(), batch.attention_mask.sum(1).tolist()
    weight, bias = (parameter.detach().numpy() for parameter in encoder.pooler.parameters())
    expected = {
        "mean": [row[:length].mean(0) for row, length in zip(hidden, lengths, strict=True)],
        "max": [row[:length].max(0) for row, length in zip(hidden, lengths, strict=True)],
        "cls": hidden[:, 0],
        "pooler": np.tanh(hidden[:, 0] @ weight.T + bias),
    }[pooling]
    vectors = [embedded.vector for embedded in embed(encoder, tokenizer, SENTENCES, pooling=pooling)]
    np.testing.assert_allclose(np.stack(vectors), np.stack(expected), atol=1e-5)
    units = [embedded.vector for embedded in embed(encoder, tokenizer, SENTENCES, pooling=pooling, normalize=True)]
    np.testing.assert_allclose(np.linalg.norm(np.stack(units), axis=1), 1.0, atol=1e-5)


def test_compare_poolings(encoder: BertModel, tokenizer: Tokenizer) -> None:
    cosines = compare_poolings(encoder, tokenizer, SENTENCES[0])
    vectors = {
        pooling: next(embed(encoder, tokenizer, SENTENCES[:1], pooling=pooling, normalize=True)).vector
        for pooling in ("cls", "pooler", "mean")
    }
    assert list(cosines) == [("cls", "pooler"), ("cls", "mean"), ("pooler", "mean")]
    for (first, second), cosine in cosines.items():
        assert cosine == pytest.approx(float(vectors[first] @ vectors[second]), abs=1e-5)


def test_vector_files(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(137, 5)).astype(np.float32)
    for name in ("v.npy", "v.jsonl"):
        with open_vector_writer(str(tmp_path / name), 5) as write:
            for i, vector in enumerate(vectors):
                write(f"texto {i}", vector)
    assert np.array_equal(np.load(tmp_path / "v.npy"), vectors)
    lines = [__import__("json").loads(line) for line in (tmp_path / "v.jsonl").read_text().splitlines()]
    assert np.array_equal(np.array([line["embedding"] for line in lines], dtype=np.float32), vectors)
    assert lines[3]["text"] == "texto 3"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["v.jsonl", "v.npy"]


def test_failure_midway_leaves_what_was_done(
    tmp_path: Path, encoder: BertModel, tokenizer: Tokenizer, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "v.npy").write_bytes(b"from an earlier run")
    texts = ["gato"] * 67 + ["gato " * 100] + ["gato"]  # in the middle of a window
    with (
        pytest.raises(InputError, match=r"text 68 has 102 tokens, more than the limit of 24"),
        open_vector_writer(str(tmp_path / "v.npy"), 16) as write,
    ):
        for embedded in embed(encoder, tokenizer, texts, batch_size=2):
            write(embedded.text, embedded.vector)
    assert "v.partial.npy" in capsys.readouterr().err
    assert np.load(tmp_path / "v.partial.npy").shape == (67, 16)
    assert (tmp_path / "v.npy").read_bytes() == b"from an earlier run"


def test_truncation_only_where_asked(encoder: BertModel, tokenizer: Tokenizer) -> None:
    long = "gato " * 100
    with pytest.raises(InputError, match="text 1 has 102 tokens, more than the limit of 24"):
        list(embed(encoder, tokenizer, [long]))
    (cut,) = embed(encoder, tokenizer, [long], truncate=True)
    (same,) = embed(encoder, tokenizer, ["gato " * 22])
    np.testing.assert_allclose(cut.vector, same.vector, atol=1e-6)
    with pytest.raises(InputError, match=r"max_length must be in 3\.\.24"):
        list(embed(encoder, tokenizer, ["gato"], max_length=25))


def assin2_pairs(path: Path) -> tuple[list[str], list[str], NDArray[np.float64]]:
    pairs = ElementTree.parse(path).getroot().findall("pair")
    gold = np.array([float(pair.get("similarity", "")) for pair in pairs])
    return [pair.findtext("t", "") for pair in pairs], [pair.findtext("h", "") for pair in pairs], gold


@torch.no_grad()
def test_assin2_with_minilm_as_the_reference_pipeline(minilm: Path, shared_data: Path) -> None:
    """Mean-pooled MiniLM on ASSIN 2's test pairs: our numbers are those of transformers. Prints them (pytest -s)."""
    first, second, gold = assin2_pairs(shared_data / "tasks" / "assin2" / "assin2-test.xml")
    model, tokenizer = BertModel.from_pretrained(minilm), Tokenizer.from_pretrained(minilm)
    ours = np.stack([embedded.vector for embedded in embed(model, tokenizer, first + second, batch_size=64)])

    reference = transformers.AutoModel.from_pretrained(minilm).eval()
    reference_tokenizer = transformers.AutoTokenizer.from_pretrained(minilm)
    texts, theirs = np.array(first + second), np.empty_like(ours)
    for chosen in np.array_split(np.argsort(np.char.str_len(texts)), 80):  # by length: less padding to compute
        inputs = reference_tokenizer(texts[chosen].tolist(), padding=True, return_tensors="pt")
        hidden, mask = reference(**inputs).last_hidden_state, inputs["attention_mask"][..., None]
        theirs[chosen] = (hidden * mask).sum(1) / mask.sum(1)

    def scores(vectors: NDArray[np.float32]) -> tuple[float, float]:
        left, right = np.split(vectors.astype(np.float64), 2)
        cosines = (left * right).sum(1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)
        return pearsonr(cosines, gold).statistic, spearmanr(cosines, gold).statistic

    (pearson, spearman), (their_pearson, their_spearman) = scores(ours), scores(theirs)
    print(f"\nASSIN 2 test, MiniLM, mean pooling: Pearson {pearson:.4f} Spearman {spearman:.4f}")
    print(f"reference pipeline (transformers):  Pearson {their_pearson:.4f} Spearman {their_spearman:.4f}")
    assert abs(pearson - their_pearson) < 5e-5 and abs(spearman - their_spearman) < 5e-5
    np.testing.assert_allclose(ours, theirs, atol=2e-5)
