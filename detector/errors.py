"""Everything that can go wrong, in one tree.

    ResiduumError              caught by every door and told in one line
    ├── TableError             the table cannot be read or lacks what the detector needs
    ├── SettingError           an option that cannot be honoured, and what could be
    ├── OutputError            the result cannot be written where it was asked for
    ├── TrainingError          no detector came out of training
    ├── StreamError            a stream cannot go on
    └── BundleError            the folder is not a bundle that can be trusted
        ├── BundleMissing      there is none at that place
        ├── BundleCorrupt      a file is gone, cut or changed
        └── BundleTooNew       written by a later release

A bad *row* is no error: it is a `detector.rejects.Reject` and its neighbours are scored.
A message says what was found, where, and what to do; HTTP status and exit codes are the doors' business.
"""


class ResiduumError(Exception):
    """Base of all errors that a user can mend."""


class TableError(ResiduumError):
    """A table cannot be read, or it lacks what the detector needs."""


class SettingError(ResiduumError):
    """An option that cannot be honoured."""


class OutputError(ResiduumError):
    """The result cannot be written where it was asked for."""


class TrainingError(ResiduumError):
    """Training ended without a detector that may be shipped."""


class StreamError(ResiduumError):
    """A stream cannot go on; nothing of it is lost."""


class BundleError(ResiduumError):
    """A folder is not a bundle that can be trusted."""


class BundleMissing(BundleError):
    """There is no bundle at that place."""


class BundleCorrupt(BundleError):
    """A file of the bundle is gone, cut or changed."""


class BundleTooNew(BundleError):
    """The bundle was written by a later release."""
