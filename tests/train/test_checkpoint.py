"""Checkpoints: exact, atomic, damaged ones skipped, the last few and the best kept."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tests.train.toy_loop import make_loop
from tinydistil.base.errors import InputError
from tinydistil.base.files import sha256_of
from tinydistil.base.ranks import Ranks
from tinydistil.train.models import optimizer_tensors, restore_optimizer
from tinydistil.train.records import CheckpointStore


def trained(steps: int) -> tuple[nn.Linear, torch.optim.AdamW]:
    torch.manual_seed(0)
    model = nn.Linear(5, 3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    advance(model, optimizer, range(steps))
    return model, optimizer


def advance(model: nn.Linear, optimizer: torch.optim.AdamW, steps: range) -> None:
    for step in steps:
        torch.manual_seed(step)
        model(torch.randn(7, 5)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()


def store(folder: Path, keep_last: int = 3) -> tuple[CheckpointStore, list[str]]:
    said: list[str] = []
    return CheckpointStore(folder, keep_last=keep_last, say=said.append), said


def save(checkpoints: CheckpointStore, step: int, score: float | None = None) -> Path:
    model, optimizer = trained(step)
    moments = optimizer_tensors(optimizer, model)
    return checkpoints.save(step, model.state_dict(), moments, {"step": step}, score=score)


def test_resumed_is_bit_identical(tmp_path: Path) -> None:
    checkpoints, _ = store(tmp_path)
    save(checkpoints, 4)
    found = checkpoints.latest()
    assert found is not None and found.state["step"] == 4
    model, optimizer = trained(0)
    model.load_state_dict(found.learner)
    restore_optimizer(optimizer, model, found.optimizer)
    advance(model, optimizer, range(4, 9))
    straight, _ = trained(9)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), straight.parameters(), strict=True))


@pytest.mark.parametrize("file", ["learner.safetensors", "optimizer.safetensors", "state.json", "hashes.json"])
@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing"])
def test_damaged_latest_is_passed_over_aloud(tmp_path: Path, file: str, damage: str) -> None:
    checkpoints, said = store(tmp_path)
    save(checkpoints, 1)
    path = save(checkpoints, 2) / file
    data = bytearray(path.read_bytes())
    if damage == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "flipped":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    else:
        path.unlink()
    found = checkpoints.latest()
    assert found is not None and found.state["step"] == 1
    assert len(said) == 1 and said[0].startswith("skipped") and "step-00000002" in said[0]


def test_half_written_is_never_taken_and_swept_away(tmp_path: Path) -> None:
    checkpoints, _ = store(tmp_path)
    left = tmp_path / ".partial-1"
    left.mkdir()
    (left / "learner.safetensors").write_bytes(b"half")
    assert checkpoints.latest() is None
    save(checkpoints, 3)
    found = checkpoints.latest()
    assert found is not None and found.state["step"] == 3
    assert not left.exists()


def test_best_is_the_lowest_that_is_whole(tmp_path: Path) -> None:
    checkpoints, said = store(tmp_path, keep_last=9)
    for step, score in enumerate([5.0, 2.0, None, float("nan"), 3.0], start=1):
        save(checkpoints, step, score)
    found = checkpoints.best()
    assert found is not None and found.state["step"] == 2
    (found.folder / "learner.safetensors").unlink()
    found = checkpoints.best()
    assert found is not None and found.state["step"] == 5 and "step-00000002" in said[0]


def test_full_disk_leaves_the_older_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints, _ = store(tmp_path)
    save(checkpoints, 1)

    def full(_tensors: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tinydistil.train.records.save_file", full)
    with pytest.raises(InputError, match=r"cannot write checkpoint .*No space left.*--resume auto"):
        save(checkpoints, 2)
    found = checkpoints.latest()
    assert found is not None and found.state["step"] == 1
    assert not list(tmp_path.glob(".partial*"))


def test_last_ones_and_the_best_are_kept(tmp_path: Path) -> None:
    checkpoints, _ = store(tmp_path, keep_last=2)
    for step, score in enumerate([5.0, 2.0, 3.0, None, 4.0, 2.5], start=1):
        save(checkpoints, step, score)
    assert [folder.name[-1] for folder in sorted(tmp_path.glob("step-*"))] == ["2", "5", "6"]


def test_without_validation_the_last_ones_alone_are_kept(tmp_path: Path) -> None:
    checkpoints, _ = store(tmp_path, keep_last=2)
    for step in range(1, 5):
        save(checkpoints, step)
    assert [folder.name[-1] for folder in sorted(tmp_path.glob("step-*"))] == ["3", "4"]


def test_no_pickle_in_a_checkpoint(tmp_path: Path) -> None:
    checkpoints, _ = store(tmp_path)
    assert {file.suffix for file in save(checkpoints, 1).iterdir()} == {".safetensors", ".json"}


MOMENTS: dict[str, Callable[[dict[str, Tensor]], object]] = {
    "shorter": lambda t: t.update({"exp_avg/weight": t["exp_avg/weight"][:1]}),
    "longer": lambda t: t.update({"exp_avg/weight": torch.zeros(99, 5)}),
    "transposed": lambda t: t.update({"exp_avg_sq/weight": t["exp_avg_sq/weight"].T.contiguous()}),
    "flat": lambda t: t.update({"exp_avg/weight": t["exp_avg/weight"].flatten()}),
    "empty": lambda t: t.update({"exp_avg_sq/bias": torch.zeros(0)}),
    "a scalar": lambda t: t.update({"exp_avg/bias": torch.tensor(1.0)}),
    "float64": lambda t: t.update({"exp_avg/weight": t["exp_avg/weight"].double()}),
    "float16": lambda t: t.update({"exp_avg_sq/weight": t["exp_avg_sq/weight"].half()}),
    "integers": lambda t: t.update({"exp_avg/bias": t["exp_avg/bias"].long()}),
    "steps of a matrix": lambda t: t.update({"step/weight": torch.zeros(3, 5)}),
    "steps as integers": lambda t: t.update({"step/weight": torch.tensor(3)}),
    "one lost": lambda t: t.pop("exp_avg_sq/bias"),
    "steps lost": lambda t: t.pop("step/weight"),
    "another kind": lambda t: t.update({"max_exp_avg_sq/weight": torch.zeros(3, 5)}),
    "no kind": lambda t: t.update({"weight": torch.zeros(3, 5)}),
    "another parameter": lambda t: t.update({"exp_avg/other": torch.zeros(3, 5)}),
}


@pytest.mark.parametrize("change", MOMENTS)
def test_moments_of_another_shape_are_refused(change: str) -> None:
    """The fused kernel of AdamW reads as many numbers as the parameter has: beyond the end of a shorter one."""
    model, optimizer = trained(2)
    tensors = optimizer_tensors(optimizer, model)
    MOMENTS[change](tensors)
    again, fresh = trained(0)
    with pytest.raises(InputError, match="the checkpoint's optimizer"):
        restore_optimizer(fresh, again, tensors)
    assert not fresh.state or change in ("one lost", "steps lost")


STATES: dict[str, object] = {
    "steps": -1, "cursor": "9", "tokens": 10**30, "seconds": float("nan"), "best_loss": [1.0], "validated_at": None,
    "stopped_early": 1, "bad_steps": 1.5, "overflows": True, "window": [], "scaler": {"scale": "1"},
    "validations_since_best": {}, "steps ": 3, "cursor ": 10**8,
}  # fmt: skip
WINDOWS: list[object] = [
    {"steps": "1", "gradient_norm": 0.0, "sums": {}, "counts": {}},
    {"steps": 1, "gradient_norm": 0.0, "sums": {"hard": "1"}, "counts": {"hard": 1}},
    {"steps": 1, "gradient_norm": 0.0, "sums": {"hard": 1.0}, "counts": {}},
    {"steps": 1, "gradient_norm": 0.0, "sums": [], "counts": {}}, {"more": 1}, "window", 3,
]  # fmt: skip


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of two steps in float16."""
    folder = tmp_path_factory.mktemp("saved")
    loop, _ = make_loop(folder, Ranks(0, 1, torch.device("cpu")), steps=2, precision="float16")
    assert loop.run()
    return folder / "checkpoints" / "step-00000002"


