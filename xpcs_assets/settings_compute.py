"""What a site file may say about the back ends that run analyses: batch systems, services, clusters."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import Field, field_validator, model_validator

from xpcs_assets.settings_base import Secret, Settings
from xpcs_assets.units import Seconds, SizeBytes

LOCAL = "local"
"""The back end that needs no settings: a process of the Dagster run itself."""
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Deployment(Settings):
    """Where a beamline's analyses are run, and what their jobs ask for."""

    on: tuple[str, ...] = Field(
        (LOCAL,),
        min_length=1,
        description="Where it is run: names under `compute` in the site file, and `local`, this machine; "
        "the first that takes the job has it",
    )
    account: str = Field("", description="Who pays for this beamline's jobs; empty: as the back end's settings say")
    queue: str = Field("", description="Which queue they go to; empty: as the back end's settings say")
    walltime: Seconds = Field(0.0, ge=0, description="How long they may take; 0: as the back end's settings say")

    @field_validator("on")
    @classmethod
    def _are_in_order(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value) or LOCAL in value[:-1]:
            raise ValueError(f"names each back end once, and {LOCAL}, which always takes a job, last")
        return value

    @property
    def is_local(self) -> bool:
        """Whether this machine may run it."""
        return LOCAL in self.on

    @property
    def remote(self) -> tuple[str, ...]:
        """The back ends that are not this machine, in their order."""
        return tuple(name for name in self.on if name != LOCAL)


class BackendSettings(Settings):
    """What every back end needs to know: how the worker is started there, and what a job asks for."""

    python: str = Field(description="The Python there that has xpcs-assets in it, such as /env/bin/python")
    folder: str = Field(description="A folder there, absolute and made by you: jobs run and leave their output in it")
    seen_as: dict[str, str] = Field(
        {}, description="What paths of this machine begin with, and what they begin with there; empty: all are the same"
    )
    environment: dict[str, str] = Field({}, description="Variables for the worker. No secrets: schedulers show them")
    account: str = Field("", description="Who pays")
    queue: str = Field("", description="Which queue: a partition or QOS, as the back end has it")
    walltime: Seconds = Field(3600.0, ge=60, description="A job that takes longer is ended")
    nodes: Annotated[int, Field(ge=1)] = Field(1, description="Nodes of a job; the worker uses one")
    gpus: Annotated[int, Field(ge=0)] = Field(0, description="GPUs of a job")
    memory: SizeBytes = Field(0, ge=0, description="Main memory of a job; 0: the back end's own")
    extra: tuple[str, ...] = Field((), description="Further words for the submission, as the back end spells them")
    call: Seconds = Field(10.0, gt=0, le=15, description="A call that takes longer is given up, and repeated later")
    every: Seconds = Field(20.0, ge=1, description="How often it is asked how its jobs are")
    settle: Seconds = Field(60.0, ge=0, description="So long after a job's end its result may take to be seen here")
    max_jobs: Annotated[int, Field(ge=1)] = Field(100, description="Jobs of this site that it has at most; others wait")

    @field_validator("folder")
    @classmethod
    def _is_absolute(cls, value: str) -> str:
        return _absolute(value)

    @field_validator("seen_as")
    @classmethod
    def _are_absolute(cls, value: dict[str, str]) -> dict[str, str]:
        return {_absolute(here): _absolute(there) for here, there in value.items()}

    @field_validator("environment")
    @classmethod
    def _are_variables(cls, value: dict[str, str]) -> dict[str, str]:
        wrong = [name for name, text in value.items() if _VARIABLE.fullmatch(name) is None or "\0" in text]
        if wrong:
            raise ValueError(f"no name of a variable: {', '.join(wrong)}")
        return value

    def seen(self, path: str) -> str:
        """What a path of this machine is called there.

        Raises
        ------
        ValueError
            It is not seen there.
        """
        if not self.seen_as:
            return path
        for here in sorted(self.seen_as, key=len, reverse=True):
            if PurePosixPath(path).is_relative_to(here):
                return str(PurePosixPath(self.seen_as[here]) / PurePosixPath(path).relative_to(here))
        raise ValueError(f"{path} lies below none of {', '.join(self.seen_as)}")


