"""One rank of a gradient run: prints nothing, saves its gradients. Started by test_gradient with torchrun."""

import sys

import torch

from tests.train.toy import gradients_of
from tinydistil.ranks import joined

if __name__ == "__main__":
    recipe, accumulation, output = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    with joined("cpu") as ranks:
        gradients, terms = gradients_of(recipe, ranks, accumulation)
        if ranks.is_main:
            torch.save((gradients, terms), output)
