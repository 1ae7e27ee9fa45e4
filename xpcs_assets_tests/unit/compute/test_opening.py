"""A back end is opened by what the site file says of it; nothing is asked of it, and no client of it is loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from xpcs_assets.compute.globus_compute import GlobusCompute
from xpcs_assets.compute.kubernetes import KubernetesBackend
from xpcs_assets.compute.kubernetes_job import Template
from xpcs_assets.compute.opening import open_backend
from xpcs_assets.compute.sfapi import Sfapi
from xpcs_assets.compute.sfapi_service import API_URL, TOKEN_URL, Account
from xpcs_assets.errors import SettingsError
from xpcs_assets.globus_login import GlobusAccount
from xpcs_assets.secret import SecretReference
from xpcs_assets.settings_compute import GlobusComputeSettings, KubernetesSettings
from xpcs_assets.site import Site

ENDPOINT = "dddddddd-0000-4000-8000-00000000000d"
ALL = {"python": "/env/bin/python", "folder": "/scratch/jobs"}
NERSC = {"kind": "sfapi", "client_id": "abcdefghijklm", "key": "secrets/sfapi.pem", **ALL}
CLUSTER = {"kind": "kubernetes", "namespace": "xpcs", "image": "registry/worker:1", **ALL}

TALC = {"kind": "globus-compute", "endpoint": ENDPOINT, "client_id": "a", "client_secret": {"variable": "S"}, **ALL}


def site_with(home: Path, **backends: dict[str, Any]) -> Site:
    (home / "site.yaml").write_text(yaml.safe_dump({"compute": backends}), encoding="utf-8")
    return Site(home)


def test_a_machine_of_nersc_is_opened_with_its_key_in_the_home(tmp_path: Path) -> None:
    site = site_with(tmp_path, nersc=NERSC, other=NERSC | {"url": "http://a", "token_url": "http://b"})
    account = Account("abcdefghijklm", str(tmp_path / "secrets/sfapi.pem"), API_URL, TOKEN_URL)
    assert open_backend(site, "nersc") == Sfapi("nersc", account, limit_s=15.0)
    other = open_backend(site, "other")
    assert isinstance(other, Sfapi)
    assert (other.account.api_url, other.account.token_url) == ("http://a", "http://b")


def test_a_cluster_is_opened_with_what_every_pod_gets(tmp_path: Path) -> None:
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": "xpcs"}}
    mount = {"name": "data", "mountPath": "/data"}
    told = {"kubeconfig": "secrets/kube", "volumes": [volume], "mounts": [mount], "keep": "1 h", "user_id": 7}
    opened = open_backend(site_with(tmp_path, cluster=CLUSTER | told), "cluster")
    assert opened == KubernetesBackend(
        "cluster",
        "xpcs",
        Template("registry/worker:1", user_id=7, keep_s=3600.0, volumes=(volume,), mounts=(mount,), node_selector={}),
        limit_s=10.0,
        kubeconfig=str(tmp_path / "secrets/kube"),
    )


@pytest.mark.parametrize("changes", [{"nodes": 2}, {"user_id": 0}, {"image": None}, {"machine": "perlmutter"}])
def test_what_no_cluster_can_be_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        KubernetesSettings.model_validate(CLUSTER | changes)


def test_an_endpoint_is_opened_with_what_its_template_is_told(tmp_path: Path) -> None:
    site = site_with(tmp_path, talc=TALC | {"config": {"queue": "demand"}, "function": ENDPOINT, "call": "5 s"})
    account = GlobusAccount("a", SecretReference(variable="S"), timeout_s=5.0, tries=1)
    opened = GlobusCompute("talc", account, ENDPOINT, "/scratch/jobs", {"queue": "demand"}, function=ENDPOINT)
    assert open_backend(site, "talc") == opened


@pytest.mark.parametrize("changes", [{"queue": "demand"}, {"gpus": 1}, {"extra": ["-x"]}, {"endpoint": "talc"}])
def test_what_an_endpoints_template_says_is_said_in_its_config(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        GlobusComputeSettings.model_validate(TALC | changes)


def test_an_account_without_a_secret_or_with_an_open_address_is_refused(tmp_path: Path) -> None:
    for changes in ({"client_secret": None}, {"url": "http://example.org"}):
        with pytest.raises(SettingsError):
            open_backend(site_with(tmp_path, talc=TALC | changes), "talc")


def test_no_client_is_loaded_before_it_is_needed(tmp_path: Path) -> None:
    site_with(tmp_path, nersc=NERSC, cluster=CLUSTER, talc=TALC)
    code = (
        "import json, sys; from pathlib import Path; from xpcs_assets.site import Site;"
        "from xpcs_assets.compute.opening import open_backend; site = Site(Path(sys.argv[1]));"
        "[open_backend(site, name) for name in ('nersc', 'cluster', 'talc')]; print(json.dumps(list(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert not {"kubernetes", "globus_sdk", "sfapi_client", "authlib", "tenacity"} & set(json.loads(done.stdout))
