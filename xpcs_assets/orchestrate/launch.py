"""Launch runs by hand through a running site's own GraphQL, as the UI does: for `xpcs-assets reprocess`."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

from xpcs_assets.errors import ComputeError, RefusedError
from xpcs_assets.orchestrate.processes import CODE_LOCATION, address_of
from xpcs_assets.site import Site

_REPOSITORY = {"repositoryLocationName": CODE_LOCATION, "repositoryName": "__repository__"}
_ADD = """
mutation($repository: RepositorySelector!, $partitions: String!, $key: String!) {
  addDynamicPartition(repositorySelector: $repository, partitionsDefName: $partitions, partitionKey: $key) {
    __typename
    ... on UnauthorizedError { message }
    ... on PythonError { message }
  }
}
"""
_LAUNCH = """
mutation($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on RunConfigValidationInvalid { errors { message } }
    ... on PythonError { message }
  }
}
"""


def launch(
    site: Site, partitions: str, key: str, assets: Sequence[Sequence[str]], run_config: Mapping[str, Any]
) -> str:
    """Make ``key`` a partition and launch a run of some assets for it; the Dagster run's id.

    Raises
    ------
    ComputeError
        The site is not running, or did not answer as it should.
    RefusedError
        Dagster did not take the run config.
    """
    added = _ask(site, _ADD, repository=_REPOSITORY, partitions=partitions, key=key)["addDynamicPartition"]
    if added["__typename"] not in {"AddDynamicPartitionSuccess", "DuplicateDynamicPartitionError"}:
        raise ComputeError(f"the partition was not added: {added}", where=key, remedy="See the webserver's log")
    params = {
        "selector": {
            **_REPOSITORY,
            "jobName": "__ASSET_JOB",
            "assetSelection": [{"path": list(path)} for path in assets],
        },
        "runConfigData": run_config,
        "executionMetadata": {"tags": [{"key": "dagster/partition", "value": key}]},
    }
    launched = _ask(site, _LAUNCH, params=params)["launchRun"]
    if launched["__typename"] == "RunConfigValidationInvalid":
        told = "; ".join(error["message"] for error in launched["errors"])
        raise RefusedError(f"the settings were not taken: {told}", where=key, remedy="Look at the recipe's keys")
    if launched["__typename"] != "LaunchRunSuccess":
        raise ComputeError(f"the run was not launched: {launched}", where=key, remedy="See the webserver's log")
    return str(launched["run"]["runId"])


def _ask(site: Site, query: str, **variables: Any) -> dict[str, Any]:
    address = address_of(site)
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(f"{address}/graphql", body, {"Content-Type": "application/json"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310 - the address is the site's own
            content = json.load(reply)
    except (urllib.error.URLError, OSError) as error:
        raise ComputeError(
            f"the site does not answer ({error})", where=address, remedy="Start it with `xpcs-assets up`"
        ) from error
    if content.get("errors"):
        raise ComputeError(
            f"Dagster did not take the request: {content['errors'][0]['message']}", where=address, remedy="See its log"
        )
    data: dict[str, Any] = content["data"]
    return data
