"""Checkpoints: exact, atomic, damaged ones passed over, the last few and the best kept."""

from pathlib import Path

import pytest
import torch
from torch import nn

from tinydistil.errors import InputError
from tinydistil.train.checkpoint import CheckpointStore, optimizer_tensors, restore_optimizer


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
    assert len(said) == 1 and said[0].startswith("passed over") and "step-00000002" in said[0]


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

    monkeypatch.setattr("tinydistil.train.checkpoint.save_file", full)
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
