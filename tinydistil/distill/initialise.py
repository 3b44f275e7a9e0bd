"""Where a student starts: from its own weights, from layers of the teacher, with embeddings for a new vocabulary.

Shapes: V vocabulary, D student width, E teacher width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from tinydistil.base.config import nearest
from tinydistil.base.errors import InputError, require
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


def principal_components(vectors: Tensor, count: int) -> tuple[Tensor, Tensor, float]:
    """Mean (E,), the first `count` components (count, E) of centred vectors (N, E), and the share of variance kept."""
    moments = Moments(vectors.shape[1], vectors.device)
    moments.add(vectors)
    directions, squares = moments.directions(centred=True)
    kept = float(squares[:count].sum() / squares.sum().clamp(min=1e-300))
    return moments.mean.to(vectors.dtype), directions[:count].to(vectors.dtype), kept


def student_for_vocabulary(
    student: BertForMaskedLM,
    student_tokenizer: Tokenizer | None,
    teacher: BertForMaskedLM | BertModel,
    teacher_tokenizer: Tokenizer,
    embeddings: str,
) -> BertForMaskedLM:
    """`student` rebuilt with the teacher's vocabulary (recipe total): its layers stay, its word table is new.

    embeddings: "random" (BERT's start), "spelling" (each new token the mean of the student's own pieces for its
    spelling; needs its tokenizer) or "pca" (the teacher's word embeddings on their first D components, scaled to the
    spread of the student's). Position and segment embeddings, layers and the head's transform are kept; the head's
    bias starts at zero. Raises InputError for an unknown kind or one that cannot be made.
    """
    if embeddings not in EMBEDDINGS:
        raise InputError(f"student.embeddings {embeddings!r} is unknown{nearest(embeddings, EMBEDDINGS)}")
    rebuilt = _with_new_table(student, teacher.config.vocab_size, teacher.config.pad_token_id)
    table = rebuilt.bert.embeddings.word.weight
    old = student.bert.embeddings.word.weight.detach()
    with torch.no_grad():
        if embeddings == "spelling":
            require(student_tokenizer is not None, "student.embeddings 'spelling' needs the student's own tokenizer")
            assert student_tokenizer is not None
            table[: teacher_tokenizer.vocab_size] = by_spelling(old, student_tokenizer, teacher_tokenizer)
        elif embeddings == "pca":
            encoder = teacher.bert if isinstance(teacher, BertForMaskedLM) else teacher
            table.copy_(_by_pca(encoder.embeddings.word.weight.detach(), old))
        clear_padding(rebuilt)
    return rebuilt


@torch.no_grad()
def student_respelled(student: BertForMaskedLM, old: Tokenizer, new: Tokenizer) -> BertForMaskedLM:
    """`student` rebuilt with the vocabulary `new`: its layers stay, each word is the mean of its pieces in `old`."""
    rebuilt = _with_new_table(student, new.vocab_size, new.pad_id)
    rebuilt.bert.embeddings.word.weight.copy_(by_spelling(student.bert.embeddings.word.weight.detach(), old, new))
    clear_padding(rebuilt)
    return rebuilt


def _with_new_table(student: BertForMaskedLM, vocab_size: int, pad_token_id: int | None) -> BertForMaskedLM:
    """`student` with a word table of BERT's random start and a head's bias of zeros; everything else is kept."""
    changed = student.config.replace(vocab_size=vocab_size, pad_token_id=pad_token_id, tie_word_embeddings=True)
    rebuilt = BertForMaskedLM(changed, attention=student.bert.attention)
    own = {"bert.embeddings.word.weight", "masked_lm.bias", "masked_lm.decoder"}
    kept = {name: tensor for name, tensor in student.state_dict().items() if name not in own}
    rebuilt.load_state_dict(kept, strict=False)
    return rebuilt


def clear_padding(model: BertForMaskedLM) -> None:
    """Make the padding token's word vector zeros."""
    if model.config.pad_token_id is not None:
        model.bert.embeddings.word.weight[model.config.pad_token_id] = 0.0


def by_spelling(old: Tensor, old_tokenizer: Tokenizer, new_tokenizer: Tokenizer) -> Tensor:
    """(V, D): for every new token the mean of the old vectors of the pieces that spell it."""
    special = dict(zip(new_tokenizer.special.spellings(), old_tokenizer.special.spellings(), strict=True))
    tokens = [new_tokenizer.token(i) for i in range(new_tokenizer.vocab_size)]
    spelled = old_tokenizer.encode_all([token.removeprefix("##") for token in tokens], add_special=False)
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


def _by_pca(teacher: Tensor, old: Tensor) -> Tensor:
    """(V, D): the teacher's embeddings (V, E) on their first D components, with the old table's mean spread."""
    require(
        teacher.shape[1] >= old.shape[1],
        f"student.embeddings 'pca' reduces the teacher ({teacher.shape[1]}) to the student ({old.shape[1]}), "
        "which is wider; choose spelling or random",
    )
    mean, components, _ = principal_components(teacher, old.shape[1])
    reduced = (teacher - mean) @ components.T
    return reduced * (old.std() / reduced.std().clamp(min=1e-12))


def student_from_layers(teacher: BertForMaskedLM, layers: int) -> BertForMaskedLM:
    """A student as wide as the teacher with `layers` of its L, taken evenly (Sanh et al. 2019: every second).

    Layer i of the student is layer i * L / layers of the teacher; embeddings and head are copied. Raises InputError
    if L is not a multiple of `layers`.
    """
    total = teacher.config.num_hidden_layers
    require(
        1 <= layers <= total and total % layers == 0,
        f"student.layers must divide the teacher's {total}, got {layers}",
    )
    student = BertForMaskedLM(teacher.config.replace(num_hidden_layers=layers), attention=teacher.bert.attention)
    stride, weights = total // layers, dict(teacher.state_dict())
    for name in student.state_dict():
        if name.startswith("bert.layers."):
            _, _, layer, rest = name.split(".", 3)
            weights[name] = teacher.state_dict()[f"bert.layers.{int(layer) * stride}.{rest}"]
    student.load_state_dict({name: weights[name] for name in student.state_dict()})
    return student
