"""Archiving to HPSS: a run waits for its job without failing, one job a bundle, and comes back whole or in part."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest

from xpcs_assets.archive.archiving import archive
from xpcs_assets.archive.fixity import reread_bundle
from xpcs_assets.archive.gather import gather_runs, keep_together
from xpcs_assets.archive.pending import LONGEST_WAIT, to_archive, to_gather
from xpcs_assets.archive.results_back import retrieve_results
from xpcs_assets.archive.retrieve import retrieve
from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.compute import opening
from xpcs_assets.copies.ledger import CopyState, Evidence
from xpcs_assets.copies.versions import WAITS
from xpcs_assets.errors import CopyError, NotVerifiedError, RemovalRefusedError, UnderWayError
from xpcs_assets.places.hpss import HpssPlace
from xpcs_assets.places.place import Presence
from xpcs_assets.prune.remove import Removed, prune_copy
from xpcs_assets.runs.retention import Retention
from xpcs_assets.site import Site
from xpcs_assets.stage.staging import stage
from xpcs_assets.testing.fake_hpss import FakeHpss
from xpcs_assets_tests.hpss import InstantBackend, has_hpss_archive
from xpcs_assets_tests.unit.archive.conftest import clock_of, clocked, staged
from xpcs_assets_tests.unit.conftest import Altered, bare_run

RUN = "A001"


@dataclass
class Vaulted:
    """A beamline with a staged run, its back end, and HPSS."""

    beamline: OpenBeamline
    backend: InstantBackend
    hpss: FakeHpss

    @property
    def vault(self) -> Path:
        """The place's folder in HPSS."""
        return self.beamline.site.home / "hpss"

    @property
    def bundle(self) -> Path:
        """The one bundle there."""
        (found,) = self.vault.rglob("*.tar")
        return found

    def archived(self) -> int:
        """Archive again and again until it is done; how often it had to wait."""
        for waited in range(20):
            try:
                archive(self.beamline, RUN)
            except UnderWayError:
                for job_id in self.backend.jobs():
                    self.backend.finish(job_id)
            else:
                return waited
        raise AssertionError("it never ended")

    def forget_answers(self) -> None:
        """Let so much time pass that no answer counts any more."""
        for report in (self.beamline.site.home / "scratch").rglob("report-*.json"):
            told = json.loads(report.read_text())
            report.write_text(json.dumps(told | {"ended_at_s": 0.0}))


