"""A site whose jobs run in this process: what Dagster does with a run, without its daemon."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dagster as dg
import pytest

from xpcs_assets.arrive.submit import submit
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.definitions import build_defs
from xpcs_assets.follow import RunState, state_of
from xpcs_assets.new_site import init
from xpcs_assets.site import Site
from xpcs_assets.testing.simulate import SimulatedRun, simulate

# Drawing takes longer than all else; most tests are about something else.
TO_G2 = ("raw_file", "staged_copy", "correlation")
TO_CATALOG = ("raw_file", "staged_copy", "metadata", "catalog_entry")


@cache
def _simulated(**settings: Any) -> tuple[SimulatedRun, dict[str, bytes]]:
    """A run and its files. The same settings give the same photons, and most tests have the same."""
    with TemporaryDirectory() as folder:
        run = simulate(Path(folder), **settings)
        return run, {path.name: path.read_bytes() for path in run.folder.iterdir()}


@dataclass
class Pipeline:
    """A beamline, and its jobs on an instance of their own."""

    site: Site
    beamline: OpenBeamline
    repository: dg.RepositoryDefinition
    instance: dg.DagsterInstance
    aside: Path

    @property
    def prefix(self) -> str:
        """What the names of the beamline's jobs and partitions begin with."""
        return self.beamline.settings.dagster_name

    def simulated(self, seed: int = 1, **options: Any) -> SimulatedRun:
        """A small run beside the detector's folder."""
        settings = {"format": "imm", "frames": 200, "shape": (48, 64), "n_dynamic": 4, "n_static": 12} | options
        run, files = _simulated(seed=seed, **settings)
        folder = self.aside / run.name
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)
        there = {part: folder / getattr(run, part).name for part in ("raw", "metadata", "qmap")}
        return replace(run, folder=folder, **there)

    def drop(self, folder: Path, name: str = "") -> str:
        """Move a run's folder into the detector's, submit it as it is, and make it a partition; its key."""
        target = self.beamline.source_root / (name or folder.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(folder, target)
        key = submit(self.beamline, target, as_is=True).key
        self.instance.add_dynamic_partitions(f"{self.prefix}_runs", [key])
        return key

    def run(
        self, job: str, key: str, run_config: dict[str, Any] | None = None, only: tuple[str, ...] = ()
    ) -> dg.ExecuteInProcessResult:
        """Run a job, or only some of its assets, for one partition; a step that fails does not raise."""
        definition = self.repository.get_job(f"{self.prefix}_{job}")
        return definition.execute_in_process(
            instance=self.instance,
            partition_key=key,
            run_config=run_config,
            raise_on_error=False,
            asset_selection=[dg.AssetKey([self.beamline.name, name]) for name in only] or None,
        )

    def ingest(self, folder: Path, only: tuple[str, ...] = ()) -> RunState:
        """Drop a run, ingest it (all assets, or some) and archive it; where it is then."""
        key = self.drop(folder)
        self.run("ingest", key, only=only)
        self.archive(key)
        return state_of(self.beamline, key)

    def archive(self, *keys: str) -> dg.ExecuteInProcessResult:
        """Run the archive job for some runs."""
        config = {"ops": {f"{self.prefix}_archive_runs": {"config": {"run_keys": list(keys)}}}}
        job = self.repository.get_job(f"{self.prefix}_archive")
        return job.execute_in_process(instance=self.instance, run_config=config, raise_on_error=False)

    def prune(self, **which: Any) -> dg.ExecuteInProcessResult:
        """Run the prune job for one copy."""
        config = {"ops": {f"{self.prefix}_prune_copy": {"config": which}}}
        job = self.repository.get_job(f"{self.prefix}_prune")
        return job.execute_in_process(instance=self.instance, run_config=config, raise_on_error=False)

    def check(self, asset: str, name: str, key: str) -> dg.AssetCheckEvaluation:
        """The newest evaluation of a check for one partition."""
        records = self.instance.event_log_storage.get_asset_check_execution_history(
            dg.AssetCheckKey(dg.AssetKey([self.beamline.name, asset]), name), limit=50
        )
        for record in records:
            event = record.event.dagster_event if record.event else None
            if event is not None and event.asset_check_evaluation_data.partition == key:
                return event.asset_check_evaluation_data
        raise AssertionError(f"check {name} of {asset} was never evaluated for {key}")


def edit(site_home: Path, old: str, new: str) -> None:
    """Change the beamline file; the text to change must be there."""
    file = site_home / "beamlines" / "xpcs.yaml"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture(scope="session")
def template_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site as ``init`` makes it: copied for each test, since migrating takes longer than much of what they do."""
    return init(tmp_path_factory.mktemp("template") / "site").home


@pytest.fixture
def home(template_site: Path, tmp_path: Path) -> Path:
    """A new site's folder."""
    return Path(shutil.copytree(template_site, tmp_path / "site"))


@pytest.fixture
def pipeline(home: Path) -> Iterator[Pipeline]:
    """The site's jobs. A test that edits the beamline file asks for ``home`` first."""
    yield from open_pipeline(home)


def open_pipeline(home: Path, name: str = "xpcs") -> Iterator[Pipeline]:
    """Load the site's definitions and give them an instance; the jobs are those of one beamline."""
    site = Site(home)
    aside = home / "aside"
    aside.mkdir(exist_ok=True)
    with dg.DagsterInstance.ephemeral() as instance:
        repository = build_defs(site).get_repository_def()
        yield Pipeline(site, OpenBeamline(site, site.beamline(name)), repository, instance, aside)
