"""Which bundles are open: a folder of names, one name, or one version; what changes on disk is taken up while others serve.

The disk is the truth, and is looked at, not listened to: the system's events do not come from network volumes, where
repositories of several machines lie, so one would have to look all the same; a look at a name takes about 0.3 ms.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from detector import bundle, repository
from detector.errors import BundleError, BundleMissing, ResiduumError
from detector.graph import Device
from detector.scorer import Scorer
from detector.windows import MOST_KEYS
from serving.http.core.problem_details import HttpProblem
from serving.http.models.model import Model
from serving.log import error_fields, log
from serving.memory import release_free_memory
from serving.monitoring.shadow import ShadowModel, can_shadow
from serving.preload import preload

MOST_OTHERS = 8  # versions open beside the current ones; among them those that were current, for a way back without waiting
LOOK_EVERY = 0.25  # seconds
VERSION = re.compile(r"[1-9][0-9]{0,17}")

Stamp = frozenset[tuple[str, int, int]]


class _Refusal(NamedTuple):
    """Why a version was refused; not the error itself, whose traceback would keep alive whatever its frames knew."""

    stamp: Stamp
    kind: type[BundleError]
    said: str


class ModelRegistry:
    """The models of a service. Names come from the disk, never from a request, so none leads out of the repository.

    Safe to use from several threads: who asks takes a model once and answers by it alone, whatever is swapped meanwhile.
    """

    def __init__(
        self, path: Path, device: Device, loaded: Callable[[str], None], shadow_share: float = 0.0, most_keys: int = MOST_KEYS
    ) -> None:
        """Open the current version of every name; `loaded` is told how each opening ends.

        Where a pin holds an older version, the highest one judges this share of what the current one judges, in its shadow.
        Of a series one request remembers at most so many keys.

        Raises:
            BundleError: there is none, or a name has no version that can be trusted.
            SettingError: the device is not there.
        """
        self._path = path
        self._device = device
        self._loaded = loaded
        self._shadow_share = shadow_share
        self._most_keys = most_keys
        self._opening = threading.Lock()
        self._refused: dict[Path, _Refusal] = {}
        self._told: dict[str, str] = {}
        self._others: dict[tuple[str, int], Model] = {}  # both are replaced, not changed: who reads them needs no lock
        self._current: dict[str, Model] = {}
        self._places = _places(path)
        for name in self._places:
            self._take_up(name)

    def current_models(self) -> list[Model]:
        """Give the current version of every name."""
        return list(self._current.values())

    def open_models(self) -> list[Model]:
        """Give every version that is open."""
        return [*self._current.values(), *self._others.values()]

    def current(self, name: str) -> Model:
        """Give the current version of a name.

        Raises:
            HttpProblem: there is no such name.
        """
        try:
            return self._current[name]
        except KeyError:
            raise HttpProblem(404, "model", f"there is no model {name[:80]!r}; GET /v1/models lists those there are") from None

    def shadowed(self) -> list[tuple[Model, ShadowModel]]:
        """Give the current versions that have a shadow, and the shadow of each."""
        return [(model, shadow) for model in self._current.values() if (shadow := model.shadow)]

    def repository_folder(self, name: str) -> Path:
        """Give the folder of a name that has versions.

        Raises:
            HttpProblem: there is no such name, or one version of it is all that is served.
        """
        self.current(name)
        place = self._places[name]
        if (place / bundle.MANIFEST).is_file():
            raise HttpProblem(409, "version", f"the service was given one version of {name} alone, and answers by it")
        return place

    def is_pinned(self, name: str) -> bool:
        """Tell whether a name's version is pinned."""
        return (self._places[name] / repository.PIN).is_file()

    def find_open(self, name: str, version: str | None) -> Model | None:
        """Give a version, or the current one, if it is open.

        Raises:
            HttpProblem: there is no such name.
        """
        model = self.current(name)
        if version is None or version == str(model.version):
            return model
        return self._others.get((name, int(version))) if VERSION.fullmatch(version) else None

    def open(self, name: str, version: str) -> Model:
        """Open a version, which takes a while, and keep it for the next request.

        Raises:
            HttpProblem: there is no such version.
            BundleError: it cannot be trusted.
        """
        if not VERSION.fullmatch(version) or int(version) not in self.versions(name):
            raise HttpProblem(404, "version", f"{name} has no version {version[:20]!r}; it has {self.versions(name)}")
        with self._opening:
            model = self._open(name, self._places[name] / version)
            self._keep(model)
        return model

    def reload(self, name: str) -> Model:
        """Take up the version that is current now, without waiting for the next look.

        Raises:
            HttpProblem: there is no such name.
            BundleError: it cannot be trusted; the one that was open stays.
        """
        self.current(name)
        with self._opening:
            model = self._take_up(name)
            wanted = repository.find(self._places[name])
        if refusal := self._refused.get(wanted):
            raise refusal.kind(refusal.said)
        return model

    def poll(self) -> None:
        """Take up what changed on disk; where that cannot be trusted, or the disk is gone, what is open serves on."""
        with self._opening:
            with contextlib.suppress(BundleError, OSError):
                self._places |= _places(self._path)
            for name in self._places:
                try:
                    self._take_up(name)
                    self._told.pop(name, None)
                except (ResiduumError, OSError) as error:
                    self._tell(name, str(error))

    def versions(self, name: str) -> list[int]:
        """Give the versions of a name that can be asked for."""
        current = self.current(name).version
        return sorted({current, *repository.versions(self._places[name])})

    def _take_up(self, name: str) -> Model:
        """Answer by the pinned version, or by the highest that can be trusted, from here on."""
        was, refusal = self._current.get(name), None
        for folder in repository.candidates(self._places[name]):
            if was and was.scorer.folder == folder:
                self._cast_shadow(was)
                return was
            try:
                model = self._kept(name, folder) or self._open(name, folder)
            except BundleError:
                refusal = refusal or self._refused.get(folder)
                continue
            self._current = {**self._current, name: model}  # whoever took the old one answers by the old one
            self._others = {key: other for key, other in self._others.items() if other is not model}
            if was:
                self._lift_shadow(was)
                self._keep(was)
                log().info("taken up", model=name, version=model.version, was=was.version)
            self._cast_shadow(model)
            return model
        if refusal:
            raise refusal.kind(refusal.said)
        raise BundleMissing(f"{self._places[name]} has no version any more")

    def _cast_shadow(self, model: Model) -> None:
        """Let the highest version judge in the shadow of one that is pinned below it."""
        place = self._places[model.name]
        higher = [each for each in reversed(repository.versions(place)) if each > model.version]
        if not higher or not self._shadow_share or not (place / repository.PIN).is_file():
            self._lift_shadow(model)
            return
        for version in higher:
            known = model.shadow and model.shadow.model.scorer.folder == place / str(version)
            if known or _pair(model, version) in self._told:
                return
            with contextlib.suppress(BundleError):
                self._shade(model, self._beside(model.name, place / str(version)))
                return

    def _shade(self, model: Model, other: Model) -> None:
        """Put a version into another's shadow, with counts of its own, if what is read of a request is enough for it."""
        self._lift_shadow(model)
        if can_shadow(other, model):
            model.shadow = ShadowModel(Model(other.name, other.scorer, self._most_keys), model, self._shadow_share)
            log().info("in the shadow", model=model.name, version=model.version, shadow=other.version)
        else:
            self._tell(_pair(model, other.version), "it reads other columns than the version that answers")

    def _lift_shadow(self, model: Model) -> None:
        """Let a version judge alone."""
        if model.shadow:
            shadow, model.shadow = model.shadow, None
            shadow.close()

    def _beside(self, name: str, folder: Path) -> Model:
        """Give a version that is open beside the current ones, opened now if need be."""
        found = self._kept(name, folder)
        if found is None:
            found = self._open(name, folder)
            self._keep(found)
        return found

    def _kept(self, name: str, folder: Path) -> Model | None:
        """Give a version that is open beside the current ones, if it is still what lies on disk."""
        for (other, _), model in self._others.items():
            if other == name and model.scorer.folder == folder and model.scorer.manifest == bundle.read_manifest(folder):
                return model
        return None

    def _tell(self, of: str, said: str) -> None:
        """Say what is wrong, once."""
        if self._told.get(of) != said:
            self._told[of] = said
            log().error("not taken up", model=of, said=said)

    def _keep(self, model: Model) -> None:
        """Keep a version open beside the current ones."""
        others = {**self._others, (model.name, model.version): model}
        self._others = dict(list(others.items())[-MOST_OTHERS:])
        release_free_memory()

    def _open(self, name: str, folder: Path) -> Model:
        """Verify a version, open it and warm it up; one that was refused is not tried again before it changes."""
        stamp = _stamp(folder)
        refusal = self._refused.get(folder)
        if refusal and refusal.stamp == stamp:
            raise refusal.kind(refusal.said)
        try:
            scorer = Scorer.open(folder, self._device)
            preload(scorer)
        except ResiduumError as error:
            self._loaded("refused")
            if isinstance(error, BundleError):  # and no device that is not there
                log().error("refused", model=name, said=str(error))
                self._refused[folder] = _Refusal(stamp, type(error), str(error))
            raise
        self._loaded("opened")
        self._refused.pop(folder, None)
        return Model(name, scorer, self._most_keys)


@contextlib.contextmanager
def watching_disk(models: ModelRegistry) -> Iterator[None]:
    """Take up what changes on disk, as long as the block lasts."""
    ended = threading.Event()

    def follow() -> None:
        while not ended.wait(LOOK_EVERY):
            try:
                models.poll()
            except Exception as error:  # noqa: BLE001 - whatever it is, what is open serves on and the next look comes
                log().error("fault", **error_fields(error))

    thread = threading.Thread(target=follow, name="looking", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _pair(model: Model, version: int) -> str:
    """Name a version in another's shadow."""
    return f"{model.name}/{version} in the shadow of {model.name}/{model.version}"


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


def _stamp(folder: Path) -> Stamp:
    """Give what changes when a file of a version does."""
    with contextlib.suppress(OSError):
        return frozenset((each.name, (found := each.stat()).st_mtime_ns, found.st_size) for each in folder.iterdir())
    return frozenset()
