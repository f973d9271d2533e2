"""A folder of heat maps, one for each image; `serving.heatmap` draws them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from detector.errors import OutputError
from detector.images import DecodedImage, ImageSpec, read
from detector.inputs.image import ImageInput
from detector.scorer import Scorer
from detector.verdicts import Verdicts
from serving.files import output
from serving.heatmap import ReadImage, draw_heatmap, heat


class HeatMaps:
    """A folder of heat maps, under the names and sub-folders of their images."""

    def __init__(self, folder: str, paths: Sequence[str], scorer: Scorer, *, force: bool) -> None:
        """Check the folder.

        Raises:
            OutputError: the folder is among the images, or is a file, or a heat map exists already.
        """
        self._folder, self._scorer, self._force = Path(folder), scorer, force
        self._root = Path(os.path.commonpath([Path(path).resolve().parent for path in paths]))
        target = self._folder.resolve()
        if self._root in (target, *target.parents):
            raise OutputError(f"{folder} is among the images, and its heat maps would be read as images: name another folder")
        if self._folder.exists() and not self._folder.is_dir():
            raise OutputError(f"{folder} is a file: heat maps are written into a folder")
        for path in paths:
            if self._path(path).exists() and not force:
                raise OutputError(f"{self._path(path)} exists already; --force replaces it")

    def add(self, files: Sequence[str], verdicts: Verdicts) -> None:
        """Draw the heat maps of scored images; each one appears when it is complete.

        Raises:
            OutputError: one cannot be written.
        """
        if not files or not isinstance(self._scorer.input, ImageInput):
            return
        image, threshold = self._scorer.input.image, self._scorer.manifest.decision.threshold
        maps = self._scorer.graph.explain(verdicts.matrix).contribution.reshape(-1, image.height, image.width)
        for file, score, contribution in zip(files, verdicts.score, maps, strict=True):
            path = self._path(file)
            with output.output_errors(str(path)):
                path.parent.mkdir(parents=True, exist_ok=True)
            drawn = draw_heatmap(reader_of(file), heat(contribution, threshold), float(score), threshold)
            output.write(str(path), drawn, force=self._force)

    def _path(self, file: str) -> Path:
        name = Path(file).resolve().relative_to(self._root)
        return self._folder / (name if name.suffix.lower() == ".png" else name.with_name(f"{name.name}.png"))


def reader_of(file: str) -> ReadImage:
    """Return what reads a file at any size; it raises an OutputError if the file is gone by then."""

    def read_image(image: ImageSpec) -> DecodedImage:
        found = read(file, 0, image)
        if isinstance(found, DecodedImage):
            return found
        raise OutputError(f"{file} was scored, but cannot be drawn: found {found.found}")

    return read_image
