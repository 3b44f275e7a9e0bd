"""Where a student starts: from its own weights, from layers of the teacher, with embeddings for a new vocabulary, or
from random weights that look at the words beside each word.

Shapes: V vocabulary, D student width, E teacher width, T positions, K head size.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from tinydistil.base.config import OneOf
from tinydistil.base.errors import require
from tinydistil.distill.options import EMBEDDINGS
from tinydistil.model.bert import BertForMaskedLM, BertModel
from tinydistil.model.config import BertConfig
from tinydistil.tokenizer.tokenizer import Tokenizer

# The waves of the positions, in radians per token, from nearly a half turn down: fast ones tell neighbours apart, slow
# ones near from far.
_FASTEST, _SLOWEST = 0.9 * math.pi, 0.009 * math.pi
# What a head adds to the score of the token that it looks at: 95 % of the weight, until training says otherwise.
_SCORE = 9.0
# How much of a neighbour's vector a head passes on.
_GAIN = 0.7


class Moments:
    """First and second moments of vectors (N, E) that come in parts, in float64; nothing else of them is kept."""

    def __init__(self, width: int, device: torch.device | str = "cpu") -> None:
        self.count = 0
        self._sum = torch.zeros(width, dtype=torch.float64, device=device)
        self._squares = torch.zeros(width, width, dtype=torch.float64, device=device)

    def add(self, vectors: Tensor) -> None:
        """Count vectors (N, E) in."""
        exact = vectors.double()
        self.count += len(exact)
        self._sum += exact.sum(0)
        self._squares += exact.T @ exact

    @property
    def mean(self) -> Tensor:
        """The mean vector (E,), zero where there is none."""
        return self._sum / max(self.count, 1)

    def directions(self, *, centred: bool) -> tuple[Tensor, Tensor]:
        """The principal directions, orthonormal rows (E, E), and the mean square along each (E,), largest first.

        By the eigenvectors of the covariance or, not `centred`, of the second moments. Each row's sign is set so that
        its largest entry is positive, since an eigenvector has none of its own.
        """
        matrix = self._squares / max(self.count, 1)
        if centred:
            matrix = matrix - self.mean.outer(self.mean)
        values, columns = torch.linalg.eigh(matrix)  # ascending
        rows = columns.T.flip(0)
        signs = rows.gather(1, rows.abs().argmax(1, keepdim=True)).sign()
        return rows * signs, values.flip(0).clamp(min=0)


@torch.no_grad()
def student_for_vocabulary(
    student: BertForMaskedLM,
    own: Tokenizer | None,
    teacher: BertForMaskedLM | BertModel | None,
    new: Tokenizer,
    embeddings: str,
) -> BertForMaskedLM:
    """`student` rebuilt with the vocabulary `new`, which is the `teacher`'s or, where it is None, another; layers stay.

    embeddings: the new word table is "random" (BERT's start), "spelling" (each new token the mean of the student's own
    pieces for its spelling; needs `own`, its tokenizer) or "pca" (the teacher's word embeddings on their first D
    components, scaled to the spread of the student's). Position and segment embeddings, layers and the head's transform
    are kept; the head's bias starts at zero. Raises InputError for an unknown kind or one that cannot be made.
    """
    OneOf(EMBEDDINGS).check(embeddings, "student.embeddings")
    own_size = new.vocab_size, new.pad_id
    # The teacher's table may be longer than its tokenizer's ids.
    vocab_size, pad_id = own_size if teacher is None else (teacher.config.vocab_size, teacher.config.pad_token_id)
    changed = student.config.replace(vocab_size=vocab_size, pad_token_id=pad_id, tie_word_embeddings=True)
    rebuilt = BertForMaskedLM(changed, attention=student.bert.attention)
    words = ("bert.embeddings.word.weight", "masked_lm.bias", "masked_lm.decoder")
    kept = {name: tensor for name, tensor in student.state_dict().items() if name not in words}
    rebuilt.load_state_dict(kept, strict=False)
    table, old = rebuilt.bert.embeddings.word.weight, student.bert.embeddings.word.weight
    if embeddings == "spelling":
        require(own is not None, "student.embeddings 'spelling' needs the student's own tokenizer")
        assert own is not None
        table[: new.vocab_size] = by_spelling(old, own, new)
    elif embeddings == "pca":
        assert teacher is not None, "checked by RunConfig"
        encoder = teacher.encoder
        theirs, width = encoder.embeddings.word.weight, old.shape[1]
        require(
            theirs.shape[1] >= width,
            f"student.embeddings 'pca' reduces the teacher ({theirs.shape[1]}) to the student ({width}), "
            "which is wider; choose spelling or random",
        )
        moments = Moments(theirs.shape[1], theirs.device)
        moments.add(theirs)
        components = moments.directions(centred=True)[0][:width].to(theirs.dtype)
        reduced = (theirs - moments.mean.to(theirs.dtype)) @ components.T  # (V, D)
        table.copy_(reduced * (old.std() / reduced.std().clamp(min=1e-12)))
    clear_padding(rebuilt)
    return rebuilt


def clear_padding(model: BertForMaskedLM) -> None:
    """Make the padding token's word vector zeros."""
    if model.config.pad_token_id is not None:
        model.bert.embeddings.word.weight[model.config.pad_token_id] = 0.0


def by_spelling(old: Tensor, old_tokenizer: Tokenizer, new_tokenizer: Tokenizer) -> Tensor:
    """(V, D): for every new token the mean of the old vectors of the pieces that spell it."""
    special = dict(zip(new_tokenizer.special.spellings(), old_tokenizer.special.spellings(), strict=True))
    tokens = [new_tokenizer.token(i) for i in range(new_tokenizer.vocab_size)]
    texts = [new_tokenizer.spelling(i) for i in range(new_tokenizer.vocab_size)]
    spelled = old_tokenizer.encode_all(texts, add_special=False)
    vectors = torch.empty(len(tokens), old.shape[1])
    for index, (token, encoding) in enumerate(zip(tokens, spelled, strict=True)):
        if token in special:
            vectors[index] = old[old_tokenizer.backend.token_to_id(special[token])]
        else:
            ids = _continuing(encoding.ids, old_tokenizer) if token.startswith("##") else encoding.ids
            vectors[index] = old[ids or [old_tokenizer.unk_id]].mean(0)
    return vectors


def _continuing(ids: Sequence[int], tokenizer: Tokenizer) -> list[int]:
    """The pieces as they stand inside a word: "##ção" continues one, and so do all the pieces that spell it.

    In WordPiece they begin with "##"; in Unigram only a word's first piece is marked, by "\u2581".
    """
    found = []
    for token_id in ids:
        piece = tokenizer.token(token_id)
        forms = (f"##{piece.removeprefix('##')}", piece.removeprefix("\u2581"))
        continued = (tokenizer.backend.token_to_id(form) for form in forms)
        found.append(next((each for each in continued if each is not None), token_id))
    # a mark that stands alone is no part of a word's inside
    return [each for each in found if tokenizer.token(each) != "\u2581"]


def student_from_layers(teacher: BertForMaskedLM, layers: int) -> BertForMaskedLM:
    """A student as wide as the teacher with `layers` of its L, taken evenly (Sanh et al. 2019: every second).

    Layer i of the student is layer i * L / layers of the teacher, whole; embeddings and head are copied. Raises
    InputError if L is not a multiple of `layers`.
    """
    total = teacher.config.num_hidden_layers
    require(layers >= 1 and total % layers == 0, f"student.layers must divide the teacher's {total}, got {layers}")
    stride = total // layers
    student = BertForMaskedLM(teacher.config.replace(num_hidden_layers=layers), attention=teacher.bert.attention)
    student.load_state_dict({name: teacher.state_dict()[name] for name in student.state_dict()})
    for index, layer in enumerate(student.bert.layers):
        layer.load_state_dict(teacher.bert.layers[index * stride].state_dict())
    return student


def wider(shape: BertConfig) -> BertConfig:
    """`shape` with weights that begin so wide that a product of its width leaves vectors as long as one of BERT-base's:
    with 0.02 at 128 dimensions, a layer hardly changes what it reads. Held-out loss as above, with neighbours: 5.44 for
    6.42."""
    return shape.replace(initializer_range=0.02 * math.sqrt(max(768 / shape.hidden_size, 1)))


@torch.no_grad()
def look_at_neighbours(model: BertModel) -> None:
    """Begin the positions and the first layer's attention of `model` so that heads look at neighbours, in place.

    With weights of BERT's start every head looks everywhere alike, and a small model guesses words by their frequency
    for minutes before its heads find the neighbours that tell it more. Here positions begin as sinusoids (Vaswani et
    al. 2017, 3.5), and the heads of the first layer as the rotations that lead from a token's position to those beside
    it. Held-out masked LM loss of 2 x 128 after 1,500 steps of 16 sequences: 5.70 for 6.47. Heads look one token to
    the left and one to the right, the next two at two tokens, and so on. Draws from torch's global generator. Raises
    InputError for a model that has other positions or another attention.
    """
    config = model.config
    own = config.model_type in ("bert", "electra") and config.embedding_width == config.hidden_size
    require(
        own and config.hidden_size // config.num_attention_heads % 2 == 0,
        "student.start 'neighbours' is for BERT with heads of an even size and word vectors as wide as its layers, "
        f"got {config.model_type} of width {config.hidden_size} with {config.num_attention_heads} heads and words of "
        f"{config.embedding_width}; choose student.start random",
    )
    width, heads, position = config.hidden_size, config.num_attention_heads, model.embeddings.position
    assert position is not None, "BERT has them"
    size, rates = width // heads, _SLOWEST * (_FASTEST / _SLOWEST) ** torch.linspace(1, 0, width // 2).double()
    turned = _orthogonal(width, width).double()  # so that no dimension is of one wave alone
    angles = torch.arange(len(position.weight)).double()[:, None] * rates  # (T, D / 2)
    waves = torch.stack([angles.sin(), angles.cos()], -1).flatten(1) @ turned  # (T, D)
    # As long as word vectors: after LayerNorm half of a token's vector is its word, half its position.
    position.weight.copy_(waves * math.sqrt(2) * model.embeddings.word.weight.std())
    attention = model.layers[0].attention
    query, key, value = attention.qkv.weight.view(3, heads, size, width)
    gain = math.sqrt(2 * _SCORE / math.sqrt(size))
    for head in range(heads):
        offset = (head // 2 + 1) * (1 if head % 2 else -1)
        key[head] = gain * turned[:size]  # the fastest waves
        query[head] = gain * _rotation(rates[: size // 2] * offset) @ turned[:size]
    value.view(width, width).copy_(_GAIN * _orthogonal(width, width))
    attention.output.weight.copy_(_GAIN * _orthogonal(width, width))


def _rotation(angles: Tensor) -> Tensor:
    """Block by block, what turns [sin a, cos a] to [sin(a + angle), cos(a + angle)], (2n, 2n)."""
    sines, cosines = angles.sin(), angles.cos()
    blocks = torch.stack([cosines, sines, -sines, cosines], 1).view(-1, 2, 2)
    return torch.block_diag(*blocks)  # type: ignore[no-untyped-call, no-any-return]


def _orthogonal(rows: int, columns: int) -> Tensor:
    return torch.nn.init.orthogonal_(torch.empty(rows, columns))
