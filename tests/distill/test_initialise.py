"""Student starts, by hand-worked cases."""

from pathlib import Path

import pytest
import torch

from tinydistil.base.errors import InputError
from tinydistil.distill.initialise import (
    Moments,
    _continuing,
    student_for_vocabulary,
    student_from_layers,
)
from tinydistil.distill.terms.representation import Projection
from tinydistil.model.bert import BertForMaskedLM
from tinydistil.model.config import BertConfig
from tinydistil.tokenizer.tokenizer import Tokenizer, train_wordpiece

OLD = train_wordpiece(["gato gata casa caso"] * 3, 40, lowercase=True, strip_accents=True)
NEW = train_wordpiece(["Gatos ação casas não"] * 3, 60)


def model(hidden: int, vocab_size: int, layers: int = 2) -> BertForMaskedLM:
    torch.manual_seed(hidden)
    return BertForMaskedLM(
        BertConfig(vocab_size=vocab_size, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=2,
                   intermediate_size=16, max_position_embeddings=16)
    )  # fmt: skip


STUDENT, TEACHER = model(8, OLD.vocab_size), model(12, NEW.vocab_size + 3, layers=4)


@pytest.mark.parametrize("embeddings", ["random", "spelling", "pca"])
def test_layers_stay_and_the_table_is_new(embeddings: str) -> None:
    rebuilt = student_for_vocabulary(STUDENT, OLD, TEACHER, NEW, embeddings)
    assert rebuilt.bert.embeddings.word.weight.shape == (NEW.vocab_size + 3, 8)
    assert float(rebuilt.bert.embeddings.word.weight[0].detach().abs().max()) == 0.0  # [PAD]
    for name, tensor in STUDENT.state_dict().items():
        if name not in ("bert.embeddings.word.weight", "masked_lm.bias"):
            assert torch.equal(rebuilt.state_dict()[name], tensor), name


def test_spelling_is_the_mean_of_the_old_pieces() -> None:
    rebuilt = student_for_vocabulary(STUDENT, OLD, TEACHER, NEW, "spelling")
    old, new = STUDENT.bert.embeddings.word.weight, rebuilt.bert.embeddings.word.weight
    pieces = OLD.encode("Gatos", add_special=False).ids
    torch.testing.assert_close(new[NEW.backend.token_to_id("Gatos")], old[pieces].mean(0))
    assert torch.equal(new[NEW.mask_id], old[OLD.mask_id])
    continued = [OLD.backend.token_to_id("##a"), OLD.backend.token_to_id("##o")]
    token = NEW.backend.token_to_id("##ão")
    if token is not None:
        torch.testing.assert_close(new[token], old[continued].mean(0))
    assert torch.equal(new[NEW.backend.token_to_id("##a")], old[OLD.backend.token_to_id("##a")])


def test_pca_of_the_embeddings_keeps_their_geometry() -> None:
    rebuilt = student_for_vocabulary(STUDENT, OLD, TEACHER, NEW, "pca")
    new = rebuilt.bert.embeddings.word.weight.detach()[1:].double()
    teacher = TEACHER.bert.embeddings.word.weight.detach().double()
    _, singular, directions = torch.linalg.svd(teacher - teacher.mean(0), full_matrices=False)
    expected = ((teacher - teacher.mean(0)) @ directions[:8].T)[1:]
    gram, expected_gram = new @ new.T, expected @ expected.T
    torch.testing.assert_close(gram / gram.norm(), expected_gram / expected_gram.norm(), atol=1e-5, rtol=1e-4)
    assert singular.shape == (12,)


def test_principal_components_against_svd() -> None:
    torch.manual_seed(0)
    vectors = torch.randn(300, 6, dtype=torch.float64) @ torch.randn(6, 6, dtype=torch.float64) + 4
    projection, moments = Projection("pca", 2, 6, centred=True).double(), Moments(6)
    for part in vectors.split(70):
        moments.add(part)
    _, singular, directions = torch.linalg.svd(vectors - vectors.mean(0), full_matrices=False)
    torch.testing.assert_close(moments.mean, vectors.mean(0))
    components, squares = moments.directions(centred=True)
    torch.testing.assert_close(components[:2].abs(), directions[:2].abs(), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(squares, singular.square() / 300)
    assert projection.fit(moments) == pytest.approx(float(singular[:2].square().sum() / singular.square().sum()))
    torch.testing.assert_close(projection.basis, components[:2], rtol=1e-9, atol=1e-9)
    student, teacher = projection(torch.zeros(3, 2).double(), projection.prepare(vectors[:3]))
    assert teacher.shape == student.shape == (3, 2)
    assert not list(projection.parameters())


def test_every_second_layer() -> None:
    student = student_from_layers(TEACHER, 2)
    for ours, theirs in ((0, 0), (1, 2)):
        for name, tensor in student.bert.layers[ours].state_dict().items():
            assert torch.equal(tensor, TEACHER.bert.layers[theirs].state_dict()[name])
    assert torch.equal(student.bert.embeddings.word.weight, TEACHER.bert.embeddings.word.weight)
    whole = student_from_layers(TEACHER, 4)
    assert all(torch.equal(tensor, TEACHER.state_dict()[name]) for name, tensor in whole.state_dict().items())


def test_refusals() -> None:
    with pytest.raises(InputError, match=r"student\.embeddings 'speling' is unknown; did you mean 'spelling'"):
        student_for_vocabulary(STUDENT, OLD, TEACHER, NEW, "speling")
    with pytest.raises(InputError, match="'spelling' needs the student's own tokenizer"):
        student_for_vocabulary(STUDENT, None, TEACHER, NEW, "spelling")
    with pytest.raises(InputError, match=r"student\.layers must divide the teacher's 4, got 3"):
        student_from_layers(TEACHER, 3)
    with pytest.raises(InputError, match=r"'pca' reduces the teacher \(8\) to the student \(12\)"):
        student_for_vocabulary(TEACHER, NEW, STUDENT, OLD, "pca")


def test_a_student_learns_to_read_with_another_vocabulary() -> None:
    """Layers and transform stay; a word is the mean of its old pieces."""
    student = student_for_vocabulary(STUDENT, OLD, None, NEW, "spelling")
    old, new = STUDENT.bert.embeddings.word.weight, student.bert.embeddings.word.weight
    assert new.shape == (NEW.vocab_size, 8)
    pieces = OLD.encode("Gatos", add_special=False).ids
    torch.testing.assert_close(new[NEW.backend.token_to_id("Gatos")], old[pieces].mean(0))
    for name, tensor in STUDENT.state_dict().items():
        if name not in ("bert.embeddings.word.weight", "masked_lm.bias"):
            assert torch.equal(student.state_dict()[name], tensor), name


def test_the_inside_of_a_word_in_a_unigram_vocabulary(shared_data: Path) -> None:
    """ "##riam" is what "riam" is inside a word, not the word "riam" nor a mark of its beginning."""
    unigram = Tokenizer.from_pretrained(shared_data / "models" / "e5-small-pt")
    first, inside = (unigram.backend.token_to_id(piece) for piece in ("\u2581casa", "casa"))
    assert first is not None and inside is not None
    assert _continuing([first], unigram) == [inside]
    mark = unigram.backend.token_to_id("\u2581")
    assert _continuing([mark, inside], unigram) == [inside]
