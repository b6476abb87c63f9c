"""Figure: robust accuracy of teachers and of networks that teach themselves, by the entropy of their targets."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from cgro.dynamics.two_features import COLLAPSED
from cgro.plots.figure import Figure, Table
from cgro.plots.style import COLORS, SERIES, figure, panel_label, percent_axis, proportions
from cgro.plots.words import FEWEST, mean_interval, points

TEACHERS, LABELS = "#000000", SERIES[1]
STARTS = (SERIES[0], SERIES[2], SERIES[3], SERIES[4], SERIES[5])
"""Colours of starts, over and over."""
SHAPES = ("v", "D", "s", "^", "P")
FULL = {"ms": 5.0, "mew": 0.7, "mec": "white"}
NEAR = 5.0
"""Points within which a self-taught network ends where the teachers' curve is."""


def final(result: xr.Dataset, part: str = "test", criterion: str = "robust") -> xr.DataArray:
    """Accuracy after the last step (arm, seed)."""
    return result["accuracy"].sel(part=part, criterion=criterion).isel(step=-1)


def entropies(result: xr.Dataset, kind: str = "unlearnable") -> xr.DataArray:
    """Entropy of the targets after the last step in nats (arm, seed)."""
    return result["target_entropy"].sel(kind=kind).isel(step=-1)


def averaged(result: xr.Dataset) -> xr.DataArray:
    """Entropy of the targets of unlearnable samples, averaged over training by trapezoids, in nats (arm, seed)."""
    at = result["target_entropy"].sel(kind="unlearnable")
    return at.integrate("step") / float(at["step"][-1] - at["step"][0])


def off_curve(result: xr.Dataset, arm: str, entropy: xr.DataArray) -> np.ndarray:
    """Robust test accuracy of an arm minus that of the teachers at the same entropy, in points, for each seed.

    The teachers' accuracies of the same seed are interpolated linearly in their entropy; labels are a teacher of
    entropy 0. Seeds without unlearnable samples are left out.
    """
    taught = result["training"].isin(["labels", "teacher"]).values
    at, found = 100 * final(result), []
    for seed in result["seed"].values:
        x, y = (values.sel(seed=seed).values[taught] for values in (entropies(result), at))
        order = np.argsort(x)
        expected = np.interp(float(entropy.sel(arm=arm, seed=seed)), x[order], y[order])
        found.append(float(at.sel(arm=arm, seed=seed)) - expected)
    return np.array([value for value in found if np.isfinite(value)])


def place(differences: np.ndarray) -> str:
    """Where the whole 95 % t interval of the mean difference lies: on the curve is within NEAR points of it."""
    if len(differences) < FEWEST:
        return f"needs {FEWEST} seeds"
    mean, half = mean_interval(differences)
    if abs(mean) + half <= NEAR:
        return "on the curve"
    return "below" if mean + half < 0 else "above" if mean - half > 0 else "undecided"


def collapsed(result: xr.Dataset, arm: str) -> int:
    """Runs whose robust test accuracy ended below one half."""
    return int((final(result).sel(arm=arm) < COLLAPSED).sum())


def words(result: xr.Dataset, arm: str) -> str:
    """An arm in words."""
    own = result.sel(arm=arm)
    return {
        "labels": "labels",
        "teacher": f"teacher, margin {float(own['margin']):g}",
        "self": f"itself, momentum {float(own['momentum']):g} from step {float(own['start']):,.0f}",
    }[str(own["training"].values)]


def groups(result: xr.Dataset) -> list[tuple[str, list[str], dict[str, Any]]]:
    """Words, arms and looks of the labels, the teachers, and networks that teach themselves from each start."""
    training, start = result["training"].values, result["start"].values
    names = result["arm"].values
    found = [
        ("labels", "adversarial training", {"color": LABELS, "marker": "o", "mfc": "none", "ms": 8.5, "zorder": 4}),
        (
            "teacher",
            "teachers, ignorant to confident",
            {"color": TEACHERS, "marker": "o", "ls": "-", "lw": 1.2, **FULL},
        ),
    ]
    rows = [(text, names[training == kind].tolist(), look) for kind, text, look in found]
    for k, step in enumerate(np.unique(start[training == "self"])):
        look = {"color": STARTS[k % len(STARTS)], "marker": SHAPES[k % len(SHAPES)], "ls": ":", "lw": 0.8, **FULL}
        rows.append((f"own teacher from step {step:,.0f}", names[start == step].tolist(), look))
    return [row for row in rows if row[1]]


