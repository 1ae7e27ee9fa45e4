"""Pruning a copy in S3, with its way through the trash, when the service ends at any request."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from xpcs_assets.copies.ledger import CopyState, Evidence
from xpcs_assets.errors import XpcsAssetsError
from xpcs_assets.places.s3 import S3Place
from xpcs_assets.prune.remove import Removed
from xpcs_assets.prune.trash import put_back_copy
from xpcs_assets.runs.folders import ASIDE_FOLDER
from xpcs_assets.runs.retention import Retention
from xpcs_assets_tests.s3 import S3Server, keys_of, made_bucket, s3_server
from xpcs_assets_tests.storage import BEAMLINE, FILES, KEEP_S, RUN, Storage

TRASH = Retention(keep_for_s=KEEP_S, min_copies=2, trash_for_s=60.0)


@pytest.fixture
def server() -> Iterator[S3Server]:
    found = s3_server()
    yield found
    found.reset()


@pytest.fixture
def storage(server: S3Server, quick_folder: Path) -> Iterator[Storage]:
    """A run with copies on disk and tape, and one in a bucket."""
    made = Storage.build(quick_folder)
    bucket = made_bucket(server, quick_folder, f"b{uuid4().hex}", attempts=1)
    place = S3Place("bucket", bucket, "far away")
    made.places["bucket"] = place
    made.take()
    made.stage()
    made.archive()
    for path, data in FILES.items():
        place.put(f"{RUN}/{path}", [data])
    made.ledger.record_copy(
        BEAMLINE, RUN, 1, place="bucket", path=RUN, failure_domain="far away", evidence=Evidence.READ_BACK
    )
    made.clock.advance(KEEP_S)
    yield made
    made.close()


def _there(server: S3Server, storage: Storage) -> dict[str, bytes]:
    place = storage.places["bucket"]
    assert isinstance(place, S3Place)
    return keys_of(server, place.bucket.name)


def _prune(storage: Storage, holder: str) -> Removed | None:
    try:
        return storage.prune("bucket", TRASH, holder)
    except XpcsAssetsError:
        return None


def test_a_copy_in_s3_goes_to_the_trash_and_comes_back_whenever_the_service_ends(
    storage: Storage, server: S3Server
) -> None:
    most = 0
    for step in range(12, 40):
        server.faults.add(".*", ".*", "reset after", passed=step)
        server.faults.add(".*", ".*", "reset", times=999, passed=step)
        _prune(storage, f"at {step}")
        server.faults.ordered.clear()
        there = _there(server, storage)
        assert set(there.values()) == set(FILES.values())
        most = max(most, len(there))
        storage.clock.advance(7200)  # whoever was stopped holds the run no more
    assert most > len(FILES)  # some step came between a copy and the end of what was copied
    assert storage.copy("bucket").state is CopyState.IN_TRASH
    assert {key.split("/")[0] for key in _there(server, storage)} == {ASIDE_FOLDER}
    put_back_copy(storage.ledger, storage.copy("bucket"), storage.places["bucket"], holder="back")
    assert _there(server, storage) == {f"{RUN}/{path}": data for path, data in FILES.items()}


def test_what_waited_in_the_trash_in_s3_is_removed_behind_a_proof(storage: Storage, server: S3Server) -> None:
    storage.prune("bucket", TRASH)
    assert sorted(_there(server, storage).values()) == sorted(FILES.values())
    storage.clock.advance(3600)
    storage.empty_trash("bucket", TRASH)
    assert _there(server, storage) == {}
    assert storage.copy("bucket").state is CopyState.REMOVED
