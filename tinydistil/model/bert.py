"""The encoder of BERT (Devlin et al. 2019), written out, and the frame in which other families put their parts.

Shapes: B sequences, T tokens, N valid tokens of all sequences, D hidden size, H heads, K head size (D = H * K). Where a
shape begins with dots, they stand for (B, T) or, where only valid tokens are computed, for (N).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Self

import torch
from torch import Tensor, nn

from tinydistil.base.config import nearest
from tinydistil.base.errors import InputError
from tinydistil.model.config import BertConfig, Family, family
from tinydistil.model.layers import (
    ATTENTIONS,
    Attention,
    Linear,
    PackedAttention,
    activate,
    attention_over,
    drop,
    linear,
)
from tinydistil.model.pretrained import DECODER_WEIGHT, POOLER_WEIGHT, Heads, Pretrained

# Tokens that are in the wide layer at a time where no gradient needs them all. Blocks of a few MiB are reused by the
# allocator; larger ones are mapped afresh each time, a fifth of bert-tiny's forward pass at 32 x 128.
CHUNK = 1024


@dataclass(frozen=True, slots=True)
class EncoderOutput:
    """What the encoder computed for B sequences of T tokens.

    last_hidden (B, T, D), of no meaning at padding; pooled (B, D), None without a pooler; hidden_states: on request,
    the embeddings and every layer's output, L + 1 of (B, T, D).
    """

    last_hidden: Tensor
    pooled: Tensor | None
    hidden_states: tuple[Tensor, ...] | None


class Embeddings(nn.Module):
    """Word + position + segment, normalised; families without segments have none, of one segment all tokens are."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        width, types = config.embedding_width, config.type_vocab_size
        # padding_idx: the row of [PAD] gets no gradient from being looked up
        self.word = nn.Embedding(config.vocab_size, width, padding_idx=config.pad_token_id)
        self.position: nn.Embedding | None = nn.Embedding(config.max_position_embeddings, width)  # some have none
        self.token_type = nn.Embedding(types, width) if types else None
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.dropout_prob, self.first_position = config.hidden_dropout_prob, config.first_position

    def forward(self, input_ids: Tensor, token_type_ids: Tensor | None, position_ids: Tensor | None = None) -> Tensor:
        """Ids (..., T) to vectors (..., T, D); without `token_type_ids` all tokens are of the first segment.

        `position_ids` (T,): each token's position in its sequence; None for 0, 1, 2 ...
        """
        if self.token_type is None or self.token_type.num_embeddings == 1:
            token_type_ids = None  # what tells the texts of a pair apart is not for this model
        first, types = self.first_position, None
        try:
            words = self.word(input_ids)  # (..., T, D)
            if self.token_type is not None:
                # One row for all: its gradient is a sum, where a lookup would scatter B * T rows into it.
                types = self.token_type.weight[0] if token_type_ids is None else self.token_type(token_type_ids)
        except IndexError:  # raised on CPU only; CUDA would need a host sync a batch to check
            raise self._out_of_range(input_ids, token_type_ids) from None
        hidden = words if types is None else words.add_(types)
        if self.position is not None:
            if position_ids is None:
                positions = self.position.weight[first : first + input_ids.shape[-1]]
            else:
                positions = self.position(position_ids + first if first else position_ids)
            hidden.add_(positions)
        return drop(self.norm(hidden), self.dropout_prob if self.training else 0.0, in_place=True)

    def _out_of_range(self, input_ids: Tensor, token_type_ids: Tensor | None) -> InputError:
        field, ids, count = "input_ids", input_ids, self.word.num_embeddings
        if self.token_type is not None and token_type_ids is not None and 0 <= int(ids.min()) <= int(ids.max()) < count:
            field, ids, count = "token_type_ids", token_type_ids, self.token_type.num_embeddings
        least, most = int(ids.min()), int(ids.max())
        return InputError(
            f"{field} must be in 0..{count - 1}, got {least if least < 0 else most}; "
            "do the tokenizer and the model belong together?"
        )