@pytest.mark.parametrize(
    "change", [*({name.strip(): value} for name, value in STATES.items()), *({"window": w} for w in WINDOWS)]
)
def test_a_state_of_another_kind_is_refused(change: dict[str, object], saved: Path, tmp_path: Path) -> None:
    """Whatever its hash says of it."""
    loop, _ = make_loop(tmp_path, Ranks(0, 1, torch.device("cpu")), steps=2, precision="float16")
    found = loop.store.load(saved)
    found.state.update(change)
    with pytest.raises(InputError, match=r"step-00000002' is of another model or damaged \(.*; delete it to go on"):
        loop.resume(found)


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_run_whose_loss_is_not_finite_goes_on(loss: float, saved: Path, tmp_path: Path) -> None:
    loop, _ = make_loop(tmp_path, Ranks(0, 1, torch.device("cpu")), steps=2, precision="float16")
    found = loop.store.load(saved)
    before = dict(found.state)
    found.state["validation_loss"] = loss
    loop.resume(found)
    state = asdict(loop.state)
    assert str(state.pop("validation_loss")) == str(loss)
    assert state == {name: before[name] for name in state}


@pytest.mark.parametrize("missing", ["steps", "cursor"])
def test_a_state_without_its_place_is_refused(missing: str, saved: Path, tmp_path: Path) -> None:
    loop, _ = make_loop(tmp_path, Ranks(0, 1, torch.device("cpu")), steps=2, precision="float16")
    found = loop.store.load(saved)
    del found.state[missing]
    with pytest.raises(InputError, match="lacks steps or cursor"):
        loop.resume(found)


