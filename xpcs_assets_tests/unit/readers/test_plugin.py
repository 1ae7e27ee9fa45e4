from __future__ import annotations

import re
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from xpcs_assets.errors import RawDataError
from xpcs_assets.readers import plugin
from xpcs_assets.readers.dense import DenseSeries
from xpcs_assets.readers.metadata import find_metadata, read_acquisition
from xpcs_assets.readers.recognise import open_raw
from xpcs_assets.readers.series import SeriesInfo
from xpcs_assets_tests.unit.readers.conftest import read_all

MAGIC = b"MINE"


class Ramp:
    """Frames of a format that nobody has."""

    layer = 1

    def read(self, begin: int, end: int) -> np.ndarray:
        return np.repeat(np.arange(begin, end, dtype=np.uint16)[:, None], 6, axis=1)

    def close(self) -> None: ...


def open_mine(path: Path) -> DenseSeries:
    info = SeriesInfo("mine", "frames", (2, 3), 5, "uint16", (path,), frame_time_s=0.25)
    return DenseSeries(Ramp(), info, np.ones(5, np.bool_))


def is_mine(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == MAGIC


@pytest.fixture
def bring(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Pretend that a package brings these readers."""

    def install(**readers: object) -> None:
        points = []
        for name, reader in readers.items():
            monkeypatch.setattr(f"{__name__}.{name}", reader, raising=False)
            points.append(EntryPoint(name, f"{__name__}:{name}", plugin.GROUP))
        monkeypatch.setattr(plugin, "entry_points", lambda group: points if group == plugin.GROUP else [])

    return install


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "a.imm"
    path.write_bytes(MAGIC + bytes(2000))
    return path


def test_a_plugin_reads_its_own_files_and_tells_their_times(mine: Path, bring: Any) -> None:
    bring(mine_reader=SimpleNamespace(sniff=is_mine, open=open_mine))
    with open_raw(mine) as series:
        assert series.info.format == "mine"
        counts, _ = read_all(series, 1, 4)
    assert counts[:, 0].tolist() == [1, 2, 3]
    assert find_metadata(mine) == mine
    assert read_acquisition(mine).frame_time_s == 0.25


def test_a_file_that_no_plugin_wants_goes_to_the_built_in_readers(sparse_imm: Path, bring: Any) -> None:
    bring(mine_reader=SimpleNamespace(sniff=is_mine, open=open_mine))
    with open_raw(sparse_imm) as series:
        assert series.info.format == "imm"


def fails(path: Path) -> Any:
    raise ZeroDivisionError("oh")


@pytest.mark.parametrize(
    ("reader", "reason"),
    [
        (SimpleNamespace(sniff=fails, open=open_mine), r"failed \(ZeroDivisionError: oh\)"),
        (SimpleNamespace(sniff=is_mine, open=fails), r"failed \(ZeroDivisionError: oh\)"),
        (SimpleNamespace(sniff=is_mine), r"has no function open\(path\)"),
        (SimpleNamespace(sniff=is_mine, open=lambda path: "frames"), "gave a str"),
    ],
)
def test_a_broken_plugin_is_named(mine: Path, bring: Any, reader: object, reason: str) -> None:
    bring(broken_reader=reader)
    with pytest.raises(RawDataError, match=f"the reader plug-in 'broken_reader' {reason}") as caught:
        open_raw(mine)
    assert "uninstall" in caught.value.remedy


def test_a_plugin_that_cannot_be_loaded_is_named(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("gone", "no_such_module:reader", plugin.GROUP)
    monkeypatch.setattr(plugin, "entry_points", lambda group: [point])
    with pytest.raises(RawDataError, match=r"'gone' failed \(ModuleNotFoundError"):
        open_raw(mine)


def test_a_plugins_own_error_of_this_tree_comes_through(mine: Path, bring: Any) -> None:
    def refuse(path: Path) -> Any:
        raise RawDataError("cut off", where=path)

    bring(mine_reader=SimpleNamespace(sniff=is_mine, open=refuse))
    with pytest.raises(RawDataError, match="cut off"):
        open_raw(mine)


def test_the_example_of_the_documentation_reads_its_files(tmp_path: Path, bring: Any) -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "how-to" / "write-a-reader.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    module = ModuleType("frm1")
    exec(compile(example, "write-a-reader.md", "exec"), module.__dict__)  # noqa: S102  the page's own example
    bring(frm1=module)
    counts = np.random.default_rng(1).integers(0, 9, (7, 6)).astype("<u2")
    path = tmp_path / "a.frm"
    path.write_bytes(b"FRM1" + np.array([7, 2, 3], "<i4").tobytes() + counts.tobytes())
    with open_raw(path) as series:
        assert (series.info.format, series.info.shape) == ("frm1", (2, 3))
        read, _ = read_all(series, 0, 7, max_bytes=20)
    np.testing.assert_array_equal(read, counts)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(RawDataError, match="does not fit the file"):
        open_raw(path)
