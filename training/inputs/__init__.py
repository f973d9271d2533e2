"""Training data: tables, images and windows of a series, as objects with the same methods.

    base     the interface; `training.train` calls its methods in order
    tabular  single rows of a table
    images   image files, or rows of pixels
    series   windows of one or many series

A further kind of input is one class, and its name in `KINDS` and in `training.recipe`.
"""

from __future__ import annotations

from training.inputs.base import FittedDetector, Source, TrainingData
from training.inputs.images import ImageTrainingData
from training.inputs.series import SeriesTrainingData
from training.inputs.tabular import TabularTrainingData
from training.kinds import ColumnCallback, ignore_columns
from training.recipe import InputKind, Recipe

KINDS: dict[InputKind, type[TrainingData]] = {
    "rows": TabularTrainingData,
    "images": ImageTrainingData,
    "windows": SeriesTrainingData,
}

__all__ = ["KINDS", "FittedDetector", "Source", "TrainingData", "prepare"]


def prepare(source: Source, recipe: Recipe, on_column: ColumnCallback = ignore_columns) -> TrainingData:
    """Return the training data of a recipe: kinds inferred, rows rejected, split or windows cut.

    `on_column` receives the number of columns of a table whose kind is inferred, and of all.

    Raises:
        TableError: too few rows, or a column that the rows are ordered by is not complete.
        SettingError: an option does not fit the table.
    """
    return KINDS[recipe.kind].prepare(source, recipe, on_column)
