"""From codes back to rows: `decoder.onnx`, the way back through the autoencoder.

    latent float64[rows, k], noise float64[rows, n]  ->  row float64[rows, columns], in the user's units, a category as its code

The graph is the whole computation here too. Noise of 0 gives the most likely row; `generate` draws codes from the prior
that the manifest names and noise from what the decoder leaves open.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from detector import bundle, repository
from detector.bundle import Bundle
from detector.columns import Column
from detector.errors import BundleCorrupt, BundleError, SettingError, TableError
from detector.graph import Device, describe_tensors, nodes_on_cpu, open_session, run_batches

LATENT, NOISE, OUTPUT = "latent", "noise", "row"
GENERATE_BATCH = 4096  # rows at a time
WITH_PRIOR = ("variational", "adversarial")  # variants whose codes training drives towards a prior


class DecoderSession:
    """An opened decoder. Safe to use from several threads."""

    def __init__(self, model: bytes, device: Device = "auto") -> None:
        """Open the graph.

        Raises:
            SettingError: the device was asked for and is not there.
            BundleCorrupt: the bytes are no decoder.
        """
        self._session = open_session(model, device, bundle.DECODER)
        self.provider: str = self._session.get_providers()[0]
        self.latent, self.noise, self.columns = _widths(self._session)

    @property
    def nodes_on_cpu(self) -> int:
        """How many nodes a GPU's provider left to the CPU; 0 where the CPU was chosen."""
        return nodes_on_cpu(self._session)

    def decode(self, codes: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Turn codes, `[rows, k]`, into rows, `float64[rows, columns]`, under noise, `float64[rows, n]`."""
        return run_batches(self._session, [OUTPUT], {LATENT: codes, NOISE: noise})[0]


class NoiseSource:
    """Draws what a decoder leaves open: standard normal for each number, Gumbel for each code of each category."""

    def __init__(self, numbers: int, codes: int, seed: np.random.SeedSequence) -> None:
        """Start two streams of noise."""
        self._numbers, self._codes = numbers, codes
        self._normal, self._gumbel = map(np.random.default_rng, seed.spawn(2))

    def draw(self, rows: int) -> np.ndarray:
        """Give the noise of the next rows, `float64[rows, numbers + codes]`."""
        normal = self._normal.standard_normal((rows, self._numbers))
        return np.concatenate([normal, self._gumbel.gumbel(size=(rows, self._codes))], axis=1)


class Decoder:
    """A bundle that is open for decoding."""

    def __init__(self, opened: Bundle, device: Device = "auto") -> None:
        """Open a verified bundle's decoder.

        Raises:
            BundleError: it has none.
            BundleCorrupt: it is no decoder, or not the one the manifest speaks of.
            SettingError: the device is not there.
        """
        if opened.manifest.window is not None:
            raise BundleError(f"{opened.folder} judges windows of a series, and windows are not decoded or generated")
        if bundle.DECODER not in opened.extra_files:
            raise BundleError(f"{opened.folder} has no {bundle.DECODER} to turn codes into rows: train it again to have one")
        self.folder = opened.folder
        self.manifest = opened.manifest
        self.graph = DecoderSession(opened.extra_files[bundle.DECODER], device)
        self._codes = sum(column.codes for column in self.columns if _is_drawn(column))
        if self.graph.columns != len(self.columns) or self.graph.noise < self._codes:
            raise BundleCorrupt(
                f"{opened.folder / bundle.DECODER} gives {self.graph.columns} columns, the manifest lists {len(self.columns)}"
            )

    @classmethod
    def open(cls, path: Path, device: Device = "auto") -> Decoder:
        """Open the decoder of the version that `path` means: a name's folder or one version's.

        Raises:
            BundleError: there is none that can be trusted.
            SettingError: the device is not there.
        """
        return cls(bundle.read(repository.find(path)), device)

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of a row."""
        return self.manifest.columns

    @property
    def latent_columns(self) -> tuple[Column, ...]:
        """The columns of a code, as a table of codes has them."""
        return tuple(Column(name=name, kind="number") for name in latent_names(self.graph.latent))

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Turn codes, `[rows, k]`, into the most likely rows, `float64[rows, columns]`.

        Raises:
            TableError: the codes have another width, or are not finite.
        """
        if codes.ndim != 2 or codes.shape[1] != self.graph.latent:  # noqa: PLR2004 - rows and latents
            raise TableError(f"codes of {self.graph.latent} latents are needed; these have shape {codes.shape}")
        finite = np.isfinite(codes).all(axis=1)
        if not finite.all():
            raise TableError(f"row {int(np.argmin(finite))} of the codes has a latent that is no finite number")
        return self.graph.decode(codes, np.zeros((len(codes), self.graph.noise)))

    def generate(self, rows: int, seed: int = 0, *, mean: bool = False) -> Iterator[np.ndarray]:
        """Draw codes from the prior and rows from the decoder (with `mean`, its most likely ones), some at a time.

        The same seed gives the same rows; fewer rows are the first of more.

        Raises:
            SettingError: nothing shaped the codes, so there is no prior to draw from; or there is nothing to draw.
        """
        if self.manifest.prior is None:
            on = ", on a table with a pixel a column and without --image" if self.manifest.image else ""
            raise SettingError(
                f"rows are generated from a prior, and {self.manifest.name} is {self.manifest.variant}, which has none: "
                f"train one with --variant {' or --variant '.join(WITH_PRIOR)}{on}"
            )
        if rows < 1:
            raise SettingError(f"at least 1 row can be generated; got {rows}")
        return self._generate(rows, np.random.SeedSequence(seed), mean=mean)

    def _generate(self, rows: int, seed: np.random.SeedSequence, *, mean: bool) -> Iterator[np.ndarray]:
        """Draw rows, some at a time; all that is drawn has a stream of its own, so that the size of blocks leaves no trace."""
        of_codes, of_noise = seed.spawn(2)
        random = np.random.default_rng(of_codes)
        noise = NoiseSource(self.graph.noise - self._codes, self._codes, of_noise)
        for start in range(0, rows, GENERATE_BATCH):
            size = min(GENERATE_BATCH, rows - start)
            codes = self._drawn(size, random)
            yield self.decode(codes) if mean else self.graph.decode(codes, noise.draw(size))

    def _drawn(self, rows: int, random: np.random.Generator) -> np.ndarray:
        """Draw codes from the prior, `float64[rows, k]`."""
        size = (rows, self.graph.latent)
        return random.standard_normal(size) if self.manifest.prior == "normal" else random.uniform(-1.0, 1.0, size)


def latent_path(start: np.ndarray, end: np.ndarray, steps: int) -> np.ndarray:
    """Give codes on the straight line between two, both included: `float64[steps, k]`."""
    return np.linspace(start, end, steps)


def latent_names(latents: int) -> list[str]:
    """Name the columns that hold a code."""
    return [f"latent_{place}" for place in range(1, latents + 1)]


def _is_drawn(column: Column) -> bool:
    """Tell whether the network gives the column's codes."""
    return column.kind in {"category", "boolean"} and not column.constant


def _widths(session: Any) -> tuple[int, int, int]:  # noqa: ANN401 - ONNX Runtime has no types
    """Check inputs and outputs of the graph and give the widths of codes, noise and rows."""
    there = [*session.get_inputs(), *session.get_outputs()]
    shapes = [(one.name, one.type, len(one.shape)) for one in there]
    widths = [one.shape[-1] for one in there if one.shape]
    fits = shapes == [(name, "tensor(double)", 2) for name in (LATENT, NOISE, OUTPUT)]
    if not fits or not all(isinstance(width, int) for width in widths):
        raise BundleCorrupt(
            f"{bundle.DECODER} is no decoder: it takes {describe_tensors(session.get_inputs())} and gives "
            f"{describe_tensors(session.get_outputs())}; a decoder takes {LATENT}[rows, k] and {NOISE}[rows, n] and gives "
            f"{OUTPUT}[rows, columns]"
        )
    return widths[0], widths[1], widths[2]
