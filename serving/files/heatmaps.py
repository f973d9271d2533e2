"""A folder of pictures of where the error is; `serving.heatmap` draws them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from detector.errors import OutputError
from detector.images import DecodedImage, ImageSpec, read
from serving.files import output
from serving.files.images import Seen
from serving.heatmap import Look, draw_heatmap, heat


class HeatMaps:
    """A folder of pictures, one for each image, under the same names and sub-folders."""

    def __init__(self, folder: str, paths: Sequence[str], image: ImageSpec, threshold: float, *, force: bool) -> None:
        """Look at what is there.

        Raises:
            OutputError: the folder lies among the images, or is a file, or a picture is there already.
        """
        self._folder, self._image, self._threshold, self._force = Path(folder), image, threshold, force
        self._root = Path(os.path.commonpath([Path(path).resolve().parent for path in paths]))
        target = self._folder.resolve()
        if self._root in (target, *target.parents):
            raise OutputError(
                f"{folder} lies among the images, and its pictures would be taken for some: name a folder elsewhere"
            )
        if self._folder.exists() and not self._folder.is_dir():
            raise OutputError(f"{folder} is a file: heat maps go into a folder")
        for path in paths:
            if self._path(path).exists() and not force:
                raise OutputError(f"{self._path(path)} is there already; --force replaces it")

    def add(self, seen: Seen) -> None:
        """Draw images; each picture appears when it is whole.

        Raises:
            OutputError: a picture cannot be written.
        """
        maps = seen.outputs.contribution.reshape(-1, self._image.height, self._image.width)
        for path, score, contribution in zip(seen.paths, seen.outputs.score, maps, strict=True):
            place = self._path(path)
            with output.output_errors(str(place)):
                place.parent.mkdir(parents=True, exist_ok=True)
            output.write(str(place), draw_heatmap(looking(path), heat(contribution, float(score), self._threshold)))

    def _path(self, path: str) -> Path:
        """Say where an image's picture goes."""
        name = Path(path).resolve().relative_to(self._root)
        return self._folder / (name if name.suffix.lower() == ".png" else name.with_name(f"{name.name}.png"))


def looking(path: str) -> Look:
    """Give what looks at a file, at any size; it raises an OutputError where that is gone by now."""

    def look(image: ImageSpec) -> DecodedImage:
        found = read(path, 0, image)
        if isinstance(found, DecodedImage):
            return found
        raise OutputError(f"{path} could be scored, but not be drawn: found {found.found}")

    return look
