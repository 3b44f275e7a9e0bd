"""A stopwatch for the parts of a distillation step, finer than the one that training reports."""

from collections.abc import Mapping

import torch

from tinydistil.distill.step import Stopwatch

PARTS = ("data", "teacher encoder", "teacher head", "student", "loss", "backward", "optimizer", "communication")


class PartWatch(Stopwatch):
    """A stopwatch for `PARTS`; `renamed` says which part of ours a mark of somebody else's ends."""

    def __init__(self, device: torch.device, renamed: Mapping[str, str]) -> None:
        super().__init__(device)
        self._renamed = renamed

    def mark(self, part: str) -> None:
        """Everything since the last mark was `part`."""
        self._mark(self._renamed.get(part, part))

    def after(self, module: torch.nn.Module, part: str) -> None:
        """Mark `part` whenever `module` is done."""
        module.register_forward_hook(lambda *_: self._mark(part))

    def _mark(self, part: str) -> None:
        if part:
            self.seconds.setdefault(part, 0.0)
        super().mark(part)
