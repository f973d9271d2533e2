"""The version that scores: the pinned or the highest one; a new version is loaded between two batches."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from detector import bundle, repository
from detector.errors import ResiduumError
from detector.graph import Device
from detector.scorer import Scorer
from serving.log import log
from serving.model import ServedModel
from serving.preload import preload

INTERVAL = 2.0  # seconds between two checks of the folder


class ModelWatcher:
    """The model of a worker, replaced when the folder has another version."""

    def __init__(self, path: Path, device: Device, on_load: Callable[[str], None]) -> None:
        """Open the current version; `on_load` is called with the outcome of each load, `opened` or `refused`.

        Raises:
            BundleError: there is no valid bundle.
            SettingError: the device does not exist.
        """
        self._path = path
        self._device = device
        self._on_load = on_load
        self._checked = time.monotonic()
        self._folder = repository.find(path)
        self.model = self._open(self._folder)

    def update(self) -> bool:
        """Load another version if there is one; return whether the model changed. An invalid version is logged and ignored."""
        if time.monotonic() - self._checked < INTERVAL:
            return False
        self._checked = time.monotonic()
        try:
            folder = repository.find(self._path)
            if folder == self._folder:
                return False
            self._folder = folder
            self.model = self._open(folder)
        except (ResiduumError, OSError) as error:  # as of a disk that is gone
            self._on_load("refused")
            log().error("version rejected", error=str(error), version=self.model.version)
            return False
        log().info("version loaded", model=self.model.name, version=self.model.version)
        return True

    def _open(self, folder: Path) -> ServedModel:
        scorer = Scorer.open(folder, self._device)
        preload(scorer)
        self._on_load("opened")
        name = scorer.manifest.name if (self._path / bundle.MANIFEST).is_file() else self._path.absolute().name
        return ServedModel(name, scorer)
