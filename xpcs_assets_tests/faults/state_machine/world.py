"""A small beamline that the state machine lives in: a real site in a folder, four places, a clock that is set by hand.

What happens to the site from outside is done here too: the detector writes, bytes rot, disks go away and come back.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.places.syscalls import SYSCALLS, Syscalls
from xpcs_assets.runs.folders import MARKER
from xpcs_assets.site import Site
from xpcs_assets_tests.storage import HandClock, HandStopwatch, empty_ledger

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from xpcs_assets.copies.ledger import Ledger
    from xpcs_assets.places.place import Place
    from xpcs_assets.places.posix import PosixPlace
    from xpcs_assets.places.tape import TapePlace

BEAMLINE = "b1"
DETECTOR, DISK, MIRROR, TAPE = "detector", "disk", "mirror", "tape"
PLACES = (DETECTOR, DISK, MIRROR, TAPE)
PRUNED = (DETECTOR, DISK, MIRROR)
"""Places that copies may go from."""
ALONE_OVER_BYTES = 4000


@dataclass(frozen=True)
class Word:
    """One place's retention."""

    keep_for_s: int = 3600
    min_copies: int = 1
    needs_archive: bool = False
    needs_catalog: bool = False
    trash_for_s: int = 0


@dataclass(frozen=True)
class Spec:
    """What a site is made of.

    Attributes
    ----------
    domains
        The failure domain of each place; some may share one.
    words
        The retention of each place that copies may go from.
    gathers
        Whether small runs are archived together.
    """

    domains: Mapping[str, str] = field(
        default_factory=lambda: {DETECTOR: "hall", DISK: "room", MIRROR: "cellar", TAPE: "vault"}
    )
    words: Mapping[str, Word] = field(default_factory=lambda: dict.fromkeys(PRUNED, Word()))
    gathers: bool = False

    def beamline_file(self) -> dict[str, object]:
        """The content of the beamline's settings file."""
        kinds = dict.fromkeys(PLACES, "posix") | {TAPE: "tape"}
        gather = {"under": 2600, "until": 3000, "wait": 60, "by": []} if self.gathers else None
        return {
            "beamline": BEAMLINE,
            "places": {
                name: {"kind": kinds[name], "root": f"places/{name}", "failure_domain": self.domains[name]}
                for name in PLACES
            },
            "runs": {"from": {"watch": DETECTOR, "path": "{run}/"}, "key": "{run}", "expect": []},
            "pipeline": {
                "stage": {"to": DISK},
                "archive": {"to": TAPE, "bundle": {"alone_over": ALONE_OVER_BYTES, "up_to": 10_000, "gather": gather}},
            },
            "retention": {
                name: {
                    "keep_for": word.keep_for_s,
                    "min_copies": word.min_copies,
                    "trash_for": word.trash_for_s,
                    "needs": [
                        need
                        for need, wanted in (("archive", word.needs_archive), ("catalog", word.needs_catalog))
                        if wanted
                    ],
                }
                for name, word in self.words.items()
            },
        }


class Hands(OpenBeamline):
    """The beamline as one process has it open: with the world's clock, and with system calls that may be faulty."""

    def __init__(self, site: Site, clock: HandClock, calls: Syscalls = SYSCALLS) -> None:
        super().__init__(site, site.beamline(BEAMLINE))
        self.clock = clock
        self.calls = calls

    @cached_property
    def ledger(self) -> Ledger:
        """The site's ledger, its times by the world's clock."""
        return replace(super().ledger, clock=self.clock)

    def place(self, name: str) -> PosixPlace | TapePlace:
        """A place of the site."""
        place = super().place(name)
        place.calls = self.calls
        return place

    @property
    def places(self) -> dict[str, Place]:
        """Every place by its name."""
        return {name: self.place(name) for name in PLACES}

    def close(self) -> None:
        """Let go of the ledger."""
        if "engine" in self.__dict__:
            engine: Engine = self.engine
            engine.dispose()


