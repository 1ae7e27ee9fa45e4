"""A small site of one beamline for each test, and runs to drop into its detector folder."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import pytest
import yaml

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.new_site import init
from xpcs_assets.site import Site
from xpcs_assets.testing.simulate import SimulatedRun, simulate


@pytest.fixture(scope="session")
def template_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site as ``init`` makes it: copied for each test, since migrating takes longer than most of them."""
    return init(tmp_path_factory.mktemp("template") / "site").home


@pytest.fixture
def site(template_site: Path, tmp_path: Path) -> Site:
    """A fresh site with the beamline ``xpcs``."""
    shutil.copytree(template_site, tmp_path / "site")
    return Site(tmp_path / "site")


Altered = Callable[[dict[str, Any]], OpenBeamline]


@pytest.fixture
def altered(site: Site) -> Iterator[Altered]:
    """Open the beamline with some of its settings changed: ``altered({"runs": {"expect": []}})``."""
    opened: list[OpenBeamline] = []

    def alter(changes: dict[str, Any]) -> OpenBeamline:
        file = site.home / "beamlines" / "xpcs.yaml"
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        _merge(content, changes)
        file.write_text(yaml.safe_dump(content), encoding="utf-8")
        fresh = Site(site.home)
        opened.append(OpenBeamline(fresh, fresh.beamline("xpcs")))
        return opened[-1]

    yield alter
    for beamline in opened:
        beamline.engine.dispose()


@pytest.fixture
def beamline(altered: Altered) -> OpenBeamline:
    """The site's beamline, open."""
    return altered({})


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one small simulated run, named like its files: raw, metadata, q-map and truth."""
    folder = tmp_path_factory.mktemp("simulated")
    options = {"frames": 60, "shape": (48, 64), "n_dynamic": 4, "n_static": 12}
    return simulate(folder, format="imm", name="SIM", **options).folder  # type: ignore[arg-type]


Drop = Callable[..., Path]


@pytest.fixture
def drop(simulated: Path) -> Drop:
    """Put the simulated run into a beamline's detector folder under a name of one's own."""

    def put(beamline: OpenBeamline, name: str = "A001") -> Path:
        folder = beamline.source_root / name
        folder.mkdir(parents=True)
        for file in simulated.iterdir():
            shutil.copy2(file, folder / file.name.replace("SIM", name, 1))
        return folder

    return put


def empty_hdf5() -> bytes:
    """The bytes of an HDF5 file that holds one attribute."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["made"] = "by a test"
    return buffer.getvalue()


HDF5 = empty_hdf5()


def bare_run(folder: Path, stem: str | None = None) -> Path:
    """A run that is complete by its names and sizes alone: a raw file of a few bytes and its metadata."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = (stem or folder.name).encode()[:200].decode(errors="ignore")
    (folder / f"{stem}.imm").write_bytes(b"frames")
    (folder / f"{stem}_metadata.hdf").write_bytes(HDF5)
    return folder


def _merge(content: dict[str, Any], changes: dict[str, Any]) -> None:
    for name, value in changes.items():
        if isinstance(value, dict) and isinstance(content.get(name), dict):
            _merge(content[name], value)
        else:
            content[name] = value


@pytest.fixture(scope="session")
def eiger(tmp_path_factory: pytest.TempPathFactory) -> SimulatedRun:
    return simulate(tmp_path_factory.mktemp("eiger"), format="eiger", frames=300, seed=3)


@pytest.fixture(scope="session")
def imm(tmp_path_factory: pytest.TempPathFactory) -> SimulatedRun:
    return simulate(tmp_path_factory.mktemp("imm"), format="imm", frames=300, seed=3)


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[SimulatedRun], Path]:
    """Copy a run's folder to where it may be changed; returns the folder."""

    def copy(run: SimulatedRun) -> Path:
        return Path(shutil.copytree(run.folder, tmp_path / run.name))

    return copy
