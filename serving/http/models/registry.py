"""Which models are open: those of a folder of names, of one name, or one version; follows the disk while the service runs.

The disk is the only source of truth, and it is polled: file events do not come from network volumes, on which several
machines share a repository, so that polling would be needed anyway. Polling one name takes about 0.3 ms.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from detector import bundle, repository
from detector.errors import BundleError, BundleMissing, ResiduumError
from detector.graph import Device
from detector.scorer import Scorer
from detector.windows import MAX_KEYS
from serving.http.core.problem_details import HttpProblem
from serving.log import error_fields, log
from serving.memory import release_free_memory
from serving.model import ServedModel
from serving.monitoring.shadow import ShadowModel, missing_columns
from serving.preload import preload

MAX_COLUMNS = 10  # named in a line of the log
MAX_OTHERS = 8  # versions open beside the current ones; the previous ones among them make a rollback immediate
POLL_INTERVAL = 0.25  # seconds
VERSION = re.compile(r"[1-9][0-9]{0,17}")

Stamp = frozenset[tuple[str, int, int]]


class _RejectedVersion(NamedTuple):
    """Why a version was rejected; not the exception itself, whose traceback would keep objects of its frames alive."""

    stamp: Stamp
    error: type[BundleError]
    message: str

    def exception(self) -> BundleError:
        return self.error(self.message)


class ModelRegistry:
    """The models of a service. Safe to use from several threads.

    Names come from the disk, never from a request, so that no name leads out of the repository. A request looks its model up
    once and keeps it, whatever is activated meanwhile.
    """

    def __init__(
        self,
        path: Path,
        device: Device,
        count_load: Callable[[str], None],
        shadow_share: float = 0.0,
        max_keys: int = MAX_KEYS,
        label_names: Sequence[str] = (),
    ) -> None:
        """Open the current version of every name; `count_load` receives `opened` or `refused` for each attempt.

        While an older version is pinned, the highest one scores the share `shadow_share` of its requests too, as its shadow.
        A request keeps at most `max_keys` keys of series. The columns `label_names` are known, whether a model reads them or not.

        Raises:
            BundleError: there is no bundle, or no valid version of a name.
            SettingError: the device is not available.
        """
        self._path = path
        self._device = device
        self._count_load = count_load
        self._shadow_share = shadow_share
        self._max_keys = max_keys
        self._label_names = label_names
        self._lock = threading.Lock()  # held while versions are opened and activated
        self._rejections: dict[Path, _RejectedVersion] = {}
        self._logged: dict[str, str] = {}  # the latest error of each name or shadow, so that it is logged once
        # Both are replaced, not changed, so that readers need no lock.
        self._others: dict[tuple[str, int], ServedModel] = {}
        self._current: dict[str, ServedModel] = {}
        self._folders = _find_names(path)
        for name in self._folders:
            self._activate(name)

    def current_models(self) -> list[ServedModel]:
        """Return the current version of every name."""
        return list(self._current.values())

    def open_models(self) -> list[ServedModel]:
        """Return every open version."""
        return [*self._current.values(), *self._others.values()]

    def current(self, name: str) -> ServedModel:
        """Return the current version of a name.

        Raises:
            HttpProblem: the name is unknown.
        """
        try:
            return self._current[name]
        except KeyError:
            raise HttpProblem(404, "model", f"there is no model {name[:80]!r}; GET /v1/models lists the models") from None

    def shadowed(self) -> list[tuple[ServedModel, ShadowModel]]:
        """Return the current versions that have a shadow, with their shadows."""
        return [(model, shadow) for model in self._current.values() if (shadow := model.shadow)]

    def repository_folder(self, name: str) -> Path:
        """Return the folder with the versions of a name.

        Raises:
            HttpProblem: the name is unknown, or the service serves one version without a repository.
        """
        self.current(name)
        folder = self._folders[name]
        if (folder / bundle.MANIFEST).is_file():
            raise HttpProblem(409, "version", f"the service was started with a single version of {name}; it cannot be changed")
        return folder

    def is_pinned(self, name: str) -> bool:
        """Return whether a version of a name is pinned."""
        return (self._folders[name] / repository.PIN).is_file()

    def find_open(self, name: str, version: str | None) -> ServedModel | None:
        """Return a version, or the current one, if it is open.

        Raises:
            HttpProblem: the name is unknown.
        """
        model = self.current(name)
        if version is None or version == str(model.version):
            return model
        return self._others.get((name, int(version))) if VERSION.fullmatch(version) else None

    def open(self, name: str, version: str) -> ServedModel:
        """Open a version, which takes a while, and keep it open.

        Raises:
            HttpProblem: there is no such version.
            BundleError: it is invalid.
        """
        if not VERSION.fullmatch(version) or int(version) not in self.versions(name):
            raise HttpProblem(404, "version", f"{name} has no version {version[:20]!r}; it has {self.versions(name)}")
        with self._lock:
            model = self._open(name, self._folders[name] / version)
            self._keep_open(model)
        return model

    def folder(self, name: str) -> Path:
        """Return the folder of a name: that of its versions, or a version's own.

        Raises:
            HttpProblem: the name is unknown.
        """
        self.current(name)
        return self._folders[name]

    def load(self, name: str) -> ServedModel:
        """Verify the files of the version that is pinned or highest now, also if it is active, and activate it.

        Raises:
            HttpProblem: the name is unknown.
            BundleError: the version is invalid; the previous one stays active.
        """
        bundle.read(repository.find(self.folder(name)))
        return self.reload(name)

    def reload(self, name: str) -> ServedModel:
        """Activate the version that is pinned or highest now, without waiting for the next poll.

        Raises:
            HttpProblem: the name is unknown.
            BundleError: the version is invalid; the previous one stays active.
        """
        self.current(name)
        with self._lock:
            model = self._activate(name)
            wanted = repository.find(self._folders[name])
        if rejection := self._rejections.get(wanted):
            raise rejection.exception()
        return model

    def poll(self) -> None:
        """Activate what changed on disk; if it is invalid or the disk is gone, the open versions stay active."""
        with self._lock:
            with contextlib.suppress(BundleError, OSError):
                self._folders |= _find_names(self._path)
            for name in self._folders:
                try:
                    self._activate(name)
                    self._logged.pop(name, None)
                except (ResiduumError, OSError) as error:
                    self._log_once(name, str(error))

    def versions(self, name: str) -> list[int]:
        """Return the versions of a name, sorted."""
        current = self.current(name).version
        return sorted({current, *repository.versions(self._folders[name])})

    def _activate(self, name: str) -> ServedModel:
        """Make the pinned version, or else the highest valid one, the current one."""
        previous, rejection = self._current.get(name), None
        for folder in repository.candidates(self._folders[name]):
            if previous and previous.scorer.folder == folder:
                self._update_shadow(previous)
                return previous
            try:
                model = self._find_other(name, folder) or self._open(name, folder)
            except BundleError:
                rejection = rejection or self._rejections.get(folder)
                continue
            self._current = {**self._current, name: model}  # requests that hold the previous one finish with it
            self._others = {key: other for key, other in self._others.items() if other is not model}
            if previous:
                self._stop_shadow(previous)
                self._keep_open(previous)
                log().info("version activated", model=name, version=model.version, previous=previous.version)
            self._update_shadow(model)
            return model
        if rejection:
            raise rejection.exception()
        raise BundleMissing(f"{self._folders[name]} has no version any more")

    def _update_shadow(self, model: ServedModel) -> None:
        """Start the highest valid version as the shadow of a model that is pinned below it."""
        folder = self._folders[model.name]
        higher = [version for version in reversed(repository.versions(folder)) if version > model.version]
        if not higher or not self._shadow_share or not (folder / repository.PIN).is_file():
            self._stop_shadow(model)
            return
        for version in higher:
            is_running = model.shadow and model.shadow.scorer.folder == folder / str(version)
            if is_running or _shadow_key(model, version) in self._logged:
                return
            with contextlib.suppress(BundleError):
                self._start_shadow(model, self._open_other(model.name, folder / str(version)))
                return

    def _start_shadow(self, model: ServedModel, other: ServedModel) -> None:
        """Start a version, with statistics of its own, as a shadow, if the requests of the model hold all that it needs."""
        self._stop_shadow(model)
        missing = missing_columns(other.scorer, model.scorer)
        if not missing:
            model.shadow = ShadowModel(other.name, other.scorer, model.scorer, self._shadow_share)
            log().info("shadow started", model=model.name, version=model.version, shadow=other.version)
        else:
            message = f"it reads columns that the version that answers does not: {', '.join(missing[:MAX_COLUMNS])}"
            self._log_once(_shadow_key(model, other.version), message)

    def _stop_shadow(self, model: ServedModel) -> None:
        if model.shadow:
            shadow, model.shadow = model.shadow, None
            shadow.close()

    def _open_other(self, name: str, folder: Path) -> ServedModel:
        """Return a version beside the current ones, and open it if necessary."""
        model = self._find_other(name, folder)
        if model is None:
            model = self._open(name, folder)
            self._keep_open(model)
        return model

    def _find_other(self, name: str, folder: Path) -> ServedModel | None:
        """Return a version that is open beside the current ones, unless it has changed on disk."""
        for (other, _), model in self._others.items():
            if other == name and model.scorer.folder == folder and model.scorer.manifest == bundle.read_manifest(folder):
                return model
        return None

    def _log_once(self, key: str, message: str) -> None:
        """Log why a name or a shadow was not activated, unless it was logged before."""
        if self._logged.get(key) != message:
            self._logged[key] = message
            log().error("version not activated", model=key, error=message)

    def _keep_open(self, model: ServedModel) -> None:
        """Keep a version open beside the current ones, and close the oldest of too many."""
        others = {**self._others, (model.name, model.version): model}
        self._others = dict(list(others.items())[-MAX_OTHERS:])
        release_free_memory()

    def _open(self, name: str, folder: Path) -> ServedModel:
        """Verify, open and preload a version; a rejected one is not tried again before it changes."""
        stamp = _stamp(folder)
        rejection = self._rejections.get(folder)
        if rejection and rejection.stamp == stamp:
            raise rejection.exception()
        try:
            scorer = Scorer.open(folder, self._device)
            preload(scorer)
        except ResiduumError as error:
            self._count_load("refused")
            if isinstance(error, BundleError):  # and not an unavailable device
                log().error("version rejected", model=name, error=str(error))
                self._rejections[folder] = _RejectedVersion(stamp, type(error), str(error))
            raise
        self._count_load("opened")
        self._rejections.pop(folder, None)
        return ServedModel(name, scorer, self._max_keys, self._label_names)


@contextlib.contextmanager
def polling(models: ModelRegistry) -> Iterator[None]:
    """Poll the disk in a thread while the block runs."""
    stopped = threading.Event()

    def poll() -> None:
        while not stopped.wait(POLL_INTERVAL):
            try:
                models.poll()
            except Exception as error:  # noqa: BLE001 - one failure must not end polling
                log().error("internal error", **error_fields(error))

    thread = threading.Thread(target=poll, name="model registry", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def _shadow_key(model: ServedModel, version: int) -> str:
    return f"{model.name}/{version} as the shadow of {model.name}/{model.version}"


def _find_names(path: Path) -> dict[str, Path]:
    """Return the folder of each name below a path."""
    if (path / bundle.MANIFEST).is_file():
        return {bundle.read_manifest(path).name: path}
    if (path / repository.PIN).is_file() or repository.versions(path):
        return {path.absolute().name: path}
    if not path.is_dir():
        raise BundleMissing(f"{path} is not a folder; pass a bundle, or a folder of bundles")
    folders = {folder.name: folder for folder in sorted(path.iterdir()) if repository.versions(folder)}
    if not folders:
        raise BundleMissing(f"{path} holds no bundle; `residuum train` writes one with --to {path / 'NAME'}")
    return folders


def _stamp(folder: Path) -> Stamp:
    """Return a value that changes when a file of a version does."""
    with contextlib.suppress(OSError):
        return frozenset((file.name, (status := file.stat()).st_mtime_ns, status.st_size) for file in folder.iterdir())
    return frozenset()
