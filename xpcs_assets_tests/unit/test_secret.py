"""A secret is named, never held."""

from __future__ import annotations

from pathlib import Path

import pytest

from xpcs_assets.errors import SettingsError
from xpcs_assets.secret import SecretReference


def test_a_secret_is_referred_to_by_file_or_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "secret"
    with pytest.raises(SettingsError, match="cannot be read"):
        SecretReference(file=str(file)).read()
    file.write_text("  \n", encoding="utf-8")
    with pytest.raises(SettingsError, match="no secret"):
        SecretReference(file=str(file)).read()
    file.write_text(" s3cret \nmore", encoding="utf-8")
    assert SecretReference(file=str(file)).read() == "s3cret"
    monkeypatch.setenv("A_SECRET", "other")
    assert SecretReference(variable="A_SECRET").read() == "other"
    with pytest.raises(SettingsError, match="NO_SECRET"):
        SecretReference(variable="NO_SECRET").read()
