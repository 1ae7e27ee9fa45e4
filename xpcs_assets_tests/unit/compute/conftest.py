"""A beamline whose analyses run on back ends that tests play."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.site import Site
from xpcs_assets_tests.remote import KEY, Cluster, cluster, configure, made_once, staged
from xpcs_assets_tests.unit.conftest import Drop


@pytest.fixture(scope="session")
def made(template_site: Path, simulated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of the simulated run, made once: its report lies beside it."""
    home = tmp_path_factory.mktemp("made") / "site"
    shutil.copytree(template_site, home)
    site = Site(home)
    beamline = OpenBeamline(site, site.beamline("xpcs"))
    folder = beamline.source_root / KEY
    folder.mkdir(parents=True)
    for file in simulated.iterdir():
        shutil.copy2(file, folder / file.name.replace("SIM", KEY, 1))
    path = made_once(beamline, folder)
    beamline.engine.dispose()
    return path


Clusters = Callable[..., Cluster]


@pytest.fixture
def clusters(site: Site, made: Path, drop: Drop, tmp_path: Path) -> Iterator[Clusters]:
    """Open the beamline with back ends: ``clusters(on=("cluster", "local"))``; its run ``A001`` is staged."""
    opened: list[OpenBeamline] = []

    def make(**settings: Any) -> Cluster:
        configure(site, **settings)
        fresh = Site(site.home)
        beamline = OpenBeamline(fresh, fresh.beamline("xpcs"))
        opened.append(beamline)
        found = cluster(beamline, tmp_path / "backends", made)
        staged(beamline, drop(beamline))
        return found

    yield make
    for beamline in opened:
        beamline.engine.dispose()
