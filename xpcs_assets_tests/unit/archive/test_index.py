"""What the index of a bundle says, and what is refused."""

from __future__ import annotations

import json

import pytest

from xpcs_assets.archive.index import index_bytes, member_lines, read_index, run_prefix
from xpcs_assets.copies.ledger import Member
from xpcs_assets.errors import NotVerifiedError
from xpcs_assets.runs.manifest import FileEntry

SHA = "0" * 64
LINE = {"path": "a", "offset_bytes": 512, "size_bytes": 3, "sha256": SHA, "mtime_ns": 7}
ONE = {
    "format": "xpcs-assets bundle 1",
    "beamline": "b",
    "run_key": "r",
    "version": 2,
    "content": "raw",
    "manifest_digest": "sha256:m",
    "members": [LINE],
}
RUN = {"run_key": "r", "version": 2, "manifest_digest": "sha256:m", "prefix": "r/v2/"}
SEVERAL = {
    "format": "xpcs-assets bundle 2",
    "beamline": "b",
    "content": "raw",
    "runs": [RUN],
    "members": [{**LINE, "path": "r/v2/a"}],
}


def test_an_index_of_one_run_has_no_prefix() -> None:
    told = read_index(index_bytes(ONE), "here")
    assert told.members == (Member("a", 512, 3, SHA),)
    assert (told.prefix_of("r", 2), told.prefix_of("r", 1), told.prefix_of("s", 2)) == ("", None, None)


def test_an_index_of_several_runs_says_where_each_one_is() -> None:
    told = read_index(index_bytes(SEVERAL), "here")
    assert told.prefix_of("r", 2) == run_prefix("r", 2) == "r/v2/"
    assert told.runs[0].manifest_digest == "sha256:m"


def test_other_digests_stand_in_the_index_only_where_there_are_any() -> None:
    plain, hashed = FileEntry("a", 3, SHA, 7), FileEntry("b", 3, SHA, 7, (("adler32", "00"), ("md5", "11")))
    lines = member_lines([plain, hashed], [Member("a", 512, 3, SHA), Member("b", 1536, 3, SHA)])
    assert lines[0] == LINE
    assert lines[1]["also"] == {"adler32": "00", "md5": "11"}
    assert read_index(index_bytes({**ONE, "members": lines}), "here").also == {"b": {"adler32": "00", "md5": "11"}}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "cannot be read"),
        (b"[]", "cannot be read"),
        (b"\xff", "cannot be read"),
        (json.dumps({**ONE, "format": "xpcs-assets bundle 3"}).encode(), "format 'xpcs-assets bundle 3'"),
        (json.dumps({key: ONE[key] for key in ONE if key != "run_key"}).encode(), "cannot be read"),
        (json.dumps({**SEVERAL, "runs": "r"}).encode(), "cannot be read"),
        (json.dumps({**ONE, "members": [{**LINE, "path": "../a"}]}).encode(), "no path inside"),
        (json.dumps({**ONE, "members": [{**LINE, "path": "/a"}]}).encode(), "no path inside"),
        (json.dumps({**ONE, "members": [{**LINE, "also": "md5"}]}).encode(), "cannot be read"),
    ],
)
def test_a_damaged_index_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(NotVerifiedError, match=reason):
        read_index(content, "tape:x.tar")
