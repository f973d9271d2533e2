"""Residuals of missing cells: those that minimise the whitened residual of a row.

A custom torch operator with its own ONNX translation: the exporter would spend a third of its time on the `If` and the
twelve unrolled steps. `training.export` proves that both agree, as it does for the whole graph.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from onnxscript import FLOAT, opset18, script
from torch import Tensor

STEPS = 12
TINY = 1e-30  # keeps divisions finite after convergence
op: Any = opset18  # torch's exporter converts it to the opset requested; its type stubs list no operators


@torch.library.custom_op("residuum::complete", mutates_args=())
def complete(residual: Tensor, present: Tensor, precision: Tensor) -> Tensor:
    """Return residuals, `[rows, features]`, with the missing ones set to those that minimise r' P r.

    Solves P_MM r_M = -P_MO r_O by conjugate gradients: exact for up to `STEPS` missing cells, close for more.
    """
    filled = residual.clone()
    if present.min() == 1:
        return filled
    absent = 1.0 - present
    scale = absent / torch.diagonal(precision) + present
    rest = -(residual @ precision) * absent
    direction = scale * rest
    power = (rest * direction).sum(dim=1, keepdim=True)
    for _ in range(STEPS):
        image = (direction @ precision) * absent
        step = power / (direction * image).sum(dim=1, keepdim=True).clamp(min=TINY)
        filled = filled + step * direction
        rest = rest - step * image
        previous = power.clamp(min=TINY)
        power = (rest * scale * rest).sum(dim=1, keepdim=True)
        direction = scale * rest + power / previous * direction
    return filled


@complete.register_fake
def _(residual: Tensor, present: Tensor, precision: Tensor) -> Tensor:
    """Return a tensor of the output's shape, for the exporter."""
    del present, precision
    return torch.empty_like(residual)


@script(default_opset=op)
def complete_in_onnx(residual: FLOAT, present: FLOAT, precision: FLOAT) -> FLOAT:
    """Compute `complete` in onnxscript: with ONNX's own `If`, batches without missing cells cost nothing."""
    one = op.CastLike(1.0, residual)
    if op.ReduceMin(present, keepdims=0) < one:
        tiny = op.CastLike(TINY, residual)
        across, down = op.Constant(value_ints=[1]), op.Constant(value_ints=[0])
        absent = one - present
        scale = absent / op.ReduceSum(op.EyeLike(precision) * precision, down) + present
        rest = op.Neg(op.MatMul(residual, precision)) * absent
        # One state: onnxscript orders several by the hash of their names, and the bytes would differ between processes.
        state = op.Concat(residual, rest, scale * rest, axis=1)
        for _ in range(STEPS):
            done, left, direction = op.Split(state, axis=1, num_outputs=3)
            power = op.ReduceSum(left * scale * left, across)
            image = op.MatMul(direction, precision) * absent
            step = power / op.Max(op.ReduceSum(direction * image, across), tiny)
            after = left - step * image
            turn = op.ReduceSum(after * scale * after, across) / op.Max(power, tiny)
            state = op.Concat(done + step * direction, after, scale * after + turn * direction, axis=1)
        filled, _left, _direction = op.Split(state, axis=1, num_outputs=3)
    else:
        filled = op.Identity(residual)
    return filled  # type: ignore[no-any-return]  # see `op`


IN_ONNX: dict[Callable[..., Any], Any] = {torch.ops.residuum.complete.default: complete_in_onnx}
