"""A detector on disk: a folder that is read only after every byte was verified, and written whole or not at all.

    manifest.json     what the detector is (`detector.manifest`)
    manifest.sha256   the manifest's digest, against accidents (it is no signature)
    model.onnx        the graph
    calibration.npy   the calibration scores, float64[rows], ascending

and further files, each verified too; training adds

    decoder.onnx          from codes back to rows (`detector.decoder`)
    weights.safetensors   the network's weights, for training to go on from (`training.weights`)

and fine-tuning on labelled rows

    classifier.onnx       from rows to the probabilities of their classes (`detector.classifier`)

Nothing in it is code and nothing runs on load. `detector.repository` says where bundles live and how they are numbered.
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

MAX_MANIFEST_BYTES = 64 * 2**20  # bytes
MAX_FILE_BYTES = 2**31  # bytes, protobuf's own limit
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


class Bundle(NamedTuple):
    """A verified bundle in memory."""

    folder: Path
    manifest: Manifest
    model: bytes
    calibration: Calibration
    extra_files: Mapping[str, bytes]  # all other files, by name


def read(folder: Path) -> Bundle:
    """Read a version's folder, refusing whatever is not as it was written.

    Raises:
        BundleMissing: there is no manifest.
        BundleTooNew: a later release wrote it.
        BundleCorrupt: a file is gone, cut or changed, or a name leaves the folder.
    """
    manifest = read_manifest(folder)
    contents = {name: _read_file(folder, name, digest) for name, digest in manifest.files.items()}
    absent = {MODEL, CALIBRATION} - contents.keys()
    if absent:
        raise BundleCorrupt(f"{folder / MANIFEST} names no {' and no '.join(sorted(absent))}")
    return assemble(folder, manifest, contents)


def assemble(folder: Path, manifest: Manifest, contents: Mapping[str, bytes]) -> Bundle:
    """Put a bundle together from the contents of its files; `folder` is for messages.

    Raises:
        BundleCorrupt: the calibration scores are none.
    """
    extra_files = {name: content for name, content in contents.items() if name not in {MODEL, CALIBRATION}}
    return Bundle(folder, manifest, contents[MODEL], _calibration(folder, contents[CALIBRATION]), extra_files)


def read_manifest(folder: Path) -> Manifest:
    """Read and verify the manifest alone.

    Raises:
        BundleMissing, BundleTooNew, BundleCorrupt: as `read`.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleMissing(f"{folder} is no bundle: it has no {MANIFEST}")
    _check_plain(path)
    text = _bounded(path, MAX_MANIFEST_BYTES)
    _check_format(path, text)
    _check_sum(folder, text)
    try:
        manifest = msgspec.json.decode(text, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BundleCorrupt(f"{path} is not a manifest: {error}") from error
    manifest = _with_pixels(path, manifest)
    twice = [name for name, times in Counter(column.name for column in manifest.columns).items() if times > 1]
    if twice:
        raise BundleCorrupt(f"{path} lists the column {twice[0]!r} more than once")
    return manifest


def write(folder: Path, manifest: Manifest, contents: Mapping[str, bytes]) -> Manifest:
    """Write the files of a bundle into an empty folder; gives the manifest with their digests."""
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    manifest = msgspec.structs.replace(manifest, files={name: digest(content) for name, content in contents.items()})
    told = msgspec.structs.replace(manifest, columns=()) if manifest.image and manifest.image.files else manifest
    text = msgspec.json.format(msgspec.json.encode(told), indent=1)
    (folder / MANIFEST).write_bytes(text)
    (folder / CHECKSUM).write_text(f"{hashlib.sha256(text).hexdigest()}  {MANIFEST}\n")
    return manifest


def digest(content: bytes) -> FileDigest:
    """Give size and SHA-256 of a file's content."""
    return FileDigest(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def calibration_bytes(calibration: Calibration) -> bytes:
    """Give the content of the file that holds the calibration scores."""
    file = io.BytesIO()
    np.save(file, calibration.scores, allow_pickle=False)
    return file.getvalue()


def _with_pixels(path: Path, manifest: Manifest) -> Manifest:
    """Give a manifest of images the columns that their pixels are."""
    image = manifest.image
    if image is None:
        return manifest
    if image.values > MAX_VALUES:
        raise BundleCorrupt(f"{path} speaks of images of {image.values:,} values, more than the {MAX_VALUES:,} one may have")
    if image.files:
        manifest = msgspec.structs.replace(manifest, columns=image.columns())
    if len(manifest.columns) != image.values:
        raise BundleCorrupt(f"{path} lists {len(manifest.columns)} columns, an image of {image.size} has {image.values}")
    return manifest


def _check_format(path: Path, text: bytes) -> None:
    """Refuse a format of a later release before anything else is believed."""
    try:
        found = msgspec.json.decode(text, type=_Format).format
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleCorrupt(f"{path} is not a manifest: {error}") from error
    if found > FORMAT:
        raise BundleTooNew(f"{path} has format {found}, this release reads {FORMAT}: install a newer residuum")
    if found != FORMAT:
        raise BundleCorrupt(f"{path} has format {found}, which no release wrote")


class _Format(msgspec.Struct):
    """The one field that every manifest will always have."""

    format: int


def _check_sum(folder: Path, text: bytes) -> None:
    """Compare the manifest with the digest beside it."""
    path = folder / CHECKSUM
    _check_plain(path)
    said = _bounded(path, 1024).split()
    if not said or said[0] != hashlib.sha256(text).hexdigest().encode():
        raise BundleCorrupt(f"{folder / MANIFEST} was changed after it was written: it does not match {CHECKSUM}")


def _read_file(folder: Path, name: str, said: FileDigest) -> bytes:
    """Read one file that the manifest names, size first."""
    if not _FILE_NAME.fullmatch(name):
        raise BundleCorrupt(f"{folder / MANIFEST} names a file outside its folder: {name!r}")
    path = folder / name
    _check_plain(path)
    size = path.stat().st_size
    if size != said.bytes:
        raise BundleCorrupt(f"{path} has {size:,} bytes where the manifest says {said.bytes:,}: it was cut or changed")
    content = _bounded(path, MAX_FILE_BYTES)
    if digest(content) != said:
        raise BundleCorrupt(f"{path} was changed after it was written: its SHA-256 is not the manifest's")
    return content


def _check_plain(path: Path) -> None:
    """Refuse what is not there, and links, which may lead out of the folder."""
    if path.is_symlink() or not path.is_file():
        raise BundleCorrupt(f"{path} is missing, or is not a plain file")


def _bounded(path: Path, most: int) -> bytes:
    """Read a file that may not be larger than `most` bytes."""
    size = path.stat().st_size
    if size > most:
        raise BundleCorrupt(f"{path} has {size:,} bytes, more than the {most:,} such a file may have")
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleCorrupt(f"{path} cannot be read: {error.strerror}") from error


def _calibration(folder: Path, content: bytes) -> Calibration:
    """Read the calibration scores; nothing is allocated before the header's shape was held against the file's size."""
    path, file = folder / CALIBRATION, io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    except Exception as error:  # numpy parses the header as Python, and raises whatever Python's parser does
        raise BundleCorrupt(f"{path} is no file of numpy's: {shorten(error)}") from error
    body = file.read()
    if version != (1, 0) or dtype != np.dtype("<f8") or len(shape) != 1 or len(body) != 8 * shape[0] or not body:
        raise BundleCorrupt(f"{path} says it holds {dtype}{list(shape)} and has {len(body):,} bytes: no list of float64 scores")
    scores = np.frombuffer(body, dtype="<f8")
    if not np.isfinite(scores).all():
        raise BundleCorrupt(f"{path} holds scores that are not finite")
    return Calibration(scores)
