"""Figure: which tier certifies which construction, and whether broken memorizers are detected."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from cgro.plots.figure import Figure
from cgro.plots.style import COLORS, SERIES, figure, panel_label

_TIERS = (
    ("tier_interval", "interval bounds", SERIES[5]),
    ("tier_linear", "linear bounds", SERIES[0]),
    ("tier_milp", "MILP", SERIES[2]),
    ("undecided", "undecided", "#BBBBBB"),
)
_FOUND = (
    ("caught", "counterexample found", SERIES[2]),
    ("open", "undecided", "#BBBBBB"),
    ("missed", "wrongly certified", COLORS["robust"]),
)
_NORMS = {"1": r"$\ell_1$", "2": r"$\ell_2$", "inf": r"$\ell_\infty$"}


def caption(result: xr.Dataset) -> str:
    """What the figure shows, with the numbers of this result."""
    whole, broken = _split(result)
    networks = whole.sizes["record"]
    points = int(whole["samples"].sum())
    asked = int(whole["general"].sum())
    parts = [
        f"{networks} memorizers from {len(_names(result))} constructions, of {points:,} points in total: N = "
        f"{_values(whole, 'samples')}, D = {_values(whole, 'dim')}, at {_values(whole, 'ratio', 100)} % of the "
        f"admissible radius. {float((whole['structural'] * whole['samples']).sum()) / points:.1%} of the points are "
        f"certified by structure, and {int(whole['counts_equal'].sum())} of {networks} sizes equal the formula. (a) "
        f"The general tiers, which use only the weights, on the {asked:,} points of the small memorizers: "
        f"{int(whole['certified'].sum()):,} certified, {int(whole['counterexample'].sum())} counterexamples (none "
        f"exist), {int(whole['undecided'].sum())} undecided."
    ]
    if broken.sizes["record"]:
        parts.append(
            f"(b) {broken.sizes['record']} memorizers with one weight changed by a tenth: brute force in the plane "
            f"finds {int(broken['breakable'].sum())} broken balls; the certifier finds a counterexample for "
            f"{int(broken['caught'].sum())} of them and wrongly certifies {int(broken['missed'].sum())}."
        )
    return " ".join(parts)


def draw(result: xr.Dataset) -> Drawing:
    """Two panels of stacked bars, one bar per construction."""
    fig, (a, b) = figure(6.8, 3.0, ncols=2, sharey=True)
    whole, broken = _split(result)
    whole = whole.isel(record=np.flatnonzero(whole["general"].values > 0))
    broken = broken.assign(open=broken["breakable"] - broken["caught"] - broken["missed"])
    _bars(a, result, whole, _TIERS)
    _bars(b, result, broken, _FOUND)
    a.set_xlabel("points (fraction)")
    b.set_xlabel("broken balls (fraction)")
    panel_label(a, "a", "intact")
    panel_label(b, "b", "one weight changed by 10 %")
    return fig


def numbers(result: xr.Dataset) -> tuple[list[str], list[list[Any]]]:
    """One row per memorizer."""
    header = [str(name) for name in result.data_vars]
    return header, [[result[name].values[k].item() for name in header] for k in range(result.sizes["record"])]


def _split(result: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
    broken = result["broken"].values
    return result.isel(record=np.flatnonzero(~broken)), result.isel(record=np.flatnonzero(broken))


def _names(result: xr.Dataset) -> list[tuple[str, str]]:
    """(norm, construction) in order of appearance."""
    return list(dict.fromkeys(zip(result["norm"].values.tolist(), result["construction"].values.tolist(), strict=True)))


def _bars(ax: Axes, result: xr.Dataset, part: xr.Dataset, kinds: tuple[tuple[str, str, str], ...]) -> None:
    names = _names(result)
    for row, (_, name) in enumerate(names):
        one = part.isel(record=np.flatnonzero(part["construction"].values == name))
        counts = [float(one[kind].sum()) for kind, *_ in kinds]
        total = sum(counts)
        left = 0.0
        for count, (_, label, color) in zip(counts, kinds, strict=True):
            ax.barh(row, count / total if total else 0.0, left=left, color=color, height=0.7, label=label)
            left += count / total if total else 0.0
        ax.text(1.01, row, f"{total:.0f}", va="center", fontsize=6.5, color=COLORS["neutral"])
    ax.set_yticks(range(len(names)), [f"{_NORMS[norm]} {name.replace('_', ' ')}" for norm, name in names])
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlim(0, 1)
    handles, labels = ax.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    ax.legend(unique.values(), unique.keys(), loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)


def _values(part: xr.Dataset, name: str, factor: float = 1) -> str:
    return ", ".join(f"{factor * v:g}" for v in np.unique(part[name].values))


FIGURE = Figure(
    "Robust memorizers: intact ones certified, broken ones detected",
    experiment="memorizer-certificates",
    needs={
        "record": (
            "norm construction samples dim broken ratio seed structural counts_equal neurons falsified general "
            "certified counterexample undecided tier_interval tier_linear tier_milp tier_attack tier_none breakable "
            "caught missed network_breakable network_caught"
        ),
    },
    draw=draw,
    caption=caption,
    numbers=numbers,
)
