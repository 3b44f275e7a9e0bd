"""Students that start as their teacher: all of it, on the principal components of its hidden states, or word vectors.

Every weight is the teacher's, in fewer dimensions: attention and word vectors in closed form, as in SliceGPT (Ashkboos
et al. 2024) but with heads of reduced rank, and each dense layer by least squares on the teacher's own activations.
Shapes: N tokens, D student width, E teacher width, V vocabulary, H heads, K head size.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tinydistil.batches.masked_batches import MaskedBatch, MaskedBatches, TeacherView
from tinydistil.batches.sampling import MaskConfig, by_length
from tinydistil.batches.shards import WordPair
from tinydistil.distill.initialise import Moments, by_spelling, clear_padding
from tinydistil.distill.teacher.live import LiveTeacher
from tinydistil.distill.terms.base import Vectors
from tinydistil.model.bert import BertForMaskedLM, BertModel, Layer, SelfAttention
from tinydistil.model.layers import PackedAttention, activate
from tinydistil.tokenizer.tokenizer import Tokenizer

# Dense inputs of the head's activation stand so many deviations above 0, where GELU is nearly linear.
_OFFSET = 2.0
_RIDGE = 1e-4
_WORDS = 512  # encoded at a time
_SPREAD = 0.1  # of the numbers of a word's vector


@torch.no_grad()
def project_teacher(
    student: BertForMaskedLM,
    teacher: BertForMaskedLM | BertModel,
    sample: MaskedBatch | TeacherView,
    tokenizers: tuple[Tokenizer, Tokenizer] | None = None,
) -> None:
    """Overwrite every weight of `student`; without a masked LM head in the teacher, the student's stays as it was.

    sample: text in the teacher's tokens. tokenizers: the teacher's and the student's, where the student has a
    vocabulary of its own; each of its tokens is then the mean of the teacher's tokens for its spelling. The student is
    no wider than the teacher and takes its first layers.
    """
    encoder = teacher.encoder.eval()
    attend, width = PackedAttention.of(sample.attention_mask), student.config.hidden_size
    ids = sample.input_ids.flatten()[attend.positions]
    embedded = hidden = encoder.embeddings(ids, None, attend.position_ids)
    moments, means = Moments(hidden.shape[1], hidden.device), list[Tensor]()  # nothing else is kept of all layers

    def see(hidden: Tensor) -> None:
        """Each layer counts the same, however large its numbers are."""
        means.append(hidden.mean(0))
        moments.add(hidden / (hidden - means[-1]).norm() * len(hidden) ** 0.5)

    see(hidden)
    states = [embedded]  # of the layers that the student has too
    for layer in encoder.layers:
        hidden = layer(hidden, attend)
        see(hidden)
        if len(states) <= len(student.bert.layers):
            states.append(hidden)
    last, mean = hidden, torch.stack(means).mean(0)
    basis = moments.directions(centred=True)[0][:width].to(mean.dtype)  # (D, E)
    rest = mean - basis.T @ (basis @ mean)  # what it misses of the mean, (E,)

    words, positions, types = (
        table.weight @ basis.T  # (V, D) and so on
        for table in (encoder.embeddings.word, encoder.embeddings.position, encoder.embeddings.token_type)
        if table is not None
    )
    own = student.bert.embeddings
    assert own.token_type is not None and own.position is not None, "BERT has segments and positions"
    own.position.weight[: len(positions)] = positions[: len(own.position.weight)]
    own.token_type.weight[: len(types)] = types[: len(own.token_type.weight)]
    hidden = _fit_norm(own.norm, words[ids] + positions[attend.position_ids] + types[0], embedded @ basis.T)
    for layer, theirs, before, after in zip(student.bert.layers, encoder.layers, states, states[1:], strict=False):
        assert isinstance(layer, Layer) and isinstance(theirs, Layer)
        # Each part is fitted to what the teacher's makes of its own input, given what the student's own input is.
        attended = theirs.attention(before, attend)
        normed = theirs.attention_norm(attended + before)
        attention = layer.attention
        _project_attention(attention, theirs.attention, basis, rest)
        context = attend(attention.qkv(hidden).unflatten(-1, (3, attention.num_heads, -1)), dropout=0.0)
        hidden = _fit(attention.output, context, attended @ basis.T) + hidden
        hidden = _fit_norm(layer.attention_norm, hidden, normed @ basis.T)
        # Of the teacher's neurons those with the largest weights; where there are fewer than wanted, the others stay.
        order = (theirs.up.weight.norm(dim=1) * theirs.down.weight.norm(dim=0)).argsort(descending=True)
        wanted = theirs.up(normed)[:, order[: layer.up.out_features]]  # (N, F)
        up = _fit(layer.up, hidden, torch.cat([wanted, layer.up(hidden)[:, wanted.shape[1] :]], 1))
        fed = _fit(layer.down, activate(layer.hidden_act, up), theirs.feed_forward(normed) @ basis.T)
        hidden = _fit_norm(layer.output_norm, fed + hidden, after @ basis.T)

    bias = torch.zeros(len(words), device=words.device)
    if isinstance(teacher, BertForMaskedLM):
        bias = _project_head(student, teacher, hidden, last, words)
    if tokenizers is not None:
        spelled = by_spelling(torch.cat([words, bias[:, None]], 1), *tokenizers)
        words, bias = spelled[:, :-1], spelled[:, -1]
    own.word.weight[: len(words)] = words
    student.masked_lm.bias[: len(bias)] = bias
    clear_padding(student)


def _project_attention(own: SelfAttention, teacher: SelfAttention, basis: Tensor, rest: Tensor) -> None:
    """Scores and values of the teacher's heads that say most, each as the nearest of rank K (Eckart and Young 1936).

    A head has two bilinear forms, query to key and hidden state to output; a constant 1 beside the hidden state takes
    the biases in.
    """
    (width, wide), heads = basis.shape, teacher.num_heads
    lift = basis.new_zeros(wide + 1, width + 1)  # from a student's state and 1 to a teacher's and 1
    lift[:wide, :width], lift[:wide, width], lift[wide, width] = basis.T, rest, 1
    qkv = torch.cat([teacher.qkv.weight, teacher.qkv.bias[:, None]], 1) @ lift  # (3E, D + 1)
    query, key, value = qkv.view(3, heads, -1, width + 1).unbind(0)
    output = (basis @ teacher.output.weight).view(width, heads, -1).transpose(0, 1)  # (H, D, K)
    values = output @ value  # (H, D, D + 1)
    scores = query.transpose(1, 2) @ key / query.shape[1] ** 0.5  # (H, D + 1, D + 1)
    chosen = values[..., :width].flatten(1).norm(dim=1).argsort(descending=True)[: own.num_heads]
    size = width // own.num_heads
    weights, biases = own.qkv.weight.view(3, -1, size, width), own.qkv.bias.view(3, -1, size)
    for head, source in enumerate(chosen.tolist()):
        left, strength, right = torch.linalg.svd(scores[source] * size**0.5)
        roots = strength[:size].sqrt()[:, None]
        _, along, read = torch.linalg.svd(values[source])
        parts = (left.T[:size] * roots, right[:size] * roots, read[:size] * along[:size, None].sqrt())
        for i, part in enumerate(parts):
            weights[i, head], biases[i, head] = part[:, :width], part[:, width]


def _project_head(
    student: BertForMaskedLM, teacher: BertForMaskedLM, hidden: Tensor, teacher_hidden: Tensor, words: Tensor
) -> Tensor:
    """Fit the head, so that its products with `words` (V, D) are near the teacher's logits; returns their bias (V,)."""
    own, head, embedding = student.masked_lm, teacher.masked_lm, teacher.bert.embeddings.word.weight
    decoder = embedding if head.decoder is None else head.decoder
    decoded = head.norm(activate(head.hidden_act, head.dense(teacher_hidden)))  # (N, E)
    # (D, E): the decoder is nearly words @ shared.
    shared = _least_squares(words.double(), decoder.double(), ridge=1e-9).to(words.dtype)
    targets = decoded @ shared.T
    raised = (targets - targets.mean(0)) / targets.std() + _OFFSET
    _fit_norm(own.norm, activate(own.hidden_act, _fit(own.dense, hidden, raised)), targets)
    return head.bias + (decoder - words @ shared) @ decoded.mean(0)  # type: ignore[no-any-return]


