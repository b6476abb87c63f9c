"""Random labels: the probability that training converges, over the radius and one other field at a time."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from cgro.claims.confidence import proportion_interval
from cgro.plots.figure import Figure
from cgro.plots.style import COLORS, figure
from cgro.plots.words import OBJECTIVE_WORDS, labels_redrawn

AXES = {
    "epochs": "epochs",
    "width": "width",
    "attack_steps": "attack steps",
    "label_noise": "labels redrawn\n(fraction)",
    "beta": "weight $g$ of the\nadversarial loss",
}
CRITERIA = {"clean": "clean images", "robust": "perturbed images"}


def panels(result: xr.Dataset) -> list[tuple[str, str, np.ndarray]]:
    """(axis, objective, cases) of each column of the figure."""
    found: dict[tuple[str, str], list[int]] = {}
    for k, key in enumerate(zip(result["axis"].values, result["case_objective"].values, strict=True)):
        found.setdefault((str(key[0]), str(key[1])), []).append(k)
    return [(axis, objective, np.array(cases)) for (axis, objective), cases in found.items()]


def converging(result: xr.Dataset, criterion: str) -> np.ndarray:
    """Number of seeds that converge, by case and radius, shape (case, radius)."""
    rungs = result["rungs"].sel(criterion=criterion).transpose("case", "seed").values
    return (np.arange(result.sizes["radius"]) < rungs[:, :, None]).sum(axis=1)


def largest(result: xr.Dataset) -> xr.DataArray:
    """Largest radius that converges (case, seed, criterion); 0 if none does."""
    radii = np.concatenate([[0.0], result["radius"].values])
    return result["rungs"].copy(data=radii[result["rungs"].values])


def caption(result: xr.Dataset) -> str:
    """What was trained, how the map was made, and whether TRADES ever memorizes robustly where PGD-AT does not."""
    a = result.attrs
    return (
        f"Share of {result.sizes['seed']} seeds for which training with {labels_redrawn(a['label_noise'])} reaches "
        f"90 % training accuracy, on clean images (top) and under PGD (bottom): {a['model']} (width {a['width']:g} "
        f"unless varied) on {a['train_images']:,} images of {a['data']}, {a['epochs']} epochs unless varied. For each "
        f"seed the largest such radius is found by bisection over {result.sizes['radius']} radii, which takes "
        f"convergence to be monotone in the radius; {_contradicted(result)}. Line: median over seeds.{_beyond(result)} "
        f"{_comparison(result)}"
    )


def checks(result: xr.Dataset) -> int:
    """How many of the measured accuracies could contradict that convergence is monotone in the radius.

    The steps of a bisection agree with its end whatever they find. The rest were measured for the other criterion.
    """
    count, measured = result.sizes["radius"], int(np.isfinite(result["accuracy"].values).sum())
    return measured - sum(_steps(count, int(rung)) for rung in result["rungs"].values.ravel())


def _steps(count: int, boundary: int) -> int:
    """Steps of a bisection over `count` radii of which the first `boundary` converge."""
    low, high, steps = -1, count, 0
    while high - low > 1:
        middle, steps = (low + high) // 2, steps + 1
        low, high = (middle, high) if middle < boundary else (low, middle)
    return steps


def _contradicted(result: xr.Dataset) -> str:
    count, wrong = checks(result), result.attrs["contradictions"]
    if not count:
        return "no accuracy besides its own steps was measured, so that none could contradict this"
    return f"of the {count} accuracies that were measured besides its own steps, {wrong or 'none'} contradict this"


def _beyond(result: xr.Dataset) -> str:
    """How many boundaries are only known to be beyond the radii that were tried; empty if none is."""
    rungs, radii = result["rungs"].values, result["radius"].values
    above, below = int((rungs == len(radii)).sum()), int((rungs == 0).sum())
    words = [
        f"{count} of {rungs.size} boundaries are {where} tried, {radius:.3g}"
        for count, where, radius in ((above, "at or above the largest radius", radii[-1]),
                                     (below, "below the smallest radius", radii[0]))
        if count
    ]  # fmt: skip
    return f" Triangles: {'; '.join(words)}." if words else ""


def _comparison(result: xr.Dataset) -> str:
    """In how many cases and seeds TRADES converges at a larger radius than PGD-AT, paired."""
    index = {(a, o, v): k for k, (a, o, v) in enumerate(_keys(result))}
    pairs = [
        (k, index[a, "adversarial", v])
        for (a, o, v), k in index.items()
        if o == "trades" and (a, "adversarial", v) in index
    ]
    if not pairs:
        return ""
    words = []
    for criterion in CRITERIA:
        rungs = result["rungs"].sel(criterion=criterion).transpose("case", "seed").values
        more = [rungs[t] - rungs[p] for t, p in pairs]
        total = sum(len(row) for row in more)
        counts = [int(sum((row > 0).sum() for row in more)), int(sum((row < 0).sum() for row in more))]
        words.append(f"on {CRITERIA[criterion]} in {counts[0]} of {total} pairs of runs (PGD-AT in {counts[1]})")
    return f"TRADES converges at a larger radius than PGD-AT {', '.join(words)}."


def _keys(result: xr.Dataset) -> list[tuple[str, str, float]]:
    columns = (result[name].values for name in ("axis", "case_objective", "value"))
    return [(str(a), str(o), float(v)) for a, o, v in zip(*columns, strict=True)]


def draw(result: xr.Dataset) -> Drawing:
    """A map for each criterion (rows), and each axis and objective (columns)."""
    columns, radii, seeds = panels(result), result["radius"].values, result.sizes["seed"]
    fig, axes = figure(
        max(6.4, 1.2 + 1.25 * len(columns)), 4.3, ncols=len(columns), nrows=2, sharex="col", sharey=True, squeeze=False
    )
    ratio = (radii[-1] / radii[0]) ** (0.5 / max(len(radii) - 1, 1)) if len(radii) > 1 else 1.1
    edges = np.concatenate([radii / ratio, [radii[-1] * ratio]])
    levels = ListedColormap(mpl.colormaps["cividis"](np.linspace(0, 1, seeds + 1)))
    for row, criterion in enumerate(CRITERIA):
        counts, reached = converging(result, criterion), largest(result).sel(criterion=criterion)
        for column, (axis, objective, cases) in enumerate(columns):
            ax = axes[row, column]
            places = np.arange(len(cases) + 1) - 0.5
            ax.pcolormesh(places, edges, counts[cases].T, cmap=levels, vmin=-0.5, vmax=seeds + 0.5, rasterized=True)
            median = np.median(reached.transpose("case", "seed").values[cases], axis=1) * ratio
            steps = np.clip(np.append(median, median[-1]), edges[0], edges[-1])
            ax.step(places, steps, where="post", color="white", lw=2.6)
            ax.step(places, steps, where="post", color=COLORS["robust"], lw=1.3)
            for place, count in enumerate(counts[cases]):
                for mark, radius, some in (("^", radii[-1], count[-1]), ("v", radii[0], seeds - count[0])):
                    if some:  # the boundary of these seeds is beyond the radii that were tried
                        ax.plot(place, radius, mark, **BEYOND)
            ax.set_yscale("log")
            ax.set_ylim(edges[0], edges[-1])
            ax.set_xticks(range(len(cases)), [f"{v:g}" for v in result["value"].values[cases]])
            ax.tick_params(axis="x", length=0)
            if row == 0:
                ax.set_title(OBJECTIVE_WORDS.get(objective, objective), loc="left", fontsize=8)
            else:
                ax.set_xlabel(AXES[axis])
    ticks = [t for t in (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if edges[0] <= t <= edges[-1]]
    for row, label in enumerate(CRITERIA.values()):
        axes[row, 0].set_yticks(ticks, [f"{t:g}" for t in ticks])
        axes[row, 0].minorticks_off()
        axes[row, 0].set_ylabel(f"{label}\n{_norm(result)} radius\n(pixel range 0 to 1)")
    _key(fig, levels, seeds, beyond=bool(_beyond(result)))
    return fig


BEYOND: dict[str, Any] = {"color": COLORS["robust"], "mec": "white", "mew": 0.7, "ms": 7, "ls": ""}
"""The mark of runs whose boundary is beyond the radii that were tried."""


def _norm(result: xr.Dataset) -> str:
    return f"l_{result.attrs.get('norm', 'inf')}"


def _key(fig: Drawing, levels: ListedColormap, seeds: int, *, beyond: bool) -> None:
    """How many seeds converge, the line, and the mark."""
    handles: list[Any] = [Patch(facecolor=levels(k), edgecolor="#888888", lw=0.4) for k in range(seeds + 1)]
    words = [f"{k} of {seeds} seeds converge" for k in range(seeds + 1)]
    handles.append(Line2D([], [], color=COLORS["robust"], lw=1.3))
    words.append("median boundary")
    if beyond:
        handles.append(Line2D([], [], marker="^", **BEYOND))
        words.append("boundary beyond the radii tried")
    fig.legend(handles, words, loc="outside lower center", ncols=-(-len(words) // 2))


def numbers(result: xr.Dataset) -> tuple[list[str], list[list[Any]]]:
    """For each case, criterion and radius: seeds that converge, and the 95 % interval of the probability."""
    header = ["axis", "objective", "value", "criterion", "radius", "converged", "seeds", "low", "high"]
    rows, seeds = [], result.sizes["seed"]
    for criterion in CRITERIA:
        counts = converging(result, criterion)
        for (axis, objective, value), row in zip(_keys(result), counts, strict=True):
            for radius, count in zip(result["radius"].values, row, strict=True):
                low, high = proportion_interval(int(count), seeds, 0.95)
                rows.append(
                    [
                        axis,
                        objective,
                        value,
                        criterion,
                        float(radius),
                        int(count),
                        seeds,
                        low,
                        high,
                    ]
                )
    return header, rows


FIGURE = Figure(
    "Random labels: where training converges",
    experiment="random-labels",
    needs={
        "case seed criterion": "rungs",
        "case seed radius criterion": "accuracy",
        "case": "value axis case_objective",
        "radius": "radius",
        "criterion": "criterion",
    },
    attributes="data model width radius train_images epochs label_noise contradictions",
    draw=draw,
    caption=caption,
    numbers=numbers,
    order=4,
)