class World:
    """The site's folders and what happens to them from outside.

    Attributes
    ----------
    home
        The site's folder.
    written
        What the detector has written of each run and not taken away again: bytes by path.
    away
        Places whose disk is not where it should be, each with what stands in its stead.
    """

    def __init__(self, home: Path, spec: Spec) -> None:
        self.home = home
        self.spec = spec
        self.clock = HandClock()
        self.stopwatch = HandStopwatch()
        self.written: dict[str, dict[str, bytes]] = {}
        self.away: dict[str, str] = {}
        (home / "beamlines").mkdir(parents=True)
        (home / "away").mkdir()
        for name in PLACES:
            (home / "places" / name).mkdir(parents=True)
        (home / "site.yaml").write_text("title: a site of the state machine\n", encoding="utf-8")
        (home / "ledger.db").write_bytes(empty_ledger())
        text = yaml.safe_dump(spec.beamline_file())
        (home / "beamlines" / f"{BEAMLINE}.yaml").write_text(text, encoding="utf-8")
        self.site = Site(home)

    def hands(self, calls: Syscalls = SYSCALLS) -> Hands:
        """Open the beamline, as a process does."""
        return Hands(self.site, self.clock, calls)

    def mount(self, place: str) -> Path:
        """Where a place is looked for."""
        return self.home / "places" / place

    def disk(self, place: str) -> Path:
        """Where the bytes of a place are now, in reach or not."""
        return self.home / "away" / place if place in self.away else self.mount(place)

    def advance(self, seconds: float) -> None:
        """Let time go by, for every clock."""
        self.clock.advance(seconds)
        self.stopwatch.seconds += max(0.0, seconds)

    def set_clock(self, seconds: float) -> None:
        """Set the wall clock forward or back; the machine has not run for longer by that."""
        self.clock.advance(seconds)

    def write_run(self, run: str, files: Mapping[str, bytes]) -> None:
        """Let the detector write a run, in the place of what it wrote of that run before."""
        folder = self.mount(DETECTOR) / run
        if folder.exists():
            shutil.rmtree(folder)
        for path, data in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        self.written[run] = dict(files)

    def lose(self, place: str, stand_in: str) -> None:
        """Take a place's disk away; ``stand_in``: ``nothing``, or an ``empty`` or a ``foreign`` folder in its stead."""
        self.mount(place).rename(self.home / "away" / place)
        self.away[place] = stand_in
        if stand_in != "nothing":
            self.mount(place).mkdir()
        if stand_in == "foreign":
            self._mount_foreign(place)

    def _mount_foreign(self, place: str) -> None:
        """Let another place's disk stand where this one was: its marker and its files, be it mounted or not itself."""
        other = next(name for name in sorted(PLACES, key=self.away.__contains__) if name != place)
        shutil.copytree(self.disk(other), self.mount(place), dirs_exist_ok=True)

    def give_back(self, place: str) -> None:
        """Mount a place's own disk again."""
        if self.mount(place).exists():
            shutil.rmtree(self.mount(place))
        (self.home / "away" / place).rename(self.mount(place))
        del self.away[place]

    def corrupt_any(self, place: str, number: int, how: str, below: str = "") -> None:
        """Corrupt one of the data files of a place, in reach or not; of those below a folder of it, if one is named."""
        files = self.data_files(place, below)
        if files:
            self.corrupt(files[number % len(files)], how)

    def data_files(self, place: str, below: str = "") -> list[Path]:
        """The files of a place, or of one folder of it, sorted."""
        return sorted(path for path in (self.disk(place) / below).rglob("*") if path.is_file() and path.name != MARKER)

    def link_any(self, number: int, place: str, other: str) -> None:
        """Make a file of one place a hard link to the file of the same path and bytes in another."""
        root = self.disk(place)
        files = self.data_files(place)
        if not files:
            return
        file = files[number % len(files)]
        twin = self.disk(other) / file.relative_to(root)
        if twin.is_file() and twin.read_bytes() == file.read_bytes() and not twin.samefile(file):
            file.unlink()
            file.hardlink_to(twin)

    def corrupt(self, file: Path, how: str) -> None:
        """Change the bytes of a file: ``flip`` one bit, ``truncate``, ``zero`` the length, or ``delete``."""
        data = file.read_bytes()
        if how == "flip" and data:
            at = len(data) // 2
            _overwrite(file, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        elif how == "truncate":
            os.truncate(file, len(data) // 2)
        elif how == "zero":
            os.truncate(file, 0)
        elif how == "delete":
            file.unlink()


def _overwrite(file: Path, data: bytes) -> None:
    """Change a file in place: all its hard links change with it."""
    file.chmod(0o644)
    file.write_bytes(data)
