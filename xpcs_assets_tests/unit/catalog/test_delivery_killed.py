"""A sender that dies at each request and each commit of a delivery: what is left is told once, by the next one."""

from __future__ import annotations

import shutil
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from xpcs_assets.catalog.cataloguing import catalogue_raw
from xpcs_assets.catalog.delivery import deliver, gather, outbox_of
from xpcs_assets.catalog.outbox import HOLD_S, EntryState
from xpcs_assets.catalog.scicat_client import Answer, ScicatClient
from xpcs_assets.site import Site
from xpcs_assets.testing.faults import KILLED, DieAt, Fault, count_commits, in_children
from xpcs_assets.testing.scicat_server import ScicatServer
from xpcs_assets_tests.scicat import PREFIX
from xpcs_assets_tests.storage import HandClock
from xpcs_assets_tests.unit.catalog.told import analysed_run, described_run, opened, tell

ANSWERED = frozenset({"answer"})
"""The backend did it, and the sender never learns of it: of all moments the worst."""
ALL = frozenset({"request", "answer", "commit"})


@pytest.fixture
def prepared(site: Site) -> Path:
    """A site whose run was catalogued, and whose catalog outside was told of nothing."""
    beamline = opened(site, HandClock())
    described_run(beamline)
    catalogue_raw(beamline, "A001")
    analysed_run(beamline)
    beamline.engine.dispose()
    return site.home


class Mortal(ScicatClient):
    """A client whose requests and answers are steps of a fault."""

    fault = Fault()

    def _request(self, method: str, path: str, values: object, **parts: object) -> Answer:
        answer = self.fault.step("request", partial(super()._request, method, path, values, **parts))  # type: ignore[arg-type]
        self.fault.step("answer", lambda: None)
        assert isinstance(answer, Answer)
        return answer


def send(home: Path, fault: Fault) -> None:
    """What the job does, with a fault; in a process of its own."""
    beamline = opened(Site(home), HandClock())
    count_commits(beamline.engine, fault)
    Mortal.fault = fault
    patched = pytest.MonkeyPatch()
    patched.setattr("xpcs_assets.catalog.scicat.ScicatClient", Mortal)
    gather(beamline)
    for _ in deliver(beamline):
        pass


@pytest.mark.parametrize("names", [ANSWERED, pytest.param(ALL, marks=pytest.mark.long)])
def test_f57_a_sender_that_is_killed_anywhere_leaves_each_dataset_to_be_told_once(
    prepared: Path, names: frozenset[str]
) -> None:
    for number in count(1):
        root = prepared.parent / f"killed at {number}"
        shutil.copytree(prepared, root)
        with ScicatServer() as server:
            tell(root, server.url)
            (status,) = in_children(partial(send, root, DieAt(number, names)))
            assert status in {0, KILLED}
            clock = HandClock()
            clock.advance(HOLD_S)
            beamline = opened(Site(root), clock)
            gather(beamline)
            for _ in deliver(beamline):
                pass
            left = outbox_of(beamline).entries("xpcs")
            beamline.engine.dispose()
            assert [entry.state for entry in left] == [EntryState.TOLD] * 3
            assert sorted(held["type"] for held in server.store.datasets.values()) == ["derived", "raw"]
            assert (len(server.store.blocks), len(server.store.attachments)) == (2, 2)
            raw = server.store.datasets[f"{PREFIX}/xpcs-assets/xpcs/A001/v1"]
            assert raw["datasetlifecycle"]["isOnCentralDisk"] is True
        shutil.rmtree(root)
        if status == 0:
            assert number > 15, "the delivery has hardly any steps: the faults are not where they should be"
            return
