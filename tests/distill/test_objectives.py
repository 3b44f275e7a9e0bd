"""What learns without a teacher: against `transformers` and plain loops in float64."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor
from torch.nn import functional as F

from tests.distill.test_layerwise import batch as unmasked
from tests.train.toy import CASES, make_learner, toy_case
from tinydistil.base.errors import InputError
from tinydistil.base.ranks import Ranks
from tinydistil.batches.masked_batches import MaskedBatch
from tinydistil.batches.pairs import ORDER, PairView
from tinydistil.distill.options import Shapes
from tinydistil.distill.recipe import OBJECTIVES, RECIPES, Recipe
from tinydistil.distill.terms.replaced_tokens import ReplacedTokens, drawn, draws_of
from tinydistil.model.bert import BertForMaskedLM, BertModel, Decoding
from tinydistil.model.config import BertConfig
from tinydistil.model.families.albert import AlbertConfig
from tinydistil.model.families.deberta_v2 import DebertaV2Config
from tinydistil.model.families.electra import ElectraConfig
from tinydistil.model.families.modernbert import ModernBertConfig

SIZES = {"vocab_size": 30, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16,
         "max_position_embeddings": 16, "initializer_range": 0.4}  # fmt: skip
DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
BERT = BertConfig(**SIZES, **DROPOUT)  # type: ignore[arg-type]
ELECTRA = ElectraConfig(**SIZES, **DROPOUT, embedding_size=6)  # type: ignore[arg-type]
ALONE = Ranks(0, 1, torch.device("cpu"))


def batch() -> MaskedBatch:
    """Four sequences of 9, 4, 2 and 7 tokens; in the first three tokens are masked, in the last one."""
    plain, positions = unmasked(), torch.tensor([1, 3, 6, 9 * 3 + 2])
    ids = plain.original_ids.flatten().clone()
    targets = ids[positions].clone()
    ids[positions] = 4
    return replace(plain, input_ids=ids.view_as(plain.input_ids), positions=positions, targets=targets)


def student_of(config: BertConfig) -> BertForMaskedLM:
    torch.manual_seed(0)
    return BertForMaskedLM(config, attention="packed").double().eval()


def terms_of(recipe: Recipe, student: BertForMaskedLM, of: MaskedBatch) -> tuple[Any, dict[str, Any]]:
    learner = make_learner(student, None, recipe).double()
    return learner, learner(of, None)


def test_causal_is_that_of_transformers(tmp_path: Path) -> None:
    student = student_of(BERT)
    _, losses = terms_of(RECIPES["causal"], student, batch())
    student.save_pretrained(tmp_path)
    theirs = transformers.BertLMHeadModel.from_pretrained(tmp_path, is_decoder=True).double().eval()
    expected, read = 0.0, unmasked()
    for ids, valid in zip(read.original_ids, read.valid_mask, strict=True):
        row = ids[valid][None]
        expected += float(theirs(input_ids=row, labels=row).loss.detach()) * (row.shape[1] - 1)
    assert float(losses["causal"].total.detach()) == pytest.approx(expected, rel=1e-5)  # theirs is read in float32


@pytest.mark.parametrize("attention", ["eager", "sdpa", "packed"])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(
    "config",
    [
        BERT,
        AlbertConfig(**SIZES, **DROPOUT, embedding_size=6),  # type: ignore[arg-type]
        DebertaV2Config(**SIZES, **DROPOUT, relative_attention=True, pos_att_type=("p2c", "c2p")),  # type: ignore[arg-type]
        ModernBertConfig(**SIZES, pad_token_id=0, local_attention=4, global_attn_every_n_layers=2),  # type: ignore[arg-type]
    ],
    ids=lambda config: config.model_type,
)
def test_no_token_sees_what_follows(config: BertConfig, padded: bool, attention: str) -> None:
    """Each token's state is that of a sequence which ends with it."""
    torch.manual_seed(0)
    model = BertModel(config, pooler=False, attention=attention).double().eval()
    ids = unmasked().original_ids if padded else torch.randint(5, 30, (2, 7))
    mask = unmasked().attention_mask if padded else None
    found = model(ids, mask, causal=True).last_hidden
    for row in range(len(ids)):
        for end in range(1, (int(mask[row].sum()) if mask is not None else 7) + 1):
            alone = model(ids[row : row + 1, :end], causal=True).last_hidden
            torch.testing.assert_close(found[row, end - 1], alone[0, -1], rtol=1e-9, atol=1e-9)


