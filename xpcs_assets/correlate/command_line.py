"""What the worker's commands share: wrong usage is told in one line, with the way to the list of options."""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """A parser of full option names, without the usage of every option in front of what is wrong."""

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(prog=prog, description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and end with exit code 2."""
        sys.stderr.write(f"error: {message}. `{self.prog} --help` lists all options\n")
        raise SystemExit(2)
