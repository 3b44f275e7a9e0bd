"""The encoder and its heads compute what transformers computes, values and gradients."""

from pathlib import Path

import pytest
import torch
import transformers
from torch import Tensor

from tests.model.pretraining import BertForPreTraining
from tinydistil.model.bert import BertForMaskedLM, BertModel
from tinydistil.model.config import BertConfig, new_shape
from tinydistil.model.heads import (
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
)
from tinydistil.model.pretrained import Pretrained, file_names

# Layers, width and vocabulary. Turc et al. 2019 (table 1) for tiny to medium, Devlin et al. 2019 for base and large;
# BERTimbau: Souza et al. 2020.
RELEASED = {
    "bert-tiny": (2, 128, 30522),
    "bert-mini": (4, 256, 30522),
    "bert-small": (4, 512, 30522),
    "bert-medium": (8, 512, 30522),
    "bert-base": (12, 768, 30522),
    "bert-large": (24, 1024, 30522),
    "bertimbau-base": (12, 768, 29794),
}
ATTENTIONS = ("eager", "sdpa", "packed")


def released(name: str) -> BertConfig:
    return new_shape(*RELEASED[name])


def reference_form(attention: str) -> str:
    """What ours is compared with: transformers computes padding too, and has no packed form on the CPU."""
    return "sdpa" if attention == "packed" else attention


def reference_of(model: Pretrained, name: str, attention: str = "eager") -> transformers.PreTrainedModel:
    """The model of transformers with the same configuration and weights."""
    config = model.config
    same = {
        field: getattr(config, field)
        for field in (
            "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act",
            "hidden_dropout_prob", "attention_probs_dropout_prob", "max_position_embeddings", "type_vocab_size",
            "layer_norm_eps", "pad_token_id", "tie_word_embeddings",
        )
    }  # fmt: skip
    labels = dict(enumerate(config.labels)) if model.has_labels else {0: "a", 1: "b"}
    reference = getattr(transformers, name)(
        transformers.BertConfig(**same, attn_implementation=reference_form(attention), id2label=labels)
    ).to(next(model.parameters()).dtype)
    found = reference.load_state_dict(model.file_weights(), strict=False)
    # Only what is tied may be missing, and nothing may be left over.
    assert set(found.missing_keys) <= {"cls.predictions.decoder.weight", "cls.predictions.decoder.bias"}
    assert not found.unexpected_keys
    reference.tie_weights()
    return reference.eval()


def batch(vocab_size: int, length: int = 48) -> dict[str, Tensor]:
    """Four sequences: full, padded, padded to three tokens, all in two segments."""
    generator = torch.Generator().manual_seed(1)
    input_ids = torch.randint(1, vocab_size, (4, length), generator=generator)
    attention_mask = torch.ones_like(input_ids)
    attention_mask[1, length // 2 :] = 0
    attention_mask[2, 3:] = 0
    token_type_ids = (torch.arange(length) >= length // 3).long().expand_as(input_ids).contiguous()
    return {
        "input_ids": input_ids * attention_mask,
        "attention_mask": attention_mask,
        "token_type_ids": token_type_ids,
    }


def worst(ours: Tensor, theirs: Tensor, real: Tensor | None = None) -> float:
    """The largest difference; at tokens that are `real` (B, T) only, where given."""
    assert ours.shape == theirs.shape
    difference = (ours - theirs).abs()
    return float((difference if real is None else difference[real]).max())


def compared(attention: str, inputs: dict[str, Tensor]) -> Tensor | None:
    """Padding is compared too, unless ours computes none."""
    return inputs["attention_mask"] == 1 if attention == "packed" else None


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize(
    ("name", "dtype", "bound"),
    [
        ("bert-tiny", torch.float32, 2e-5),
        ("bert-mini", torch.float32, 2e-5),
        ("bertimbau-base", torch.float32, 2e-5),
        ("bert-tiny", torch.float64, 1e-10),
        ("bert-mini", torch.float64, 1e-10),
    ],
)
@torch.no_grad()
def test_random_weights_same_numbers(name: str, attention: str, dtype: torch.dtype, bound: float) -> None:
    torch.manual_seed(0)
    # A larger spread than BERT's 0.02: attention far from uniform and LayerNorm away from its start.
    model = BertForPreTraining(released(name).replace(initializer_range=0.05), attention=attention).to(dtype).eval()
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter), alpha=0.02)
    inputs = batch(model.config.vocab_size)
    reference = reference_of(model, "BertForPreTraining", attention)
    theirs = reference(**inputs, output_hidden_states=True)
    output = model(**inputs)
    encoded, next_sentence = output.encoded, output.next_sentence
    states, real = model.bert(**inputs, output_hidden_states=True).hidden_states, compared(attention, inputs)
    for ours_state, their_state in zip(states, theirs.hidden_states, strict=True):
        assert worst(ours_state, their_state, real) <= bound
    assert worst(encoded.pooled, reference.bert(**inputs).pooler_output) <= bound
    logits = model.logits_at(encoded.last_hidden)
    assert worst(logits, theirs.prediction_logits, real) <= bound * scale_of(theirs)
    assert worst(next_sentence, theirs.seq_relationship_logits) <= bound


