"""How like rows are to prototypes: the logarithms of weighted kernels, as one matrix product.

A custom torch operator with its own ONNX translation, as in `training.missing_cells`: with ONNX's own `If`, batches without
missing cells take half the product.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from onnxscript import DOUBLE, opset18, script
from torch import Tensor

op: Any = opset18  # torch's exporter converts it to the opset requested; its type stubs list no operators


@torch.library.custom_op("residuum::likeness", mutates_args=())
def likeness(values: Tensor, known: Tensor, complete: Tensor, marginal: Tensor) -> Tensor:
    """Return `[rows, prototypes]` for rows `[rows, values]`, 0 where missing, and `known`, 1 where a value is present.

    The product is of (values, 1, squared length) with `complete`, `[values + 2, prototypes]`, or of these and `known` with
    `marginal`, `[2 values + 2, prototypes]`, where values are missing.
    """
    rows = torch.cat([values, torch.ones_like(values[:, :1]), (values * values).sum(dim=1, keepdim=True)], dim=1)
    if known.min() == 1:
        return rows @ complete
    return torch.cat([rows, known], dim=1) @ marginal


@likeness.register_fake
def _(values: Tensor, known: Tensor, complete: Tensor, marginal: Tensor) -> Tensor:
    """Return a tensor of the output's shape, for the exporter."""
    del known, marginal
    return values.new_empty(values.shape[0], complete.shape[1])


@script(default_opset=op)
def likeness_in_onnx(values: DOUBLE, known: DOUBLE, complete: DOUBLE, marginal: DOUBLE) -> DOUBLE:
    """Compute `likeness` in onnxscript."""
    one, across = op.CastLike(1.0, values), op.Constant(value_ints=[1])
    squares = op.ReduceSumSquare(values, across)
    ones = op.Add(op.Mul(squares, op.CastLike(0.0, values)), one)
    rows = op.Concat(values, ones, squares, axis=1)
    if op.ReduceMin(known, keepdims=0) < one:
        product = op.MatMul(op.Concat(rows, known, axis=1), marginal)
    else:
        product = op.MatMul(rows, complete)
    return product  # type: ignore[no-any-return]  # see `op`


IN_ONNX: dict[Callable[..., Any], Any] = {torch.ops.residuum.likeness.default: likeness_in_onnx}
