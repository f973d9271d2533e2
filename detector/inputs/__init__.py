"""What a detector takes: rows of a table, rows of series, images. One class each.

`base` says what an input does; `tabular`, `series` and `image` do it. A further kind of input is one more class and a line
in `input_of`. Everything else (files, HTTP, streams, metrics) asks the input and never looks at the manifest for its kind.
"""

from detector.inputs.base import Encoder, Engine, Input, Session
from detector.inputs.image import ImageInput, PixelInput
from detector.inputs.series import SeriesInput, SeriesSession
from detector.inputs.tabular import TabularInput
from detector.manifest import Manifest

__all__ = ["Encoder", "Engine", "Input", "SeriesInput", "SeriesSession", "Session", "input_of"]


def input_of(manifest: Manifest) -> Input:
    """Return the input of a detector."""
    if manifest.window and manifest.alarm:
        return SeriesInput(manifest, manifest.window, manifest.alarm)
    if manifest.image:
        return (ImageInput if manifest.image.files else PixelInput)(manifest, manifest.image)
    return TabularInput(manifest)
