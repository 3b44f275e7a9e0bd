"""Contrast and similarity: against loops in float64, at their optimum, one gradient for any division, whole runs."""

import json
import math
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.scripts.conftest import write_corpus  # noqa: F401  (a fixture)
from tests.scripts.models import make_models
from tests.train.comparison import assert_same_run
from tests.train.processes import RankProcesses
from tests.train.toy import CASES, Rows, toy_trainer
from tinydistil.base.config import override
from tinydistil.base.errors import STOPPED_EXIT_CODE, InputError
from tinydistil.base.ranks import Ranks, joined
from tinydistil.batches.masked_batches import MaskedBatch, MaskedBatches
from tinydistil.batches.sampling import MaskConfig
from tinydistil.corpus.prepare_config import resolve_raw
from tinydistil.corpus.raw_text import plan_raw
from tinydistil.distill.gather import GatheringTrainer
from tinydistil.distill.options import Schedule, Shapes
from tinydistil.distill.recipe import Recipe, term_of
from tinydistil.distill.step import StepResult, Trainer
from tinydistil.distill.terms import batchwise
from tinydistil.distill.terms.base import ModelStates
from tinydistil.distill.terms.batchwise import Batchwise, Contrast, ContrastOptions, Similarity, SimilarityOptions
from tinydistil.model.config import BertConfig
from tinydistil.train import run as run_module
from tinydistil.train.plan import Plan
from tinydistil.train.run import build

ALONE = Ranks(0, 1, torch.device("cpu"))
SHAPES = Shapes(BertConfig(hidden_size=8, num_attention_heads=2), BertConfig(hidden_size=12, num_attention_heads=2))
KINDS = ("contrast", "kl", "mse")


def term_for(kind: str, temperature: float = 0.1) -> Batchwise:
    if kind == "contrast":
        return Contrast(ContrastOptions(temperature=temperature), SHAPES)
    return Similarity(SimilarityOptions(distance=kind, temperature=temperature), SHAPES)


def dot(a: Tensor, b: Tensor) -> Tensor:
    return sum((x * y for x, y in zip(a, b, strict=True)), start=torch.zeros((), dtype=torch.float64))


def by_hand(kind: str, ours: Tensor, theirs: Tensor, there: list[int], temperature: float) -> list[Tensor]:
    """The loss of each sequence that is there, by loops over scalars."""
    found = []
    for i in there:
        if kind == "contrast":
            weights = {j: (dot(ours[i], theirs[j]) / temperature).exp() for j in there}
            found.append(-(weights[i] / sum(weights.values())).log())
            continue
        others = [j for j in there if j != i]
        own = {j: dot(ours[i], ours[j]) for j in others}
        taught = {j: dot(theirs[i], theirs[j]) for j in others}
        if kind == "mse":
            found.append(sum((own[j] - taught[j]) ** 2 for j in others) / len(others))
            continue
        q, p = ({j: (each[j] / temperature).exp() for j in others} for each in (own, taught))
        q, p = ({j: each[j] / sum(each.values()) for j in others} for each in (q, p))
        found.append(sum((p[j] * (p[j] / q[j]).log() for j in others), start=torch.zeros((), dtype=torch.float64)))
    return found


