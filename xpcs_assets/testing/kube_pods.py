"""A pod of ``kube_server``: a process of this machine, with the status that a kubelet gives it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_GPU = "nvidia.com/gpu"
_KUBELETS = {"Evicted": "The node was low on resource: memory.", "DeadlineExceeded": "Pod was active too long"}
_DISRUPTIONS = {"Preempted": "PreemptionByScheduler"}


class Pod:
    """The one pod of a Job; it starts at once when the cluster has what it asks for.

    Parameters
    ----------
    job
        The Job.
    gpus
        How many the cluster has.
    folder
        Where what it writes is kept.

    Attributes
    ----------
    name
        Its name.
    """

    def __init__(self, job: Mapping[str, Any], gpus: int, folder: Path) -> None:
        template = job["spec"]["template"]
        name = job["metadata"]["name"]
        labels = {**template["metadata"].get("labels", {}), "job-name": name}
        self.name = f"{name[:57]}-{uuid.uuid4().hex[:5]}"
        self._about = {"name": self.name, "namespace": job["metadata"]["namespace"], "labels": labels}
        self._about |= {"creationTimestamp": _now(), "uid": str(uuid.uuid4())}
        self._spec = template["spec"]
        self._output = folder / self.name
        self._process: subprocess.Popen[bytes] | None = None
        self._end: dict[str, Any] | None = None
        self._started_s = time.monotonic()
        self._asked_s = 0.0
        self._lacks = int(self._container["resources"]["limits"].get(_GPU, 0)) > gpus
        if not self._lacks:
            self._start()

    @property
    def _container(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._spec["containers"][0]
        return found

    def _start(self) -> None:
        said = self._container
        path = {"PATH": os.environ.get("PATH", os.defpath)}
        known: dict[str, str] = {}
        for one in said.get("env", []):
            known[one["name"]] = _filled_in(one["value"], known)
        try:
            with self._output.open("wb") as output:
                self._process = subprocess.Popen(
                    [_filled_in(word, known) for word in (*said["command"], *said.get("args", []))],
                    cwd=said.get("workingDir"),
                    env={**path, **known},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            self._end = _ended("Failed", code=128, why="StartError", message=str(error))

    @property
    def has_started(self) -> bool:
        """Whether its container was made."""
        return self._process is not None or self._end is not None

    @property
    def has_ended(self) -> bool:
        """Whether it will do no more."""
        return self._end is not None

    @property
    def succeeded(self) -> bool:
        """Whether it ended well."""
        return self._end is not None and self._end["phase"] == "Succeeded"

    def look(self) -> None:
        """See whether it ended, or has run too long."""
        limit_s = self._spec.get("activeDeadlineSeconds")
        if self._end is not None or self._process is None:
            return
        code = self._process.poll()
        if code is not None:
            code = code if code >= 0 else 128 - code
            well = code == 0
            self._finish(_ended("Succeeded" if well else "Failed", code=code, why="Completed" if well else "Error"))
        elif limit_s is not None and time.monotonic() - self._started_s > limit_s:
            self.end("DeadlineExceeded")
        elif self._asked_s and time.monotonic() - self._asked_s > self._spec.get("terminationGracePeriodSeconds", 30):
            self.end("Killed")

    def terminate(self) -> None:
        """Ask it to end; :meth:`look` finds when it has."""
        if self._process is None and self._end is None:
            self._end = _ended("Failed", code=137, why="Error")
        elif self._end is None:
            self._asked_s = self._asked_s or time.monotonic()
            self._signal(signal.SIGTERM)

    def end(self, how: str) -> None:
        """End it now, as ``how`` is shown."""
        if self._end is not None:
            return
        self._signal(signal.SIGKILL)
        ended = _ended("Failed", code=137, why="OOMKilled" if how == "OOMKilled" else "Error")
        if how in _KUBELETS:
            ended |= {"reason": how, "message": _KUBELETS[how]}
        if how in _DISRUPTIONS:
            ended["conditions"] = [{"type": "DisruptionTarget", "status": "True", "reason": _DISRUPTIONS[how]}]
        self._finish(ended)

    def _finish(self, ended: dict[str, Any]) -> None:
        self._signal(signal.SIGKILL)  # what it left behind goes with its container
        if self._process is not None:
            self._process.wait()
        self._end = ended

    def _signal(self, number: int) -> None:
        if self._process is not None:
            try:
                os.killpg(self._process.pid, number)
            except ProcessLookupError:
                return

    def output(self) -> bytes:
        """What it wrote so far."""
        return self._output.read_bytes()

    def as_json(self) -> dict[str, Any]:
        """Itself, as the API has it."""
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": self._about,
            "spec": self._spec,
            "status": self._status(),
        }

    def _status(self) -> dict[str, Any]:
        if self._end is not None:
            told = {name: said for name, said in self._end.items() if name != "terminated"}
            return {**told, "containerStatuses": [self._container_status({"terminated": self._end["terminated"]})]}
        if self._lacks:
            message = f"0/1 nodes are available: 1 Insufficient {_GPU}."
            waits = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
            return {"phase": "Pending", "conditions": [waits]}
        running = self._container_status({"running": {"startedAt": self._about["creationTimestamp"]}})
        return {"phase": "Running", "containerStatuses": [running]}

    def _container_status(self, state: Mapping[str, Any]) -> dict[str, Any]:
        said = {"name": self._container["name"], "image": self._container["image"], "imageID": ""}
        return {**said, "ready": "running" in state, "restartCount": 0, "state": dict(state)}


def _filled_in(word: str, known: Mapping[str, str]) -> str:
    """A word of a container, with what Kubernetes fills in.

    >>> _filled_in("$(A) $(B) $$(A) $A $$", {"A": "a"})
    'a $(B) $(A) $A $'
    """

    def told(found: re.Match[str]) -> str:
        return "$" if found[0] == "$$" else known.get(found[1], found[0])

    return re.sub(r"\$\$|\$\(([^)]*)\)", told, word)


def _ended(phase: str, *, code: int, why: str, message: str = "") -> dict[str, Any]:
    return {"phase": phase, "terminated": {"exitCode": code, "reason": why, "message": message}}


def restricted_violations(pod: Mapping[str, Any]) -> list[str]:
    """What of a pod does not fit the pod security level "restricted", as far as a Job of ours could.

    >>> restricted_violations({"containers": [{"securityContext": {"privileged": True}}]})[:2]
    ['runAsNonRoot', 'seccompProfile']
    """
    broken = []
    everyone = pod.get("securityContext", {})
    for container in pod["containers"]:
        own = {**everyone, **container.get("securityContext", {})}
        rules = {
            "runAsNonRoot": own.get("runAsNonRoot") is True,
            "seccompProfile": own.get("seccompProfile", {}).get("type") in ("RuntimeDefault", "Localhost"),
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
            "capabilities": "ALL" in own.get("capabilities", {}).get("drop", ()),
            "privileged": not own.get("privileged", False),
            "runAsUser": own.get("runAsUser") != 0,
        }
        broken += [name for name, kept in rules.items() if not kept]
    if any("hostPath" in volume for volume in pod.get("volumes", ())):
        broken.append("hostPath")
    broken += [name for name in ("hostNetwork", "hostPID", "hostIPC") if pod.get(name)]
    return broken


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
