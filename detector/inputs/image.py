"""Images: files, and rows of a table whose columns are the pixels of an image."""

from __future__ import annotations

import numpy as np

from detector import image_reasons
from detector.batch import Batch, ImageBatch
from detector.columns import Encoded
from detector.images import ImageSize, ImageSpec
from detector.inputs.base import Explained, accepted_frame, placed_at
from detector.inputs.tabular import TabularInput
from detector.manifest import Manifest
from detector.reasons import Reasons, ReasonTable


class PixelInput(TabularInput):
    """Rows of a table whose columns are the pixels of an image; explained by regions."""

    def __init__(self, manifest: Manifest, image: ImageSpec) -> None:
        """Read the columns of a manifest as the pixels of an image."""
        super().__init__(manifest)
        self.image = image
        self.shape = image.shape
        self.description = f"images of {image.size} pixels"

    def explain(self, batch: Batch, encoded: Encoded, explained: Explained, top: int) -> Reasons:
        """Return the regions with the largest shares."""
        sizes = self._original_sizes(batch, encoded, explained.at)
        reasons = image_reasons.rank(explained.rows, explained.outputs, self.image, sizes, top)
        return ReasonTable(placed_at(reasons, explained.at))

    def _original_sizes(self, batch: Batch, encoded: Encoded, at: np.ndarray) -> list[ImageSize]:  # noqa: ARG002 - pixels of a table
        return [self.image.size] * len(at)


class ImageInput(PixelInput):
    """Files of images."""

    noun = promise_noun = "image"
    reads_files = True

    def encode(self, batch: Batch) -> Encoded:
        """Return the pixels of decoded images; rows of a table whose columns are pixels are taken too."""
        if isinstance(batch, ImageBatch):
            return Encoded(batch.matrix, np.ones(len(batch.matrix), dtype=bool), [], 0)
        return super().encode(batch)

    def _original_sizes(self, batch: Batch, encoded: Encoded, at: np.ndarray) -> list[ImageSize]:
        if not isinstance(batch, ImageBatch):
            return super()._original_sizes(batch, encoded, at)
        frame = accepted_frame(batch.frame, encoded, at)
        return [ImageSize(*size) for size in frame.select("width", "height").iter_rows()]
