"""The experiment on gradient stability: where each number comes from, the verdicts, and the refusals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr
from toy_configs import CONFIGS

from cgro.base.errors import UserError
from cgro.base.randomness import at, spawn_streams
from cgro.figures import gradient_stability as figure
from cgro.measures.gradients import along_descent, gradient_norm
from cgro.simulations.gradient_stability import Config, MeasuredRun, measured_run, run
from cgro.training.run import Data, TrainingRun, make_trainer

MEASURED = ["distance", "cosine", "norm"]
TOY: Config = CONFIGS["gradient-stability"]


def test_a_cell_measures_the_run_that_it_names() -> None:
    """Norms of every update, and stability by the objective's own loss on the first training images."""
    training = replace(TOY.training, objective="trades", seed=3, radius_warmup=0.5)
    cell = MeasuredRun(training, (0, 2), (0.01, 0.1), 12)
    done: list[float] = []
    found = measured_run(cell, done.append)
    data = Data.of(training)
    trainer = make_trainer(training, data)
    x, y = data.train.scaled(data.train.pixels[:12]), data.train.labels[:12]
    stream, recipe = spawn_streams(3)["evaluation"], training.recipe

    def stability(epoch: int) -> xr.Dataset:
        return along_descent(
            trainer.model, x, y, recipe.objective, recipe.attack, (0.01, 0.1), stream=at(stream, epoch)
        )

    xr.testing.assert_allclose(
        found.sel(at_epoch=0)[["distance", "cosine", "norm"]].drop_vars("at_epoch"), stability(0)
    )
    norms = []
    for step in range(trainer.steps):
        trainer.advance(step + 1)
        norms.append(float(gradient_norm(trainer.model)))
    np.testing.assert_allclose(found["gradient_norm"], np.reshape(norms, (2, -1)).mean(1), rtol=1e-6)
    alone = TrainingRun(training).run(lambda _done: None)
    for name in ("clean_train_accuracy", "robust_train_accuracy"):
        np.testing.assert_array_equal(found[name], alone[name])
    xr.testing.assert_allclose(
        found.sel(at_epoch=2)[["distance", "cosine", "norm"]].drop_vars("at_epoch"), stability(2)
    )
    assert sum(done) == cell.work
    assert torch.is_grad_enabled()


def test_accuracies_are_measured_as_often_as_asked_for() -> None:
    training = replace(TOY.training, epochs=5, evaluate_every=2)
    found = measured_run(MeasuredRun(training, (0,), (0.1,), 12), lambda _done: None)
    for name in ("clean_train_accuracy", "robust_train_accuracy"):
        assert np.isfinite(found[name]).values.tolist() == [True, True, False, True, True]


def test_runs_are_where_their_names_say() -> None:
    result = run(TOY)
    assert result["distance"].dims == ("objective", "seed", "at_epoch", "t")
    for objective in TOY.objectives:
        for one in TOY.runs:
            cell = MeasuredRun(replace(one, objective=objective), TOY.at_epochs, TOY.distances, TOY.gradient_images)
            alone = measured_run(cell, lambda _done: None)
            at_same = result.sel(objective=objective, seed=one.seed)
            for name in ("gradient_norm", "robust_train_accuracy", "distance", "norm"):
                np.testing.assert_array_equal(at_same[name], alone[name])


def verdicts(pgd: list[float], trades: list[float], standard: list[float]) -> list[tuple[str, ...]]:
    """Rows of the table for cosines by seed, the same at both distances."""
    values = np.array([pgd, trades, standard])[:, :, None, None] * np.ones(2)
    result = xr.Dataset(
        {"cosine": (("objective", "seed", "at_epoch", "t"), values)},
        {"objective": ["adversarial", "trades", "standard"], "at_epoch": [5], "t": [0.1, 1.0]},
    )
    return [tuple(row) for row in figure.table(result).rows]


def test_verdicts_follow_the_intervals() -> None:
    rows = verdicts([0.1, 0.12, 0.11], [0.5, 0.52, 0.5], [0.3, 0.31, 0.29])
    assert rows == [
        ("5", "PGD-AT before TRADES", "yes", "yes", "yes"),
        ("5", "TRADES before standard training", "no", "no", "no"),
    ]
    assert [row[-1] for row in verdicts([0.1, 0.9, 0.5], [0.4, 0.8, 0.9], [0.9, 0.9, 0.8])] == ["undecided"] * 2
    assert [row[-1] for row in verdicts([0.1, 0.1], [0.5, 0.6], [0.9, 0.9])] == ["undecided"] * 2
    assert figure._together(["yes", "?", "no"]) == "depends on t"


def test_the_caption_says_by_what_the_relative_distance_divides() -> None:
    result = run(TOY)
    result["norm"].loc[{"at_epoch": TOY.at_epochs[-1], "objective": "adversarial"}] = [1e-3, 3e-3][: TOY.seeds]
    words = figure.caption(result)
    assert "PGD-AT 0.002 (0.001 to 0.003)" in words
    clean, robust = (100 * float(result[kind].sel(objective="adversarial")[:, -1].mean()) for kind in figure.ACCURACIES)
    assert f"PGD-AT {clean:.0f} and {robust:.0f} %" in words
    header, rows = figure.numbers(result)
    found = [dict(zip(header, row, strict=True)) for row in rows]
    for row in found[:3]:
        at = result.sel(objective=row["objective"], seed=row["seed"], at_epoch=row["epoch"], t=row["t"])
        assert row["distance"] == float(at["distance"])
        assert row["relative_distance"] == pytest.approx(row["distance"] / float(at["norm"]))
    last = found[-1]
    at_last = result.isel(objective=-1, seed=-1, epoch=-1)
    assert (last["t"], last["clean_train_accuracy"]) == ("", float(at_last["clean_train_accuracy"]))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: replace(TOY, objectives=("free",)), "objectives must be one of"),
        (lambda: replace(TOY, objectives=("trades", "trades")), "objectives must be one or more, all different"),
        (lambda: replace(TOY, at_epochs=()), "at_epochs must be one or more"),
        (lambda: replace(TOY, at_epochs=(2, 1)), "at_epochs must be one or more, increasing"),
        (lambda: replace(TOY, at_epochs=(99,)), "at_epochs must be an integer from 0 to 2, got 99"),
        (lambda: replace(TOY, distances=(0.0, 1.0)), "distances must be one or more, increasing from above 0"),
        (lambda: replace(TOY, distances=(-1.0,)), "distances must be at least 0"),
        (lambda: replace(TOY, gradient_images=0), "gradient_images must be an integer of at least 1"),
    ],
)
def test_mistakes_are_refused(make: Callable[[], Config], words: str) -> None:
    with pytest.raises(UserError, match=words):
        make()
