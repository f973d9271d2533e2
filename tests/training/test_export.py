"""An exported graph is proved, and holds no trace of the machine it was made on."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from tests.training.conftest import TrainedCase
from training import export
from training.missing_cells import complete


def test_no_file_holds_a_path_of_this_machine(trained: TrainedCase) -> None:
    checkout = str(Path(__file__).parents[2]).encode()
    for path in trained.folder.iterdir():
        assert checkout not in path.read_bytes()
        assert b"site-packages" not in path.read_bytes()


def test_the_proofs_are_in_the_manifest(trained: TrainedCase) -> None:
    proofs = trained.scorer.manifest.parity
    assert [proof.file for proof in proofs] == ["model.onnx", "decoder.onnx"]
    for proof in proofs:
        assert proof.rows == trained.scorer.manifest.training.rows.calibration
        assert 0 < proof.largest_difference <= proof.tolerance
        assert proof.verdicts_that_differ == 0


class Branching(nn.Module):
    """A graph with an `If`, whose branches take values from outside it."""

    def forward(self, row: Tensor) -> tuple[Tensor, Tensor]:
        """Return completed rows, and their sums."""
        present = (~torch.isnan(row)).double()
        filled = complete(torch.where(torch.isnan(row), 0.0, row), present, torch.eye(2, dtype=torch.float64))
        return filled, filled.sum(dim=1)


class Widening(nn.Module):
    """A graph that asks how many rows there are."""

    def forward(self, latent: Tensor, noise: Tensor) -> Tensor:
        """Return the sum of both, with a column of ones."""
        return torch.cat([latent + noise, torch.ones(latent.shape[0], 1, dtype=torch.float64)], dim=1)


def test_parts_are_exported_at_once_and_each_file_holds_its_own_only() -> None:
    row, latent, noise = (torch.zeros(3, 2, dtype=torch.float64) for _ in range(3))
    first = export.GraphPart(Branching(), (row,), ["row"], ["filled", "latent"])
    second = export.GraphPart(Widening(), (latent, noise), ["latent", "noise"], ["row"], rows="codes")
    sessions = [onnxruntime.InferenceSession(file) for file in export.to_onnx([first, second])]
    names = [([each.name for each in of.get_inputs()], [each.name for each in of.get_outputs()]) for of in sessions]
    assert names == [(["row"], ["filled", "latent"]), (["latent", "noise"], ["row"])]

    found = np.array([[1.0, np.nan], [2.0, 3.0]])
    filled, sums = sessions[0].run(None, {"row": found})
    np.testing.assert_array_equal(filled, np.nan_to_num(found))
    np.testing.assert_array_equal(sums, [1.0, 5.0])
    (widened,) = sessions[1].run(None, {"latent": filled[:1], "noise": filled[:1]})
    np.testing.assert_array_equal(widened, [[2.0, 0.0, 1.0]])


def test_an_export_leaves_the_process_as_it_was() -> None:
    assert isinstance(export.PARSED, property)  # else exports take a second longer
    rows = torch.zeros(3, 2, dtype=torch.float64)
    export.to_onnx([export.GraphPart(nn.Identity(), (rows,), ["row"], ["same"])])
    assert vars(export.TracedOnnxFunction)["function_ir"] is export.PARSED
    assert gc.isenabled()
