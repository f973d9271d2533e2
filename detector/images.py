"""Images: decodes PNG and JPEG files to pixels of one size and mode, with limits that are checked before memory is allocated.

An image is a row whose columns are its pixels, channel by channel and line by line (`ImageSpec.columns`), so everything
that works on rows works on images. Needs Pillow (the extra `images`). `detector.image_reasons` explains the scores.
"""

from __future__ import annotations

import os
import re
import stat
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Literal, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta

from detector.columns import Column
from detector.errors import SettingError, TableError
from detector.rejects import Reject, shorten

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

Mode = Literal["grey", "rgb"]
Side = Annotated[int, Meta(ge=4, le=1024)]

SUFFIXES = {".png", ".jpg", ".jpeg"}
FORMATS = ("PNG", "JPEG")
MAX_FILE_BYTES = 64 * 2**20  # bytes
MAX_PIXELS = 50_000_000  # of a file, before resizing
MAX_VALUES = 2**18  # of an image after resizing: 512 x 512 grey
DEFAULT_SIDE = 64  # pixels of the longer side if no size is chosen
SURVEY_FILES = 64  # files from which mode and proportions are inferred
GREY_MODES, COLOUR_MODES = {"1", "L"}, {"RGB", "P"}  # Pillow modes that convert to grey or colour without loss
OPAQUE = 255  # alpha
COLOURS = ("red", "green", "blue")
EXPECTED_IMAGE = "a PNG or JPEG image"


class ImageSize(NamedTuple):
    """The size of an image in pixels."""

    width: int
    height: int

    def __str__(self) -> str:
        """Return the size as `parse_size` reads it."""
        return f"{self.width}x{self.height}"


class ImageSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The size and mode of a detector's images; `files`: they come from image files, not from rows of a table."""

    width: Side
    height: Side
    mode: Mode = "grey"
    files: bool = True

    @property
    def size(self) -> ImageSize:
        """Width and height."""
        return ImageSize(self.width, self.height)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width: the axes of an image in the graph's input."""
        return (1 if self.mode == "grey" else len(COLOURS), self.height, self.width)

    @property
    def values(self) -> int:
        """The number of values of an image."""
        channels, height, width = self.shape
        return channels * height * width

    def columns(self) -> tuple[Column, ...]:
        """Return a column for each value, in order: `pixel_<line>_<column>`, counted from 0, with a suffix for the colour."""
        suffixes = [""] if self.mode == "grey" else [f"_{colour}" for colour in COLOURS]
        return tuple(
            Column(name=f"pixel_{line}_{column}{suffix}", kind="number", lowest=0.0, highest=255.0)
            for suffix in suffixes
            for line in range(self.height)
            for column in range(self.width)
        )


class DecodedImage(NamedTuple):
    """A decoded image: its values at the detector's size, and its original size."""

    values: np.ndarray  # uint8[values]
    original: ImageSize


class UnreadableImage(Exception):
    """A file that is not a usable image: what was found, and what was expected."""

    def __init__(self, found: str, expected: str = EXPECTED_IMAGE) -> None:
        super().__init__(found)
        self.found = found
        self.expected = expected


def parse_size(text: str, option: str) -> ImageSize:
    """Parse a size such as 28x28.

    Raises:
        SettingError: the text is not a size.
    """
    if not re.fullmatch(r"[1-9][0-9]{0,3}x[1-9][0-9]{0,3}", text):
        raise SettingError(f"{option} {text}: an image size is written like 28x28 (width x height)")
    width, height = text.split("x")
    return ImageSize(int(width), int(height))


def make_spec(size: ImageSize, mode: Mode, option: str, *, files: bool) -> ImageSpec:
    """Return the spec of images of a size that the user chose with `option`.

    Raises:
        SettingError: the size is too small or too large.
    """
    image = ImageSpec(width=size.width, height=size.height, mode=mode, files=files)
    if min(size) < 4 or max(size) > 1024 or image.values > MAX_VALUES:  # noqa: PLR2004 - `Side`
        raise SettingError(
            f"{option} {size}: images must have sides of 4 to 1,024 pixels and at most {MAX_VALUES:,} values, such as "
            f"{option} 64x64"
        )
    return image


def are_image_paths(paths: Sequence[str]) -> bool:
    """Return whether the paths are images and folders; False if they are tables.

    Raises:
        SettingError: the paths are a mixture of both.
    """
    kinds = {path: Path(path).is_dir() or Path(path).suffix.lower() in SUFFIXES for path in paths}
    if len(set(kinds.values())) > 1:
        table, image = (next(path for path, is_image in kinds.items() if is_image is kind) for kind in (False, True))
        raise SettingError(f"{table} is a table and {image} is not: give tables, or images and folders of images")
    return all(kinds.values())


def find_images(paths: Sequence[str]) -> list[str]:
    """Return the images among the paths and in folders and their subfolders, in order and without repetition.

    In folders, hidden files and files without a PNG or JPEG suffix are skipped.

    Raises:
        TableError: there are no images.
    """
    found: dict[str, str] = {}
    for path in paths:
        for name in _walk(path) if Path(path).is_dir() else [path]:
            found.setdefault(os.path.realpath(name), name)
    if not found:
        raise TableError(f"{', '.join(paths)}: no images found; the suffixes {', '.join(sorted(SUFFIXES))} are read")
    return list(found.values())


def _walk(folder: str) -> Iterator[str]:
    """Yield the images in a folder and its subfolders."""
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."):
                yield str(Path(parent, name))


