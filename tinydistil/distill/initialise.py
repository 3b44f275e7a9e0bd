"""Where a student starts: from its own weights, from layers of the teacher, with embeddings for a new vocabulary.

Shapes: V vocabulary, D student width, E teacher width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from tinydistil.base.config import OneOf
from tinydistil.base.errors import require
from tinydistil.distill.options import EMBEDDINGS
from tinydistil.model.bert import BertForMaskedLM, BertModel
from tinydistil.tokenizer.tokenizer import Tokenizer


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
