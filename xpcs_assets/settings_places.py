"""What a beamline file may say about the places where bytes live, and the site file about how they are reached."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import Field, field_validator, model_validator

from xpcs_assets.settings_base import Secret, Settings
from xpcs_assets.units import Seconds

HSI_PATH = re.compile(r"(/[A-Za-z0-9._=+,@%-]+)+")
"""A path that hsi takes for nothing else, in a command."""
_DOMAIN = "What dies together (a disk, a room). Copies in one domain count once; empty: "


def _absolute(value: str) -> str:
    path = PurePosixPath(value)
    if not path.is_absolute() or ".." in path.parts:
        raise ValueError("must be an absolute path without '..'")
    return str(path)


class AccessSettings(Settings):
    """Who may read a run's copies in a place: its groups, and the staff."""

    groups: str = Field("{group}", description="What a run's group is called there; `{group}` is its name in the run")
    staff: tuple[str, ...] = Field((), description="Groups that may read every run there, by their names there")
    opens: bool = Field(default=True, description="Whether everybody may read a run once its embargo has ended")

    @field_validator("groups")
    @classmethod
    def _names_the_group(cls, value: str) -> str:
        if "{group}" not in value or set("{}") & set(value.replace("{group}", "")):
            raise ValueError("must hold {group}, and no other field")
        return value


class GlobusAccessSettings(AccessSettings):
    """Who may read a run's copies in a guest collection: groups of Globus, by their names or ids."""

    create: bool = Field(default=False, description="Whether a group that there is not is made")


class FolderSettings(Settings):
    """A folder of this machine, or one that plays tape."""

    kind: Literal["posix", "tape"] = Field(description="posix: a folder; tape: a folder that plays tape")
    root: Path = Field(description="The folder; relative paths start at the site's home")
    failure_domain: str = Field("", description=f"{_DOMAIN}the file system")
    access: AccessSettings | None = Field(
        None, description="Who may read runs there, kind posix: groups of this machine; left out, nothing is set"
    )

    @model_validator(mode="after")
    def _tells_people_apart(self) -> Self:
        if self.kind == "tape" and self.access is not None:
            raise ValueError("access is for places of kind posix and globus")
        return self

    @property
    def folder(self) -> Path:
        """Where it is found on this machine."""
        return self.root


class SshPlaceSettings(Settings):
    """A folder of another machine, reached over ssh and rsync."""

    kind: Literal["ssh"] = Field(description="Which kind of place this is")
    host: str = Field(description="One of `hosts` in the site file")
    root: str = Field(description="The folder there, an absolute path")
    failure_domain: str = Field("", description=f"{_DOMAIN}the host")

    _is_absolute = field_validator("root")(_absolute)

    @property
    def folder(self) -> None:
        """It is not found on this machine."""


class S3PlaceSettings(Settings):
    """A part of an S3 bucket."""

    kind: Literal["s3"] = Field(description="Which kind of place this is")
    bucket: str = Field(description="The bucket")
    prefix: str = Field("", description="Where in it; empty: all of it")
    endpoint: str = Field("", description="Address of the service; empty: that of AWS for the region")
    region: str = Field("us-east-1", description="The bucket's region")
    access_key_id: Secret = Field(description="Where the access key's id lies")
    secret_access_key: Secret = Field(description="Where the access key's secret lies")
    failure_domain: str = Field("", description=f"{_DOMAIN}the service and the bucket")

    @field_validator("prefix")
    @classmethod
    def _is_relative(cls, value: str) -> str:
        parts = [part for part in value.strip("/").split("/") if value.strip("/")]
        if any(part in {"", ".", ".."} for part in parts):
            raise ValueError("must be names between single slashes, none of them '.' or '..'")
        return "/".join(parts)

    @property
    def folder(self) -> None:
        """It is not found on this machine."""


class GlobusPlaceSettings(Settings):
    """A folder of a Globus collection, which is mounted on this machine as well."""

    kind: Literal["globus"] = Field(description="Which kind of place this is")
    collection: UUID | None = Field(None, description="The collection; or give `endpoint`")
    root: str = Field("", description="The folder in the collection, an absolute path; goes with `collection`")
    endpoint: str = Field("", description="One of the site file's `globus.endpoints_file`, for collection and folder")
    sha256: bool = Field(default=True, description="Whether the collection's storage can compute sha256 for Globus")
    mounted_at: Path = Field(description="The same folder on this machine: what arrived is read back there")
    failure_domain: str = Field("", description=f"{_DOMAIN}the file system")
    access: GlobusAccessSettings | None = Field(
        None, description="Who may read runs there, by rules of a guest collection; left out, nothing is set"
    )

    @field_validator("root")
    @classmethod
    def _is_absolute(cls, value: str) -> str:
        return _absolute(value) if value else ""

    @model_validator(mode="after")
    def _is_one_folder(self) -> Self:
        if bool(self.endpoint) == (self.collection is not None) or bool(self.endpoint) == bool(self.root):
            raise ValueError("give either endpoint, or collection and root")
        return self

    @property
    def folder(self) -> Path:
        """Where it is found on this machine."""
        return self.mounted_at


