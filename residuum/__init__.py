"""Detect anomalies with autoencoders, with a promised false-alarm rate and reasons.

Train on normal rows, then score new ones:

    import residuum

    detector = residuum.train(normal, "models/pumps")       # a frame or an array; needs the extra `train`
    detector = residuum.load("models/pumps")                # any time later, in any process
    verdicts = detector.score(today)                        # the frame with scores, verdicts and reasons added
    verdicts[verdicts["is_anomaly"]]

Frames of pandas, polars and pyarrow and numpy arrays are accepted; what comes back is of the same kind.

    train                  train a detector on normal rows and write it as a bundle
    load                   open a bundle
    evaluate               compare verdicts with labels
    calibrate              write the next version with another threshold
    finetune               write the next version with a classifier of a few labels
    compare                put two versions side by side
    promote                choose the version in use
    rollback               return to the version before
    variants               the autoencoder variants and their settings
    Detector               scores, explains, embeds, reconstructs, decodes and generates rows
    AutoencoderDetector    the same as a scikit-learn estimator: fit, predict, score_samples
    errors                 the exceptions, all subclasses of `errors.ResiduumError`
    __version__            the version, a text

The command line offers the same for files, and services and streams: `residuum --help`.
"""

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from detector import errors
    from detector.version import __version__
    from residuum.api import Detector, load, train
    from residuum.catalog import variants
    from residuum.estimator import AutoencoderDetector
    from residuum.evaluation import evaluate
    from residuum.versions import calibrate, compare, finetune, promote, rollback

__all__ = [
    "AutoencoderDetector",
    "Detector",
    "__version__",
    "calibrate",
    "compare",
    "errors",
    "evaluate",
    "finetune",
    "load",
    "promote",
    "rollback",
    "train",
    "variants",
]

_ROOT = __path__[0].removesuffix(__name__)
_MODULES = {  # public names are imported on first use, so that `import residuum` is fast
    "AutoencoderDetector": "residuum.estimator",
    "Detector": "residuum.api",
    "__version__": "detector.version",
    "calibrate": "residuum.versions",
    "compare": "residuum.versions",
    "evaluate": "residuum.evaluation",
    "finetune": "residuum.versions",
    "load": "residuum.api",
    "promote": "residuum.versions",
    "rollback": "residuum.versions",
    "train": "residuum.api",
    "variants": "residuum.catalog",
}


def __getattr__(name: str) -> object:
    if name == "errors":
        return import_module("detector.errors")
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _check_own_package(name: str) -> None:
    """Raise `ImportError` if Python finds another package `name` before the one beside this."""
    try:
        spec = find_spec(name)
    except ValueError:  # already imported, without a spec
        found = getattr(sys.modules[name], "__file__", None)
    else:
        if spec is None:  # importing it will report that
            return
        folders = spec.submodule_search_locations or []
        if f"{_ROOT}{name}" in folders:
            return
        found = spec.origin or next(iter(folders), None)
    raise ImportError(
        f"{found} hides Residuum's own package {name!r}, which is {_ROOT}{name}. "
        "Rename it, or start Python in another folder or as `python -P`.",
        name=name,
        path=found,
    )


for _name in ("detector", "training", "serving"):
    _check_own_package(_name)
