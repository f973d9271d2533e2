"""A PNG or JPEG file in; its verdict as JSON out, or a picture of where its error is."""

from __future__ import annotations

import io
from importlib.util import find_spec

import numpy as np
import polars as pl

from detector.batch import ImageBatch
from detector.images import DecodedImage, ImageSpec, UnreadableImage, decode
from detector.inputs.image import ImageInput
from detector.rejects import Reject
from detector.verdicts import Verdicts
from serving.codecs.base import BodyError, CodecOptions, WholeBody
from serving.codecs.json import JsonCodec
from serving.heatmap import draw_heatmap, heat
from serving.model import ServedModel


class ImageCodec(WholeBody):
    """Image files."""

    def __init__(self, model: ServedModel, options: CodecOptions) -> None:
        """Decode for a model that reads image files.

        Raises:
            BodyError: the model scores rows of tables, or Pillow is not installed.
        """
        if not isinstance(model.scorer.input, ImageInput):
            raise BodyError(415, "content_type", f"{model.name} scores rows, not image files")
        if find_spec("PIL") is None:
            raise BodyError(415, "content_type", "this service has no Pillow to read images: pip install 'residuum[images]'")
        self._model = model
        self._image: ImageSpec = model.scorer.input.image
        self._json = JsonCodec(model, options)
        self._is_drawn = options.heatmap
        self._content = b""
        self.content_type = b"image/png" if options.heatmap else JsonCodec.content_type

    def decode(self, data: bytes, *, final: bool = True) -> ImageBatch:  # noqa: ARG002 - the body is whole
        """Decode an image; one that cannot be read is a rejected row, unless it is to be drawn."""
        self._content = data
        try:
            picture = self._look(self._image)
        except UnreadableImage as error:
            if self._is_drawn:
                raise BodyError(422, "image", "nothing can be drawn", found=error.found, expected=error.expected) from error
            nothing, no_rows = np.empty((0, self._image.values)), np.empty(0, np.int64)
            return ImageBatch(nothing, pl.DataFrame(), no_rows, [Reject(0, "", error.found, error.expected)])
        size = pl.DataFrame({"width": [picture.original.width], "height": [picture.original.height]})
        return ImageBatch(picture.values[None].astype(np.float64), size, np.zeros(1, np.int64), [])

    def encode(self, verdicts: Verdicts) -> bytes:
        """Return the verdict, or draw where the error is."""
        if not self._is_drawn:
            return self._json.encode(verdicts)
        contribution = self._model.scorer.graph.explain(verdicts.matrix).contribution
        grid = contribution.reshape(self._image.height, self._image.width)
        threshold = self._model.threshold
        return draw_heatmap(self._look, heat(grid, threshold), float(verdicts.score[0]), threshold)

    def _look(self, image: ImageSpec) -> DecodedImage:
        return decode(io.BytesIO(self._content), image)
