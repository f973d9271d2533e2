"""Random tensors, and sizes of small networks."""

from __future__ import annotations

import torch
from torch import Tensor

ROWS, INPUTS, LATENT = 6, 5, 4


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(size, generator=generator(seed), dtype=torch.float64)
