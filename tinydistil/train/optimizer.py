"""AdamW with weight decay where it belongs, its learning rate, and its moments by parameter name, for checkpoints."""

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from tinydistil.base.errors import InputError, require
from tinydistil.train.run_config import OptimizerConfig, ScheduleConfig


def learning_rate_share(config: ScheduleConfig, step: int, total_steps: int) -> float:
    """The share of the peak learning rate for step 0 <= `step` < `total_steps`; later steps get the last one's.

    A pure function: nothing to save, nothing to restore. Step 0 of a warm-up is not 0 but its first fraction: a step at
    rate 0 would be a wasted one.
    """
    warmup = round(config.warmup_share * total_steps)
    if step < warmup:
        return (step + 1) / warmup
    if config.shape == "constant":
        return 1.0
    start = round((1 - config.decay_share) * total_steps) if config.shape == "wsd" else warmup
    # From 1 at the first step of the descent to `final` at the step after the last.
    progress = min(max(step - start, 0) / max(total_steps - start, 1), 1.0)
    fall = (1 + math.cos(math.pi * progress)) / 2 if config.shape == "cosine" else 1 - progress
    return config.final + (1 - config.final) * fall


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


def optimizer_tensors(optimizer: torch.optim.Optimizer, module: nn.Module) -> dict[str, Tensor]:
    """The optimizer's state as named tensors, "moment/parameter"; parameters it has not stepped yet are absent."""
    return {
        f"{kind}/{name}": tensor
        for name, parameter in module.named_parameters()
        for kind, tensor in optimizer.state.get(parameter, {}).items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put `optimizer_tensors` back.

    Raises InputError where they are not those of `module`, one of each kind for a parameter: the kernel of AdamW reads
    as many numbers as the parameter has, whatever is there.
    """
    parameters = dict(module.named_parameters())
    kinds = {"step", "exp_avg", "exp_avg_sq"} if isinstance(optimizer, torch.optim.AdamW) else set()
    found: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        kind, _, name = key.partition("/")
        if name not in parameters:
            raise InputError(f"the checkpoint's optimizer knows {name!r}, this model does not; start anew")
        parameter = parameters[name]
        wanted = (torch.Size(), torch.float32) if kind == "step" else (parameter.shape, parameter.dtype)
        require(
            kind in kinds and (tensor.shape, tensor.dtype) == wanted,
            f"the checkpoint's optimizer has {key!r} of shape {list(tensor.shape)} in {tensor.dtype}, where "
            f"{list(wanted[0])} in {wanted[1]} belongs; start anew",
        )
        # AdamW's step counter stays on the CPU unless the kernel is a fused CUDA one
        device = parameter.device if tensor.dim() or parameter.is_cuda else tensor.device
        found.setdefault(name, {})[kind] = tensor.to(device).clone()
    for name, state in found.items():
        require(state.keys() == kinds, f"the checkpoint's optimizer lacks numbers of {name!r}; start anew")
        optimizer.state[parameters[name]].update(state)