def scale_of(theirs: transformers.utils.ModelOutput) -> float:
    """The logits' own size where it exceeds 1: with these wide weights it does, and rounding grows with it."""
    return max(1.0, float(theirs.prediction_logits.std()))


@pytest.mark.parametrize("attention", ATTENTIONS)
@torch.no_grad()
def test_fresh_weights_same_logits(attention: str) -> None:
    torch.manual_seed(0)
    model = BertForPreTraining(released("bertimbau-base"), attention=attention).eval()
    inputs = batch(model.config.vocab_size)
    theirs = reference_of(model, "BertForPreTraining", attention)(**inputs)
    output = model(**inputs)
    logits = model.logits_at(output.encoded.last_hidden)
    assert worst(logits, theirs.prediction_logits, compared(attention, inputs)) <= 2e-5
    assert worst(output.next_sentence, theirs.seq_relationship_logits) <= 2e-5


@pytest.mark.parametrize("attention", ATTENTIONS)
@torch.no_grad()
def test_real_weights_same_numbers(minilm: Path, attention: str) -> None:
    model = BertModel.from_pretrained(minilm, attention=attention)
    reference = transformers.BertModel.from_pretrained(minilm, attn_implementation=reference_form(attention))
    inputs = batch(model.config.vocab_size, length=128)
    real = compared(attention, inputs)
    theirs = reference(**inputs, output_hidden_states=True)
    ours = model(**inputs, output_hidden_states=True)
    exact = reference.double()(**inputs, output_hidden_states=True)
    for our_state, their_state, truth in zip(
        ours.hidden_states, theirs.hidden_states, exact.hidden_states, strict=True
    ):
        # Real states reach 10, and with AVX-512 the reference's own rounding comes to 2e-5 of it: then ours may err no
        # more than it does.
        apart = worst(our_state, their_state, real)
        assert apart <= 2e-5 or worst(our_state, truth, real) <= worst(their_state, truth, real)
    assert worst(ours.pooled, theirs.pooler_output) <= 2e-5


@torch.no_grad()
def test_real_fp16_encoder_same_numbers(shared_data: Path) -> None:
    """A file in fp16, another pad id, no pooler, names without "bert."."""
    folder = shared_data / "models" / "e5-small-pt"
    model = BertModel.from_pretrained(folder)
    reference = transformers.BertModel.from_pretrained(folder, dtype=torch.float32, add_pooling_layer=False)
    inputs = batch(model.config.vocab_size)
    assert model.pooler is None
    assert worst(model(**inputs).last_hidden, reference(**inputs).last_hidden_state) <= 2e-5


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_masked_lm_gradients(attention: str) -> None:
    torch.manual_seed(0)
    config = released("bert-tiny").replace(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    model = BertForMaskedLM(config, attention=attention).train()
    reference = reference_of(model, "BertForMaskedLM", attention).train()
    inputs = batch(config.vocab_size)
    labels = torch.where(torch.rand(inputs["input_ids"].shape) < 0.15, inputs["input_ids"], -100)
    labels[inputs["attention_mask"] == 0] = -100
    reference(**inputs, labels=labels).loss.backward()
    rows = (labels.flatten() >= 0).nonzero().squeeze(1)
    logits = model.logits_at(model(**inputs).last_hidden, rows)
    torch.nn.functional.cross_entropy(logits, labels.flatten()[rows]).backward()
    theirs = dict(reference.named_parameters())
    for name, parameter in model.named_parameters():
        files = file_names(name)
        expected = torch.cat([theirs[file].grad for file in files])
        assert parameter.grad is not None, name
        assert (parameter.grad - expected).norm() <= 1e-5 * expected.norm() + 1e-12, name


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (BertForSequenceClassification, "BertForSequenceClassification"),
        (BertForTokenClassification, "BertForTokenClassification"),
        (BertForQuestionAnswering, "BertForQuestionAnswering"),
    ],
)
@torch.no_grad()
def test_task_heads(ours: type[Pretrained], theirs: str) -> None:
    torch.manual_seed(0)
    model = ours(released("bert-tiny").replace(labels=("contradiz", "neutro", "acarreta"))).eval()
    inputs = batch(model.config.vocab_size)
    expected = reference_of(model, theirs)(**inputs)
    result = model(**inputs)
    if theirs == "BertForQuestionAnswering":
        assert (
            worst(torch.cat([result.first, result.last]), torch.cat([expected.start_logits, expected.end_logits]))
            <= 2e-5
        )
    else:
        assert worst(result, expected.logits) <= 2e-5


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu", "swish"])
@torch.no_grad()
def test_activations(activation: str) -> None:
    torch.manual_seed(0)
    model = BertForMaskedLM(released("bert-tiny").replace(hidden_act=activation)).eval()
    inputs = batch(model.config.vocab_size)
    theirs = reference_of(model, "BertForMaskedLM")(**inputs).logits
    assert worst(model.logits_at(model(**inputs).last_hidden), theirs) <= 2e-5
    with torch.enable_grad():  # the way that keeps activations for the backward pass
        assert worst(model.logits_at(model(**inputs).last_hidden).detach(), theirs) <= 2e-5


