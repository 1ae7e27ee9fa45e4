"""The run database and all that is ever asked of it: one atomic change of one document at a time, each time-limited.

No document is ever deleted or tagged. A claim is renewed while this site works and may be taken over when it was not
for long; every time is the database's own.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from xpcs_assets.errors import RefusedError, SettingsError, UnreachableError
from xpcs_assets.run_database.known_run import ABANDONED, HELD, OPEN, KnownRun, RunStatus, read, tagged, to_take
from xpcs_assets.secret import SecretReference
from xpcs_assets.settings_run_database import RunDatabaseSettings

if TYPE_CHECKING:
    from pymongo import MongoClient
    from pymongo.collection import Collection

SWITCH, ON = "auto_processing", "on"
LOOKED_AT = 200
"""Runs to take that one look may return; the newest come first."""
_LIMIT_MS = 10_000
_NO_RIGHT = {13, 18}
_SCHEMES = ("mongodb://", "mongodb+srv://")


class RunDatabase:
    """The run database of one beamline.

    Parameters
    ----------
    settings
        What the beamline file says of it.
    url
        Where its address lies.
    holder
        What claims are made in the name of: the same after every restart, and no other site's.
    host
        The machine's name, for people.
    """

    def __init__(self, settings: RunDatabaseSettings, url: SecretReference, *, holder: str, host: str) -> None:
        self.settings = settings
        self.holder = holder
        self.host = host
        self._url = url
        self._fields = settings.fields
        self._open: MongoClient[dict[str, Any]] | None = None

    def close(self) -> None:
        """End the connections; the next call makes new ones."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def now(self) -> datetime:
        """The time by the database's clock, which all sites share."""
        with self._asking() as client:
            told: datetime = client.admin.command("hello")["localTime"]
        return told.astimezone(UTC)

    def is_on(self) -> bool:
        """Whether new runs may be taken: what the switch in the database says, and yes where there is none."""
        database, _, collection = self.settings.switch.partition(".")
        with self._asking() as client:
            switch = client[database][collection].find_one({"name": SWITCH})
        return switch is None or switch.get("status") == ON

    def to_take(self, now: datetime) -> list[KnownRun]:
        """Runs that have ended and that nobody has, the newest first."""
        return self._find(to_take(self.settings, now), LOOKED_AT)

    def mine(self) -> list[KnownRun]:
        """Runs that this site has claimed and that are not over, the newest first."""
        return self._find(self._held(OPEN), 0)

    def ended(self, below: int | None, limit: int) -> list[KnownRun]:
        """Runs of this site that are over, the newest first, from below a number on."""
        wanted = self._held((RunStatus.DONE, RunStatus.FAILED))
        return self._find(wanted if below is None else {**wanted, self._fields.number: {"$lt": below}}, limit)

    def run(self, number: int) -> KnownRun | None:
        """The run of exactly this number; None when there is none."""
        found = self._find({self._fields.number: number}, 1)
        return found[0] if found else None

    def claim(self, run: KnownRun, attempt: int, now: datetime) -> KnownRun | None:
        """Claim a run as it was seen: None when it has changed since, so that of many who try one gets it."""
        status = self._status(RunStatus.SUBMITTED, "", now, attempt=attempt, forced=run.forced)
        return self._change(run, status)

    def refuse(self, run: KnownRun, reason: str, now: datetime) -> KnownRun | None:
        """Say of a run that nobody has that it failed; None when it has changed since it was seen."""
        status = self._status(RunStatus.FAILED, reason, now, attempt=run.attempt, forced=run.forced)
        return self._change(run, status, failed=True)

    def renew(self, now: datetime) -> None:
        """Let this site's claims stand on."""
        change = {"$set": {f"{self._fields.processing_status}.expires": self._expiry(now)}}
        with self._asking() as client:
            self._runs(client).update_many(self._held(OPEN), change)

    def say(self, run: KnownRun, status: RunStatus, reason: str, now: datetime) -> bool:
        """Say how far a run is that this site holds; False when it holds it no more.

        A run is over once: saying so again, after an answer was lost, changes nothing and counts nothing twice.
        """
        said = self._status(status, reason, now, attempt=run.attempt, forced=run.forced)
        change = self._change_to(said, run, failed=status is RunStatus.FAILED)
        with self._asking() as client:
            return self._runs(client).update_one({"_id": run.id, **self._held(OPEN)}, change).matched_count == 1

    def add_data(self, run: KnownRun, entry: Mapping[str, Any]) -> None:
        """Add a data entry, unless one with its type, host, location and checksum is there."""
        data = self._fields.data
        missing = {"_id": run.id, data: {"$not": {"$elemMatch": _identity(entry)}}}
        with self._asking() as client:
            self._runs(client).update_one(missing, {"$push": {data: dict(entry)}})

    def retire_data(self, run: KnownRun, entry: Mapping[str, Any]) -> None:
        """Move a data entry to those of data that are gone."""
        data, same = self._fields.data, _identity(entry)
        change = {"$pull": {data: same}, "$push": {self._fields.deleted_data: dict(entry)}}
        with self._asking() as client:
            self._runs(client).update_one({"_id": run.id, data: {"$elemMatch": same}}, change)

    def _find(self, wanted: Mapping[str, Any], limit: int) -> list[KnownRun]:
        with self._asking() as client:
            found = list(self._runs(client).find(wanted).sort(self._fields.number, -1).limit(limit))
        runs = (read(document, self.settings) for document in found)
        return [run for run in runs if run is not None]

    def _change(self, run: KnownRun, status: Mapping[str, Any], *, failed: bool = False) -> KnownRun | None:
        """Change a run's status if it still is what was seen, and no one has tagged it meanwhile."""
        field = self._fields.processing_status
        as_seen = {"_id": run.id, field: {"$eq": run.said}, "$nor": [tagged(self._fields.tags, ABANDONED, HELD)]}
        with self._asking() as client:
            changed = self._runs(client).find_one_and_update(
                as_seen, self._change_to(status, run, failed=failed), return_document=True
            )
        return None if changed is None else read(changed, self.settings)

    def _change_to(self, status: Mapping[str, Any], run: KnownRun, *, failed: bool) -> dict[str, Any]:
        counted = {"$inc": {self._fields.processing_failed: 1}} if failed else {}
        return {"$set": {self._fields.processing_status: dict(status)}, **counted}

    def _status(self, status: RunStatus, reason: str, now: datetime, *, attempt: int, forced: bool) -> dict[str, Any]:
        stands = {"expires": self._expiry(now)} if status in OPEN else {}
        said = {"status": status.value, "reason": reason, "time": now, "host": self.host, "claimed_by": self.holder}
        return {**said, "attempt": attempt, **({"forced": True} if forced else {}), **stands}

    def _expiry(self, now: datetime) -> datetime:
        return now + timedelta(seconds=self.settings.claim_stands)

    def _held(self, states: tuple[RunStatus, ...]) -> dict[str, Any]:
        field = self._fields.processing_status
        return {f"{field}.claimed_by": self.holder, f"{field}.status": {"$in": [state.value for state in states]}}

    def _runs(self, client: MongoClient[dict[str, Any]]) -> Collection[dict[str, Any]]:
        return client[self.settings.database][self.settings.collection]

    @contextmanager
    def _asking(self) -> Iterator[MongoClient[dict[str, Any]]]:
        """The connection, its errors told without what they hold: an address may have a password in it."""
        client = self._client()
        from pymongo.errors import ConnectionFailure, ExecutionTimeout, OperationFailure, PyMongoError

        where = f"{self.settings.database}.{self.settings.collection}"
        try:
            yield client
        except (ConnectionFailure, ExecutionTimeout) as error:
            raise UnreachableError(
                f"the run database does not answer ({type(error).__name__})",
                where=where,
                remedy="Nothing is lost: what was left undone is done once it answers",
            ) from None
        except OperationFailure as error:
            if error.code in _NO_RIGHT:
                self.close()  # the secret is read anew with the next call
                remedy = "See the user and password in its address, and that user's right to read and write there"
                raise SettingsError("the run database denies it to this user", where=where, remedy=remedy) from None
            raise RefusedError(f"the run database refused it (code {error.code})", where=where) from None
        except PyMongoError as error:
            raise UnreachableError(
                f"the run database could not be asked ({type(error).__name__})", where=where
            ) from None

    def _client(self) -> MongoClient[dict[str, Any]]:
        if self._open is not None:
            return self._open
        try:
            from pymongo import MongoClient
            from pymongo.errors import PyMongoError
        except ImportError as error:
            raise SettingsError("pymongo is not installed", remedy='Install "xpcs-assets[mongodb]"') from error
        # What fails is not tried again here: the next look does, and knows by then what became of it.
        options: dict[str, Any] = {"timeoutMS": _LIMIT_MS, "serverSelectionTimeoutMS": _LIMIT_MS // 2}
        options |= {"retryReads": False, "retryWrites": False, "tz_aware": True, "appname": "xpcs-assets"}
        url = self._url.read()
        # An error's text may hold the address, so it goes no further.
        with suppress(PyMongoError, ValueError):
            if url.startswith(_SCHEMES):
                self._open = MongoClient(url, **options)
        if self._open is None:
            where = "runs.from.run_database.url"
            remedy = "Such as mongodb://user:password@host:27017/"
            raise SettingsError("it is no address of a MongoDB server", where=where, remedy=remedy)
        weakref.finalize(self, self._open.close)
        return self._open


def _identity(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: entry[name] for name in ("type", "host", "location", "checksum")}