class SchedulerSettings(BackendSettings):
    """A batch system whose commands are run here or on another machine."""

    kind: Literal["slurm", "pbs", "htcondor"] = Field(description="Which batch system")
    through: str = Field("", description="One of `hosts`, where its programs are run over ssh; empty: this machine")
    programs: str = Field("", description="The folder of its programs there; empty: they are in its path")
    queue_is: str = Field(
        "",
        description="What a queue is for it: for Slurm `partition` (the default) or `qos`; for HTCondor an attribute",
    )

    @model_validator(mode="after")
    def _knows_its_queues(self) -> Self:
        if (self.kind == "slurm" and self.queue_is not in {"", "partition", "qos"}) or (
            self.kind == "pbs" and self.queue_is
        ):
            raise ValueError("queue_is: partition or qos for Slurm, an attribute for HTCondor, left out for PBS")
        return self


class SfapiSettings(BackendSettings):
    """A machine of NERSC, through its Superfacility API."""

    kind: Literal["sfapi"] = Field(description="Which kind of back end this is")
    machine: str = Field("perlmutter", pattern=r"^[a-z0-9]+$", description="Which machine, as the service calls it")
    client_id: str = Field(description="A client of the API, as Iris shows it")
    key: Path = Field(description="The file of its private key, for the site's user only; relative to the home")
    queue_is: Literal["qos", "partition"] = Field("qos", description="What a queue is for it")
    call: Seconds = Field(15.0, gt=0, le=15, description="A call that takes longer is given up, and repeated later")
    settle: Seconds = Field(
        300.0,
        ge=0,
        description="So long may a task of the service take, and a result to be seen here after its job's end",
    )
    task: Seconds = Field(1.0, gt=0, description="How often it is asked whether what was asked for is done")
    url: str = Field("", description="Of the API; empty: NERSC's")
    token_url: str = Field("", description="Where it is logged in to; empty: NERSC's")


class KubernetesSettings(BackendSettings):
    """A namespace of a Kubernetes cluster: each job is a Kubernetes Job."""

    kind: Literal["kubernetes"] = Field(description="Which kind of back end this is")
    namespace: str = Field(description="Where its Jobs are")
    image: str = Field(description="Of the container, with the worker in it")
    kubeconfig: Path | None = Field(None, description="A file of accounts; left out: the account of the site's own pod")
    context: str = Field("", description="Which account of the file; empty: the one that it names")
    service_account: str = Field("", description="Whose name the pods run in; empty: the namespace's own")
    user_id: Annotated[int, Field(ge=1)] = Field(10001, description="Who the worker is to the volumes; never root")
    group_id: Annotated[int, Field(ge=1)] = Field(10001, description="Its group")
    keep: Seconds = Field(7 * 86400.0, ge=0, description="How long an ended Job and its log are kept")
    volumes: tuple[dict[str, Any], ...] = Field((), description="`volumes` of a pod, as Kubernetes spells them")
    mounts: tuple[dict[str, Any], ...] = Field((), description="`volumeMounts` of its container, likewise")
    node_selector: dict[str, str] = Field({}, description="Labels that its node has")
    tolerations: tuple[dict[str, Any], ...] = Field((), description="`tolerations` of a pod")
    pull_secrets: tuple[str, ...] = Field((), description="Names of the secrets that the image is pulled with")
    gpu_is: str = Field("nvidia.com/gpu", description="What a GPU is called among the cluster's resources")
    nodes: Literal[1] = Field(1, description="A Job runs on one node")


class GlobusComputeSettings(BackendSettings):
    """An endpoint of Globus Compute. Account, queue and size of its jobs are what its template makes of `config`."""

    kind: Literal["globus-compute"] = Field(description="Which kind of back end this is")
    endpoint: UUID = Field(description="The endpoint's id")
    config: dict[str, Any] = Field({}, description="`user_endpoint_config`, as the endpoint's template spells it")
    function: UUID | None = Field(
        None, description="The id of our function where an endpoint allows only some; left out: it is registered"
    )
    client_id: str = Field("", description="A confidential client of Globus Auth")
    client_secret: Secret | None = Field(None, description="Its secret")
    token: Secret | None = Field(None, description="A long-lived token for Compute; wins over client_id")
    url: str = Field("", description="Of Compute; empty: the SDK's")
    auth_url: str = Field("", description="Of Globus Auth; empty: the SDK's")

    @model_validator(mode="after")
    def _is_said_in_config(self) -> Self:
        own = {"account", "queue", "nodes", "gpus", "memory", "extra"}
        if wrong := sorted(name for name in own & self.model_fields_set):
            raise ValueError(f"{', '.join(wrong)}: say it in config, as the endpoint's template spells it")
        return self


ComputeSettings = Annotated[
    SchedulerSettings | SfapiSettings | KubernetesSettings | GlobusComputeSettings, Field(discriminator="kind")
]


def _absolute(value: str) -> str:
    path = PurePosixPath(value)
    if not path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{value!r} must be an absolute path without '..'")
    return str(path)
