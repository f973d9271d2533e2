"""What a loss adds to the reconstruction error."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Gaussian(NamedTuple):
    """A diagonal Gaussian over codes."""

    mean: Tensor  # [rows, latent]
    log_variance: Tensor  # [rows, latent]

    def at(self, noise: Tensor) -> Tensor:
        """Give the code at standard-normal noise (the reparameterisation of Kingma & Welling 2014, section 2.4)."""
        return self.mean + torch.exp(0.5 * self.log_variance) * noise


def kl_divergence(code: Gaussian) -> Tensor:
    """Give the Kullback-Leibler divergence from the standard normal prior, `[rows]` (ibid., appendix B)."""
    return 0.5 * (code.mean**2 + code.log_variance.exp() - 1.0 - code.log_variance).sum(dim=-1)
