"""What a SciCat catalog needs to know."""

from __future__ import annotations

from dataclasses import dataclass

from xpcs_assets.errors import SettingsError
from xpcs_assets.secret import SecretReference
from xpcs_assets.settings_catalogs import wrong_pattern, wrong_url


@dataclass(frozen=True)
class ScicatConfig:
    """What a SciCat catalog needs to know.

    Attributes
    ----------
    url
        Of the backend, without ``/api``: ``https://scicat.example.org``.
    contact_email
        Of every dataset whose record names none; the backend refuses addresses without a real top-level domain.
    token
        A long-lived token; wins over ``username``.
    username, password
        To log in with.
    api
        ``v4``, or ``v3`` where version 4 is not served.
    backend
        ``auto``: the SDK's field names, and older ones once the backend refuses those; ``older``: those at once.
    pid_prefix
        Stands before every pid, such as the facility's handle prefix.
    principal_investigator
        Where the record names none.
    owner_group, access_groups, creation_location
        Patterns over ``{group}``, ``{proposal}`` and ``{beamline}``: who owns a dataset, who else may see it (beside
        the run's own groups), and where it was taken.
    make_links
        Whether proposals and samples that are not there are made.
    connect_s, read_s
        Time-outs: to connect, and between two pieces of an answer; an answer may take ten times ``read_s`` in all.
    reads_tried
        How often a request that only reads is made.
    files_in_block, bytes_in_block
        The most of one OrigDatablock.
    attachment_bytes
        The most of one picture, encoded.
    """

    url: str
    contact_email: str
    token: SecretReference | None = None
    username: str = ""
    password: SecretReference | None = None
    api: str = "v4"
    backend: str = "auto"
    pid_prefix: str = ""
    principal_investigator: str = "unknown"
    owner_group: str = "{group}"
    access_groups: tuple[str, ...] = ()
    creation_location: str = "{beamline}"
    make_links: bool = False
    connect_s: float = 5.0
    read_s: float = 60.0
    reads_tried: int = 3
    files_in_block: int = 5000
    bytes_in_block: int = 8 * 2**20
    attachment_bytes: int = 2**20

    def __post_init__(self) -> None:
        patterns = (self.owner_group, self.creation_location, *self.access_groups)
        wrong = [
            *wrong_url(self.url),
            *(["api must be v3 or v4"] if self.api not in {"v3", "v4"} else []),
            *(["backend must be auto or older"] if self.backend not in {"auto", "older"} else []),
            *(["name a token, or a username and password"] if not (self.token or self.password) else []),
            *(why for pattern in patterns for why in wrong_pattern(pattern)),
        ]
        if wrong:
            raise SettingsError("; ".join(wrong), where="catalog: scicat")

    def filled(self, pattern: str, *, group: str, proposal: str, beamline: str) -> str:
        """A pattern of this configuration with a dataset's own words in it."""
        return pattern.format(group=group, proposal=proposal, beamline=beamline)