def shown(result: xr.Dataset) -> list[tuple[str, dict[str, Any]]]:
    """Arms whose course is drawn: labels, the most ignorant teacher, and the middle momentum of each start."""
    found = []
    for _, arms, look in groups(result):
        kind = str(result["training"].sel(arm=arms[0]).values)
        found.append((arms[len(arms) // 2] if kind == "self" else arms[0], look))
    return found


def caption(result: xr.Dataset) -> str:
    """What was trained, and where networks that teach themselves end."""
    a, seeds, at = result.attrs, result.sizes["seed"], entropies(result)
    middle = {f"{float(result['momentum'].sel(arm=arm)):g}" for arm, _ in shown(result)} - {"nan"}
    counts, where = [], []
    for text, arms, _ in groups(result):
        counts.append(f"{text} {', '.join(str(collapsed(result, arm)) for arm in arms)}")
        if text.startswith("own"):
            where.append(f"{text} {', '.join(place(off_curve(result, arm, at)) for arm in arms)}")
    return (
        f"Patch data of which a fraction {a['unlearnable']:g} carries a robust feature that the network cannot see "
        f"(N = {a['samples']}, d = {a['dim']}, {a['patches']} patches, rho = {a['radius_ratio']:g}), adversarially "
        f"trained by SGD on single samples to step {int(result['step'][-1]):,}: on labels, on targets of a teacher "
        f"(margin {a['learnable_margin']:g} on learnable samples), or with the network as its own teacher, on running "
        "means of its clean predictions that begin at the label (temporal ensembling). (a) Accuracy on fresh samples "
        "under l_inf PGD on the whole input against the mean entropy of the targets of unlearnable training samples, "
        "both after the last step: seeds (small) and medians (large). The larger the momentum, the further left. The "
        f"dotted vertical is log 2. (b) Share of {seeds} runs that end below 50 %, with exact 95 % intervals, at the "
        f"median entropy. Runs in order of margin and momentum: {'; '.join(counts)}. (c) The accuracy of (a) during "
        "training, median and quartiles, and (d) mean entropy of the targets of unlearnable (solid) and learnable "
        f"(dashed) samples: labels, the most ignorant teacher, and momentum {', '.join(sorted(middle)) or '-'}. "
        f"Against teachers of the same entropy at the end, in order of momentum: {'; '.join(where)}. 'On the curve' is "
        f"within {NEAR:g} points of the teachers, by the whole 95 % t interval over seeds."
    )


def draw(result: xr.Dataset) -> Drawing:
    """Ends against entropy above, the course of training below."""
    fig, axes = figure(7.2, 5.6, ncols=2, nrows=2)
    _draw_ends(axes[0, 0], result)
    _draw_collapsed(axes[0, 1], result)
    _draw_course(axes[1, 0], result["accuracy"].sel(part="test", criterion="robust"), shown(result), "-")
    for kind, style in (("unlearnable", "-"), ("learnable", "--")):
        _draw_course(axes[1, 1], result["target_entropy"].sel(kind=kind), shown(result), style)
    titles = (
        "robust accuracy at the end", "runs that collapse", "robust accuracy in training",
        "entropy in training (dashed: learnable)",
    )  # fmt: skip
    for ax, letter, title in zip(axes.ravel(), "abcd", titles, strict=True):
        panel_label(ax, letter, title)
    for ax in axes[0]:
        ax.set_xlabel("target entropy on unlearnable samples (nats)")
    percent_axis(axes[0, 0], "robust test accuracy (%)")
    percent_axis(axes[0, 1], "collapsed runs (%)")
    percent_axis(axes[1, 0], "robust test accuracy (%)")
    axes[1, 1].set_ylabel("target entropy (nats)")
    for ax in axes.ravel()[[0, 1, 3]]:
        _mark_log_two(ax, horizontal=ax is axes[1, 1])
    handles, texts = axes[0, 1].get_legend_handles_labels()
    fig.legend(handles, texts, loc="outside lower center", ncols=3)
    return fig


def _mark_log_two(ax: Axes, horizontal: bool) -> None:
    """The entropy of a coin toss, the largest."""
    line = ax.axhline if horizontal else ax.axvline
    line(np.log(2), color=COLORS["neutral"], lw=0.6, ls=":", zorder=0)


def _draw_ends(ax: Axes, result: xr.Dataset) -> None:
    x, y = entropies(result), final(result)
    for _, arms, look in groups(result):
        mine, ends = x.sel(arm=arms), y.sel(arm=arms)
        ax.plot(mine.values.ravel(), ends.values.ravel(), look["marker"], ms=2.2, color=look["color"], alpha=0.3, mew=0)
        ax.plot(mine.median("seed"), ends.median("seed"), **look)


def _draw_collapsed(ax: Axes, result: xr.Dataset) -> None:
    x, seeds = entropies(result).median("seed"), result.sizes["seed"]
    for text, arms, look in groups(result):
        counts = [collapsed(result, arm) for arm in arms]
        proportions(ax, x.sel(arm=arms), counts, [seeds] * len(counts), elinewidth=0.7, label=text, **look)


def _draw_course(ax: Axes, values: xr.DataArray, arms: list[tuple[str, dict[str, Any]]], style: str) -> None:
    for arm, look in arms:
        low, middle, high = np.nanquantile(values.sel(arm=arm).transpose("seed", "step"), [0.25, 0.5, 0.75], axis=0)
        ax.plot(values["step"], middle, style, color=look["color"], lw=1.3)
        ax.fill_between(values["step"], low, high, color=look["color"], alpha=0.15, lw=0)
    ax.set_xlim(0, int(values["step"][-1]))
    ax.set_xlabel("training time (steps)")


def numbers(result: xr.Dataset) -> tuple[list[str], list[list[Any]]]:
    """A row for each arm, seed and step, with all accuracies, the memorized noise and the entropies of the targets."""
    columns = {
        f"{criterion}_{part}": result["accuracy"].sel(part=part, criterion=criterion)
        for part in result["part"].values
        for criterion in result["criterion"].values
    } | {f"{name}_{kind}": result[name].sel(kind=kind) for name in ("memorized", "target_entropy")
         for kind in result["kind"].values}  # fmt: skip
    named = {name: each.reset_coords(drop=True) for name, each in columns.items()}
    flat = xr.Dataset(named).to_dataframe(["arm", "seed", "step"])
    flat = flat.round(6).reset_index()
    return list(flat.columns), flat.values.tolist()


def table(result: xr.Dataset) -> Table:
    """End states, and the distance to teachers of the same entropy."""
    rows = []
    for arm in map(str, result["arm"].values):
        robust = 100 * final(result).sel(arm=arm).values
        entropy, doubt = (float(entropies(result, kind).sel(arm=arm).median()) for kind in ("unlearnable", "learnable"))
        own = str(result["training"].sel(arm=arm).values) == "self"
        at_end, on_average = (off_curve(result, arm, by) for by in (entropies(result), averaged(result)))
        rows.append(
            (
                words(result, arm), f"{entropy:.3f}", f"{doubt:.3f}", f"{np.median(robust):.0f}",
                f"{robust.min():.0f} to {robust.max():.0f}", f"{collapsed(result, arm)} of {len(robust)}",
                points(at_end) if own else "-", points(on_average) if own else "-", place(at_end) if own else "-",
            )
        )  # fmt: skip
    return Table(
        "Entropy of the targets and robust accuracy in % after the last step, medians over seeds; how many runs "
        "collapsed; and robust accuracy minus that of teachers of the same entropy, in points.",
        (
            "targets by", "entropy, unlearnable", "entropy, learnable", "robust test", "range", "collapsed",
            "same entropy at the end", "same mean entropy", "where",
        ),
        rows,
        (
            "Teachers are interpolated in their entropy, seed by seed: mean and 95 % t interval. 'Mean entropy' is "
            "averaged over training.",
            f"'On the curve': the interval is within {NEAR:g} points of the teachers, at the entropy of the end.",
        ),
    )  # fmt: skip


FIGURE = Figure(
    "Distillation by the entropy of targets",
    "distillation",
    {
        "arm seed step part criterion": "accuracy", "arm seed step kind": "memorized target_entropy",
        "arm": "arm training margin momentum start", "seed": "seed", "step": "step", "part": "part",
        "criterion": "criterion", "kind": "kind",
    },
    draw,
    caption,
    numbers,
    attributes="samples dim patches radius_ratio unlearnable learnable_margin",
    table=table,
    order=13,
)  # fmt: skip
