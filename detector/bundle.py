"""A detector on disk: a folder whose files are verified before they are used, and which is written completely or not at all.

    manifest.json     the description of the detector (`detector.manifest`)
    manifest.sha256   the manifest's SHA-256, against accidents (it is not a signature)
    model.onnx        the graph
    calibration.npy   the calibration scores, float64[rows], ascending

and optional files, which are verified too. Training adds

    decoder.onnx          latent codes to rows (`detector.decoder`)
    weights.safetensors   the network's weights, to continue training (`training.weights`)
    history.csv           the losses while the network was trained, if there is one (`detector.history`)
    suspects.csv          training rows with a cell far from all others of its column, if there are any (`training.suspects`)

and fine-tuning on labelled rows adds

    classifier.onnx       rows to class probabilities (`detector.classifier`)

A bundle holds no code, and loading it executes nothing. `detector.repository` manages names and versions of bundles.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from detector.decision import Calibration
from detector.errors import BundleCorrupt, BundleMissing, BundleTooNew
from detector.images import MAX_VALUES
from detector.manifest import FORMAT, FileDigest, Manifest
from detector.rejects import shorten

MANIFEST = "manifest.json"
CHECKSUM = "manifest.sha256"
MODEL = "model.onnx"
CALIBRATION = "calibration.npy"
DECODER = "decoder.onnx"
WEIGHTS = "weights.safetensors"
CLASSIFIER = "classifier.onnx"
HISTORY = "history.csv"
SUSPECTS = "suspects.csv"

MAX_MANIFEST_BYTES = 64 * 2**20
MAX_FILE_BYTES = 2**31  # protobuf's limit
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


class Bundle(NamedTuple):
    """A verified bundle in memory."""

    folder: Path
    manifest: Manifest
    model: bytes
    calibration: Calibration
    extra_files: Mapping[str, bytes]  # all other files, by name


def read(folder: Path) -> Bundle:
    """Read and verify the bundle in a version's folder.

    Raises:
        BundleMissing: there is no manifest.
        BundleTooNew: a later release wrote the bundle.
        BundleCorrupt: a file is missing, truncated or modified, or its name points outside the folder.
    """
    manifest = read_manifest(folder)
    contents = {name: _read_file(folder, name, digest) for name, digest in manifest.files.items()}
    absent = {MODEL, CALIBRATION} - contents.keys()
    if absent:
        raise BundleCorrupt(f"{folder / MANIFEST} lists no {' and no '.join(sorted(absent))}")
    return assemble(folder, manifest, contents)


def assemble(folder: Path, manifest: Manifest, contents: Mapping[str, bytes]) -> Bundle:
    """Return a bundle made of the contents of its files; `folder` is used in messages.

    Raises:
        BundleCorrupt: the calibration file is invalid.
    """
    extra_files = {name: content for name, content in contents.items() if name not in {MODEL, CALIBRATION}}
    return Bundle(folder, manifest, contents[MODEL], _calibration(folder, contents[CALIBRATION], manifest), extra_files)


def read_manifest(folder: Path) -> Manifest:
    """Read and verify the manifest only.

    Raises:
        BundleMissing, BundleTooNew, BundleCorrupt: as in `read`.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleMissing(f"{folder} is not a bundle: it has no {MANIFEST}")
    _check_plain_file(path)
    text = _read_limited(path, MAX_MANIFEST_BYTES)
    _check_format(path, text)
    _check_checksum(folder, text)
    try:
        manifest = msgspec.json.decode(text, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BundleCorrupt(f"{path} is not a manifest: {error}") from error
    manifest = _with_pixel_columns(path, manifest)
    repeated = [name for name, count in Counter(column.name for column in manifest.columns).items() if count > 1]
    if repeated:
        raise BundleCorrupt(f"{path} lists the column {repeated[0]!r} more than once")
    return manifest


def write(folder: Path, manifest: Manifest, contents: Mapping[str, bytes]) -> Manifest:
    """Write the files of a bundle into an empty folder and return the manifest with their digests."""
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    manifest = msgspec.structs.replace(manifest, files={name: digest(content) for name, content in contents.items()})
    stored = msgspec.structs.replace(manifest, columns=()) if manifest.image and manifest.image.files else manifest
    text = msgspec.json.format(msgspec.json.encode(stored), indent=1)
    (folder / MANIFEST).write_bytes(text)
    (folder / CHECKSUM).write_text(f"{hashlib.sha256(text).hexdigest()}  {MANIFEST}\n")
    return manifest


def digest(content: bytes) -> FileDigest:
    """Return the size and SHA-256 of a file's content."""
    return FileDigest(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def calibration_bytes(calibration: Calibration) -> bytes:
    """Return the content of the calibration file."""
    file = io.BytesIO()
    np.save(file, calibration.scores, allow_pickle=False)
    return file.getvalue()


def _with_pixel_columns(path: Path, manifest: Manifest) -> Manifest:
    """Return the manifest of an image detector with one column per pixel; any other manifest unchanged."""
    image = manifest.image
    if image is None:
        return manifest
    if image.values > MAX_VALUES:
        raise BundleCorrupt(f"{path} describes images of {image.values:,} values; the maximum is {MAX_VALUES:,}")
    if image.files:
        manifest = msgspec.structs.replace(manifest, columns=image.columns())
    if len(manifest.columns) != image.values:
        raise BundleCorrupt(f"{path} lists {len(manifest.columns)} columns, an image of {image.size} has {image.values}")
    return manifest


def _check_format(path: Path, text: bytes) -> None:
    """Raise if a later release wrote the manifest; no other field is read before."""
    try:
        found = msgspec.json.decode(text, type=_FormatField).format
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleCorrupt(f"{path} is not a manifest: {error}") from error
    if found > FORMAT:
        raise BundleTooNew(f"{path} has format {found}, this release reads {FORMAT}: install a newer residuum")
    if found != FORMAT:
        raise BundleCorrupt(f"{path} has format {found}, which no release wrote")


class _FormatField(msgspec.Struct):
    """The one field that every future manifest will have."""

    format: int


def _check_checksum(folder: Path, text: bytes) -> None:
    path = folder / CHECKSUM
    _check_plain_file(path)
    stored = _read_limited(path, 1024).split()
    if not stored or stored[0] != hashlib.sha256(text).hexdigest().encode():
        raise BundleCorrupt(f"{folder / MANIFEST} was changed after it was written: it does not match {CHECKSUM}")


def _read_file(folder: Path, name: str, expected: FileDigest) -> bytes:
    """Read a file that the manifest lists; its size is checked first."""
    if not _FILE_NAME.fullmatch(name):
        raise BundleCorrupt(f"{folder / MANIFEST} names a file outside its folder: {name!r}")
    path = folder / name
    _check_plain_file(path)
    size = path.stat().st_size
    if size != expected.bytes:
        raise BundleCorrupt(f"{path} has {size:,} bytes, the manifest lists {expected.bytes:,}: it was cut or changed")
    content = _read_limited(path, MAX_FILE_BYTES)
    if digest(content) != expected:
        raise BundleCorrupt(f"{path} was changed after it was written: its SHA-256 differs from the manifest's")
    return content


def _check_plain_file(path: Path) -> None:
    """Raise unless the path is an existing plain file; a link might lead out of the folder."""
    if path.is_symlink() or not path.is_file():
        raise BundleCorrupt(f"{path} is missing or not a plain file")


def _read_limited(path: Path, max_bytes: int) -> bytes:
    size = path.stat().st_size
    if size > max_bytes:
        raise BundleCorrupt(f"{path} has {size:,} bytes; the maximum for this file is {max_bytes:,}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleCorrupt(f"{path} cannot be read: {error.strerror}") from error


def _calibration(folder: Path, content: bytes, manifest: Manifest) -> Calibration:
    """Read the calibration scores; the header's shape is compared with the file's size before anything is allocated."""
    path, file = folder / CALIBRATION, io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    except Exception as error:  # numpy evaluates the header as a Python literal, so any of the parser's errors can occur
        raise BundleCorrupt(f"{path} is not a numpy file: {shorten(error)}") from error
    body = file.read()
    if version != (1, 0) or dtype != np.dtype("<f8") or len(shape) != 1 or len(body) != 8 * shape[0] or not body:
        raise BundleCorrupt(f"{path} declares {dtype}{list(shape)} and has {len(body):,} bytes: not a list of float64 scores")
    scores = np.frombuffer(body, dtype="<f8")
    if not np.isfinite(scores).all():
        raise BundleCorrupt(f"{path} contains scores that are not finite")
    return Calibration(scores, out_of_fold=manifest.training.folds > 0)
