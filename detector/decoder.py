"""The decoder of a bundle: from latent codes back to rows.

    latent float64[rows, k], noise float64[rows, n]  ->  row float64[rows, columns], in the user's units, a category as its code

As with the model, the graph is the whole computation. Noise of 0 gives the most likely row; `generate` draws codes from
the prior that the manifest names, and noise for what the codes leave undetermined.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from detector import bundle, repository
from detector.bundle import Bundle
from detector.columns import Column
from detector.errors import BundleCorrupt, BundleError, SettingError, TableError
from detector.graph import Device, nodes_on_cpu, open_session, run_batches, tensor_widths

LATENT, NOISE, OUTPUT = "latent", "noise", "row"
GENERATE_BATCH = 4096  # rows
WITH_PRIOR = ("variational", "adversarial")  # variants whose training pulls the codes towards a prior


class DecoderSession:
    """An opened decoder graph. Safe to use from several threads."""

    def __init__(self, model: bytes, device: Device = "auto") -> None:
        """Open the graph.

        Raises:
            SettingError: the requested device is not available.
            BundleCorrupt: the bytes are not a decoder.
        """
        self._session = open_session(model, device, bundle.DECODER)
        self.provider: str = self._session.get_providers()[0]
        self.latent, self.noise, self.columns = tensor_widths(
            self._session, bundle.DECODER, "decoder", {LATENT: "[rows, k]", NOISE: "[rows, n]"}, {OUTPUT: "[rows, columns]"}
        )

    @property
    def nodes_on_cpu(self) -> int:
        """The number of nodes that a GPU provider left to the CPU; 0 if the CPU was chosen."""
        return nodes_on_cpu(self._session)

    def decode(self, codes: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Return the rows, `float64[rows, columns]`, of codes, `[rows, k]`, and noise, `float64[rows, n]`."""
        return run_batches(self._session, [OUTPUT], {LATENT: codes, NOISE: noise})[0]


class NoiseSource:
    """Draws a decoder's noise: standard normal for each number, Gumbel for each code of each category."""

    def __init__(self, numbers: int, codes: int, seed: np.random.SeedSequence) -> None:
        """Start one random stream for numbers and one for codes."""
        self._numbers, self._codes = numbers, codes
        self._normal, self._gumbel = map(np.random.default_rng, seed.spawn(2))

    def draw(self, rows: int) -> np.ndarray:
        """Draw the noise of the next rows, `float64[rows, numbers + codes]`."""
        normal = self._normal.standard_normal((rows, self._numbers))
        return np.concatenate([normal, self._gumbel.gumbel(size=(rows, self._codes))], axis=1)


class Decoder:
    """A bundle that is open for decoding."""

    def __init__(self, opened: Bundle, device: Device = "auto") -> None:
        """Open a verified bundle's decoder.

        Raises:
            BundleError: the bundle has no decoder.
            BundleCorrupt: the file is not a decoder, or does not match the manifest.
            SettingError: the device is not available.
        """
        if opened.manifest.window is not None:
            raise BundleError(f"{opened.folder} scores windows of a series, which cannot be decoded or generated")
        if bundle.DECODER not in opened.extra_files:
            raise BundleError(f"{opened.folder} has no {bundle.DECODER} to turn codes into rows: train it again")
        self.folder = opened.folder
        self.manifest = opened.manifest
        self.graph = DecoderSession(opened.extra_files[bundle.DECODER], device)
        self._codes = sum(column.codes for column in self.columns if _has_codes(column))
        if self.graph.columns != len(self.columns) or self.graph.noise < self._codes:
            raise BundleCorrupt(
                f"{opened.folder / bundle.DECODER} returns {self.graph.columns} columns, the manifest lists {len(self.columns)}"
            )

    @classmethod
    def open(cls, path: Path, device: Device = "auto") -> Decoder:
        """Open the decoder of the version at `path`: a model's folder or the folder of one version.

        Raises:
            BundleError: there is no valid bundle.
            SettingError: the device is not available.
        """
        return cls(bundle.read(repository.find(path)), device)

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of a row."""
        return self.manifest.columns

    @property
    def latent_columns(self) -> tuple[Column, ...]:
        """The columns of a code in a table of codes."""
        return tuple(Column(name=name, kind="number") for name in latent_names(self.graph.latent))

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Return the most likely rows, `float64[rows, columns]`, of codes, `[rows, k]`.

        Raises:
            TableError: the codes have the wrong width or are not finite.
        """
        if codes.ndim != 2 or codes.shape[1] != self.graph.latent:  # noqa: PLR2004 - rows and latents
            raise TableError(f"codes of {self.graph.latent} latents are needed; these have shape {codes.shape}")
        finite = np.isfinite(codes).all(axis=1)
        if not finite.all():
            raise TableError(f"row {int(np.argmin(finite))} of the codes has a latent that is not a finite number")
        return self.graph.decode(codes, np.zeros((len(codes), self.graph.noise)))

    def generate(self, rows: int, seed: int = 0, *, mean: bool = False) -> Iterator[np.ndarray]:
        """Yield rows drawn from the prior, in batches; with `mean`, the most likely row of each drawn code.

        The same seed gives the same rows, and the first rows do not depend on how many are drawn.

        Raises:
            SettingError: the codes have no prior, or `rows` is less than 1.
        """
        if self.manifest.prior is None:
            hint = ", on a table with one column per pixel and without --image" if self.manifest.image else ""
            raise SettingError(
                f"{self.manifest.name} ({self.manifest.variant}) has no prior to generate rows from: "
                f"train a detector with --variant {' or --variant '.join(WITH_PRIOR)}{hint}"
            )
        if rows < 1:
            raise SettingError(f"the number of rows to generate must be at least 1; got {rows}")
        return self._generate(rows, np.random.SeedSequence(seed), mean=mean)

    def _generate(self, rows: int, seed: np.random.SeedSequence, *, mean: bool) -> Iterator[np.ndarray]:
        """Yield rows in batches; codes and noise have a random stream each, so the batch size does not change the rows."""
        code_seed, noise_seed = seed.spawn(2)
        random = np.random.default_rng(code_seed)
        noise = NoiseSource(self.graph.noise - self._codes, self._codes, noise_seed)
        for start in range(0, rows, GENERATE_BATCH):
            size = min(GENERATE_BATCH, rows - start)
            codes = self._draw_codes(size, random)
            yield self.decode(codes) if mean else self.graph.decode(codes, noise.draw(size))

    def _draw_codes(self, rows: int, random: np.random.Generator) -> np.ndarray:
        """Draw codes from the prior, `float64[rows, k]`."""
        size = (rows, self.graph.latent)
        return random.standard_normal(size) if self.manifest.prior == "normal" else random.uniform(-1.0, 1.0, size)


def latent_path(start: np.ndarray, end: np.ndarray, steps: int) -> np.ndarray:
    """Return codes on the straight line from `start` to `end`, both included: `float64[steps, k]`."""
    return np.linspace(start, end, steps)


def latent_names(latents: int) -> list[str]:
    """Return the names of the columns that hold a code."""
    return [f"latent_{number}" for number in range(1, latents + 1)]


def _has_codes(column: Column) -> bool:
    """Return whether the network predicts the column's codes."""
    return column.kind in {"category", "boolean"} and not column.constant
