"""A Kubernetes Job as it is asked for, and what one says of itself."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from xpcs_assets.compute.backend import Job, Phase, Resources, Seen
from xpcs_assets.compute.kubernetes_job import Template, job_name, label_of, manifest_of, seen
from xpcs_assets.errors import ComputeError
from xpcs_assets.testing.kube_pods import restricted_violations

client = pytest.importorskip("kubernetes.client")

JOB = Job("a-run", ("xpcs-assets", "correlate", "a b"), "/data/a run", {"OMP_NUM_THREADS": "2"})


def asked(template: Template | None = None, **resources: Any) -> dict[str, Any]:
    return manifest_of(JOB, template or Template("worker:1"), Resources(**resources))


def pod_of(manifest: dict[str, Any]) -> dict[str, Any]:
    return manifest["spec"]["template"]["spec"]


def limits(**resources: Any) -> dict[str, str]:
    return pod_of(asked(**resources))["containers"][0]["resources"]["limits"]


def job(*conditions: Any, deleted: bool = False) -> Any:
    about = client.V1ObjectMeta(deletion_timestamp=datetime.now(UTC) if deleted else None)
    made = [client.V1JobCondition(type=kind, status="True", reason=reason) for kind, reason in conditions]
    return client.V1Job(metadata=about, status=client.V1JobStatus(conditions=made or None))


def pod(phase: str, *, at: int = 1, **state: Any) -> Any:
    statuses = [
        client.V1ContainerStatus(
            name=name, image="", image_id="", ready=False, restart_count=0, state=client.V1ContainerState(**state)
        )
        for name in ("worker",)
    ]
    about = client.V1ObjectMeta(creation_timestamp=datetime(2026, 1, at, tzinfo=UTC))
    return client.V1Pod(metadata=about, status=client.V1PodStatus(phase=phase, container_statuses=statuses))


def test_it_is_tried_once_and_kept_for_a_while() -> None:
    spec = asked(Template("worker:1", keep_s=60.0))["spec"]
    assert (spec["backoffLimit"], spec["ttlSecondsAfterFinished"]) == (0, 60)
    assert spec["template"]["spec"]["restartPolicy"] == "Never"


def test_its_time_begins_when_its_pod_does_not_while_it_waits_for_a_node() -> None:
    made = asked(walltime_s=59.2)
    assert pod_of(made)["activeDeadlineSeconds"] == 60
    assert "activeDeadlineSeconds" not in made["spec"]
    assert "activeDeadlineSeconds" not in pod_of(asked())


def test_it_fits_the_level_restricted_and_says_nothing_of_the_cluster_to_the_job() -> None:
    made = pod_of(asked())
    assert restricted_violations(made) == []
    assert made["automountServiceAccountToken"] is made["enableServiceLinks"] is False
    assert made["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True


def test_a_job_that_is_ended_has_seconds_for_it() -> None:
    assert pod_of(asked())["terminationGracePeriodSeconds"] == 5


def test_each_word_of_the_command_is_a_word_there() -> None:
    container = pod_of(asked())["containers"][0]
    assert container["command"] == ["xpcs-assets", "correlate", "a b"]
    assert container["workingDir"] == "/data/a run"
    assert {"name": "OMP_NUM_THREADS", "value": "2"} in container["env"]


def test_resources_are_limits_and_further_ones_are_words() -> None:
    told = limits(memory_bytes=2**30, gpus=2, extra=("cpu=8", "ephemeral-storage=10Gi"))
    assert told == {"memory": "1073741824", "nvidia.com/gpu": "2", "cpu": "8", "ephemeral-storage": "10Gi"}
    assert limits() == {}
    assert asked(queue="beamtime")["spec"]["template"]["spec"]["priorityClassName"] == "beamtime"


@pytest.mark.parametrize("resources", [{"nodes": 2}, {"extra": ("--exclusive",)}, {"extra": ("cpu=",)}])
def test_what_a_cluster_cannot_give_is_refused(resources: dict[str, Any]) -> None:
    with pytest.raises(ComputeError, match=r"one node|is not resource=quantity"):
        asked(**resources)


def test_what_the_site_gives_to_every_pod_is_there() -> None:
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": "xpcs"}}
    mount = {"name": "data", "mountPath": "/data"}
    template = Template(
        "worker:1",
        service_account="worker",
        volumes=(volume,),
        mounts=(mount,),
        node_selector={"gpu": "yes"},
        tolerations=({"key": "gpu", "operator": "Exists"},),
        pull_secrets=("registry",),
    )
    made = pod_of(asked(template))
    assert volume in made["volumes"]
    assert mount in made["containers"][0]["volumeMounts"]
    assert made["serviceAccountName"] == "worker"
    assert made["nodeSelector"] == {"gpu": "yes"}
    assert made["tolerations"] == [{"key": "gpu", "operator": "Exists"}]
    assert made["imagePullSecrets"] == [{"name": "registry"}]


def test_the_name_is_a_label_of_dns_with_the_digest_at_its_end() -> None:
    for name in ("a" * 100, "___", "A.b_c", "7"):
        made = job_name(name)
        assert len(made) <= 63
        assert made.strip("-").replace("-", "").isalnum()
        assert label_of(made) == asked_label(name)


def asked_label(name: str) -> str:
    made = manifest_of(Job(name, ("true",), "/"), Template("worker:1"), Resources())
    assert made["spec"]["template"]["metadata"]["labels"] == made["metadata"]["labels"]
    assert made["metadata"]["annotations"] == {"xpcs-assets/name": name}
    return str(made["metadata"]["labels"]["xpcs-assets/job"])


def test_a_job_without_a_pod_waits() -> None:
    assert seen(job(), []) == Seen(Phase.WAITING, reason="it has no pod yet; its events say why")
    assert seen(job(("Suspended", "")), []) == Seen(Phase.WAITING, reason="Suspended")


def test_a_pod_that_cannot_get_its_image_says_so() -> None:
    waiting = client.V1ContainerStateWaiting(reason="ImagePullBackOff", message="no such image")
    told = seen(job(), [pod("Pending", waiting=waiting)])
    assert told == Seen(Phase.WAITING, reason="ImagePullBackOff: no such image")


def test_a_job_whose_pod_ended_runs_until_the_cluster_says_that_it_is_over() -> None:
    ended = pod("Failed", terminated=client.V1ContainerStateTerminated(exit_code=1))
    assert seen(job(), [ended]).phase is Phase.RUNNING
    assert seen(job(("FailureTarget", "BackoffLimitExceeded")), [ended]).phase is Phase.RUNNING
    assert seen(job(("Failed", "BackoffLimitExceeded")), [ended]).code == 1
    assert seen(job(("Failed", "BackoffLimitExceeded"), deleted=True), [ended]).phase is Phase.RUNNING


def test_the_newest_pod_counts() -> None:
    older = pod("Failed", terminated=client.V1ContainerStateTerminated(exit_code=1))
    newer = pod("Succeeded", at=2, terminated=client.V1ContainerStateTerminated(exit_code=0))
    assert seen(job(("Complete", "")), [newer, older]).code == 0


def test_a_deadline_of_the_job_itself_is_too_big_with_or_without_a_pod() -> None:
    assert seen(job(("Failed", "DeadlineExceeded")), []).is_too_big
