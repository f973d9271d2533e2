"""Networks of encoder and decoder: `[rows, inputs]` to `[rows, latent]` to `[rows, outputs]`.

They are independent of columns, losses and scores.
"""

from training.networks.dense import Dense, Shape, Tied, TopK
from training.networks.image import ImageNetwork, ImageShape
from training.networks.memory import Memory

Network = Dense | Tied | ImageNetwork | Memory

__all__ = ["Dense", "ImageNetwork", "ImageShape", "Memory", "Network", "Shape", "Tied", "TopK"]
