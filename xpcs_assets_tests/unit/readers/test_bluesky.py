"""Bluesky documents: channels with their units, everything else as it stands, and damage said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xpcs_assets.errors import MetadataError
from xpcs_assets.readers import bluesky
from xpcs_assets.readers.field import MAX_FIELDS, MAX_TEXT, bounded
from xpcs_assets.readers.fields import read_fields
from xpcs_assets.readers.metadata import Field

Documents = list[tuple[str, dict[str, Any]]]


def documents(n_events: int = 3) -> Documents:
    keys = {
        "temperature": {"source": "PV:T", "dtype": "number", "shape": [], "units": "K"},
        "trace": {"source": "PV:W", "dtype": "array", "shape": [2], "units": None},
    }
    configured = {"data": {"gain": 2.5}, "timestamps": {"gain": 1.0}, "data_keys": {"gain": {"units": "V"}}}
    start = {"uid": "s1", "time": 10.0, "sample_name": "silica", "md": {"a/b": 1, "c": {"d": [1, 2]}}, "empty": {}}
    descriptor = {"uid": "d1", "run_start": "s1", "name": "primary", "data_keys": keys}
    events: Documents = [
        (
            "event",
            {
                "descriptor": "d1",
                "uid": f"e{i}",
                "seq_num": i + 1,
                "time": 11.0 + i,
                "data": {"temperature": 300.0 + i, "trace": [i, 2 * i]},
                "timestamps": {"temperature": 11.0 + i, "trace": 11.0},
            },
        )
        for i in range(n_events)
    ]
    return [
        ("start", start),
        ("descriptor", {**descriptor, "configuration": {"stage": configured}}),
        *events,
        ("stop", {"run_start": "s1", "exit_status": "success", "num_events": {"primary": n_events}}),
    ]


def write(path: Path, content: Documents, form: str = "list") -> Path:
    if form == "list":
        path.write_text(json.dumps([list(pair) for pair in content], indent=1))
    elif form == "lines":
        path.write_text("".join(json.dumps(list(pair)) + "\n" for pair in content))
    else:
        path.write_text("".join(json.dumps({"name": name, "doc": doc}) + "\n" for name, doc in content))
    return path


def fields_of(path: Path) -> dict[str, Field]:
    found = read_fields(path)
    json.dumps([leaf.to_dict() for leaf in found], allow_nan=False).encode()
    assert len({leaf.path for leaf in found}) == len(found)
    return {leaf.path: leaf for leaf in found}


@pytest.mark.parametrize("form", ["list", "lines", "named lines"])
def test_documents_are_known_by_their_content_whatever_the_file_is_called(tmp_path: Path, form: str) -> None:
    path = write(tmp_path / "anything.dat", documents(), form)
    assert bluesky.sniff(path)
    found = fields_of(path)
    assert found["/bluesky/start/sample_name"].value == "silica"
    assert found["/bluesky/stop/num_events/primary"].value == 3
    assert "/bluesky" not in found


def test_a_channel_is_one_field_over_all_events_with_its_unit(tmp_path: Path) -> None:
    found = fields_of(write(tmp_path / "a.json", documents()))
    channel = found["/bluesky/primary/data/temperature"]
    assert (channel.value, channel.unit, channel.dtype, channel.shape) == ([300.0, 301.0, 302.0], "K", "number", (3,))
    assert found["/bluesky/primary/data/trace"].shape == (3, 2)
    assert found["/bluesky/primary/data/trace"].unit == ""
    assert found["/bluesky/primary/timestamps/temperature"].value == [11.0, 12.0, 13.0]


def test_many_events_are_summarised_and_one_event_is_its_value(tmp_path: Path) -> None:
    many = fields_of(write(tmp_path / "many.json", documents(100)))
    assert many["/bluesky/primary/data/temperature"].value == {
        "shape": [100],
        "first": 300.0,
        "min": 300.0,
        "max": 399.0,
    }
    assert many["/bluesky/primary/data/trace"].value == {"shape": [100, 2], "first": 0, "min": 0, "max": 198}
    one = fields_of(write(tmp_path / "one.json", documents(1)))
    assert one["/bluesky/primary/data/temperature"].value == 300.0


def test_pages_of_events_are_the_same_as_events(tmp_path: Path) -> None:
    single = documents(4)
    events = [doc for name, doc in single if name == "event"]
    page: dict[str, Any] = {
        "descriptor": "d1",
        **{key: [doc[key] for doc in events] for key in ("uid", "seq_num", "time")},
    }
    page |= {
        part: {key: [doc[part][key] for doc in events] for key in events[0][part]} for part in ("data", "timestamps")
    }
    paged = [pair for pair in single if pair[0] != "event"]
    paged.insert(2, ("event_page", page))
    assert fields_of(write(tmp_path / "a.json", single)) == fields_of(write(tmp_path / "b.json", paged))


def test_everything_else_of_the_documents_is_listed(tmp_path: Path) -> None:
    found = fields_of(write(tmp_path / "a.json", documents()))
    assert found["/bluesky/start/md/a%2Fb"].value == 1
    assert found["/bluesky/start/md/c/d"].value == [1, 2]
    assert found["/bluesky/start/empty"].value == {}
    gain = found["/bluesky/primary/configuration/stage/gain"]
    assert (gain.value, gain.unit) == (2.5, "V")
    assert found["/bluesky/primary/descriptor/data_keys/temperature/source"].value == "PV:T"


def test_nan_and_infinities_are_null_with_a_flag(tmp_path: Path) -> None:
    content = documents(100)
    content[3][1]["data"]["temperature"] = float("inf")
    content[0][1]["limit"] = float("-inf")
    content[0][1]["limits"] = [1.0, float("nan")]
    found = fields_of(write(tmp_path / "a.json", content))
    assert (found["/bluesky/start/limit"].value, found["/bluesky/start/limit"].not_finite) == (None, True)
    assert (found["/bluesky/start/limits"].value, found["/bluesky/start/limits"].not_finite) == ([1.0, None], True)
    channel = found["/bluesky/primary/data/temperature"]
    assert (channel.value["max"], channel.not_finite) == (399.0, True)


def test_a_second_document_of_a_name_is_kept_beside_the_first(tmp_path: Path) -> None:
    content = documents()
    content.insert(1, ("resource", {"spec": "AD_HDF5"}))
    content.insert(2, ("resource", {"spec": "AD_TIFF"}))
    found = fields_of(write(tmp_path / "a.json", content))
    assert [found[f"/bluesky/{name}/spec"].value for name in ("resource", "resource_2")] == ["AD_HDF5", "AD_TIFF"]


def test_a_file_that_was_cut_off_gives_what_it_has(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", documents())
    path.write_text(path.read_text()[:-250])
    found = fields_of(path)
    assert found["/bluesky/start/sample_name"].value == "silica"
    assert "1 documents are damaged" in found["/bluesky"].note
    assert "no stop document" in found["/bluesky"].note


def test_lines_after_a_damaged_one_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", documents(), "lines")
    lines = path.read_text().splitlines()
    lines[3] = lines[3][:40]
    lines.insert(3, '"no document"')
    path.write_text("\n".join(lines))
    found = fields_of(path)
    assert found["/bluesky/primary/data/temperature"].value == [300.0, 302.0]
    assert "2 documents are damaged" in found["/bluesky"].note


def test_bytes_that_are_no_utf8_are_replaced_and_said(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", documents())
    path.write_bytes(path.read_bytes().replace(b"silica", b"sil\xffca"))
    found = fields_of(path)
    assert found["/bluesky/start/sample_name"].value == "sil\N{REPLACEMENT CHARACTER}ca"
    assert "no UTF-8" in found["/bluesky"].note


def test_lone_surrogates_are_written_out(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", documents())
    path.write_text(path.read_text().replace("silica", "\\ud800"))
    assert fields_of(path)["/bluesky/start/sample_name"].value == "\\ud800"


@pytest.mark.parametrize("n_levels", [40, 60, 400, 900])
@pytest.mark.parametrize("pair", ["[]", "{}"])
def test_values_nested_deeply_are_kept_up_to_a_bound_and_damage_beyond(
    tmp_path: Path, n_levels: int, pair: str
) -> None:
    value = (pair[0] + '"a":' * (pair == "{}")) * n_levels + "1" + pair[1] * n_levels
    path = tmp_path / "a.json"
    start = f'["start", {{"uid": "s1", "x": {value}, "y": [{value}]}}]'
    event = f'["event", {{"descriptor": "d", "time": 1.0, "data": {{"x": {value}}}}}]'
    path.write_text(f'["start", {{}}]\n{start}\n{event}\n{event}\n["stop", {{}}]\n')
    found = fields_of(path)
    if n_levels < 48:
        assert "/bluesky" not in found
        assert found["/bluesky/unknown/time"].value == [1.0, 1.0]
    else:
        assert "3 documents are damaged" in found["/bluesky"].note


@pytest.mark.parametrize("deep", ["[" * 100_000, '{"a":' * 100_000])
def test_values_nested_without_end_are_damage(tmp_path: Path, deep: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(f'["start", {{"uid": "s1"}}]\n["stop", {{"x": {deep}\n["stop", {{"exit_status": "success"}}]\n')
    found = fields_of(path)
    assert "1 documents are damaged" in found["/bluesky"].note
    assert found["/bluesky/stop/exit_status"].value == "success"


def test_documents_of_wrong_shapes_stop_nothing(tmp_path: Path) -> None:
    content: Documents = [
        ("start", {}),
        ("descriptor", {"data_keys": 7, "configuration": {"a": 1, "b": {"data": {"x": 1}, "data_keys": []}}}),
        ("event", {"descriptor": "who", "data": {"x": [1, [2, 3]]}}),
        ("event", {"data": 3, "time": 10**400}),
        ("event_page", {"data": {"x": 1}}),
        ("brand_new", {"x": 1}),
    ]
    found = fields_of(write(tmp_path / "a.json", content))
    assert found["/bluesky/brand_new/x"].value == 1
    assert found["/bluesky/unknown/data/x"].shape is not None


def test_only_so_much_of_a_large_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.jsonl", documents(50), "lines")
    monkeypatch.setattr(bluesky, "_MAX_BYTES", path.stat().st_size // 2)
    found = fields_of(path)
    assert 10 < found["/bluesky/primary/time"].shape[0] < 40  # type: ignore[index]
    assert "only so much is read" in found["/bluesky"].note


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"[1, 2]", b'{"frame_time_s": 1}', b"\x89HDF\r\n\x1a\n", b'["stop", {}]']
)
def test_other_files_are_not_taken_for_documents(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    assert not bluesky.sniff(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert not bluesky.sniff(tmp_path / "gone.json")
    with pytest.raises(MetadataError, match="no such file"):
        list(bluesky.documents_fields(tmp_path / "gone.json"))


def test_real_documents_of_als_7011_are_read_whole(shared_data: Path) -> None:
    found = fields_of(shared_data / "als-7.0.1.1" / "missing_frames__labview_2.json")
    assert found["/bluesky/start/sample_name"].value == "2TH_90deg_2D_area_scan 2"
    energy = found["/bluesky/primary/data/beamline_energy"]
    assert (energy.unit, energy.value["shape"], energy.value["first"]) == ("eV", [540], 721.0)
    assert found["/bluesky/primary/data/LS_LLHTA"].unit == "K"
    assert found["/bluesky/primary/configuration/PI_MTE3/PI_MTE3_cam_acquire_time"].value == 1000.0
    assert found["/bluesky/stop/exit_status"].value == "success"
    assert "/bluesky" not in found


@pytest.mark.parametrize("form", ["list", "lines"])
def test_documents_with_flipped_bytes_are_read_as_far_as_they_go(tmp_path: Path, form: str) -> None:
    content = write(tmp_path / "a.json", documents(), form).read_bytes()
    random = np.random.default_rng(7)
    for number in range(300):
        spoilt = bytearray(content)
        for at in random.integers(0, len(content), 1 + number % 8):
            spoilt[at] = int(random.integers(0, 256))
        path = tmp_path / "spoilt.json"
        path.write_bytes(bytes(spoilt[: len(spoilt) - number * (number % 2)]))
        found = list(bluesky.documents_fields(path))
        json.dumps([leaf.to_dict() for leaf in bounded(found)], allow_nan=False, ensure_ascii=False).encode()


def test_a_hundred_thousand_keys_are_listed_up_to_the_bound(tmp_path: Path) -> None:
    content = documents()
    content[0][1].update({f"k{number}": number for number in range(100_000)})
    found = fields_of(write(tmp_path / "a.json", content))
    assert len(found) == MAX_FIELDS + 1
    assert "more than 20000 fields" in found["/"].note


def test_a_text_of_10_mb_is_cut_and_its_length_said(tmp_path: Path) -> None:
    content = documents()
    content[0][1]["log"] = "x" * 10_000_000
    log = fields_of(write(tmp_path / "a.json", content))["/bluesky/start/log"]
    assert len(log.value) == MAX_TEXT
    assert "10000000 characters" in log.note
