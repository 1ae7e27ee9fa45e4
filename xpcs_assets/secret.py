"""Where a catalog's secret lies. The secret itself is in no configuration, message or printed object."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from xpcs_assets.errors import SettingsError


@dataclass(frozen=True)
class SecretReference:
    """Where a secret lies, never the secret: a file (its first line) or a variable of the environment."""

    file: str = ""
    variable: str = ""

    def read(self) -> str:
        """The secret, read anew each time so that it can be changed while the site runs.

        Raises
        ------
        SettingsError
            It is not there.
        """
        try:
            text = Path(self.file).read_text("utf-8") if self.file else os.environ.get(self.variable, "")
        except (OSError, ValueError) as error:
            raise SettingsError(f"the secret cannot be read ({type(error).__name__})", where=self.file) from error
        lines = text.split("\n", 1)
        if not lines[0].strip():
            where = self.file or self.variable or "a catalog's credentials"
            raise SettingsError("there is no secret", where=where, remedy="Write it there, for the site's user only")
        return lines[0].strip()
