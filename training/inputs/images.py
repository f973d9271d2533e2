"""Image files, or a table whose rows are pixels, as training data."""

from __future__ import annotations

import dataclasses
from typing import Any, Self

import msgspec
import polars as pl
from torch import Tensor

from detector.errors import SettingError, TableError
from detector.images import ImageSpec
from training.cross_fit import Whitening
from training.image_model import energy_weights
from training.image_table import ImageTable
from training.inputs.base import FittedDetector, Source, describe_rejects
from training.inputs.tabular import TabularTrainingData
from training.kinds import ColumnCallback, ColumnOptions, ignore_columns
from training.layout import FeatureLayout
from training.pixels import build_pixel_layout
from training.recipe import Recipe
from training.settings import ConvolutionalSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageTrainingData(TabularTrainingData):
    """Images: rows whose columns are pixels; those of files are bytes."""

    @property
    def image(self) -> ImageSpec:
        """The size and mode of the images."""
        assert self.recipe.image is not None  # noqa: S101 - by `Recipe.kind`
        return self.recipe.image

    @classmethod
    def prepare(cls, source: Source, recipe: Recipe, on_column: ColumnCallback = ignore_columns) -> Self:
        """Split images; a table is prepared as other tables are."""
        if not isinstance(source, ImageTable):
            return super().prepare(source, recipe, on_column)
        images = len(source.matrix)
        try:
            parts = cls._split(images, recipe, None)
        except TableError as error:
            raise TableError(f"{error}{describe_rejects(source.rejects, images)}") from error
        return cls(
            recipe=msgspec.structs.replace(recipe, image=source.image),
            plan=recipe.plan(),
            columns=list(source.image.columns()),
            ignored=[],
            matrix=source.matrix,
            split=parts,
            rejects=source.rejects,
            infinite=0,
            rate=parts.rate,
        )

    def layout(self) -> FeatureLayout:
        """Build the layout from the training images."""
        settings = self.settings
        light = settings.light if isinstance(settings, ConvolutionalSettings) else ""
        training, scaled = self.matrix[self.split.training], settings.likelihood == "gaussian"
        return build_pixel_layout(training, self.columns, self.image, light=light, scaled=scaled)

    def manifest_fields(self, fitted: FittedDetector) -> dict[str, Any]:
        """Return the image's size and mode."""
        return super().manifest_fields(fitted) | {"image": self.image}

    @classmethod
    def _column_options(cls, frame: pl.DataFrame, recipe: Recipe) -> ColumnOptions:
        """Return options by which every column is a number, unless an option names it."""
        options = recipe.columns
        named = set(options.named())
        numeric = (*options.numeric, *(name for name in frame.columns if name not in named))
        return msgspec.structs.replace(options, numeric=numeric)

    @classmethod
    def _check_columns(cls, columns: int, recipe: Recipe) -> None:
        """Raise unless there is one column for each pixel."""
        image = recipe.image
        if image is not None and columns != image.values:
            raise SettingError(
                f"--image {image.size} takes {image.values:,} columns of pixels, line by line; this table has {columns:,}: "
                "leave out other columns with --ignore"
            )

    def _whiten(self, residual: Tensor, present: Tensor) -> Whitening:
        """Return the weights of regional energies, and the variances of pixels."""
        residual = residual * present
        energy = energy_weights(residual.unflatten(1, self.image.shape))
        return Whitening(energy.numpy(), residual.square().mean(dim=0).numpy())
