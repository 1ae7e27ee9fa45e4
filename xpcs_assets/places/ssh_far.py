"""The program that a place over ssh runs at the far side: the hands, while the near side judges.

It is sent over the wire, serves a request or some, and needs nothing there but Python 3.6 or newer: see
``ssh_far_files``. A shell with coreutils would not do: none of its tools refuses links on the way to a file, gives a
name without ever replacing one, and has the names in a folder on the disk.

What it hears and says are lines of JSON; bytes of a file follow a line that tells their number. Before it changes
anything it asks: whether the root is the place's (it tells the marker), and whether a file may go. When the near side
is gone no answer comes, and nothing is done.
"""

import errno
import fcntl
import hashlib
import os
import select
import stat
import sys
import time
from contextlib import suppress

from xpcs_assets.places.ssh_far_files import (
    CHUNK_BYTES,
    FOLDER,
    CutError,
    ToldError,
    Wire,
    drop_cache,
    exists,
    give_name,
    has_changed,
    hash_descriptor,
    name_of,
    names_in,
    open_below,
    open_regular,
    signature_of,
    tell_folder,
)

TYPE_CHECKING = False  # the module typing takes longer to load than the rest
if TYPE_CHECKING:
    from typing import Any

_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
_NAMES_A_LINE = 1000
_FIRST_DESCRIPTOR, _LAST_DESCRIPTOR = 3, 4096
IDLE_S = 60.0
"""How long to wait for another request."""
_REPEAT = "Repeat: it is sent again; if it stays so, the source is not what its manifest says"


