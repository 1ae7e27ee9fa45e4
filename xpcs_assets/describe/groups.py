"""Which metadata fields scientists look at first, in which group, and the units where the files tell none.

The groups and their order are what the users of the first automated system asked to be shown. Both layouts of
metadata files are named: today's ``/entry`` and the older ``/measurement``. This is data; ``record`` uses it.
"""

from __future__ import annotations

import re

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
)


def group_of(path: str) -> str:
    """The group a metadata field belongs to; empty for one that no group asks for.

    >>> group_of("/entry/sample/position_x"), group_of("/entry/user/name")
    ('sample', '')
    """
    if path in _RANK:
        return _RANK[path][0]
    return next((group for group, prefix in _PREFIXES if path.startswith(prefix)), "")


def order(path: str) -> tuple[int, str]:
    """Sort key: fields that were asked for first, in that order, then the others by path."""
    return (_RANK[path][1] if path in _RANK else len(_RANK), path)


def usual_unit(path: str) -> str:
    """The unit that the layout defines for a field; empty where it defines none.

    >>> usual_unit("/entry/instrument/detector_1/frame_time"), usual_unit("/entry/sample/position_x")
    ('s', '')
    """
    return next((unit for pattern, unit in _UNITS if pattern.fullmatch(path)), "")
