"""Every error says what happened, where and what to do, and stays an error of this package across processes."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from xpcs_assets import errors
from xpcs_assets.errors import InputError, RawDataError, XpcsAssetsError

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, XpcsAssetsError)]


def test_the_message_reads_where_what_and_remedy() -> None:
    error = RawDataError("the payload ends early", where=Path("/data/a.imm"), remedy="Copy it anew")
    assert str(error) == "/data/a.imm: the payload ends early. Copy it anew"


def test_where_and_remedy_may_be_left_out() -> None:
    assert str(XpcsAssetsError("it failed")) == "it failed"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_error_crosses_a_process_whole(kind: type[XpcsAssetsError]) -> None:
    error = kind("it failed", where="here", remedy="Do this")
    back = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(back) is kind
    assert (back.what, back.where, back.remedy) == ("it failed", "here", "Do this")


def test_the_tree_in_the_docstring_names_every_error() -> None:
    drawn = errors.__doc__ or ""
    assert [kind.__name__ for kind in KINDS if kind.__name__ not in drawn] == []


def test_bad_data_are_told_apart_from_everything_else() -> None:
    bad_data = {kind.__name__ for kind in KINDS if issubclass(kind, InputError)}
    kinds = {"InputError", "RawDataError", "NoFrameYetError", "MetadataError", "QmapError", "ResultError"}
    assert bad_data == kinds
