"""Who may read a folder of a place, whatever kind of place it is: what :mod:`xpcs_assets.access` asks for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, order=True)
class Principal:
    """Somebody whom a place lets in. Two are the same whatever they are called.

    Attributes
    ----------
    kind, identity
        A group, a user, everybody: as the place knows them; the identity is empty for everybody.
    rights
        Empty for reading; else what the place says instead.
    name
        What people call it; may be empty.

    >>> print(Principal("group", "5001", name="xs-1")), print(Principal("user", "12", "rwx"), Principal("everybody"))
    group xs-1 (5001)
    user 12 with rwx everybody
    (None, None)
    """

    kind: str
    identity: str = ""
    rights: str = ""
    name: str = field(default="", compare=False)

    def __str__(self) -> str:
        identity = f"{self.name} ({self.identity})" if self.name not in {"", self.identity} else self.identity
        rights = f" with {self.rights}" if self.rights else ""
        return f"{self.kind} {identity}".rstrip() + rights


EVERYBODY = Principal("everybody")


@dataclass(frozen=True)
class Seen:
    """Who may read a folder.

    Attributes
    ----------
    readers
        Whom the folder itself lets in, beside whoever owns it.
    unreadable
        How many files and folders below it those whom it lets in cannot read.
    above
        Whom a rule about a folder above it lets in as well; nothing is changed about those.
    is_gone
        Whether nothing is there any more, and only the rules about it are left.
    """

    readers: frozenset[Principal]
    unreadable: int = 0
    above: tuple[Principal, ...] = ()
    is_gone: bool = False


class Doors(Protocol):
    """Who may read folders of one place."""

    def group(self, name: str) -> Principal:
        """The group that a name means there.

        Raises
        ------
        NotFoundError
            There is no such group.
        CopyError, UnreachableError
            Whoever keeps the groups refuses, or does not answer.
        """

    def look(self, folder: str, *, inside: bool) -> Seen | None:
        """Who may read a folder; None when nothing is there and nobody is let in.

        Parameters
        ----------
        folder
            Relative to the place's root.
        inside
            Whether to look at each file below it as well.

        Raises
        ------
        CopyError, UnreachableError
            The place refuses, is another's, or does not answer.
        """

    def allow(self, folder: str, readers: Collection[Principal]) -> None:
        """Let these read a folder with all below it, and nobody else beside its owner. Errors as for :meth:`look`."""

    def close(self) -> None:
        """Close connections."""
