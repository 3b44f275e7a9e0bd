"""AdamW with weight decay where it belongs."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from tinydistil.errors import require


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW (Loshchilov & Hutter 2019) as BERT used it; `clip_norm` limits the whole gradient's norm, 0 does not."""

    learning_rate: float = 5e-4
    weight_decay: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    clip_norm: float = 1.0

    def __post_init__(self) -> None:
        for name in ("learning_rate", "epsilon"):
            require(getattr(self, name) > 0, f"optimizer.{name} must be > 0, got {getattr(self, name)}")
        for name in ("weight_decay", "clip_norm"):
            require(getattr(self, name) >= 0, f"optimizer.{name} must be >= 0, got {getattr(self, name)}")
        for name in ("beta1", "beta2"):
            require(0 <= getattr(self, name) < 1, f"optimizer.{name} must be in [0, 1), got {getattr(self, name)}")


def make_optimizer(modules: Iterable[nn.Module], config: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW over the trainable parameters of `modules`, each once; no decay on biases and LayerNorm.

    Those are the parameters of fewer than two dimensions (Devlin et al. 2019, A.2).
    """
    parameters = {id(p): p for module in modules for p in module.parameters() if p.requires_grad}.values()
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        groups, lr=config.learning_rate, betas=(config.beta1, config.beta2), eps=config.epsilon, fused=True
    )
