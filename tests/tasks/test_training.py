"""What fine-tuning computes: losses, weights that learn or rest, bits that repeat, the best weights put back."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.tasks.conftest import entailments, opinions, similarities, tagged
from tinydistil.base.errors import InputError
from tinydistil.base.ranks import Ranks
from tinydistil.distill.losses import IGNORED
from tinydistil.distill.step import Trainer
from tinydistil.tasks.finetune_config import FineTuneConfig
from tinydistil.tasks.folder import new_model
from tinydistil.tasks.label_task import TextTask
from tinydistil.tasks.tag_task import TagTask
from tinydistil.tasks.task import AnyTask, EncodedExample, TaskModel, collate
from tinydistil.tasks.train_task import (
    TaskBatches,
    TaskObjective,
    class_weights,
    fine_tune,
    freeze,
    make_task_optimizer,
)
from tinydistil.tokenizer.tokenizer import Tokenizer
from tinydistil.train.records import Records
from tinydistil.train.run_config import OptimizerConfig

ALONE = Ranks(0, 1, torch.device("cpu"))
CONFIG = FineTuneConfig(epochs=2, batch_size=8, learning_rate=2e-3, max_length=64, pooling="mean")


@pytest.fixture
def sentiment(vocabulary: Tokenizer) -> TextTask:
    return TextTask.of("classify", opinions(48), vocabulary, 64)


def trained(folder: Path, task: AnyTask, examples: list[EncodedExample], config: FineTuneConfig, work: Path,
            **options: object) -> TaskModel:  # fmt: skip
    model = new_model(folder, task, pooling=config.pooling, seed=config.seed)
    assert fine_tune(
        model, examples, config, pad_id=task.tokenizer.pad_id, checkpoints=work, ranks=ALONE, records=Records(None),
        **options,  # type: ignore[arg-type]
    )  # fmt: skip
    return model


def test_losses_by_hand(folder: Path, vocabulary: Tokenizer, sentiment: TextTask) -> None:
    examples = sentiment.encode(opinions(6))
    soft = [replace(example, soft=np.array([0.3, 2.0, -1.0], np.float32)) for example in examples]
    batch = collate(soft, vocabulary.pad_id)
    model = new_model(folder, sentiment, pooling="mean", seed=0)
    weights = torch.tensor([0.5, 1.0, 1.5])
    objective = TaskObjective(model, class_weights=weights, soft=0.25, temperature=3.0)
    parts = objective(batch)
    with torch.no_grad():
        logits = model(batch.input_ids, batch.attention_mask, batch.token_type_ids).double()
    hard = -(logits.log_softmax(1).gather(1, batch.targets[:, None]).squeeze(1) * weights.double()[batch.targets]).sum()
    p = (torch.tensor([0.3, 2.0, -1.0]).double() / 3).softmax(0)
    kl = (p * (p.log() - (logits / 3).log_softmax(1))).sum() * 9
    assert parts["task"].total.item() == pytest.approx(hard.item(), rel=1e-5)
    assert parts["soft"].total.item() == pytest.approx(kl.item(), rel=1e-4)
    assert objective.weights == {"task": 0.75, "soft": 0.25} and objective.counts(batch) == {"task": 6, "soft": 6}
    assert parts.keys() == objective.counts(batch).keys() == objective.reports.keys()


def test_regression_and_tagging_losses_by_hand(folder: Path, vocabulary: Tokenizer) -> None:
    rows = similarities(5)
    task = TextTask.of("regress", rows, vocabulary, 64)
    model = new_model(folder, task, pooling="cls", seed=0)
    batch = collate(task.encode(rows), vocabulary.pad_id)
    scores = model(batch.input_ids, batch.attention_mask, batch.token_type_ids).squeeze(1).tolist()
    expected = sum((float(row.label) - score) ** 2 for row, score in zip(rows, scores, strict=True))
    assert TaskObjective(model)(batch)["task"].total.item() == pytest.approx(expected, rel=1e-5)

    tags = TagTask.of(tagged(5), vocabulary, 64)
    tagger = new_model(folder, tags, pooling="pooler", seed=0)
    batch = collate(tags.encode(tagged(5)), vocabulary.pad_id)
    logits = tagger(batch.input_ids, batch.attention_mask, batch.token_type_ids)
    asked = batch.targets != IGNORED
    assert int(asked.sum()) == sum(len(row.words) for row in tagged(5))
    part = TaskObjective(tagger)(batch)["task"]
    assert part.total.item() == pytest.approx(
        F.cross_entropy(logits[asked], batch.targets[asked], reduction="sum").item()
    )
    assert TaskObjective(tagger).counts(batch)["task"] == int(asked.sum())


def test_accumulation_gives_the_same_gradient(folder: Path, sentiment: TextTask) -> None:
    """Uneven parts, and more parts than examples: some count nothing."""
    examples = sentiment.encode(opinions(5))
    batches = TaskBatches(examples, pad_id=0, batch_size=5, seed=1)
    gradients = []
    for accumulation in (1, 2, 7):
        model = new_model(folder, sentiment, pooling="mean", seed=0).double().eval()
        trainer = Trainer(TaskObjective(model), torch.optim.SGD(model.parameters(), lr=0.0), ALONE, clip_norm=0.0)
        kept: dict[str, torch.Tensor] = {}
        trainer.optimizer.register_step_pre_hook(
            lambda *_, model=model, kept=kept: kept.update({n: p.grad.clone() for n, p in model.named_parameters()})
        )
        trainer.step(batches.micro_batches(0, rank=0, world_size=1, accumulation=accumulation), 0.0)
        gradients.append(kept)
    for other in gradients[1:]:
        for name, gradient in gradients[0].items():
            # losses are taken in float32, hence not 1e-12
            torch.testing.assert_close(other[name], gradient, rtol=1e-5, atol=1e-7)


def test_batches_of_like_length_hold_every_example_once(sentiment: TextTask) -> None:
    examples = sentiment.encode(opinions(48))
    batches = TaskBatches(examples, pad_id=0, batch_size=8, seed=3)
    for epoch in (0, 1):
        cursors = range(epoch * 6, epoch * 6 + 6)
        seen = np.concatenate([batches.global_batch(cursor)[1] for cursor in cursors])
        assert sorted(seen) == list(range(48))
    padded = sum(b.attention_mask.numel() for c in range(6) for b in
                 batches.micro_batches(c, rank=0, world_size=1, accumulation=1))  # fmt: skip
    real = sum(len(example.ids) for example in examples)
    longest = max(len(example.ids) for example in examples)
    assert real <= padded < 0.5 * (real + 48 * longest)
    assert TaskBatches(examples[:3], pad_id=0, batch_size=8, seed=3).batch_size == 3


def test_learning_repeats_bit_by_bit(folder: Path, sentiment: TextTask, tmp_path: Path) -> None:
    examples = sentiment.encode(opinions(48))
    runs = [trained(folder, sentiment, examples, CONFIG, tmp_path / str(i)).state_dict() for i in range(2)]
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])
    other = trained(folder, sentiment, examples, replace(CONFIG, seed=2), tmp_path / "2").state_dict()
    assert not torch.equal(other["classifier.weight"], runs[0]["classifier.weight"])


def test_interrupted_and_resumed_gives_the_same_bits(folder: Path, sentiment: TextTask, tmp_path: Path) -> None:
    examples = sentiment.encode(opinions(48))
    whole = trained(folder, sentiment, examples, CONFIG, tmp_path / "whole").state_dict()
    model = new_model(folder, sentiment, pooling="mean", seed=1)

    class Interrupting(Records):
        def step_done(self, steps: int, *_: object) -> None:
            if steps == 5:
                os.kill(os.getpid(), signal.SIGTERM)

    cut = tmp_path / "cut"
    assert not fine_tune(model, examples, CONFIG, pad_id=0, checkpoints=cut, ranks=ALONE, records=Interrupting(None))
    assert [each.name for each in cut.glob("step-*")] == ["step-00000005"]
    resumed = trained(folder, sentiment, examples, CONFIG, cut, resume=True).state_dict()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_task_is_learnt(folder: Path, vocabulary: Tokenizer, tmp_path: Path) -> None:
    """Tags that spelling tells: from chance to nearly all, in a few seconds."""
    task = TagTask.of(tagged(150), vocabulary, 64)
    config = replace(CONFIG, epochs=6, learning_rate=5e-3)
    model = trained(folder, task, task.encode(tagged(150)), config, tmp_path)
    rows = tagged(60, "test")
    figures = task.figures(task.evidence(rows, task.predict(model, rows)))
    assert figures["entity_f1"] > 0.8, figures


def test_the_best_weights_come_back(folder: Path, sentiment: TextTask, tmp_path: Path) -> None:
    figures = iter([0.3, 0.9, 0.1, 0.2, 0.2, 0.2])
    seen: list[torch.Tensor] = []

    def figure(model: TaskModel) -> float:
        seen.append(model.classifier.weight.detach().clone())  # type: ignore[union-attr]
        return next(figures)

    config = replace(CONFIG, epochs=6, patience=2)
    model = trained(folder, sentiment, sentiment.encode(opinions(24)), config, tmp_path, figure=figure)
    assert len(seen) == 4  # two passes without a better figure
    assert torch.equal(model.classifier.weight, seen[1])  # type: ignore[union-attr]


def test_undefined_figures_count_as_the_worst(folder: Path, sentiment: TextTask, tmp_path: Path) -> None:
    figures = iter([float("nan"), 0.2, float("nan")])
    seen: list[torch.Tensor] = []

    def figure(model: TaskModel) -> float:
        seen.append(model.classifier.weight.detach().clone())  # type: ignore[union-attr]
        return next(figures)

    config = replace(CONFIG, epochs=3)
    model = trained(folder, sentiment, sentiment.encode(opinions(24)), config, tmp_path, figure=figure)
    assert torch.equal(model.classifier.weight, seen[1])  # type: ignore[union-attr]


def test_freezing_and_falling_rates(folder: Path, sentiment: TextTask) -> None:
    model = new_model(folder, sentiment, pooling="pooler", seed=0)
    optimizer = make_task_optimizer(model, OptimizerConfig(), 0.5)
    scales = {id(p): group["lr_scale"] for group in optimizer.param_groups for p in group["params"]}
    named = dict(model.named_parameters())
    assert len(scales) == len(named)
    assert scales[id(named["classifier.weight"])] == scales[id(named["bert.pooler.weight"])] == 1.0
    assert scales[id(named["bert.layers.1.up.weight"])] == 0.5 and scales[id(named["bert.layers.0.up.bias"])] == 0.25
    assert scales[id(named["bert.embeddings.word.weight"])] == 0.125
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decays[id(named["bert.layers.0.up.bias"])] == 0.0 < decays[id(named["bert.layers.0.up.weight"])]

    freeze(model, embeddings=True, layers=1)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {name for name in named if name.startswith(("bert.embeddings.", "bert.layers.0."))}
    assert sum(len(g["params"]) for g in make_task_optimizer(model, OptimizerConfig(), 1.0).param_groups) == (
        len(named) - len(frozen)
    )
    with pytest.raises(InputError, match="freeze_layers must be <= 2"):
        freeze(model, embeddings=False, layers=3)


def test_rates_reach_the_weights(folder: Path, sentiment: TextTask, tmp_path: Path) -> None:
    """Frozen weights stay to the bit; with a decay near 0 the layers below hardly move."""
    examples = sentiment.encode(opinions(24))
    before = new_model(folder, sentiment, pooling="mean", seed=1).state_dict()
    config = replace(CONFIG, freeze_embeddings=True, freeze_layers=1, layer_decay=0.01, weight_decay=0.0)
    after = trained(folder, sentiment, examples, config, tmp_path).state_dict()
    moved = {name: float((after[name] - before[name]).abs().max()) for name in before}
    assert moved["bert.embeddings.word.weight"] == moved["bert.layers.0.up.weight"] == 0.0
    assert 0 < moved["bert.layers.1.up.weight"] < 0.02 * moved["classifier.weight"]


def test_class_weights() -> None:
    targets = [np.int64(0), np.int64(0), np.int64(0), np.int64(1)]
    weights = class_weights([np.asarray(t) for t in targets], ("a", "b"))
    assert weights.tolist() == pytest.approx([4 / 6, 2.0])
    assert float(weights[[0, 0, 0, 1]].mean()) == pytest.approx(1.0)
    assert class_weights([np.array([IGNORED, 1, 0, IGNORED])], ("a", "b")).tolist() == [1.0, 1.0]
    with pytest.raises(InputError, match="'c' is not there"):
        class_weights([np.asarray(t) for t in targets], ("a", "b", "c"))


def test_a_diverging_run_says_so(folder: Path, vocabulary: Tokenizer, tmp_path: Path) -> None:
    rows = similarities(16)
    task = TextTask.of("regress", rows, vocabulary, 64)
    with pytest.raises(InputError, match=r"not finite.*lower the learning rate"):
        trained(folder, task, task.encode(rows), replace(CONFIG, learning_rate=1e30, epochs=20), tmp_path)


def test_one_class_and_mixed_rows_are_refused(vocabulary: Tokenizer, sentiment: TextTask) -> None:
    with pytest.raises(InputError, match="all training rows have the label"):
        TextTask.of("classify", [opinions(1)[0]] * 3, vocabulary, 64)
    with pytest.raises(InputError, match="some rows have a second text"):
        TextTask.of("classify", [*opinions(2), *entailments(2)], vocabulary, 64)
    with pytest.raises(InputError, match="training did not have"):
        sentiment.encode([replace(opinions(1)[0], label="positivo")])
    with pytest.raises(InputError, match="row 1 must be a single text"):
        sentiment.predict(None, entailments(1))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="all training words have the tag"):
        TagTask.of([replace(tagged(1)[0], words=("a",), tags=("O",))], vocabulary, 64)


def test_more_parts_than_examples_cost_nothing(folder: Path, sentiment: TextTask, tmp_path: Path) -> None:
    """A million parts of 24 examples are 24: some seconds, and the weights of 24."""
    examples = sentiment.encode(opinions(24))
    many, few = (
        trained(folder, sentiment, examples, replace(CONFIG, batch_size=n, accumulation=n), tmp_path / str(n))
        for n in (1_000_000, 24)
    )
    assert all(torch.equal(each, few.state_dict()[name]) for name, each in many.state_dict().items())
