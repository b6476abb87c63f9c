"""Complexity measures: how each ranks the robust generalization gap, with and without models of random labels, and
among models of one noise rate, since the noise rate itself ranks the gap.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import PercentFormatter

from cgro.measures.rank_correlation import FEWEST, STRONG, interval, tau, tau_within
from cgro.plots.figure import Figure, Table
from cgro.plots.style import COLORS, figure, panel_label
from cgro.plots.words import OBJECTIVE_WORDS, ball, labels_redrawn

POOL_COLORS = (COLORS["clean"], COLORS["robust"], COLORS["signal"])
"""Colours of the pools without and with random labels, and of pairs within one noise rate."""
WITHIN = "pairs of one noise rate"
RATE = "label noise rate"
"""A control: it ranks the gap in the pools, and nothing within one noise rate."""
BLUES = ("#A6CEE3", "#4A90C2", "#0B3C6F")
MARKS = "osD^vP"
RANKS = {"interval": "yes", "value": "value only", "no": "no"}
"""Verdicts in words."""


def verdicts(result: xr.Dataset, gap: str) -> dict[str, str]:
    """Whether each measure, in order and without the control, is strong in both pools: interval, value or no."""
    names = result["verdict"].attrs["flag_meanings"].split()
    at = result["verdict"].sel(gap=gap)
    return {str(m): names[int(at.sel(measure=m))] for m in _measures(result)}


def _measures(result: xr.Dataset) -> list[str]:
    """All but the control, which is the last."""
    return [str(name) for name in result["measure"].values[:-1]]


def _control(result: xr.Dataset) -> str:
    return str(result["measure"].values[-1])


def _tau(result: xr.Dataset, measure: str, gap: str = "accuracy", *, ends: bool = True) -> list[str]:
    """Tau in each pool in words, with its interval."""
    at = result.sel(measure=measure, gap=gap)
    return [
        f"{t:.2f}" + (f" ({low:.2f} to {high:.2f})" if ends else "")
        for t, low, high in zip(at["tau"].values, at["low"].values, at["high"].values, strict=True)
    ]


class Ranking(NamedTuple):
    """Tau with the ends of its interval; NaN where there are too few models, or nothing to rank."""

    tau: float
    low: float
    high: float

    @property
    def words(self) -> str:
        return "-" if np.isnan(self.tau) else f"{self.tau:.2f} ({self.low:.2f} to {self.high:.2f})"


NONE = Ranking(np.nan, np.nan, np.nan)


def within(result: xr.Dataset, measure: str, gap: str = "accuracy") -> Ranking:
    """Over all pairs of models of the same noise rate."""
    x, y, noise = _pool(result, measure, gap)
    strata = np.unique(noise, return_inverse=True)[1]
    ends = interval(x, y, strata, within=True, draws=int(result.attrs["draws"]))
    return Ranking(tau_within(x, y, strata), *ends)


def at_rate(result: xr.Dataset, measure: str, rate: float, gap: str = "accuracy") -> Ranking:
    """Over the models of one noise rate."""
    x, y, noise = _pool(result, measure, gap)
    x, y = x[noise == rate], y[noise == rate]
    return NONE if len(x) < FEWEST else Ranking(tau(x, y), *interval(x, y, draws=int(result.attrs["draws"])))


def of_rate(result: xr.Dataset, gap: str = "accuracy") -> list[Ranking]:
    """How the noise rate itself ranks the gap, in each pool."""
    found = []
    for kept in (result["noise"].values < 1, result["noise"].values <= 1):
        noise, y = result["noise"].values[kept], result["gap_size"].sel(gap=gap).values[kept]
        strata = np.unique(noise, return_inverse=True)[1]
        found.append(Ranking(tau(noise, y), *interval(noise, y, strata, draws=int(result.attrs["draws"]))))
    return found


def _pool(result: xr.Dataset, measure: str, gap: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    at = result.sel(measure=measure, gap=gap)
    return at["value"].values, at["gap_size"].values, result["noise"].values


def caption(result: xr.Dataset) -> str:
    """What the pool is, which measures are strong in both pools, and what becomes of the others."""
    a, noise = result.attrs, result["noise"].values
    rates = ", ".join(f"{100 * rate:.3g}" for rate in np.unique(noise))
    return (
        f"{len(noise)} networks ({a['model']}, {a['seeds']} seeds of each setting) on {a['train_images']:,} images of "
        f"{a['data']} with {rates} % of the labels redrawn, {ball(a)}; {int((noise == 1).sum())} of them have random "
        f"labels. Robust training accuracy: median {_percent(np.median(result['robust_train_accuracy']))}, lowest "
        f"{_percent(result['robust_train_accuracy'].min())}. (a) Kendall's tau-b of each measure with the robust "
        f"generalization gap in accuracy, with 95 % percentile intervals from {a['draws']:,} bootstrap draws of models "
        "within each noise rate. Behind each name: the expected sign. Dotted: the size that counts as strong, "
        f"{STRONG:g}. {_answer(result)} {_stratified(result)} (b, c) The two measures with the largest |tau| without "
        "random labels."
    )


def _stratified(result: xr.Dataset) -> str:
    """What the noise rate explains, and what is left of the measures within one."""
    found = {name: within(result, name) for name in _measures(result)}
    strong = [f"{name} {each.words}" for name, each in found.items() if abs(each.tau) >= STRONG]
    left = f"strong: {'; '.join(strong)}" if strong else "no measure is strong"
    top = _largest(result, 1)[0]
    return (
        f"The noise rate alone has tau {of_rate(result)[1].words} with the gap of all models. Among pairs of models of "
        f"one noise rate (diamonds) {left}; {top} has {found[top].words} there."
    )


def _largest(result: xr.Dataset, count: int) -> list[str]:
    """The measures with the largest |tau| without random labels, largest first."""
    size = abs(result["tau"].sel(gap="accuracy", measure=_measures(result)).isel(pool=0)).fillna(0)
    return [str(m) for m in size["measure"].values[np.argsort(-size.values, kind="stable")[:count]]]


def _answer(result: xr.Dataset) -> str:
    found = verdicts(result, "accuracy")
    taus = {name: " and ".join(_tau(result, name)) for name in found}
    parts = []
    for verdict, words in (("interval", "with its whole interval"), ("value", "by its value, not its whole interval")):
        names = [f"{name}, {taus[name]}" for name, each in found.items() if each == verdict]
        if names:
            parts.append(f"{words}: {'; '.join(names)}")
    strong = f"Strong in both pools {'; '.join(parts)}." if parts else "No measure is strong in both pools."
    size = abs(result["tau"].sel(gap="accuracy", measure=_measures(result)))
    weaker = int((size.isel(pool=1) < size.isel(pool=0)).sum())
    return f"{strong} With random labels |tau| is smaller for {weaker} of {len(found)} measures."


def _percent(share: Any) -> str:
    return f"{100 * float(share):.0f} %"


def draw(result: xr.Dataset) -> Drawing:
    """Tau with intervals on the left, two measures against the gap on the right."""
    rows = [*_measures(result), _control(result)]
    fig, axes = figure(7.4, max(4.2, 0.4 * len(rows) + 1.4), ncols=2, nrows=2, width_ratios=(1.25, 1), squeeze=False)
    grid = axes[0, 0].get_gridspec()
    for ax in axes[:, 0]:
        ax.remove()
    left = fig.add_subplot(grid[:, 0])
    _draw_taus(left, result, rows)
    for letter, ax, measure in zip("bc", axes[:, 1], _largest(result, 2), strict=True):
        _draw_models(ax, result, measure)
        panel_label(ax, letter, measure)
        without, every = _tau(result, measure, ends=False)
        ax.set_xlabel(
            f"{measure}\ntau: {without} without random labels, {every} all,\n"
            f"{within(result, measure).tau:.2f} within one noise rate"
        )
    handles, names = axes[0, 1].get_legend_handles_labels()
    fig.legend(handles, names, loc="outside lower center", ncols=4)
    return fig


def _draw_taus(ax: Axes, result: xr.Dataset, rows: list[str]) -> None:
    for p, (pool, color) in enumerate(zip(result["pool"].values, POOL_COLORS[:2], strict=True)):
        at = result.sel(gap="accuracy", pool=pool, measure=rows)
        taus = [Ranking(*map(float, each)) for each in zip(at["tau"], at["low"], at["high"], strict=True)]
        _draw_series(ax, [*taus, of_rate(result)[p]], p, str(pool), color)
    _draw_series(ax, [within(result, name) for name in rows], 2, WITHIN, POOL_COLORS[2])
    ax.axvline(0, color=COLORS["neutral"], lw=0.8)
    for side in (-1, 1):
        ax.axvline(side * STRONG, color=COLORS["neutral"], lw=0.8, ls=":")
    ax.axhline(len(rows) - 1.5, color="#BBBBBB", lw=0.6)
    sign = {name: "+" if result["expected"].sel(measure=name) > 0 else "\N{MINUS SIGN}" for name in rows}
    control = rows[-1]
    labels = [f"{name} ({sign[name]})" for name in rows[:-1]] + [f"{control}\n(control)", f"{RATE}\n(control)"]
    ax.set_yticks(range(len(labels)), labels)
    ax.tick_params(axis="y", length=0)
    ax.set(
        ylim=(len(rows) + 0.6, -0.6),
        xlim=(-1, 1),
        xticks=[-1, -0.5, 0, 0.5, 1],
        xlabel="Kendall's tau with the robust gap",
    )
    ax.grid(axis="x", lw=0.4, color="#DDDDDD")
    ax.set_axisbelow(True)
    panel_label(ax, "a", "rank correlation with the gap")
    ax.legend(loc="upper center", bbox_to_anchor=(0.4, -0.11), ncols=3, columnspacing=1.0, handletextpad=0.2)


def _draw_series(ax: Axes, taus: list[Ranking], number: int, label: str, color: str) -> None:
    """Taus from top to bottom with their intervals, the series beside each other."""
    heights = np.arange(len(taus)) + 0.24 * (number - 1)
    ax.hlines(heights, [t.low for t in taus], [t.high for t in taus], color=color, lw=1.2)
    ax.plot([t.tau for t in taus], heights, "osD"[number], color=color, ms=(4, 4, 3.5)[number], label=label)


def _draw_models(ax: Axes, result: xr.Dataset, measure: str) -> None:
    """Models as dots coloured by label noise, a mark for each objective."""
    x, y = result["value"].sel(measure=measure).values, result["gap_size"].sel(gap="accuracy").values
    noise, objective = result["noise"].values, result["objective"].values
    rates, kinds = np.unique(noise), list(dict.fromkeys(map(str, objective)))
    for k, rate in enumerate(rates):
        color = COLORS["robust"] if rate == 1 else BLUES[min(k, 2)]
        ax.plot([], [], "o", color=color, ms=4, label=labels_redrawn(float(rate)))
        for mark, kind in zip(MARKS, kinds, strict=False):
            at = (noise == rate) & (objective == kind)
            ax.plot(x[at], y[at], mark, color=color, ms=3.4, alpha=0.85, mew=0)
    for mark, kind in zip(MARKS, kinds, strict=False):
        ax.plot([], [], mark, color=COLORS["neutral"], ms=4, label=OBJECTIVE_WORDS.get(kind, kind))
    if x.min() > 0 and x.max() > 100 * x.min():
        ax.set_xscale("log")
    ax.set_ylabel("robust gap (points)")
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, symbol="", decimals=0))
    ax.grid(lw=0.4, color="#DDDDDD")
    ax.set_axisbelow(True)


def numbers(result: xr.Dataset) -> tuple[list[str], list[list[Any]]]:
    """A row for each gap, pool and measure, also within one noise rate and of the rate; then one for each model."""
    header = ["what", "gap", "pool", "measure", "tau", "low", "high", "objective", "width", "noise", "seed", "value"]
    taus = result[["tau", "low", "high"]].to_dataframe().reset_index()
    rows: list[list[Any]] = [
        ["tau", *each, "", "", "", "", ""]
        for each in taus[["gap", "pool", "measure", "tau", "low", "high"]].values.tolist()
    ]
    for gap in map(str, result["gap"].values):
        names = list(map(str, result["measure"].values))
        found = [(WITHIN, name, within(result, name, gap)) for name in names]
        found += [
            (labels_redrawn(rate), name, at_rate(result, name, rate, gap)) for rate in _rates(result) for name in names
        ]
        found += [(str(p), RATE, each) for p, each in zip(result["pool"].values, of_rate(result, gap), strict=True)]
        rows += [["tau", gap, pool, name, *each, "", "", "", "", ""] for pool, name, each in found]
    about = [result[name].values.tolist() for name in ("objective", "width", "noise", "seed")]
    gaps = {f"{gap} gap": result["gap_size"].sel(gap=gap).values for gap in result["gap"].values}
    values = {str(m): result["value"].sel(measure=m).values for m in result["measure"].values}
    for name, each in (gaps | values).items():
        rows += [["model", "", "", name, "", "", "", *row] for row in zip(*about, each.tolist(), strict=True)]
    return header, rows


def _rates(result: xr.Dataset) -> list[float]:
    return [float(rate) for rate in np.unique(result["noise"].values)]


def table(result: xr.Dataset) -> Table:
    """Every measure and the control, for both gaps."""
    rows = []
    for gap in map(str, result["gap"].values):
        found = verdicts(result, gap)
        for name in map(str, result["measure"].values):
            expected = int(result["expected"].sel(measure=name))
            taus = result["tau"].sel(gap=gap, measure=name).values
            words = RANKS[found[name]] if name in found else "control"
            if found.get(name, "no") != "no" and expected * taus[0] < 0:
                words += ", against the expected sign"
            sign = ("+" if expected > 0 else "-") if name in found else ""
            inside = [within(result, name, gap), *(at_rate(result, name, rate, gap) for rate in _rates(result))]
            rows.append((gap, name, sign, *_tau(result, name, gap), *(each.words for each in inside), words))
        missing = [""] * (1 + len(_rates(result)))
        rows.append((gap, RATE, "", *(each.words for each in of_rate(result, gap)), *missing, "control"))
    kept = [int((result["noise"] < 1).sum()), result.sizes["model"]]
    return Table(
        f"Kendall's tau-b with the robust generalization gap, and its 95 % bootstrap interval over models within each "
        f"noise rate ({result.attrs['draws']:,} draws). Strong in both pools: |tau| of {STRONG:g} or more with one "
        "sign, by the whole interval of both (yes) or by tau only (value only).",
        header=(
            "gap", "measure", "expected sign",
            *(f"{pool} ({count})" for pool, count in zip(result["pool"].values, kept, strict=True)),
            WITHIN,
            *(f"{labels_redrawn(rate)} ({int((result['noise'] == rate).sum())})" for rate in _rates(result)),
            "strong in both",
        ),
        rows=rows,
        notes=(
            "Robust training accuracy is a part of the gap and no complexity: a control for how far models fit.",
            "The noise rate ranks the gap by itself, so that a measure that only follows the noise rate ranks it in "
            "the pools, too. What a measure adds is seen in pairs of models of one noise rate, and at each rate "
            f"(-: fewer than {FEWEST} models, or nothing to rank).",
        ),
    )  # fmt: skip


FIGURE = Figure(
    "Complexity measures and the robust generalization gap",
    experiment="complexity-measures",
    needs={
        "gap pool measure": "tau low high",
        "gap measure": "verdict",
        "measure model": "value",
        "gap model": "gap_size",
        "model": "objective width noise seed robust_train_accuracy",
        "measure": "measure expected",
        "gap": "gap",
        "pool": "pool",
    },
    attributes="data model radius train_images seeds draws",
    draw=draw,
    caption=caption,
    numbers=numbers,
    table=table,
    order=4,
)
