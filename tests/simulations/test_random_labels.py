"""Random labels: the bisection, the verdicts, the boundary against a dense grid, and what the figures say of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import scipy
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from toy_configs import CONFIGS

from cgro.base.errors import UserError
from cgro.figures import random_labels as curves_figure
from cgro.figures import random_labels_boundary as figure
from cgro.simulations.random_labels import Case, Config, _bisect, _contradictions, run, verdict
from cgro.training.config import Stack
from cgro.training.run import train_cell
from cgro.training.stacked_runs import train_stack

TOY: Config = CONFIGS["random-labels"]


@given(st.integers(1, 40), st.integers(0, 40))
def test_bisection_finds_every_boundary_in_few_looks(count: int, boundary: int) -> None:
    boundary = min(boundary, count)
    known = np.full(count, np.nan)
    rung, found = _bisect(known)
    while rung is not None:
        assert np.isnan(known[rung])
        known[rung] = 0.9 if rung < boundary else 0.899
        rung, found = _bisect(known)
    assert found == boundary
    assert np.isfinite(known).sum() <= math.ceil(math.log2(count + 1))


def test_contradictions_are_counted_on_both_sides() -> None:
    accuracies = np.array([[0.95, np.nan, 0.5, 0.92], [0.3, 0.95, 0.1, np.nan]])
    assert _contradictions(accuracies, np.array([1, 2])) == (2, 6)
    assert _contradictions(accuracies[:1, :3], np.array([1])) == (0, 2)


@pytest.mark.parametrize(
    ("accuracy", "loss", "expected"),
    [
        (0.9, 0.3, "converged"),
        (0.899, 0.3, "partial"),
        (0.231, 2.3, "partial"),
        (0.229, 2.3, "at chance"),
        (0.05, 2.3, "at chance"),
        (0.95, math.nan, "diverged"),
        (0.1, math.inf, "diverged"),
    ],
)
def test_verdicts(accuracy: float, loss: float, expected: str) -> None:
    assert verdict(accuracy, loss, 0.2) == expected


class Counting:
    """A context that keeps what it was asked for."""

    def __init__(self) -> None:
        self.stacks: list[Stack] = []

    def map(self, function, cells):  # type: ignore[no-untyped-def]
        self.stacks += cells
        return [function(cell, lambda _done: None) for cell in cells]


def test_the_boundary_is_that_of_a_dense_grid() -> None:
    """Every measured accuracy is that of the run alone, and neighbours of the boundary were looked at."""
    context = Counting()
    result = run(TOY, context)
    keys = [Case(str(a), str(o), float(v)) for a, o, v in figure._keys(result)]  # type: ignore[arg-type]
    assert keys == TOY.cases
    seen = 0
    for c, case in enumerate(TOY.cases):
        for s, seed in enumerate(result["seed"].values):
            for k, radius in enumerate(TOY.ladder):
                measured = result["accuracy"].isel(case=c, seed=s, radius=k)
                if bool(measured.isnull().any()):
                    continue
                alone = train_cell(TOY.at(case, float(radius), int(seed)), lambda _done: None).isel(epoch=-1)
                expected = [float(alone[f"{kind}_train_accuracy"]) for kind in ("clean", "robust")]
                np.testing.assert_allclose(measured.values, expected, atol=0.101)  # one image of 10
                seen += 1
            for criterion in ("clean", "robust"):
                at = result["accuracy"].sel(criterion=criterion).isel(case=c, seed=s).values
                rungs = int(result["rungs"].sel(criterion=criterion)[c, s])
                assert rungs == 0 or at[rungs - 1] >= 0.9
                assert rungs == len(TOY.ladder) or at[rungs] < 0.9
    assert seen == sum(len(stack.runs) for stack in context.stacks) - 2 * 2 * len(TOY.objectives)
    assert result.attrs["measured"] == 2 * seen
    assert len(set(result["rungs"].values.ravel())) > 1


def test_a_case_changes_its_field_alone() -> None:
    for case, changed in (
        (Case("epochs", "trades", 7.0), {"epochs": 7, "evaluate_every": 7, "objective": "trades"}),
        (Case("width", "adversarial", 2.0), {"width": 2.0}),
        (Case("attack_steps", "adversarial", 4.0), {"attack_steps": 4}),
        (Case("label_noise", "trades", 0.5), {"label_noise": 0.5, "objective": "trades"}),
        (Case("beta", "mixture", 0.3), {"beta": 0.3, "objective": "mixture"}),
    ):
        expected = replace(TOY.training, **{"radius": 0.07, "seed": 9, "evaluate_every": 2} | changed)
        assert TOY.at(case, 0.07, 9) == expected
    dropping = replace(TOY.training, epochs=30, schedule="piecewise", drops=(10, 20))
    shorter = replace(TOY, training=dropping).at(Case("epochs", "trades", 15.0), 0.07, 0)
    assert (shorter.epochs, shorter.drops) == (15, (5, 10))


def test_cases_that_differ_in_more_than_the_radius_have_their_own_stacks() -> None:
    context = Counting()
    cases = {
        "boundary_epochs": (1, 2),
        "boundary_widths": (2, 3),
        "boundary_attack_steps": (1, 2),
        "boundary_noises": (0.5, 1.0),
        "boundary_shares": (0.2, 1.0),
    }
    run(replace(TOY, objectives=("adversarial",), seeds=1, radii=1, **cases), context)
    assert sorted(len(stack.runs) for stack in context.stacks[1:]) == [1] * 8 + [2]


def test_curves_are_in_order() -> None:
    """Each run is where its objective, noise rate and seed say."""
    config = replace(TOY, boundary_epochs=(), boundary_shares=(), noises=(1.0, 0.0), seeds=2)
    result = run(config)
    for objective in config.objectives:
        for noise in config.noises:
            for one in config.runs:
                alone = train_stack(
                    Stack((replace(one, objective=objective, label_noise=noise),)), lambda _done: None
                ).isel(run=0)
                at = result.sel(objective=objective, noise=noise, seed=one.seed)
                for name in ("train_loss", "clean_train_accuracy", "most_frequent"):
                    np.testing.assert_allclose(at[name], alone[name], rtol=1e-3)
                last = at.isel(epoch=-1)
                for criterion in ("clean", "robust"):
                    meanings = result["verdict"].attrs["flag_meanings"].split()
                    found = meanings[int(at["verdict"].sel(criterion=criterion))].replace("_", " ")
                    accuracy = float(last[f"{criterion}_train_accuracy"])
                    assert found == verdict(accuracy, float(last["train_loss"]), float(last["most_frequent"]))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: replace(TOY, noises=(1.5,)), r"noises must be in \[0, 1\], got 1.5"),
        (lambda: replace(TOY, noises=()), "noises must be one or more"),
        (lambda: replace(TOY, noises=(0.5, 0.5)), "noises must be all different"),
        (lambda: replace(TOY, boundary_epochs=(4, 2)), "boundary_epochs must be increasing"),
        (lambda: replace(TOY, boundary_shares=(0.5, 1.5)), "beta must be at most 1 with objective mixture, got 1.5"),
        (lambda: replace(TOY, boundary_attack_steps=(0, 2)), "boundary_attack_steps must be an integer"),
        (lambda: replace(TOY, boundary_epochs=(1.5,)), "boundary_epochs must be an integer"),
        (lambda: replace(TOY, boundary_noises=(0.5, 1.5)), "label_noise must be"),
        (lambda: replace(TOY, boundary_attack_steps=(3, 2)), "boundary_attack_steps must be increasing"),
        (lambda: replace(TOY, boundary_widths=(0.5, 2)), "width must be a whole number above 0"),
        (lambda: replace(TOY, objectives=("free",)), "objectives must be one of"),
        (lambda: replace(TOY, objectives=()), "objectives must be one or more"),
        (lambda: replace(TOY, radii=0), "radii must be an integer from 1"),
        (lambda: replace(TOY, highest_radius=0.01), "highest_radius must be above lowest_radius, 0.02, got 0.01"),
        (lambda: replace(TOY, highest_radius=1.5), "radius must be above 0 and at most 1"),
        (
            lambda: replace(TOY, training=replace(TOY.training, model="wrn-16", width=1, data="cifar10", samples=50)),
            "model must have no batch norm to be trained many at once, got wrn-16",
        ),
        (
            lambda: replace(TOY, training=replace(TOY.training, averaging="ema")),
            "averaging must be none to train many at once, got ema",
        ),
        (lambda: replace(TOY, training=replace(TOY.training, cure="cutout")), "cure must be none"),
    ],
)
def test_mistakes_are_refused_before_anything_is_trained(make: Callable[[], Config], words: str) -> None:
    with pytest.raises(UserError, match=words):
        make()


def boundary(rungs: list[list[tuple[int, int]]]) -> xr.Dataset:
    """A result with PGD-AT and TRADES at one number of epochs, rungs by (case, seed, criterion), 3 radii."""
    return xr.Dataset(
        {
            "rungs": (("case", "seed", "criterion"), rungs),
            "axis": ("case", ["epochs", "epochs"]),
            "case_objective": ("case", ["adversarial", "trades"]),
            "value": ("case", [50.0, 50.0]),
            # What bisections ask for: the middle radius, and the one beyond it.
            "accuracy": (("case", "seed", "radius", "criterion"), np.full((2, len(rungs[0]), 3, 2), np.nan)),
        },
        attrs={"contradictions": 0},
        coords={"radius": [0.1, 0.2, 0.4], "criterion": ["clean", "robust"], "seed": range(len(rungs[0]))},
    )


def test_probabilities_and_comparison() -> None:
    result = boundary([[(1, 1), (2, 0), (0, 0), (3, 1)], [(2, 1), (3, 0), (1, 1), (2, 0)]])
    assert figure.converging(result, "clean").tolist() == [[3, 2, 1], [4, 3, 1]]
    assert figure.converging(result, "robust").tolist() == [[2, 0, 0], [2, 0, 0]]
    assert figure.largest(result).sel(criterion="clean").values.tolist() == [[0.1, 0.2, 0.0, 0.4], [0.2, 0.4, 0.1, 0.2]]
    header, rows = figure.numbers(result)
    found = dict(zip(header, rows[1], strict=True))
    interval = scipy.stats.binomtest(2, 4).proportion_ci(0.95, method="exact")
    assert (found["radius"], found["converged"], found["low"]) == (0.2, 2, interval.low)
    words = figure._comparison(result)
    assert "on clean images in 3 of 4 pairs of runs (PGD-AT in 1)" in words
    assert "on perturbed images in 1 of 4 pairs of runs (PGD-AT in 1)" in words


def test_only_what_a_bisection_did_not_ask_for_can_contradict_it() -> None:
    """Of three radii a bisection looks at the middle one and one other; the third was asked for by the other one."""
    result = boundary([[(1, 1), (2, 0)], [(2, 1), (3, 3)]])
    for case, seed, looked in ((0, 0, 2), (0, 1, 3), (1, 0, 3), (1, 1, 2)):
        result["accuracy"][case, seed, :looked] = 0.5
    assert figure.checks(result) == 4  # a radius for each of the two criteria of two runs
    assert "of the 4 accuracies that were measured besides its own steps, none contradict" in figure._contradicted(
        result
    )
    alone = result.isel(case=[0], seed=[0])
    assert figure.checks(alone) == 0
    assert "none could contradict" in figure._contradicted(alone)
    assert [figure._steps(7, boundary) for boundary in range(8)] == [3] * 8
    known = np.full(5, np.nan)
    for boundary_ in range(6):
        known[:] = np.nan
        while (rung := _bisect(known)[0]) is not None:
            known[rung] = 0.95 if rung < boundary_ else 0.5
        assert figure._steps(5, boundary_) == np.isfinite(known).sum()


def test_boundaries_beyond_the_radii_are_counted() -> None:
    result = boundary([[(1, 1), (2, 0)], [(3, 1), (3, 3)]])
    words = (
        "Triangles: 3 of 8 boundaries are at or above the largest radius tried, 0.4; 1 of 8 boundaries are below the"
    )
    assert words in figure._beyond(result)
    assert figure._beyond(boundary([[(1, 1)], [(2, 2)]])) == ""


def test_the_table_counts_verdicts() -> None:
    result = run(replace(TOY, boundary_epochs=(), boundary_shares=()))
    result["verdict"][:] = 2
    result["verdict"].loc[{"criterion": "clean", "objective": "trades", "noise": 1.0}] = [0, 1]
    rows = {row[:3]: row[-1] for row in curves_figure.table(result).rows}
    assert rows["PGD-AT", "random labels", "clean"] == "at chance"
    assert rows["TRADES", "random labels", "clean"] == "1 converged, 1 partial"