@pytest.fixture
def vaulted(site: Site, altered: Altered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vaulted:
    hpss = FakeHpss.build(tmp_path / "bin")
    changes = has_hpss_archive(site.home, hpss)
    backend = InstantBackend(tmp_path / "backend", "xfer")
    backend.folder.mkdir()
    monkeypatch.setattr(opening, "open_backend", lambda site, name: backend)
    beamline = altered(changes)
    clocked(beamline)
    bare_run(beamline.source_root / RUN)
    (beamline.source_root / RUN / "A001_big.imm").write_bytes(b"frames" * 5000)
    submit(beamline, beamline.source_root / RUN)
    take(beamline, RUN)
    stage(beamline, RUN)
    return Vaulted(beamline, backend, hpss)


def test_a_run_is_archived_by_one_job_that_stores_lists_and_reads_back(vaulted: Vaulted) -> None:
    beamline = vaulted.beamline
    done = archive(beamline, RUN)
    (bundle,) = done.bundles
    assert (bundle.evidence, done.files, done.written) == (Evidence.READ_BACK, 3, 1)
    assert vaulted.bundle == vaulted.vault / bundle.name
    assert sorted(path.name.removeprefix(vaulted.bundle.name) for path in vaulted.bundle.parent.iterdir()) == [
        "",
        ".idx",
        ".index.json",
    ]
    names = [job.name for job in vaulted.backend.jobs().values()]
    assert sum("-store-" in name for name in names) == 2  # the marker, when the place was met, and the bundle
    (copy,) = [copy for copy in beamline.ledger.copies("xpcs", RUN, 1) if copy.place == "tape"]
    assert (copy.state, copy.evidence, copy.failure_domain) == (
        CopyState.PRESENT,
        Evidence.READ_BACK,
        f"HPSS {vaulted.vault}",
    )
    assert to_archive(beamline, 10) == []
    left = [path.stat().st_size for path in (beamline.site.home / "scratch").rglob("*") if path.is_file()]
    assert max(left) < bundle.size_bytes


def test_a_run_waits_for_each_job_and_no_job_is_made_twice(vaulted: Vaulted) -> None:
    vaulted.backend.holds = True
    assert vaulted.archived() > 0
    stores = [job.words[-1] for job in vaulted.backend.jobs().values() if "-store-" in job.name]
    assert len(set(stores)) == len(stores) == 2
    assert len(vaulted.hpss.said("hsi -q put")) == 3  # marker, bundle, index
    assert [copy.state for copy in vaulted.beamline.ledger.copies("xpcs", RUN, 1) if copy.place == "tape"] == [
        CopyState.PRESENT
    ]


def test_what_waits_is_asked_for_again_soon_and_a_file_is_poured_once(vaulted: Vaulted) -> None:
    clock = clock_of(vaulted.beamline)
    for minutes in (1, 2, 4, 8, 15, 15):
        vaulted.beamline.ledger.note("xpcs", RUN, "archive", f"{WAITS}HPSS job 1 of xfer is not done yet")
        clock.advance(60 * minutes - 1)
        assert to_archive(vaulted.beamline, 10) == []
        clock.advance(1)
        assert to_archive(vaulted.beamline, 10) == [RUN]
    assert LONGEST_WAIT.total_seconds() == 900
    archive_place = vaulted.beamline.place("tape")  # meets it
    vaulted.backend.holds = True
    read: list[int] = []

    def chunks() -> Iterator[bytes]:
        read.append(1)
        yield b"bundle"

    assert isinstance(archive_place, HpssPlace)
    for _ in range(3):
        with pytest.raises(UnderWayError, match=r"HPSS job \d+ of xfer is not done yet"):
            archive_place.put_bundle("b/x.tar", chunks(), "b/x.tar.index.json", b"{}")
    assert read == [1]


def test_half_of_a_run_is_no_copy_and_the_other_half_follows(vaulted: Vaulted, altered: Altered) -> None:
    vaulted.beamline = altered({"pipeline": {"archive": {"bundle": {"alone_over": "10 kB"}}}})
    vaulted.beamline.place("tape")
    vaulted.backend.holds = True
    states = []
    for _ in range(4):
        try:
            archive(vaulted.beamline, RUN)
        except UnderWayError:
            ledger = vaulted.beamline.ledger
            copies = [copy for copy in ledger.copies("xpcs", RUN, 1) if copy.place == "tape"]
            states.append((len(ledger.bundles("xpcs", RUN, 1)), len(copies)))
            for job_id in vaulted.backend.jobs():
                vaulted.backend.finish(job_id)
    assert states[0] == (0, 0)
    assert (1, 0) in states
    done = archive(vaulted.beamline, RUN)
    assert (len(done.bundles), done.files) == (2, 3)
    assert [copy.state for copy in vaulted.beamline.ledger.copies("xpcs", RUN, 1) if copy.place == "tape"] == [
        CopyState.PRESENT
    ]


def lose_all_but_the_archive(vaulted: Vaulted) -> None:
    for folder in (vaulted.beamline.source_root / RUN, vaulted.beamline.staged(vaulted.beamline.latest(RUN)).raw):
        for file in folder.iterdir():
            file.unlink()


def test_one_file_comes_back_by_htar_and_a_run_by_its_bundle(vaulted: Vaulted, tmp_path: Path) -> None:
    archive(vaulted.beamline, RUN)
    lose_all_but_the_archive(vaulted)
    before = len(vaulted.hpss.said("hsi -q get"))
    one = retrieve(vaulted.beamline, RUN, ["A001.imm"], to=tmp_path / "one")
    assert (one.missing, (tmp_path / "one" / "A001.imm").read_bytes()) == ({}, b"frames")
    assert len(vaulted.hpss.said("hsi -q get")) == before
    assert vaulted.hpss.said("htar -x")[0].endswith(".tar A001.imm")
    whole = retrieve(vaulted.beamline, RUN, to=tmp_path / "all")
    assert (whole.missing, (tmp_path / "all" / "A001_big.imm").read_bytes()) == ({}, b"frames" * 5000)
    assert len(vaulted.hpss.said("hsi -q get")) == before + 1


def test_what_htar_cannot_give_comes_by_our_own_index(vaulted: Vaulted, tmp_path: Path) -> None:
    vaulted.hpss.go_wrong(htar_fails=True)
    archive(vaulted.beamline, RUN)
    lose_all_but_the_archive(vaulted)
    one = retrieve(vaulted.beamline, RUN, ["A001.imm"], to=tmp_path / "one")
    assert (one.missing, (tmp_path / "one" / "A001.imm").read_bytes()) == ({}, b"frames")
    assert not list(vaulted.vault.rglob("*.idx"))


def test_who_retrieves_is_told_which_job_to_wait_for(vaulted: Vaulted, tmp_path: Path) -> None:
    archive(vaulted.beamline, RUN)
    lose_all_but_the_archive(vaulted)
    vaulted.backend.holds = True
    waiting = retrieve(vaulted.beamline, RUN, ["A001.imm"], to=tmp_path / "one")
    assert "of xfer is not done yet" in waiting.missing["A001.imm"]
    for job_id in vaulted.backend.jobs():
        vaulted.backend.finish(job_id)
    assert retrieve(vaulted.beamline, RUN, ["A001.imm"], to=tmp_path / "one").missing == {}


def test_results_wait_for_the_job_that_brings_them(vaulted: Vaulted) -> None:
    folder = vaulted.beamline.staged(vaulted.beamline.latest(RUN))
    file = folder.result("aaaa")
    file.parent.mkdir(parents=True)
    file.write_bytes(b"g2")
    vaulted.beamline.ledger.record_result(
        "xpcs",
        RUN,
        run_key=RUN,
        version=1,
        recipe_digest="sha256:aaaa",
        path=str(file.relative_to(folder.root)),
        result_digest=f"sha256:{sha256(b'g2').hexdigest()}",
        report={},
    )
    archive(vaulted.beamline, RUN)
    file.unlink()
    vaulted.backend.holds = True
    before = len(vaulted.backend.jobs())
    assert retrieve_results(vaulted.beamline, RUN, dry_run=True).missing == {}
    assert len(vaulted.backend.jobs()) == before
    waiting = retrieve_results(vaulted.beamline, RUN)
    assert "of xfer is not done yet" in waiting.missing["aaaa/A001_results.hdf"]
    for job_id in vaulted.backend.jobs():
        vaulted.backend.finish(job_id)
    assert retrieve_results(vaulted.beamline, RUN).missing == {}
    assert file.read_bytes() == b"g2"


def test_a_member_of_a_damaged_bundle_is_refused_and_the_others_come(vaulted: Vaulted, tmp_path: Path) -> None:
    archive(vaulted.beamline, RUN)
    lose_all_but_the_archive(vaulted)
    damage(vaulted)
    done = retrieve(vaulted.beamline, RUN, to=tmp_path / "all")
    assert list(done.missing) == ["A001_big.imm"]
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == ["A001.imm", "A001_metadata.hdf"]


def damage(vaulted: Vaulted) -> None:
    """Flip a byte of the biggest member, in HPSS."""
    data = bytearray(vaulted.bundle.read_bytes())
    at = data.index(b"frames" * 5000) + 100
    data[at] ^= 1
    vaulted.bundle.write_bytes(data)


def test_a_byte_flipped_in_hpss_is_found_and_the_run_is_archived_again(vaulted: Vaulted) -> None:
    (bundle,) = archive(vaulted.beamline, RUN).bundles
    assert reread_bundle(vaulted.beamline.ledger, vaulted.beamline.place("tape"), bundle).wrong == ""
    damage(vaulted)
    vaulted.forget_answers()
    reread = reread_bundle(vaulted.beamline.ledger, vaulted.beamline.place("tape"), bundle)
    assert (reread.wrong != "", reread.bundle.evidence) == (True, Evidence.LEDGER)
    again = archive(vaulted.beamline, RUN)
    assert [each.name for each in again.bundles] != [bundle.name]
    assert (again.written, again.files, len(list(vaulted.vault.rglob("*.tar")))) == (1, 3, 2)


def test_while_hpss_is_down_nothing_is_concluded(vaulted: Vaulted) -> None:
    (bundle,) = archive(vaulted.beamline, RUN).bundles
    vaulted.forget_answers()
    vaulted.hpss.go_wrong(down=True)
    for asking in (
        lambda: archive(vaulted.beamline, RUN),
        lambda: reread_bundle(vaulted.beamline.ledger, vaulted.beamline.place("tape"), bundle),
    ):
        with pytest.raises(CopyError, match="maintenance"):
            asking()
    (copy,) = [copy for copy in vaulted.beamline.ledger.copies("xpcs", RUN, 1) if copy.place == "tape"]
    assert copy.state is CopyState.PRESENT
    assert vaulted.beamline.place("tape").list().presence is Presence.UNKNOWN


def test_a_bundle_that_is_gone_does_not_count_any_more(vaulted: Vaulted) -> None:
    archive(vaulted.beamline, RUN)
    vaulted.forget_answers()
    vaulted.bundle.unlink()
    with pytest.raises(NotVerifiedError, match="is gone"):
        archive(vaulted.beamline, RUN)


def prune_source(vaulted: Vaulted) -> Removed:
    ledger = vaulted.beamline.ledger
    clock_of(vaulted.beamline).advance(3600.0)
    places = {name: vaulted.beamline.place(name) for name in ("detector", "tape")}
    (copy,) = [copy for copy in ledger.copies("xpcs", RUN, 1) if copy.place == "detector"]
    return prune_copy(
        ledger,
        copy,
        places,
        Retention(keep_for_s=60.0, min_copies=1),
        catalogued=True,
        holder="test",
        by="operator",
        reason="retention",
        stopwatch=clock_of(vaulted.beamline).stopwatch,
    )


def test_a_copy_goes_when_a_job_has_read_the_bundles_and_stays_until_then(vaulted: Vaulted) -> None:
    archive(vaulted.beamline, RUN)
    vaulted.backend.holds = True
    raw = vaulted.beamline.source_root / RUN / "A001.imm"
    for _ in range(2):  # for what lies there, then for the bundle
        with pytest.raises(RemovalRefusedError, match="of xfer is not done yet"):
            prune_source(vaulted)
        (copy,) = [copy for copy in vaulted.beamline.ledger.copies("xpcs", RUN, 1) if copy.place == "tape"]
        assert (raw.exists(), copy.state) == (True, CopyState.PRESENT)
        for job_id in vaulted.backend.jobs():
            vaulted.backend.finish(job_id)
    assert (prune_source(vaulted).files, raw.exists()) == (3, False)


def test_a_damaged_bundle_in_hpss_is_no_witness(vaulted: Vaulted) -> None:
    archive(vaulted.beamline, RUN)
    damage(vaulted)
    with pytest.raises(RemovalRefusedError):
        prune_source(vaulted)
    assert (vaulted.beamline.source_root / RUN / "A001.imm").exists()


def test_runs_that_wait_for_one_bundle_stay_together_without_those_that_come(
    vaulted: Vaulted, altered: Altered
) -> None:
    gather = {"under": "1 MB", "until": "1 GB", "wait": "1 day", "by": []}
    beamline = altered({"pipeline": {"archive": {"bundle": {"gather": gather}}}})
    clock = clocked(beamline)
    staged(beamline, "A002")
    beamline.place("tape")
    clock.advance(86400.0)
    vaulted.backend.holds = True
    (first,) = to_gather(beamline, lambda run_key: True)
    assert first == ["A001", "A002"]
    with pytest.raises(UnderWayError) as caught:
        gather_runs(beamline, first)
    keep_together(beamline, first, caught.value)
    staged(beamline, "A003")
    clock.advance(86400.0)
    assert to_gather(beamline, lambda run_key: True) == [first, ["A003"]]
    assert to_gather(beamline, lambda run_key: run_key != "A002") == [["A003"]]
    with beamline.working("A002", "correlate"), pytest.raises(UnderWayError):
        gather_runs(beamline, first)
    for job_id in vaulted.backend.jobs():
        vaulted.backend.finish(job_id)
    assert gather_runs(beamline, first).failed == {}
    (bundle,) = beamline.ledger.bundles("xpcs", "A001")
    assert [run.run_key for run in bundle.runs] == first
    assert [path.name for path in vaulted.vault.rglob("*.tar")] == [Path(bundle.name).name]
    assert to_gather(beamline, lambda run_key: True) == [["A003"]]
