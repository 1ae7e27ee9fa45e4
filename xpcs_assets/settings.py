"""What a beamline file and a site file may say: typed, unknown keys refused, every key documented.

Relative paths start at the site's home. Secrets are never written here, only referred to.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from xpcs_assets.errors import SettingsError
from xpcs_assets.runs.key import run_key
from xpcs_assets.settings_alerts import LOG, Alerts, ChannelSettings
from xpcs_assets.settings_base import NAME, Secret, Settings
from xpcs_assets.settings_catalogs import EMBEDDED, CatalogSettings, RosterSettings
from xpcs_assets.settings_compute import LOCAL, ComputeSettings, SchedulerSettings
from xpcs_assets.settings_correlate import Correlate
from xpcs_assets.settings_datacite import Datacite
from xpcs_assets.settings_kafka import KafkaSettings
from xpcs_assets.settings_places import FlightCheck, GlobusSettings, HostSettings, PlaceSettings
from xpcs_assets.settings_process import Process
from xpcs_assets.settings_quality import QualitySettings
from xpcs_assets.settings_retention import Audit, RetentionSettings
from xpcs_assets.settings_rules import unknown_facts
from xpcs_assets.settings_run_database import RunDatabaseSettings
from xpcs_assets.units import Seconds, SizeBytes

NAME_RULE = "a beamline's name has lower-case letters, digits and '-', such as aps-8-id-i"
FOLDERS = ("posix", "globus")
"""The kinds of place that are a folder of this machine, with the run's files in it."""
SOURCES = (*FOLDERS, "ssh")
"""The kinds of place that runs may come from."""
FILES = (*FOLDERS, "ssh", "s3")
"""The kinds of place that hold a run's files as they are, and no bundles."""
COPY_IN = "copy_in_"
"""What the asset of a further copy is called before the name of its place."""
_PART_OF_AN_ASSET = re.compile(r"[A-Za-z0-9]+(_[A-Za-z0-9]+)*")
PoolLimit = Annotated[int, Field(ge=1, le=1000)]
FIELD = re.compile(r"\{([a-z_][a-z0-9_]*)\}")


class CompleteWhen(Settings):
    """When a run counts as complete."""

    quiet: Seconds = Field(5.0, description="Files must not change for this long, as seen by this machine's clock")
    marker: str = Field("", description="A file with this name says that the run is complete; then quiet is not waited")
    frames_recorded: bool = Field(
        default=False,
        description="Wait until the raw file holds as many frames as the metadata (runs.frames_from) promise; "
        "not with a place of kind ssh",
    )
    give_up_after: Seconds = Field(600.0, description="After this long without change it is shown as incomplete")


class RunsFrom(Settings):
    """Where runs come from: a watched folder, or a run database."""

    watch: str = Field(
        "", description="The place that is watched, of kind posix, globus or ssh; left out with a run_database"
    )
    path: str = Field("{run}/", description="Path of a run below it; ends in / when a run is a folder")
    run_database: RunDatabaseSettings | None = Field(None, description="Asked for runs instead of the watched folder")
    documents: str = Field(
        "",
        description="Path of a run from entries of its bluesky start document, such as {data_directory}/{scan_name}; "
        "empty: no documents are taken",
    )
    complete_when: CompleteWhen = Field(CompleteWhen(), description="When a run counts as complete")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.run_database is None:
            if not self.watch:
                raise ValueError("give either watch or run_database")
            return self
        named = {"watch": self.run_database.source.place, "path": self.run_database.source.pattern}
        said = {name: getattr(self, name) for name in named if name in self.model_fields_set}
        if said != {name: named[name] for name in said}:
            raise ValueError("with a run_database, its source says where the files lie: leave out watch and path")
        # Whatever looks for files finds them by these two, wherever runs come from.
        return self.model_copy(update=named) if not said else self

    @field_validator("path")
    @classmethod
    def _has_fields(cls, value: str) -> str:
        parts = value.strip("/").split("/")
        names = FIELD.findall(value)
        if not names or len(set(names)) != len(names) or any(part in {"", ".", ".."} for part in parts):
            raise ValueError("needs fields such as {run}, each once, and no empty part, '.' or '..'")
        return value


class Owner(Settings):
    """Whose run it is. Values may hold the path's fields, such as ``{experiment}``."""

    proposal: str = Field("", description="Proposal number")
    experiment: str = Field("", description="Experiment")
    groups: tuple[str, ...] = Field((), description="Groups that own the run, the owning group first")
    embargo_until: str = Field("", description="ISO date until which only the groups see the run")


