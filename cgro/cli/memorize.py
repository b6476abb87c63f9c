"""`cgro memorize`: from a file of labelled points to a network, its certificate, its size and files."""

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
    """A ReLU network that robustly memorizes labelled points, its certificate and its size."""

    points: Annotated[File[Path], tyro.conf.Positional]
    """.csv table with a label in each row, or .npz with points and labels."""
    label: Name[str | None] = None
    """Column of the label; without it label, class, target or y, else the last."""
    norm: Choice[Literal["1", "2", "inf"]] = "inf"
    """Norm of the perturbation."""
    radius: Annotated[Fraction[float | None], _SIZE] = None
    """Perturbation radius in input units, e.g. 0.03 or 8/255."""
    ratio: Annotated[Fraction[float], _SIZE] = 0.5
    """Radius over half the separation, in (0, 1)."""
    construction: Name[str | None] = None
    """Which construction; without it the first for the norm."""
    readout: Choice[Literal["sign", "label"] | None] = None
    """How labels are read off; without it sign for the labels -1 and 1, label for others."""
    verify: Count[int] = 5
    """Points certified again from the weights alone."""
    nodes: Positive[int] = 10_000
    """MILP branch-and-bound nodes for each of them; 10000 take seconds to minutes."""
    export: Count[int] = 0
    """Write ONNX and VNN-LIB properties of so many points, the first ones."""
    export_dtype: Choice[Literal["float64", "float32"] | None] = None
    """Numbers of the ONNX file, float64 without it; a network rounded to float32 is certified again."""
    output: Folder[Path | None] = None
    """Folder of the files; without it FILE without suffix, -memorizer."""
    json: Flag = False
    """Print the report as JSON, which report.json holds too."""


def run(options: Options, _rest: Rest) -> int:
    """Build, certify, write, print a report; 0 if every point is certified, 1 otherwise."""
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
    reads_labels = options.readout is not None and construction != "lipschitz"  # which reads the sign alone
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
    rounded = exported["exported"] if precision == "float32" else None  # which has a certificate of its own
    return 0 if proved and (rounded is None or rounded["certified"] == rounded["points"]) else NOT_CERTIFIED


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


def _construction(options: Options) -> str:
    """The construction asked for, or the first of the norm. Raises: UserError for one that is not for it."""
    from cgro.memorizers.constructions import NORMS

    allowed = (*NORMS[options.norm], "grid_cells")
    name = options.construction or allowed[0]
    if name not in allowed:
        raise UserError(f"construction must be one of {', '.join(allowed)} in l_{options.norm}, got {name!r}")
    if name == "lipschitz" and options.readout == "label":
        raise UserError("readout is 'label': lipschitz reads the sign; take another construction")
    return name


def _precision(construction: str, options: Options) -> Precision:
    """Numbers of the ONNX file. Raises: UserError, before any work, for what cannot be exported."""
    from cgro.networks.export import require_exportable

    if options.export:
        if construction == "grid_cells":
            raise UserError(f"construction {construction} has exact weights: ONNX holds floats; do not export")
        require_exportable(options.norm)
    elif options.export_dtype:
        raise UserError("--export-dtype is for --export N; say how many points to export")
    return options.export_dtype or "float64"
