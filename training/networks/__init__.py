"""The networks that learn to rebuild a row: `encode` to a code, `decode` back.

A network knows nothing of columns, losses or scores: `[rows, inputs]` in, `[rows, latent]` between, `[rows, outputs]` out.
"""

from training.networks.dense import Dense, Shape, Tied, TopK
from training.networks.image import Plane, Spatial

Network = Dense | Tied | Spatial

__all__ = ["Dense", "Network", "Plane", "Shape", "Spatial", "Tied", "TopK"]
