"""Learns what normal looks like, and flags what it cannot rebuild.

    import residuum
    detector = residuum.load("models/pumps")
    verdicts = detector.score(frame)            # pandas, polars, pyarrow or numpy in; the same kind out
    residuum.train(frame, ...)                  # needs the extra `train`
    residuum.AutoencoderDetector().fit(frame)   # the same as a scikit-learn estimator

This is the door: the public names below and the command line (`residuum.cli`). How a detector is asked stands in
`serving`, how one is made in `training`, what both share in `detector`. A name is imported when it is first used.
"""

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from detector import errors
    from detector.version import __version__
    from residuum.api import Detector, load, train
    from residuum.estimator import AutoencoderDetector

__all__ = ["AutoencoderDetector", "Detector", "__version__", "errors", "load", "train"]

_HOME = __path__[0].removesuffix(__name__)
_PLACES = {
    "AutoencoderDetector": "residuum.estimator",
    "Detector": "residuum.api",
    "__version__": "detector.version",
    "load": "residuum.api",
    "train": "residuum.api",
}


def __getattr__(name: str) -> object:
    if name == "errors":
        return import_module("detector.errors")
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _refuse_stranger(name: str) -> None:
    """Say which file is in the way when Python finds a package `name` that is not the one beside this."""
    try:
        spec = find_spec(name)
    except ValueError:  # imported already, and by no ordinary import
        where = getattr(sys.modules[name], "__file__", None)
    else:
        if spec is None:  # missing altogether: importing it says so well enough
            return
        folders = spec.submodule_search_locations or []
        if f"{_HOME}{name}" in folders:
            return
        where = spec.origin or next(iter(folders), None)
    raise ImportError(
        f"{where} is in the way: it bears the name of Residuum's own package {name!r}, and Python finds it first. "
        f"Rename it, or start Python in another folder or as `python -P`. (Residuum's is {_HOME}{name}.)",
        name=name,
        path=where,
    )


for _name in ("detector", "training", "serving"):
    _refuse_stranger(_name)
