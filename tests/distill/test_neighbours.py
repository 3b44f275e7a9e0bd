"""A model that looks at the words beside each from its first step on."""

import pytest
import torch

from tinydistil.base.errors import InputError
from tinydistil.distill.initialise import look_at_neighbours, wider
from tinydistil.model.bert import BertForMaskedLM, BertModel
from tinydistil.model.config import BertConfig, Shape, new_shape


def begun(*, width: int, heads: int, seed: int = 0) -> BertModel:
    torch.manual_seed(seed)
    shape = wider(new_shape(2, width, 500, 0, heads)).replace(max_position_embeddings=80)
    model = BertForMaskedLM(shape).bert.eval()
    look_at_neighbours(model)
    return model


@pytest.mark.parametrize(("width", "heads"), [(128, 2), (256, 4), (96, 6)])
def test_heads_look_beside(width: int, heads: int) -> None:
    """Without words each head's weights are greatest at its neighbour, wherever the token stands."""
    model = begun(width=width, heads=heads)
    size, attention = width // heads, model.layers[0].attention
    position = model.embeddings.position
    assert position is not None
    normed = model.embeddings.norm(position.weight)
    query, key, _ = attention.qkv(normed).view(-1, 3, heads, size).unbind(1)  # each (T, H, K)
    for head, offset in enumerate([-1, 1, -2, 2, -3, 3][:heads]):
        weights = (query[:, head] @ key[:, head].T / size**0.5).softmax(-1)
        for token in range(3, 77):
            assert int(weights[token].argmax()) == token + offset
        assert float(weights[20:60].diagonal(20 + offset).mean()) > 0.5


def test_positions_and_words_weigh_alike_and_what_is_passed_on_keeps_its_length() -> None:
    model = begun(width=128, heads=2)
    position, attention = model.embeddings.position, model.layers[0].attention
    assert position is not None
    assert float(position.weight.std() / model.embeddings.word.weight.std()) == pytest.approx(1.0, abs=0.02)
    value = attention.qkv.weight[256:]
    for matrix in (value, attention.output.weight):
        assert torch.allclose(matrix @ matrix.T, 0.49 * torch.eye(128), atol=1e-5)


def test_it_is_drawn_from_the_seed() -> None:
    one, same, other = (begun(width=64, heads=2, seed=seed).layers[0].attention.qkv.weight for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_weights_begin_wider_the_narrower_a_model_is() -> None:
    assert [round(wider(new_shape(1, width, 9)).initializer_range, 4) for width in (64, 192, 768, 1024)] == [
        0.0693, 0.04, 0.02, 0.02,
    ]  # fmt: skip


@pytest.mark.parametrize("shape", ["2x64,embedding=32", "2x64,groups=1", "2x66,heads=22"])
def test_what_has_no_such_heads_is_refused(shape: str) -> None:
    found = Shape.of(shape)
    assert found is not None
    layers, width, *others = found
    model = BertModel(new_shape(layers, width, 90, *others))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(InputError, match=r"student.start 'neighbours' is for BERT .* choose student.start random"):
        look_at_neighbours(model)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert isinstance(model.config, BertConfig)
