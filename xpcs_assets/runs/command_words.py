"""The words of a command, in which fields stand for what a run has. No shell reads them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

WORD_FIELD = re.compile(r"\{([a-z_]+)\}")
"""Other braces, such as those of JSON, are as they are."""
FIELDS = ("raw", "output", "run_key", "target", "context")
TARGETS = "{target}"
"""A word that is this and no more becomes one word a target."""


def filled(command: Iterable[str], known: Mapping[str, str], target: tuple[str, ...]) -> tuple[str, ...]:
    """The words with what their fields stand for; what a value holds is never looked into."""
    every = {**known, "target": ",".join(target)}
    words: list[str] = []
    for word in command:
        words += target if word == TARGETS else (WORD_FIELD.sub(lambda found: every[found[1]], word),)
    return tuple(words)
