"""Files of images: what is read, under which limits, and what becomes of the rest."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as pillow  # noqa: N813 - it is a module

from detector import images
from detector.errors import SettingError, TableError
from detector.images import DecodedImage, ImageSize, ImageSpec, read
from detector.rejects import Reject

GREY = ImageSpec(width=8, height=6)
COLOUR = ImageSpec(width=8, height=6, mode="rgb")
RAMP = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5


def saved(path: Path, image: pillow.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def picture(path: Path, image: ImageSpec = GREY) -> np.ndarray:
    found = read(str(path), 1, image)
    assert isinstance(found, DecodedImage), found
    return found.values.reshape(image.shape)


def rejected(path: Path, image: ImageSpec = GREY) -> Reject:
    found = read(str(path), 7, image)
    assert isinstance(found, Reject)
    assert (found.row, found.column, found.file) == (7, "", str(path))
    return found


def test_grey_at_its_own_size_is_read_as_it_is(tmp_path: Path) -> None:
    assert np.array_equal(picture(saved(tmp_path / "a.png", pillow.fromarray(RAMP)))[0], RAMP)


def test_colours_come_channel_by_channel_as_the_columns_say(tmp_path: Path) -> None:
    page = np.stack([RAMP, RAMP // 2, RAMP // 3], axis=2)
    found = picture(saved(tmp_path / "a.png", pillow.fromarray(page)), COLOUR)
    assert np.array_equal(found, page.transpose(2, 0, 1))
    names = [column.name for column in COLOUR.columns()]
    assert names[0] == "pixel_0_0_red"
    assert found.reshape(-1)[names.index("pixel_2_3_green")] == page[2, 3, 1]


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_other_sizes_are_resized_and_remembered(suffix: str, tmp_path: Path) -> None:
    large = pillow.fromarray(RAMP).resize((400, 300), pillow.Resampling.NEAREST)
    path = saved(tmp_path / f"a.{suffix}", large)
    assert np.abs(picture(path)[0].astype(int) - RAMP).max() <= 20
    found = read(str(path), 1, GREY)
    assert isinstance(found, DecodedImage)
    assert found.original == ImageSize(400, 300)


PLAIN = {
    "two colours": lambda: pillow.fromarray(RAMP > 100),
    "a palette": lambda: pillow.fromarray(RAMP).convert("P"),
    "colour": lambda: pillow.fromarray(RAMP).convert("RGB"),
    "opaque": lambda: pillow.fromarray(RAMP).convert("RGBA"),
}


@pytest.mark.parametrize("kind", PLAIN)
def test_modes_that_become_grey_without_a_guess(kind: str, tmp_path: Path) -> None:
    wanted = (RAMP > 100) * 255 if kind == "two colours" else RAMP
    assert np.abs(picture(saved(tmp_path / "a.png", PLAIN[kind]()))[0].astype(int) - wanted).max() <= 1


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    exif = pillow.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    path = saved(tmp_path / "a.jpg", pillow.fromarray(RAMP.repeat(20, 0).repeat(20, 1)), exif=exif)
    found = read(str(path), 1, ImageSpec(width=6, height=8))
    assert isinstance(found, DecodedImage)
    assert found.original == ImageSize(120, 160)
    assert np.abs(found.values.reshape(8, 6).astype(int) - np.rot90(RAMP, -1)).max() <= 20


def png_head(width: int, height: int) -> bytes:
    """Return a PNG whose header declares a huge image without content."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def whole() -> bytes:
    file = io.BytesIO()
    pillow.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)).save(file, format="png")
    return file.getvalue()


def other(kind: str, mode: str, **options: object) -> bytes:
    file = io.BytesIO()
    pillow.new(mode, (8, 6)).save(file, format=kind, **options)
    return file.getvalue()


BAD: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "empty": (lambda: b"", "an empty file", "a PNG or JPEG image"),
    "no image": (lambda: b"temperature,pressure\n1,2\n", "not a PNG or JPEG, despite its name", "a PNG or JPEG image"),
    "a GIF": (lambda: other("gif", "L"), "not a PNG or JPEG", "a PNG or JPEG image"),
    "cut off": (lambda: whole()[:1500], "a damaged image", "a whole PNG or JPEG image"),
    "changed": (lambda: whole()[:600] + b"\0" * 200 + whole()[800:], "a damaged image", "a whole PNG or JPEG image"),
    "a bomb": (lambda: png_head(50_000, 50_000), "far too many pixels", "at most 50,000,000 pixels"),
    "too large": (lambda: png_head(10_000, 9_000), "10,000 x 9,000 pixels", "at most 50,000,000 pixels"),
    "barely too large": (lambda: png_head(7_100, 7_100), "7,100 x 7,100 pixels", "at most 50,000,000 pixels"),
    "16 bits": (lambda: other("png", "I;16"), "mode I;16", "grey or colour of 8 bits"),
    "for print": (lambda: other("jpeg", "CMYK"), "mode CMYK", "grey or colour of 8 bits"),
    "transparent": (lambda: other("png", "RGBA"), "transparent pixels", "an image without transparency"),
    "transparent palette": (lambda: other("png", "P", transparency=0), "transparent pixels", "an image without transparency"),
    "an animation": (
        lambda: other("png", "L", save_all=True, append_images=[pillow.new("L", (8, 6), 9)]),
        "an animation",
        "a still image",
    ),
}


