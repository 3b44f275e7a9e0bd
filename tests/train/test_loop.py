"""The loop on one process: resume is bit-identical, budgets, early stop, what a line of metrics says."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.train.comparison import assert_same_run, latest_of, metrics_of
from tests.train.processes import RankProcesses
from tests.train.toy_loop import Run, ask_to_stop, make_loop, poison
from tinydistil.base.errors import STOPPED_EXIT_CODE, InputError
from tinydistil.base.ranks import Ranks
from tinydistil.distill.step import PARTS
from tinydistil.train.loop import learning_rate_share
from tinydistil.train.run_config import OptimizerConfig

ALONE = Ranks(0, 1, torch.device("cpu"))


@pytest.mark.parametrize("precision", ["float32", "float16"])  # bfloat16: test_several_ranks
def test_resumed_twice_equals_straight(tmp_path: Path, precision: str) -> None:
    """100 steps = 37 + resume + 20 + resume + 43, bit by bit, metrics too; no stop falls on a logged step."""
    loop, _ = make_loop(tmp_path / "straight", ALONE, steps=100, precision=precision)
    assert loop.run()
    for stop_at, done in ((37, False), (57, False), (-1, True)):
        loop, records = make_loop(tmp_path / "pieces", ALONE, steps=100, precision=precision)
        records.at_step = {stop_at: ask_to_stop}
        assert loop.run() is done
        assert loop.state.steps == (stop_at if stop_at > 0 else 100)
    assert_same_run(tmp_path / "straight", tmp_path / "pieces")
    steps = [line["step"] for line in metrics_of(tmp_path / "pieces") if "hard" in line]
    assert steps == list(range(3, 100, 3))


def test_a_stop_in_the_midst_of_validation_takes_it_up_again(tmp_path: Path) -> None:
    """On a large validation split waiting for its end would take minutes."""
    straight, _ = make_loop(tmp_path / "straight", ALONE, steps=40, precision="float32")
    assert straight.run()
    loop, _ = make_loop(tmp_path / "pieces", ALONE, steps=40, precision="float32")
    validate = loop.validate

    def interrupted() -> float:
        if loop.state.steps == 20:
            ask_to_stop()
        return validate()

    loop.validate = interrupted
    assert not loop.run()
    assert (loop.state.steps, loop.state.validated_at) == (20, 10)
    assert loop.trainer.module.training
    resumed, _ = make_loop(tmp_path / "pieces", ALONE, steps=40, precision="float32")
    assert resumed.run()
    assert_same_run(tmp_path / "straight", tmp_path / "pieces")


def test_learning_happens(tmp_path: Path) -> None:
    loop, _ = make_loop(tmp_path, ALONE, steps=100, precision="float32")
    before = loop.validate()
    loop.run()
    assert loop.validate() < before - 0.3
    assert loop.validate() == loop.validate()  # fixed masks, no dropout


def test_every_epoch_has_an_order_and_masks_of_its_own(tmp_path: Path) -> None:
    """What forgetting to tell the sampler the epoch would break."""
    loop, _ = make_loop(tmp_path, ALONE, steps=1, precision="float32")
    per_epoch = loop.batches.batches_per_epoch
    first, second = ([loop.batches.global_batch(start + i) for i in range(per_epoch)] for start in (0, per_epoch))
    assert {epoch for epoch, _ in first} == {0} and {epoch for epoch, _ in second} == {1}
    orders = [torch.cat([torch.from_numpy(ids) for _, ids in epoch]).tolist() for epoch in (first, second)]
    assert orders[0] != orders[1] and all(len(set(order)) == len(order) for order in orders)
    ids = first[0][1]
    assert not torch.equal(loop.batches.collate(ids, 0).input_ids, loop.batches.collate(ids, 1).input_ids)


def test_exit_code_when_asked_to_stop(tmp_path: Path) -> None:
    alone = RankProcesses(tmp_path, 1, Run(tmp_path, 50, stop_at=5))
    assert alone.wait() == [STOPPED_EXIT_CODE]
    (error,) = alone.errors()
    assert "asked to stop: saved at step 5" in error and "Traceback" not in error


def test_a_bad_step_moves_neither_schedule_nor_counter(tmp_path: Path) -> None:
    loop, _ = make_loop(tmp_path, ALONE, steps=30, precision="float32", log_every=1)
    poison(loop, rank=0, cursor=10, times=2)
    assert loop.run()
    assert (loop.state.steps, loop.state.cursor, loop.state.bad_steps) == (30, 32, 2)
    lines = [line for line in metrics_of(tmp_path) if "hard" in line]
    assert [line["step"] for line in lines] == list(range(1, 31))
    shares = [learning_rate_share(loop.config.schedule, step, 30) for step in range(30)]
    assert [line["learning_rate"] for line in lines] == [0.01 * share for share in shares]
    assert [line["bad_steps"] for line in lines] == [0] * 10 + [2] * 20


def test_bad_steps_in_a_row_end_the_run(tmp_path: Path) -> None:
    loop, _ = make_loop(tmp_path, ALONE, steps=30, precision="float32")
    poison(loop, rank=0, cursor=10, times=99)
    _, ids = loop.batches.global_batch(14)
    named = ", ".join(map(str, ids))
    with pytest.raises(
        InputError, match=rf"step 10 was not finite on rank 0 \(hard nan.*\); sequences {named}: 5 such"
    ):
        loop.run()


def test_a_run_of_the_old_layout_is_refused_with_one_message(tmp_path: Path) -> None:
    loop, _ = make_loop(tmp_path, ALONE, steps=2, precision="float32")
    assert loop.run()
    found = loop.store.latest()
    assert found is not None
    old = {f"projections.{name}": tensor for name, tensor in found.learner.items()}
    with pytest.raises(InputError, match="it is of an older version of this program, whose layout"):
        loop.resume(replace(found, learner=old))


def test_early_stop(tmp_path: Path) -> None:
    loop, _ = make_loop(tmp_path, ALONE, steps=500, precision="float32", patience=1, validate_every=1)
    assert loop.run()
    assert loop.state.stopped_early and loop.state.steps < 500
    assert loop.validate() > loop.state.best_loss
    loop.take_best_weights()
    assert loop.validate() == loop.state.best_loss


def test_a_validation_loss_that_is_no_number_is_never_the_best(tmp_path: Path) -> None:
    loop, _ = make_loop(tmp_path, ALONE, steps=30, precision="float32")
    losses = iter([float("nan"), 3.0, float("nan")])
    loop.validate = lambda: next(losses)
    assert loop.run()
    assert loop.state.best_loss == 3.0
    found = loop.store.best()
    assert found is not None and found.state["steps"] == 20


def test_the_end_is_validated(tmp_path: Path) -> None:
    loop, _ = make_loop(tmp_path, ALONE, steps=13, precision="float32")
    loop.run()
    assert loop.state.validated_at == 13 and loop.state.validation_loss == loop.validate()


@pytest.mark.parametrize("budget", [{"tokens": 2000}, {"minutes": 0.02}, {"epochs": 2.5}])
def test_other_budgets(tmp_path: Path, budget: dict[str, float]) -> None:
    loop, _ = make_loop(tmp_path, ALONE, steps=0, precision="float32", **budget)
    assert loop.run()
    state = loop.state
    if "epochs" in budget:
        assert state.steps == 15  # 40 sequences are 6 batches of 6
    elif "tokens" in budget:
        assert 2000 <= state.tokens < 2000 + 2 * state.tokens / state.steps
    else:
        assert state.seconds >= 1.2


def test_a_line_of_metrics_is_about_the_steps_since_the_last(tmp_path: Path) -> None:
    """Means over all masked tokens of three steps, not of the last step, nor a mean of means."""
    each, _ = make_loop(tmp_path / "each", ALONE, steps=6, precision="float32", log_every=1)
    sums: dict[int, tuple[float, float]] = {}
    step = each.trainer.step

    def noted(micro_batches: list, learning_rate: float, progress: float) -> object:  # type: ignore[type-arg]
        result = step(micro_batches, learning_rate, progress)
        sums[each.state.steps] = (result.sums["hard"], result.counts["hard"])
        return result

    each.trainer.step = noted  # type: ignore[method-assign, assignment]
    each.run()
    loop, _ = make_loop(tmp_path / "three", ALONE, steps=6, precision="float32", log_every=3)
    loop.run()
    lines = [line for line in metrics_of(tmp_path / "three") if "hard" in line]
    for line, steps in zip(lines, (range(3), range(3, 6)), strict=True):
        total, count = (sum(sums[step][place] for step in steps) for place in (0, 1))
        assert line["hard"] == pytest.approx(total / count, rel=1e-12)
    norms = [line["gradient_norm"] for line in metrics_of(tmp_path / "each") if "hard" in line]
    assert lines[1]["gradient_norm"] == pytest.approx(sum(norms[3:]) / 3, rel=1e-12)


def test_the_parts_of_a_step_add_up_to_its_throughput(tmp_path: Path) -> None:
    loop, _ = make_loop(tmp_path, ALONE, steps=6, precision="float32")
    loop.run()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    before = 0
    for line in (line for line in lines if "hard" in line):
        parts = {part: line[f"{part}_ms"] for part in PARTS}
        assert all(parts[part] > 0 for part in ("data", "teacher", "student", "backward", "optimizer"))
        tokens = (line["tokens"] - before) / 3
        assert line["tokens_per_second"] == pytest.approx(1000 * tokens / sum(parts.values()), rel=1e-9)
        before = line["tokens"]


def test_checkpoint_of_another_model(tmp_path: Path) -> None:
    loop, _ = make_loop(tmp_path, ALONE, steps=5, precision="float32")
    loop.run()
    checkpoint = loop.store.latest()
    assert checkpoint is not None
    checkpoint.learner.pop("student.masked_lm.bias")
    with pytest.raises(InputError, match="is of another model"):
        loop.resume(checkpoint)


def test_a_tied_matrix_is_saved_once(tmp_path: Path) -> None:
    """The decoder is the word embedding; the file holds it once, and reading it back ties it again."""
    loop, _ = make_loop(tmp_path, ALONE, steps=2, precision="float32")
    loop.run()
    checkpoint = loop.store.latest()
    assert checkpoint is not None
    vocabulary = loop.trainer.objective.student.bert.embeddings.word.weight.shape
    assert [name for name, tensor in checkpoint.learner.items() if tensor.shape == vocabulary] == [
        "student.bert.embeddings.word.weight"
    ]
    size = sum(tensor.nbytes for tensor in checkpoint.learner.values())
    file = latest_of(tmp_path) / "learner.safetensors"
    assert file.stat().st_size < size + 16_000  # the header


def test_best_is_kept_though_it_is_old(tmp_path: Path) -> None:
    """A rate so high that the loss soon rises: the lowest stays on disk beside the last two."""
    loop, _ = make_loop(
        tmp_path, ALONE, steps=80, precision="float32", validate_every=5, optimizer=OptimizerConfig(learning_rate=0.3)
    )
    loop.run()
    losses = {line["step"]: line["validation_loss"] for line in metrics_of(tmp_path) if "validation_loss" in line}
    best = min(losses, key=lambda step: losses[step])
    names = {folder.name for folder in (tmp_path / "checkpoints").iterdir()}
    assert names == {f"step-{step:08d}" for step in {best, 70, 80}} or best in (70, 80)
    found = loop.store.best()
    assert found is not None and found.state["score"] == losses[best] == loop.state.best_loss
