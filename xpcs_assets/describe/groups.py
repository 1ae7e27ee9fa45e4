"""Which metadata fields scientists look at first, in which group, and the units where the files tell none.

The groups and their order are what the users of the first automated system asked to be shown. Of APS 8-ID both layouts
are named: today's ``/entry`` and the older ``/measurement``; of ALS 7.0.1.1 the exporter's files (``/entry1``) and the
bluesky documents, whose channels have the same names. This is data; ``building`` uses it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

GROUPS = ("acquisition", "detector", "source", "sample")
"""In the order in which they are shown."""

_FIRST = {
    "acquisition": (
        "/entry/start_time",
        "/entry/end_time",
        "/entry/scan_number",
        "/entry/entry_identifier",
        "/entry/instrument/attenuator_1/attenuator_transmission",
        "/entry/instrument/attenuator_1/attenuator_index",
        "/measurement/instrument/acquisition/data_begin",
        "/measurement/instrument/acquisition/data_end",
        "/xpcs/data_begin_todo",
        "/xpcs/data_end_todo",
        "/xpcs/qmap_hdf5_filename",
        "/measurement/instrument/acquisition/stage_x",
        "/measurement/instrument/acquisition/stage_z",
        "/measurement/instrument/acquisition/datafilename",
        "/measurement/instrument/acquisition/data_folder",
        "/measurement/instrument/acquisition/attenuation",
        "/entry1/start_time",
        "/entry1/end_time",
        "/entry1/run_id",
        "/bluesky/start/time",
        "/bluesky/start/scan_id",
        "/bluesky/start/plan_name",
        "/bluesky/start/uid",
        "/bluesky/stop/exit_status",
        "/start_time",
        "/frames",
    ),
    "detector": (
        "/entry/instrument/detector_1/detector_name",
        "/entry/instrument/detector_1/count_time",
        "/entry/instrument/detector_1/frame_time",
        "/entry/instrument/detector_1/distance",
        "/entry/instrument/detector_1/beam_center_x",
        "/entry/instrument/detector_1/beam_center_y",
        "/entry/instrument/detector_1/x_pixel_size",
        "/entry/instrument/detector_1/y_pixel_size",
        "/entry/instrument/detector_1/qmap_file",
        "/measurement/instrument/detector/exposure_time",
        "/measurement/instrument/detector/exposure_period",
        "/measurement/instrument/detector/manufacturer",
        "/measurement/instrument/detector/distance",
        "/entry1/instrument_1/detector_1/description",
        "/entry1/instrument_1/detector_1/count_time",
        "/entry1/instrument_1/detector_1/period",
        "/entry1/instrument_1/detector_1/distance",
        "/detector_name",
        "/frame_time_s",
        "/count_time_s",
    ),
    "source": (
        "/entry/instrument/incident_beam/incident_energy",
        "/entry/instrument/incident_beam/incident_beam_intensity",
        "/entry/instrument/incident_beam/transmitted_beam_intensity",
        "/entry/instrument/incident_beam/ring_current",
        "/measurement/instrument/source_begin/energy",
        "/measurement/instrument/source_begin/beam_intensity_incident",
        "/measurement/instrument/source_begin/beam_intensity_transmitted",
        "/measurement/instrument/source_begin/current",
        "/measurement/instrument/source_begin/datetime",
        "/measurement/instrument/source_end/current",
        "/measurement/instrument/source_end/datetime",
        "/entry1/instrument_1/source_1/energy",
        "/energy_kev",
    ),
    "sample": (
        "/entry/sample/short_description",
        "/entry/sample/qnw1_temperature",
        "/entry/sample/qnw1_temperature_set",
        "/measurement/sample/temperature_A",
        "/measurement/sample/temperature_A_set",
        "/measurement/sample/translation",
        "/measurement/sample/translation_table",
        "/measurement/sample/orientation",
        "/measurement/sample/thickness",
        "/entry1/sample_1/name",
        "/bluesky/start/sample_name",
    ),
}

_PREFIXES = (
    ("acquisition", "/entry/instrument/attenuator_"),
    ("acquisition", "/entry/instrument/bluesky/"),
    ("acquisition", "/measurement/instrument/acquisition/"),
    ("detector", "/entry/instrument/detector_"),
    ("detector", "/measurement/instrument/detector/"),
    ("source", "/entry/instrument/incident_beam/"),
    ("source", "/entry/instrument/undulator_"),
    ("source", "/entry/instrument/monochromator/"),
    ("source", "/measurement/instrument/source_"),
    ("sample", "/entry/sample/"),
    ("sample", "/measurement/sample/"),
    ("acquisition", "/bluesky/start/"),
    ("acquisition", "/bluesky/stop/"),
    ("detector", "/entry1/instrument_1/detector_1/"),
    ("source", "/entry1/instrument_1/source_1/"),
    ("sample", "/entry1/sample_1/"),
)

# Channels of LabVIEW, by what their names begin with.
_CHANNEL = re.compile(r"(?:/entry1/instrument_1/labview_data|/bluesky/[^/]+/data)/([^/]+)")
_CHANNELS = (
    ("sample", ("sample_", "LS_LLHT")),
    ("detector", ("detector_", "det_", "theta2theta", "PI_MTE3", "Andor", "FastCCD")),
    ("source", ("beamline_energy", "EPU", "slit_", "pinhole_", "XS111", "DIAG", "DetectorDiode")),
)

_RANK = {path: (group, place) for group, paths in _FIRST.items() for place, path in enumerate(paths)}

# What the layouts define. Left out: stage positions, which files of 2025 hold in mm where the schema says m.
_UNITS = (
    (re.compile(r"/entry/instrument/detector_\d+/(frame_time|count_time)"), "s"),
    (re.compile(r"/entry/instrument/detector_\d+/(distance|[xy]_pixel_size)"), "m"),
    (re.compile(r"/entry/instrument/detector_\d+/beam_center_[xy]"), "pixel"),
    (re.compile(r"/entry/instrument/detector_\d+/(rotation_[xyz]|flightpath_swing(_vertical)?)"), "deg"),
    (re.compile(r"/entry/instrument/incident_beam/incident_energy"), "keV"),
    (re.compile(r"/entry/instrument/incident_beam/ring_current"), "mA"),
    (re.compile(r"/measurement/instrument/detector/exposure_(time|period)"), "s"),
    (re.compile(r"/measurement/instrument/detector/(distance|[xy]_pixel_size)"), "mm"),
    (re.compile(r"/measurement/instrument/source_(begin|end)/energy"), "keV"),
    (re.compile(r"/entry1/instrument_1/detector_1/(distance|[xy]_pixel_size)"), "m"),
    (re.compile(r"/entry1/instrument_1/detector_1/(count_time|period)"), "s"),
    (re.compile(r"/entry1/instrument_1/source_1/energy"), "J"),
    (re.compile(r"/entry1/instrument_1/source_1/wavelength"), "m"),
    (re.compile(r"/entry1/instrument_1/labview_data/beamline_energy(_user_setpoint)?"), "eV"),
    (re.compile(r"/entry1/instrument_1/labview_data/LS_LLHT[AB](_user_setpoint)?"), "K"),
    (re.compile(r"/bluesky/(start|stop|[^/]+)/(time|timestamps/.+)"), "s"),
    (re.compile(r"/(frame|count)_time_s"), "s"),
    (re.compile(r"/energy_kev"), "keV"),
)
_MILLISECONDS = ("/entry1/instrument_1/detector_1/count_time", "/entry1/instrument_1/detector_1/description", "MTE3")


def group_of(path: str) -> str:
    """The group a metadata field belongs to; empty for one that no group asks for.

    >>> group_of("/entry/sample/position_x"), group_of("/entry/user/name")
    ('sample', '')
    >>> group_of("/entry1/instrument_1/labview_data/LS_LLHTA")
    'sample'
    """
    if path in _RANK:
        return _RANK[path][0]
    channel = _CHANNEL.fullmatch(path)
    if channel is not None:
        return next((group for group, beginnings in _CHANNELS if channel[1].startswith(beginnings)), "")
    return next((group for group, prefix in _PREFIXES if path.startswith(prefix)), "")


def order(path: str) -> tuple[int, str]:
    """Sort key: fields that were asked for first, in that order, then the others by path."""
    return (_RANK[path][1] if path in _RANK else len(_RANK), path)


def usual_units(values: Mapping[str, Any]) -> dict[str, str]:
    """The units that the layout defines for the fields of one file, by path; fields that have none are left out.

    Parameters
    ----------
    values
        Every field of the file by path: ALS 7.0.1.1 has the exposure in ms where the camera is an MTE3.

    >>> usual_units({"/entry/instrument/detector_1/frame_time": 0.1, "/entry/sample/position_x": 1.0})
    {'/entry/instrument/detector_1/frame_time': 's'}
    """
    found = {path: unit for path in values for pattern, unit in _UNITS if pattern.fullmatch(path)}
    path, description, camera = _MILLISECONDS
    if path in values and camera in str(values.get(description)):
        found[path] = "ms"
    return found
