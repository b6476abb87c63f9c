"""Figure: robust test error of the CGRO classifier as training balls cover more of the support."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure as Drawing

from cgro.plots.figure import Figure
from cgro.plots.style import COLORS, SERIES, figure, panel_label, point_range

_AXES = (("samples", "training points $N$"), ("dim", "dimension $D$"), ("radius", r"radius $\delta$"))
_NORMS = {"1": r"$\ell_1$", "2": r"$\ell_2$", "inf": r"$\ell_\infty$"}


def caption(result: xr.Dataset) -> str:
    """What the figure shows, with the numbers of this result."""
    error = result["robust_test_error"].sel(classifier="cgro")
    many = result["axis"].values == "samples"
    most = int(result["samples"].values[many].max())
    at = many & (result["samples"].values == most)
    dims = result["dim"].values[at][0]
    ends = ", ".join(
        f"{float(error.sel(norm=n).values[at].mean()):.2f} in l_{n}" for n in result["norm"].values.tolist()
    )
    return (
        "Robust test error of the CGRO classifier (filled; measured by an attack, hence a lower bound) and of f_clean "
        "(grey), with the proved lower bound (open, dotted): the error of f_clean minus the fraction of test points "
        f"within 2 delta + gamma of a training point. {result.sizes['seed']} data sets (marker: mean, bar: minimum to "
        f"maximum). With {most:,} points in {dims} dimensions the error falls to {ends}: there memorization is robust "
        "generalization. As D grows at fixed N it becomes overfitting again. The bound is not tight: a test point is "
        "protected only if its whole ball lies inside training balls."
    )


def draw(result: xr.Dataset) -> Drawing:
    """Three panels: against N, D and the radius."""
    fig, axes = figure(6.8, 2.8, ncols=3, sharey=True)
    for ax, letter, (axis, label) in zip(axes, "abc", _AXES, strict=True):
        part = result.isel(place=np.flatnonzero(result["axis"].values == axis))
        x = part[axis].values.astype(float)
        for norm, color in zip(result["norm"].values, SERIES, strict=False):
            one = part.sel(norm=norm)
            error = one["robust_test_error"].transpose("classifier", "seed", "place").values
            bound = np.clip(error[0] - one["coverage"].transpose("seed", "place").values, 0, None)
            point_range(ax, x, error[1], color, _NORMS[str(norm)])
            point_range(ax, x, bound, color, None, markerfacecolor="white", ls=":")
        clean = part.isel(norm=0)["robust_test_error"].sel(classifier="clean").transpose("seed", "place").values
        point_range(ax, x, clean, COLORS["neutral"], r"$f_{\mathrm{clean}}$", marker="None", lw=1.2)
        ax.set_xlabel(label)
        ax.set_ylim(-0.05, 1.08)
        if axis == "samples":
            ax.set_xscale("log")
        panel_label(ax, letter, _held(part, axis))
    axes[0].set_ylabel("robust test error (fraction)")
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=4)
    return fig


def numbers(result: xr.Dataset) -> tuple[list[str], list[list[Any]]]:
    """Means over data sets, by norm and place."""
    header = [
        *("norm", "axis", "samples", "dim", "radius", "coverage"),
        *("robust_test_error_clean", "robust_test_error_cgro", "clean_test_error_cgro", "certified_train_accuracy"),
    ]
    rows = []
    for norm in result["norm"].values:
        for place in range(result.sizes["place"]):
            one = result.sel(norm=norm).isel(place=place)
            error, clean = one["robust_test_error"], one["clean_test_error"]
            rows.append(
                [
                    str(norm),
                    *(one[name].item() for name in ("axis", "samples", "dim", "radius")),
                    float(one["coverage"].mean()),
                    *(float(error.sel(classifier=c).mean()) for c in ("clean", "cgro")),
                    float(clean.sel(classifier="cgro").mean()),
                    float(one["certified_train_accuracy"].mean()),
                ]
            )
    return header, rows


def _held(part: xr.Dataset, axis: str) -> str:
    """The fixed quantities."""
    texts = {"samples": "$N={:g}$", "dim": "$D={:g}$", "radius": r"$\delta={:g}$"}
    return ", ".join(text.format(float(part[name][0])) for name, text in texts.items() if name != axis)


FIGURE = Figure(
    "When memorization stops being overfitting",
    experiment="coverage",
    needs={
        "norm place seed classifier": "clean_test_error robust_test_error",
        "norm place seed": "certified_train_accuracy coverage",
        "place": "axis samples dim radius",
        "norm": "norm",
        "classifier": "classifier",
    },
    along="samples dim radius",
    draw=draw,
    caption=caption,
    numbers=numbers,
)
