"""Figure: robust accuracy with unlearnable samples, by adversarial training and by distillation from two teachers."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from cgro.dynamics.two_features import COLLAPSED
from cgro.plots.figure import Figure, Table
from cgro.plots.style import COLORS, SERIES, band, figure, panel_label, percent_axis, proportions

WORDS = {"none": "adversarial training", "confident": "confident teacher", "ignorant": "ignorant teacher"}
THICK = {"none": 0.7, "confident": 1.8, "ignorant": 0.7}
"""Widths of lines, so that adversarial training shows on top of a confident teacher, which does the same."""
TEACHER_COLORS = {"none": SERIES[1], "confident": SERIES[3], "ignorant": SERIES[2]}
KIND_LOOKS: dict[str, dict[str, Any]] = {"unlearnable": {"ls": "-"}, "learnable": {"ls": "--"}}


def final(result: xr.Dataset, part: str = "test", criterion: str = "robust") -> xr.DataArray:
    """Accuracy after the last step (teacher, fraction, seed)."""
    return result["accuracy"].sel(part=part, criterion=criterion).isel(step=-1)


def shown(result: xr.Dataset) -> float:
    """The fraction whose curves are drawn: the largest with samples of both kinds, if any."""
    mixed = [float(value) for value in result["fraction"].values if 0 < value < 1]
    return max(mixed, default=float(result["fraction"].values[-1]))


def collapsed(result: xr.Dataset, teacher: str, fraction: float) -> int:
    """Runs whose robust test accuracy ended below one half."""
    return int((final(result).sel(teacher=teacher, fraction=fraction) < COLLAPSED).sum())


def caption(result: xr.Dataset) -> str:
    """What was trained, and how many runs collapsed."""
    a, seeds, at = result.attrs, result.sizes["seed"], shown(result)
    counts = "; ".join(
        f"{WORDS[teacher]} "
        + ", ".join(f"{collapsed(result, teacher, p)} of {seeds} at {p:g}" for p in result["fraction"].values)
        for teacher in map(str, result["teacher"].values)
    )
    return (
        "Patch data of which a fraction p_un carries a robust feature that the network cannot see "
        f"(N = {a['samples']}, d = {a['dim']}, {a['patches']} patches, rho = {a['radius_ratio']:g}), trained by SGD on "
        f"single samples to step {int(result['step'][-1]):,}. (a) Accuracy on fresh samples under l_inf PGD on the "
        "whole input: each seed, "
        f"and the median. (b) Share of {seeds} runs that end below 50 %, with exact 95 % intervals: {counts}. (c) The "
        f"same accuracy of each seed during training at p_un = {at:g}. (d) Mean memorized noise of training samples "
        "with (dashed) and without (solid) the feature that the network sees, mean and range over seeds."
    )


def draw(result: xr.Dataset) -> Drawing:
    """End states above, the course of training below."""
    fig, axes = figure(7.0, 4.9, ncols=2, nrows=2)
    teachers = [str(name) for name in result["teacher"].values]
    _draw_ends(axes[0, 0], result, teachers)
    _draw_collapsed(axes[0, 1], result, teachers)
    _draw_courses(axes[1, 0], result, teachers)
    _draw_memorized(axes[1, 1], result, teachers)
    at = f"p_un = {shown(result):g}"
    for ax, letter, title in zip(
        axes.ravel(),
        "abcd",
        ("robust accuracy at the end", "runs that collapse", f"during training, {at}", f"memorized noise, {at}"),
        strict=True,
    ):
        panel_label(ax, letter, title)
    handles, words = axes[0, 1].get_legend_handles_labels()
    fig.legend(handles, words, loc="outside lower center", ncols=3)
    return fig


def _draw_ends(ax: Axes, result: xr.Dataset, teachers: list[str]) -> None:
    at, fractions = final(result), result["fraction"].values
    gap = np.diff(fractions).min() if len(fractions) > 1 else 1.0
    for k, teacher in enumerate(teachers):
        color, own = TEACHER_COLORS[teacher], at.sel(teacher=teacher)
        x = fractions + 0.24 * gap * (k - (len(teachers) - 1) / 2)
        spread = 0.09 * gap * np.linspace(-1, 1, own.sizes["seed"])
        ax.plot((x[:, None] + spread).ravel(), own.transpose("fraction", "seed").values.ravel(), ".", ms=4, color=color,
                alpha=0.55, mew=0)  # fmt: skip
        ax.plot(x, own.median("seed").values, "_", ms=11, mew=1.6, color=color)
    ax.set_xticks(fractions)
    ax.set_xlabel("fraction of unlearnable samples, p_un")
    percent_axis(ax, "robust test accuracy (%)")


def _draw_collapsed(ax: Axes, result: xr.Dataset, teachers: list[str]) -> None:
    fractions, seeds = result["fraction"].values, result.sizes["seed"]
    gap = np.diff(fractions).min() if len(fractions) > 1 else 1.0
    for k, teacher in enumerate(teachers):
        counts = [collapsed(result, teacher, p) for p in fractions]
        x = fractions + 0.05 * gap * (k - (len(teachers) - 1) / 2)
        proportions(ax, x, counts, [seeds] * len(counts), fmt="o-", ms=3.5, lw=1.2, elinewidth=0.8,
                    color=TEACHER_COLORS[teacher], label=WORDS[teacher])  # fmt: skip
    ax.set_xticks(fractions)
    ax.set_xlabel("fraction of unlearnable samples, p_un")
    percent_axis(ax, "collapsed runs (%)")


def _behind_first(teachers: list[str]) -> list[str]:
    return sorted(teachers, key=lambda teacher: -THICK[teacher])


def _draw_courses(ax: Axes, result: xr.Dataset, teachers: list[str]) -> None:
    at = result["accuracy"].sel(part="test", criterion="robust", fraction=shown(result))
    for teacher in _behind_first(teachers):
        ax.plot(at["step"], at.sel(teacher=teacher).transpose("step", "seed"), color=TEACHER_COLORS[teacher],
                lw=THICK[teacher], alpha=0.6)  # fmt: skip
    ax.set_xlim(0, int(at["step"][-1]))
    ax.set_xlabel("training time (steps)")
    percent_axis(ax, "robust test accuracy (%)")


def _draw_memorized(ax: Axes, result: xr.Dataset, teachers: list[str]) -> None:
    at = result["memorized"].sel(fraction=shown(result))
    for teacher in _behind_first(teachers):
        for kind, look in KIND_LOOKS.items():
            values = at.sel(teacher=teacher, kind=kind).transpose("seed", "step").values
            band(ax, at["step"].values, values, TEACHER_COLORS[teacher], lw=2 * THICK[teacher], **look)
    ax.axhline(0, color=COLORS["neutral"], lw=0.6)
    ax.set_xlim(0, int(at["step"][-1]))
    ax.set_xlabel("training time (steps)")
    ax.set_ylabel("noise part of the margin (nats)")


def numbers(result: xr.Dataset) -> tuple[list[str], list[list[Any]]]:
    """A row for each teacher, fraction, seed and step, with all accuracies and the memorized noise."""
    columns = {
        f"{criterion}_{part}": result["accuracy"].sel(part=part, criterion=criterion)
        for part in result["part"].values
        for criterion in result["criterion"].values
    } | {f"memorized_{kind}": result["memorized"].sel(kind=kind) for kind in result["kind"].values}
    dims = ["teacher", "fraction", "seed", "step"]
    flat = xr.Dataset({name: each.reset_coords(drop=True) for name, each in columns.items()}).to_dataframe(dims)
    flat = flat.round(6).reset_index()
    return list(flat.columns), flat.values.tolist()


def table(result: xr.Dataset) -> Table:
    """End states, and how many runs collapsed."""
    rows = []
    for teacher in map(str, result["teacher"].values):
        for p in result["fraction"].values:
            clean, robust, fitted = (
                100 * final(result, *which).sel(teacher=teacher, fraction=p).values
                for which in (("test", "clean"), ("test", "robust"), ("train", "robust"))
            )
            count = collapsed(result, teacher, p)
            verdict = "none" if count == 0 else "all" if count == len(robust) else "some"
            rows.append(
                (
                    WORDS[teacher], f"{p:g}", f"{np.median(clean):.0f}", f"{np.median(robust):.0f}",
                    f"{robust.min():.0f} to {robust.max():.0f}", f"{np.median(fitted):.0f}",
                    f"{count} of {len(robust)}", verdict,
                )
            )  # fmt: skip
    return Table(
        "Accuracy in % after the last step, medians over seeds, and how many runs collapsed: below 50 % on fresh "
        "samples under PGD.",
        ("training", "p_un", "clean test", "robust test", "range", "robust train", "collapsed", "which"),
        rows,
        ("Robust accuracy on training samples is under the attack they are trained with.",),
    )


FIGURE = Figure(
    "Unlearnable samples and teachers",
    "unlearnable",
    {
        "teacher fraction seed step part criterion": "accuracy", "teacher fraction seed step kind": "memorized",
        "teacher": "teacher", "fraction": "fraction", "seed": "seed", "step": "step", "part": "part",
        "criterion": "criterion", "kind": "kind",
    },
    draw,
    caption,
    numbers,
    attributes="samples dim patches radius_ratio",
    table=table,
    order=12,
)  # fmt: skip
