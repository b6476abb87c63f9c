"""Figure: errors and size of the CGRO classifier against the dimension."""

from __future__ import annotations

from typing import Any

import xarray as xr
from matplotlib.figure import Figure as Drawing

from cgro.plots.figure import Figure
from cgro.plots.style import COLORS, SERIES, figure, legend, panel_label, point_range

_ERRORS = (
    ("clean_test_error", "clean test", "clean", "o"),
    ("robust_train_error", "robust training", "noise", "s"),
    ("robust_test_error", "robust test", "robust", "D"),
)
_NORMS = {"1": r"$\ell_1$", "2": r"$\ell_2$", "inf": r"$\ell_\infty$"}


def caption(result: xr.Dataset) -> str:
    """What the figure shows, with the numbers of this result."""
    last = result.isel(dim=-1)
    test = last["robust_test_error"].sel(classifier="cgro")
    return (
        f"{result.attrs['samples']} training points. Their label is the parity of distant cells and also the sign of a "
        f"weak coordinate, which f_clean reads; {result.sizes['seed']} data sets (marker: mean, bar: minimum to "
        "maximum). (a) In l_inf, f_clean makes no clean error but fails on every attacked point, including training "
        "points. The CGRO classifier is correct on all attacked training points (certified: "
        f"{float(result['certified_train_accuracy'].min()):.0%} in every data set and norm), and on attacked test "
        f"points that training balls cover. At D = {int(last['dim'])} its robust test error is "
        f"{float(test.min()):.2f} to {float(test.max()):.2f} over norms and data sets. (b) Robust test error in each "
        "norm (filled) and its lower bound 1 - coverage (open). (c) The number of non-zero parameters grows linearly "
        "in D."
    )


def draw(result: xr.Dataset) -> Drawing:
    """Three panels against D: errors in l_inf, robust test error by norm with the bound, size."""
    fig, (a, b, c) = figure(6.8, 2.7, ncols=3)
    d = result["dim"].values.astype(float)
    shown = result.sel(norm="inf") if "inf" in result["norm"].values else result.isel(norm=0)
    # Coinciding points are drawn side by side.
    for (name, label, color, marker), shift in zip(_ERRORS, (1.0, 0.85, 1.18), strict=True):
        for classifier, fill in (("clean", "white"), ("cgro", COLORS[color])):
            values = shown[name].sel(classifier=classifier).transpose("seed", "dim").values
            look = {"marker": marker, "markerfacecolor": fill, "ls": "--" if classifier == "clean" else "-"}
            text = label if classifier == "cgro" else None
            point_range(a, shift * d, values, COLORS[color], text, **look)
    a.set_ylabel("error (fraction)")
    legend(a, "center right", (1.0, 0.5))
    panel_label(a, "a", r"CGRO (filled), $f_{\mathrm{clean}}$ (open)")
    for norm, color in zip(result["norm"].values, SERIES, strict=False):
        one = result.sel(norm=norm)
        error = one["robust_test_error"].sel(classifier="cgro").transpose("seed", "dim").values
        base = one["robust_test_error"].sel(classifier="clean")
        bound = (base - one["coverage"]).clip(0).transpose("seed", "dim").values
        point_range(b, d, error, color, _NORMS[str(norm)])
        point_range(b, d, bound, color, None, markerfacecolor="white", ls=":")
        size = one["nonzero"].transpose("seed", "dim").values.astype(float)
        point_range(c, d, size, color, _NORMS[str(norm)])
    b.set_ylabel("robust test error (fraction)")
    legend(b, "lower right", (1.0, 0.08))
    panel_label(b, "b", "error and its bound")
    c.set_yscale("log")
    c.set_ylabel("non-zero parameters")
    legend(c, "upper left", (0.0, 1.0))
    panel_label(c, "c", "size")
    for ax in (a, b, c):
        ax.set_xscale("log", base=2)
        ax.set_xlabel("dimension $D$")
    for ax in (a, b):
        ax.set_ylim(-0.05, 1.08)
    return fig


def numbers(result: xr.Dataset) -> tuple[list[str], list[list[Any]]]:
    """Means over data sets, by norm and dimension."""
    names = ("coverage", "certified_train_accuracy", "verified_accuracy", "nonzero", "nonzero_claimed", "total")
    header = ["norm", "dim", *(f"{n}_{c}" for n, *_ in _ERRORS for c in ("clean", "cgro")), *names]
    mean = result.mean("seed")
    rows = [
        [
            str(norm),
            int(dim),
            *(float(mean[n].sel(norm=norm, dim=dim, classifier=c)) for n, *_ in _ERRORS for c in ("clean", "cgro")),
            *(float(mean[n].sel(norm=norm, dim=dim)) for n in names),
        ]
        for norm in result["norm"].values
        for dim in result["dim"].values
    ]
    return header, rows


FIGURE = Figure(
    "The CGRO classifier, dimension by dimension",
    experiment="cgro-construction",
    needs={
        "norm dim seed classifier": "clean_test_error robust_train_error robust_test_error",
        "norm dim seed": "certified_train_accuracy verified_accuracy coverage nonzero nonzero_claimed total",
        "norm": "norm",
        "dim": "dim",
        "classifier": "classifier",
    },
    attributes="samples",
    draw=draw,
    caption=caption,
    numbers=numbers,
)
