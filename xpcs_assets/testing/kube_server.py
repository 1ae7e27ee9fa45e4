"""A stand-in for the Jobs, Pods and logs of a Kubernetes cluster, on loopback.

The real kubernetes client talks to it. A pod's container is a process of this machine: its working folder and its
volumes are this machine's own. See ``kube_pods`` for what a pod does. A test starts it, orders faults and makes pods
end as a cluster's do::

    with KubeServer() as server:
        backend = KubernetesBackend("k8s", NAMESPACE, template, kubeconfig=str(server.kubeconfig(folder)))
        ...
        server.end_pod(job_id, "Evicted")
"""

from __future__ import annotations

import json
import re
import tempfile
import threading
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

from xpcs_assets.testing.kube_pods import Pod, restricted_violations
from xpcs_assets.testing.loopback import LoopbackServer

NAMESPACE = "xpcs"
ACCOUNT = "system:serviceaccount:xpcs:xpcs-assets"
_JOBS = re.compile(r"/apis/batch/v1/namespaces/([^/]+)/jobs(?:/([^/]+))?")
_PODS = re.compile(r"/api/v1/namespaces/([^/]+)/pods(?:/([^/]+)/log)?")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_LABEL = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


class _RefusedError(Exception):
    def __init__(self, status: int, reason: str, message: str) -> None:
        self.status, self.reason, self.message = status, reason, message


class _Account:
    name = ACCOUNT


class KubeServer(LoopbackServer):
    """The cluster, with one namespace.

    Attributes
    ----------
    gpus
        How many there are; a pod that asks for more waits.
    forbidden
        Pairs of verb and resource that the account may not, such as ``("create", "jobs")``.
    """

    def __init__(self, gpus: int = 0) -> None:
        super().__init__()
        self.gpus = gpus
        self.forbidden: set[tuple[str, str]] = set()
        self._jobs: dict[str, dict[str, Any]] = {}
        self._pods: dict[str, Pod] = {}  # by Job; one that was taken away is not here
        self._lock = threading.RLock()
        self._folder = tempfile.TemporaryDirectory()

    def kubeconfig(self, folder: Path) -> Path:
        """A file of an account, for the client."""
        user = {"token": self.tokens.give(_Account(), 3600)}
        context = {"cluster": "here", "user": "here", "namespace": "default"}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "here", "cluster": {"server": self.url}}],
            "users": [{"name": "here", "user": user}],
            "contexts": [{"name": "here", "context": context}],
            "current-context": "here",
        }
        file = folder / "kubeconfig"
        file.write_text(json.dumps(content), encoding="utf-8")
        return file

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, value, trace)
        for pod in self._pods.values():  # only now: while its API is down, a cluster's pods go on
            pod.end("Killed")
        self._folder.cleanup()

    @property
    def jobs(self) -> dict[str, dict[str, Any]]:
        """The Jobs that stand, by name."""
        with self._lock:
            self._look()
            return dict(self._jobs)

    def end_pod(self, job: str, how: str) -> None:
        """End a Job's pod: ``OOMKilled``, ``Evicted``, ``Preempted``, ``DeadlineExceeded``, or ``taken away``."""
        with self._lock:
            pod = self._pods[job]
            pod.end(how)
            if how == "taken away":
                del self._pods[job]

    def forget(self, job: str) -> None:
        """Remove a Job, as is done when its time after its end is over."""
        with self._lock:
            self._jobs.pop(job)
            self._pods.pop(job).end("Killed")

    def failure(self, status: int) -> Any:
        """What the API says with a status of failure that was ordered."""
        return _status(status, "InternalError", "it was ordered")

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> tuple[int, Any]:
        """Status and content of the answer to a request."""
        url = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        try:
            with self._lock:
                self._look()
                self._authenticate(headers)
                return self._route(method, url.path, query, body)
        except _RefusedError as refusal:
            return refusal.status, _status(refusal.status, refusal.reason, refusal.message)

    def _route(self, method: str, path: str, query: Mapping[str, str], body: bytes) -> tuple[int, Any]:
        if asked := _JOBS.fullmatch(path):
            self._may(method, "jobs", *asked.groups())
            match method, asked[2]:
                case "POST", None:
                    return 201, self._create(asked[1], json.loads(body), dry_run="dryRun" in query)
                case "GET", None:
                    return 200, _list("JobList", self._jobs.values(), query)
                case "GET", name:
                    return 200, self._job(name)
                case "DELETE", name if name is not None:
                    return 200, self._delete(name, query.get("propagationPolicy", "Background"))
        if (asked := _PODS.fullmatch(path)) and method == "GET":
            self._may(method, "pods", *asked.groups())
            if asked[2] is None:
                return 200, _list("PodList", [pod.as_json() for pod in self._pods.values()], query)
            return 200, self._log(asked[2], query)
        raise _RefusedError(404, "NotFound", "the server could not find the requested resource")

    def _authenticate(self, headers: Mapping[str, str]) -> None:
        if self.tokens.user(headers.get("authorization", "")) != ACCOUNT:
            raise _RefusedError(401, "Unauthorized", "Unauthorized")

    def _may(self, method: str, resource: str, namespace: str, name: str | None) -> None:
        verb = {"POST": "create", "DELETE": "delete"}.get(method, "get" if name else "list")
        if (verb, resource) in self.forbidden:
            message = f'{resource} is forbidden: User "{ACCOUNT}" cannot {verb} resource "{resource}"'
            raise _RefusedError(403, "Forbidden", message)
        if namespace != NAMESPACE and method == "POST":  # reading in a namespace that is not there is no error
            raise _RefusedError(404, "NotFound", f'namespaces "{namespace}" not found')

    def _job(self, name: str) -> dict[str, Any]:
        if name not in self._jobs:
            raise _RefusedError(404, "NotFound", f'jobs.batch "{name}" not found')
        return self._jobs[name]

    def _create(self, namespace: str, job: dict[str, Any], *, dry_run: bool) -> dict[str, Any]:
        about = job["metadata"]
        name = about["name"]
        labels = [*about.get("labels", {}).values(), *job["spec"]["template"]["metadata"].get("labels", {}).values()]
        if not _NAME.fullmatch(name) or not all(_LABEL.fullmatch(label) for label in labels):
            raise _RefusedError(422, "Invalid", f'Job.batch "{name}" is invalid: a name or label is not of DNS-1123')
        if job["spec"]["template"]["spec"].get("restartPolicy") not in ("Never", "OnFailure"):
            raise _RefusedError(422, "Invalid", f'Job.batch "{name}" is invalid: restartPolicy')
        if name in self._jobs:
            raise _RefusedError(409, "AlreadyExists", f'jobs.batch "{name}" already exists')
        if dry_run:
            return job
        about |= {"namespace": namespace, "uid": str(uuid.uuid4()), "creationTimestamp": _now()}
        job["status"] = {"startTime": _now()}
        self._jobs[name] = job
        if not restricted_violations(job["spec"]["template"]["spec"]):  # else the Job stands, and gets no pod
            self._pods[name] = Pod(job, self.gpus, Path(self._folder.name))
        return job

    def _delete(self, name: str, propagation: str) -> dict[str, Any]:
        job, pod = self._job(name), self._pods.get(name)
        if pod is not None:
            pod.terminate()
        job["metadata"]["deletionTimestamp"] = _now()
        if propagation == "Background":
            self._jobs.pop(name)
        return _status(200, "", "")

    def _look(self) -> None:
        """Do what the cluster's controllers do: end Jobs by their pods, and take away what is deleted."""
        for name, job in list(self._jobs.items()):
            pod = self._pods.get(name)
            if pod is not None:
                pod.look()
            if "deletionTimestamp" in job["metadata"] and (pod is None or pod.has_ended):
                self._jobs.pop(name)
                self._pods.pop(name, None)
            elif not job["status"].get("conditions") and not restricted_violations(job["spec"]["template"]["spec"]):
                _follow(job, pod)

    def _log(self, pod_name: str, query: Mapping[str, str]) -> bytes:
        pod = next((one for one in self._pods.values() if one.name == pod_name), None)
        if pod is None:
            raise _RefusedError(404, "NotFound", f'pods "{pod_name}" not found')
        if not pod.has_started:
            raise _RefusedError(400, "BadRequest", "container is waiting to start")
        lines = pod.output().splitlines(keepends=True)
        return b"".join(lines[-int(query["tailLines"]) :] if "tailLines" in query else lines)


