"""The files of a run done side by side: one that fails alone lets the others finish, what stops all is raised at once.

With one at a time everything is done in the calling thread, in order. What moves them all at once is waited for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

from xpcs_assets.errors import CopyError, XpcsAssetsError
from xpcs_assets.runs.manifest import FileEntry

_NAMED = 20
_RENEW_EVERY_S = 60.0


class SideBySide:
    """Several files at a time.

    Parameters
    ----------
    together
        How many.
    alone
        Whether an error concerns one file alone, so that the others are finished first.
    on_bytes
        Called with the length of each piece, by one thread at a time. What it raises stops all.
    """

    def __init__(self, together: int, alone: Callable[[CopyError], bool], on_bytes: Callable[[int], None]) -> None:
        self._together = together
        self._alone = alone
        self._on_bytes = on_bytes
        self._lock = threading.Lock()
        self._stopped_by: BaseException | None = None
        self._failed: list[XpcsAssetsError] = []

    def moved(self, size_bytes: int) -> None:
        """Tell of bytes that one of the files has read; raises when all are to stop."""
        with self._lock:
            if self._stopped_by is not None:
                raise _StoppedError
            self._on_bytes(size_bytes)

    def each(self, entries: Sequence[FileEntry], act: Callable[[FileEntry], None]) -> None:
        """Do ``act`` for every file.

        Raises
        ------
        XpcsAssetsError
            What a file raised; when several failed, one error of their common kind that names each of them.
        """

        def guarded(entry: FileEntry) -> None:
            if self._stopped_by is None:
                try:
                    act(entry)
                except _StoppedError:
                    pass
                except BaseException as error:  # noqa: BLE001 - raised by _raise_what_failed, when all threads are done
                    self._note(error)

        if self._together == 1:
            for entry in entries:
                guarded(entry)
        else:
            with ThreadPoolExecutor(self._together) as threads:
                for _ in threads.map(guarded, entries):
                    pass
        self._raise_what_failed(len(entries))

    def _note(self, error: BaseException) -> None:
        with self._lock:
            if isinstance(error, XpcsAssetsError):
                self._failed.append(error)
            if not (isinstance(error, CopyError) and self._alone(error)):
                self._stopped_by = self._stopped_by or error

    def _raise_what_failed(self, of: int) -> None:
        stopped_by, failed = self._stopped_by, self._failed
        if stopped_by is not None and not isinstance(stopped_by, XpcsAssetsError):
            raise stopped_by
        if len(failed) == 1:
            raise failed[0]
        if failed:
            alike = stopped_by is not None or len({type(error) for error in failed}) == 1
            first = stopped_by or failed[0]
            kind = type(first) if alike else CopyError
            more = f"; and {len(failed) - _NAMED} more" if len(failed) > _NAMED else ""
            named = "; ".join(f"{error.where}: {error.what}" for error in failed[:_NAMED])
            raise kind(f"{len(failed)} of {of} files were not copied: {named}{more}", remedy=first.remedy)


def while_renewing(work: Callable[[], int], renew: Callable[[int], None]) -> int:
    """Do ``work`` that tells nothing of its progress, and keep the run's lease meanwhile; what it gives.

    When the lease is lost the work is waited for all the same: nobody is told of it then.
    """
    with ThreadPoolExecutor(max_workers=1) as thread:
        working = thread.submit(work)
        while not working.done():
            wait([working], timeout=_RENEW_EVERY_S)
            renew(0)
    return working.result()


class _StoppedError(Exception):
    """Another file has failed in a way that stops all."""
