"""Runs that go through every step, and the ledger of their site: emptied, told as rows, opened anew."""

from __future__ import annotations

import json
from hashlib import sha256

from xpcs_assets.archive.archiving import archive
from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.audit.rebuild import Rebuilt
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.catalog.cataloguing import catalogue_raw
from xpcs_assets.catalog.embedded import raw_pid
from xpcs_assets.catalog.reader import CatalogReader
from xpcs_assets.catalog.viewer import OPERATOR
from xpcs_assets.copies.compare import contents
from xpcs_assets.copies.database import open_database
from xpcs_assets.describe.describing import describe
from xpcs_assets.prune.remove import prune_copy
from xpcs_assets.runs.retention import Retention
from xpcs_assets.site import Site
from xpcs_assets.stage.staging import stage
from xpcs_assets_tests.unit.conftest import bare_run


def opened(site: Site) -> OpenBeamline:
    """The beamline as another process opens it."""
    fresh = Site(site.home)
    return OpenBeamline(fresh, fresh.beamline("xpcs"))


def result(beamline: OpenBeamline, key: str, run_key: str, recipe: str) -> None:
    """A result with its report, as the step of correlation records it."""
    from xpcs_assets.copies.beside import write_note

    folder = beamline.staged(beamline.latest(run_key))
    path = folder.result(recipe)
    path.parent.mkdir(parents=True)
    path.write_bytes(recipe.encode())
    digest = "sha256:" + sha256(recipe.encode()).hexdigest()
    report = {"recipe_digest": f"sha256:{recipe}", "result_digest": digest, "frames": 5}
    folder.report(recipe).write_text(json.dumps(report), encoding="utf-8")
    beamline.ledger.record_result(
        "xpcs",
        key,
        run_key=run_key,
        version=1,
        recipe_digest=f"sha256:{recipe}",
        path=str(path.relative_to(folder.root)),
        result_digest=digest,
        report=report,
    )
    if key == run_key:
        beamline.ledger.promote("xpcs", run_key, f"sha256:{recipe}")
    write_note(beamline.engine, folder)


def work(beamline: OpenBeamline, key: str, seed: int = 0) -> None:
    """A run through the steps that write to ledger and catalog."""
    folder = bare_run(beamline.source_root / key)
    (folder / "more.txt").write_text(f"run {key} {seed}")
    submit(beamline, folder, as_is=True)
    take(beamline, key)
    stage(beamline, key)
    describe(beamline, key)
    catalogue_raw(beamline, key)
    result(beamline, key, key, f"recipe-{key}")
    result(beamline, f"{key}~wide", key, f"wide-{key}")
    archive(beamline, key)
    beamline.ledger.note("xpcs", key, "archive", "done", {"seconds": 1.5})


def people(beamline: OpenBeamline) -> None:
    """What people do: hold, release, note, prune a copy."""
    ledger = beamline.ledger
    ledger.hold("xpcs", "A001", "paper", "a scientist")
    ledger.release("xpcs", "A001", "a scientist")
    ledger.hold("xpcs", "A002", "wanted \udcff", "an operator")
    CatalogReader(beamline.engine, OPERATOR).comment(raw_pid("xpcs", "A001", 1), "nice rings", "a scientist")
    copy = next(each for each in ledger.copies("xpcs", "A001", 1) if each.place == "detector")
    places = {name: beamline.place(name) for name in beamline.settings.places}
    for number, place in enumerate(places.values()):
        place._failure_domain = f"room {number}"
    for each in ledger.copies("xpcs", "A001", 1):
        ledger.record_copy(
            "xpcs",
            "A001",
            1,
            place=each.place,
            path=each.path,
            failure_domain=places[each.place].failure_domain,
            evidence=each.evidence,
        )
    copy = next(each for each in ledger.copies("xpcs", "A001", 1) if each.place == "detector")
    prune_copy(
        ledger,
        copy,
        places,
        Retention(keep_for_s=1e-3, min_copies=1, needs_archive=False, needs_catalog=False),
        catalogued=True,
        holder="a pruner",
        by="an operator",
        reason="room",
    )


def destroy(site: Site) -> None:
    """Take the database away."""
    if site.database_url.startswith("sqlite"):
        for file in site.home.glob("ledger.db*"):
            file.unlink()
        return
    engine = open_database(site.database_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
    engine.dispose()


def dump(site: Site) -> dict[str, tuple[str, ...]]:
    engine = open_database(site.database_url)
    try:
        return contents(engine)
    finally:
        engine.dispose()


def told(done: Rebuilt) -> list[str]:
    """What was told, but for the made-up results that the catalog cannot open."""
    return [text for text in done.found.told if "is no HDF5 file" not in text]


def begun(site: Site, *keys: str) -> OpenBeamline:
    beamline = opened(site)
    for key in keys:
        work(beamline, key)
    return beamline