@pytest.mark.parametrize("name", ["bert-tiny", "bert-small"])
@torch.no_grad()
def test_autocast_errs_no_more_than_the_reference(name: str) -> None:
    """Under bfloat16 autocast the residual stream stays float32, as in transformers."""
    torch.manual_seed(0)
    model = BertModel(released(name)).eval()
    reference = reference_of(model, "BertModel", "sdpa")
    inputs = batch(model.config.vocab_size)
    truth = model.double()(**inputs).last_hidden
    model.float()
    with torch.autocast("cpu", torch.bfloat16):
        ours, theirs = model(**inputs).last_hidden, reference(**inputs).last_hidden_state
    assert ours.dtype == torch.float32
    assert float((ours - truth).norm()) <= 1.1 * float((theirs - truth).norm())


@torch.no_grad()
def test_rows_are_the_rows_of_the_whole() -> None:
    torch.manual_seed(0)
    model = BertForMaskedLM(released("bert-tiny")).eval()
    hidden = torch.randn(3, 7, 128)
    rows = torch.tensor([0, 20, 8, 8])
    every = model.logits_at(hidden).flatten(0, 1)
    assert worst(model.logits_at(hidden, rows), every[rows]) <= 1e-6
    assert model.logits_at(hidden, rows[:0]).shape == (0, model.config.vocab_size)


@pytest.mark.parametrize("attention", ATTENTIONS)
@torch.no_grad()
def test_padding_changes_nothing(attention: str) -> None:
    torch.manual_seed(0)
    model = BertModel(released("bert-tiny"), attention=attention).double().eval()
    ids = torch.randint(1, 30522, (2, 9))
    mask = torch.ones_like(ids)
    padded = torch.cat([ids, torch.randint(1, 30522, (2, 6))], 1)  # what stands at padding must not matter
    padded_mask = torch.cat([mask, torch.zeros(2, 6, dtype=torch.long)], 1)
    assert worst(model(padded, padded_mask).last_hidden[:, :9], model(ids, mask).last_hidden) <= 1e-12
    nothing_real = model(ids, torch.zeros_like(ids)).last_hidden
    assert bool(torch.isfinite(nothing_real).all())


@torch.no_grad()
def test_chunks_of_rows_change_nothing() -> None:
    """More rows than one chunk of the feed-forward layers, against the path with gradients."""
    torch.manual_seed(0)
    model = BertModel(released("bert-tiny")).double().eval()
    ids = torch.randint(1, 30522, (9, 128))  # 1152 rows
    with torch.enable_grad():
        whole = model(ids).last_hidden.detach()
    assert worst(model(ids).last_hidden, whole) <= 1e-12


def test_released_sizes() -> None:
    def parameters(config: BertConfig) -> int:
        with torch.device("meta"):
            return sum(parameter.numel() for parameter in BertModel(config).parameters())

    # Turc et al. 2019, table 1 (in millions) and the model card of BERTimbau
    for name, millions in [("bert-tiny", 4.4), ("bert-mini", 11.2), ("bert-small", 28.8), ("bert-medium", 41.4),
                           ("bert-base", 109.5), ("bert-large", 335.1), ("bertimbau-base", 108.9)]:  # fmt: skip
        assert parameters(released(name)) / 1e6 == pytest.approx(millions, abs=0.06), name