def _follow(job: dict[str, Any], pod: Pod | None) -> None:
    """The status of a Job, as its pod has it; without a second try the pod's end is the Job's."""
    if pod is not None and not pod.has_ended:
        job["status"] |= {"active": 1}
        return
    ended = {"type": "Complete"} if pod is not None and pod.succeeded else _FAILED
    job["status"] = {"startTime": job["status"]["startTime"], "completionTime": _now()}
    job["status"]["conditions"] = [{**ended, "status": "True", "lastTransitionTime": _now()}]


_FAILED = {
    "type": "Failed",
    "reason": "BackoffLimitExceeded",
    "message": "Job has reached the specified backoff limit",
}


def _list(kind: str, items: Any, query: Mapping[str, str]) -> dict[str, Any]:
    wanted = _selected(query.get("labelSelector", ""))
    found = [one for one in items if all(one["metadata"].get("labels", {}).get(key) in of for key, of in wanted)]
    return {"kind": kind, "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": found}


def _selected(selector: str) -> list[tuple[str, set[str]]]:
    """Keys and the values that they may have: ``a=b`` or ``a in (b,c)``."""
    found = []
    for part in re.findall(r"[^,(]+(?:\([^)]*\))?", selector):
        key, _, values = part.partition(" in ") if " in " in part else part.partition("=")
        found.append((key.strip(), set(values.strip("() ").split(","))))
    return found


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _status(code: int, reason: str, message: str) -> dict[str, Any]:
    said = "Success" if code < 400 else "Failure"
    told = {"status": said, "reason": reason, "message": message, "code": code}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, **told}
