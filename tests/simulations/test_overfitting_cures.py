"""Cures of robust overfitting: one protocol, the numbers of the figure, and the refusals."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import xarray as xr
from tools import Outcome
from toy_configs import TINY

from cgro.base.errors import UserError
from cgro.figures import overfitting_cures as figure
from cgro.simulations import robust_overfitting
from cgro.simulations.overfitting_cures import Config
from cgro.training.choices import CureName
from cgro.training.config import JudgedRun, TrainingConfig
from cgro.training.judging import judge
from cgro.training.run import TrainingRun

ENSEMBLED = replace(TINY, cure="temporal-ensembling")


def test_every_cure_gets_the_same_but_its_own_strength() -> None:
    training = replace(ENSEMBLED, cure_strength=30.0, cure_start=0, cure_end=1)
    config = Config(training, cures=("none", "temporal-ensembling", "self-adaptive", "awp"), seeds=2)
    found = [cell.training for cell in config.cells]
    assert [(c.cure, c.seed) for c in found[:3]] == [("none", 0), ("none", 1), ("temporal-ensembling", 0)]
    assert [(c.cure_strength, c.cure_start, c.cure_end) for c in found[::2]] == [
        (None, None, None),
        (30.0, 0, 1),
        (None, 0, None),
        (None, None, None),
    ]
    same = {replace(c, cure="none", cure_strength=None, cure_start=None, cure_end=None, seed=0) for c in found}
    assert same == {TINY}


def test_a_cure_is_trained_from_its_default_start_too() -> None:
    training = replace(ENSEMBLED, epochs=20, cure_start=2, cure_end=5)
    config = Config(training, cures=("none", "self-adaptive", "swa", "ema"), default_starts=("self-adaptive",))
    assert {name: (row.cure, row.cure_start) for name, row in config.rows.items()} == {
        "none": ("none", None),
        "self-adaptive from 2": ("self-adaptive", 2),
        "self-adaptive from 9": ("self-adaptive", None),
        "swa from 2": ("swa", 2),
        "ema": ("ema", None),
    }
    assert [cell.training.cure for cell in config.cells[::3]] == [row.cure for row in config.rows.values()]


def test_a_cell_judges_the_best_and_the_last_checkpoint() -> None:
    """The rows are of the best epoch and the end, and no attack is weaker than that of the curve."""
    cell = Config(replace(TINY, epochs=6, samples=60, width=6), cures=("none",), seeds=1, judged_images=20).cells[0]
    found = judge(cell, lambda _done: None)
    run = TrainingRun(cell.training)
    curves = run.run(lambda _done: None)
    best = int(curves.attrs["best_epoch"])
    assert found.attrs["best_epoch"] == best
    for checkpoint, epoch in (("best", best), ("last", 6)):
        clean, pgd, strong = found["accuracy"].sel(checkpoint=checkpoint).values
        assert clean == pytest.approx(float(curves["clean_test_accuracy"].sel(epoch=epoch)))
        assert clean >= min(pgd, float(curves["robust_test_accuracy"].sel(epoch=epoch))) >= pgd >= strong
    assert found.attrs["judged_images"] == 20


def result(losses: dict[str, list[float]]) -> xr.Dataset:
    """Best 0.5 under the ensemble, and last what these losses leave."""
    values = np.array([[[[0.9, 0.6, 0.5], [0.9, 0.6, 0.5 - lost]] for lost in each] for each in losses.values()])
    dims = ("cure", "seed", "checkpoint", "attack")
    coords = {"cure": list(losses), "checkpoint": ["best", "last"], "attack": ["clean", "PGD-20", "ensemble"]}
    return xr.Dataset({"accuracy": (dims, values)}, coords)


def test_half_of_the_loss_is_judged_by_pairs_of_seeds() -> None:
    """Margins of half of the baseline: 0.05, 0.055, 0.06 minus the loss of the cure."""
    rows = figure.table(
        result(
            {
                "none": [0.10, 0.11, 0.12],
                "awp": [0.01, 0.012, 0.02],
                "ema": [0.09, 0.1, 0.12],
                "swa": [0.0, 0.05, 0.1],
            }
        )
    ).rows
    assert [row[0] for row in rows] == ["no cure", "AWP", "EMA", "SWA"]
    assert [row[-1] for row in rows] == ["-", "yes", "no", "undecided"]
    # 11 points with standard deviation 1: t(0.975, 2) / sqrt(3) = 2.484.
    assert rows[0][-2] == "11.0 ± 2.5"
    assert rows[0][3] == "50.0 / 39.0"
    two = figure.table(result({"none": [0.10, 0.12], "awp": [0.01, 0.012]})).rows
    assert [row[-2:] for row in two] == [("10.0, 12.0", "-"), ("1.0, 1.2", "needs 3 seeds")]


def test_every_cure_has_its_own_colour_and_label() -> None:
    names = [name for name in get_args(CureName) if name != "none"]
    assert len({figure._color(name) for name in (*names, "none")}) == len(names) + 1
    assert figure._color("swa from 5") == figure._color("swa")
    assert figure._label("swa from 5") == "SWA (from epoch 5)"
    assert figure._label("none") == "no cure"


@pytest.mark.parametrize("cures", [("none",), ("none", "awp"), ("none", "awp", "swa from 5", "swa from 45")])
def test_the_baseline_is_on_top_in_a_panel_for_each_cure(cures: tuple[str, ...]) -> None:
    made = result({cure: [0.1, 0.12, 0.2] for cure in cures})
    curves = np.linspace(0.1, 0.5, 12 * len(cures)).reshape(len(cures), 3, 4)
    made["robust_test_accuracy"] = (("cure", "seed", "epoch"), curves)
    drawing = figure.draw(made.assign_coords(epoch=[1, 2, 3, 4]))
    *panels, checkpoints = drawing.axes
    assert len(panels) == max(1, len(cures) - 1)
    for panel in panels:
        assert panel.lines[-1].get_color() == figure.BASELINE
    assert next(iter(checkpoints.get_yticklabels())).get_text() == "no cure"
    assert "(b) best checkpoint" in [text.get_text() for text in drawing.legends[0].get_texts()]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Config(ENSEMBLED, seeds=0), "seeds must be an integer of at least 1, got 0"),
        (lambda: Config(ENSEMBLED, judged_images=5), "judged_images must be an integer of at least 10, got 5"),
        (
            lambda: Config(ENSEMBLED, cures=("none", "none")),
            "cures must be one or more different names, got none, none",
        ),
        (lambda: Config(ENSEMBLED, cures=()), "cures must be one or more different names"),
        (lambda: Config(ENSEMBLED, cures=("stop",)), "cures must be one of none, temporal-ensembling"),  # type: ignore[arg-type]
        (
            lambda: Config(ENSEMBLED, cures=("none", "ema"), default_starts=("ema",)),
            "default_starts must be one of , got",
        ),
        (
            lambda: Config(replace(ENSEMBLED, cure_start=0), default_starts=("swa", "swa")),
            "default_starts must be all different, got swa, swa",
        ),
        (lambda: Config(ENSEMBLED, default_starts=("swa",)), "cure_start must be given with default_starts"),
        (
            lambda: Config(replace(ENSEMBLED, epochs=4, cure_start=3, cure_end=4), default_starts=("swa",)),
            "cure_start must not be that of default_starts, got 3",
        ),
        (lambda: Config(TrainingConfig(held_out=0)), "held_out must be at least 10"),
        (
            lambda: Config(TrainingConfig(objective="mart"), cures=("self-adaptive",)),
            "objective must be adversarial or",
        ),
    ],
)
def test_impossible_configurations_are_named(make, words: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=words) as error:
        make()
    assert "\n" not in str(error.value)


def test_the_baseline_is_trained_once_for_both_experiments(cgro: Callable[..., Outcome], tmp_path: Path) -> None:
    alone = robust_overfitting.Config.quick()
    cells = [JudgedRun(training, alone.judged_images) for training in alone.runs]
    assert Config.quick().cells[:2] == cells
    small = ("--samples", 20, "--held-out", 10, "--epochs", 2, "--width", 2, "--evaluation-images", 10)
    options = (*small, "--judged-images", 10, "--seeds", 1, "--jobs", 1, "--results", tmp_path, "--quiet")
    assert cgro("simulate", "robust-overfitting", *options).code == 0
    cures = cgro("simulate", "overfitting-cures", *options, "--cures", "none", "--cure-start", 0, "--cure-end", 1)
    assert cures.code == 0
    with closing(sqlite3.connect(tmp_path / "robust-overfitting" / "cells" / "cells.sqlite")) as stored:
        assert stored.execute("select count(*) from cell").fetchone() == (1,)
    assert not (tmp_path / "overfitting-cures" / "cells").exists()


def test_presets_are_feasible() -> None:
    assert len(Config.quick().cells) == 4
    assert len(Config.paper().cells) == 27