@pytest.mark.parametrize("cells", [1, 20, 2**24])  # one row at a time, a few, all
@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_and_its_gradient_by_hand(kind: str, cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batchwise, "_CELLS", cells)
    random = torch.Generator().manual_seed(3)
    ours, theirs = (F.normalize(torch.randn(7, 4, generator=random, dtype=torch.float64), dim=1) for _ in range(2))
    there = [0, 1, 3, 4, 6]
    ours[2], theirs[5] = 0.0, 0.0  # without text
    whole = torch.cat([ours, theirs, torch.isin(torch.arange(7), torch.tensor(there)).double().unsqueeze(1)], 1)
    losses, gradients = term_for(kind).of_all(whole, 4)
    ours.requires_grad_(), theirs.requires_grad_()
    expected = torch.stack(by_hand(kind, ours, theirs, there, 0.1))
    expected.sum().backward()
    torch.testing.assert_close(losses[there], expected.detach(), rtol=1e-12, atol=1e-14)
    assert losses[[2, 5]].tolist() == [0, 0] and not gradients[[2, 5]].any()
    assert ours.grad is not None and theirs.grad is not None
    torch.testing.assert_close(gradients[:, :4], ours.grad, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(gradients[:, 4:8], theirs.grad, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("kind", ["kl", "mse"])
def test_similarity_is_zero_and_flat_where_cosines_agree(kind: str) -> None:
    """Of vectors that a rotation brings together, and of other lengths."""
    vectors = torch.randn(9, 5, dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(6, 5, dtype=torch.float64)).Q
    pair = [F.normalize(each, dim=1) for each in (vectors, 3 * vectors @ rotation.T)]
    losses, gradients = term_for(kind).of_all(torch.cat([*pair, torch.ones(9, 1, dtype=torch.float64)], 1), 5)
    assert float(losses.abs().max()) < 1e-12 and float(gradients[:, :5].abs().max()) < 1e-12


def test_contrast_is_least_where_each_is_with_its_own() -> None:
    """The teacher's vectors as far from each other as five can be; then no other place is better."""
    corners = F.normalize(torch.eye(5, dtype=torch.float64) - 0.2, dim=1)
    term = term_for("contrast", 0.2)

    def loss_at(ours: Tensor) -> tuple[float, Tensor]:
        ours.requires_grad_()
        rows = torch.cat([F.normalize(ours, dim=1), corners, torch.ones(5, 1, dtype=torch.float64)], 1)
        losses, gradients = term.of_all(rows, 5)
        rows.backward(gradients)
        assert ours.grad is not None
        return float(losses.sum()), ours.grad

    least, gradient = loss_at(2 * corners)
    assert least == pytest.approx(5 * math.log(1 + 4 * math.exp(-1.25 / 0.2)), rel=1e-12)
    assert float(gradient.abs().max()) < 1e-12
    for seed in range(20):
        noise = torch.randn(5, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        assert loss_at(corners + 0.1 * noise)[0] > least


@pytest.mark.parametrize("kind", KINDS)
def test_alone_there_is_nothing_to_learn(kind: str) -> None:
    for present in (1.0, 0.0):
        rows = torch.cat([F.normalize(torch.randn(1, 8), dim=1), torch.full((1, 1), present)], 1)
        losses, gradients = term_for(kind).of_all(rows, 4)
        assert losses.tolist() == [0.0] and not gradients.any()


def batches_of(count: int, trainer_batches: MaskedBatches) -> MaskedBatches:
    lengths = np.random.default_rng(1).integers(1, 9, count).tolist()
    tokenizer = trainer_batches.tokenizer
    return MaskedBatches(Rows(tokenizer.vocab_size, lengths), tokenizer, MaskConfig(), batch_size=count, seed=2)


def recipe_for(kind: str) -> Recipe:
    if kind == "contrast":
        return Recipe(hard=0.0, terms={"contrast": {"projection": "teacher-to-student", "centred": True}})
    return Recipe(hard=0.0, terms={"similarity": {"distance": kind, "centred": True}})


def gradients_after(trainer: Trainer[MaskedBatch], parts: list[MaskedBatch]) -> tuple[dict[str, Tensor], StepResult]:
    kept: dict[str, Tensor] = {}
    named = [(name, each) for name, each in trainer.module.named_parameters() if each.requires_grad]
    hook = trainer.optimizer.register_step_pre_hook(
        lambda *_: kept.update({name: each.grad.clone() for name, each in named if each.grad is not None})
    )
    result = trainer.step(parts, 0.0)
    hook.remove()
    return kept, result


@pytest.mark.parametrize("kind", KINDS)
def test_two_passes_are_one_at_a_batch_of_512(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the whole batch in one graph, by other formulas."""
    trainer, small = toy_trainer(recipe_for(kind), ALONE)
    batches, learner = batches_of(512, small), trainer.objective
    (batch,) = batches.micro_batches(0, rank=0, world_size=1, accumulation=1)
    name = "contrast" if kind == "contrast" else "similarity"
    term, taught = learner.terms[name], trainer.teacher(batch)[name]["pooled"]
    hidden = learner.student.bert(batch.input_ids, batch.attention_mask).last_hidden
    pooled = (hidden * batch.valid_mask.unsqueeze(2)).sum(1) / batch.valid_mask.sum(1, keepdim=True)
    taught = taught - term.projection.mean
    if kind == "contrast":
        theirs = F.linear(taught, term.projection.map.weight, term.projection.map.bias)
        expected = F.cross_entropy(F.cosine_similarity(pooled[:, None], theirs[None], dim=2) / 0.05, torch.arange(512))
    else:
        apart = ~torch.eye(512, dtype=torch.bool)
        own, aim = (F.cosine_similarity(v[:, None], v[None], dim=2)[apart].view(512, 511) for v in (pooled, taught))
        expected = F.mse_loss(own, aim)
        if kind == "kl":
            log_p, log_q = (aim / 0.05).log_softmax(1), (own / 0.05).log_softmax(1)
            expected = F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)
    expected.backward()
    whole = {n: p.grad.clone() for n, p in learner.named_parameters() if p.requires_grad and p.grad is not None}
    learner.zero_grad()
    size = torch.cat([each.flatten() for each in whole.values()]).norm()
    assert float(size) > 1e-3
    monkeypatch.setattr(batchwise, "_CELLS", 100 * 512)
    for accumulation in (1, 7):
        parts = batches.micro_batches(0, rank=0, world_size=1, accumulation=accumulation)
        found, result = gradients_after(trainer, parts)
        assert found.keys() == whole.keys() and result.counts == {name: 512}
        difference = torch.cat([(found[n] - whole[n]).flatten() for n in whole]).norm()
        assert float(difference / size) <= 1e-12, float(difference / size)
        assert result.terms[name] == pytest.approx(expected.item(), rel=1e-12)
        assert term.whole is None and term.seen is None  # what follows, validation say, begins anew


def save_gradients(folder: Path) -> None:
    with joined("cpu") as ranks:
        for kind in KINDS:
            trainer, small = toy_trainer(recipe_for(kind), ranks)
            share = batches_of(40, small).micro_batches(0, rank=ranks.rank, world_size=ranks.world_size, accumulation=2)
            found, _ = gradients_after(trainer, share)
            if ranks.is_main:
                torch.save(found, folder / kind)


@pytest.mark.parametrize("world_size", [2, 3])
def test_processes(world_size: int, tmp_path: Path) -> None:
    """Beside the cases of tests/train/test_gradient.py, whose batches are small and uneven."""
    ranks = RankProcesses(tmp_path, world_size, save_gradients, tmp_path)
    assert ranks.wait() == [0] * world_size, ranks.errors()
    for kind in KINDS:
        trainer, small = toy_trainer(recipe_for(kind), ALONE)
        parts = batches_of(40, small).micro_batches(0, rank=0, world_size=1, accumulation=1)
        expected, _ = gradients_after(trainer, parts)
        found = torch.load(tmp_path / kind, weights_only=True)
        difference = torch.cat([(found[name] - expected[name]).flatten() for name in expected]).norm()
        assert float(difference / torch.cat([each.flatten() for each in expected.values()]).norm()) <= 1e-12


def test_they_are_among_the_cases_of_every_term() -> None:
    assert {name for recipe in CASES.values() for name in recipe.terms} >= {"contrast", "similarity"}


def test_both_passes_draw_the_same_dropout_and_the_first_is_of_these_terms_alone() -> None:
    """The first without gradient, and torch's generator goes on as if there had been none."""
    recipe = Recipe(terms={"contrast": 1.0, "similarity": 1.0})
    trainer, batches = toy_trainer(recipe, ALONE, dropout=0.5)
    assert type(trainer) is GatheringTrainer and trainer.objective.training
    seen: list[tuple[str, bool, Tensor]] = []

    def watch(name: str) -> Callable[..., None]:
        def see(module: nn.Module, inputs: tuple[ModelStates, Any, MaskedBatch]) -> None:
            seen.append((name, torch.is_grad_enabled(), inputs[0].hidden.detach()))

        return see

    for name, term in trainer.objective.terms.items():
        term.register_forward_pre_hook(watch(name))
    parts = batches.micro_batches(0, rank=0, world_size=1, accumulation=3)
    torch.manual_seed(5)
    trainer.step(parts, 0.0)
    own = ["contrast", "similarity"]
    assert [name for name, _, _ in seen] == own * 3 + ["vocabulary", *own] * 3
    assert [graph for _, graph, _ in seen] == [False] * 6 + [True] * 9
    first, second = (
        [hidden for name, at, hidden in seen if name == "contrast" and at is graph] for graph in (False, True)
    )
    for before, after in zip(first, second, strict=True):
        torch.testing.assert_close(before, after, rtol=1e-12, atol=1e-12)
    torch.manual_seed(5)
    trainer.objective(parts[0], trainer.teacher(parts[0]))
    torch.testing.assert_close(seen[6][2], seen[-3][2], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_in_low_precision_the_cosines_are_of_float32(precision: str) -> None:
    recipe = Recipe(hard=0.0, terms={"contrast": 1.0, "similarity": 1.0})
    terms = []
    for each in ("float32", precision):
        trainer, batches = toy_trainer(recipe, ALONE, precision=each)
        result = trainer.step(batches.micro_batches(0, rank=0, world_size=1, accumulation=2), 0.0)
        terms.append(result.terms)
        assert result.taken or result.overflowed
        found = trainer.objective.terms["contrast"]._found
        assert found is not None and all(tensor.dtype == torch.float32 for tensor in found)
    assert terms[1] == pytest.approx(terms[0], rel=0.1)


def test_a_temperature_may_follow_a_schedule() -> None:
    (part,) = Recipe(hard=0.0, terms={"contrast": {"temperature": {"start": 1.0, "end": 0.5}}}).parts
    term = term_of(part.kind)(part.options, SHAPES)
    assert isinstance(term, Contrast)
    found = []
    for term.progress in (0.0, 0.5, 1.0):
        found.append(term.temperature)
    assert found == [1.0, 0.75, 0.5]
    with pytest.raises(InputError, match=r"recipe.terms.contrast.temperature must be in \(0, 1000\], got 0"):
        ContrastOptions(temperature=Schedule(start=1.0))


REFUSED: dict[str, tuple[dict[str, object], str]] = {
    "temperature": ({"contrast": {"temperature": 0}}, r"recipe.terms.contrast.temperature must be in \(0, 1000\]"),
    "distance": ({"similarity": {"distance": "cosine"}}, r"similarity.distance 'cosine' is unknown; known: kl, mse"),
    "contrast by mse": ({"contrast": {"distance": "mse"}}, r"contrast.distance 'mse' is unknown; .*'?cosine"),
    "projection": ({"similarity": {"projection": "pca"}}, r"similarity.projection 'pca' is unknown; known: none"),
    "misspelt": ({"contrast": {"temprature": 1}}, r"'recipe.terms.contrast.temprature'; did you mean 'temperature'"),
    "whitening": ({"similarity": {"whitening": 2}}, r"recipe.terms.similarity.whitening must be in \[0, 1\], got 2"),
    "unknown": ({"contrat": 1}, r"term 'contrat' is unknown; did you mean 'contrast'"),
    "weight": ({"similarity": -1}, r"recipe.terms.similarity.weight must be >= 0, got -1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    terms, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        _ = Recipe(terms=terms).parts


def test_refused_by_shape() -> None:
    wide = replace(SHAPES, teacher=SHAPES.student, student=SHAPES.teacher)
    for projection, shapes, message in (
        ("none", SHAPES, r"recipe.terms.contrast.projection must not be 'none' where widths differ \(8 and 12\)"),
        ("pca", wide, r"recipe.terms.contrast.projection 'pca' reduces the teacher \(8\) to the student \(12\)"),
    ):
        recipe = Recipe(terms={"contrast": {"projection": projection}})
        with pytest.raises(InputError, match=message):
            recipe.check("custom", shapes)
    for shapes in (SHAPES, wide):
        Recipe(terms={"similarity": 1.0, "contrast": 1.0}).check("custom", shapes)
    with pytest.raises(InputError, match="recipe 'custom' needs a teacher"):
        Recipe(terms={"similarity": 1.0}).check("custom", Shapes(SHAPES.student))


@pytest.mark.parametrize(
    ("term", "size", "least"),
    [("contrast=1", 1, 2), ("similarity=1", 2, 3), ("similarity={distance = 'mse'}", 1, 2)],
)
def test_a_batch_too_small_to_compare_is_refused(term: str, size: int, least: int) -> None:
    def resolved(batch_size: int) -> object:
        given: dict[str, object] = {"shards": "s", "teacher": "t", "recipe": {"name": "total"}}
        return resolve_raw(override(given, [f"recipe.terms.{term}", f"train.batch_size={batch_size}"]))

    name = term.partition("=")[0]
    with pytest.raises(InputError, match=rf"train.batch_size must be >= {least} for recipe.terms.{name}, .*got {size}"):
        resolved(size)
    resolved(least)


SET = [
    "recipe.hidden=0", "recipe.soft=0",
    'recipe.terms.contrast={weight = {shape = "cosine", start = 2.0, end = 0.5}}',
    'recipe.terms.similarity={weight = 1, temperature = {start = 0.2, end = 0.1}}',
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, write_corpus: Callable[[Path, int], Path]) -> Path:  # noqa: F811
    """Models, and shards/ made of a corpus."""
    folder = tmp_path_factory.mktemp("batchwise")
    make_models(folder, write_corpus(folder / "corpus.jsonl", 30))
    before = Path.cwd()
    os.chdir(folder)
    try:
        plan_of("made", "", corpus=["corpus.jsonl"]).text.prepare(ALONE, workers=0, say=print)
        (folder / "made" / "shards").rename(folder / "shards")
    finally:
        os.chdir(before)
    return folder


def plan_of(output: str, cache: str, *, corpus: list[str] | None = None) -> Plan:
    values: dict[str, object] = {
        "recipe": {"name": "total"}, "teacher": "teacher",
        "student": {"model": "1x8", "vocabulary": "teacher", "dropout": 0.1},
        "train": {"steps": 6, "batch_size": 9, "accumulation": 2, "log_every": 1, "validate_every": 4},
    }  # fmt: skip
    values |= {"corpus": corpus, "prepare": {"max_length": 32}} if corpus else {"shards": "shards"}
    if cache:
        values |= {"teacher_cache": cache, "cache": {"vector_bits": 4 if cache == "packed" else 16}}
    return plan_raw(resolve_raw(override(values, SET)), Path(output), resume=True, device="cpu")


@dataclass(frozen=True)
class Train:
    """What a rank does."""

    folder: Path
    output: str
    cache: str
    stop_at: int = -1

    def __call__(self) -> None:
        os.chdir(self.folder)
        with joined("cpu") as ranks:
            run_module.build = self.build  # type: ignore[assignment]
            outcome = run_module.execute(plan_of(self.output, self.cache), ranks)
        sys.exit(STOPPED_EXIT_CODE if outcome is None else 0)

    def build(self, plan: Plan, ranks: Ranks, teachers: Any) -> Any:
        """The run's loop, which is asked to stop after a step."""
        loop = build(plan, ranks, teachers)
        step_done = loop.records.step_done

        def then_stop(steps: int, *rest: Any) -> None:
            step_done(steps, *rest)
            if steps == self.stop_at:
                os.kill(os.getpid(), signal.SIGTERM)

        loop.records.step_done = then_stop  # type: ignore[method-assign]
        return loop


def metrics_of(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("world_size", [1, 2])
@pytest.mark.parametrize("cache", ["", "kept", "packed"])
def test_runs_are_resumed_bit_for_bit(cache: str, world_size: int, folder: Path, tmp_path: Path) -> None:
    names = [f"{cache or 'live'}-{world_size}-{kind}" for kind in ("whole", "broken")]
    for name, stop_at in ((names[0], -1), (names[1], 3), (names[1], -1)):
        ranks = RankProcesses(tmp_path, world_size, Train(folder, name, cache, stop_at))
        assert ranks.wait() == [STOPPED_EXIT_CODE if stop_at > 0 else 0] * world_size, ranks.errors()
    assert_same_run(folder / names[0], folder / names[1])
    steps = [line for line in metrics_of(folder / names[0]) if "contrast" in line]
    assert len(steps) == 6 and {"hard", "similarity"} <= steps[0].keys()


@pytest.mark.parametrize("world_size", [1, 2])
def test_from_a_cache_they_learn_what_they_learn_live(world_size: int, folder: Path) -> None:
    """To the rounding of 16 bits; the test before has trained both."""
    live, cached = (metrics_of(folder / f"{kind}-{world_size}-whole") for kind in ("live", "kept"))
    for one, other in zip(live, cached, strict=True):
        for name in {"hard", "contrast", "similarity"} & one.keys():
            assert other[name] == pytest.approx(one[name], rel=5e-3, abs=1e-5), name
