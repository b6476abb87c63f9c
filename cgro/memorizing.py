"""What `cgro memorize` does: from a file of labelled points to a network, its certificate, its size and files."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cgro.certify.affine import affine_margins
from cgro.certify.certify import certify
from cgro.certify.structural import structural_margins
from cgro.data.separation import opposite_separation
from cgro.data.tables import read_table
from cgro.errors import UserError
from cgro.files import require_writable, write_whole
from cgro.networks.export import save, to_vnnlib_set
from cgro.networks.memorizers.bounds import lower_bound_total
from cgro.networks.memorizers.constructions import NORMS, build
from cgro.networks.memorizers.task import Memorizer, memorization_task
from cgro.networks.relu import ReluNetwork
from cgro.norms import Norm, require_norm

NOT_CERTIFIED = 1


def run(options: argparse.Namespace) -> int:
    """Build, certify, write, print a table; 0 if every point is certified, 1 otherwise."""
    table, norm = read_table(options.points, label=options.label), require_norm(options.norm)
    data = table.data
    separation = opposite_separation(data, norm)
    radius = options.radius if options.radius is not None else options.ratio * separation.distance / 2
    task = memorization_task(data, None, norm, radius, separation=separation)
    memorizer = build(task, _construction(norm, options), _options(options))
    folder = options.output or Path(options.points).with_suffix("").with_name(f"{Path(options.points).stem}-memorizer")
    require_writable(folder)
    report = {"read": table.words} | examine(memorizer, options.verify, options.time_limit)
    if options.export:
        if not isinstance(memorizer.network, ReluNetwork):
            raise UserError(
                f"construction {memorizer.construction} has exact weights: ONNX holds floats; do not export"
            )
        kept = slice(0, options.export)
        points, labels = data.points[kept], data.labels[kept]
        to_vnnlib_set(folder / "verify", memorizer.network, points, labels, norm, radius, readout=memorizer.readout)
    if isinstance(memorizer.network, ReluNetwork):
        save(memorizer.network, folder / "network.safetensors")
    else:
        write_whole(folder / "network.json", memorizer.network.as_json().encode())
    write_whole(folder / "report.json", (json.dumps(report, indent=2) + "\n").encode())
    shown = Table(box=None, show_header=False, pad_edge=False)
    for name, value in report.items():
        shown.add_row(
            name, f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else value
        )
    Console().print(shown)
    print(folder)
    return 0 if report["certified by structure"] == data.size and report["refuted"] == 0 else NOT_CERTIFIED


def _construction(norm: Norm, options: argparse.Namespace) -> str:
    """The construction asked for, or the first of the norm. Raises: UserError for one that is not for it."""
    allowed = (*NORMS[norm], "grid_cells")
    name = options.construction or allowed[0]
    if name not in allowed:
        raise UserError(f"construction is {name!r}: in l_{norm} allowed are {', '.join(allowed)}; choose one of them")
    if name == "lipschitz" and options.readout == "label":
        raise UserError("readout is 'label': lipschitz reads the sign; take another construction")
    return str(name)


def _options(options: argparse.Namespace) -> dict[str, Any]:
    """Keyword arguments of the construction; the one of sign only takes none."""
    return {} if options.readout is None or options.construction == "lipschitz" else {"readout": options.readout}


def examine(memorizer: Memorizer, verify: int, time_limit: float) -> dict[str, Any]:
    """Everything worth knowing of a memorizer: hypotheses, sizes beside formula and lower bound, certificates."""
    task, network, size, claimed = memorizer.task, memorizer.network, memorizer.network.size, memorizer.claimed
    (i, j), D = task.separation.pair, task.data.dim
    report: dict[str, Any] = {
        "points": f"{task.data.size:,} in {D:,} dimensions, {len(task.data.classes)} labels",
        "separation": f"{task.separation.distance:g} in l_{task.norm}, between points {i} and {j}",
        "radius": f"{task.radius:g}, {task.ratio:.3g} of the largest (rho)",
        "construction": memorizer.construction,
        "read-out": memorizer.readout,
        "non-zero parameters": size.nonzero,
        "by formula": claimed.nonzero,
        "all parameters": size.total,
        "by formula ": claimed.total,
        "needed by some points": lower_bound_total(task.data.size, D, task.ratio, task.norm),
        "neurons": size.neurons,
        "depth": size.depth,
        "width": size.width,
        "largest weight": network.largest_weight,
        "bits": network.bits,
        "margin on all balls": memorizer.margin,
        "certified by structure": int((structural_margins(memorizer) > 0).sum()),
        "refuted": 0,
    }
    count = min(verify, task.data.size)
    if not count:
        return report
    points, labels = task.data.points[:count], task.data.labels[:count]
    if isinstance(network, ReluNetwork):
        found = certify(
            network, points, labels, task.norm, task.radius, readout=memorizer.readout, time_limit=time_limit
        )
        report["refuted"] = found.by_status["counterexample"]
        report[f"first {count} by weights"] = str(found)
    else:
        exact = affine_margins(network, points, labels, task.norm, task.radius, memorizer.readout)
        right = sum(margin is not None and margin > 0 for margin in exact)
        report["refuted"] = sum(margin is not None and margin <= 0 for margin in exact)
        report[f"first {count} by weights"] = f"{right} certified in exact arithmetic"
    return report