def _fit(linear: nn.Linear, inputs: Tensor, targets: Tensor) -> Tensor:
    """Ridge regression of (N, F) on (N, D), written into `linear`; returns what it now makes of `inputs`."""
    mean, centre = inputs.double().mean(0), targets.double().mean(0)
    centred = inputs.double() - mean
    weight = _least_squares(centred, targets.double() - centre, ridge=_RIDGE).T
    linear.weight.copy_(weight)
    linear.bias.copy_(centre - weight @ mean)
    return linear(inputs)  # type: ignore[no-any-return]


def _least_squares(inputs: Tensor, targets: Tensor, *, ridge: float) -> Tensor:
    """The (D, F) that brings `inputs` (N, D) nearest to `targets` (N, F), by normal equations.

    Not by torch's `lstsq`, which does not give the same bits twice. ridge: as a share of the mean square of an input.
    """
    gram = inputs.T @ inputs
    gram.diagonal().add_(ridge * gram.diagonal().mean() + 1e-12)
    return torch.linalg.solve(gram, inputs.T @ targets)  # type: ignore[no-any-return]


def _fit_norm(norm: nn.LayerNorm, inputs: Tensor, targets: Tensor) -> Tensor:
    """The same for scale and shift of a LayerNorm."""
    plain = nn.functional.layer_norm(inputs, norm.normalized_shape, eps=norm.eps)
    varying, wanted = plain - plain.mean(0), targets - targets.mean(0)
    norm.weight.copy_((varying * wanted).sum(0) / varying.square().sum(0).clamp(min=1e-12))
    norm.bias.copy_(targets.mean(0) - norm.weight * plain.mean(0))
    return norm(inputs)  # type: ignore[no-any-return]