class Runs(Settings):
    """What a run is at this beamline."""

    source: RunsFrom = Field(alias="from", description="Where runs come from")
    key: str = Field("{run}", description="Run key from the path's fields, such as {experiment}_{run}")
    expect: tuple[str, ...] = Field(
        ("*_metadata.hdf",), description="Name patterns of files that every run has beside its raw file"
    )
    ignore: tuple[str, ...] = Field((".*", "*.tmp", "*.partial"), description="Name patterns of files to leave alone")
    refuse: tuple[str, ...] = Field((), description="Runs whose path holds one of these words are refused")
    frames_from: str = Field("", description="HDF5 path of the number of frames in the metadata file")
    owner: Owner = Field(Owner(), description="Whose run it is; values may hold the path's fields")


class StageTo(Settings):
    """Where runs are copied to."""

    to: str = Field(description="A place of kind posix or globus")
    together: Annotated[int, Field(ge=1, le=32)] = Field(2, description="Files of a run that are copied side by side")
    also_hash: tuple[Literal["md5", "adler32", "crc32c"], ...] = Field(
        (), description="Digests beside sha256 that a service asks for; they are checked wherever sha256 is"
    )


class Gather(Settings):
    """When small runs wait for each other, to be one bundle together."""

    under: SizeBytes = Field(1_000_000_000, description="A run with less raw data than this waits for others")
    until: SizeBytes = Field(20_000_000_000, description="They are bundled once they are this much together")
    wait: Seconds = Field(86400.0, description="Or once the oldest of them has waited this long")
    by: tuple[str, ...] = Field(
        ("proposal",), description="Only runs alike in these share a bundle: fields of the path, or of the owner"
    )


class Bundling(Settings):
    """How files are put together for tape."""

    alone_over: SizeBytes = Field(
        65_000_000_000, ge=1, le=68_000_000_000, description="Bigger files are bundled alone (HPSS: 68 GB at most)"
    )
    up_to: SizeBytes = Field(
        2_000_000_000_000, ge=1, le=2_000_000_000_000, description="Largest bundle of several files (HPSS: 2 TB)"
    )
    gather: Gather | None = Field(None, description="Leave it out, and every run has bundles of its own")


class Archive(Settings):
    """Where runs are archived."""

    to: str = Field(description="A place of kind tape or hpss")
    bundle: Bundling = Field(Bundling(), description="How files are put together for tape")


class ReturnResults(Settings):
    """Where results go back to, such as the beamline's own disk."""

    to: str = Field(description="A place of kind posix, ssh, s3 or globus, used for nothing else")
    path: str = Field(
        "{run_key}/results/{recipe}/",
        description="Folder in it: fields of the run's path, {run_key}, {recipe} and {analysis_key}; holds {recipe}",
    )

    @field_validator("path")
    @classmethod
    def _is_a_folder(cls, value: str) -> str:
        parts = value.rstrip("/").split("/")
        if any(part in {"", ".", ".."} for part in parts) or "{recipe}" not in value:
            raise ValueError("must hold {recipe}, so that no result meets another's, and no empty part, '.' or '..'")
        return value

    @property
    def own_folder(self) -> int:
        """How many parts of the path lead to a folder that holds results of one run alone; 0 when none does."""
        named = ("{run_key}" in part or "{analysis_key}" in part for part in self.path.split("/"))
        return next((number for number, is_own in enumerate(named, 1) if is_own), 0)


