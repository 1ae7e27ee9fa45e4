"""How many copies may go in a day without a person's word, and the digest that names a list: pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import timedelta

from xpcs_assets.copies.ledger import Copy
from xpcs_assets.runs.retention import Retention

DAY = timedelta(days=1)
Which = tuple[str, int, str]
"""Run key, version and path of a copy in a place."""


@dataclass(frozen=True)
class Limit:
    """Whether a list may go by itself.

    Attributes
    ----------
    at_most
        Copies that may go from the place in a day without a person's word.
    gone
        Copies whose removal was begun in the last day without one.
    asks
        Copies on the list that nobody approved.
    """

    at_most: int
    gone: int
    asks: int

    @property
    def beyond(self) -> bool:
        """Whether a person must be asked."""
        return self.asks > 0 and self.gone + self.asks > self.at_most


def limit_of(
    retention: Retention,
    copies: int,
    items: Sequence[str],
    removed: AbstractSet[Which],
    approved: AbstractSet[str],
) -> Limit:
    """Hold a list against the limits of its place.

    Parameters
    ----------
    copies
        How many copies the place has now.
    items
        The list; see :func:`item`.
    removed
        Copies whose removal was begun in the last day.
    approved
        Items of all lists that a person approved in the last day; they do not count.
    """
    by_word = {which(text) for text in approved}
    at_most = min(retention.at_most_copies, max(1, int(retention.at_most_share * (copies + len(removed)))))
    return Limit(at_most, len(removed - by_word), sum(text not in approved for text in items))


def item(copy: Copy) -> str:
    """What names a copy on a list: staged again after a removal it is another one."""
    return json.dumps([copy.run_key, copy.version, copy.path, copy.recorded_at.isoformat()])


def which(text: str) -> Which:
    """The copy that an item names."""
    run_key, version, path, _ = json.loads(text)
    return (run_key, version, path)


def digest_of(place: str, items: Sequence[str]) -> str:
    """``sha256:`` of a list and its place: the same only for the same copies in the same order."""
    *_, last = _digests(place, items)
    return last


def beginning_of(place: str, items: Sequence[str], digest: str) -> Sequence[str] | None:
    """The first items of a list whose digest this is: the list as it was before younger copies came to its end.

    None when the list of that digest was another one.
    """
    return next((items[:count] for count, found in enumerate(_digests(place, items)) if found == digest), None)


def _digests(place: str, items: Sequence[str]) -> Iterator[str]:
    """The digest of no item, of the first one, of the first two, and so on."""
    so_far = hashlib.sha256(json.dumps(place).encode())
    yield "sha256:" + so_far.hexdigest()
    for text in items:
        so_far.update(b"\n" + text.encode())
        yield "sha256:" + so_far.hexdigest()
