"""Make the pictures of docs/ from a running demonstration site: `make pictures`.

It simulates one run, follows it through a site of its own, and photographs the asset graph, one materialisation and
the g2 plot with Debian's Chromium.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.follow import wait
from xpcs_assets.new_site import init
from xpcs_assets.orchestrate.processes import Services
from xpcs_assets.site import Site
from xpcs_assets.testing.simulate import simulate

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
SETTLE_MS = 2500  # the graph is laid out and pictures fade in
TARGET = Path(__file__).parent / "pictures"


def photograph(page: Page, address: str, name: str, *, wait_for: str, show: str = "") -> None:
    """Open a page of the UI, wait until a text is there, open an inline picture if asked, and keep what is seen."""
    page.goto(address, wait_until="domcontentloaded")
    page.get_by_text(wait_for).first.wait_for(timeout=60_000)
    page.wait_for_timeout(SETTLE_MS)
    if show:
        page.get_by_role("row", name=show).first.get_by_text("Show Markdown").click()
        page.wait_for_timeout(SETTLE_MS)
    page.screenshot(path=TARGET / name)


def main() -> int:
    """Make all pictures; 0 when they are made."""
    TARGET.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="xpcs-assets-pictures-") as folder:
        home = Path(folder) / "site"
        init(home, title="XPCS")
        (home / "site.yaml").write_text("webserver: {port: 0}\n", encoding="utf-8")
        site = Site(home)
        beamline = OpenBeamline(site, site.beamlines["xpcs"])
        run = simulate(home / "aside", format="imm", frames=1500, seed=1)
        with Services(site) as services:
            run.folder.rename(beamline.source_root / run.name)
            while beamline.ledger.arrival("xpcs", run.name) is None:
                time.sleep(0.2)
            for asset in ("", "archive"):
                code = wait(beamline, run.name, asset=asset, timeout_s=180)
                if code:
                    return code
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
                page = browser.new_page(viewport={"width": 1600, "height": 900})
                photograph(
                    page,
                    f"{services.address}/locations/xpcs_assets/asset-groups/xpcs/lineage",
                    "asset-graph.png",
                    wait_for="raw_file",
                )
                events = f"{services.address}/assets/xpcs/plots?view=partitions&partition={run.name}"
                photograph(page, events, "materialisation.png", wait_for="g2_file", show="g2")
                browser.close()
        result = beamline.result_path(beamline.result(run.name))
        shutil.copyfile(result.parent / "plots" / "g2.png", TARGET / "g2.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
