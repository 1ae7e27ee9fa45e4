"""Who may read folders of a mounted file system: its groups, by a POSIX access list on one folder.

The folder is the gate: whoever may not enter it reaches nothing below, and below it all is readable, so that files that
come later need no list of their own. The list is the file system's attribute itself, written as a whole, so that there
is no moment at which half of it holds; only the folder's owner must be us. Where the file system has no such lists, one
group can be the folder's own.
"""

from __future__ import annotations

import errno
import grp
import os
import stat
import struct
from collections.abc import Collection, Iterator

from xpcs_assets.errors import CopyError, NotFoundError
from xpcs_assets.places.access import EVERYBODY, Principal, Seen
from xpcs_assets.places.posix import PosixPlace

ATTRIBUTE = "system.posix_acl_access"
_VERSION = struct.pack("<I", 2)
_ENTRY = struct.Struct("<HHI")
_OWNER, _USER, _OWN_GROUP, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_NOBODY = 0xFFFFFFFF
_READ = 0o5
_ALL = 0o7
_WORDS = {_USER: "user", _OWN_GROUP: "group", _GROUP: "group"}


class PosixDoors:
    """Who may read folders of a place on this machine."""

    def __init__(self, place: PosixPlace) -> None:
        self._place = place

    def close(self) -> None:
        """Nothing is kept open."""

    def group(self, name: str) -> Principal:
        """A group of this machine by its name, or by its number; NotFoundError when it has none of that name."""
        if name.isascii() and name.isdigit():
            return Principal("group", name)
        try:
            return Principal("group", str(grp.getgrnam(name).gr_gid), name=name)
        except KeyError:
            raise NotFoundError(
                f"this machine has no group {name!r}",
                where=self._place.name,
                remedy="Have it made by whoever keeps the groups there, or say what it is called in `access.groups`",
            ) from None

    def look(self, folder: str, *, inside: bool) -> Seen | None:
        """See :meth:`xpcs_assets.places.access.Doors.look`."""
        try:
            with self._place.entered(folder) as opened:
                return Seen(_readers(opened), len(list(_unreadable(opened))) if inside else 0)
        except NotFoundError:
            return None

    def allow(self, folder: str, readers: Collection[Principal]) -> None:
        """See :meth:`xpcs_assets.places.access.Doors.allow`."""
        with self._place.entered(folder) as opened:
            try:
                _allow(opened, readers)
                for above, name, mode in _unreadable(opened):
                    os.chmod(name, mode, dir_fd=above)
            except OSError as error:
                if error.errno not in {errno.EPERM, errno.EOPNOTSUPP}:
                    raise
                raise CopyError(
                    f"its file system does not let the access be set ({os.strerror(error.errno)})",
                    where=self._place.root / folder,
                    remedy="Have the site's user own it, and access lists switched on; without them a folder has one "
                    "group, of which that user must be a member",
                ) from error


def _readers(folder: int) -> frozenset[Principal]:
    """Whom an open folder lets in beside its owner. A group that is kept out while everybody may enter is told."""
    own_group, other, named = _entries(folder)
    found = {_principal(kind, identity, rights) for kind, identity, rights in named if rights}
    gid = os.fstat(folder).st_gid
    if own_group and own_group != other:
        found.add(_principal(_OWN_GROUP, gid, own_group))
    if other:
        found.add(EVERYBODY if other == _READ else Principal("everybody", rights=_letters(other)))
    if other & _READ & ~own_group:
        found.add(Principal("group", str(gid), "no right"))
    return frozenset(found)


def _entries(folder: int) -> tuple[int, int, list[tuple[int, int, int]]]:
    """The rights of the folder's own group and of all others; kind, number and rights of each that is named."""
    mode = os.fstat(folder).st_mode
    own_group, other, mask = mode >> 3 & _ALL, mode & _ALL, _ALL
    try:
        listed = os.getxattr(folder, ATTRIBUTE)
    except OSError as error:
        if error.errno not in {errno.ENODATA, errno.EOPNOTSUPP}:
            raise
        return own_group, other, []
    named = []
    for kind, rights, identity in _ENTRY.iter_unpack(listed[len(_VERSION) :]):
        match kind:
            case 0x04:
                own_group = rights
            case 0x10:
                mask = rights
            case 0x20:
                other = rights
            case 0x02 | 0x08:
                named.append((kind, identity, rights))
    return own_group & mask, other, [(kind, identity, rights & mask) for kind, identity, rights in named]


def _principal(kind: int, identity: int, rights: int) -> Principal:
    name = ""
    if kind != _USER:
        try:
            name = grp.getgrgid(identity).gr_name
        except KeyError:
            name = ""
    return Principal(_WORDS[kind], str(identity), "" if rights == _READ else _letters(rights), name)


def _letters(rights: int) -> str:
    return "".join(letter if rights & bit else "-" for letter, bit in (("r", 4), ("w", 2), ("x", 1)))


def _allow(folder: int, readers: Collection[Principal]) -> None:
    groups = sorted({int(reader.identity) for reader in readers if reader.kind == "group"})
    if EVERYBODY in readers:
        _without_list(folder, 0o755)
    elif not groups:
        _without_list(folder, 0o700)
    else:
        try:
            os.setxattr(folder, ATTRIBUTE, _list_of(groups))
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP or len(groups) > 1:
                raise
            _without_list(folder, 0o700)  # closed before it is another group's
            os.fchown(folder, -1, groups[0])
            _without_list(folder, 0o750)


def _list_of(groups: Collection[int]) -> bytes:
    """The attribute that lets the owner do all, and these groups read."""
    entries = [
        (_OWNER, _ALL, _NOBODY),
        (_OWN_GROUP, 0, _NOBODY),
        *((_GROUP, _READ, group) for group in groups),
        (_MASK, _READ, _NOBODY),
        (_OTHER, 0, _NOBODY),
    ]
    return _VERSION + b"".join(_ENTRY.pack(*entry) for entry in entries)


def _without_list(folder: int, mode: int) -> None:
    """Set the mode, which holds for all whom a list names as well, and take the list away then."""
    os.fchmod(folder, os.fstat(folder).st_mode & 0o7000 | mode)
    try:
        os.removexattr(folder, ATTRIBUTE)
    except OSError as error:
        if error.errno not in {errno.ENODATA, errno.EOPNOTSUPP}:
            raise


def _unreadable(folder: int) -> Iterator[tuple[int, str, int]]:
    """What below an open folder not everybody may read: the open folder it is in, its name, the mode it should have."""

    def told(error: OSError) -> None:
        raise error

    for _, folders, files, above in os.fwalk(".", dir_fd=folder, onerror=told):
        for names, wanted in ((folders, 0o555), (files, 0o444)):
            for name in names:
                try:
                    found = os.stat(name, dir_fd=above, follow_symlinks=False)
                except FileNotFoundError:
                    continue  # taken away meanwhile
                regular = stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)
                if regular and found.st_mode & wanted != wanted:
                    yield above, name, stat.S_IMODE(found.st_mode) | wanted