class HpssPlaceSettings(Settings):
    """An archive in HPSS, which jobs of a batch system reach with hsi and htar."""

    kind: Literal["hpss"] = Field(description="Which kind of place this is")
    root: str = Field(description="The folder in HPSS, an absolute path")
    through: str = Field(description="The back end of the site file's `compute` whose jobs reach HPSS")
    scratch: Path = Field(
        description="A folder for this place alone that this machine and the jobs see; it has room for a bundle twice"
    )
    queue: str = Field("xfer", description="The queue of its jobs; empty: the back end's")
    walltime: Seconds = Field(12 * 3600.0, ge=60, description="A job that takes longer is ended")
    account: str = Field("", description="Who pays; empty: the back end's")
    extra: tuple[str, ...] = Field((), description="Further words for the submission, such as `--constraint=cron`")
    hsi: str = Field("hsi", description="The program, as jobs find it")
    htar: str = Field("htar", description="The program, as jobs find it")
    max_jobs: Annotated[int, Field(ge=1)] = Field(15, description="Its jobs at once; others wait for their turn")
    wait: Seconds = Field(20.0, ge=0, le=120, description="Who asks waits so long for a job; then it goes on alone")
    fresh: Seconds = Field(
        6 * 3600.0,
        ge=60,
        le=86400,
        description="What a job has seen or brought counts for so long, and stays in scratch",
    )
    failure_domain: str = Field("", description=f"{_DOMAIN}HPSS and the folder")

    @field_validator("root")
    @classmethod
    def _is_a_plain_path(cls, value: str) -> str:
        if HSI_PATH.fullmatch(_absolute(value)) is None:
            raise ValueError("hsi takes letters, digits and '._=+,@%-' between slashes")
        return _absolute(value)

    @property
    def folder(self) -> None:
        """It is not found on this machine."""


PlaceSettings = Annotated[
    FolderSettings | SshPlaceSettings | S3PlaceSettings | GlobusPlaceSettings | HpssPlaceSettings,
    Field(discriminator="kind"),
]


class FlightCheck(Settings):
    """When the ways between the beamline's places are tried with a small file."""

    every: Seconds = Field(ge=900, description="How often a small file is moved over every hop, verified and removed")


class HostSettings(Settings):
    """A machine that is reached over ssh with a key, never with a password."""

    address: str = Field(description="Its name or address")
    port: Annotated[int, Field(ge=1, le=65535)] = Field(22, description="Where sshd listens")
    user: str = Field(description="Who to be there")
    key: Path = Field(description="The file of the private key; relative paths start at the site's home")
    known_hosts: Path = Field(description="The file with the host's key: another key is refused")
    connect: Seconds = Field(10.0, gt=0, description="How long to wait for a connection")

    @field_validator("address", "user")
    @classmethod
    def _is_a_word(cls, value: str) -> str:
        # ssh takes what begins with a hyphen for an option.
        if not value or value.startswith("-") or any(not letter.isprintable() or letter.isspace() for letter in value):
            raise ValueError("must be a word that does not begin with '-'")
        return value


class GlobusSettings(Settings):
    """The account for Globus Transfer."""

    client_id: str = Field("", description="A confidential client of Globus Auth")
    client_secret: Secret | None = Field(None, description="Its secret")
    token: Secret | None = Field(None, description="A long-lived token for Transfer; wins over client_id")
    url: str = Field("", description="Of Transfer; empty: the SDK's")
    auth_url: str = Field("", description="Of Globus Auth; empty: the SDK's")
    groups_url: str = Field("", description="Of Globus Groups; empty: the SDK's")
    groups_token: Secret | None = Field(None, description="A token for Groups, where `token` is one for Transfer")
    endpoints_file: Path | None = Field(
        None, description="A `config.yml` in the splash form, for `endpoint` of a place; from the site's home"
    )
    timeout: Seconds = Field(60.0, gt=0, description="How long to wait to connect, and for each piece of an answer")
    deadline: Seconds = Field(7 * 86400.0, gt=0, description="A transfer that takes longer is given up")
