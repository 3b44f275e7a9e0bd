"""Which weights learn, and how fast: freezing from below, learning rates that fall from layer to layer."""

import torch
from torch import nn

from tinydistil.base.errors import require
from tinydistil.tasks.task_objective import TaskModel
from tinydistil.train.train_config import OptimizerConfig


def freeze(model: TaskModel, *, embeddings: bool, layers: int) -> None:
    """Leave the embeddings, and the first `layers` layers, as they are. Raises InputError where there are fewer."""
    bert = model.bert
    require(layers <= len(bert.layers), f"freeze_layers must be <= {len(bert.layers)}, got {layers}")
    frozen: list[nn.Module] = [*bert.layers[:layers]]
    for module in [bert.embeddings, *frozen] if embeddings else frozen:
        module.requires_grad_(False)


def make_task_optimizer(model: TaskModel, config: OptimizerConfig, layer_decay: float) -> torch.optim.AdamW:
    """AdamW with `lr_scale` in each group: 1 for head and pooler, `layer_decay` a layer down, the embeddings lowest.

    No weight decay on biases and LayerNorm, as in `train.optimizer`. Frozen parameters are left out.
    """
    bert, depth = model.bert, len(model.bert.layers)
    scales = {id(p): layer_decay ** (depth + 1) for p in bert.embeddings.parameters()}
    for number, layer in enumerate(bert.layers):
        scales |= {id(p): layer_decay ** (depth - number) for p in layer.parameters()}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            decay = config.weight_decay if parameter.dim() >= 2 else 0.0
            groups.setdefault((scales.get(id(parameter), 1.0), decay), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "weight_decay": decay, "lr_scale": scale}
            for (scale, decay), parameters in groups.items()
        ],
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
        fused=True,
    )
