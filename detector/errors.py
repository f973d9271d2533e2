"""All errors that a user can fix, in one hierarchy.

    ResiduumError              reported as one line at every interface
    ├── TableError             a table cannot be read, or lacks what the detector needs
    ├── SettingError           an option has a value that cannot be used
    ├── OutputError            the output cannot be written
    ├── TrainingError          training did not produce a detector
    ├── StreamError            a stream cannot continue
    └── BundleError            a folder does not hold a valid bundle
        ├── BundleMissing      there is no bundle
        ├── BundleCorrupt      a file is missing, truncated or modified
        └── BundleTooNew       a later release wrote the bundle

A bad *row* is not an error: it becomes a `detector.rejects.Reject`, and the rows around it are scored.
A message says what was found, where, and what to do. HTTP status and exit codes are chosen in `serving` and `residuum`.
"""


class ResiduumError(Exception):
    """Base class of all errors that a user can fix."""


class TableError(ResiduumError):
    """A table cannot be read, or lacks what the detector needs."""


class SettingError(ResiduumError):
    """An option has a value that cannot be used."""


class OutputError(ResiduumError):
    """The output cannot be written."""


class TrainingError(ResiduumError):
    """Training did not produce a detector."""


class StreamError(ResiduumError):
    """A stream cannot continue; no record is lost."""


class BundleError(ResiduumError):
    """A folder does not hold a valid bundle."""


class BundleMissing(BundleError):
    """There is no bundle."""


class BundleCorrupt(BundleError):
    """A file of the bundle is missing, truncated or modified."""


class BundleTooNew(BundleError):
    """A later release wrote the bundle."""
