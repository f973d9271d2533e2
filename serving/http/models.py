"""Which bundles are open: a folder of names, one name, or one version."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from detector import bundle, repository
from detector.errors import BundleMissing, ResiduumError
from detector.graph import Device
from detector.scorer import Scorer
from serving.http.model import Model
from serving.http.problem import Problem

MOST_OTHERS = 8  # versions open beside the current ones
VERSION = re.compile(r"[1-9][0-9]{0,17}")


class Models:
    """The models of a service. Names come from the disk, never from a request, so none leads out of the repository."""

    def __init__(self, path: Path, device: Device, loaded: Callable[[str], None]) -> None:
        """Open the current version of every name; `loaded` is told how each opening ends.

        Raises:
            BundleError: there is none, or one cannot be trusted.
            SettingError: the device is not there.
        """
        self._device = device
        self._loaded = loaded
        self._places = _places(path)
        self._others: OrderedDict[tuple[str, int], Model] = OrderedDict()
        self._current = {name: self._open(name, place) for name, place in self._places.items()}

    def all(self) -> list[Model]:
        """Give the current version of every name."""
        return list(self._current.values())

    def open_ones(self) -> list[Model]:
        """Give every version that is open."""
        return [*self._current.values(), *self._others.values()]

    def current(self, name: str) -> Model:
        """Give the current version of a name.

        Raises:
            Problem: there is no such name.
        """
        try:
            return self._current[name]
        except KeyError:
            raise Problem(404, "model", f"there is no model {name[:80]!r}; GET /v1/models lists those there are") from None

    def opened(self, name: str, version: str | None) -> Model | None:
        """Give a version, or the current one, if it is open.

        Raises:
            Problem: there is no such name.
        """
        model = self.current(name)
        if version is None or version == str(model.version):
            return model
        return self._others.get((name, int(version))) if VERSION.fullmatch(version) else None

    def open(self, name: str, version: str) -> Model:
        """Open a version, which takes a while, and keep it for the next request.

        Raises:
            Problem: there is no such version.
            BundleError: it cannot be trusted.
        """
        if not VERSION.fullmatch(version) or int(version) not in self.versions(name):
            raise Problem(404, "version", f"{name} has no version {version[:20]!r}; it has {self.versions(name)}")
        model = self._open(name, self._places[name] / version)
        self._others[name, int(version)] = model
        if len(self._others) > MOST_OTHERS:
            self._others.popitem(last=False)
        return model

    def reload(self, name: str) -> Model:
        """Open the version that is current now, pinned or highest, and answer by it from here on.

        Raises:
            Problem: there is no such name.
            BundleError: it cannot be trusted; the one that was open stays.
        """
        was = self.current(name)
        version = bundle.read_manifest(repository.find(self._places[name])).version
        if version != was.version:
            kept = self._others.pop((name, version), None)
            self._current[name] = self._open(name, self._places[name]) if kept is None else kept
        return self._current[name]

    def versions(self, name: str) -> list[int]:
        """Give the versions of a name that can be asked for."""
        current = self.current(name).version
        return sorted({current, *repository.versions(self._places[name])})

    def _open(self, name: str, place: Path) -> Model:
        try:
            model = Model(name, Scorer.open(place, self._device))
        except ResiduumError:
            self._loaded("refused")
            raise
        self._loaded("opened")
        return model


def _places(path: Path) -> dict[str, Path]:
    """Find the names, and the folder of each."""
    if (path / bundle.MANIFEST).is_file():
        return {bundle.read_manifest(path).name: path}
    if (path / repository.PIN).is_file() or repository.versions(path):
        return {path.absolute().name: path}
    if not path.is_dir():
        raise BundleMissing(f"{path} is no folder: give a bundle, or a folder of bundles")
    places = {each.name: each for each in sorted(path.iterdir()) if repository.versions(each)}
    if not places:
        raise BundleMissing(f"{path} holds no bundle; `residuum train` writes one with --to {path / 'NAME'}")
    return places