@pytest.mark.parametrize("fault", BAD)
def test_unusable_images_are_rejected_with_a_reason(fault: str, tmp_path: Path) -> None:
    make, found, expected = BAD[fault]
    (tmp_path / "bad.png").write_bytes(make())
    reject = rejected(tmp_path / "bad.png")
    assert found in reject.found
    assert expected in reject.expected


def test_the_photo_of_a_multi_picture_jpeg_is_read(tmp_path: Path) -> None:
    photo, preview = (pillow.new("L", (8, 6), grey) for grey in (200, 10))
    photo.save(tmp_path / "plain.jpg")
    photo.save(tmp_path / "phone.jpg", format="mpo", save_all=True, append_images=[preview])
    with pillow.open(tmp_path / "phone.jpg") as both:
        assert getattr(both, "n_frames", 1) == 2
    assert np.array_equal(picture(tmp_path / "phone.jpg"), picture(tmp_path / "plain.jpg"))


def test_a_file_too_large_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_FILE_BYTES", 100)
    (tmp_path / "a.png").write_bytes(whole())
    assert "bytes" in rejected(tmp_path / "a.png").found


def test_paths_that_are_not_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert rejected(tmp_path / "pipe.png").found == "no file"
    assert rejected(tmp_path / "gone.png").found == "No such file or directory"


def test_folders_are_searched_recursively_in_order(tmp_path: Path) -> None:
    wanted = ["a/1.png", "a/b/2.JPG", "c.jpeg"]
    for name in [*wanted, "a/notes.txt", ".hidden/3.png", "a/.4.png"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    found = images.find_images([str(tmp_path), str(tmp_path / "c.jpeg")])
    assert sorted(found) == sorted(str(tmp_path / name) for name in wanted)
    assert found == images.find_images([str(tmp_path)])
    with pytest.raises(TableError, match=r"no images found; the suffixes \.jpeg, \.jpg, \.png are read"):
        images.find_images([str(tmp_path / "empty")])


def test_images_and_tables_are_distinguished(tmp_path: Path) -> None:
    assert images.are_image_paths([str(tmp_path), "a.png", "b.JPEG"])
    assert not images.are_image_paths(["a.csv", "-"])
    with pytest.raises(SettingError, match=r"a\.csv is a table and .*b\.png is not"):
        images.are_image_paths(["a.csv", "b.png"])


@pytest.mark.parametrize(
    ("size", "mode", "seen"),
    [
        ((96, 96), "L", "64x64 grey"),
        ((200, 100), "RGB", "64x32 rgb"),
        ((28, 20), "L", "28x20 grey"),
        ((3000, 20), "L", "64x4 grey"),
    ],
)
def test_an_inferred_spec_keeps_proportions_and_mode(size: tuple[int, int], mode: str, seen: str, tmp_path: Path) -> None:
    saved(tmp_path / "a.png", pillow.new(mode, size))
    found = images.infer_spec([str(tmp_path / "a.png")], None, None)
    assert f"{found.size} {found.mode}" == seen
    chosen = images.infer_spec([str(tmp_path / "a.png")], ImageSize(32, 16), "rgb")
    assert (chosen.size, chosen.mode) == (ImageSize(32, 16), "rgb")


def test_no_spec_is_inferred_from_unreadable_files(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(TableError, match="not readable PNG or JPEG images"):
        images.infer_spec([str(tmp_path / "a.png")], None, None)


@pytest.mark.parametrize("size", ["3x9", "2000x4", "1000x1000"])
def test_sizes_out_of_range_raise(size: str) -> None:
    with pytest.raises(SettingError, match="such as --size 64x64"):
        images.make_spec(images.parse_size(size, "--size"), "grey", "--size", files=True)


@pytest.mark.parametrize("text", ["28", "28x", "0x28", "28*28", "-1x4"])
def test_invalid_sizes_raise(text: str) -> None:
    with pytest.raises(SettingError, match="written like 28x28"):
        images.parse_size(text, "--size")
