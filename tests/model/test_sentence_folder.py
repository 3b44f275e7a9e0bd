"""Folders that sentence-transformers opens, with the vectors that we compute."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tinydistil.errors import InputError
from tinydistil.model.bert import BertModel
from tinydistil.model.config import BertConfig
from tinydistil.model.pooling import pool
from tinydistil.model.sentence_folder import declare_sentence_encoder
from tinydistil.text.train_wordpiece import train_wordpiece

TEXTS = ["O gato dorme no sofá.", "A sessão foi aberta às nove horas.", "Não."]


@pytest.mark.parametrize("pooling", ["cls", "mean", "max"])
def test_the_same_vectors(pooling: str, tmp_path: Path) -> None:
    theirs = pytest.importorskip("sentence_transformers")
    torch.manual_seed(0)
    tokenizer = train_wordpiece(TEXTS * 3, 150)
    config = BertConfig(vocab_size=tokenizer.vocab_size, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
                        intermediate_size=32, max_position_embeddings=32, initializer_range=0.3)  # fmt: skip
    model = BertModel(config).eval()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    declare_sentence_encoder(tmp_path, config, pooling=pooling, max_length=12)
    batch = tokenizer.encode_batch(TEXTS, max_length=12)
    with torch.inference_mode():
        hidden = model(batch.input_ids, batch.attention_mask, batch.token_type_ids).last_hidden
    ours = pool(hidden, batch.attention_mask, pooling).numpy()
    reference = theirs.SentenceTransformer(str(tmp_path), device="cpu")
    assert reference.max_seq_length == 12
    np.testing.assert_allclose(reference.encode(TEXTS), ours, atol=1e-5)


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="pooling 'pooler' cannot be declared"):
        declare_sentence_encoder(tmp_path, BertConfig(), pooling="pooler", max_length=128)
    with pytest.raises(InputError, match=r"max_length must be in 3\.\.512"):
        declare_sentence_encoder(tmp_path, BertConfig(), pooling="mean", max_length=513)
