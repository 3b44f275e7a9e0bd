"""How the models of a demonstration are examined: masked words, similarity, sentiment, entailment."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from tinydistil.demo.embedded.similarity import similarity_pairs
from tinydistil.demo.table import Marks
from tinydistil.evaluate.masked_lm import choose_words, encode_sequences, masked_lm_scores, word_loss
from tinydistil.evaluate.similarity import cosine_similarity
from tinydistil.model.bert import BertModel
from tinydistil.model.heads import BertForMaskedLM
from tinydistil.tasks.small_tasks import entailment_f1, sentiment_f1
from tinydistil.tokenizer.tokenizer import Tokenizer

_SEED = 3


class Examination:
    """The same questions for every model; `vocabularies` are of all models, so that words can be hidden in all."""

    def __init__(
        self,
        held_out: Sequence[str],
        vocabularies: Sequence[Path],
        num_training: int,
        num_test: int,
        device: torch.device,
    ) -> None:
        self.held_out, self.num_training, self.num_test, self.device = held_out, num_training, num_test, device
        tokenizers = [Tokenizer.from_pretrained(folder) for folder in vocabularies]
        self.hidden_words = choose_words(held_out, tokenizers, max_length=128)
        self.pairs = list(similarity_pairs(_SEED, num_test, split="test"))

    def __call__(self, title: str, folder: Path) -> Marks:
        """Examine the model in `folder` as somebody who was given the folder would."""
        tokenizer = Tokenizer.from_pretrained(folder)
        model = BertForMaskedLM.from_pretrained(folder, heads="require", attention="packed").to(self.device)
        sequences = encode_sequences(self.held_out, tokenizer)
        first, second = [pair.first for pair in self.pairs], [pair.second for pair in self.pairs]
        similarity = cosine_similarity(
            BertModel.from_pretrained(folder, attention="packed").to(self.device),
            tokenizer,
            first,
            second,
            [p.score for p in self.pairs],
        )
        return Marks(
            title=title,
            parameters=sum(parameter.numel() for parameter in model.parameters()),
            vocabulary="cased" if tokenizer.backend.normalizer.normalize_str("Ã") == "Ã" else "uncased",
            masked_lm=masked_lm_scores(model, tokenizer, sequences).loss,
            bits=word_loss(model, tokenizer, self.held_out, self.hidden_words).bits_per_character,
            similarity=similarity.pearson,
            sentiment=self._fine_tuned(sentiment_f1, folder),
            entailment=self._fine_tuned(entailment_f1, folder),
        )

    def _fine_tuned(self, task: Callable[..., float], folder: Path) -> float:
        return task(folder, num_training=self.num_training, num_test=self.num_test, device=self.device)
