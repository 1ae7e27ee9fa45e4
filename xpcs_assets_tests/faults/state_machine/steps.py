"""What the product is asked to do in the state machine: each step as one call on an open beamline."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

from xpcs_assets.archive.archiving import archive
from xpcs_assets.archive.gather import due, gather_runs
from xpcs_assets.archive.retrieve import restage
from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.audit.looking import audit_beamline, repair_run, scrub_beamline, verify
from xpcs_assets.copies.clock import Stopwatch
from xpcs_assets.errors import NotFoundError
from xpcs_assets.places.files import write_file_safely
from xpcs_assets.prune.remove import prune_copy
from xpcs_assets.prune.trash import put_back
from xpcs_assets.runs.folders import VersionFolder
from xpcs_assets.stage.copy import record_staged, stage_run
from xpcs_assets.stage.staging import stage
from xpcs_assets_tests.faults.state_machine.world import BEAMLINE, DISK, MIRROR, Hands

Step = Callable[[Hands], object]
KEEPING: dict[str, Callable[[Hands, str], object]] = {}
"""Steps that only ever add copies, by name: each may be done again with the same result."""


def keeping(step: Callable[[Hands, str], object]) -> Callable[[Hands, str], object]:
    """Note a step that only adds."""
    KEEPING[step.__name__] = step
    return step


@keeping
def take_run(hands: Hands, run: str) -> None:
    """The run is submitted as it is and taken, as after an event."""
    submit(hands, hands.source_root / run, as_is=True)
    take(hands, run)


@keeping
def stage_newest(hands: Hands, run: str) -> None:
    """The newest version is copied to the staging disk."""
    stage(hands, run)


@keeping
def mirror_newest(hands: Hands, run: str) -> None:
    """The newest version is copied from the staging disk to the second disk."""
    version = hands.latest(run)
    place = hands.place(MIRROR)
    target = VersionFolder(place.root, BEAMLINE, run, version.version)
    with hands.working(run, "mirror") as renew:
        source = VersionFolder(hands.root(DISK), BEAMLINE, run, version.version).raw
        stage_run(version.manifest, source, target, place, on_bytes=renew)
        record_staged(hands.ledger, target, place)


@keeping
def archive_run(hands: Hands, run: str) -> None:
    """All staged versions and their results are archived; a small run with others, where runs are gathered."""
    archive(hands, run)
    for together in due(hands):
        for error in gather_runs(hands, together).failed.values():
            raise error


@keeping
def retrieve_newest(hands: Hands, run: str) -> None:
    """The newest version is brought back to the staging disk from whatever copy has it."""
    restage(hands, hands.latest(run))


def correlate(hands: Hands, run: str, recipe: str, content: bytes) -> None:
    """A result of a recipe is written beside the staged copy and recorded."""
    version = hands.latest(run)
    folder = hands.staged(version)
    if not folder.manifest.exists():
        raise NotFoundError("the run is not staged", where=folder.path)
    path = folder.result(recipe)
    with hands.working(run, "correlate"):
        write_file_safely(path, [content], replace=True)
        hands.ledger.record_result(
            BEAMLINE,
            run,
            run_key=run,
            version=version.version,
            recipe_digest=f"sha256:{recipe}",
            path=path.relative_to(folder.root).as_posix(),
            result_digest="sha256:" + sha256(content).hexdigest(),
            report={},
        )


def scrub_all(hands: Hands, run: str) -> None:
    """What is owed of every place is read again."""
    scrub_beamline(hands)


def audit_all(hands: Hands, run: str) -> None:
    """Places, ledger and archive are compared, whatever is found is recorded."""
    audit_beamline(hands, anyway=True)


def verify_run(hands: Hands, run: str) -> None:
    """All copies of a run are read."""
    list(verify(hands, run))


def mend_run(hands: Hands, run: str) -> None:
    """Bad and lost copies of a run are made good from the others."""
    list(repair_run(hands, run))


CARING: dict[str, Callable[[Hands, str], object]] = {
    step.__name__: step for step in (scrub_all, audit_all, verify_run, mend_run)
}
"""Steps that look after copies, by name."""


def putting_back(run: str, version: int, place: str) -> Step:
    """The step that takes a version's copy out of the trash of a place."""
    return lambda hands: put_back(hands, run, version, place)


def pruning(
    run: str,
    version: int,
    place: str,
    stopwatch: Stopwatch,
    holder: str = "pruner",
    act: Callable[..., object] = prune_copy,
) -> Step:
    """The step that removes a version's copy in a place, or with ``empty_trash`` what of it is in the trash."""

    def step(hands: Hands) -> None:
        for copy in hands.ledger.copies(BEAMLINE, run, version):
            if copy.place == place:
                act(
                    hands.ledger,
                    copy,
                    hands.places,
                    hands.settings.retention[place].rule,
                    catalogued=True,
                    holder=holder,
                    by="operator",
                    reason="retention",
                    stopwatch=stopwatch,
                )

    return step
