"""Small models for the tests of scripts: a teacher, an encoder without a head, and a student, as folders."""

import json
from pathlib import Path

import torch

from tinydistil.model.bert import BertForMaskedLM, BertModel
from tinydistil.model.config import BertConfig
from tinydistil.tokenizer.tokenizer import train_wordpiece


def shape(vocab_size: int, layers: int, width: int) -> BertConfig:
    return BertConfig(
        vocab_size=vocab_size, num_hidden_layers=layers, hidden_size=width, num_attention_heads=2,
        intermediate_size=2 * width, max_position_embeddings=512,
    )  # fmt: skip


def make_models(folder: Path, corpus: Path) -> None:
    """teacher/ (2 x 16, cased, a masked LM), encoder/ (the same without head) and student/ (1 x 8, its own lower-cased
    vocabulary)."""
    torch.manual_seed(0)
    texts = [str(json.loads(line)["text"]) for line in corpus.read_text(encoding="utf-8").splitlines()]
    cased = train_wordpiece(texts, 220)
    uncased = train_wordpiece(texts, 160, lowercase=True, strip_accents=True)
    teacher = BertForMaskedLM(shape(cased.vocab_size, 2, 16))
    for name, model, tokenizer in (
        ("teacher", teacher, cased),
        ("encoder", BertModel(teacher.config, pooler=False), cased),
        ("student", BertForMaskedLM(shape(uncased.vocab_size, 1, 8)), uncased),
    ):
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