class SelfAttention(nn.Module):
    """Multi-head self-attention. Query, key and value are one matrix product, three times as wide."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.qkv = Linear(config.hidden_size, 3 * config.hidden_size)
        self.output = Linear(config.hidden_size, config.hidden_size)
        self.dropout_prob = config.attention_probs_dropout_prob

    def forward(self, hidden: Tensor, attend: Attention) -> Tensor:
        """hidden (..., D) to (..., D)."""
        qkv = self.qkv(hidden).unflatten(-1, (3, self.num_heads, -1))  # (..., 3, H, K)
        return self.output(attend(qkv, dropout=self.dropout_prob if self.training else 0.0))  # type: ignore[no-any-return]


class Layer(nn.Module):
    """Attention, then feed-forward, each added to its input and then normalised (post-LayerNorm)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.attention = SelfAttention(config)
        self.attention_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.up = Linear(config.hidden_size, config.intermediate_size)
        self.down = Linear(config.intermediate_size, config.hidden_size)
        self.output_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.hidden_act = config.hidden_act
        self.dropout_prob = config.hidden_dropout_prob

    def forward(self, hidden: Tensor, attend: Attention) -> Tensor:
        """hidden (..., D) to (..., D)."""
        probability = self.dropout_prob if self.training else 0.0
        blocks = (partial(self.attention, attend=attend), self.attention_norm), (self.feed_forward, self.output_norm)
        for block, norm in blocks:
            projected = drop(block(hidden), probability, in_place=True)
            # In place: a linear layer's output is kept by nobody, and fresh memory costs more than the addition. But
            # under autocast a sum in bfloat16 would lose the residual's digits.
            alike = projected.dtype == hidden.dtype
            hidden = norm(projected.add_(hidden) if alike else hidden + projected)
        return hidden

    def feed_forward(self, hidden: Tensor) -> Tensor:
        """Each token by itself through the wide layer and back: (..., D) to (..., D)."""
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return self.down(activate(self.hidden_act, self.up(hidden)))  # type: ignore[no-any-return]
        gelu, outputs = self.hidden_act == "gelu", []
        for part in torch.split(hidden.flatten(0, -2), CHUNK):
            wide = self.up(part, gelu=True) if gelu else activate(self.hidden_act, self.up(part))
            outputs.append(self.down(wide))
        return torch.cat(outputs).view_as(hidden)


class BertModel(Pretrained):
    """Embeddings, L layers and, with `pooler`, a tanh layer over the first token.

    Other families put their own parts in place of BERT's, see `config.Family`.

    `attention` chooses "sdpa" (PyTorch's fused kernels over padded sequences, the default), "packed" (the same where
    nothing is padded; else only valid tokens pass through the layers, and padding comes out as zeros: what our own
    loops use) or "eager" (written out).
    """

    architecture = "BertModel"

    def __init__(self, config: BertConfig, *, pooler: bool = True, attention: str = "sdpa") -> None:
        super().__init__(config)
        if attention not in ATTENTIONS:
            raise InputError(f"attention {attention!r} is unknown{nearest(attention, ATTENTIONS)}")
        self.attention, parts = attention, family(config.model_type)
        self.embeddings: Embeddings = parts.embeddings(config)
        self.layers, self.final, self.longest = parts.layers(config), parts.final(config), config.longest
        self.pooler = nn.Linear(config.hidden_size, config.hidden_size) if pooler else None
        self.init_weights()

    @classmethod
    def _shaped_by(cls, config: BertConfig, stored: Mapping[str, Tensor], *, attention: str, heads: Heads) -> Self:
        # Encoders trained without next-sentence prediction have no pooler; none is invented for them.
        return cls(config, pooler=heads == "require" or POOLER_WEIGHT in stored, attention=attention)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        output_hidden_states: bool = False,
        causal: bool = False,
    ) -> EncoderOutput:
        """Encode ids (B, T). `attention_mask` (B, T) is 1 at valid tokens and 0 at padding; None means no padding.
        causal: no token sees what follows it.

        Raises InputError for ids outside the tables and for sequences longer than the position table.
        """
        shape, limit, position_ids = input_ids.shape, self.longest, None
        if len(shape) != 2 or shape[1] == 0:
            raise InputError(f"input_ids must have the shape (B, T) with T > 0, got {tuple(shape)}")
        for name, ids in (("input_ids", input_ids), ("token_type_ids", token_type_ids)):
            if ids is not None and ids.dtype not in (torch.int64, torch.int32):
                raise InputError(f"{name} must be int64 or int32, got {ids.dtype}")
        for name, beside in (("attention_mask", attention_mask), ("token_type_ids", token_type_ids)):
            if beside is not None and beside.shape != shape:
                raise InputError(f"{name} must have the shape of input_ids {tuple(shape)}, got {tuple(beside.shape)}")
        if shape[1] > limit:
            raise InputError(
                f"sequence of {shape[1]} tokens is longer than the position table ({limit}); "
                f"truncate it with max_length={limit}, or split the text"
            )
        attend = attention_over(attention_mask, self.attention, self.embeddings.norm.weight.dtype, causal=causal)
        if isinstance(attend, PackedAttention):  # from here on N valid tokens for B * T
            input_ids, position_ids = input_ids.flatten()[attend.positions], attend.position_ids
            token_type_ids = None if token_type_ids is None else token_type_ids.flatten()[attend.positions]
        hidden = self.embeddings(input_ids, token_type_ids, position_ids)  # (..., D)
        states = [hidden]
        for layer in self.layers:
            hidden = layer(hidden, attend)  # (..., D)
            if output_hidden_states:  # else every layer's output would stay in memory
                states.append(hidden)
        if self.final is not None:
            hidden = states[-1] = self.final(hidden)
        if isinstance(attend, PackedAttention):
            hidden = attend.unpack(hidden, shape)  # (B, T, D)
            states = [attend.unpack(state, shape) for state in states] if output_hidden_states else states
        pooled = None if self.pooler is None else torch.tanh(self.pooler(hidden[:, 0]))
        return EncoderOutput(hidden, pooled, tuple(states) if output_hidden_states else None)


