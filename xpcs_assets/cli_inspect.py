"""``xpcs-assets inspect``: what a raw file is and holds, and the recipe it asks for."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from xpcs_assets.correlate.suggest import Advice
    from xpcs_assets.readers.inspect import Inspection

_UNITS = ("KiB", "MiB", "GiB", "TiB")


def inspect(
    files: Annotated[list[Path], typer.Argument(help="The raw file, or all files of one run.")],
    as_json: Annotated[bool, typer.Option("--json", help="Plain JSON for scripts.")] = False,
) -> None:
    """What a raw file is: format, frames, rate, occupancy, saturation, and the recipe it asks for."""
    from xpcs_assets.correlate.suggest import kernel, suggest
    from xpcs_assets.readers.inspect import inspect as look

    found = look(files)
    advice = suggest(found)
    if as_json:
        typer.echo(json.dumps(_plain(found, kernel(found), advice), indent=1))
        return
    rows = _rows(found, kernel(found))
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        typer.echo(f"{name.ljust(width)}  {_printable(value)}")
    typer.echo("")
    typer.echo(f"xpcs-assets correlate {_printable(str(files[0]))} --qmap FILE --output FILE")
    for item in advice:
        typer.echo(_printable(f"  {item.option}: {item.reason}" if item.option else f"  note: {item.reason}"))


def _rows(found: Inspection, kernel: str) -> list[tuple[str, str]]:
    info = found.info
    counts = "detector units" if info.integrating else "counts"
    missing = int(info.extra.get("missing_frames", info.extra.get("dropped_frames", 0)))
    rows = [
        ("format", f"{info.format}, {info.kind} of {info.dtype}"),
        ("files", f"{len(info.files)}, {_size(found.size_bytes)}"),
        ("detector", f"{info.shape[0]} x {info.shape[1]} pixels (rows x columns)"),
        ("frames", f"{info.n_recorded}" + (f", {missing} of them missing" if missing else "")),
        ("frame time", _frame_time(found)),
        ("sampled", ", ".join(f"[{begin}, {end})" for begin, end in found.sampled) + f", {found.n_invalid} invalid"),
        ("occupancy", f"{found.occupancy:.3g} of the good pixels have counts in a frame: kernel for {kernel}"),
        ("mean", f"{found.mean_counts:.4g} {counts} a pixel and frame"),
        ("range", f"{found.lowest:.6g} to {found.highest:.6g} {counts}"),
        ("saturated", f"{found.n_saturated} pixels in some of the sampled frames"),
        ("masked", f"{found.n_masked} pixels, {_mask(found)}"),
    ]
    hidden = {"missing_frames", "dropped_frames", "occupancy"}
    rows += [(name, _value(value)) for name, value in info.extra.items() if name not in hidden and value != ""]
    return rows


def _frame_time(found: Inspection) -> str:
    if found.acquisition is None or found.metadata is None:
        return "not known"
    return f"{found.acquisition.frame_time_s:.6g} s ({found.rate_hz:.6g} Hz), by {found.metadata.name}"


def _mask(found: Inspection) -> str:
    if found.info.good_pixels is None:
        return "the file has no mask"
    return f"{int((~found.info.good_pixels).sum())} by the detector's own mask"


def _plain(found: Inspection, kernel: str, advice: list[Advice]) -> dict[str, Any]:
    """What was found as plain values; null where it is not known."""
    info = found.info
    return {
        "format": info.format,
        "kind": info.kind,
        "dtype": info.dtype,
        "files": [str(path) for path in info.files],
        "size_bytes": found.size_bytes,
        "rows_px": info.shape[0],
        "columns_px": info.shape[1],
        "frames_recorded": info.n_recorded,
        "metadata": None if found.metadata is None else str(found.metadata),
        "frame_time_s": None if found.acquisition is None else found.acquisition.frame_time_s,
        "rate_hz": found.rate_hz,
        "frames_per_burst": info.frames_per_burst,
        "integrating": info.integrating,
        "sampled_frames": [list(stretch) for stretch in found.sampled],
        "sampled_invalid_frames": found.n_invalid,
        "occupancy": _known(found.occupancy),
        "mean_counts": _known(found.mean_counts),
        "lowest": _known(found.lowest),
        "highest": _known(found.highest),
        "lowest_mean": _known(found.lowest_mean),
        "variance_over_mean": _known(found.noise_ratio),
        "good_pixels": found.n_good,
        "masked_pixels": found.n_masked,
        "saturated_pixels": found.n_saturated,
        "detector_masked_pixels": None if info.good_pixels is None else int((~info.good_pixels).sum()),
        "extra": {name: _known(value) if isinstance(value, float) else value for name, value in info.extra.items()},
        "recipe": {
            "kernel": kernel,
            "advice": [{"option": item.option, "reason": item.reason} for item in advice],
        },
    }


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _value(value: str | float) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _size(size_bytes: float) -> str:
    if size_bytes < 1024:
        return f"{size_bytes} bytes"
    for unit in _UNITS:
        size_bytes /= 1024
        if size_bytes < 1024 or unit == _UNITS[-1]:
            break
    return f"{size_bytes:.3g} {unit}"


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