def test_replaced_tokens_by_hand() -> None:
    """The generator is a masked language model with the student's embeddings; the sum over tokens by a loop."""
    student, read = student_of(ELECTRA), batch()
    recipe = Recipe(hard=0.0, terms={"replaced_tokens": {"generator_width": 10, "discriminator": 7.0, "weight": 2.0}})
    learner, losses = terms_of(recipe, student, read)
    term = learner.terms["replaced_tokens"]
    assert isinstance(term, ReplacedTokens)
    shape = ELECTRA.replace(hidden_size=10, num_hidden_layers=1, intermediate_size=40)
    alone = BertForMaskedLM(shape, attention="eager").double().eval()
    for name, own in student.bert.embeddings.named_parameters():
        if not name.startswith("project"):
            alone.bert.embeddings.get_parameter(name).data.copy_(own.data)
    alone.bert.embeddings.project.load_state_dict(term.generator.project.state_dict())
    alone.bert.layers.load_state_dict(term.generator.layers.state_dict())
    alone.masked_lm.load_state_dict(term.generator.head.state_dict())
    logits = alone.logits_at(alone(read.input_ids, read.attention_mask).last_hidden, read.positions)
    expected = F.cross_entropy(logits, read.targets, reduction="sum")
    assert losses["replaced_tokens.generator"].total.item() == pytest.approx(expected.item(), rel=1e-10)
    assert losses["replaced_tokens.discriminator"].weight == 14.0 and losses["replaced_tokens.generator"].weight == 2.0
    sums, ids = logits.softmax(1).cumsum(1), read.original_ids.flatten().clone()
    for number, (position, draw) in enumerate(zip(read.positions.tolist(), draws_of(read).tolist(), strict=True)):
        ids[position] = next(i for i in range(30) if float(sums[number, i]) > draw)
    ids, total, right = ids.view_as(read.original_ids), 0.0, 0
    hidden = student.bert(ids, read.attention_mask).last_hidden
    for row, column in read.valid_mask.nonzero().tolist():
        logit = term.prediction(F.gelu(term.dense(hidden[row, column]))).item()
        replaced = bool(ids[row, column] != read.original_ids[row, column])
        total += float(np.log1p(np.exp(-logit if replaced else logit)))
        right += (logit > 0) == replaced
    found = losses["replaced_tokens.discriminator"]
    assert found.total.item() == pytest.approx(total, rel=1e-10) and int(found.numbers["accuracy"]) == right
    assert 0 < int(found.numbers["original"]) < int(read.valid_mask.sum())
    assert learner.counts(read) == {"replaced_tokens.generator": 4, "replaced_tokens.discriminator": 22}


def test_tokens_are_drawn_as_the_generator_says() -> None:
    torch.manual_seed(0)
    decoding = Decoding(
        torch.randn(1, 5).double().expand(20_000, 5), torch.randn(7, 5).double(), torch.randn(7).double()
    )
    probabilities = decoding.logits()[0].softmax(0)
    draws = torch.from_numpy(np.random.default_rng(1).random(20_000))
    counts = torch.bincount(drawn(decoding, draws), minlength=7)
    deviation = (20_000 * probabilities * (1 - probabilities)).sqrt()
    assert ((counts - 20_000 * probabilities).abs() < 4 * deviation).all()
    ends = drawn(
        Decoding(decoding.rows[:2], decoding.weight, decoding.bias), torch.tensor([0.0, 1.0 - 2**-53]).double()
    )
    assert ends.tolist() == [0, 6]
    assert drawn(Decoding(decoding.rows[:0], decoding.weight, decoding.bias), torch.empty(0)).shape == (0,)


def test_draws_are_of_the_sequence_and_epoch_alone() -> None:
    whole = draws_of(batch())
    last = replace(batch(), positions=torch.tensor([2]), input_ids=torch.zeros(1, 9), sequence_ids=torch.tensor([3]))
    assert draws_of(last).tolist() == whole[3:].tolist()
    assert draws_of(replace(batch(), epoch=1)).tolist() != whole.tolist()


def pairs() -> PairView:
    ids = torch.from_numpy(np.random.default_rng(2).integers(5, 30, (3, 9)))
    mask = (torch.arange(9) < torch.tensor([9, 6, 7])[:, None]).long()
    types = (torch.arange(9) >= torch.tensor([4, 3, 5])[:, None]).long() * mask
    return PairView(ids * mask, mask, types, torch.tensor([1, 0, -100]))


@pytest.mark.parametrize(
    ("config", "architecture"),
    [(BERT, "BertForPreTraining"), (AlbertConfig(**SIZES, **DROPOUT, embedding_size=6), "AlbertForPreTraining")],  # type: ignore[arg-type]
    ids=["bert", "albert"],
)
def test_sentence_order_is_that_of_transformers(config: BertConfig, architecture: str, tmp_path: Path) -> None:
    student, read = student_of(config), replace(batch(), pairs={ORDER: pairs()})
    learner, losses = terms_of(Recipe(terms={"sentence_order": 1.0}), student, read)
    term = learner.terms["sentence_order"]
    student.save_pretrained(tmp_path, beside=term.written_with(student))
    theirs, report = getattr(transformers, architecture).from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    view = pairs()
    found = theirs.double().eval()(view.input_ids, view.attention_mask, view.token_type_ids)
    logits: Tensor = found.sop_logits if "Albert" in architecture else found.seq_relationship_logits
    expected = F.cross_entropy(logits[:2], view.labels[:2], reduction="sum").item()
    assert losses["sentence_order"].total.item() == pytest.approx(expected, rel=1e-5)
    right = losses["sentence_order"].numbers["sentence_order_accuracy"]
    assert int(right) == int((logits[:2].argmax(1) == view.labels[:2]).sum())
    assert learner.counts(read)["sentence_order"] == 2


