"""The decoder: a file that is not a decoder is refused, and a missing decoder is an error with advice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detector import bundle
from detector.decoder import Decoder, NoiseSource, latent_path
from detector.errors import BundleCorrupt, BundleError
from tests.detector.test_bundle import replace


def test_a_bundle_need_not_have_a_decoder(least: Path) -> None:
    with pytest.raises(BundleError, match=r"has no decoder\.onnx .* train it again"):
        Decoder.open(least, "cpu")


@pytest.mark.parametrize("content", [b"", b"nonsense", "model.onnx"], ids=["empty", "nonsense", "the other graph"])
def test_a_file_that_is_not_a_decoder_is_refused(folder: Path, content: bytes | str) -> None:
    replace(folder, bundle.DECODER, (folder / content).read_bytes() if isinstance(content, str) else content)
    with pytest.raises(BundleCorrupt, match=r"decoder\.onnx is no"):
        Decoder.open(folder, "cpu")


def test_any_extra_file_is_verified(least: Path) -> None:
    replace(least, "notes.txt", b"mine")
    assert bundle.read(least).extra_files == {"notes.txt": b"mine"}
    (least / "notes.txt").write_bytes(b"Mine")
    with pytest.raises(BundleCorrupt, match=r"notes\.txt was changed"):
        bundle.read(least)
    (least / "notes.txt").unlink()
    with pytest.raises(BundleCorrupt, match=r"notes\.txt is missing"):
        bundle.read(least)


def test_each_graph_has_its_own_proof(folder: Path) -> None:
    assert [proof.file for proof in bundle.read(folder).manifest.parity] == [bundle.MODEL, bundle.DECODER]


def test_noise_does_not_depend_on_batch_sizes() -> None:
    whole, parts = (NoiseSource(3, 4, np.random.SeedSequence(5)) for _ in range(2))
    assert np.array_equal(whole.draw(10), np.concatenate([parts.draw(4), parts.draw(6)]))


def test_a_latent_path_includes_both_ends() -> None:
    steps = latent_path(np.array([0.0, 1.0]), np.array([1.0, -1.0]), 5)
    assert steps.tolist() == [[0, 1], [0.25, 0.5], [0.5, 0], [0.75, -0.5], [1, -1]]
