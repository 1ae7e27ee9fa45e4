"""A Kubernetes Job as it is asked for, and what a Job and its pod say of themselves. Pure values, no cluster.

The Job is one pod that is started once: whether the same is tried again is decided above, never by the cluster. It
fits the pod security level "restricted".
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xpcs_assets.compute.backend import Job, Phase, Resources, Seen
from xpcs_assets.compute.scheduler import ended
from xpcs_assets.errors import ComputeError

LABEL = "xpcs-assets/job"
"""Of the Job and its pod: the digest of our job's name."""
ANNOTATION = "xpcs-assets/name"
CONTAINER = "worker"
_DIGEST_BYTES = 16
_NAME_LETTERS = 63  # of a Job: its pods' names begin with it
_TMP = "xpcs-assets-tmp"
_GRACE_S = 5  # the first process of a container does not hear a plea to end; what it leaves is whole at any time
_NO_POD = "it has no pod yet; its events say why"


@dataclass(frozen=True)
class Template:
    """What all Jobs of a back end have in common.

    Attributes
    ----------
    image
        Of the container: it has the worker's command.
    service_account
        Whose name the pod runs in; empty: the namespace's. Its token is not mounted.
    user_id, group_id
        Who the worker is; never 0.
    keep_s
        How long an ended Job and its log are kept.
    volumes, mounts
        ``volumes`` of the pod and ``volumeMounts`` of its container, as Kubernetes spells them.
    node_selector, tolerations, pull_secrets
        As Kubernetes spells them; the secrets by name.
    gpu
        What a GPU is called among the cluster's resources.
    """

    image: str
    service_account: str = ""
    user_id: int = 10001
    group_id: int = 10001
    keep_s: float = 7 * 86400.0
    volumes: Sequence[Mapping[str, Any]] = ()
    mounts: Sequence[Mapping[str, Any]] = ()
    node_selector: Mapping[str, str] | None = None
    tolerations: Sequence[Mapping[str, Any]] = ()
    pull_secrets: Sequence[str] = ()
    gpu: str = "nvidia.com/gpu"


def digest_of(name: str) -> str:
    """What tells our job apart in a cluster.

    >>> digest_of("a") == digest_of("A")
    False
    """
    return hashlib.blake2b(name.encode(), digest_size=_DIGEST_BYTES).hexdigest()


def job_name(name: str) -> str:
    """The name of the Kubernetes Job: some of ours for people, and its digest.

    >>> job_name("Run_7.a1")
    'run-7-a1-297589da9c2d892f83793d0bb33f7c72'
    """
    digest = digest_of(name)
    words = re.sub(r"[^a-z0-9]+", "-", name.lower())[: _NAME_LETTERS - len(digest) - 1].strip("-")
    return f"{words or 'job'}-{digest}"


def label_of(job_id: str) -> str:
    """The digest in the name of a Kubernetes Job."""
    return job_id[-2 * _DIGEST_BYTES :]