def test_the_discriminator_is_that_of_transformers(tmp_path: Path) -> None:
    student, read = student_of(ELECTRA), unmasked()
    learner, _ = terms_of(RECIPES["replaced_tokens"], student, read)
    term = learner.terms["replaced_tokens"]
    student.bert.save_pretrained(tmp_path, beside=term.written_with(student))
    theirs, report = transformers.ElectraForPreTraining.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    expected = theirs.double().eval()(read.original_ids, read.attention_mask).logits[read.valid_mask]
    hidden = student.bert(read.original_ids, read.attention_mask).last_hidden[read.valid_mask]
    found = term.prediction(F.gelu(term.dense(hidden))).squeeze(1)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    again = BertModel.from_pretrained(tmp_path).double()(read.original_ids, read.attention_mask).last_hidden
    torch.testing.assert_close(again[read.valid_mask], hidden, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_padding_is_of_no_influence(name: str) -> None:
    student = student_of(ELECTRA if name == "replaced_tokens" else BERT)
    read = replace(batch(), pairs={name: pairs()})

    def wider(ids: Tensor) -> Tensor:
        return F.pad(ids, (0, 3))

    positions = read.positions // 9 * 12 + read.positions % 9
    view = PairView(*map(wider, (pairs().input_ids, pairs().attention_mask, pairs().token_type_ids)), pairs().labels)
    padded = {
        field: wider(getattr(read, field)) for field in ("input_ids", "original_ids", "attention_mask", "valid_mask")
    }
    more = replace(
        read, **padded, word_index=F.pad(read.word_index, (0, 3), value=-1), positions=positions, pairs={name: view}
    )
    learner, losses = terms_of(RECIPES[name], student, read)
    for sum_, loss in learner(more, None).items():
        assert loss.total.item() == pytest.approx(losses[sum_].total.item(), rel=1e-12)
    assert learner.counts(more) == learner.counts(read)


@pytest.mark.parametrize("case", ["causal", "sentence order", "next sentence", "replaced tokens"])
def test_a_batch_with_nothing_to_learn_is_attached(case: str) -> None:
    trainer, batches = toy_case(case, ALONE)
    losses = trainer.objective(batches.collate(np.array([], np.int64), 0), None)
    total = torch.stack([loss.total for loss in losses.values()]).sum()
    total.backward()  # type: ignore[no-untyped-call]
    wanted = [n for n, p in trainer.objective.named_parameters() if p.requires_grad and p.grad is None]
    assert float(total.detach()) == 0 or (case == "replaced tokens" and np.isfinite(total.item()))
    assert not wanted


def test_each_reaches_its_optimum() -> None:
    """Losses of a small learner on one batch fall towards zero (causal: towards the entropy of what comes first)."""
    for case in ("sentence order", "replaced tokens"):
        torch.manual_seed(0)
        trainer, batches = toy_case(case, ALONE)
        trainer.clip_norm, trainer.optimizer = 1.0, torch.optim.AdamW(trainer.objective.parameters(), lr=0.0)
        micro = batches.micro_batches(0, rank=0, world_size=1, accumulation=1)
        results = [trainer.step(micro, 0.02).terms for _ in range(150)]
        name = "sentence_order" if case == "sentence order" else "discriminator"
        assert results[-1][name] < 0.15 * results[0][name], (case, results[0], results[-1])


REFUSED: dict[str, tuple[dict[str, Any], BertConfig, str]] = {
    "no electra": (
        {"replaced_tokens": 1.0},
        BERT,
        "trains a model of family electra, and the student is bert; give a shape",
    ),
    "an odd width": ({"replaced_tokens": {"generator_width": 33}}, ELECTRA, "generator_width must be even, .* got 33"),
    "no layers": ({"replaced_tokens": {"generator_layers": 0}}, ELECTRA, "generator_layers must be"),
    "no weight": ({"replaced_tokens": {"discriminator": 0.0}}, ELECTRA, "discriminator must be"),
    "unknown": ({"replaced_tokens": {"generator_size": 4}}, ELECTRA, "generator_size"),
    "no option of causal": ({"causal": {"temperature": 1.0}}, BERT, "temperature"),
    "no option of order": ({"sentence_order": {"kind": "next"}}, BERT, "kind"),
    "a near name": ({"sentence_ordr": 1.0}, BERT, "did you mean 'sentence_order'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_options(case: str) -> None:
    terms, student, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        recipe = Recipe(hard=0.0, terms=terms)
        recipe.check("", Shapes(student))


def test_cases_cover_all_objectives() -> None:
    known = {name for recipe in CASES.values() for name in recipe.terms} | {"mlm"}
    assert {*OBJECTIVES} <= known
