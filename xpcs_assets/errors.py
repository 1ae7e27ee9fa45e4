"""Every error this package raises: one tree, so that one ``except XpcsAssetsError`` is enough.

Each says what happened, where, and what to do next::

    XpcsAssetsError
    ├── SettingsError           the site or a beamline file is wrong
    ├── NotFoundError           no such beamline, run, result or file
    ├── RefusedError            asked for something that is not done, and why
    │   └── RemovalRefusedError   a copy may not be deleted now
    ├── InputError              the data handed in cannot be used
    │   ├── RawDataError          a raw file is truncated, impossible or of an unknown format
    │   │   └── NoFrameYetError     a raw file that is still being written holds no whole frame
    │   ├── MetadataError         the companion metadata lack what is needed
    │   ├── QmapError             the q-map is missing, damaged or does not fit the detector
    │   └── ResultError           a result file does not open or lacks what it should hold
    ├── CorrelationError        the analysis could not be done with these settings
    ├── CopyError               bytes could not be copied safely
    │   ├── ChangedWhileReadingError   the source changed while it was read
    │   ├── ConflictingBytesError      the name is taken by other bytes; both are kept
    │   ├── NoRoomError                the disk or quota is full
    │   ├── UnderWayError              it is being done elsewhere and takes its time; nothing has failed
    │   └── NotVerifiedError           what was read back is not what was written
    │       └── SourceDiffersError       the bytes to copy are not those that the manifest names
    ├── LedgerError             the ledger cannot be read, written or is of another schema
    ├── CatalogError            a catalog did not take or give a record
    │   └── CatalogUnavailableError    it did not answer, or not now: the same again may succeed
    ├── ComputeError            a worker or scheduler did not deliver
    └── UnreachableError        a machine or service gave no answer: what was asked may have been done
"""

from __future__ import annotations

import os


class XpcsAssetsError(Exception):
    """The root of the tree.

    Parameters
    ----------
    what
        What happened, as a sentence without its full stop.
    where
        The file, run, place or setting it happened to, with an offset when there is one.
    remedy
        What a person should do now.
    """

    def __init__(self, what: str, *, where: str | os.PathLike[str] = "", remedy: str = "") -> None:
        self.what = what
        self.where = os.fspath(where)
        self.remedy = remedy
        super().__init__(what, self.where, remedy)

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        advice = f". {self.remedy}" if self.remedy else ""
        return f"{place}{self.what}{advice}"

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.what, self.where, self.remedy)


def _rebuild(kind: type[XpcsAssetsError], what: str, where: str, remedy: str) -> XpcsAssetsError:
    return kind(what, where=where, remedy=remedy)


def named(kind: str, root: type[XpcsAssetsError] = XpcsAssetsError) -> type[XpcsAssetsError] | None:
    """The error of this tree that is called ``kind``; None when there is none.

    >>> named("QmapError").__name__, named("ValueError")
    ('QmapError', None)
    """
    if root.__name__ == kind:
        return root
    return next((found for child in root.__subclasses__() if (found := named(kind, child))), None)


class SettingsError(XpcsAssetsError):
    """The site or a beamline file is wrong."""


class NotFoundError(XpcsAssetsError):
    """No such beamline, run, result or file."""


class RefusedError(XpcsAssetsError):
    """Asked for something that is not done; the message says why."""


class RemovalRefusedError(RefusedError):
    """A copy may not be deleted now."""


class InputError(XpcsAssetsError):
    """The data handed in cannot be used."""


class RawDataError(InputError):
    """A raw file is truncated, impossible or of an unknown format."""


class NoFrameYetError(RawDataError):
    """A raw file that is still being written holds no whole frame."""


class MetadataError(InputError):
    """The companion metadata lack what is needed."""


class QmapError(InputError):
    """The q-map is missing, damaged or does not fit the detector."""


class ResultError(InputError):
    """A result file does not open or lacks what it should hold."""


class CorrelationError(XpcsAssetsError):
    """The analysis could not be done with these settings."""


class CopyError(XpcsAssetsError):
    """Bytes could not be copied safely."""


class UnderWayError(CopyError):
    """What was asked for is being done elsewhere and takes its time; nothing has failed, and it is asked for again."""


class ChangedWhileReadingError(CopyError):
    """The source changed, shrank or vanished while it was read."""


class ConflictingBytesError(CopyError):
    """The name is taken by other bytes; both are kept."""


class NoRoomError(CopyError):
    """The disk or the quota is full."""


class NotVerifiedError(CopyError):
    """What was read back is not what was written."""


class SourceDiffersError(NotVerifiedError):
    """The bytes that were to be copied are not those that the manifest names; nothing of them was kept."""


class LedgerError(XpcsAssetsError):
    """The ledger cannot be read or written, or is of another schema."""


class CatalogError(XpcsAssetsError):
    """A catalog did not take or give a record."""


class CatalogUnavailableError(CatalogError):
    """A catalog did not answer, or not now: the same again may succeed, and it may have stored what was sent."""


class ComputeError(XpcsAssetsError):
    """A worker or a scheduler did not deliver."""


class UnreachableError(XpcsAssetsError):
    """A machine or a service gave no answer, or not in time: what was asked may have been done, or may be done yet."""
