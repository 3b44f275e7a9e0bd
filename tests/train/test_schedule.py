"""Schedules against transformers' and closed forms; decay groups by name."""

import pytest
import torch
import transformers
from torch import nn

from tinydistil.base.errors import InputError
from tinydistil.model.bert import BertForMaskedLM
from tinydistil.model.config import new_shape
from tinydistil.train.loop import learning_rate_share
from tinydistil.train.models import make_optimizer
from tinydistil.train.run_config import OptimizerConfig, ScheduleConfig


def reference(name: str, warmup: int, total: int) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = transformers.get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=total)
    rates = []
    for _ in range(total):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


@pytest.mark.parametrize("shape", ["linear", "cosine"])
def test_descent_as_in_transformers(shape: str) -> None:
    ours = [learning_rate_share(ScheduleConfig(shape, warmup_share=0.1), step, 200) for step in range(200)]
    theirs = reference(shape, 20, 200)
    assert ours[20:] == pytest.approx(theirs[20:], abs=1e-12)
    assert ours[:19] == pytest.approx(theirs[1:20], abs=1e-12)  # ours does not waste step 0 at rate 0


def test_wsd_by_hand() -> None:
    config = ScheduleConfig("wsd", warmup_share=0.2, decay_share=0.4, final=0.1)
    shares = [learning_rate_share(config, step, 10) for step in range(10)]
    assert shares == pytest.approx([0.5, 1, 1, 1, 1, 1, 1, 0.775, 0.55, 0.325])


@pytest.mark.parametrize("shape", ["linear", "cosine", "wsd", "constant"])
@pytest.mark.parametrize("total", [1, 2, 3, 100])
def test_always_a_usable_rate(shape: str, total: int) -> None:
    shares = [learning_rate_share(ScheduleConfig(shape, warmup_share=0.5), step, total) for step in range(total + 5)]
    assert all(0 < share <= 1 for share in shares[:total]) and max(shares) == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"shape": "linaer"}, "schedule.shape 'linaer' is unknown; did you mean 'linear'"),
        ({"warmup_share": 1.5}, r"schedule.warmup_share must be in \[0, 1\]"),
        ({"shape": "wsd", "warmup_share": 0.9}, r"must be <= 1"),
    ],
)
def test_refusals(values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ScheduleConfig(**values)  # type: ignore[arg-type]


def test_decay_on_matrices_only_and_each_parameter_once() -> None:
    model = BertForMaskedLM(new_shape(2, 128, 30522))
    projection = nn.Linear(128, 768)
    optimizer = make_optimizer([model, projection, projection], OptimizerConfig(weight_decay=0.3))
    decayed, spared = optimizer.param_groups
    names = {id(parameter): name for name, parameter in [*model.named_parameters(), *projection.named_parameters()]}
    assert decayed["weight_decay"] == 0.3 and spared["weight_decay"] == 0.0
    assert all(names[id(p)].endswith("weight") and "norm" not in names[id(p)] for p in decayed["params"])
    assert all("bias" in names[id(p)] or "norm" in names[id(p)] for p in spared["params"])
    assert len(decayed["params"]) + len(spared["params"]) == len(names)


@pytest.mark.parametrize("field", ["learning_rate", "epsilon"])
def test_optimizer_refusals(field: str) -> None:
    with pytest.raises(InputError, match=rf"optimizer.{field} must be > 0, got 0"):
        OptimizerConfig(**{field: 0.0})
