"""An open beamline: its settings with its ledger and places, and where a run's files lie.

Every step gets one of these. Ledger and places are opened when they are first used, and once a process.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from xpcs_assets.errors import NotFoundError, RefusedError
from xpcs_assets.runs.folders import VersionFolder
from xpcs_assets.runs.key import split_analysis_key
from xpcs_assets.settings import Beamline
from xpcs_assets.site import Site

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from xpcs_assets.copies.ledger import Ledger, RunVersion
    from xpcs_assets.copies.ledger import Result as LedgerResult
    from xpcs_assets.places.marker import Root
    from xpcs_assets.places.place import Place

# How long a worker may be dead before another takes its run; renewed while bytes move.
LEASE_S = 600.0
_RENEW_EVERY_BYTES = 256 << 20


class OpenBeamline:
    """A beamline of a site, ready for work.

    Attributes
    ----------
    site, settings
        What the YAML files say.
    name
        The beamline's name.
    """

    def __init__(self, site: Site, settings: Beamline) -> None:
        self.site = site
        self.settings = settings
        self.name = settings.beamline

    @cached_property
    def engine(self) -> Engine:
        """The database of ledger and embedded catalog with the site's journal, its schema checked."""
        from xpcs_assets.copies.database import check_schema, open_database
        from xpcs_assets.copies.journal import Journal

        engine = open_database(self.site.database_url, journal=Journal(self.site.journal))
        check_schema(engine)
        return engine

    @cached_property
    def ledger(self) -> Ledger:
        """Where every copy is."""
        from xpcs_assets.copies.database import clock_of
        from xpcs_assets.copies.ledger import Ledger

        return Ledger(self.engine, clock_of(self.engine))

    @property
    def source_root(self) -> Path:
        """The watched folder."""
        return self.root(self.settings.runs.source.watch)

    def root(self, place: str) -> Path:
        """The folder of a place on this machine.

        Raises
        ------
        SettingsError
            The place has none here.
        """
        return self.site.folder(self.settings, place)

    def place(self, name: str) -> Place:
        """A place by its name, which expects the marker that its root had when the site first met it.

        The first time, the marker in the root is adopted; where there is none, one is left. See
        :func:`xpcs_assets.copies.meeting.meet`.

        Raises
        ------
        SettingsError
            The beamline has no such place, or what it is reached by is missing.
        """
        from xpcs_assets.copies.opening import open_place

        return open_place(self.site, self.settings, name, self.ledger)

    def place_root(self, name: str) -> Root:
        """The root of a place as a meeting sees it, whatever marker it bears.

        Raises
        ------
        SettingsError
            As :meth:`place`.
        """
        from xpcs_assets.copies.opening import reach

        return reach(self.site, self.settings, name).root

    def latest(self, key: str) -> RunVersion:
        """The newest version of the run behind a partition key (a run key, or one with ``~``).

        Raises
        ------
        NotFoundError
            The run was never taken.
        """
        run, _ = split_analysis_key(key)
        version = self.ledger.latest(self.name, run)
        if version is None:
            raise NotFoundError(
                "no such run was taken",
                where=f"{self.name}/{run}",
                remedy=f"`xpcs-assets status {self.name}` lists the runs",
            )
        return version

    def result(self, key: str) -> LedgerResult:
        """The newest result under a partition key, of the run's newest version.

        Raises
        ------
        NotFoundError
            The run was never taken, has no result under this key, or its file is not the one that was recorded, as an
            audit has found since.
        """
        version = self.latest(key)
        found = self.ledger.results(self.name, version.run_key, analysis_key=key, version=version.version)
        if not found:
            raise NotFoundError(
                "there is no result", where=f"{self.name}/{key}", remedy="Materialise correlation for it first"
            )
        self._refuse_other_file(found[0])
        return found[0]

    def _refuse_other_file(self, result: LedgerResult) -> None:
        """Refuse a result whose file an audit found to be another one's since it was recorded."""
        from xpcs_assets.copies.ledger import FindingKind

        differing = self.ledger.findings(self.name, kinds=[FindingKind.RESULT_DIFFERS], run_key=result.run_key)
        for finding in differing:
            if finding.path == result.path and finding.last_seen >= result.recorded_at:
                raise NotFoundError(
                    f"the result file is not what the ledger says: {finding.reason}",
                    where=self.result_path(result),
                    remedy="Move it away and materialise correlation again",
                )

    def result_path(self, result: LedgerResult) -> Path:
        """Where the file of a result lies."""
        return self.root(self.settings.pipeline.stage.to) / result.path

    def staged(self, version: RunVersion) -> VersionFolder:
        """The folder of a version's staged copy."""
        root = self.root(self.settings.pipeline.stage.to)
        return VersionFolder(root, self.name, version.run_key, version.version)

    def plain_key_only(self, key: str, asset: str) -> None:
        """Refuse a key with ``~`` where the run itself is meant.

        Raises
        ------
        RefusedError
            The key names a reprocessing; raw data, copies and archive are the run's own.
        """
        run, name = split_analysis_key(key)
        if name is not None:
            own = "processed" if self.settings.pipeline.process is not None else "correlation, plots and result_entry"
            raise RefusedError(
                f"{asset} belongs to the run, not to its reprocessing {name!r}",
                where=f"{self.name}/{key}",
                remedy=f"Materialise {asset} for {run}; for {key} only {own}",
            )

    @contextmanager
    def working(self, run_key: str, purpose: str) -> Iterator[Callable[[int], None]]:
        """Hold the run's lease for a piece of work; what is yielded is told of bytes moved, and renews the lease.

        Told of 0 bytes it renews it at once: to be done before the ledger is told what the work has come to.

        Raises
        ------
        RefusedError
            Another worker is at the run, or has taken the lease over: stop before the next write.
        """
        holder = f"{socket.gethostname()}:{os.getpid()}:{threading.get_ident()}"
        with self.ledger.lease(self.name, run_key, purpose, holder, LEASE_S) as lease:
            moved_bytes = 0

            def renew(size_bytes: int) -> None:
                nonlocal moved_bytes
                before, moved_bytes = moved_bytes, moved_bytes + size_bytes
                if not size_bytes or before // _RENEW_EVERY_BYTES != moved_bytes // _RENEW_EVERY_BYTES:
                    self.ledger.renew(lease, LEASE_S)

            yield renew
