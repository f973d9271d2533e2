"""An exported graph is proved, and holds no trace of the machine it was made on."""

from __future__ import annotations

from pathlib import Path

from tests.training.conftest import TrainedCase


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
