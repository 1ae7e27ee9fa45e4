"""How fast a catalog is filled again from records and results on disk: ``catalog.py --rebuild N``.

One run is simulated, taken, staged, described and correlated; its record and result are laid down N times under other
keys, and the ledger is told of them. Then the catalog is filled from them, thrown away and filled again.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from sqlalchemy import text

from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.catalog.cataloguing import recatalogue
from xpcs_assets.copies.compare import contents
from xpcs_assets.copies.ledger import Evidence
from xpcs_assets.describe.describing import describe
from xpcs_assets.describe.record import read_record, write_record
from xpcs_assets.new_site import init
from xpcs_assets.runs.folders import VersionFolder
from xpcs_assets.runs.manifest import Manifest
from xpcs_assets.stage.staging import stage
from xpcs_assets.testing.simulate import simulate


def rebuild(folder: Path, runs: int) -> dict[str, float]:
    """Seconds and CPU seconds of filling, and runs a second."""
    site = init(folder / "site")
    beamline = OpenBeamline(site, site.beamline("xpcs"))
    model = lay_down_one(beamline, folder)
    for number in range(runs):
        lay_down(beamline, model, f"R{number:05}")
    told = {}
    for name in ("empty", "again"):
        with beamline.engine.begin() as connection:
            connection.execute(text("DELETE FROM catalog_records"))
        cpu_s, since_s = time.process_time(), time.perf_counter()
        trouble = recatalogue(beamline)
        wall_s, cpu_s = time.perf_counter() - since_s, time.process_time() - cpu_s
        if trouble:
            raise RuntimeError(trouble[0])
        told[name] = contents(beamline.engine)["catalog_records"]
        print(f"{runs + 1} runs with a result each: {wall_s:.1f} s, {cpu_s:.1f} CPU s")
    if told["empty"] != told["again"]:
        raise RuntimeError("the second filling differs from the first")
    beamline.engine.dispose()
    return {"runs": runs + 1, "wall_s": wall_s, "cpu_s": cpu_s}


def lay_down_one(beamline: OpenBeamline, folder: Path) -> tuple[VersionFolder, Path]:
    """A run through the steps; its folder in the store and its result."""
    made = simulate(beamline.source_root, format="imm", frames=500)
    key = submit(beamline, made.folder, as_is=True).key
    take(beamline, key)
    stage(beamline, key)
    describe(beamline, key)
    result = folder / "model_results.hdf"
    raw = next(made.folder.glob("*.imm"))
    command = [sys.executable, "-m", "xpcs_assets", "correlate", raw, "--qmap", next(made.folder.glob("*_qmap.hdf"))]
    command += ["--metadata", next(made.folder.glob("*_metadata.hdf")), "--output", result]
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)
    store = beamline.staged(beamline.latest(key))
    record_result(beamline, store, result)
    return store, result


def lay_down(beamline: OpenBeamline, model: tuple[VersionFolder, Path], key: str) -> None:
    """The same run under another key: its record and result on disk, and what the ledger knows of them."""
    store, result = model
    record = replace(read_record(store.record), run_key=key)
    manifest = Manifest.of(key, record.files)
    version = beamline.ledger.record_version(beamline.name, key, manifest, key, owner={})
    folder = beamline.staged(version)
    write_record(replace(record, manifest_digest=manifest.digest), folder.record)
    beamline.ledger.record_copy(
        beamline.name,
        key,
        1,
        place=beamline.settings.pipeline.stage.to,
        path=str(folder.raw.relative_to(folder.root)),
        failure_domain="disk",
        evidence=Evidence.READ_BACK,
    )
    record_result(beamline, folder, result)


def record_result(beamline: OpenBeamline, folder: VersionFolder, result: Path) -> None:
    report = json.loads(result.with_suffix(".json").read_text("utf-8"))
    target = folder.result(report["recipe_digest"].removeprefix("sha256:")[:12])
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(result, target)
    os.utime(target, (1.7e9, 1.7e9))
    beamline.ledger.record_result(
        beamline.name,
        folder.run_key,
        run_key=folder.run_key,
        version=folder.version,
        recipe_digest=report["recipe_digest"],
        path=str(target.relative_to(folder.root)),
        result_digest=report["result_digest"],
        report=report,
    )