@pytest.mark.parametrize("file", ["learner.safetensors", "optimizer.safetensors", "state.json", "hashes.json"])
@pytest.mark.parametrize("data", [b"", b"[]", b"3", b"null", b"\xff\xfe", b"[" * 10_000, b'{"score": [1]}', b"{}"])
def test_files_of_another_kind_are_skipped_whatever_their_hash(file: str, data: bytes, tmp_path: Path) -> None:
    checkpoints, said = store(tmp_path)
    save(checkpoints, 1, 2.0)
    folder = save(checkpoints, 2, 1.0)
    (folder / file).write_bytes(data)
    if file != "hashes.json":
        hashes = json.loads((folder / "hashes.json").read_text()) | {file: sha256_of(folder / file)}
        (folder / "hashes.json").write_text(json.dumps(hashes))
    expected = "step-00000002" if file == "state.json" and data.startswith(b"{") else "step-00000001"
    found = checkpoints.latest()
    assert found is not None and found.folder.name == expected
    assert checkpoints.best() is not None
    save(checkpoints, 3)
    assert len(said) <= 2


def test_lost_moments_and_other_types_are_refused(saved: Path, tmp_path: Path) -> None:
    loop, _ = make_loop(tmp_path, Ranks(0, 1, torch.device("cpu")), steps=2, precision="float16")
    for name in ("optimizer", "learner"):
        found = loop.store.load(saved)
        tensors = getattr(found, name)
        integers = {key: tensor.long() for key, tensor in tensors.items() if name == "learner"}
        tensors.clear()
        tensors.update(integers)
        with pytest.raises(InputError, match=r"it has no moments|are numbers of another type"):
            loop.resume(found)


def test_a_file_among_checkpoints_is_none(tmp_path: Path) -> None:
    checkpoints, said = store(tmp_path)
    save(checkpoints, 1)
    (tmp_path / "step-00000009").write_text("notes")
    found = checkpoints.latest()
    assert found is not None and found.folder.name == "step-00000001" and not said


def test_tensors_of_another_model_are_refused(saved: Path, tmp_path: Path) -> None:
    loop, _ = make_loop(tmp_path, Ranks(0, 1, torch.device("cpu")), steps=2, precision="float16")
    path = tmp_path / "learner.safetensors"
    for change in (lambda t: t.popitem(), lambda t: t.update(more=torch.zeros(1)), lambda t: t.clear()):
        tensors = load_file(saved / "learner.safetensors")
        change(tensors)
        save_file(tensors, path)
        found = loop.store.load(saved)
        found.learner.clear()
        found.learner.update(load_file(path))
        with pytest.raises(InputError, match="is of another model or damaged"):
            loop.resume(found)
