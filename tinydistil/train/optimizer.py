"""AdamW with weight decay where it belongs."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import nn

from tinydistil.base.config import Checked, NonNegative, Positive, Range


@dataclass(frozen=True)
class OptimizerConfig(Checked, table="optimizer"):
    """AdamW (Loshchilov & Hutter 2019) as BERT used it; `clip_norm` limits the whole gradient's norm, 0 does not."""

    learning_rate: Positive = 5e-4
    weight_decay: NonNegative = 0.01
    beta1: Annotated[float, Range(0, 1, without=(1,))] = 0.9
    beta2: Annotated[float, Range(0, 1, without=(1,))] = 0.999
    epsilon: Positive = 1e-8
    clip_norm: NonNegative = 1.0


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
