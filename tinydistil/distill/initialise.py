"""Where a student starts: from its own weights, from layers of the teacher, with embeddings for a new vocabulary.

Letters: V vocabulary, D student width, E teacher width.
"""

import torch
from torch import Tensor

from tinydistil.config import nearest
from tinydistil.distill.projection import principal_components
from tinydistil.errors import InputError, require
from tinydistil.model.bert import BertModel
from tinydistil.model.heads import BertForMaskedLM
from tinydistil.text.tokenizer import Tokenizer

EMBEDDINGS = ("random", "spelling", "pca")


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
    changed = student.config.replace(
        vocab_size=teacher.config.vocab_size, pad_token_id=teacher.config.pad_token_id, tie_word_embeddings=True
    )
    rebuilt = BertForMaskedLM(changed, attention=student.bert.attention)
    own = {"bert.embeddings.word.weight", "masked_lm.bias", "masked_lm.decoder"}
    kept = {name: tensor for name, tensor in student.state_dict().items() if name not in own}
    rebuilt.load_state_dict(kept, strict=False)
    table = rebuilt.bert.embeddings.word.weight
    old = student.bert.embeddings.word.weight.detach()
    with torch.no_grad():
        if embeddings == "spelling":
            require(student_tokenizer is not None, "student.embeddings 'spelling' needs the student's own tokenizer")
            assert student_tokenizer is not None
            table[: teacher_tokenizer.vocab_size] = _by_spelling(old, student_tokenizer, teacher_tokenizer)
        elif embeddings == "pca":
            encoder = teacher.bert if isinstance(teacher, BertForMaskedLM) else teacher
            table.copy_(_by_pca(encoder.embeddings.word.weight.detach(), old))
        if changed.pad_token_id is not None:
            table[changed.pad_token_id] = 0.0
    return rebuilt


def _by_spelling(old: Tensor, old_tokenizer: Tokenizer, new_tokenizer: Tokenizer) -> Tensor:
    """(V, D): for every new token the mean of the old vectors of the pieces that spell it."""
    special = dict(zip(new_tokenizer.special.spellings(), old_tokenizer.special.spellings(), strict=True))
    tokens = [new_tokenizer.token(i) for i in range(new_tokenizer.vocab_size)]
    spelled = old_tokenizer.encode_all([token.removeprefix("##") for token in tokens], add_special=False)
    rows = torch.empty(len(tokens), old.shape[1])
    for place, (token, encoding) in enumerate(zip(tokens, spelled, strict=True)):
        if token in special:
            rows[place] = old[old_tokenizer.backend.token_to_id(special[token])]
        else:
            # "##ção" continues a word, and so do all the pieces that spell it
            ids = [_continuing(i, old_tokenizer) for i in encoding.ids] if token.startswith("##") else encoding.ids
            rows[place] = old[ids or [old_tokenizer.unk_id]].mean(0)
    return rows


def _continuing(token_id: int, tokenizer: Tokenizer) -> int:
    """The "##" form of a token, where the vocabulary has one."""
    continued = tokenizer.backend.token_to_id(f"##{tokenizer.token(token_id).removeprefix('##')}")
    return token_id if continued is None else int(continued)


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
