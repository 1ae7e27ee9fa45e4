"""A beamline that tells a SciCat on loopback of its runs, and runs that came through the steps before."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.catalog.documents import derived_pid, raw_pid
from xpcs_assets.catalog.embedded import EmbeddedCatalog
from xpcs_assets.copies.ledger import Ledger
from xpcs_assets.describe.describing import describe
from xpcs_assets.describe.record import read_record
from xpcs_assets.site import SITE_FILE, Site
from xpcs_assets.stage.staging import stage
from xpcs_assets.testing.scicat_server import ScicatServer
from xpcs_assets_tests.scicat import INGESTOR, PREFIX, picture
from xpcs_assets_tests.storage import HandClock
from xpcs_assets_tests.unit.catalog.made import derived
from xpcs_assets_tests.unit.conftest import bare_run

NAME = "scicat-prod"
SLOW_S = 1.0


def tell(home: Path, url: str, *names: str, **changes: Any) -> Site:
    """Let the site's beamline tell catalogs of these names, all of them at one address."""
    (home / "scicat-password").write_text(f"{INGESTOR.password}\n", encoding="utf-8")
    said = {
        "kind": "scicat",
        "url": url,
        "contact_email": "beamline@lbl.gov",
        "username": INGESTOR.name,
        "password": {"file": "scicat-password"},
        "pid_prefix": PREFIX,
        "connect": SLOW_S,
        "read": SLOW_S,
        "reads_tried": 1,
    }
    names = names or (NAME,)
    file = home / SITE_FILE
    content = yaml.safe_load(file.read_text(encoding="utf-8")) | {"catalogs": dict.fromkeys(names, said | changes)}
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    file = home / "beamlines" / "xpcs.yaml"
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    content["pipeline"]["catalog"] = ["embedded", *names]
    content["runs"]["owner"] = {"proposal": "P-1234", "experiment": "comm2026", "groups": ["p1234", "staff"]}
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return Site(home)


def opened(site: Site, clock: HandClock | None = None) -> OpenBeamline:
    """The beamline, with a clock that tests move when one is given."""
    beamline = OpenBeamline(site, site.beamline("xpcs"))
    if clock is not None:
        vars(beamline)["ledger"] = Ledger(beamline.engine, clock)
    return beamline


def described_run(beamline: OpenBeamline, key: str = "A001") -> str:
    """A run of a few bytes that is taken, staged and described; its raw pid."""
    folder = bare_run(beamline.source_root / key)
    (folder / "more.txt").write_text(key)
    submit(beamline, folder, as_is=True)
    take(beamline, key)
    stage(beamline, key)
    describe(beamline, key)
    return raw_pid("xpcs", key, beamline.latest(key).version)


def analysed_run(beamline: OpenBeamline, key: str = "A001", *, content: bytes = b"a result") -> str:
    """A result of a run, with plots, in the embedded catalog; its pid."""
    version = beamline.latest(key)
    folder = beamline.staged(version)
    made = derived(read_record(folder.record))
    path = folder.result(made.recipe.folder)
    (path.parent / "plots").mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    for name in ("g2", "scattering", "a_page_that_is_not_shown"):
        (path.parent / "plots" / f"{name}.png").write_bytes(picture().content)
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    beamline.ledger.record_result(
        "xpcs",
        key,
        run_key=key,
        version=version.version,
        recipe_digest=made.recipe.digest,
        path=str(path.relative_to(folder.root)),
        result_digest=digest,
        report={},
    )
    EmbeddedCatalog(beamline.engine).put_derived(replace(made, result_digest=digest, size_bytes=len(content)))
    return derived_pid("xpcs", key, version.version, made.recipe.folder)


def kinds(server: ScicatServer) -> dict[str, str]:
    """The pids that a server holds, and what kind of dataset each is."""
    return {pid.removeprefix(f"{PREFIX}/"): str(found["type"]) for pid, found in server.store.datasets.items()}
