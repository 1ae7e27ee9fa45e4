"""What datasets are linked to in SciCat: proposals and samples, made once where no user office makes them.

A dataset names its proposal and sample by identifier whether they are there or not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from xpcs_assets.catalog.scicat_client import ScicatClient
from xpcs_assets.catalog.scicat_models import OLDER_NAMES, checked, older
from xpcs_assets.errors import CatalogError, CatalogUnavailableError

_PROPOSALS, _SAMPLES = "/api/v3/proposals", "/api/v3/samples"


def put_proposal(client: ScicatClient, proposal: str, *, title: str, email: str, owner_group: str) -> None:
    """Make a proposal unless it is there; one that is there belongs to the user office and stays as it is.

    Raises
    ------
    CatalogUnavailableError
        SciCat does not answer, or not now.
    CatalogError
        It is refused.
    """
    body = {"proposalId": proposal, "title": title, "email": email, "ownerGroup": owner_group}
    fitting = checked("CreateProposalDto", body)

    def is_there() -> bool:
        return client.get(f"{_PROPOSALS}/{{pid}}", {"pid": proposal}) is not None

    def make() -> None:
        client.send("POST", _PROPOSALS, fitting, accept=(409,))

    _once(make, is_there)


def put_sample(client: ScicatClient, sample: str, *, name: str, owner_group: str, proposal: str = "") -> None:
    """Make a sample unless it is there.

    Raises
    ------
    CatalogUnavailableError
        SciCat does not answer, or not now.
    CatalogError
        It is refused.
    """
    body = {"sampleId": sample, "sampleName": name, "ownerGroup": owner_group}
    fitting = checked("CreateSampleDto", body | ({"proposalId": proposal} if proposal else {}))

    def is_there() -> bool:
        return client.get(f"{_SAMPLES}/{{id}}", {"id": sample}) is not None

    def make() -> None:
        _send_by_name(client, "CreateSampleDto", _SAMPLES, fitting)

    _once(make, is_there)


def _send_by_name(client: ScicatClient, model: str, path: str, body: Mapping[str, Any]) -> None:
    """With the SDK's field names, or those of older backends: as configured, or once the backend refuses the SDK's."""
    if client.config.backend == "auto":
        try:
            client.send("POST", path, body)
            return
        except CatalogUnavailableError:
            raise
        except CatalogError as error:
            if not any(f"property {name} should not exist" in error.what for name in OLDER_NAMES[model]):
                raise
    client.send("POST", path, older(model, body))


def _once(make: Callable[[], None], is_there: Callable[[], bool]) -> None:
    """The backend makes a second sample of the same name an error of its own, so look first."""
    if is_there():
        return
    try:
        make()
    except CatalogUnavailableError:
        if not is_there():
            make()
