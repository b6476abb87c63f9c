"""Stored results, their scale in words, and cells of the tables of their figures."""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path
from typing import Any

import xarray as xr

from cgro.plots.words import ball
from cgro.runs.store import stored_config

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = ROOT / "results" / "published"


@cache
def stored(stem: str) -> xr.Dataset:
    """The published result of that name."""
    with xr.open_dataset(PUBLISHED / f"{stem}.nc", engine="h5netcdf") as result:
        return result.load()


def figure(name: str) -> Any:
    """The module of a figure."""
    return importlib.import_module(f"cgro.figures.{name}")


@cache
def _table(stem: str, name: str) -> Any:
    return figure(name).table(stored(stem))


def cell(stem: str, name: str, *starts: str, column: str) -> str:
    """A cell of the table of a figure: in the row that begins with these cells. Raises: KeyError if there is none."""
    table = _table(stem, name)
    for row in table.rows:
        if tuple(row[: len(starts)]) == starts:
            return str(row[list(table.header).index(column)])
    raise KeyError(f"{stem}: no row {starts} in the table of {name}")


def percent(values: Any) -> str:
    """The mean of fractions in per cent."""
    return f"{100 * float(values.mean()):.1f}"


def scale(stem: str) -> str:
    """Data, network and training of a result, from its configuration."""
    result = stored(stem)
    config, a = stored_config(result), result.attrs
    training = config.get("training", config)
    seeds = result.sizes.get("seed", config.get("seeds"))
    many = f", {seeds} seed{'' if seeds == 1 else 's'}" if seeds else ""
    if "setting" in config:
        s = config["setting"]
        sizes = f"patch model, N = {s['samples']}, d = {s['dim']:,}, {s['patches']} patches, {s['filters']} filters"
        return f"{sizes}, {s['steps']:,} steps{many}"
    if "model" not in training:
        return _points(result, config) + many
    images = a.get("train_images", training["samples"])
    width = training.get("width", a.get("width")) if "widths" not in config else None
    network = training["model"] + (f" of width {width:g}" if width else "")
    radius = ball({"norm": training.get("norm", "inf"), "radius": training["radius"]})
    return f"{images:,} images of {training['data']}, {network}, {radius}, {training['epochs']} epochs{many}"


def _points(result: xr.Dataset, config: dict[str, Any]) -> str:
    if "data" in config:
        return f"{config['samples']:,} images of {config['data']}, convolutional network, {ball(config)}"
    return f"{result.sizes['record']:,} memorizers of random points"