def infer_spec(files: Sequence[str], size: ImageSize | None, mode: Mode | None) -> ImageSpec:
    """Infer the spec of images from the headers of some files, where size or mode is None.

    The mode is grey if all files are grey. The proportions are the most frequent ones; the longer side has 64 pixels or
    fewer.

    Raises:
        TableError: no file can be read.
        SettingError: the size is too small or too large.
    """
    step = max(1, len(files) // SURVEY_FILES)
    headers = [header for header in map(_read_header, files[::step]) if header is not None]
    if not headers:
        raise TableError(f"{files[0]} and the other sampled files are not readable PNG or JPEG images")
    if size is None:
        usual = Counter(size for size, _ in headers).most_common(1)[0][0]
        shrink = min(1.0, DEFAULT_SIDE / max(usual))
        size = ImageSize(*(max(4, round(side * shrink)) for side in usual))
    if mode is None:
        mode = "grey" if all(pillow_mode in GREY_MODES or pillow_mode == "LA" for _, pillow_mode in headers) else "rgb"
    return make_spec(size, mode, "--size", files=True)


def _read_header(path: str) -> tuple[ImageSize, str] | None:
    """Return size and Pillow mode of an image without decoding it; None if it cannot be read."""
    try:
        with _open_file(path) as file, _open_image(file) as opened:
            return ImageSize(*opened.size), opened.mode
    except UnreadableImage:
        return None


def read(path: str, row: int, image: ImageSpec) -> DecodedImage | Reject:
    """Decode a file at the size and in the mode of the spec; a file that cannot be read becomes a reject."""
    try:
        with _open_file(path) as file:
            return decode(file, image)
    except UnreadableImage as error:
        return Reject(row=row, column="", found=error.found, expected=error.expected, file=path)


def decode(file: BinaryIO, image: ImageSpec) -> DecodedImage:
    """Decode an image at the size and in the mode of the spec; its header is checked before its pixels are decoded.

    Raises:
        UnreadableImage: the image is damaged, too large, or of a mode that is neither grey nor colour.
    """
    from PIL import Image as pillow  # noqa: N813 - it is a module
    from PIL import ImageOps

    with _open_image(file) as opened:
        opaque = _check_mode(opened)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # damaged metadata does not affect the pixels
                upright = ImageOps.exif_transpose(opaque)
                original = ImageSize(*upright.size)
                converted = upright.convert("L" if image.mode == "grey" else "RGB")
                resized = converted.resize(image.size, pillow.Resampling.BICUBIC, reducing_gap=3.0)
        except Exception as error:  # Pillow's decoders raise errors of many types
            raise UnreadableImage(shorten(f"a damaged image: {error}"), "a whole PNG or JPEG image") from error
    values = np.asarray(resized).reshape(image.height, image.width, -1)
    return DecodedImage(np.ascontiguousarray(values.transpose(2, 0, 1)).reshape(-1), original)


def _open_file(path: str) -> BinaryIO:
    """Open a plain file of at most `MAX_FILE_BYTES`.

    Raises:
        UnreadableImage: it is not such a file.
    """
    try:
        status = Path(path).stat()
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableImage("no file")
        if status.st_size > MAX_FILE_BYTES:
            raise UnreadableImage(f"a file of {status.st_size:,} bytes", f"an image of at most {MAX_FILE_BYTES:,} bytes")
        return Path(path).open("rb")
    except OSError as error:
        raise UnreadableImage(f"{error.strerror or error}") from error


def _open_image(file: BinaryIO) -> PillowImage:
    """Read an image's header.

    Raises:
        UnreadableImage: the file is not a PNG or JPEG, or has too many pixels.
    """
    from PIL import Image as pillow  # noqa: N813 - it is a module

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pillow.DecompressionBombWarning)  # its limit is above ours
            opened = pillow.open(file, formats=FORMATS)
    except pillow.DecompressionBombError as error:
        raise UnreadableImage("far too many pixels", f"an image of at most {MAX_PIXELS:,} pixels") from error
    except Exception as error:  # Pillow's parsers raise errors of many types
        is_empty = file.seek(0, os.SEEK_END) == 0
        raise UnreadableImage("an empty file" if is_empty else "not a PNG or JPEG, despite its name") from error
    width, height = opened.size
    if width * height > MAX_PIXELS:
        opened.close()
        raise UnreadableImage(f"{width:,} x {height:,} pixels", f"an image of at most {MAX_PIXELS:,} pixels")
    return opened


def _check_mode(opened: PillowImage) -> PillowImage:
    """Return the image without an alpha channel.

    Raises:
        UnreadableImage: the image does not convert to grey or colour without a guess: it has 16 bits, print colours,
            transparent pixels or several frames.
    """
    if opened.format != "MPO" and getattr(opened, "n_frames", 1) > 1:  # MPO: a phone's JPEG, whose first frame is the photo
        raise UnreadableImage("an animation", "a still image")
    if opened.mode in {"LA", "RGBA", "PA"} or "transparency" in opened.info:
        try:
            colours, alpha = opened.convert("RGB"), opened.convert("RGBA").getchannel("A")
        except Exception as error:  # as in `decode`
            raise UnreadableImage(shorten(f"a damaged image: {error}"), "a whole PNG or JPEG image") from error
        if alpha.getextrema()[0] != OPAQUE:
            raise UnreadableImage("transparent pixels", "an image without transparency")
        return colours
    if opened.mode not in GREY_MODES | COLOUR_MODES:
        raise UnreadableImage(f"an image of mode {opened.mode}", "grey or colour of 8 bits")
    return opened
