"""What `cgro memorize` does: from a file of labelled points to a network, its certificate, its size and files."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as Grid

from cgro.base.errors import UserError
from cgro.base.files import write_folder
from cgro.base.machine import require_memory
from cgro.base.norms import Norm, require_norm
from cgro.base.validate import between
from cgro.certify.certify import certify
from cgro.cli.memorizer_folder import own_folder
from cgro.cli.memorizer_report import examine, largest_change, shown, verdict
from cgro.data.separation import opposite_separation
from cgro.data.tables import Table, read_table
from cgro.memorizers.constructions import NORMS, build
from cgro.memorizers.task import Memorizer, memorization_task
from cgro.networks.export import Precision, in_float32, packed, require_exportable, vnnlib_files
from cgro.networks.relu import ReluNetwork

NOT_CERTIFIED = 1
BYTES = {
    "hinge_sum": 200,
    "shared_hinges": 120,
    "sequential": 360,
    "lipschitz": 400,
    "absolute_sum": 96,
    "ball_sum": 24,
    "shallow_ball_sum": 32,
    "even_power": 24,
}
"""Memory for each coordinate of a stored point that building and certifying takes, measured and rounded down; the
other constructions take less."""


def run(options: argparse.Namespace) -> int:
    """Build, certify, write, print a report; 0 if every point is certified, 1 otherwise."""
    norm = require_norm(options.norm)
    construction = _construction(norm, options)
    precision = _precision(norm, construction, options)
    if options.radius is None:
        between("--ratio", options.ratio, 0, 1, open_low=True, open_high=True)
    folder = own_folder(options.output or _beside(options.points))
    table = read_table(options.points, label=options.label)
    _require_room(table, construction)
    separation = opposite_separation(table.data, norm)
    radius = options.radius if options.radius is not None else options.ratio * separation.distance / 2
    task = memorization_task(table.data, None, norm, radius, separation=separation)
    memorizer = build(task, construction, _options(options))
    files, exported = _exported(memorizer, options, precision)
    report = examine(memorizer, options.verify, options.nodes) | exported
    files |= _network(memorizer) | _classes(table)
    names = [*files, "report.json"]
    report = _about(options.points, table, report) | {"folder": str(folder), "files": names}
    text = json.dumps(report, indent=2, allow_nan=False) + "\n"
    write_folder(folder, files | {"report.json": text.encode()})
    if options.json:
        print(text, end="")
    else:
        grid = Grid(box=None, show_header=False, pad_edge=False)
        for name, value in shown(report).items():
            grid.add_row(name, value)
        Console().print(grid)
        print(folder)
    proved = report["certified by structure"] == table.data.size and report["refuted"] == 0
    return 0 if proved and _certified_as_exported(exported) else NOT_CERTIFIED


def _beside(points: Path) -> Path:
    return points.parent / f"{points.stem}-memorizer"


def _about(path: Path, table: Table, report: dict[str, Any]) -> dict[str, Any]:
    """The report, with what was read."""
    i, j = report["closest pair"]
    return {
        "points file": str(path),
        "read": table.words,
        "classes": {str(k): name for k, name in table.classes.items()} or None,
        **report,
        "rows of the closest pair": None if table.rows is None else [int(table.rows[i]), int(table.rows[j])],
    }


def _construction(norm: Norm, options: argparse.Namespace) -> str:
    """The construction asked for, or the first of the norm. Raises: UserError for one that is not for it."""
    allowed = (*NORMS[norm], "grid_cells")
    name = options.construction or allowed[0]
    if name not in allowed:
        raise UserError(f"construction must be one of {', '.join(allowed)} in l_{norm}, got {name!r}")
    if name == "lipschitz" and options.readout == "label":
        raise UserError("readout is 'label': lipschitz reads the sign; take another construction")
    return str(name)


def _options(options: argparse.Namespace) -> dict[str, Any]:
    """Keyword arguments of the construction; the one of sign only takes none."""
    return {} if options.readout is None or options.construction == "lipschitz" else {"readout": options.readout}


def _precision(norm: Norm, construction: str, options: argparse.Namespace) -> Precision:
    """Numbers of the ONNX file. Raises: UserError, before any work, for what cannot be exported."""
    if options.export:
        if construction == "grid_cells":
            raise UserError(f"construction {construction} has exact weights: ONNX holds floats; do not export")
        require_exportable(norm)
    elif options.export_dtype:
        raise UserError("--export-dtype is for --export N; say how many points to export")
    return options.export_dtype or "float64"


def _require_room(table: Table, construction: str) -> None:
    """Refuse sizes whose points and networks memory cannot hold; the estimate is from below."""
    data = table.data
    stored = data.size - max((data.labels == label).sum() for label in data.classes)
    needed = (float(BYTES.get(construction, 0)) * stored + 16.0 * data.size) * data.dim
    require_memory(needed, f"{construction} for {data.size:,} points in {data.dim:,} dimensions")


def _network(memorizer: Memorizer) -> dict[str, bytes]:
    if isinstance(memorizer.network, ReluNetwork):
        return {"network.safetensors": packed(memorizer.network)}
    return {"network.json": memorizer.network.as_json().encode()}


def _classes(table: Table) -> dict[str, bytes]:
    """Names of the labels that the network gives, if the file had names."""
    return {"classes.json": (json.dumps(table.classes, indent=2) + "\n").encode()} if table.classes else {}


def _exported(
    memorizer: Memorizer, options: argparse.Namespace, precision: Precision
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Files for other verifiers, and what the report says of them: a rounded network gets a certificate of its own."""
    if not options.export:
        return {}, {"exported": None}
    task, network = memorizer.task, memorizer.float_network
    require_exportable(task.norm, network, precision)
    points, labels = task.data.points[: options.export], task.data.labels[: options.export]
    about: dict[str, Any] = {"precision": precision, "points": len(points)}
    if precision == "float32":
        rounded = in_float32(network)
        found = certify(
            rounded,
            points,
            labels,
            task.norm,
            task.radius,
            readout=memorizer.readout,
            nodes=options.nodes,
        )
        about |= verdict(found) | {"largest change of a weight": largest_change(network, rounded)}
        network = rounded
    files = vnnlib_files(
        network, points, labels, task.norm, task.radius, readout=memorizer.readout, precision=precision
    )
    return {f"verify/{name}": content for name, content in files.items()}, {"exported": about}


def _certified_as_exported(exported: dict[str, Any]) -> bool:
    about = exported["exported"]
    return about is None or about["precision"] == "float64" or about["certified"] == about["points"]
