"""A process that is stopped for a while, as by a suspended machine, and goes on in a world that has changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpcs_assets.testing.faults import Fault


class PauseAt(Fault):
    """The process stops before call ``number`` of those in ``names``; ``meanwhile`` is what happens to the world.

    Calls count from when ``begun`` says yes.
    """

    def __init__(
        self,
        number: int,
        names: frozenset[str],
        meanwhile: Callable[[], object],
        begun: Callable[[], bool] = lambda: True,
    ) -> None:
        super().__init__()
        self.number = number
        self.names = names
        self.meanwhile = meanwhile
        self.begun = begun

    def step(self, name: str, act: Callable[[], Any], begin: Callable[[], Any] | None = None) -> Any:
        """Do the step, after the pause if it is the one."""
        if name in self.names and self.begun():
            self.steps.append(name)
            if len(self.steps) == self.number:
                self.meanwhile()
        return act()
