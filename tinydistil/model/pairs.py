"""Two texts of a pair, each encoded by itself, and what compares them.

Shapes: B pairs, T tokens of a pair's two texts one behind the other, L tokens of one text, D hidden size, C outputs.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tinydistil.model.bert import BertModel
from tinydistil.model.config import BertConfig
from tinydistil.model.layers import pool
from tinydistil.model.pretrained import Pretrained

# Of the soft alignment: a match of cosine 1 outweighs one of 0 by e^10.
SHARPNESS = 10.0
# A token whose best match is above this has its like in the other text.
ALIKE = 0.95
# Best-match statistics of two levels, 8 each, the cosine of the two vectors and the difference in length.
NUM_STATISTICS = 18


def texts_apart(
    input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor, pad_id: int
) -> tuple[Tensor, Tensor]:
    """Pairs (B, T), token type 1 at the second texts, as input_ids and attention_mask (2B, L), the first texts on top.

    One wait for the device: L is the longest text's length.
    """
    second = token_type_ids * attention_mask
    lengths = torch.stack([(attention_mask - second).sum(1), second.sum(1)])  # (2, B)
    starts = torch.stack([torch.zeros_like(lengths[0]), lengths[0]])
    positions = torch.arange(int(lengths.max()), device=input_ids.device)
    mask = positions < lengths.flatten()[:, None]  # (2B, L)
    sources = (starts.flatten()[:, None] + positions).clamp(max=input_ids.shape[1] - 1)
    ids = input_ids.repeat(2, 1).gather(1, sources).masked_fill(~mask, pad_id)
    return ids, mask.to(attention_mask.dtype)


class _PairModel(Pretrained):
    """The encoder of both texts, and what others find in the folder: `transformers` has no class for pairs."""

    architecture = "BertModel"
    has_labels = True

    def __init__(self, config: BertConfig, *, attention: str = "sdpa") -> None:
        super().__init__(config)
        self.bert = BertModel(config, pooler=False, attention=attention)

    def encode(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Ids and mask (2B, L) of the texts apart, and their last hidden states (2B, L, D), at least float32."""
        ids, mask = texts_apart(input_ids, attention_mask, token_type_ids, self.config.pad_token_id or 0)
        hidden = self.bert(ids, mask).last_hidden
        return ids, mask, hidden.to(torch.promote_types(hidden.dtype, torch.float32))


class BertForCosine(_PairModel):
    """The cosine of two texts' mean vectors, (B, 1); nothing is learnt but the encoder (Reimers & Gurevych 2019)."""

    def __init__(self, config: BertConfig, *, attention: str = "sdpa") -> None:
        super().__init__(config, attention=attention)
        self.init_weights()

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """Pairs (B, T) to cosines (B, 1)."""
        _, mask, hidden = self.encode(input_ids, attention_mask, token_type_ids)
        u, v = pool(hidden, mask, "mean").chunk(2)
        return F.cosine_similarity(u, v).unsqueeze(1)


class BertForPairs(_PairModel):
    """A number and logits of classes, C in all, of two texts u and v compared as wholes and token by token.

    As wholes: u, v, |u - v|, u * v of their mean vectors (Conneau et al. 2017, 3). Token by token: how well each
    matches the best of the other text, in statistics of last hidden states and of word vectors; and beside the mean of
    the other text that its matches weigh, compared and aggregated (Parikh et al. 2016). [CLS] and [SEP] match nothing.
    """

    def __init__(self, config: BertConfig, *, attention: str = "sdpa") -> None:
        super().__init__(config, attention=attention)
        width, size = config.hidden_size, 8 * config.hidden_size + NUM_STATISTICS
        dropout = config.hidden_dropout_prob if config.classifier_dropout is None else config.classifier_dropout
        self.compare = nn.Linear(4 * width, width)
        self.norm = nn.LayerNorm(size)
        self.mix = nn.Linear(size, width)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(width, len(config.labels))
        self.init_weights()

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """Pairs (B, T) to (B, C)."""
        features = self.features(*self.encode(input_ids, attention_mask, token_type_ids))
        mixed = F.gelu(self.mix(self.dropout(self.norm(features))))
        return self.classifier(self.dropout(mixed))  # type: ignore[no-any-return]

    def features(self, ids: Tensor, mask: Tensor, hidden: Tensor) -> Tensor:
        """Ids, mask (2B, L) and hidden states (2B, L, D) of both texts to (B, 8 D + NUM_STATISTICS)."""
        u, v = pool(hidden, mask, "mean").chunk(2)
        words = F.pad(mask[:, 1:], (0, 1)).bool()  # without [SEP], which is the last
        words[:, 0] = False
        first, second = words.chunk(2)  # (B, L)
        cosines = _cosines(hidden)
        length = (first.sum(1) - second.sum(1)).to(u.dtype) / 10
        statistics = [
            match_statistics(cosines, first, second),
            match_statistics(_cosines(self.bert.embeddings.word(ids)), first, second),
            torch.stack([F.cosine_similarity(u, v), length], 1),
        ]
        matched = torch.cat([soft_match(cosines, hidden.chunk(2)[1], second),
                             soft_match(cosines.transpose(1, 2), hidden.chunk(2)[0], first)])  # fmt: skip
        compared = F.gelu(self.compare(_beside(hidden, matched)))  # (2B, L, D)
        # GELU is nowhere below -0.17: -1 stands for a text without a token to match.
        largest = compared.masked_fill(~words.unsqueeze(-1), -1.0).amax(1)
        aggregated = torch.cat([pool(compared, words, "mean"), largest], 1).chunk(2)
        return torch.cat([_beside(u, v), *statistics, *aggregated], 1)


def _beside(one: Tensor, other: Tensor) -> Tensor:
    return torch.cat([one, other, (one - other).abs(), one * other], -1)


def _cosines(vectors: Tensor) -> Tensor:
    """Vectors (2B, L, D) to the cosines of each of a first text's tokens with each of the second's, (B, L, L)."""
    first, second = F.normalize(vectors, dim=-1).chunk(2)
    return first @ second.transpose(1, 2)


def soft_match(cosines: Tensor, hidden: Tensor, words: Tensor) -> Tensor:
    """For each token (B, L) the mean (B, L, D) of the other text's `hidden` states, weighed by how well they match.

    words (B, L): which of the other text's tokens are looked at; zeros where there are none.
    """
    scores = (SHARPNESS * cosines).masked_fill(~words.unsqueeze(1), torch.finfo(cosines.dtype).min)
    return (scores.softmax(-1) * words.unsqueeze(1)).to(hidden.dtype) @ hidden


def match_statistics(cosines: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Of each token's best match in the other text mean, least, second least and share above ALIKE; of both, (B, 8).

    cosines (B, L, L); first, second (B, L): the tokens that count. What there is none of matches at -1, or as the least
    of none at 1.
    """
    scores, found = cosines.masked_fill(~(first.unsqueeze(2) & second.unsqueeze(1)), -1.0), []
    for best, words in ((scores.amax(2), first), (scores.amax(1), second)):
        count = words.sum(1).clamp(min=1)
        least = best.masked_fill(~words, 1.0).topk(2, largest=False).values
        alike = ((best > ALIKE) & words).to(best.dtype)
        found += [(best * words).sum(1) / count, *least.unbind(1), alike.sum(1) / count]
    return torch.stack(found, 1)
