"""Tied weights get the gradients of both halves; a top-k code keeps exactly k activations."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.training.tensors import INPUTS, LATENT, ROWS, normal
from training.networks import Dense, Shape, Tied, TopK


@pytest.mark.parametrize("hidden", [(), (7,), (7, 3)])
@pytest.mark.parametrize("activation", ["sigmoid", "silu"])
def test_tied_gradients_are_the_sum_of_an_untied_copys(hidden: tuple[int, ...], activation: str) -> None:
    shape = Shape(INPUTS, hidden, LATENT, LATENT, INPUTS, activation)
    mirrored = torch.tensor([0, 1, 4])
    tied, untied = Tied(shape, mirrored).double(), Dense(shape).double()
    encoder, decoder = (
        [part for part in half if isinstance(part, nn.Linear)] for half in (untied.encoder, reversed(untied.decoder))
    )
    for layer, bias, down, up in zip(tied.layers, tied.biases, encoder, decoder, strict=True):
        down.load_state_dict(layer.state_dict())
        nn.init.normal_(bias)
        up.load_state_dict({"weight": layer.get_parameter("weight").t(), "bias": bias})
    inputs = normal(ROWS, INPUTS)
    for network, outputs in ((tied, slice(None)), (untied, mirrored)):
        reconstruction = network.decode(network.encode(inputs))[:, outputs]
        (reconstruction - inputs[:, mirrored]).square().sum().backward()
    for layer, down, up in zip(tied.layers, encoder, decoder, strict=True):
        torch.testing.assert_close(layer.get_parameter("weight").grad, down.weight.grad + up.weight.grad.t())


@given(st.data())
def test_top_k_keeps_exactly_k_of_the_largest(data: st.DataObject) -> None:
    rows, width = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 12))
    k = data.draw(st.integers(1, width))
    values = st.sampled_from([-2.0, -1.0, 1.0, 2.0])  # few, so that there are ties; none is 0
    code = torch.tensor(data.draw(st.lists(st.lists(values, min_size=width, max_size=width), min_size=rows, max_size=rows)))
    sparse = TopK(k)(code.requires_grad_())
    assert sparse.shape == code.shape
    assert torch.all((sparse != 0).sum(dim=1) == k)
    assert torch.all((sparse == 0) | (sparse == code))
    largest = code.sort(dim=1).values[:, -k:].sum(dim=1)
    torch.testing.assert_close(sparse.sort(dim=1, descending=True).values.sum(dim=1), largest)
    sparse.sum().backward()
    assert code.grad is not None
    assert torch.equal(code.grad, (sparse != 0).float())
