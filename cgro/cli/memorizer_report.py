"""Files and report of `cgro memorize`: numbers for programs, and the same numbers as a table for people."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import sparse

from cgro.certify.affine import affine_margins
from cgro.certify.certify import Certificate, certify
from cgro.certify.structural import structural_margins
from cgro.data.tables import Table
from cgro.memorizers.bounds import lower_bound_total
from cgro.memorizers.task import Memorizer
from cgro.networks.export import Precision, in_float32, packed, require_exportable, vnnlib_files
from cgro.networks.relu import ReluNetwork


def examine(memorizer: Memorizer, verify: int, nodes: int) -> dict[str, Any]:
    """The report on a memorizer: hypotheses, sizes with formula and lower bound, certificates.

    Values are JSON types; numbers that are not finite are None.
    """
    task, network, size, claimed = memorizer.task, memorizer.network, memorizer.network.size, memorizer.claimed
    weights = _by_weights(memorizer, verify, nodes)
    return {
        "points": task.data.size,
        "dimensions": task.data.dim,
        "labels": len(task.data.classes),
        "norm": task.norm,
        "separation": task.separation.distance,
        "closest pair": list(task.separation.pair),
        "radius": task.radius,
        "ratio": task.ratio,
        "construction": memorizer.construction,
        "read-out": memorizer.readout,
        "non-zero parameters": size.nonzero,
        "by formula": claimed.nonzero,
        "all parameters": size.total,
        "all parameters by formula": claimed.total,
        "needed by some points": lower_bound_total(task.data.size, task.data.dim, task.ratio, task.norm),
        "neurons": size.neurons,
        "depth": size.depth,
        "width": size.width,
        "largest weight": _finite(network.largest_weight),
        "bits": network.bits,
        "margin on all balls": _finite(memorizer.margin),
        "certified by structure": int((structural_margins(memorizer) > 0).sum()),
        "certified by weights": weights,
        "refuted": weights["counterexample"],
    }


def _by_weights(memorizer: Memorizer, verify: int, nodes: int) -> dict[str, Any]:
    """Certification of the first `verify` points from the weights alone."""
    task, network = memorizer.task, memorizer.network
    points, labels = task.data.points[:verify], task.data.labels[:verify]
    if not len(points):
        return {"points": 0, "certified": 0, "counterexample": 0, "undecided": 0, "by tier": {}}
    if isinstance(network, ReluNetwork):
        return verdict(certify(network, points, labels, task.norm, task.radius, readout=memorizer.readout, nodes=nodes))
    exact = affine_margins(network, points, labels, task.norm, task.radius, memorizer.readout)
    right = sum(margin is not None and margin > 0 for margin in exact)
    wrong = sum(margin is not None and margin <= 0 for margin in exact)
    return {
        "points": len(points),
        "certified": right,
        "counterexample": wrong,
        "undecided": len(points) - right - wrong,
        "by tier": {"exact arithmetic": right + wrong},
    }


def verdict(found: Certificate) -> dict[str, Any]:
    """The counts of a certificate."""
    return {"points": len(found.status), **found.by_status, "by tier": found.by_tier}


def largest_change(network: ReluNetwork, rounded: ReluNetwork) -> float:
    """Largest difference between corresponding weights or biases."""
    pairs = zip(network.layers, rounded.layers, strict=True)
    parts = [(v - w, c - b) for (w, b), (v, c) in pairs]
    return max(float(np.abs(d.data if sparse.issparse(d) else d).max(initial=0.0)) for part in parts for d in part)


def shown(report: Mapping[str, Any]) -> dict[str, str]:
    """The report as rows of a table."""
    i, j = report["closest pair"]
    rows = report["rows of the closest pair"]
    where = f" (rows {rows[0]:,} and {rows[1]:,} of the file)" if rows else ""
    weights, exported = report["certified by weights"], report["exported"]
    lines = {
        "read": report["read"],
        "separation": f"{report['separation']:g} in l_{report['norm']}, between points {i} and {j}{where}",
        "radius": f"{report['radius']:g}, {report['ratio']:.3g} of the largest (rho)",
        "construction": report["construction"],
        "read-out": report["read-out"],
        "non-zero parameters": f"{report['non-zero parameters']:,}, by formula {report['by formula']:,}",
        "all parameters": f"{report['all parameters']:,}, by formula {report['all parameters by formula']:,}",
    }
    for name in ("needed by some points", "neurons", "depth", "width", "largest weight", "bits", "margin on all balls"):
        lines[name] = _number(report[name])
    lines["certified by structure"] = f"{report['certified by structure']:,} of {report['points']:,}"
    if weights["points"]:
        lines["certified by weights"] = _verdict_in_words(weights)
    if exported:
        proof = f"; rounded, certified {_verdict_in_words(exported)}" if exported["precision"] == "float32" else ""
        lines["exported"] = f"{exported['points']:,} properties, ONNX in {exported['precision']}{proof}"
    return lines


def _verdict_in_words(counts: Mapping[str, Any]) -> str:
    tiers = ", ".join(f"{tier} {count}" for tier, count in counts["by tier"].items())
    refuted = f", {counts['counterexample']} refuted" if counts["counterexample"] else ""
    open_ = f", {counts['undecided']} undecided" if counts["undecided"] else ""
    return f"{counts['certified']} of the first {counts['points']}{refuted}{open_} ({tiers or 'by no tier'})"


def _number(value: float | None) -> str:
    if value is None:
        return "beyond float64"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def network_files(memorizer: Memorizer, table: Table) -> dict[str, bytes]:
    """The network, and the names of its labels if the input file had names."""
    if isinstance(memorizer.network, ReluNetwork):
        files = {"network.safetensors": packed(memorizer.network)}
    else:
        files = {"network.json": memorizer.network.as_json().encode()}
    if table.classes:
        files["classes.json"] = (json.dumps(table.classes, indent=2) + "\n").encode()
    return files


def exported_as(
    memorizer: Memorizer, precision: Precision, count: int, nodes: int
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Files for other verifiers, and their entry in the report; a rounded network is certified separately."""
    if not count:
        return {}, {"exported": None}
    task, network = memorizer.task, memorizer.float_network
    require_exportable(task.norm, network, precision)
    points, labels = task.data.points[:count], task.data.labels[:count]
    about: dict[str, Any] = {"precision": precision, "points": len(points)}
    if precision == "float32":
        rounded = in_float32(network)
        found = certify(rounded, points, labels, task.norm, task.radius, readout=memorizer.readout, nodes=nodes)
        about |= verdict(found) | {"largest change of a weight": largest_change(network, rounded)}
        network = rounded
    files = vnnlib_files(
        network, points, labels, task.norm, task.radius, readout=memorizer.readout, precision=precision
    )
    return {f"verify/{name}": content for name, content in files.items()}, {"exported": about}
