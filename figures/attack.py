"""Figure: networks trained against one attack, evaluated under every attack."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure as Drawing

from cgro.plots.figure import Figure
from cgro.plots.style import figure, panel_label

_LABELS = {
    "clean": "clean",
    "inside A": r"inside $A(X,\delta)$",
    "l2 PGD, 0.25 alpha": r"$\ell_2$ PGD, $0.25\,\alpha$",
    "l2 PGD, 0.5 alpha": r"$\ell_2$ PGD, $0.5\,\alpha$",
}


def _training_label(name: str) -> str:
    attack, _, radius = str(name).partition(", ")
    names = {
        "transfer": "transfer, inside $A$",
        "worst": "worst case, inside $A$",
        "pgd-l2": r"$\ell_2$ PGD",
        "pgd-linf": r"$\ell_\infty$ PGD",
    }
    return names[attack] + (rf", ${radius.split()[0]}\,\alpha$" if radius else "")


def caption(result: xr.Dataset) -> str:
    """What the figure shows, with the numbers of this result."""
    last = result.isel(step=-1).mean("seed")
    inside = last.sel(evaluation="inside A", training="worst")
    full = last.sel(evaluation="l2 PGD, 0.25 alpha", training="worst")
    return (
        f"Accuracy at the end of training on training samples (a) and fresh samples (b), mean over "
        f"{result.sizes['seed']} seeds. Rows: training attack; columns: evaluation attack. Training against the worst "
        f"case inside A gives a robust accuracy inside A of {1 - float(inside.train_error):.2f} on training and "
        f"{1 - float(inside.test_error):.2f} on fresh samples, but of {1 - float(full.train_error):.2f} and "
        f"{1 - float(full.test_error):.2f} against l2 PGD of radius alpha/4 on the whole input: the theorem is only "
        "about A, and memorized noise can itself be attacked."
    )


def draw(result: xr.Dataset) -> Drawing:
    """Two tables of accuracy as heat maps."""
    fig, axes = figure(6.8, 2.7, ncols=2, sharey=True)
    last = result.isel(step=-1).mean("seed")
    columns = [_LABELS[str(e)] for e in last["evaluation"].values]
    for ax, split, letter, title in zip(
        axes, ("train", "test"), "ab", ("training samples", "fresh samples"), strict=True
    ):
        accuracy = 1 - last[f"{split}_error"].transpose("training", "evaluation").values
        mesh = ax.imshow(accuracy, cmap="cividis", vmin=0, vmax=1, aspect="auto")
        for (i, j), value in np.ndenumerate(accuracy):
            ax.text(j, i, f"{value:.2f}", ha="center", va="center", color="black" if value > 0.55 else "white")
        ax.set_xticks(range(len(columns)), columns, rotation=25, ha="right", rotation_mode="anchor")
        ax.set_xlabel("evaluated under")
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        panel_label(ax, letter, title)
    axes[0].set_yticks(range(result.sizes["training"]), [_training_label(t) for t in result["training"].values])
    axes[0].set_ylabel("trained against")
    fig.colorbar(mesh, ax=list(axes), label="accuracy (fraction)", shrink=0.95)
    return fig


def numbers(result: xr.Dataset) -> tuple[list[str], list[list[Any]]]:
    """Mean accuracy by training, evaluation and split."""
    last = result.isel(step=-1).mean("seed")
    header = ["training", "evaluation", "train_accuracy", "test_accuracy"]
    return header, [
        [
            str(t),
            str(e),
            1 - float(last["train_error"].sel(training=t, evaluation=e)),
            1 - float(last["test_error"].sel(training=t, evaluation=e)),
        ]
        for t in result["training"].values
        for e in result["evaluation"].values
    ]


FIGURE = Figure(
    "Training attacks, evaluated under all attacks",
    experiment="attack",
    needs={
        "training step evaluation seed": "train_error test_error",
        "evaluation": "evaluation",
        "training": "training",
    },
    draw=draw,
    caption=caption,
    numbers=numbers,
)
