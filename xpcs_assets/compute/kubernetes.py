"""Jobs on a Kubernetes cluster, one Kubernetes Job each, through its API.

The Job's name is made of ours, so that one that is asked for twice stands once. What a job writes is its container's
log, which is kept as long as the Job; there is no file of it in the job's folder.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from xpcs_assets.compute.backend import Job, Phase, Resources, Seen
from xpcs_assets.compute.kubernetes_job import (
    ANNOTATION,
    CONTAINER,
    LABEL,
    Template,
    job_name,
    label_of,
    manifest_of,
    seen,
)
from xpcs_assets.compute.scheduler import check
from xpcs_assets.errors import ComputeError, SettingsError, UnreachableError

_AT_ONCE = 100  # jobs asked for in one request: their labels are in its address
_LOG_LINES = 200
_LOG_LETTERS = 20_000
_WORDS = 500  # of what the cluster says
_LATER = (408, 429)
_REMEDIES = {
    401: "Give the account a good token",
    403: "Give the account a Role for jobs, pods and pods/log, and see the quota of the namespace",
    404: "See that there is such a namespace",
}


@dataclass(frozen=True)
class KubernetesBackend:
    """The back end of one namespace of a cluster. For several threads.

    Attributes
    ----------
    name
        Its name in the site's settings.
    namespace
        Where its Jobs are.
    template
        What they have in common: the image, volumes, who they are.
    defaults
        What a job asks for that says nothing else. ``queue`` is a priority class; ``extra`` are further resources,
        such as ``cpu=8``.
    limit_s
        How long a request to the cluster may take.
    kubeconfig, context
        A file of accounts and which of them; no file: the account of the pod that this runs in.
    """

    name: str
    namespace: str
    template: Template
    defaults: Resources = field(default_factory=Resources)
    limit_s: float = 30.0
    kubeconfig: str = ""
    context: str = ""

    def why_unavailable(self) -> str:
        """Why it takes no jobs now, found by creating one as a rehearsal; empty when it does."""
        rehearsal = Job("xpcs-assets-rehearsal", ("true",), "/")
        try:
            self._create(rehearsal, dry_run="All")
        except (ComputeError, UnreachableError) as error:
            return str(error)
        return ""

    def find(self, name: str) -> str | None:
        """See :meth:`Backend.find`."""
        found = self._read(job_name(name))
        if found is None:
            return None
        if (found.metadata.annotations or {}).get(ANNOTATION) != name:
            raise ComputeError("the Job is another's", where=f"{self._where}, {found.metadata.name}")
        return str(found.metadata.name)

    def submit(self, job: Job) -> str:
        """See :meth:`Backend.submit`; a Job of this name that stands already is the answer."""
        check(job, self._where)
        if self._create(job):
            return job_name(job.name)
        found = self.find(job.name)
        if found is None or self._is_going(found):
            raise ComputeError("a Job of this name is being deleted", where=f"{self._where}, {job.name}")
        return found

    def poll(self, ids: Iterable[str]) -> dict[str, Seen]:
        """See :meth:`Backend.poll`; two requests for each hundred jobs."""
        wanted = list(dict.fromkeys(ids))
        told: dict[str, Seen] = {}
        for start in range(0, len(wanted), _AT_ONCE):
            told |= self._poll(wanted[start : start + _AT_ONCE])
        return {job_id: told.get(job_id, Seen(Phase.FORGOTTEN)) for job_id in wanted}

    def cancel(self, job_id: str) -> None:
        """Delete a Job and its pod; one that has ended stays, for its log."""
        if self.poll([job_id])[job_id].phase in (Phase.ENDED, Phase.FORGOTTEN):
            return
        # In the foreground: the Job is there until its pod is gone, and so is its name.
        how = {"propagation_policy": "Foreground", **self._limit}
        self._ask("cancel", lambda api: api.batch.delete_namespaced_job(job_id, self.namespace, **how), instead_of=404)

    def logs(self, job_id: str, job: Job) -> str:
        """See :meth:`Backend.logs`."""
        pods = self._pods([job_id]).get(job_id, [])
        newest = max(pods, key=lambda one: one.metadata.creation_timestamp, default=None)
        if newest is None or newest.status.phase == "Pending":
            return ""
        # Without preload: what the client makes of a text is not always the text.
        how = {"container": CONTAINER, "tail_lines": _LOG_LINES, "_preload_content": False, **self._limit}
        pod = newest.metadata.name
        answer = self._ask(
            "logs", lambda api: api.core.read_namespaced_pod_log(pod, self.namespace, **how).data, instead_of=404
        )
        return (answer or b"").decode(errors="replace")[-_LOG_LETTERS:]

    @property
    def _where(self) -> str:
        return f"{self.name} (Kubernetes, namespace {self.namespace})"

    @property
    def _limit(self) -> dict[str, float]:
        return {"_request_timeout": float(self.limit_s)}

    def _create(self, job: Job, **options: str) -> bool:
        """Create a Job; False when one of its name is there."""
        manifest = manifest_of(job, self.template, job.resources.over(self.defaults))
        how = {**options, **self._limit}
        made = self._ask(
            "submit", lambda api: api.batch.create_namespaced_job(self.namespace, manifest, **how), instead_of=409
        )
        return made is not None

    def _read(self, job_id: str) -> Any:
        """A Job; None when there is none."""
        how = self._limit
        return self._ask(
            "find", lambda api: api.batch.read_namespaced_job(job_id, self.namespace, **how), instead_of=404
        )

    def _is_going(self, job_id: str) -> bool:
        found = self._read(job_id)
        return found is None or found.metadata.deletion_timestamp is not None

    def _poll(self, ids: Sequence[str]) -> dict[str, Seen]:
        how = {"label_selector": _selector(ids), **self._limit}
        jobs = self._ask("poll", lambda api: api.batch.list_namespaced_job(self.namespace, **how)).items
        pods = self._pods(ids)
        return {one.metadata.name: seen(one, pods.get(one.metadata.name, [])) for one in jobs}

    def _pods(self, ids: Sequence[str]) -> dict[str, list[Any]]:
        """The pods of Jobs."""
        how = {"label_selector": _selector(ids), **self._limit}
        by_label = {label_of(job_id): job_id for job_id in ids}
        found = defaultdict(list)
        for pod in self._ask("poll", lambda api: api.core.list_namespaced_pod(self.namespace, **how)).items:
            found[by_label[pod.metadata.labels[LABEL]]].append(pod)
        return found

    def _ask(self, what: str, request: Callable[[_Api], Any], *, instead_of: int = 0) -> Any:
        """Make a request; None instead of a refusal with this status.

        Raises
        ------
        UnreachableError
            No answer, or not now.
        ComputeError
            Refused.
        """
        sdk = _sdk()
        from urllib3.exceptions import HTTPError

        with self._connected(sdk) as api:
            try:
                answer = request(_Api(sdk.BatchV1Api(api), sdk.CoreV1Api(api)))
            except sdk.ApiException as error:
                if error.status == instead_of:
                    return None
                raise self._refused(what, error) from None
            except HTTPError as error:
                raise UnreachableError(f"{what}: no answer ({type(error).__name__})", where=self._where) from None
        # The client makes an empty object of a page that some proxy answered with.
        if getattr(answer, "metadata", answer) is None:
            raise UnreachableError(f"{what}: the answer is not the cluster's", where=self._where)
        return answer

    def _connected(self, sdk: Any) -> Any:
        from kubernetes import config

        said = sdk.Configuration()
        said.retries = False  # a request is made once: whether again is the caller's to decide
        said.client_side_validation = False  # a newer cluster may leave out what the client takes for needed
        try:
            if self.kubeconfig:
                config.load_kube_config(
                    self.kubeconfig, self.context or None, client_configuration=said, persist_config=False
                )
            else:
                config.load_incluster_config(client_configuration=said)
        except (config.ConfigException, OSError) as error:
            raise SettingsError(
                f"there is no account for the cluster ({type(error).__name__})",
                where=self.kubeconfig or f"compute: {self.name}",
                remedy="Name a kubeconfig, or run in a pod that has a service account",
            ) from None
        return sdk.ApiClient(said)

    def _refused(self, what: str, error: Any) -> ComputeError | UnreachableError:
        said = f"{what}: HTTP {error.status} {_message(error)}".rstrip()
        if not error.status or error.status >= 500 or error.status in _LATER:
            return UnreachableError(said, where=self._where)
        return ComputeError(said, where=self._where, remedy=_REMEDIES.get(error.status, ""))


class _Api(NamedTuple):
    batch: Any
    core: Any


def _selector(ids: Sequence[str]) -> str:
    return f"{LABEL} in ({','.join(sorted({label_of(job_id) for job_id in ids}))})"


def _message(error: Any) -> str:
    """What the cluster says, which holds no secret; the headers may."""
    try:
        said = json.loads(error.body)
    except (TypeError, ValueError):
        return ""
    return str(said.get("message", ""))[:_WORDS] if isinstance(said, dict) else ""


def _sdk() -> Any:
    try:
        from kubernetes import client
    except ImportError as error:
        remedy = "Install it with: pip install 'xpcs-assets[kubernetes]'"
        raise SettingsError("kubernetes is not installed", where="compute: kubernetes", remedy=remedy) from error
    return client