class Far:
    """One request: its methods are what may be asked."""

    def __init__(self, wire: Wire, request: "dict[str, Any]") -> None:
        self.wire = wire
        self.request = request
        self.marker_name = name_of(self.text("marker"))
        self.suffix = name_of(self.text("partial_suffix"))
        self.root = os.open(name_of(self.text("root")), FOLDER)

    def text(self, key: str) -> str:
        """A word of the request."""
        return str(self.request[key])

    def parts(self, key: str) -> "list[bytes]":
        """The names of a path of the request."""
        return _split(self.text(key))

    def marker(self) -> "dict[str, Any]":
        """What is known of the marker in the open root."""
        try:
            descriptor = open_regular(self.marker_name, self.root)
        except FileNotFoundError:
            return {"missing": True}
        except OSError as error:
            return {"errno": error.errno, "strerror": error.strerror}
        except ToldError as error:
            return error.facts
        with os.fdopen(descriptor, "rb") as file:
            return {"text": file.read(CHUNK_BYTES).decode("utf-8", "surrogateescape")}

    def refuse_unless(self, wanted: str) -> None:
        """Go on only if the root is ``known`` to be the place's, or ``available``."""
        self.wire.ask(ask=wanted, marker=self.marker())

    # ---- what only looks ---------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Whether the root is the place's."""
        self.wire.say(marker=self.marker())

    def available(self) -> None:
        """Nothing, if the place is available."""
        self.refuse_unless("available")
        self.wire.say(done=True)

    def has_any(self) -> None:
        """Whether one of the names is there."""
        paths = [name_of(path) for path in list(self.request["paths"])]
        root = name_of(self.text("root"))
        self.wire.say(found=any(os.path.lexists(os.path.join(root, path)) for path in paths))  # noqa: PTH118

    def stat(self) -> None:
        """What is known of a name."""
        *above, name = self.parts("path")
        absent = "it is not there"
        with suppress(FileNotFoundError, NotADirectoryError):
            found = os.stat(name, dir_fd=open_below(self.root, above), follow_symlinks=False)
            if stat.S_ISREG(found.st_mode):
                self.wire.say(signature=signature_of(found))
                return
            absent = "it is no regular file"
        self.wire.say(absent=absent, marker=self.marker())

    def digest(self) -> None:
        """Hash a file."""
        descriptor = self._open_file()
        before = os.fstat(descriptor)
        sums = hash_descriptor(descriptor, self.wire, list(self.request["also"]))
        self.wire.say(sums=sums, signature=signature_of(before), changed=has_changed(descriptor, before))

    def read(self) -> None:
        """The bytes of a file."""
        descriptor = self._open_file()
        before = os.fstat(descriptor)
        drop_cache(descriptor)
        os.lseek(descriptor, int(self.text("offset_bytes")), os.SEEK_SET)
        data = os.read(descriptor, CHUNK_BYTES)
        while data:
            self.wire.give(data)
            data = os.read(descriptor, CHUNK_BYTES)
        self.wire.say(signature=signature_of(before), changed=has_changed(descriptor, before))

    def _open_file(self) -> int:
        *above, name = self.parts("path")
        try:
            return open_regular(name, open_below(self.root, above))
        except FileNotFoundError:
            self.refuse_unless("known")
            raise

    def usage(self) -> None:
        """How full the file system is."""
        self.refuse_unless("available")
        found = os.fstatvfs(self.root)
        used = (found.f_blocks - found.f_bfree) * found.f_frsize
        self.wire.say(used_bytes=used, free_bytes=found.f_bavail * found.f_frsize)

    def names(self) -> None:
        """All names below a folder, and whether each is one of a file."""
        self.refuse_unless("known")
        parts = self.parts("path")
        try:
            folder = open_below(self.root, parts)
        except (FileNotFoundError, NotADirectoryError):
            self.wire.say(absent="it is not there")
            return
        found = []  # type: list[tuple[str, bool]]
        left_out = set() if parts else {name_of(name) for name in self.request["not_listed"]}
        self._walk(folder, b"/".join(parts), left_out, found)
        self.wire.say(names=found, end=True)

    def _walk(self, folder: int, path: bytes, left_out: "set[bytes]", found: "list[tuple[str, bool]]") -> None:
        for name in names_in(folder):
            if name in left_out:
                continue
            inner = path + b"/" + name if path else name
            # What another has taken away since the folder was listed is not there.
            with suppress(FileNotFoundError, NotADirectoryError):
                mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
                if stat.S_ISDIR(mode):
                    below = open_below(folder, [name])
                    self._walk(below, inner, set(), found)
                    os.close(below)
                else:
                    is_file = stat.S_ISREG(mode) and not self._is_partial(name)
                    found.append((inner.decode("utf-8", "surrogateescape"), is_file))
            if len(found) >= _NAMES_A_LINE:
                self.wire.say(names=found, end=False)
                del found[:]

    def _is_partial(self, name: bytes) -> bool:
        return name.startswith(b".") and name.endswith(self.suffix)

    def folders(self) -> None:
        """What lies in folders, each name with what it is, and in those below them down to a depth; -1: in all."""
        self.refuse_unless("available")
        until_s = time.monotonic() + float(self.text("limit_s"))
        told = {}  # type: dict[str, Any]
        for path in list(self.request["paths"]):
            tell_folder((self.root, _split(path)), int(self.text("depth")), until_s, self.wire, told)
        self.wire.say(folders=told)

    # ---- what changes something --------------------------------------------------------------------------------------

    def put(self) -> None:
        """Write a file: partial name, fsync, read-back, final name, fsync of the folder."""
        self.refuse_unless("known")
        *above, name = self.parts("path")
        folder = open_below(self.root, above, make=True)
        stem = b"." + hashlib.sha256(name).hexdigest()[:12].encode() + b"-"
        for other in names_in(folder):  # what writers of this very file have left who are dead
            if other.startswith(stem) and self._is_partial(other):
                self._sweep(other, folder)
        expected = self.text("sha256")
        if expected and exists(name, folder):
            self._refuse_other_bytes(name, folder, expected)
            os.fsync(folder)  # whoever named it may have died before this
            self.wire.say(there=os.stat(name, dir_fd=folder, follow_symlinks=False).st_size)
            return
        partial, descriptor = self._claim_partial(stem, folder)
        try:
            self.wire.say(ready=True)
            sha256 = self._pour(descriptor)
            given = give_name(partial, name, folder, folder)
            if not given:
                self._refuse_other_bytes(name, folder, sha256)
                os.unlink(partial, dir_fd=folder)
        except BaseException:
            with suppress(OSError):
                os.unlink(partial, dir_fd=folder)
            raise
        os.fsync(folder)
        self.wire.say(already_there=not given)

    def _claim_partial(self, stem: bytes, folder: int) -> "tuple[bytes, int]":
        """A new partial, locked while this process lives."""
        while True:
            partial = stem + os.urandom(6).hex().encode() + self.suffix
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(partial, flags, 0o644, dir_fd=folder)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # a sweeper came between open and lock
                os.close(descriptor)
                continue
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
            if os.fstat(descriptor).st_nlink:
                return partial, descriptor
            os.close(descriptor)

    def _pour(self, descriptor: int) -> str:
        """Write what comes; the sha256 of what came, which is that of what was read back."""
        data = self.wire.take()
        while data:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            data = self.wire.take()
        told = self.wire.hear()
        if told["mtime_ns"] is not None:
            mtime_ns = int(str(told["mtime_ns"]))
            os.utime(descriptor, ns=(mtime_ns, mtime_ns))
        self.wire.sync(descriptor)
        os.lseek(descriptor, 0, os.SEEK_SET)
        sha256 = hash_descriptor(descriptor, self.wire, [])["sha256"]
        if sha256 != told["sha256"]:
            raise ToldError(
                "NotVerifiedError", "what came back from the disk is not what was written", "Have the disk looked at"
            )
        return sha256

    def _refuse_other_bytes(self, name: bytes, folder: int, sha256: str) -> None:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        what = "the name is taken by something that is no file"
        if stat.S_ISREG(found.st_mode):
            what = "the name is taken by other bytes"
            descriptor = open_regular(name, folder)
            found_sha256 = hash_descriptor(descriptor, self.wire, [])["sha256"]
            os.close(descriptor)
            if found_sha256 == sha256:
                return
        raise ToldError("ConflictingBytesError", what, "Both were kept: look which is right, and move the other away")

    def arriving(self) -> None:
        """Make the folder where files of a list arrive, and tell which are not at their final names yet."""
        self.refuse_unless("known")
        left = [number for number, entry in enumerate(self.request["entries"]) if not self._has_arrived(entry)]
        if left:
            open_below(self.root, self.parts("path"), make=True)
        self.wire.say(left=left)

    def arrived(self) -> None:
        """Read back what has arrived, and give it its final names."""
        self.refuse_unless("known")
        for entry in self.request["entries"]:
            *above, name = [*self.parts("path"), *_split(entry["path"])]
            try:
                folder = open_below(self.root, above)
                descriptor = open_regular(name, folder)
            except FileNotFoundError:
                raise ToldError("NotFoundError", "{!r} did not arrive".format(entry["path"]), _REPEAT) from None
            os.utime(descriptor, ns=(entry["mtime_ns"], entry["mtime_ns"]))
            self.wire.sync(descriptor)
            if hash_descriptor(descriptor, self.wire, [])["sha256"] != entry["sha256"]:
                raise ToldError("NotVerifiedError", "{!r} arrived as other bytes".format(entry["path"]), _REPEAT)
            *new_above, new_name = [*self.parts("new_path"), *_split(entry["path"])]
            new_folder = open_below(self.root, new_above, make=True, settle=True)
            if not give_name(name, new_name, folder, new_folder):
                self._refuse_other_bytes(new_name, new_folder, entry["sha256"])
                os.unlink(name, dir_fd=folder)
            for each in (descriptor, folder, new_folder):
                os.close(each)
        for folders in sorted({tuple(_split(entry["path"])[:-1]) for entry in self.request["entries"]}):
            self._remove_empty_folders([*self.parts("path"), *folders])
        self.wire.say(done=True)

    def _has_arrived(self, entry: "dict[str, Any]") -> bool:
        *above, name = [*self.parts("new_path"), *_split(entry["path"])]
        with suppress(FileNotFoundError):
            folder = open_below(self.root, above)
            try:
                os.stat(name, dir_fd=folder, follow_symlinks=False)
                self._refuse_other_bytes(name, folder, entry["sha256"])
            finally:
                os.close(folder)
            return True
        return False

    def settle(self) -> None:
        """Have the names of folders on the disk."""
        self.refuse_unless("available")
        for path in list(self.request["paths"]):
            folder = open_below(self.root, [name_of(part) for part in path.split("/") if part])
            os.fsync(folder)
            os.close(folder)
            self.wire.beat()
        self.wire.say(done=True)

    def remove(self) -> None:
        """Remove a file."""
        self.refuse_unless("available")
        *above, name = self.parts("path")
        removed = False
        with suppress(FileNotFoundError):
            folder = open_below(self.root, above)
            self.wire.ask(ask="allow")
            os.unlink(name, dir_fd=folder)
            os.fsync(folder)
            removed = True
        if not removed:
            self.refuse_unless("known")
        self._remove_empty_folders(above)
        self.wire.say(removed=removed)

    def move(self) -> None:
        """Move a file; done again after a crash it finishes."""
        self.refuse_unless("known")
        (*above, name), (*new_above, new_name) = self.parts("path"), self.parts("new_path")
        if self._is_file(above, name):
            folder = open_below(self.root, above)
            # The old name goes when the new one, and those of all folders above it, are on the disk.
            new_folder = open_below(self.root, new_above, make=True, settle=True)
            self.wire.ask(ask="allow")
            if not give_name(name, new_name, folder, new_folder):
                self._refuse_other_file(name, folder, new_name, new_folder)
                os.fsync(new_folder)
                self.wire.ask(ask="allow")  # comparing them took its time
                os.unlink(name, dir_fd=folder)
            os.fsync(folder)
        elif not self._is_file(new_above, new_name):
            raise ToldError("NotFoundError", "no such file", "It was moved or removed by another")
        self._remove_empty_folders(above)
        self.wire.say(done=True)

    def _is_file(self, above: "list[bytes]", name: bytes) -> bool:
        with suppress(FileNotFoundError):
            found = os.stat(name, dir_fd=open_below(self.root, above), follow_symlinks=False)
            if not stat.S_ISREG(found.st_mode):
                raise ToldError("CopyError", "it is no regular file", "Only files are moved")
            return True
        return False

    def _refuse_other_file(self, name: bytes, folder: int, new_name: bytes, new_folder: int) -> None:
        one = os.stat(name, dir_fd=folder, follow_symlinks=False)
        other = os.stat(new_name, dir_fd=new_folder, follow_symlinks=False)
        if (one.st_dev, one.st_ino) != (other.st_dev, other.st_ino):  # else a crash came between the two names
            sha256 = hash_descriptor(open_regular(name, folder), self.wire, [])["sha256"]
            self._refuse_other_bytes(new_name, new_folder, sha256)

    def _remove_empty_folders(self, parts: "list[bytes]") -> None:
        with suppress(OSError, ToldError):  # not empty: somebody's files stay
            for count in range(len(parts), 0, -1):
                folder = open_below(self.root, parts[: count - 1])
                try:
                    os.rmdir(parts[count - 1], dir_fd=folder)
                finally:
                    os.close(folder)

    def sweep(self) -> None:
        """Remove the partials below a folder whose writers are dead."""
        self.refuse_unless("available")
        swept = 0
        with suppress(FileNotFoundError):
            swept = self._sweep_in(open_below(self.root, self.parts("path")))
        self.wire.say(swept=swept)

    def _sweep_in(self, folder: int) -> int:
        swept = 0
        for name in names_in(folder):
            self.wire.beat()
            with suppress(FileNotFoundError, ToldError):  # a folder that another writer has taken away has no partials
                if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                    inner = open_below(folder, [name])
                    swept += self._sweep_in(inner)
                    os.close(inner)
                elif self._is_partial(name):
                    swept += self._sweep(name, folder)
        return swept

    def _sweep(self, name: bytes, folder: int) -> int:
        with suppress(OSError):  # locked, or gone meanwhile: then its writer lives
            # NFS locks only what is open to write.
            descriptor = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(name, dir_fd=folder)
                return 1
            finally:
                os.close(descriptor)
        return 0


def _split(path: str) -> "list[bytes]":
    return [name_of(part) for part in path.split("/") if part]


def main() -> None:
    """Serve requests, which come after this program, until one fails, the near side is gone, or none comes."""
    wire = Wire()
    with suppress(CutError, BrokenPipeError):
        while serve(wire, wire.hear()):
            os.closerange(_FIRST_DESCRIPTOR, _LAST_DESCRIPTOR)  # all that the request has opened, its locks with it
            wire.say(over=True)
            if not select.select([sys.stdin], [], [], IDLE_S)[0]:
                return


def serve(wire: Wire, request: "dict[str, Any]") -> bool:
    """Do what is asked; whether it came to its end."""
    # What the account's shell says when it starts stands before this line.
    sys.stdout.buffer.write(b"\n" + str(request["token"]).encode("ascii") + b"\n")
    try:
        far = Far(wire, request)
    except OSError as error:
        wire.say(error="root", errno=error.errno, strerror=error.strerror)
        return False
    try:
        getattr(far, str(request["do"]))()
    except ToldError as error:
        wire.say(**error.facts)
        return False
    except BrokenPipeError:
        raise
    except OSError as error:
        wire.say(error="OSError", errno=error.errno, strerror=error.strerror)
        return False
    return True
