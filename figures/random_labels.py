"""Random labels: clean and robust training accuracy over the epochs, for each objective and noise rate."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import PercentFormatter

from cgro.plots.figure import Figure, Table
from cgro.plots.style import COLORS, band, figure
from cgro.plots.words import OBJECTIVE_WORDS, ball, labels_redrawn, lines

KINDS = {"clean": "clean images", "robust": "perturbed images"}


def caption(result: xr.Dataset) -> str:
    """What was trained, and how each objective ended at the largest noise rate."""
    a, seeds = result.attrs, result.sizes["seed"]
    most = result.isel(noise=int(result["noise"].values.argmax()))
    ends = [
        f"{_label(objective)} {_percent(most['clean_train_accuracy'].sel(objective=objective))} clean and "
        f"{_percent(most['robust_train_accuracy'].sel(objective=objective))} robust"
        for objective in result["objective"].values
    ]
    return (
        f"Accuracy on the {a['train_images']:,} training images ({a['data']}) of {a['model']} (width {a['width']:g}), "
        f"{ball(a)}, clean and under PGD, with true labels or labels redrawn at random. Dotted: the most frequent "
        f"label, which a constant predictor reaches. At the end with {labels_redrawn(float(most['noise']))}: "
        f"{'; '.join(ends)}. {lines(seeds)}"
    )


def _percent(values: xr.DataArray) -> str:
    last = 100 * values.isel(epoch=-1).values
    return f"{last.mean():.1f} %" if len(last) == 1 else f"{last.mean():.1f} % ({last.min():.0f} to {last.max():.0f})"


def _label(objective: Any) -> str:
    return OBJECTIVE_WORDS.get(str(objective), str(objective))


def draw(result: xr.Dataset) -> Drawing:
    """A row of panels for each noise rate, a column for each objective."""
    objectives, noises = result["objective"].values, result["noise"].values
    size = (max(6.2, 1.0 + 2.4 * len(objectives)), 0.5 + 1.7 * len(noises))
    fig, axes = figure(*size, ncols=len(objectives), nrows=len(noises), sharex=True, sharey=True, squeeze=False)
    epoch = result["epoch"].values
    for (row, column), ax in np.ndenumerate(axes):
        at = result.isel(noise=row, objective=column)
        for kind, label in KINDS.items():
            band(ax, epoch, at[f"{kind}_train_accuracy"].values, COLORS[kind], label=label)
        ax.axhline(
            float(at["most_frequent"].mean()), color=COLORS["neutral"], lw=0.8, ls=":", label="constant predictor"
        )
        ax.grid(axis="y", lw=0.4, color="#DDDDDD")
        ax.set(xlim=(0, epoch[-1]), ylim=(0, 1.03))
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, symbol="", decimals=0))
        if row == 0:
            ax.set_title(_label(objectives[column]), loc="left", weight="bold")
        if row == len(noises) - 1:
            ax.set_xlabel("training time (epochs)")
        if column == 0:
            ax.set_ylabel(f"{labels_redrawn(float(noises[row]))}\ntraining accuracy (%)")
    handles, names = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, names, loc="outside upper center", ncols=3)
    return fig


def numbers(result: xr.Dataset) -> tuple[list[str], list[list[Any]]]:
    """A row for each objective, noise rate, seed and epoch."""
    names = ["clean_train_accuracy", "robust_train_accuracy", "train_loss"]
    flat = result[names].to_dataframe().reset_index()
    header = ["objective", "noise", "seed", "epoch", *names]
    return header, flat[header].values.tolist()


def table(result: xr.Dataset) -> Table:
    """How many runs converged, stayed at chance, or neither."""
    meanings = result["verdict"].attrs["flag_meanings"].split()
    rows = []
    for objective in result["objective"].values:
        for noise in result["noise"].values:
            for criterion in result["criterion"].values:
                at = result["verdict"].sel(objective=objective, noise=noise, criterion=criterion).values
                found = {
                    name.replace("_", " "): int((at == k).sum()) for k, name in enumerate(meanings) if (at == k).any()
                }
                last = result[f"{criterion}_train_accuracy"].sel(objective=objective, noise=noise)
                words = ", ".join(name if len(found) == 1 else f"{count} {name}" for name, count in found.items())
                rows.append((_label(objective), labels_redrawn(float(noise)), str(criterion), _percent(last), words))
    return Table(
        f"Training accuracy after the last epoch, mean over {result.sizes['seed']} seeds (lowest to highest). "
        "Converged: 90 % or more; at chance: at most 3 points above the most frequent label.",
        header=("objective", "labels", "images", "accuracy", "verdict"),
        rows=rows,
    )


FIGURE = Figure(
    "Random labels: who memorizes them",
    experiment="random-labels",
    needs={
        "objective noise seed epoch": "clean_train_accuracy robust_train_accuracy train_loss",
        "objective noise seed": "most_frequent",
        "criterion objective noise seed": "verdict",
        "objective": "objective",
        "noise": "noise",
        "seed": "seed",
        "epoch": "epoch",
        "criterion": "criterion",
    },
    attributes="data model width radius train_images",
    draw=draw,
    caption=caption,
    numbers=numbers,
    table=table,
    order=4,
)
