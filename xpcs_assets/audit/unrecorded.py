"""Copies that lie in a place and have no row in the ledger: read, found right, and recorded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from xpcs_assets.audit.manifests import read_beside
from xpcs_assets.audit.reread import Verdict, reread
from xpcs_assets.audit.scope import Scope
from xpcs_assets.copies.ledger import Copy, CopyState, Evidence, Finding, FindingKind
from xpcs_assets.errors import NotVerifiedError, XpcsAssetsError
from xpcs_assets.runs.manifest import FILE_NAME

AT_A_TIME = 20


@dataclass(frozen=True)
class Adopted:
    """What became of a copy without a row; ``refused`` says why it has none still."""

    place: str
    path: str
    refused: str = ""


def adopt(scope: Scope, limit: int = AT_A_TIME) -> Iterator[Adopted]:
    """Read copies that an audit found without a row, and record those whose every file is their version's.

    One whose version the ledger does not know is left to ``xpcs-assets rebuild``.
    """
    known = scope.ledger.findings(scope.beamline, kinds=[FindingKind.UNRECORDED])
    for finding in known[:limit]:
        try:
            _adopt(scope, finding)
        except XpcsAssetsError as error:
            yield Adopted(finding.place, finding.path, str(error))
        else:
            yield Adopted(finding.place, finding.path)


def _adopt(scope: Scope, finding: Finding) -> None:
    place, path = scope.places[finding.place], f"{finding.path}/raw"
    version = scope.ledger.version(scope.beamline, finding.run_key, finding.version)
    if read_beside(place, f"{finding.path}/{FILE_NAME}").digest != version.manifest_digest:
        raise NotVerifiedError(
            "the manifest beside it is another one's", where=f"{place.name}:{finding.path}", remedy="Look at it by hand"
        )
    now = scope.ledger.clock()
    copy = Copy(
        scope.beamline, finding.run_key, finding.version, finding.place, path, place.failure_domain,
        CopyState.LOST, "", Evidence.LEDGER, now, now,
    )  # fmt: skip
    with scope.working(finding.run_key, "audit") as still_mine:
        found = reread(scope, copy, still_mine)
        if found.verdict is not Verdict.RIGHT:
            raise NotVerifiedError(
                f"it is {found.verdict}: {found.reason}", where=f"{place.name}:{path}", remedy="Stage the run again"
            )
        still_mine()
        place.settle(file.path for file in found.files)  # whoever put them may have died before
        scope.ledger.record_copy(
            scope.beamline,
            finding.run_key,
            finding.version,
            place=place.name,
            path=path,
            failure_domain=place.failure_domain,
            evidence=Evidence.READ_BACK,
            verified_at=found.began_at,
        )
    told = f"a copy without a row was found in {place.name}, read and recorded"
    scope.ledger.note(scope.beamline, finding.run_key, "audit", told)
    scope.ledger.close_findings(scope.beamline, [FindingKind.UNRECORDED], place=place.name, path=finding.path)