@dataclass(frozen=True, slots=True)
class Decoding:
    """Rows (R, D) before the product with the vocabulary matrix (V, D) and its bias (V,) that makes logits of them."""

    rows: Tensor
    weight: Tensor
    bias: Tensor

    def logits(self) -> Tensor:
        """(R, V)."""
        return linear(self.rows, self.weight, self.bias)


class MaskedLMHead(nn.Module):
    """Dense, activation, LayerNorm, then a score for every token of the vocabulary (Devlin et al. 2019, 3.1).

    The decoder is the word embedding matrix itself (tied), passed in by the model, so that it exists once;
    with `tie_word_embeddings` off the head owns a `decoder` of its own.
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        width, tied = config.embedding_width, config.tie_word_embeddings
        self.dense = Linear(config.hidden_size, width)
        self.hidden_act = config.hidden_act
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.decoder = None if tied else nn.Parameter(torch.empty(config.vocab_size, width))

    def forward(self, hidden: Tensor, embedding: Tensor) -> Decoding:
        """hidden (..., D) and the word embeddings (V, D) to what logits (..., V) are made of."""
        rows = self.norm(activate(self.hidden_act, self.dense(hidden)))
        return Decoding(rows, embedding if self.decoder is None else self.decoder, self.bias)


class BertForMaskedLM(Pretrained):
    """The encoder with a masked language model head. Call it for the encoder's output, then `logits_at`."""

    architecture = "BertForMaskedLM"

    def __init__(self, config: BertConfig, *, attention: str = "sdpa") -> None:
        super().__init__(config)
        self.bert = BertModel(config, pooler=False, attention=attention)
        self.masked_lm: MaskedLMHead = family(config.model_type).masked_lm(config)
        self.init_weights()

    @classmethod
    def _shaped_by(cls, config: BertConfig, stored: Mapping[str, Tensor], *, attention: str, heads: Heads) -> Self:
        # A stored decoder that differs from the embeddings was trained apart from them, whatever config.json says.
        tied = config.tie_word_embeddings and DECODER_WEIGHT not in stored
        return cls(config.replace(tie_word_embeddings=tied), attention=attention)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> EncoderOutput:
        """The encoder's output for ids (B, T); see `BertModel.forward`."""
        return self.bert(input_ids, attention_mask, token_type_ids)  # type: ignore[no-any-return]

    def decoding_at(self, hidden: Tensor, positions: Tensor | None = None) -> Decoding:
        """What logits are made of, for hidden states (B, T, D): all, or only those at `positions`.

        `positions` (R,) index the flattened B * T tokens. With 15 % of tokens masked the full product would be nearly
        seven times the work and memory, for logits that no loss reads.
        """
        if positions is not None:
            hidden = hidden.flatten(0, 1).index_select(0, positions)  # (R, D)
        return self.masked_lm(hidden, self.bert.embeddings.word.weight)  # type: ignore[no-any-return]

    def logits_at(self, hidden: Tensor, positions: Tensor | None = None) -> Tensor:
        """Vocabulary logits of hidden states (B, T, D): all, (B, T, V), or only at `positions`, (R, V)."""
        return self.decoding_at(hidden, positions).logits()


def layers_of(config: BertConfig) -> nn.ModuleList:
    """BERT's layers."""
    return nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))


BERT = Family(BertConfig, Embeddings, layers_of, MaskedLMHead)
FAMILIES = {"bert": BERT}
