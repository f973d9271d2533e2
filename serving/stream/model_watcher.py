"""Which version judges: the pinned or highest one; a new one is taken up between two batches."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from detector import bundle, repository
from detector.errors import ResiduumError
from detector.graph import Device
from detector.scorer import Scorer
from serving.log import log
from serving.model import Model
from serving.preload import preload

EVERY = 2.0  # seconds between two looks at the folder


class Current:
    """The model of a worker."""

    def __init__(self, path: Path, device: Device, loaded: Callable[[str], None]) -> None:
        """Open it; `loaded` is told how each opening ends, `opened` or `refused`.

        Raises:
            BundleError: there is none that can be trusted.
            SettingError: the device is not there.
        """
        self._path = path
        self._device = device
        self._loaded = loaded
        self._looked = time.monotonic()
        self._folder = repository.find(path)
        self.model = self._open(self._folder)

    def look(self) -> bool:
        """Take up another version if there is one; tells whether there was. One that cannot be trusted is not taken up."""
        if time.monotonic() - self._looked < EVERY:
            return False
        self._looked = time.monotonic()
        try:
            folder = repository.find(self._path)
            if folder == self._folder:
                return False
            self._folder = folder
            self.model = self._open(folder)
        except ResiduumError as error:
            self._loaded("refused")
            log().error("version refused", said=str(error), judging=self.model.version)
            return False
        log().info("version taken up", model=self.model.name, version=self.model.version)
        return True

    def _open(self, folder: Path) -> Model:
        scorer = Scorer.open(folder, self._device)
        preload(scorer)
        self._loaded("opened")
        name = scorer.manifest.name if (self._path / bundle.MANIFEST).is_file() else self._path.absolute().name
        return Model(name, scorer)
