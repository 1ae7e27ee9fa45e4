"""The index of a bundle: which runs it holds, and for each member where its bytes begin and what they hash to.

Format 1 is of one run, whose files lie in the bundle under their own paths; format 2 is of several runs, the files of
each below a prefix of its own. Both are described, byte for byte, in ``docs/reference/archive-format.md``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xpcs_assets.copies.ledger import Member
from xpcs_assets.errors import NotVerifiedError
from xpcs_assets.runs.manifest import FileEntry, check_relative

ONE_RUN = "xpcs-assets bundle 1"
SEVERAL_RUNS = "xpcs-assets bundle 2"
INDEX_NAME = "xpcs-assets-index.json"
INDEX_SUFFIX = ".index.json"
"""What the index beside a bundle is called: the bundle's name and this."""

DAMAGED = "Do not count on this bundle; archive the run again from another copy"


@dataclass(frozen=True)
class IndexedRun:
    """A run of which a bundle holds files.

    Attributes
    ----------
    run_key, version, manifest_digest
        Which version, and the digest of its whole manifest.
    prefix
        What the paths of its members begin with; empty in a bundle of one run.
    """

    run_key: str
    version: int
    manifest_digest: str
    prefix: str = ""


@dataclass(frozen=True)
class Index:
    """What an index says.

    Attributes
    ----------
    beamline, content
        Whose files, ``raw`` or ``results``.
    runs
        Their runs.
    members
        Every file in the order of the bundle.
    also
        By path, digests beside sha256 where there are any: hex digits by kind.
    """

    beamline: str
    content: str
    runs: tuple[IndexedRun, ...]
    members: tuple[Member, ...]
    also: Mapping[str, Mapping[str, str]]

    def prefix_of(self, run_key: str, version: int) -> str | None:
        """What the paths of a version's members begin with; None when the bundle holds none of it."""
        found = (run.prefix for run in self.runs if (run.run_key, run.version) == (run_key, version))
        return next(found, None)


def run_prefix(run_key: str, version: int) -> str:
    """What the paths of a version's files begin with in a bundle of several runs."""
    return f"{run_key}/v{version}/"


def member_lines(entries: Iterable[FileEntry], members: Iterable[Member]) -> list[dict[str, Any]]:
    """The members as they stand in an index."""
    lines = []
    for member, entry in zip(members, entries, strict=True):
        line: dict[str, Any] = {
            "path": member.path,
            "offset_bytes": member.offset_bytes,
            "size_bytes": member.size_bytes,
            "sha256": member.sha256,
            "mtime_ns": entry.mtime_ns,
        }
        lines.append(line | ({"also": dict(entry.also)} if entry.also else {}))
    return lines


def index_bytes(content: Mapping[str, Any]) -> bytes:
    """An index as it is written."""
    return (json.dumps(content, indent=1) + "\n").encode()


def read_index(data: bytes, where: str) -> Index:
    """Read an index back.

    Raises
    ------
    NotVerifiedError
        It is damaged, of another format, or names a path that would leave its folder.
    """
    try:
        content = json.loads(data)
        if content["format"] not in {ONE_RUN, SEVERAL_RUNS}:
            raise damaged(f"it is of format {content['format']!r}", where)
        runs = content["runs"] if content["format"] == SEVERAL_RUNS else [content]
        lines: Sequence[Mapping[str, Any]] = content["members"]
        return Index(
            beamline=content["beamline"],
            content=content["content"],
            runs=tuple(
                IndexedRun(run["run_key"], run["version"], run["manifest_digest"], run.get("prefix", ""))
                for run in runs
            ),
            members=tuple(
                Member(str(check_relative(line["path"])), line["offset_bytes"], line["size_bytes"], line["sha256"])
                for line in lines
            ),
            also={line["path"]: dict(line["also"]) for line in lines if "also" in line},
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(f"its index cannot be read ({error!r})", where) from error


def damaged(what: str, where: str) -> NotVerifiedError:
    """The error that is about a bundle."""
    return NotVerifiedError(what, where=where, remedy=DAMAGED)
