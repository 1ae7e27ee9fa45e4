"""A MongoDB server on loopback for tests: the wire protocol in front of mongomock, so that the real pymongo talks TCP.

It knows the commands that a run database needs, and it goes down as it is told to: before or after a command was
carried out. What mongomock does not know, such as transactions and change streams, it does not know either.
"""

from __future__ import annotations

import itertools
import socketserver
import struct
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

Document = dict[str, Any]

_HEADER = struct.Struct("<iiii")
_MESSAGE, _QUERY, _REPLY = 2013, 2004, 1
_MORE_TO_COME = 2
_FIRST_BATCH = 101


class MongoServer:
    """The server; a context manager.

    Attributes
    ----------
    seen
        The names of the commands so far, without the handshakes of clients.
    clock
        What it takes the time from.
    """

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        import mongomock

        self.seen: list[str] = []
        self.clock = clock
        self._store: Any = mongomock.MongoClient()
        self._lock = threading.RLock()
        self._cursors: dict[int, tuple[str, list[Document]]] = {}
        self._ids = itertools.count(1)
        self._left: int | None = None
        self._carry_out_last = False
        self._tcp: _Listener | None = None
        self._commands: dict[str, Callable[[Document, Any], Document]] = {
            "find": self._find,
            "getmore": self._get_more,
            "killcursors": self._kill_cursors,
            "insert": self._insert,
            "update": self._update,
            "delete": self._delete,
            "findandmodify": self._find_and_modify,
            "dropdatabase": self._drop,
            "hello": self._hello_asked,
            "ping": self._nothing,
            "endsessions": self._nothing,
        }

    def __enter__(self) -> Self:
        self._tcp = _Listener(self)
        threading.Thread(target=self._tcp.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._tcp is not None:
            self._tcp.shutdown()
            self._tcp.server_close()

    @property
    def url(self) -> str:
        """Where it is."""
        if self._tcp is None:
            raise RuntimeError("it is not started")
        return f"mongodb://127.0.0.1:{self._tcp.server_address[1]}/?directConnection=true"

    def go_down(self, after: int, *, carry_out_last: bool) -> None:
        """Answer so many commands more; the one behind them is carried out or not, and has no answer, nor has any."""
        with self._lock:
            self._left, self._carry_out_last = after, carry_out_last

    def come_back(self) -> None:
        """Answer again."""
        with self._lock:
            self._left = None

    def answer(self, command: Document) -> Document | None:
        """What is answered to a command; None when the connection ends without an answer."""
        name = next(iter(command))
        with self._lock:
            if not _HANDSHAKES.isdisjoint(command):
                return self._hello()
            self.seen.append(name)
            if self._left is None:
                return self._carry_out(name, command)
            self._left -= 1
            if self._left >= 0:
                return self._carry_out(name, command)
            if self._left == -1 and self._carry_out_last:
                self._carry_out(name, command)
            return None

    def _carry_out(self, name: str, command: Document) -> Document:
        import mongomock
        from pymongo.errors import PyMongoError

        carried_out = self._commands.get(name.lower())
        if carried_out is None:
            return {"ok": 0.0, "errmsg": f"no such command: '{name}'", "code": 59, "codeName": "CommandNotFound"}
        try:
            return {**carried_out(command, self._store[command.get("$db", "admin")]), "ok": 1.0}
        except mongomock.DuplicateKeyError as error:
            return {"ok": 0.0, "errmsg": str(error), "code": 11000, "codeName": "DuplicateKey"}
        except (PyMongoError, NotImplementedError, ValueError, TypeError) as error:
            return {"ok": 0.0, "errmsg": f"{type(error).__name__}: {error}", "code": 2, "codeName": "BadValue"}

    def _hello(self) -> Document:
        sizes = {"maxBsonObjectSize": 1 << 24, "maxMessageSizeBytes": 48_000_000, "maxWriteBatchSize": 100_000}
        wire = {"minWireVersion": 0, "maxWireVersion": 21, "helloOk": True, "isWritablePrimary": True}
        return {**wire, **sizes, "ismaster": True, "readOnly": False, "localTime": self.clock(), "ok": 1.0}

    def _cursor(self, namespace: str, found: Iterable[Document], batch: int | None) -> Document:
        documents = list(found)
        first, rest = documents[: batch or _FIRST_BATCH], documents[batch or _FIRST_BATCH :]
        number = self._keep(namespace, rest)
        return {"cursor": {"id": number, "ns": namespace, "firstBatch": first}}

    def _keep(self, namespace: str, rest: list[Document]) -> Any:
        from bson import Int64

        if not rest:
            return Int64(0)
        number = next(self._ids)
        self._cursors[number] = (namespace, rest)
        return Int64(number)

    def _find(self, command: Document, database: Any) -> Document:
        found = database[command["find"]].find(command.get("filter") or {}, command.get("projection") or None)
        if command.get("sort"):
            found = found.sort(list(command["sort"].items()))
        if command.get("skip"):
            found = found.skip(command["skip"])
        if command.get("limit"):
            found = found.limit(abs(command["limit"]))
        return self._cursor(f"{database.name}.{command['find']}", found, command.get("batchSize"))

    def _get_more(self, command: Document, database: Any) -> Document:
        namespace, rest = self._cursors.pop(command["getMore"], ("", []))
        size = command.get("batchSize") or len(rest)
        number = self._keep(namespace, rest[size:])
        return {"cursor": {"id": number, "ns": namespace, "nextBatch": rest[:size]}}

    def _kill_cursors(self, command: Document, database: Any) -> Document:
        for number in command["cursors"]:
            self._cursors.pop(number, None)
        return {"cursorsKilled": command["cursors"]}

    def _insert(self, command: Document, database: Any) -> Document:
        database[command["insert"]].insert_many(command["documents"])
        return {"n": len(command["documents"])}

    def _update(self, command: Document, database: Any) -> Document:
        matched = modified = 0
        for each in command["updates"]:
            collection = database[command["update"]]
            change = collection.update_many if each.get("multi") else collection.update_one
            result = change(each["q"], each["u"], upsert=bool(each.get("upsert")))
            matched, modified = matched + result.matched_count, modified + result.modified_count
        return {"n": matched, "nModified": modified}

    def _delete(self, command: Document, database: Any) -> Document:
        collection = database[command["delete"]]
        ways = {1: collection.delete_one, 0: collection.delete_many}
        return {"n": sum(ways[each.get("limit", 0)](each["q"]).deleted_count for each in command["deletes"])}

    def _find_and_modify(self, command: Document, database: Any) -> Document:
        found = database[command["findAndModify"]].find_one_and_update(
            command.get("query") or {},
            command["update"],
            projection=command.get("fields"),
            sort=list(command["sort"].items()) if command.get("sort") else None,
            upsert=bool(command.get("upsert")),
            return_document=bool(command.get("new")),
        )
        return {"value": found, "lastErrorObject": {"n": int(found is not None), "updatedExisting": found is not None}}

    def _drop(self, command: Document, database: Any) -> Document:
        self._store.drop_database(database.name)
        return {}

    def _hello_asked(self, command: Document, database: Any) -> Document:
        return self._hello()

    def _nothing(self, command: Document, database: Any) -> Document:
        return {}


_HANDSHAKES = {"helloOk", "client", "ismaster"}
"""What is in a command with which a client's own machinery sees whom it talks to, and in no other."""


class _Listener(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
    block_on_close = False

    def __init__(self, owner: MongoServer) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.owner = owner


class _Connection(socketserver.BaseRequestHandler):
    """One client: messages are read, answered and written until it goes, or the server is down."""

    server: _Listener

    def handle(self) -> None:
        try:
            while self._exchange():
                pass
        except OSError:
            return

    def _exchange(self) -> bool:
        import bson

        length, number, _, kind = _HEADER.unpack(self._take(_HEADER.size))
        body = self._take(length - _HEADER.size)
        flags, command = (_read_message(body)) if kind == _MESSAGE else (0, _read_query(body))
        answer = self.server.owner.answer(command)
        if answer is None:
            return False
        if flags & _MORE_TO_COME:
            return True
        if kind == _QUERY:
            packed, kind = struct.pack("<iqii", 8, 0, 0, 1) + bson.encode(answer), _REPLY
        else:
            packed = struct.pack("<IB", 0, 0) + bson.encode(answer)
        self.request.sendall(_HEADER.pack(_HEADER.size + len(packed), 0, number, kind) + packed)
        return True

    def _take(self, size_bytes: int) -> bytes:
        taken = b""
        while len(taken) < size_bytes:
            piece = self.request.recv(size_bytes - len(taken))
            if not piece:
                raise ConnectionError("the client went")
            taken += piece
        return taken


def _read_message(body: bytes) -> tuple[int, Document]:
    """Flags and command of a message; sequences of documents become the command's lists."""
    import bson

    (flags,) = struct.unpack_from("<I", body)
    at, end, command = 4, len(body) - (4 if flags & 1 else 0), {}
    while at < end:
        (size,) = struct.unpack_from("<i", body, at + 1)
        content = body[at + 1 : at + 1 + size]
        if body[at] == 0:
            command.update(bson.decode(content))
        else:
            name, _, documents = content[4:].partition(b"\0")
            command[name.decode()] = bson.decode_all(documents)
        at += 1 + size
    return flags, command


def _read_query(body: bytes) -> Document:
    """The command of a message of the old kind, which clients begin with."""
    import bson

    return {**bson.decode(body[body.index(b"\0", 4) + 9 :]), "$db": "admin"}
