"""A small random model with its tokenizer, and sentences for both."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.portuguese import sentences
from tinydistil.evaluate.masked_lm import encode_sequences
from tinydistil.model.bert import BertForMaskedLM
from tinydistil.model.config import BertConfig
from tinydistil.tokenizer.tokenizer import Tokenizer, train_wordpiece


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """Two hundred sentences of Machado de Assis."""
    return sentences(200)


@pytest.fixture(scope="session")
def vocabulary(texts: list[str]) -> Tokenizer:
    return train_wordpiece(texts, 400)


@pytest.fixture(scope="session")
def sequences(texts: list[str], vocabulary: Tokenizer) -> list[NDArray[np.integer]]:
    return encode_sequences(texts, vocabulary)


def random_model(vocab_size: int, seed: int, hidden_size: int = 16) -> BertForMaskedLM:
    """Two layers with weights far from 0, so that guesses differ."""
    torch.manual_seed(seed)
    return BertForMaskedLM(
        BertConfig(
            vocab_size=vocab_size,
            hidden_size=hidden_size,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=128,
            initializer_range=0.3,
        )
    ).eval()


@pytest.fixture(scope="session")
def small_model(vocabulary: Tokenizer) -> BertForMaskedLM:
    return random_model(vocabulary.vocab_size, 0)
