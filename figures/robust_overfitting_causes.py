"""Causes of robust overfitting: ranks of losses, what is lost without hard images and with label noise, and when."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import PercentFormatter

from cgro.plots.figure import Figure, Table
from cgro.plots.style import COLORS, band, figure, panel_label
from cgro.plots.words import FEWEST, ball, mean_interval, method, sign_verdict, with_noise

AMONG = {"all": "all images", "right": "rightly labelled images"}
LOOKS: dict[str, dict[str, Any]] = {"all": {}, "right": {"mfc": "white"}}
RULE_COLORS = {"hardest": COLORS["robust"], "random": COLORS["neutral"]}
HALF_COLORS = {"easy": COLORS["clean"], "hard": COLORS["robust"]}

COORDINATES = "pair group run seed noise pool rule fraction checkpoint attack schedule half update_epoch"


def lost(accuracy: xr.DataArray) -> xr.DataArray:
    """Best minus last accuracy in points, under the strongest attack of the result."""
    at = 100 * accuracy.isel(attack=-1)
    return at.sel(checkpoint="best") - at.sel(checkpoint="last")


def spared(result: xr.Dataset) -> xr.DataArray:
    """How many points less are lost without the hardest images than without random ones (pool, fraction, seed)."""
    at = lost(result["accuracy_removed"])
    return at.sel(rule="random", drop=True) - at.sel(rule="hardest", drop=True)


def slope(result: xr.Dataset) -> np.ndarray:
    """Least-squares slope of the points lost against label noise, for each seed, in points per 10 % of labels."""
    rates = result["noise"].values
    found: np.ndarray = np.polyfit(rates, lost(result["accuracy_noise"]).transpose("noise", "seed").values, 1)[0] / 10
    return found


def late(result: xr.Dataset, schedule: str, half: str = "hard") -> np.ndarray:
    """What a half of the images gains after the first drop minus what it has there (seed), in points."""
    at = 100 * result["half_fitted"].sel(schedule=schedule, half=half)
    end = at.isel(update_epoch=-1)
    return (end - 2 * at.sel(update_epoch=int(result.attrs["first_drop"]))).values


def words(values: Any, digits: int = 1) -> str:
    """Mean and t interval over seeds, or all values where there are too few for one."""
    values = np.asarray(values, dtype=float)
    if len(values) < FEWEST:
        return ", ".join(f"{value:.{digits}f}" for value in values)
    mean, half = mean_interval(values)
    return f"{mean:.{digits}f} ± {half:.{digits}f}"


def caption(result: xr.Dataset) -> str:
    """What was trained, and the numbers of each panel."""
    a, seeds = result.attrs, result.sizes["seed"]
    attack = str(result["attack"].values[-1])
    judge = f"the strong ensemble on {a['judged_images']:,} test images" if attack == "ensemble" else "PGD"
    tau = {pair: words(result["tau"].sel(pair=pair, group="all"), 2) for pair in result["pair"].values}
    right = words(result["tau"].sel(pair="other seed", group="right"), 2)
    largest = float(result["fraction"].values[-1])
    removals = "; ".join(
        f"{words(spared(result).sel(pool=pool, fraction=largest))} among {AMONG[pool]}"
        for pool in result["pool"].values
    )
    mean = (
        f"means over {seeds} seeds with 95 % t intervals" if seeds >= FEWEST else f"{seeds} seeds, one number for each"
    )
    return (
        f"{method(a)} of {a['model']} (width {a['width']:g}) on {a['train_images']:,} images of {a['data']}"
        f"{with_noise(a)}, "
        f"{ball(a)}, {a['epochs']} epochs; {mean}. (a) Adversarial losses of the training "
        f"images, averaged over the {a['first_drop']} epochs before the first drop of the learning rate, in two runs "
        f"with different weights and order (first seed). Kendall's tau-b: {tau['other seed']}, and {right} among "
        f"rightly labelled images; with {a['other_model']} of width {a['other_width']:g} {tau['other network']}. "
        f"(b) Best minus last accuracy under {judge}, after training without the hardest images by these losses or "
        f"without random ones of the same classes. Points fewer lost without the hardest {100 * largest:.0f} % than "
        f"without random ones: {removals}. (c) The same against label noise; dots are seeds. Slope: "
        f"{words(slope(result))} points for each 10 % of labels. (d) Perturbed training images that get their label, "
        f"in the halves that are easy and hard for another run, with drops of the rate (solid; dotted line: the first "
        f"drop) and without (dashed); bands: minimum to maximum over seeds."
    )


def draw(result: xr.Dataset) -> Drawing:
    """Four panels."""
    fig, axes = figure(7.2, 5.6, ncols=2, nrows=2)
    ranks, removal, noise, halves = axes.ravel()
    _draw_ranks(ranks, result)
    _draw_removal(removal, result)
    _draw_noise(noise, result)
    _draw_halves(halves, result)
    for ax in (removal, noise):
        ax.axhline(0, color=COLORS["neutral"], lw=0.6)
        ax.set_ylabel("best minus last (points)")
    panel_label(ranks, "a", "two runs rank the losses")
    panel_label(removal, "b", "without some of the images")
    panel_label(noise, "c", "label noise")
    panel_label(halves, "d", "when images are fitted")
    for ax in axes.ravel():
        ax.set_axisbelow(True)
        ax.grid(axis="y", lw=0.4, color="#DDDDDD")
    return fig


def _draw_ranks(ax: Axes, result: xr.Dataset) -> None:
    first, other = (result["loss"].isel(seed=0).sel(run=name).values for name in ("first", "other seed"))
    wrong = result["wrong"].isel(seed=0).values.astype(bool)
    size = float(np.clip(2500 / len(first), 0.2, 9))
    for which, color, label in (
        (~wrong, COLORS["clean"], "right label"),
        (wrong, COLORS["noise"], "wrong label"),
    ):
        if which.any():
            ax.scatter(first[which], other[which], s=size, color=color, alpha=0.7, lw=0, label=label)
    ends = (0, 1.04 * float(max(first.max(), other.max())))
    ax.plot(ends, ends, color=COLORS["neutral"], lw=0.6)
    ax.set(xlim=ends, ylim=ends, xlabel="loss in the first run (nat)", ylabel="loss in another run (nat)")
    ax.legend(loc="upper left", markerscale=1.5, handletextpad=0.2)


def _draw_removal(ax: Axes, result: xr.Dataset) -> None:
    removed, fractions = lost(result["accuracy_removed"]), result["fraction"].values
    baseline, places = lost(result["accuracy"]).values, np.arange(1, 1 + len(fractions))
    series = [(pool, rule) for pool in result["pool"].values for rule in result["rule"].values]
    for k, (pool, rule) in enumerate(series):
        values = removed.sel(pool=pool, rule=rule).transpose("seed", "fraction").values
        x = places + 0.18 * (k - (len(series) - 1) / 2)
        label = f"{rule}" + ("" if len(result["pool"]) == 1 else f", of {AMONG[pool].removesuffix(' images')}")
        _bars(ax, x, values, RULE_COLORS[rule], label=label, ls="", **LOOKS[pool])
    _bars(ax, np.zeros(1), baseline[:, None], COLORS["signal"], ls="")
    for k in range(0, 1 + len(fractions), 2):  # a group of marks for each fraction
        ax.axvspan(k - 0.5, k + 0.5, color="#F2F2F2", lw=0, zorder=0)
    ax.set(xlabel="training images left out (%)", xlim=(-0.5, len(fractions) + 0.5))
    ax.tick_params(axis="x", length=0)
    ax.set_xticks([0, *places], [f"{100 * f:.0f}" for f in (0, *fractions)])
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.25 * (high - low))  # room for the key
    ax.legend(loc="upper center", handlelength=1.2, ncols=2, columnspacing=1.0)


def _bars(ax: Axes, x: np.ndarray, values: np.ndarray, color: str, **look: Any) -> None:
    """Means over seeds (axis 0) with their t intervals, or from the lowest to the highest where there are few."""
    mean = values.mean(axis=0)
    ends = np.array([mean - values.min(axis=0), values.max(axis=0) - mean])
    if len(values) >= FEWEST:
        ends = np.array([mean_interval(column)[1] for column in values.T])[None].repeat(2, axis=0)
    style: dict[str, Any] = {"marker": "o", "ms": 4, "lw": 1.1, "elinewidth": 0.9, "capsize": 0} | look
    ax.errorbar(x, mean, yerr=ends, color=color, **style)


def _draw_noise(ax: Axes, result: xr.Dataset) -> None:
    rates, values = result["noise"].values, lost(result["accuracy_noise"]).transpose("seed", "noise").values
    for row in values:
        ax.plot(rates, row, ".", color=COLORS["robust"], alpha=0.4, ms=4)
    _bars(ax, rates, values, COLORS["robust"])
    ax.set(xlabel="training labels redrawn (%)")
    ax.set_xticks(rates, [f"{100 * rate:.0f}" for rate in rates])


def _draw_halves(ax: Axes, result: xr.Dataset) -> None:
    epoch = result["update_epoch"].values
    for half, color in HALF_COLORS.items():
        for schedule, style in (("with drops", "-"), ("constant", "--")):
            values = result["half_fitted"].sel(half=half, schedule=schedule).transpose("seed", "update_epoch").values
            label = f"{half} half" if style == "-" else f"{half} half, no drop"
            band(ax, epoch, values, color, label=label, ls=style)
    ax.axvline(float(result.attrs["first_drop"]) + 0.5, color=COLORS["neutral"], lw=0.8, ls=":")
    ax.set(xlim=(1, epoch[-1]), ylim=(0, 1.28), xlabel="training time (epochs)", ylabel="fitted (% of images)")
    ax.set_yticks(np.linspace(0, 1, 6))
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, symbol="", decimals=0))
    ax.legend(loc="upper center", ncols=2)


def numbers(result: xr.Dataset) -> tuple[list[str], list[list[Any]]]:
    """A row for each quantity, case, value of its axis and seed."""
    rows: list[list[Any]] = []

    def add(quantity: str, values: xr.DataArray, of: tuple[str, ...], along: str = "") -> None:
        flat = values.rename("value").to_dataframe().reset_index()
        for row in flat.to_dict("records"):
            case = ", ".join(str(row[name]) for name in of)
            rows.append([quantity, case, float(row[along]) if along else "", int(row["seed"]), float(row["value"])])

    add("tau", result["tau"], ("pair", "group"))
    add("auc of wrong labels", result["auc"], (), "noise")
    add("points lost", lost(result["accuracy"]), ())
    for name in ("best", "last"):
        kept = result["accuracy_removed"].isel(attack=-1).sel(checkpoint=name, drop=True)
        add(f"{name} accuracy without images", kept, ("pool", "rule"), "fraction")
    add("points lost without images", lost(result["accuracy_removed"]), ("pool", "rule"), "fraction")
    add("wrong labels left out", result["wrong_removed"], ("pool", "rule"), "fraction")
    add("points lost with label noise", lost(result["accuracy_noise"]), (), "noise")
    add("fitted", result["half_fitted"], ("schedule", "half"), "update_epoch")
    return ["quantity", "case", "at", "seed", "value"], rows


def table(result: xr.Dataset) -> Table:
    """Each part of the claim with its control."""
    rows: list[tuple[str, ...]] = [*_rank_rows(result), *_removal_rows(result), *_other_rows(result)]
    return Table(
        f"What is said to cause robust overfitting, over {result.sizes['seed']} seeds with 95 % t intervals. A verdict "
        "is yes or no if the whole interval of the difference, paired by seed, is above or below 0.",
        header=("question", "measured", "control", "difference", "verdict"),
        rows=rows,
    )


def _rank_rows(result: xr.Dataset) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for pair in map(str, result["pair"].values):
        for group in map(str, result["group"].values):
            values = result["tau"].sel(pair=pair, group=group).values
            if np.isfinite(values).all():
                question = f"{pair}: losses of {AMONG[group]} are ranked alike (tau-b)"
                rows.append((question, words(values, 2), "0 by chance", words(values, 2), sign_verdict(values)))
    for rate in result["noise"].values:
        values = result["auc"].sel(noise=rate).values
        if np.isfinite(values).all():
            question = f"wrong labels have larger losses (AUC, {100 * rate:.0f} % redrawn)"
            rows.append(
                (question, words(values, 2), "0.5 by chance", words(values - 0.5, 2), sign_verdict(values - 0.5))
            )
    return rows


def _removal_rows(result: xr.Dataset) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    removed, gained = lost(result["accuracy_removed"]), spared(result)
    best = 100 * result["accuracy_removed"].isel(attack=-1).sel(checkpoint="best")
    for pool in map(str, result["pool"].values):
        for fraction in result["fraction"].values:
            where = {"pool": pool, "fraction": fraction}
            difference = gained.sel(where).values
            name = f"the hardest {100 * fraction:.0f} % of {AMONG[pool]}"
            pair = [words(removed.sel(where | {"rule": rule})) for rule in ("hardest", "random")]
            rows.append((f"less is lost without {name} than without random ones", *pair, words(difference),
                         sign_verdict(difference)))  # fmt: skip
            at = [best.sel(where | {"rule": rule}).values for rule in ("hardest", "random")]
            rows.append((f"the best checkpoint is better without {name}", words(at[0]), words(at[1]),
                         words(at[0] - at[1]), sign_verdict(at[0] - at[1])))  # fmt: skip
    return rows


def _other_rows(result: xr.Dataset) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    if result.sizes["noise"] > 1:
        values, ends = slope(result), lost(result["accuracy_noise"]).isel(noise=[-1, 0]).transpose("noise", "seed")
        rows.append(("more label noise costs more (points; slope for each 10 %)", *map(words, ends.values),
                     words(values), sign_verdict(values)))  # fmt: skip
    at = 100 * result["half_fitted"].sel(half="hard")
    drop = at.sel(update_epoch=int(result.attrs["first_drop"]), schedule="with drops").values
    end, constant = (at.isel(update_epoch=-1).sel(schedule=name).values for name in ("with drops", "constant"))
    rows.append(("hard half: more is fitted after the first drop than before (% at the end, at the drop)", words(end),
                 words(drop), words(late(result, "with drops")), sign_verdict(late(result, "with drops"))))  # fmt: skip
    rows.append(("hard half: drops fit more of it than a constant rate (% at the end)", words(end), words(constant),
                 words(end - constant), sign_verdict(end - constant)))  # fmt: skip
    return rows


FIGURE = Figure(
    "Causes of robust overfitting",
    experiment="robust-overfitting-causes",
    needs={
        "pair group seed": "tau",
        "run seed image": "loss",
        "seed image": "wrong",
        "noise seed": "auc",
        "seed checkpoint attack": "accuracy",
        "pool rule fraction seed checkpoint attack": "accuracy_removed",
        "pool rule fraction seed": "wrong_removed",
        "noise seed checkpoint attack": "accuracy_noise",
        "schedule half seed update_epoch": "half_fitted",
        **{name: name for name in COORDINATES.split()},
    },
    attributes="data model width radius label_noise train_images epochs first_drop judged_images other_model "
    "other_width",
    draw=draw,
    caption=caption,
    numbers=numbers,
    table=table,
    order=4,
)
