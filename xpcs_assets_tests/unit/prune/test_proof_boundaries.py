"""Borders of the proof that only a wrong rule in ``mutation`` has shown to be untried."""

from __future__ import annotations
