"""Cures by name: what they change in the recipe, and what is refused."""

from __future__ import annotations

from typing import Any, get_args

import pytest

import cgro
from cgro.base.errors import UserError
from cgro.training.choices import CureName
from cgro.training.config import TrainingConfig
from cgro.training.objectives import Adversarial, Trades
from cgro.training.self_adaptive import SelfAdaptive
from cgro.training.temporal_ensembling import TemporalEnsembling

CONFIG = TrainingConfig(epochs=20)


@pytest.mark.parametrize(
    ("options", "changed"),
    [
        ({"cure": "temporal-ensembling"}, {"objective": TemporalEnsembling(Adversarial(), 0.9, 9, 15, 300)}),
        (
            {"cure": "temporal-ensembling", "objective": "trades", "beta": 2.0, "cure_start": 3, "cure_end": 4}
            | {"cure_strength": 30.0, "cure_momentum": 0.5},
            {"objective": TemporalEnsembling(Trades(2.0), 0.5, 3, 4, 30)},
        ),
        ({"cure": "self-adaptive", "cure_start": 0}, {"objective": SelfAdaptive(Adversarial(), 0.9, 0)}),
        ({"cure": "label-smoothing"}, {"label_smoothing": 0.1}),
        ({"cure": "awp", "cure_strength": 0.01}, {"weight_perturbation": 0.01}),
        ({"cure": "ema"}, {"averaging": "ema"}),
        ({"cure": "swa"}, {"averaging": "swa", "averaging_start": 15}),
        ({"cure": "swa", "cure_start": 4}, {"averaging": "swa", "averaging_start": 4}),
        ({"cure": "weight-decay", "weight_decay": 1e-4}, {"weight_decay": 0.005}),
        ({"cure": "none"}, {}),
    ],
)
def test_a_cure_changes_what_it_names(options: dict[str, Any], changed: dict[str, Any]) -> None:
    plain = {name: value for name, value in options.items() if not name.startswith("cure")}
    recipe, before = TrainingConfig(epochs=20, **options).recipe, TrainingConfig(epochs=20, **plain).recipe
    found = {name: value for name, value in vars(recipe).items() if value != vars(before)[name]}
    assert found == changed


@pytest.mark.parametrize(("data", "size"), [("digits", 2), ("mnist", 7), ("cifar10", 8)])
def test_cutout_hides_a_quarter_of_the_side(data: Any, size: int) -> None:
    plain, cut = (TrainingConfig(data=data, radius=0.1, cure=cure).recipe.augmentation for cure in ("none", "cutout"))
    assert (plain.cutout, cut.cutout) == (0, size)


@pytest.mark.parametrize("cure", get_args(CureName))
def test_every_cure_trains(cure: CureName) -> None:
    config = TrainingConfig(samples=20, held_out=10, epochs=4, width=2, attack_steps=1, evaluation_images=10, cure=cure)
    found = cgro.train(config)
    assert found.curves.sizes["epoch"] == 4
    method = found.curves.attrs["method"]
    assert (method == "Fast adversarial training") == (cure == "none"), method


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cure": "temporal"}, "cure must be one of none, temporal-ensembling"),
        ({"cure_strength": 1.0}, "cure_strength must be left out with cure none, got 1"),
        ({"cure": "ema", "cure_start": 3}, "cure_start must be left out with cure ema, got 3"),
        ({"cure": "self-adaptive", "cure_end": 3}, "cure_end must be left out with cure self-adaptive, got 3"),
        ({"cure": "self-adaptive", "objective": "mart"}, "objective must be adversarial or trades with cure"),
        ({"cure": "label-smoothing", "objective": "mart"}, "objective must not be mart"),
        ({"cure": "label-smoothing", "cure_strength": 1.0}, "cure_strength must be below 1"),
        ({"cure": "awp", "objective": "free"}, "objective must not be free"),
        ({"cure": "awp", "weight_perturbation": 0.01}, "weight_perturbation must be 0 with cure awp, got 0.01"),
        ({"cure": "swa", "averaging": "ema"}, "averaging must be none with cure swa, got ema"),
        ({"cure": "swa", "cure_end": 3}, "cure_end must be left out with cure swa, got 3"),
        ({"cure": "swa", "cure_start": 20}, "cure_start must be below the number of epochs, 20, got 20"),
        ({"cure": "self-adaptive", "cure_start": 20}, "cure_start must be below the number of epochs, 20, got 20"),
        (
            {"cure": "temporal-ensembling", "cure_start": 9, "cure_end": 9},
            "cure_end must be after cure_start, got 9 to 9",
        ),
        ({"cure": "temporal-ensembling", "cure_momentum": 1.0}, r"cure_momentum must be in \[0, 1\), got 1.0"),
        ({"cure": "temporal-ensembling", "cure_strength": -1.0}, "cure_strength must be in"),
        (
            {"cure": "weight-decay", "cure_strength": 100.0},
            "weight_decay must be below 20 with learning_rate 0.05, got 100",
        ),
        ({"cure": "awp", "cure_strength": 3.0}, r"weight_perturbation must be in \[0, 1\]"),
        ({"cure": "cutout", "data": "own"}, "cure must not be cutout with own arrays"),
    ],
)
def test_an_impossible_cure_is_reported_in_one_line(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        TrainingConfig(epochs=20, **options)
    assert "\n" not in str(caught.value)


def test_a_custom_objective_is_not_replaced() -> None:
    with pytest.raises(UserError, match="cure must be none with an objective of yours, got self-adaptive"):
        cgro.train(TrainingConfig(epochs=4, cure="self-adaptive"), objective=Adversarial())
