"""Files done side by side: who stops whom, and what is raised."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from xpcs_assets.errors import (
    ChangedWhileReadingError,
    ConflictingBytesError,
    CopyError,
    NoRoomError,
    RefusedError,
    XpcsAssetsError,
)
from xpcs_assets.runs.manifest import FileEntry
from xpcs_assets.stage.side_by_side import SideBySide, while_renewing

ENTRIES = [FileEntry(f"{number:02d}", 1, "") for number in range(12)]


def side_by_side(together: int, on_bytes: Callable[[int], None] = lambda size_bytes: None) -> SideBySide:
    return SideBySide(together, lambda error: isinstance(error, ChangedWhileReadingError), on_bytes)


def failing(**errors: type[BaseException]) -> tuple[list[str], Callable[[FileEntry], None]]:
    done: list[str] = []

    def act(entry: FileEntry) -> None:
        kind = errors.get(f"f{entry.path}")
        if kind is not None and issubclass(kind, XpcsAssetsError):
            raise kind("broken", where=entry.path, remedy="Mend it")
        if kind is not None:
            raise kind
        done.append(entry.path)

    return done, act


@pytest.mark.parametrize("together", [1, 3, 20])
def test_every_file_is_done_once(together: int) -> None:
    done, act = failing()
    side_by_side(together).each(ENTRIES, act)
    assert sorted(done) == [entry.path for entry in ENTRIES]


def test_one_at_a_time_is_done_in_order_by_the_caller() -> None:
    seen: list[tuple[str, int]] = []
    side_by_side(1).each(ENTRIES, lambda entry: seen.append((entry.path, threading.get_ident())))
    assert seen == [(entry.path, threading.get_ident()) for entry in ENTRIES]


def test_as_many_as_were_asked_for_work_at_the_same_time() -> None:
    meeting = threading.Barrier(3, timeout=20)
    side_by_side(3).each(ENTRIES, lambda entry: meeting.wait() and None)
    assert meeting.n_waiting == 0


@pytest.mark.parametrize("together", [1, 3])
def test_f07_what_concerns_one_file_lets_the_others_finish_and_is_raised_then(together: int) -> None:
    done, act = failing(f03=ChangedWhileReadingError)
    with pytest.raises(ChangedWhileReadingError, match=r"^03: broken\. Mend it$"):
        side_by_side(together).each(ENTRIES, act)
    assert len(done) == len(ENTRIES) - 1


def test_f07_several_that_failed_are_named_in_one_error_of_their_kind() -> None:
    _, act = failing(f03=ChangedWhileReadingError, f07=ChangedWhileReadingError)
    with pytest.raises(
        ChangedWhileReadingError, match=r"^2 of 12 files were not copied: 03: broken; 07: broken\. Mend"
    ):
        side_by_side(1).each(ENTRIES, act)


def test_kinds_that_differ_are_a_copy_error() -> None:
    _, act = failing(f03=ChangedWhileReadingError, f07=ConflictingBytesError)
    alone = SideBySide(1, lambda error: True, lambda size_bytes: None)
    with pytest.raises(CopyError, match="2 of 12") as raised:
        alone.each(ENTRIES, act)
    assert type(raised.value) is CopyError


def test_no_more_than_twenty_are_named() -> None:
    many = [FileEntry(f"{number:02d}", 1, "") for number in range(25)]
    _, act = failing(**{f"f{entry.path}": ChangedWhileReadingError for entry in many})
    with pytest.raises(ChangedWhileReadingError, match="19: broken; and 5 more"):
        side_by_side(1).each(many, act)


@pytest.mark.parametrize("together", [1, 2])
@pytest.mark.parametrize("kind", [NoRoomError, RefusedError, KeyboardInterrupt, ValueError])
def test_f05_what_concerns_all_stops_those_that_have_not_begun(together: int, kind: type[BaseException]) -> None:
    done, act = failing(f00=kind)
    with pytest.raises(kind):
        side_by_side(together).each(ENTRIES, act)
    assert len(done) < len(ENTRIES)
    assert together > 1 or done == []


def test_what_stops_all_gives_its_kind_to_the_error_that_names_each() -> None:
    done, act = failing(f03=ChangedWhileReadingError, f05=NoRoomError)
    with pytest.raises(NoRoomError, match="2 of 12 files were not copied: 03: broken; 05: broken"):
        side_by_side(1).each(ENTRIES, act)
    assert done == ["00", "01", "02", "04"]


def test_a_lost_lease_stops_a_file_that_is_under_way() -> None:
    lost, begun = threading.Event(), threading.Barrier(2, timeout=20)

    def on_bytes(size_bytes: int) -> None:
        raise RefusedError("the lease was lost")

    both = side_by_side(2, on_bytes)
    ended: list[str] = []

    def act(entry: FileEntry) -> None:
        begun.wait()
        if entry.path == "00":
            try:
                both.moved(1)
            finally:
                lost.set()
        else:
            lost.wait(20)
            while True:  # until it is told to stop
                both.moved(1)
        ended.append(entry.path)

    with pytest.raises(RefusedError, match="lease was lost"):
        both.each(ENTRIES[:2], act)
    assert ended == []


def test_bytes_are_told_by_one_thread_at_a_time() -> None:
    inside, most, told = 0, 0, 0

    def on_bytes(size_bytes: int) -> None:
        nonlocal inside, most, told
        inside += 1
        most = max(most, inside)
        told += size_bytes
        inside -= 1

    counting = side_by_side(4, on_bytes)

    def act(entry: FileEntry) -> None:
        for _ in range(200):
            counting.moved(3)

    counting.each(ENTRIES, act)
    assert (most, told) == (1, 12 * 200 * 3)


def test_the_lease_is_renewed_while_work_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xpcs_assets.stage.side_by_side._RENEW_EVERY_S", 0.01)
    renewed = threading.Event()

    def work() -> int:
        assert renewed.wait(30)
        return 7

    assert while_renewing(work, lambda size_bytes: renewed.set()) == 7


def test_what_work_raises_and_a_lost_lease_are_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xpcs_assets.stage.side_by_side._RENEW_EVERY_S", 0.01)

    def fail() -> int:
        raise CopyError("broken")

    def lost(size_bytes: int) -> None:
        raise RefusedError("another worker is at it")

    with pytest.raises(CopyError, match="broken"):
        while_renewing(fail, lambda size_bytes: None)
    with pytest.raises(RefusedError, match="another worker"):
        while_renewing(lambda: time.sleep(0.05) or 1, lost)