def manifest_of(job: Job, template: Template, resources: Resources) -> dict[str, Any]:
    """The Job as Kubernetes takes it.

    The time limit is the pod's, not the Job's: that of a Job runs while it waits for a node.

    Raises
    ------
    ComputeError
        Several nodes, or a word of ``extra`` that is not ``resource=quantity``.
    """
    labels = {"app.kubernetes.io/managed-by": "xpcs-assets", LABEL: digest_of(job.name)}
    where_open = {
        "tolerations": [dict(one) for one in template.tolerations],
        "imagePullSecrets": [{"name": one} for one in template.pull_secrets],
        "nodeSelector": dict(template.node_selector or {}),
        "serviceAccountName": template.service_account,
        "priorityClassName": resources.queue,
        "activeDeadlineSeconds": math.ceil(resources.walltime_s),
    }
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": _GRACE_S,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": template.user_id,
            "runAsGroup": template.group_id,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(job, template, resources)],
        "volumes": [{"name": _TMP, "emptyDir": {}}, *map(dict, template.volumes)],
        **{name: said for name, said in where_open.items() if said},
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": job_name(job.name), "labels": labels, "annotations": {ANNOTATION: job.name}},
        "spec": {
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",  # never a second pod beside one that is being ended
            "ttlSecondsAfterFinished": round(template.keep_s),
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def _container(job: Job, template: Template, resources: Resources) -> dict[str, Any]:
    limits = _limits(template, resources)
    variables = {"HOME": "/tmp", **job.environment}  # noqa: S108
    return {
        "name": CONTAINER,
        "image": template.image,
        "command": [_literal(word) for word in job.words],
        "workingDir": job.folder,
        "env": [{"name": name, "value": _literal(value)} for name, value in variables.items()],
        "resources": {"limits": limits, "requests": dict(limits)},
        "volumeMounts": [{"name": _TMP, "mountPath": "/tmp"}, *map(dict, template.mounts)],  # noqa: S108
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def _literal(word: str) -> str:
    """A word that is not filled in: Kubernetes reads ``$(NAME)``, and ``$$`` as one of them.

    >>> _literal("$(HOME)")
    '$$(HOME)'
    """
    return word.replace("$", "$$")


def _limits(template: Template, resources: Resources) -> dict[str, str]:
    if resources.nodes > 1:
        raise ComputeError("a Kubernetes Job runs on one node", where=f"{resources.nodes} nodes were asked for")
    limits: dict[str, str] = {}
    if resources.memory_bytes:
        limits["memory"] = str(resources.memory_bytes)
    if resources.gpus:
        limits[template.gpu] = str(resources.gpus)
    for word in resources.extra:
        resource, _, quantity = word.partition("=")
        if not resource or not quantity:
            raise ComputeError(f"{word!r} is not resource=quantity", remedy="Write for example cpu=8")
        limits[resource] = quantity
    return limits


def seen(job: Any, pods: Sequence[Any]) -> Seen:
    """What a Job (``V1Job``) and its pods (``V1Pod``) say.

    While the Job is being deleted or its pod ended it is running: it may write yet.
    """
    pod = max(pods, key=lambda one: one.metadata.creation_timestamp, default=None)
    conditions = {one.type: one for one in job.status.conditions or () if one.status == "True"}
    if job.metadata.deletion_timestamp is not None:
        return Seen(Phase.RUNNING, reason="it is being deleted")
    if "Complete" in conditions:
        return ended(_code(pod), "Complete")
    if "Failed" in conditions:
        return _failed(conditions["Failed"], pod)
    if pod is None:
        return Seen(Phase.WAITING, reason="Suspended" if "Suspended" in conditions else _NO_POD)
    if pod.status.phase == "Pending":
        return Seen(Phase.WAITING, reason=_waits_for(pod))
    return Seen(Phase.RUNNING, reason=pod.status.reason or "")


def _failed(condition: Any, pod: Any) -> Seen:
    if pod is None and condition.reason != "DeadlineExceeded":  # an ended Job keeps its pod: somebody took it away
        return ended(None, f"{condition.reason}: its pod is gone", is_lost=True)
    why = (pod.status.reason or "") if pod is not None else ""
    if "DeadlineExceeded" in (condition.reason, why):
        return ended(None, "DeadlineExceeded", is_too_big=True)
    disrupted = [one for one in pod.status.conditions or () if one.type == "DisruptionTarget" and one.status == "True"]
    if why or disrupted:  # the kubelet and the cluster give a reason to what they end; a program has none
        told = ": ".join(word for word in (why, disrupted[0].reason if disrupted else "") if word)
        return ended(None, told, is_lost=True)
    container = _terminated(pod)
    if container is not None and container.reason == "OOMKilled":
        return ended(_code(pod), "OOMKilled", is_too_big=True)
    return ended(_code(pod), (container.reason if container else "") or condition.reason or "Failed")


def _terminated(pod: Any) -> Any:
    for status in (pod.status.container_statuses or ()) if pod is not None else ():
        if status.name == CONTAINER and status.state is not None:
            return status.state.terminated
    return None


def _code(pod: Any) -> int | None:
    container = _terminated(pod)
    return None if container is None else int(container.exit_code)


def _waits_for(pod: Any) -> str:
    """Why a pod has not started: the image, or no node that fits."""
    for status in pod.status.container_statuses or ():
        waiting = status.state.waiting if status.state is not None else None
        if waiting is not None and waiting.reason:
            return ": ".join(word for word in (waiting.reason, waiting.message) if word)
    for condition in pod.status.conditions or ():
        if condition.type == "PodScheduled" and condition.status == "False":
            return ": ".join(word for word in (condition.reason, condition.message) if word)
    return ""