class Pipeline(Settings):
    """What is done with a run."""

    stage: StageTo = Field(description="Where runs are copied to")
    copies: tuple[str, ...] = Field(
        (), description="Further places that get a verified copy of the raw data: of kind posix, ssh, s3 or globus"
    )
    return_results: ReturnResults | None = Field(None, description="Leave it out where no result goes back")
    correlate: Correlate | None = Field(None, description="Leave it out for a beamline that only keeps data")
    process: Process | None = Field(None, description="Any command as the analysis, in place of correlate")
    catalog: tuple[str, ...] = Field(
        (EMBEDDED,), description="Catalogs that get an entry: `embedded`, and names of catalogs in the site file"
    )
    archive: Archive | None = Field(None, description="Leave it out where nothing is archived")

    @field_validator("catalog")
    @classmethod
    def _are_catalogs(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if EMBEDDED not in value or len(set(value)) != len(value):
            raise ValueError(f"names {EMBEDDED} and catalogs of the site file, each once")
        return value

    @model_validator(mode="after")
    def _one_analysis(self) -> Self:
        if self.correlate is not None and self.process is not None:
            raise ValueError("give either correlate or process")
        return self

    @property
    def analysis(self) -> str:
        """The asset that is a run's analysis; empty where there is none."""
        return "correlation" if self.correlate is not None else "processed" if self.process is not None else ""

    @property
    def copy_assets(self) -> dict[str, str]:
        """The asset of each further copy, by its place."""
        return {name: COPY_IN + name.replace("-", "_") for name in self.copies}

    @property
    def told(self) -> tuple[str, ...]:
        """The catalogs outside the site that are told of every run, by their names in the site file."""
        return tuple(name for name in self.catalog if name != EMBEDDED)


class Queue(Settings):
    """The beamline's share of the run queue."""

    max_runs: Annotated[int, Field(ge=1)] = Field(
        4, description="Runs of this beamline that may work at a time, beside the limit of all in dagster/dagster.yaml"
    )
    priority: int = Field(0, description="A beamline with a higher number comes first")


class Pools(Settings):
    """How many steps of all beamlines may hold what is scarce at a time; the others wait for it."""

    gpu: PoolLimit = Field(1, description="Correlations on this machine's GPU; where there is none, nothing waits")
    tape: PoolLimit = Field(1, description="Steps that write to an archive and read it back")
    transfer: PoolLimit = Field(4, description="Steps that copy a run, or bring its results back")


class Beamline(Settings):
    """One instrument: its places, pipeline, queue and retention."""

    beamline: str = Field(description="Its name, which is the file's: lower-case letters, digits and '-'")
    title: str = Field("", description="What people call it")
    places: dict[str, PlaceSettings] = Field(description="Where bytes live, by name")
    runs: Runs = Field(description="What a run is")
    pipeline: Pipeline = Field(description="What is done with a run")
    retention: dict[str, RetentionSettings] = Field(
        {}, description="How long copies stay, by place; in a place that is not named here nothing is ever deleted"
    )
    quality: QualitySettings = Field(QualitySettings(), description="How runs and results are judged")
    audit: Audit = Field(Audit(), description="How copies are read again and compared with what is known")
    flight_check: FlightCheck | None = Field(
        None, description="When the ways between the places are tried; left out: when a person asks for it"
    )
    datacite: Datacite | None = Field(
        None, description="What records' DataCite blocks are made of; left out, there are none"
    )
    queue: Queue = Field(Queue(), description="The beamline's share of the run queue")
    alerts: Alerts = Field(Alerts(), description="When to call somebody, and how")

    @field_validator("beamline")
    @classmethod
    def _is_name(cls, value: str) -> str:
        if NAME.fullmatch(value) is None:
            raise ValueError(NAME_RULE)
        return value

    @model_validator(mode="after")
    def _places_exist(self) -> Self:
        wanted: dict[str, tuple[str, ...]] = dict.fromkeys(self.retention, ())
        wanted |= {self.runs.source.watch: SOURCES, self.pipeline.stage.to: FOLDERS}
        if self.pipeline.process is not None:
            wanted[self.pipeline.process.to] = FOLDERS
        archive = {self.pipeline.archive.to: ("tape", "hpss")} if self.pipeline.archive else {}
        further = [(name, FILES) for name in self._further_places()]
        for name, kinds in [*wanted.items(), *archive.items(), *further]:
            if name not in self.places:
                raise ValueError(f"no place is called {name!r}; there are {', '.join(self.places)}")
            if kinds and self.places[name].kind not in kinds:
                needed = " or ".join(kinds)
                raise ValueError(f"place {name!r} is of kind {self.places[name].kind}; one of kind {needed} is needed")
        self._check_source()
        fields = dict.fromkeys(FIELD.findall(self.runs.source.path), "x")
        self._check_return(fields)
        self._check_access()
        self._check_rules(fields)
        gather = self.pipeline.archive.bundle.gather if self.pipeline.archive else None
        unknown = sorted(set(gather.by if gather else ()) - {*fields, "proposal", "experiment"})
        if unknown:
            raise ValueError(f"gather.by names {', '.join(unknown)}, which neither path nor owner of a run has")
        try:
            run_key(self.runs.key, fields)
        except SettingsError as error:
            raise ValueError(str(error)) from error
        return self

    def _check_source(self) -> None:
        watch = self.runs.source.watch
        if self.places[watch].kind == "ssh" and self.runs.source.complete_when.frames_recorded:
            raise ValueError(
                f"complete_when.frames_recorded: place {watch!r} is of kind ssh, where no file is opened before it is "
                "staged; let quiet or a marker say when a run is complete"
            )

    def _further_places(self) -> tuple[str, ...]:
        """The places of copies and results, each for one purpose alone."""
        back = self.pipeline.return_results
        names = (*self.pipeline.copies, *((back.to,) if back else ()))
        made = (self.pipeline.process.to,) if self.pipeline.process is not None else ()
        used = [self.runs.source.watch, self.pipeline.stage.to, *names, *made]
        twice = sorted({name for name in (*names, *made) if used.count(name) > 1})
        if twice:
            raise ValueError(f"pipeline.copies, return_results and process: place {', '.join(twice)} is used twice")
        words = [name.replace("-", "_") for name in self.pipeline.copies]
        if len(set(words)) != len(words) or not all(_PART_OF_AN_ASSET.fullmatch(word) for word in words):
            raise ValueError(
                "pipeline.copies: names are letters, digits, '-' and '_', and differ in more than '-' and '_'"
            )
        return names

    def _check_rules(self, fields: Iterable[str]) -> None:
        """Refuse a rule that asks for what no run of this beamline can have."""
        correlate, process = self.pipeline.correlate, self.pipeline.process
        asked = {
            "pipeline.correlate.rules": [rule.when for rule in correlate.rules] if correlate else [],
            "pipeline.process.targets": [rule.when for rule in process.targets] if process else [],
        }
        for what, rules in asked.items():
            for number, when in enumerate(rules, 1):
                if unknown := unknown_facts(when, tuple(fields)):
                    raise ValueError(f"{what}: rule {number} names {', '.join(unknown)}, which no run here has")

    def _check_return(self, fields: Iterable[str]) -> None:
        back = self.pipeline.return_results
        if back is None:
            return
        if self.pipeline.correlate is None:
            raise ValueError("pipeline.return_results: a beamline without correlate has no results")
        unknown = sorted(set(FIELD.findall(back.path)) - {*fields, "run_key", "recipe", "analysis_key"})
        if unknown or set("{}") & set(FIELD.sub("", back.path)):
            raise ValueError(f"return_results.path names {', '.join(unknown) or 'something that is no field'}")

    @property
    def guarded(self) -> tuple[str, ...]:
        """The places that say who may read runs there."""
        return tuple(name for name, place in self.places.items() if getattr(place, "access", None) is not None)

    def _check_access(self) -> None:
        back = self.pipeline.return_results
        of_runs = {self.pipeline.stage.to, *self.pipeline.copies, *((back.to,) if back else ())}
        if others := [name for name in self.guarded if name not in of_runs]:
            raise ValueError(f"access: no copies of runs are put into place {', '.join(others)}")
        if back is not None and back.to in self.guarded and not back.own_folder:
            raise ValueError("return_results.path: with access in its place a folder must hold {run_key}")

    @property
    def dagster_name(self) -> str:
        """The name for Dagster's groups, jobs and sensors, which take no hyphen."""
        return self.beamline.replace("-", "_")


class Webserver(Settings):
    """Where the Dagster UI listens."""

    host: str = Field("127.0.0.1", description="Loopback unless told so: the UI has no login of its own")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(3000, description="Its port; 0: any that is free")


class Intake(Settings):
    """Where the site hears over HTTP that runs are complete."""

    host: str = Field("127.0.0.1", description="Loopback unless told so; without a proxy before it there is no TLS")
    port: Annotated[int, Field(ge=1, le=65535)] = Field(3010, description="Its port")
    token: Secret = Field(description="Where the secret lies that a caller must send")


class SiteSettings(Settings):
    """What beamlines share."""

    title: str = Field("", description="What people call the site")
    database: str = Field("", description="SQLAlchemy URL of ledger and catalog; empty: SQLite in the home")
    webserver: Webserver = Field(Webserver(), description="Where the Dagster UI listens")
    catalogs: dict[str, CatalogSettings] = Field(
        {}, description="Catalogs outside the site, by name; a beamline names those it tells"
    )
    intake: Intake | None = Field(None, description="Leave it out, and nothing is heard over HTTP")
    kafka: KafkaSettings | None = Field(None, description="Leave it out, and nothing is heard from Kafka")
    roster: RosterSettings = Field(RosterSettings(), description="Who belongs to a proposal")
    channels: dict[str, ChannelSettings] = Field(
        {}, description="Ways to reach people, by name; a beamline names those that it uses under `alerts.to`"
    )
    hosts: dict[str, HostSettings] = Field({}, description="Machines that are reached over ssh, by name")
    globus: GlobusSettings | None = Field(None, description="The account for Globus Transfer")
    pools: Pools = Field(Pools(), description="What beamlines share, and how many may have it at a time")
    compute: dict[str, ComputeSettings] = Field(
        {}, description="Back ends that run analyses, by name; a beamline names those it uses"
    )

    @field_validator("catalogs", "channels", "hosts", "compute")
    @classmethod
    def _have_names(cls, value: dict[str, Settings]) -> dict[str, Settings]:
        for name in value:
            if NAME.fullmatch(name) is None or name in {EMBEDDED, LOCAL, LOG}:
                raise ValueError(f"{name!r}: a name has lower-case letters, digits and '-', such as scicat")
        return value

    @model_validator(mode="after")
    def _hosts_exist(self) -> Self:
        for name, backend in self.compute.items():
            if isinstance(backend, SchedulerSettings) and backend.through and backend.through not in self.hosts:
                raise ValueError(f"compute.{name}.through: no host is called {backend.through!r}")
        return self


def beamline_schema() -> str:
    """The JSON schema of a beamline file, for editors; shipped as ``templates/beamline.schema.json``."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Beamline.model_json_schema()}
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"
