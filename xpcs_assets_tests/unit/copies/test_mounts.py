"""On which file systems an SQLite ledger is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from xpcs_assets.copies import database
from xpcs_assets.copies.database import open_database
from xpcs_assets.copies.mounts import shared_file_system
from xpcs_assets.errors import LedgerError

MOUNTS = r"""21 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
22 21 0:40 / /gdata rw,relatime shared:1 - nfs4 server:/gdata rw
23 22 8:2 / /gdata/local rw - xfs /dev/sdb1 rw
24 21 0:41 / /big\040disk rw - lustre mgs:/fs rw
25 21 0:42 / /twice rw - nfs server:/a rw
26 21 8:3 / /twice rw - ext4 /dev/sdc1 rw
27 21 0:43 / /store rw master:1 - fuse.sshfs me@host: rw
not a line
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/srv/xpcs", ""),
        ("/gdata", "nfs4"),
        ("/gdata/dm/8IDI", "nfs4"),
        ("/gdata2", ""),
        ("/gdata/local/site", ""),
        ("/big disk/x", "lustre"),
        ("/twice/x", ""),
        ("/store", "fuse.sshfs"),
    ],
)
def test_the_mount_that_holds_a_folder_tells(tmp_path: Path, folder: str, kind: str) -> None:
    (tmp_path / "mountinfo").write_text(MOUNTS)
    assert shared_file_system(Path(folder), tmp_path / "mountinfo") == kind


def test_where_nobody_tells_nothing_is_refused(tmp_path: Path) -> None:
    assert shared_file_system(tmp_path, tmp_path / "none") == ""


def test_an_sqlite_ledger_on_such_a_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "shared_file_system", lambda folder: "nfs4")
    with pytest.raises(LedgerError, match=r"cannot be kept on a file system of kind nfs4.*PostgreSQL"):
        open_database(f"sqlite:///{tmp_path / 'ledger.db'}")
    open_database("sqlite://").dispose()