class _Words(list[NDArray[np.unsignedinteger]]):
    """Token ids of words, as `batches.masked_batches.Sequences`."""

    has_words = False

    def pair(self, index: int, /) -> WordPair:
        """There is one tokenization only."""
        raise NotImplementedError

    def lengths(self, side: int = 0, /) -> NDArray[np.int64]:
        """Tokens of every word."""
        return np.array(list(map(len, self)))


@torch.no_grad()
def encode_words(
    teacher: LiveTeacher, own: Tokenizer, prefix: Sequence[int], vocabulary: Tokenizer, *, pools_prefix: bool = True
) -> Tensor:
    """The teacher's vector (V, E) of each word of `vocabulary` alone, as of a sequence; zeros for special tokens.

    own: the teacher's tokenizer. prefix, pools_prefix: as in `MaskedBatches`. So static embeddings are distilled too
    (model2vec, Tulkens & van Dongen 2024).
    """
    pooled, *_ = (states["pooled"] for states in teacher.states.values() if "pooled" in states)
    device, special = next(teacher.model.parameters()).device, set(vocabulary.special.spellings())
    texts = [vocabulary.token(i) for i in range(vocabulary.vocab_size)]
    chosen = [i for i, text in enumerate(texts) if text not in special]
    plain = [vocabulary.spelling(i) for i in chosen]
    ids = _Words(np.array(each.ids, np.uint32) for each in own.encode_all(plain, None, add_special=False))
    batches = MaskedBatches(
        ids, own, MaskConfig(rate=0.0), batch_size=1, seed=0,
        teacher_tokenizer=own, teacher_prefix=prefix, pools_prefix=pools_prefix,
    )  # fmt: skip
    assert isinstance(pooled, Vectors)
    found = torch.zeros(len(texts), pooled.width)
    for some in by_length({i: len(each) for i, each in enumerate(ids)}, _WORDS):
        batch = batches.collate(np.array(some), 0).to(device)
        found[[chosen[i] for i in some]] = pooled.take(teacher.read(batch), batch).float().cpu()
    return found


@torch.no_grad()
def start_encoded(words: Tensor, encoded: Tensor, basis: Tensor) -> None:
    """Overwrite the word vectors (V', D) of a student with the teacher's (V, E) on the directions `basis` (D, E).

    Narrower word vectors than the student have the first of them. They are centred and made of one length; those of
    special tokens stay as they are.
    """
    known = encoded.abs().sum(1) > 0
    vectors = (encoded[known] - encoded[known].mean(0)) @ basis[: words.shape[1]].T.to(encoded)
    scale = _SPREAD * words.shape[1] ** 0.5 / vectors.norm(dim=1, keepdim=True).clamp(min=1e-12)
    words[: len(known)][known] = (vectors * scale).to(words)
