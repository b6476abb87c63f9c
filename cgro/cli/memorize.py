"""`cgro memorize`: from a file of labelled points to a robust memorizer with its certificate and files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.table import Table as Grid

from cgro.base.errors import UserError
from cgro.base.files import write_folder
from cgro.cli.memorizer_folder import own_folder
from cgro.cli.reading import Rest
from cgro.cli.values import Choice, Count, File, Flag, Folder, Fraction, Name, Positive

if TYPE_CHECKING:  # imported where work begins
    from cgro.data.tables import Table
    from cgro.networks.export import Precision

NOT_CERTIFIED = 1
_SIZE = tyro.conf.create_mutex_group(required=False, title="size of the balls")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Build a ReLU network that robustly memorizes labelled points; certify it and report its size."""

    points: Annotated[File[Path], tyro.conf.Positional]
    """A .csv table with one label per row, or an .npz file with arrays points and labels."""
    label: Name[str | None] = None
    """Column of the labels; by default label, class, target or y, else the last column."""
    norm: Choice[Literal["1", "2", "inf"]] = "inf"
    """Norm of the perturbations."""
    radius: Annotated[Fraction[float | None], _SIZE] = None
    """Perturbation radius in input units, e.g. 0.03 or 8/255."""
    ratio: Annotated[Fraction[float], _SIZE] = 0.5
    """Perturbation radius divided by half the separation, in (0, 1)."""
    construction: Name[str | None] = None
    """Construction to use; by default the first one for the norm."""
    readout: Choice[Literal["sign", "label"] | None] = None
    """How to read off labels; by default sign for labels -1 and 1, label for others."""
    verify: Count[int] = 5
    """Number of points certified a second time from the weights alone."""
    nodes: Positive[int] = 10_000
    """MILP branch-and-bound nodes for each of these points; 10000 nodes take seconds to minutes."""
    export: Count[int] = 0
    """Export ONNX and VNN-LIB properties of this many points, the first ones."""
    export_dtype: Choice[Literal["float64", "float32"] | None] = None
    """Number type of the ONNX file, by default float64; a network rounded to float32 is certified again."""
    output: Folder[Path | None] = None
    """Output folder; by default the name of FILE without its suffix, plus -memorizer."""
    json: Flag = False
    """Print the report as JSON (also saved as report.json)."""


def run(options: Options, _rest: Rest) -> int:
    """Build, certify, save and report; returns 0 if every point is certified, 1 otherwise."""
    from cgro.base.validate import between
    from cgro.cli.memorizer_report import examine, exported_as, network_files, shown
    from cgro.data.separation import opposite_separation
    from cgro.data.tables import read_table
    from cgro.memorizers.constructions import build, require_room
    from cgro.memorizers.task import memorization_task

    construction = _construction(options)
    precision = _precision(construction, options)
    if options.radius is None:
        between("--ratio", options.ratio, 0, 1, open_low=True, open_high=True)
    folder = own_folder(options.output or options.points.parent / f"{options.points.stem}-memorizer")
    table = read_table(options.points, label=options.label)
    require_room(construction, table.data)
    separation = opposite_separation(table.data, options.norm)
    radius = options.radius if options.radius is not None else options.ratio * separation.distance / 2
    task = memorization_task(table.data, None, options.norm, radius, separation=separation)
    reads_labels = options.readout is not None and construction != "lipschitz"  # lipschitz always reads the sign
    memorizer = build(task, construction, {"readout": options.readout} if reads_labels else {})
    files, exported = exported_as(memorizer, precision, options.export, options.nodes)
    report = examine(memorizer, options.verify, options.nodes) | exported
    files |= network_files(memorizer, table)
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
    rounded = exported["exported"] if precision == "float32" else None  # has its own certificate
    return 0 if proved and (rounded is None or rounded["certified"] == rounded["points"]) else NOT_CERTIFIED


def _about(path: Path, table: Table, report: dict[str, Any]) -> dict[str, Any]:
    """The report, with a description of the input."""
    i, j = report["closest pair"]
    return {
        "points file": str(path),
        "read": table.words,
        "classes": {str(k): name for k, name in table.classes.items()} or None,
        **report,
        "rows of the closest pair": None if table.rows is None else [int(table.rows[i]), int(table.rows[j])],
    }


def _construction(options: Options) -> str:
    """The construction asked for, or the first one for the norm. Raises: UserError if it is not for this norm."""
    from cgro.memorizers.constructions import EXACT, NORMS

    allowed = (*NORMS[options.norm], *EXACT)
    name = options.construction or allowed[0]
    if name not in allowed:
        raise UserError(f"construction must be one of {', '.join(allowed)} in l_{options.norm}, got {name!r}")
    if name == "lipschitz" and options.readout == "label":
        raise UserError("readout must be sign with construction lipschitz, got 'label'; choose another construction")
    return name


def _precision(construction: str, options: Options) -> Precision:
    """Number type of the ONNX file. Raises: UserError, before any work, if the network cannot be exported."""
    from cgro.memorizers.constructions import EXACT
    from cgro.networks.export import require_exportable

    if options.export:
        if construction in EXACT:
            raise UserError(f"construction {construction} has exact weights, which ONNX cannot hold; omit --export")
        require_exportable(options.norm)
    elif options.export_dtype:
        raise UserError("--export-dtype requires --export N, the number of points to export")
    return options.export_dtype or "float64"
