"""Images: PNG and JPEG files to pixels of one size and mode, under limits that hold before memory is taken.

An image is a row whose columns are its pixels, channel by channel and line by line: what `Image.columns` names. So all
that works on rows works on images; what is different is told by the manifest's `image`. Needs Pillow (the extra
`images`). Next: `detector.image_reasons` says where in an image the error lies.
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
    from PIL.Image import Image as Opened

Mode = Literal["grey", "rgb"]
Side = Annotated[int, Meta(ge=4, le=1024)]

SUFFIXES = {".png", ".jpg", ".jpeg"}
FORMATS = ("PNG", "JPEG")
MAX_FILE_BYTES = 64 * 2**20  # bytes
MAX_PIXELS = 50_000_000  # of a file, before it is resized
MAX_VALUES = 2**18  # of an image as the detector sees it: 512 x 512 grey
DEFAULT_SIDE = 64  # of an image whose size nobody chose
SURVEY_FILES = 64  # files that are looked at to find out mode and proportions
GREY, COLOUR = {"1", "L"}, {"RGB", "P"}  # modes of Pillow's that become grey or colour without loss
OPAQUE = 255
COLOURS = ("red", "green", "blue")
TAKEN = "a PNG or JPEG image"


class ImageSize(NamedTuple):
    """The size of an image, in pixels."""

    width: int
    height: int

    def __str__(self) -> str:
        """Write the size as it is read."""
        return f"{self.width}x{self.height}"


class ImageSpec(msgspec.Struct, frozen=True, kw_only=True):
    """An image as the detector sees it; `files` says whether it comes from a file, or from a row of a table."""

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
        """Channels, height, width: the axes of the graph's tensor behind that of the rows."""
        return (1 if self.mode == "grey" else len(COLOURS), self.height, self.width)

    @property
    def values(self) -> int:
        """How many numbers an image has."""
        channels, height, width = self.shape
        return channels * height * width

    def columns(self) -> tuple[Column, ...]:
        """Name the pixels of a file, in the order of its values: `pixel_<line>_<column>`, counted from 0."""
        behind = [""] if self.mode == "grey" else [f"_{colour}" for colour in COLOURS]
        return tuple(
            Column(name=f"pixel_{line}_{across}{colour}", kind="number", lowest=0.0, highest=255.0)
            for colour in behind
            for line in range(self.height)
            for across in range(self.width)
        )


class DecodedImage(NamedTuple):
    """A decoded image: its values at the detector's size, and the size that its file has."""

    values: np.ndarray  # uint8[values]
    original: ImageSize


class UnreadableImage(Exception):
    """A file is no image that can be taken: what was found, and what was expected."""

    def __init__(self, found: str, expected: str = TAKEN) -> None:
        super().__init__(found)
        self.found = found
        self.expected = expected


def parse_size(text: str, option: str) -> ImageSize:
    """Read a size such as 28x28.

    Raises:
        SettingError: it is none.
    """
    if not re.fullmatch(r"[1-9][0-9]{0,3}x[1-9][0-9]{0,3}", text):
        raise SettingError(f"{option} {text}: an image's size is written like 28x28, width before height")
    width, height = text.split("x")
    return ImageSize(int(width), int(height))


def make_spec(size: ImageSize, mode: Mode, option: str, *, files: bool) -> ImageSpec:
    """Give an image of a size that a user chose.

    Raises:
        SettingError: it is too small to have regions, or too large for a network.
    """
    image = ImageSpec(width=size.width, height=size.height, mode=mode, files=files)
    if min(size) < 4 or max(size) > 1024 or image.values > MAX_VALUES:  # noqa: PLR2004 - `Side`
        raise SettingError(
            f"{option} {size}: images are learnt at sides of 4 to 1,024 pixels and {MAX_VALUES:,} values at most, such as "
            f"{option} 64x64"
        )
    return image


def are_image_paths(paths: Sequence[str]) -> bool:
    """Tell whether paths name images or folders of them, and not tables.

    Raises:
        SettingError: some do and some do not.
    """
    kinds = {path: Path(path).is_dir() or Path(path).suffix.lower() in SUFFIXES for path in paths}
    if len(set(kinds.values())) > 1:
        table, image = (next(path for path, kind in kinds.items() if kind is each) for each in (False, True))
        raise SettingError(f"{table} is a table and {image} is none: give tables, or images and folders of images")
    return all(kinds.values())


def find_images(paths: Sequence[str]) -> list[str]:
    """Give the images that are named, and those in the folders that are, down to the last sub-folder, in order.

    Hidden files and what is no PNG or JPEG by its suffix are passed over in folders.

    Raises:
        TableError: there is none.
    """
    found: dict[str, str] = {}
    for path in paths:
        for name in _below(path) if Path(path).is_dir() else [path]:
            found.setdefault(os.path.realpath(name), name)
    if not found:
        raise TableError(f"{', '.join(paths)}: no image is in there; {', '.join(sorted(SUFFIXES))} are read")
    return list(found.values())


def _below(folder: str) -> Iterator[str]:
    """Give the images in a folder and below."""
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."):
                yield str(Path(here, name))


