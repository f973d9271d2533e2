"""A bundle is read exactly as it was written, or refused with a message that names the file."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector import bundle
from detector.errors import BundleCorrupt, BundleMissing, BundleTooNew
from detector.manifest import FORMAT
from tests.data.make_bundle import KEPT
from tests.detector.tampering import refused, replace, sign

FILES = [bundle.MANIFEST, bundle.CHECKSUM, bundle.MODEL, bundle.CALIBRATION]


CONTENTS = [bundle.MANIFEST, bundle.MODEL, bundle.CALIBRATION]


def test_a_bundle_reads_as_it_was_written(folder: Path) -> None:
    opened = bundle.read(folder)
    assert bundle.calibration_bytes(opened.calibration) == (folder / bundle.CALIBRATION).read_bytes()
    (folder / "again").mkdir()
    contents = {
        bundle.MODEL: opened.model,
        bundle.CALIBRATION: bundle.calibration_bytes(opened.calibration),
        **opened.extra_files,
    }
    written = bundle.write(folder / "again", opened.manifest, contents)
    again = bundle.read(folder / "again")
    assert again.manifest == written == opened.manifest
    assert again.extra_files == opened.extra_files
    assert again.model == opened.model
    assert again.calibration.scores.tolist() == opened.calibration.scores.tolist()


@pytest.mark.parametrize("name", CONTENTS)
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_any_flipped_bit_is_found(name: str, where: float, bit: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = shutil.copytree(KEPT, tmp_path_factory.mktemp("flip") / "1")
    content = bytearray((folder / name).read_bytes())
    content[int(where * len(content))] ^= 1 << bit
    (folder / name).write_bytes(content)
    with pytest.raises((BundleCorrupt, BundleTooNew), match=name):
        bundle.read(folder)
    shutil.rmtree(folder)


@pytest.mark.parametrize("at", [0, 17, 63])
def test_a_changed_checksum_is_found(folder: Path, at: int) -> None:
    content = bytearray((folder / bundle.CHECKSUM).read_bytes())
    content[at] ^= 1
    (folder / bundle.CHECKSUM).write_bytes(content)
    refused(folder, BundleCorrupt, bundle.MANIFEST, bundle.CHECKSUM)


@pytest.mark.parametrize("kept", [0, 1, 40, -1])
@pytest.mark.parametrize("name", CONTENTS)
def test_a_cut_file_is_refused(folder: Path, name: str, kept: int) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:kept])
    refused(folder, BundleCorrupt, name)


def test_a_longer_file_is_refused(folder: Path) -> None:
    with (folder / bundle.MODEL).open("ab") as file:
        file.write(b"\0")
    refused(folder, BundleCorrupt, bundle.MODEL, "cut or changed")


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    if name == bundle.MANIFEST:
        with pytest.raises(BundleMissing, match=r"has no manifest\.json"):
            bundle.read(folder)
    else:
        refused(folder, BundleCorrupt, name, "missing")


@pytest.mark.parametrize("name", FILES)
def test_a_link_is_refused_even_to_the_same_bytes(folder: Path, name: str, tmp_path: Path) -> None:
    (folder / name).rename(tmp_path / name)
    (folder / name).symlink_to(tmp_path / name)
    refused(folder, BundleCorrupt, name, "not a plain file")


@pytest.mark.parametrize("name", FILES[1:])
def test_a_folder_in_place_of_a_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    (folder / name).mkdir()
    refused(folder, BundleCorrupt, name, "not a plain file")


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_cannot_be_read_is_refused(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Path.read_bytes

    def deny(path: Path) -> bytes:
        if path.name == name:
            raise PermissionError(13, "Permission denied")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", deny)
    refused(folder, BundleCorrupt, name, "Permission denied")


def test_a_later_format_asks_for_a_later_release(folder: Path) -> None:
    sign(folder, format=FORMAT + 1, variant=["what this release cannot read"])
    refused(folder, BundleTooNew, bundle.MANIFEST, f"format {FORMAT + 1}", "install a newer residuum")


def test_the_format_is_checked_before_anything_else_is_read(folder: Path) -> None:
    (folder / bundle.MANIFEST).write_text('{"format": 99}')
    refused(folder, BundleTooNew, "format 99")


@pytest.mark.parametrize("number", [0, -1])
def test_an_unknown_format_is_refused(folder: Path, number: int) -> None:
    sign(folder, format=number)
    refused(folder, BundleCorrupt, f"format {number}", "no release wrote")


@pytest.mark.parametrize(
    "text",
    [b"", b"\0", b"[]", b"{}", b"null", b'{"format": "1"}', b'{"format": 1e99}', b'{"format": 1', b'{"format": 1} x',
     b'\xff\xfe{"format": 1}', b'{"format": 1, "x": ' + b"[" * 200_000, b'{"format": 1, "name": "\xff"}'],
    ids=["empty", "nul", "list", "object", "null", "text", "float", "open", "more", "utf-16", "deep", "utf-8"],
)  # fmt: skip
def test_a_file_that_is_not_a_manifest_is_refused(folder: Path, text: bytes) -> None:
    (folder / bundle.MANIFEST).write_bytes(text)
    (folder / bundle.CHECKSUM).write_text(hashlib.sha256(text).hexdigest())
    refused(folder, BundleCorrupt, bundle.MANIFEST)


@pytest.mark.parametrize(
    "changed",
    [{"decision": {"threshold": None}}, {"decision": {}}, {"columns": "x"}, {"columns": [{"name": "a", "kind": "colour"}]},
     {"version": "one"}, {"files": None}, {"training": 3}],
)  # fmt: skip
def test_a_manifest_with_wrong_types_is_refused(folder: Path, changed: dict[str, object]) -> None:
    sign(folder, **changed)
    refused(folder, BundleCorrupt, bundle.MANIFEST, "is not a manifest")


def test_a_manifest_with_a_column_twice_is_refused(folder: Path) -> None:
    columns = json.loads((folder / bundle.MANIFEST).read_text())["columns"]
    sign(folder, columns=[columns[0], *columns[:-1]])
    refused(folder, BundleCorrupt, f"lists the column '{columns[0]['name']}' more than once")


def test_a_changed_manifest_is_refused(folder: Path) -> None:
    path = folder / bundle.MANIFEST
    path.write_text(path.read_text().replace('"plain"', '"plaim"'))
    refused(folder, BundleCorrupt, bundle.MANIFEST, bundle.CHECKSUM)


def test_a_huge_manifest_is_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "MAX_MANIFEST_BYTES", 100)
    refused(folder, BundleCorrupt, bundle.MANIFEST, "the maximum for this file is 100")


@pytest.mark.parametrize(
    "name",
    ["../model.onnx", "/etc/passwd", "sub/model.onnx", "..", ".", "", ".hidden", "a\\b", "C:x", "a\0b", "x\ny", "n" * 300],
)
def test_a_name_that_leaves_the_folder_is_refused(folder: Path, name: str) -> None:
    (folder.parent / "model.onnx").write_bytes(b"secret")
    (folder / "sub").mkdir()
    (folder / "sub" / "model.onnx").write_bytes(b"secret")
    files = json.loads((folder / bundle.MANIFEST).read_text())["files"]
    sign(folder, files=files | {name: {"bytes": 6, "sha256": hashlib.sha256(b"secret").hexdigest()}})
    with pytest.raises(BundleCorrupt, match="names a file outside its folder"):
        bundle.read(folder)


@pytest.mark.parametrize("left", [[], [bundle.MODEL], [bundle.CALIBRATION]])
def test_a_manifest_without_a_required_file_is_refused(folder: Path, left: list[str]) -> None:
    files = json.loads((folder / bundle.MANIFEST).read_text())["files"]
    sign(folder, files={name: files[name] for name in left})
    for name in {bundle.MODEL, bundle.CALIBRATION} - set(left):
        refused(folder, BundleCorrupt, f"no {name}")


def npy(header: str, body: bytes) -> bytes:
    """Return a numpy file with any header."""
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + body


ORDER = "'fortran_order': False"


SCORES = np.arange(30.0).tobytes()


@pytest.mark.parametrize(
    "content",
    [
        npy(f"{{'descr': '<f8', {ORDER}, 'shape': (1000000000000000,), }}", SCORES),
        npy(f"{{'descr': '<f8', {ORDER}, 'shape': (29,), }}", SCORES),
        npy(f"{{'descr': '<f8', {ORDER}, 'shape': (-30,), }}", SCORES),
        npy(f"{{'descr': '<f8', {ORDER}, 'shape': (5, 6), }}", SCORES),
        npy(f"{{'descr': '<f8', {ORDER}, 'shape': (), }}", SCORES[:8]),
        npy(f"{{'descr': '<f8', {ORDER}, 'shape': (0,), }}", b""),
        npy(f"{{'descr': '<f4', {ORDER}, 'shape': (60,), }}", SCORES),
        npy(f"{{'descr': '|O', {ORDER}, 'shape': (30,), }}", SCORES),
        npy(f"{{'descr': '<f8', {ORDER}, 'shape': (30,), }}", SCORES + b"\0"),
        npy(f"{{'descr': '<f8', {ORDER}, 'shape': (30,), }}", SCORES[:-8] + np.array([np.nan]).tobytes()),
        npy(f"{{'descr': '<f8', {ORDER}, 'shape': (30,), }}", SCORES[:-8] + np.array([np.inf]).tobytes()),
        npy("__import__('os').abort()", SCORES),
        npy("{", SCORES),
        b"\x93NUMPY\x03\x00" + npy(f"{{'descr': '<f8', {ORDER}, 'shape': (30,), }}", SCORES)[8:],
        b"\x93NUMPY\x01\x00",
        b"",
        b"PK\x03\x04",
        SCORES,
    ],
    ids=["giant", "fewer", "negative", "matrix", "scalar", "none", "float32", "objects", "odd end", "nan", "infinite", "code",
         "broken", "version", "cut", "empty", "zip", "bare"],
)  # fmt: skip
def test_an_invalid_calibration_file_is_refused(folder: Path, content: bytes) -> None:
    replace(folder, bundle.CALIBRATION, content)
    refused(folder, BundleCorrupt, bundle.CALIBRATION)
