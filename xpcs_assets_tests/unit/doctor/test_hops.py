"""The flight check: a small file over every hop, whatever the places are, and nothing of it left."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from xpcs_assets import cli
from xpcs_assets.arrive.candidates import find
from xpcs_assets.audit.looking import audit_beamline
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.clock import utc_now
from xpcs_assets.copies.ledger import Ledger
from xpcs_assets.copies.pauses import BEAMLINE_KEY
from xpcs_assets.doctor import hops
from xpcs_assets.doctor.flights import flight_folder
from xpcs_assets.doctor.found import State, look_at_all
from xpcs_assets.doctor.hops import SIZE_BYTES, STEP, Flight, fly, probe_last
from xpcs_assets.places.place import RemovalPermit
from xpcs_assets.places.posix import PosixPlace
from xpcs_assets.places.reading import Hashed
from xpcs_assets.runs.folders import ARRIVING_FOLDER, FLIGHT_FOLDER
from xpcs_assets.settings_places import FlightCheck
from xpcs_assets.site import SITE_FILE, Site
from xpcs_assets_tests import sshd
from xpcs_assets_tests.storage import HandClock
from xpcs_assets_tests.unit.conftest import Altered
from xpcs_assets_tests.unit.stage.globus_site import GlobusSite, globus_site_at

HOP = "detector -> store"


@pytest.fixture
def wide(altered: Altered, site: Site) -> OpenBeamline:
    """A beamline with a further copy, and results that go back."""
    places = {}
    for name in ("mirror", "back"):
        (site.home / name).mkdir()
        places[name] = {"kind": "posix", "root": name, "failure_domain": name}
    returned = {"to": "back"}
    return altered({"places": places, "pipeline": {"copies": ["mirror"], "return_results": returned}})


def flown(beamline: OpenBeamline) -> dict[str, Flight]:
    return {one.hop: one for one in fly(beamline, 60.0)}


def left(home: Path) -> list[Path]:
    return [*home.rglob(f"{FLIGHT_FOLDER}*"), *home.rglob(f"{ARRIVING_FOLDER}*")]


def notes(beamline: OpenBeamline) -> list[str]:
    return [event.what for event in beamline.ledger.timeline("xpcs", BEAMLINE_KEY) if event.step == STEP]


def test_a_file_flies_over_every_hop_and_none_of_it_is_left(wide: OpenBeamline) -> None:
    found = flown(wide)
    assert {hop: one.state.value for hop, one in found.items()} == dict.fromkeys(
        (HOP, "store -> mirror", "store -> back", "store -> tape"), "ok"
    )
    assert (found[HOP].size_bytes, found[HOP].reason) == (SIZE_BYTES, "through this machine")
    assert found[HOP].rate_bytes_per_s == pytest.approx(SIZE_BYTES / found[HOP].seconds, rel=1e-3)
    assert (found["store -> tape"].size_bytes, found["store -> tape"].rate_bytes_per_s) == (0, 0.0)
    assert left(wide.site.home) == []
    assert notes(wide) == ["done: 4 hops"]


def test_nothing_is_written_to_tape(beamline: OpenBeamline, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    put = PosixPlace.put

    def noted(place: PosixPlace, *words: Any, **more: Any) -> Any:
        written.append(place.name)
        return put(place, *words, **more)

    monkeypatch.setattr(PosixPlace, "put", noted)
    flown(beamline)
    assert sorted(written) == ["detector", "store"]


def test_a_hop_that_is_down_is_wrong_and_the_others_fly(wide: OpenBeamline) -> None:
    flown(wide)
    shutil.move(wide.root("mirror"), wide.root("mirror").with_name("away"))
    wide.root("mirror").mkdir()
    found = flown(wide)
    assert [hop for hop, one in found.items() if one.state is State.WRONG] == ["store -> mirror"]
    down = found["store -> mirror"]
    assert "its disk is not mounted" in down.reason
    assert (down.size_bytes, down.remedy) == (0, "`xpcs-assets place xpcs mirror` shows what is expected there")
    assert notes(wide)[-1].startswith("failed: store -> mirror: place mirror is unavailable")
    assert list(wide.root("mirror").iterdir()) == []


def test_a_tape_that_is_not_there_is_wrong(beamline: OpenBeamline) -> None:
    flown(beamline)
    shutil.move(beamline.root("tape"), beamline.root("tape").with_name("away"))
    assert flown(beamline)["store -> tape"].state is State.WRONG


def test_bytes_that_arrive_otherwise_are_told_and_taken_away(
    beamline: OpenBeamline, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = PosixPlace.digest

    def other(place: PosixPlace, path: str, also: Iterable[str] = ()) -> Hashed:
        if place.name == "store":
            (place.root / path).write_bytes(b"flipped")
        return digest(place, path, also)

    monkeypatch.setattr(PosixPlace, "digest", other)
    found = flown(beamline)[HOP]
    assert (found.state, "other bytes" in found.reason, found.size_bytes) == (State.WRONG, True, 0)
    assert left(beamline.site.home) == []


class _KilledError(BaseException):
    """What ends a check as a kill does: nothing is cleaned up."""


@pytest.mark.parametrize("at", [0, 1, 2, 3])
def test_a_check_that_was_killed_leaves_what_the_next_one_takes_away(
    beamline: OpenBeamline, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Before the file is at the source, at the target, read there, and before it is taken away at both."""
    with monkeypatch.context() as killed:
        _kill(killed, at)
        with pytest.raises(_KilledError):
            hops._fly_hop(beamline, "detector", "store", 60.0, lambda _: None)
    assert bool(left(beamline.site.home)) == (at > 0)
    assert flown(beamline)[HOP].state is State.OK
    assert left(beamline.site.home) == []