def infer_spec(files: Sequence[str], size: ImageSize | None, mode: Mode | None) -> ImageSpec:
    """Find out how images are best seen, from some of their heads: the mode they all have, the proportions most have.

    The longer side is as the files', 64 pixels at most.

    Raises:
        TableError: no file can be read.
        SettingError: the size that was asked for cannot be.
    """
    step = max(1, len(files) // SURVEY_FILES)
    heads = [head for head in map(_head, files[::step]) if head is not None]
    if not heads:
        raise TableError(f"{files[0]} and all others that were looked at are no PNG or JPEG images that can be read")
    if size is None:
        usual = Counter(size for size, _ in heads).most_common(1)[0][0]
        shrink = min(1.0, DEFAULT_SIDE / max(usual))
        size = ImageSize(*(max(4, round(side * shrink)) for side in usual))
    if mode is None:
        mode = "grey" if all(each in GREY or each == "LA" for _, each in heads) else "rgb"
    return make_spec(size, mode, "--size", files=True)


def _head(path: str) -> tuple[ImageSize, str] | None:
    """Give size and mode of an image without decoding it; nothing if it cannot be read."""
    try:
        with _opened(path) as file, _image(file) as opened:
            return ImageSize(*opened.size), opened.mode
    except UnreadableImage:
        return None


def read(path: str, row: int, image: ImageSpec) -> DecodedImage | Reject:
    """Decode a file at the size and in the mode that a detector sees; one that cannot be read becomes a reject."""
    try:
        with _opened(path) as file:
            return decode(file, image)
    except UnreadableImage as error:
        return Reject(row=row, column="", found=error.found, expected=error.expected, file=path)


def decode(file: BinaryIO, image: ImageSpec) -> DecodedImage:
    """Decode an image; what its head says is checked before its pixels take memory.

    Raises:
        Unreadable: it is damaged, too large, or in a mode that is neither grey nor colour.
    """
    from PIL import Image as pillow  # noqa: N813 - it is a module
    from PIL import ImageOps

    with _image(file) as opened:
        plain = _checked(opened)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # damaged notes of a camera are no news: the pixels are what counts
                upright = ImageOps.exif_transpose(plain)
                original = ImageSize(*upright.size)
                converted = upright.convert("L" if image.mode == "grey" else "RGB")
                sized = converted.resize(image.size, pillow.Resampling.BICUBIC, reducing_gap=3.0)
        except Exception as error:  # Pillow's decoders raise whatever comes their way
            raise UnreadableImage(shorten(f"a damaged image: {error}"), "a whole PNG or JPEG image") from error
    values = np.asarray(sized).reshape(image.height, image.width, -1)
    return DecodedImage(np.ascontiguousarray(values.transpose(2, 0, 1)).reshape(-1), original)


def _opened(path: str) -> BinaryIO:
    """Open a plain file of a bearable size.

    Raises:
        Unreadable: it is none.
    """
    try:
        about = Path(path).stat()
        if not stat.S_ISREG(about.st_mode):
            raise UnreadableImage("no file")
        if about.st_size > MAX_FILE_BYTES:
            raise UnreadableImage(f"a file of {about.st_size:,} bytes", f"an image of at most {MAX_FILE_BYTES:,} bytes")
        return Path(path).open("rb")
    except OSError as error:
        raise UnreadableImage(f"{error.strerror or error}") from error


def _image(file: BinaryIO) -> Opened:
    """Read an image's head.

    Raises:
        Unreadable: it is no PNG or JPEG, or would have too many pixels.
    """
    from PIL import Image as pillow  # noqa: N813 - it is a module

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pillow.DecompressionBombWarning)  # its bound is above ours
            opened = pillow.open(file, formats=FORMATS)
    except pillow.DecompressionBombError as error:
        raise UnreadableImage("far too many pixels", f"an image of at most {MAX_PIXELS:,} pixels") from error
    except Exception as error:  # Pillow's parsers raise whatever comes their way
        empty = file.seek(0, os.SEEK_END) == 0
        raise UnreadableImage("an empty file" if empty else "no PNG or JPEG, whatever its name says") from error
    width, height = opened.size
    if width * height > MAX_PIXELS:
        opened.close()
        raise UnreadableImage(f"{width:,} x {height:,} pixels", f"an image of at most {MAX_PIXELS:,} pixels")
    return opened


def _checked(opened: Opened) -> Opened:
    """Refuse what cannot become grey or colour without a guess: 16 bits, print colours, transparency, animations.

    Raises:
        Unreadable: it is one of these.
    """
    if opened.format != "MPO" and getattr(opened, "n_frames", 1) > 1:  # a phone's JPEG: its first picture is the photo
        raise UnreadableImage("an animation", "an image that stands still")
    if opened.mode in {"LA", "RGBA", "PA"} or "transparency" in opened.info:
        try:
            full, opacity = opened.convert("RGB"), opened.convert("RGBA").getchannel("A")
        except Exception as error:  # as in `decode`
            raise UnreadableImage(shorten(f"a damaged image: {error}"), "a whole PNG or JPEG image") from error
        if opacity.getextrema()[0] != OPAQUE:
            raise UnreadableImage("transparent pixels", "an image without transparency")
        return full
    if opened.mode not in GREY | COLOUR:
        raise UnreadableImage(f"an image of mode {opened.mode}", "grey or colour of 8 bits")
    return opened
