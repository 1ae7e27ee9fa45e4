"""The kinds of place that the contract is tested with: a new one is an entry of ``KINDS``.

Each test has a folder of its own, ``root``, that stands for the place's root. Where the bytes lie in it (``is_folder``)
a test may put there what it likes; another kind takes the folder's name for a prefix or the like.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path

from xpcs_assets.places.globus import Collection, GlobusPlace
from xpcs_assets.places.marker import Marker, leave_marker
from xpcs_assets.places.place import Place
from xpcs_assets.places.posix import PosixPlace
from xpcs_assets.places.s3 import S3Place, S3Root
from xpcs_assets.places.s3_bucket import Bucket
from xpcs_assets.places.ssh import SshPlace
from xpcs_assets.places.tape import TapePlace
from xpcs_assets.runs.folders import MARKER
from xpcs_assets_tests import sshd
from xpcs_assets_tests.hpss import Vault
from xpcs_assets_tests.s3 import keys_of, made_bucket, s3_server


class PlaceKind:
    """How the contract opens a place of one kind, and how it reaches below it to plant what the place must find."""

    is_folder = True
    """Whether its bytes lie in ``root`` itself, with links, folders and devices."""
    gives_up = True
    """Whether files may be removed and set aside."""

    def why_missing(self) -> str:
        """Why this kind cannot be tested here, such as a server that is not installed; empty when it can."""
        return ""

    def open(
        self,
        root: Path,
        failure_domain: str = "",
        *,
        name: str = "here",
        identity: str | None = None,
        unavailable: str = "",
    ) -> Place:
        """The place whose root this is."""
        raise NotImplementedError

    def domain(self, root: Path) -> str:
        """The failure domain of a place that was given none."""
        raise NotImplementedError

    def mark(self, root: Path, marker: Marker) -> Marker:
        """Put a marker where there is none."""
        return leave_marker(root, marker)

    def plant(self, root: Path, path: str, data: bytes) -> None:
        """Put bytes below the root without the place."""
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)

    def plant_marker(self, root: Path, text: str) -> None:
        """Put some text where the marker should be."""
        self.plant(root, MARKER, text.encode())

    def contents(self, root: Path) -> dict[str, bytes]:
        """All bytes below the root, marker and partials included."""
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}

    def carries(self, name: str) -> bool:
        """Whether a file may have this name."""
        return True


class PosixKind(PlaceKind):
    """A folder of this machine."""

    made: Callable[..., PosixPlace] = PosixPlace

    def open(
        self,
        root: Path,
        failure_domain: str = "",
        *,
        name: str = "here",
        identity: str | None = None,
        unavailable: str = "",
    ) -> Place:
        """See :meth:`PlaceKind.open`."""
        return self.made(name, root, failure_domain, identity=identity, unavailable=unavailable)

    def domain(self, root: Path) -> str:
        """See :meth:`PlaceKind.domain`."""
        return f"device {root.stat().st_dev}"


class TapeKind(PosixKind):
    """A folder that plays tape."""

    made = TapePlace
    gives_up = False


class GlobusKind(PosixKind):
    """A mounted folder of a Globus collection."""

    made = staticmethod(partial(GlobusPlace, collection=Collection("9f0b4b64-6a2c-4b54-9d1e-1a4f6f9c2f10", "/eagle")))


class S3Kind(PlaceKind):
    """A part of a bucket on loopback, whose prefix stands for the folder."""

    is_folder = False

    def open(
        self,
        root: Path,
        failure_domain: str = "",
        *,
        name: str = "here",
        identity: str | None = None,
        unavailable: str = "",
    ) -> Place:
        """See :meth:`PlaceKind.open`."""
        return S3Place(name, self._bucket(root), failure_domain, identity, unavailable)

    def domain(self, root: Path) -> str:
        """See :meth:`PlaceKind.domain`."""
        return f"bucket contract at {s3_server().url}"

    def mark(self, root: Path, marker: Marker) -> Marker:
        """See :meth:`PlaceKind.mark`."""
        return S3Root(self._bucket(root)).leave_marker(marker)

    def plant(self, root: Path, path: str, data: bytes) -> None:
        """See :meth:`PlaceKind.plant`."""
        s3_server().client().put_object(Bucket="contract", Key=self._bucket(root).key(path), Body=data)

    def contents(self, root: Path) -> dict[str, bytes]:
        """See :meth:`PlaceKind.contents`."""
        bucket = self._bucket(root)
        start = bucket.below("")
        return {bucket.path(key): data for key, data in keys_of(s3_server(), "contract", start).items()}

    def carries(self, name: str) -> bool:
        """Names in S3 are Unicode; the service of the tests answers for none that has a line break."""
        return name.isprintable()

    def _bucket(self, root: Path) -> Bucket:
        return made_bucket(s3_server(), root.parent, "contract", sha256(os.fsencode(root)).hexdigest())


class SshKind(PlaceKind):
    """A folder reached over ssh: of this machine, which a private sshd plays."""

    def why_missing(self) -> str:
        """See :meth:`PlaceKind.why_missing`."""
        return sshd.why_missing()

    def open(
        self,
        root: Path,
        failure_domain: str = "",
        *,
        name: str = "here",
        identity: str | None = None,
        unavailable: str = "",
    ) -> Place:
        """See :meth:`PlaceKind.open`."""
        commands = sshd.server().commands
        return SshPlace(name, commands, str(root), failure_domain, identity=identity, unavailable=unavailable)

    def domain(self, root: Path) -> str:
        """See :meth:`PlaceKind.domain`."""
        return "host 127.0.0.1"


class HpssKind(PlaceKind):
    """A folder in an HPSS that is played by a folder; its jobs are done as they are handed over."""

    is_folder = False
    gives_up = False

    def open(
        self,
        root: Path,
        failure_domain: str = "",
        *,
        name: str = "here",
        identity: str | None = None,
        unavailable: str = "",
    ) -> Place:
        """See :meth:`PlaceKind.open`."""
        vault = Vault.build(root, root.parent / "beside", name)
        return vault.place(failure_domain, identity=identity, unavailable=unavailable)

    def domain(self, root: Path) -> str:
        """See :meth:`PlaceKind.domain`."""
        return f"HPSS {root}"

    def carries(self, name: str) -> bool:
        """Only names that hsi takes for names."""
        return re.fullmatch(r"[A-Za-z0-9._=+,@%-]+", name) is not None


KINDS: dict[str, PlaceKind] = {
    "posix": PosixKind(),
    "tape": TapeKind(),
    "globus": GlobusKind(),
    "s3": S3Kind(),
    "ssh": SshKind(),
    "hpss": HpssKind(),
}
