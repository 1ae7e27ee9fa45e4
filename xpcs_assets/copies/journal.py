"""The journal: a file beside the site's settings where every fact is written that the data cannot tell again.

``<home>/journal/<year>-<month>.jsonl`` holds one line a fact: its number, the table it belongs to, the row as it was
written, and a digest of all that. Numbers rise by one from line to line over all files. Nothing is ever changed or
taken out. A last line that was torn by a crash is skipped and told; the next one begins on a line of its own.

Here is the file alone; which facts are kept, and when, says :mod:`xpcs_assets.copies.keeping`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from xpcs_assets.errors import LedgerError

BEGINNING = "ledger"
"""What the first line is about: whose journal this is."""
_LOOK_BACK_BYTES = 1 << 13
_LOCK = "lock"


@dataclass(frozen=True)
class Line:
    """A line of the journal.

    Attributes
    ----------
    number
        Its place in the whole journal; the first line has the number that the ledger had when it was begun.
    table
        Which table of the ledger, or which kind of fact, it is about.
    row
        The row's columns, or the fact: plain values; times in microseconds since 1970.
    """

    number: int
    table: str
    row: Mapping[str, Any]

    def to_json(self) -> str:
        """The line as it is written, without its end."""
        content = {"number": self.number, "table": self.table, "row": self.row}
        return json.dumps(content | {"digest": _digest(content)}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: bytes) -> Line | None:
        """Read a line back; None when it is torn or damaged."""
        try:
            content = json.loads(text)
            digest = content.pop("digest")
            return cls(content["number"], content["table"], content["row"]) if digest == _digest(content) else None
        except (ValueError, KeyError, TypeError, AttributeError):
            return None


@dataclass(frozen=True)
class Journal:
    """The journal in a folder, which is made with the first line.

    Attributes
    ----------
    folder
        Such as ``<home>/journal``.
    """

    folder: Path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only one who writes; others wait. The lock goes with the process, however that ends.

        Raises
        ------
        LedgerError
            The folder cannot be written.
        """
        with self._told():
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            with self._told():
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def append(self, lines: Sequence[Line], now: datetime) -> None:
        """Write lines and have them on the disk; the caller holds :meth:`locked`.

        Parameters
        ----------
        now
            Names the month's file. Should the clock have gone back, the newest file goes on.

        Raises
        ------
        LedgerError
            They could not be written; a part of them may be there.
        """
        if not lines:
            return
        files = self.files()
        path = max([*files[-1:], self.folder / f"{now:%Y-%m}.jsonl"])
        data = "".join(f"{line.to_json()}\n" for line in lines).encode()
        with self._told():
            is_new = not path.exists()
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            try:
                if _is_torn(descriptor):
                    data = b"\n" + data
                while data:
                    data = data[os.write(descriptor, data) :]
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if is_new:
                _sync_folder(self.folder)

    def last(self) -> Line | None:
        """The last sound line; None when there is none."""
        with self._told():
            return next((line for path in reversed(self.files()) if (line := _last_of(path)) is not None), None)

    def first(self) -> Line | None:
        """The line that says whose journal this is; None when there is no journal."""
        return next((line for line, _ in self._read() if line is not None), None)

    def lines(self, after: int = -1) -> Iterator[Line]:
        """The sound lines with a higher number than ``after``, in order."""
        files = self.files()
        begins = [line.number if (line := _first_of(path)) else None for path in files]
        skipped = sum(1 for number in begins[1:] if number is not None and number <= after)
        for line, _ in self._read(files[skipped:]):
            if line is not None and line.number > after:
                yield line

    def damage(self) -> tuple[str, ...]:
        """What of the journal cannot be read, and which numbers never came into it, as sentences."""
        told: list[str] = []
        before: int | None = None
        for line, where in self._read():
            if line is None:
                told.append(f"{where} is torn or damaged")
            else:
                if before is not None and line.number != before + 1:
                    told.append(f"{where}: line {line.number} follows line {before}")
                before = line.number
        return tuple(told)

    def files(self) -> tuple[Path, ...]:
        """Its files, the oldest first."""
        return tuple(sorted(self.folder.glob("[0-9][0-9][0-9][0-9]-[0-9][0-9].jsonl")))

    def _read(self, files: Sequence[Path] | None = None) -> Iterator[tuple[Line | None, str]]:
        for path in self.files() if files is None else files:
            with self._told(), path.open("rb") as file:
                for number, text in enumerate(file, 1):
                    yield Line.from_json(text), f"{path.name}:{number}"

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise LedgerError(
                f"the ledger's journal could not be read or written ({error.strerror})",
                where=self.folder,
                remedy="See that its disk has room and can be written, then repeat",
            ) from error


def _digest(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, separators=(",", ":"), sort_keys=True)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _first_of(path: Path) -> Line | None:
    with path.open("rb") as file:
        return next((line for text in file if (line := Line.from_json(text)) is not None), None)


def _last_of(path: Path) -> Line | None:
    """The last sound line of a file, looking back as far as needed."""
    size_bytes = path.stat().st_size
    look_back_bytes = _LOOK_BACK_BYTES
    with path.open("rb") as file:
        while True:
            start = max(0, size_bytes - look_back_bytes)
            file.seek(start)
            texts = file.read().splitlines()
            for text in reversed(texts if start == 0 else texts[1:]):
                line = Line.from_json(text)
                if line is not None:
                    return line
            if start == 0:
                return None
            look_back_bytes *= 8


def _is_torn(descriptor: int) -> bool:
    """Whether the file does not end in a whole line."""
    size_bytes = os.fstat(descriptor).st_size
    return size_bytes > 0 and os.pread(descriptor, 1, size_bytes - 1) != b"\n"


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