def _kill(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    steps: Iterator[int] = iter(range(100))

    def dying(before: Callable[..., Any]) -> Callable[..., Any]:
        def call(*words: Any, **more: Any) -> Any:
            if next(steps) == at:
                raise _KilledError
            return before(*words, **more)

        return call

    for name in ("put", "digest", "remove"):
        monkeypatch.setattr(PosixPlace, name, dying(getattr(PosixPlace, name)))


def test_a_check_beside_another_is_told_so_and_takes_none_of_its_files(beamline: OpenBeamline) -> None:
    folder = flight_folder("xpcs", "detector..store")
    beamline.place("store").put(f"{folder}/theirs.flight", [b"x"])
    beamline.ledger.take_lease("xpcs", folder, "flight", "another", 600.0)
    found = flown(beamline)[HOP]
    assert (found.state, found.reason.startswith(f"xpcs/{folder}: another works on it")) == (State.WRONG, True)
    assert beamline.place("store").list(folder).files == (f"{folder}/theirs.flight",)


def test_the_lease_of_a_check_that_was_killed_is_over_before_the_next_is_due(beamline: OpenBeamline) -> None:
    with pytest.raises(ValueError, match="greater than or equal to 900"):
        FlightCheck(every=hops.LEASE_S)


def test_flight_files_are_no_run_no_copy_and_not_dark(beamline: OpenBeamline) -> None:
    for name in ("detector", "store", "tape"):
        beamline.place(name).put(f"{flight_folder('xpcs', 'a..b')}/0.flight", [b"x"])
    assert list(find(beamline.settings, beamline.source_root)) == []
    done = audit_beamline(beamline)
    assert (done.trouble, done.findings) == ((), ())
    assert beamline.place("store").list("").files == ()


def test_a_source_that_cannot_be_written_has_its_hop_flown_from_here(
    beamline: OpenBeamline, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xpcs_assets.copies import meeting
    from xpcs_assets.copies.meeting import Met
    from xpcs_assets.places.marker import UNMARKED

    meet = meeting.meet

    def forbidden(ledger: Ledger, name: str, place: str, root: Any) -> Met:
        return Met(UNMARKED) if place == "detector" else meet(ledger, name, place, root)

    monkeypatch.setattr(meeting, "meet", forbidden)
    found = flown(beamline)[HOP]
    assert (found.state, found.size_bytes) == (State.OK, SIZE_BYTES)
    assert "nothing can be written there" in found.reason
    assert left(beamline.site.home) == []


@pytest.mark.skipif(bool(sshd.why_missing()), reason=sshd.why_missing())
def test_a_hop_over_ssh_and_one_that_is_cut_off(altered: Altered, site: Site, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    with sshd.another_server() as server:
        commands = server.commands
        host = {"address": commands.address, "port": commands.port, "user": commands.user}
        host |= {"key": commands.key, "known_hosts": commands.known_hosts}
        with (site.home / SITE_FILE).open("a", encoding="utf-8") as file:
            file.write("\n" + yaml.safe_dump({"hosts": {"far": host}}))
        place = {"kind": "ssh", "host": "far", "root": str(tmp_path / "far"), "failure_domain": "far away"}
        beamline = altered({"places": {"far": place}, "pipeline": {"copies": ["far"]}})
        found = flown(beamline)["store -> far"]
        assert (found.state, found.reason, found.size_bytes) == (State.OK, "through this machine", SIZE_BYTES)
        assert left(tmp_path) == []
    assert flown(beamline)["store -> far"].state is State.WRONG
    assert left(site.home) == []


@pytest.fixture
def globus(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[GlobusSite]:
    monkeypatch.setattr(hops, "_POLL_S", 0.05)
    with globus_site_at(site.home, monkeypatch, ("eagle",)) as made:
        yield made


def test_between_collections_globus_moves_the_file(globus: GlobusSite) -> None:
    found = flown(globus.beamline)
    assert {one.reason for hop, one in found.items() if hop != "store -> tape"} == {"by Globus"}
    assert {one.state for one in found.values()} == {State.OK}
    assert len(globus.tasks) == 2
    assert left(globus.home) == []


@pytest.mark.parametrize("trouble", ["flips a byte", "loses a file", "skips a file", "fails", "is paused"])
def test_a_file_that_globus_does_not_bring_as_it_was_is_a_hop_that_is_down(globus: GlobusSite, trouble: str) -> None:
    globus.server.service.troubles = [trouble]
    states = [one.state for one in flown(globus.beamline).values()]
    assert states.count(State.WRONG) == 1
    assert {task.status for task in globus.tasks} <= {"SUCCEEDED", "FAILED"}
    assert left(globus.home) == []


def test_a_transfer_that_takes_too_long_is_cancelled(globus: GlobusSite) -> None:
    globus.server.service.by_hand = True
    found = {one.hop: one for one in fly(globus.beamline, 0.5)}[HOP]
    assert (found.state, found.reason) == (State.WRONG, "Globus did not move the file within 0.5 s")
    assert {task.status for task in globus.tasks} == {"FAILED"}
    assert left(globus.home) == []


def test_the_newest_check_is_a_line_of_the_doctor(beamline: OpenBeamline) -> None:
    clock = HandClock(utc_now())
    ledger = Ledger(beamline.engine, clock)
    probe = probe_last("xpcs", FlightCheck(every=3600.0), ledger)

    def said() -> tuple[State, str]:
        (found,) = look_at_all([probe], 30.0)
        return found.state, found.reason

    assert said() == (State.SKIPPED, "none was made yet")
    ledger.note("xpcs", BEAMLINE_KEY, STEP, "failed: a -> b: it is down")
    assert (said()[0], said()[1].endswith("UTC: a -> b: it is down")) == (State.WRONG, True)
    ledger.note("xpcs", BEAMLINE_KEY, STEP, "done: 2 hops")
    assert said()[0] is State.OK
    clock.now += timedelta(hours=3)
    assert said()[0] is State.WRONG


def test_by_hand_every_hop_is_a_line_and_one_that_is_down_is_exit_1(beamline: OpenBeamline) -> None:
    command = ["doctor", "--fly", "xpcs", "--home", str(beamline.site.home)]
    done = CliRunner(env={"COLUMNS": "300"}).invoke(cli.app, command)
    assert done.exit_code == 0, done.output
    assert [line.split()[:4] for line in done.stdout.splitlines()[1:]] == [
        ["ok", "detector", "->", "store"],
        ["ok", "store", "->", "tape"],
    ]
    shutil.rmtree(beamline.root("store"))
    done = CliRunner().invoke(cli.app, [*command, "--json"])
    assert done.exit_code == 1
    assert [one["state"] for one in json.loads(done.stdout)] == ["wrong", "ok"]


def test_a_permit_is_asked_for_each_flight_file(beamline: OpenBeamline, monkeypatch: pytest.MonkeyPatch) -> None:
    removed: list[tuple[str, str]] = []
    remove = PosixPlace.remove

    def noted(place: PosixPlace, path: str, permit: RemovalPermit) -> bool:
        removed.append((place.name, path))
        return remove(place, path, permit)

    monkeypatch.setattr(PosixPlace, "remove", noted)
    flown(beamline)
    assert {name for name, _ in removed} == {"detector", "store"}
    assert all(path.startswith(f"{FLIGHT_FOLDER}/xpcs/detector..store/") for _, path in removed)
