"""An HPSS that is a folder, and the programs hsi and htar that jobs reach it with.

The folder that the programs lie in is all their state, so that jobs of any process see the same HPSS. ``faults.json``
there says what goes wrong; paths in HPSS are paths of this machine, below any folder.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xpcs_assets.testing import hsi_program

_PROGRAM = """#!{python} -ISE
import sys

sys.path.insert(0, {modules!r})
from hsi_program import main

main({home!r})
"""


@dataclass(frozen=True)
class FakeHpss:
    """The programs, what goes wrong, and what they were asked.

    Attributes
    ----------
    home
        The folder of the programs.
    """

    home: Path

    @classmethod
    def build(cls, home: Path) -> FakeHpss:
        """Leave the programs in a folder."""
        home.mkdir(parents=True, exist_ok=True)
        (home / "faults.json").write_text("{}")
        for name in ("hsi", "htar"):
            modules = str(Path(hsi_program.__file__).parent)
            (home / name).write_text(_PROGRAM.format(python=sys.executable, modules=modules, home=str(home)))
            (home / name).chmod(0o755)
        return cls(home)

    @property
    def hsi(self) -> str:
        """The program."""
        return str(self.home / "hsi")

    @property
    def htar(self) -> str:
        """The program."""
        return str(self.home / "htar")

    def go_wrong(self, **faults: Any) -> None:
        """Have this go wrong from now on: a number of times, or True for ever.

        ``down``, ``slow_s``, ``kills`` (the job that asks), ``put_lies``, ``put_truncates``, ``put_flips``,
        ``get_truncates``, ``get_flips``, ``htar_fails``.
        """
        (self.home / "faults.json").write_text(json.dumps(faults))

    def said(self, words: str = "") -> Sequence[str]:
        """The calls that begin with these words, in order."""
        log = self.home / "said.log"
        lines = log.read_text().splitlines() if log.exists() else []
        return [line for line in lines if line.startswith(words)]
