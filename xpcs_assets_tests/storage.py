"""A beamline's storage for tests: three places in a folder, a ledger whose clock tests set, a run of three files."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from sqlalchemy import Engine

from xpcs_assets.archive.bundle import RAW
from xpcs_assets.archive.deposit import Bundling, Deposited, deposit, record_deposit
from xpcs_assets.copies.database import migrate, open_database
from xpcs_assets.copies.ledger import Copy, Evidence, Ledger
from xpcs_assets.places.place import Place
from xpcs_assets.places.posix import PosixPlace
from xpcs_assets.places.syscalls import SYSCALLS, Syscalls
from xpcs_assets.places.tape import TapePlace
from xpcs_assets.prune.remove import Removed, empty_trash, prune_copy
from xpcs_assets.runs.folders import VersionFolder
from xpcs_assets.runs.manifest import Manifest
from xpcs_assets.runs.retention import Retention
from xpcs_assets.stage.copy import Staged, record_staged, stage_run, take_manifest

BEAMLINE = "test-beamline"
RUN = "A001"
FILES: Mapping[str, bytes] = {"A001.imm": b"frames" * 5000, "A001_metadata.hdf": b"", "sub/notes é.txt": b"x" * 512}
KEEP_S = 3600.0
RETENTION = Retention(keep_for_s=KEEP_S, min_copies=2)


@dataclass
class HandClock:
    """Wall time, and how long the machine has run; both stand still until they are moved. Set ``now`` for a jump."""

    now: datetime = field(default_factory=lambda: datetime(2024, 5, 1, 12, tzinfo=UTC))
    running_s: float = 1000.0

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)
        self.running_s += seconds

    def stopwatch(self) -> float:
        """How long the machine has run, s."""
        return self.running_s


@dataclass
class HandStopwatch:
    """Seconds that stand still until they are moved."""

    seconds: float = 1000.0

    def __call__(self) -> float:
        return self.seconds


@cache
def empty_ledger() -> bytes:
    """The file of a migrated ledger: copied for each test, since migrating takes longer than most of them."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ledger.db"
        engine = open_database(f"sqlite:///{file}")
        migrate(engine)
        engine.dispose()
        return file.read_bytes()


class Storage:
    """Detector, staging disk and tape below ``root``, each a failure domain of its own, and their ledger."""

    def __init__(
        self, root: Path, calls: Syscalls = SYSCALLS, *, database: str = "", engine: Engine | None = None
    ) -> None:
        self.root = root
        self.clock = HandClock()
        self.source = root / "detector" / RUN
        self.detector = PosixPlace("detector", root / "detector", "detector room", calls)
        self.disk = PosixPlace("disk", root / "disk", "disk room", calls)
        self.tape = TapePlace("tape", root / "tape", "tape vault", calls)
        self.places: dict[str, Place] = {place.name: place for place in (self.detector, self.disk, self.tape)}
        self.target = VersionFolder(self.disk.root, BEAMLINE, RUN, 1)
        self.engine = engine or open_database(database or f"sqlite:///{root / 'ledger.db'}")
        self.ledger = Ledger(self.engine, self.clock)

    @classmethod
    def build(cls, root: Path, *, database: str = "") -> Storage:
        """Make folders, ledger and the run's files at the source; ``database`` is migrated, else an SQLite file."""
        for name in ("detector", "disk", "tape"):
            (root / name).mkdir(parents=True)
        if not database:
            (root / "ledger.db").write_bytes(empty_ledger())
        storage = cls(root, database=database)
        for path, data in FILES.items():
            file = storage.source / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        return storage

    def close(self) -> None:
        self.engine.dispose()

    def take(self) -> Manifest:
        """Record the run's version and its copy at the source."""
        manifest = take_manifest(RUN, self.source, list(FILES))
        version = self.ledger.record_version(BEAMLINE, RUN, manifest, str(self.source))
        self.ledger.record_copy(
            BEAMLINE,
            RUN,
            version.version,
            place="detector",
            path=RUN,
            failure_domain=self.detector.failure_domain,
            evidence=Evidence.READ_BACK,
        )
        return manifest

    @property
    def manifest(self) -> Manifest:
        return self.ledger.version(BEAMLINE, RUN, 1).manifest

    def stage(self) -> Staged:
        """Stage the run and record it."""
        done = stage_run(self.manifest, self.source, self.target, self.disk)
        record_staged(self.ledger, self.target, self.disk)
        return done

    def archive(self) -> Deposited:
        """Archive the staged copy and record it; the two small files share a bundle."""
        done = deposit(self.tape, BEAMLINE, 1, RAW, self.manifest, self.target.raw, Bundling(alone_over_bytes=1000))
        record_deposit(self.ledger, done)
        return done

    def fill(self) -> Storage:
        """Take, stage and archive, then wait until the retention is over."""
        self.take()
        self.stage()
        self.archive()
        self.clock.advance(KEEP_S)
        return self

    def copy(self, place: str) -> Copy:
        """The run's copy in a place as the ledger has it."""
        (found,) = [copy for copy in self.ledger.copies(BEAMLINE, RUN, 1) if copy.place == place]
        return found

    def prune(self, place: str = "detector", retention: Retention = RETENTION, holder: str = "test") -> Removed:
        """Remove the run's copy in a place."""
        return prune_copy(
            self.ledger,
            self.copy(place),
            self.places,
            retention,
            catalogued=True,
            holder=holder,
            by="operator",
            reason="retention",
            stopwatch=self.clock.stopwatch,
        )

    def empty_trash(self, place: str = "detector", retention: Retention = RETENTION, holder: str = "test") -> Removed:
        """Unlink what lies of the run's copy in the trash of a place."""
        return empty_trash(
            self.ledger,
            self.copy(place),
            self.places,
            retention,
            catalogued=True,
            holder=holder,
            by="operator",
            reason="trash",
            stopwatch=self.clock.stopwatch,
        )

    def files_at(self, place: str) -> dict[str, bytes]:
        """The bytes of the run's files that lie in a posix place now, by their path in the manifest."""
        folder = {"detector": self.source, "disk": self.target.raw}[place]
        return {path: (folder / path).read_bytes() for path in FILES if (folder / path).is_file()}
