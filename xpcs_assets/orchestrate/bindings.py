"""What every asset of a beamline shares: keys, options, metadata with units, and how an error becomes a failure."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from dagster import (
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetKey,
    AssetsDefinition,
    DataVersion,
    DynamicPartitionsDefinition,
    Failure,
    FreshnessPolicy,
    MaterializeResult,
    MetadataValue,
    PreviewWarning,
    asset,
)

from xpcs_assets import __version__
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.versions import SKIPPED, WAITS
from xpcs_assets.errors import RefusedError, XpcsAssetsError
from xpcs_assets.orchestrate.adapter import PRIORITY_TAG
from xpcs_assets.runs.key import split_analysis_key
from xpcs_assets.settings import COPY_IN

# What steps of all beamlines share: each names the one that it holds. How many may, ``pools`` in the site file says.
GPU, TAPE, TRANSFER = "gpu", "tape", "transfer"

# Steps of one run are ordered by these: what a scientist waits for comes first.
PRIORITY = {
    "raw_file": 13,
    "staged_copy": 12,
    "correlation": 11,
    "processed": 10,
    "plots": 9,
    "returned_results": 8,
    "access": 7,
    "average": 6,
    "checks": 5,
    "metadata": 4,
    "catalog_entry": 3,
    "result_entry": 2,
    COPY_IN: 1,
    "archive": 0,
}


@dataclass
class Step:
    """A step under way.

    Attributes
    ----------
    waits_for
        Why it ends without having made anything yet; empty while it has not.
    skipped
        Why it ends without having made anything, and never will; empty while it has not.
    """

    waits_for: str = ""
    skipped: str = ""

    def wait_for(self, job: str, log: Callable[[str], None]) -> None:
        """End without having made anything: a job at a back end is to."""
        self.waits_for = job
        log(f"it waits for {job}; this run ends, another takes the result")


@dataclass(frozen=True)
class Bound:
    """A beamline as Dagster sees it.

    Attributes
    ----------
    beamline
        The open beamline.
    partitions
        Its runs.
    """

    beamline: OpenBeamline
    partitions: DynamicPartitionsDefinition

    @classmethod
    def of(cls, beamline: OpenBeamline) -> Bound:
        """Bind a beamline to the partitions named after it."""
        return cls(beamline, DynamicPartitionsDefinition(name=f"{beamline.settings.dagster_name}_runs"))

    def key(self, name: str) -> AssetKey:
        """``[beamline, name]``."""
        return AssetKey([self.beamline.name, name])

    def asset(
        self,
        name: str,
        *,
        description: str,
        after: tuple[str, ...] = (),
        kinds: set[str] | None = None,
        code_version: str = __version__,
        checks: Mapping[str, str] | None = None,
        freshness: FreshnessPolicy | None = None,
        may_wait: bool = False,
        pool: str | None = None,
    ) -> Callable[[Callable[..., Any]], AssetsDefinition]:
        """Dagster's ``@asset`` with what all assets of a beamline share; ``checks`` are names with descriptions.

        One that ``may_wait`` is a generator: it need not materialise, and nothing behind it is done until it has. One
        with a ``pool`` begins when a slot of that is free, and holds it to its end.
        """
        with warnings.catch_warnings():
            # Partitioned checks are used on purpose; their preview mark is no news to an operator.
            warnings.simplefilter("ignore", PreviewWarning)
            specs = [
                AssetCheckSpec(check, asset=self.key(name), description=text, partitions_def=self.partitions)
                for check, text in (checks or {}).items()
            ]
        return asset(
            key=self.key(name),
            description=description,
            deps=[self.key(other) for other in after],
            group_name=self.beamline.settings.dagster_name,
            partitions_def=self.partitions,
            kinds=kinds or set(),
            owners=[f"team:{self.beamline.name}"],
            code_version=code_version,
            op_tags={PRIORITY_TAG: str(PRIORITY[COPY_IN if name.startswith(COPY_IN) else name])},
            output_required=not may_wait,
            freshness_policy=freshness,
            check_specs=specs,
            pool=pool,
        )

    @contextmanager
    def step(self, partition: str, name: str) -> Iterator[Step]:
        """Run a step's body: its end goes to the run's timeline, its error becomes the Dagster run's failure."""
        step = Step()
        run, _ = split_analysis_key(partition)
        started_s = time.monotonic()
        ended = "failed: it was interrupted or met an error of the program; the Dagster run has it"
        try:
            yield step
            ended = f"{WAITS}{step.waits_for}" if step.waits_for else "done"
            if step.skipped:
                ended = f"{SKIPPED}{step.skipped}"
        except XpcsAssetsError as error:
            # A refusal changes nothing: what was there before still stands.
            ended = f"{'refused' if isinstance(error, RefusedError) else 'failed'}: {error}"
            raise failure(error) from error
        finally:
            detail = {"partition": partition, "seconds": round(time.monotonic() - started_s, 3)}
            self.beamline.ledger.note(self.beamline.name, run, name, ended, detail)


def failure(error: XpcsAssetsError) -> Failure:
    """The Dagster failure that shows what happened, where, and what to do. It is not retried: it would recur."""
    return Failure(
        description=str(error),
        metadata={"kind": type(error).__name__, "what": error.what, "where": error.where, "remedy": error.remedy},
        allow_retries=False,
    )


def materialised(
    metadata: Mapping[str, Any],
    *,
    digest: str = "",
    checks: list[AssetCheckResult] | None = None,
) -> MaterializeResult[Any]:
    """The step's result with its data version."""
    return MaterializeResult(
        metadata=metadata, data_version=DataVersion(digest) if digest else None, check_results=checks or []
    )


def check(name: str, reasons: list[str], facts: Mapping[str, Any], *, warn: bool) -> AssetCheckResult:
    """A check's result: it passed when there is no reason against it."""
    return AssetCheckResult(
        check_name=name,
        passed=not reasons,
        severity=AssetCheckSeverity.WARN if warn else AssetCheckSeverity.ERROR,
        description="; ".join(reasons) or "passed",
        metadata=facts,
    )


def table(rows: list[dict[str, Any]]) -> MetadataValue:
    """Rows of plain values as a metadata table."""
    from dagster import TableRecord

    return MetadataValue.table([TableRecord(row) for row in rows])
