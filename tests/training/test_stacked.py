"""Many networks trained at once: each becomes what it becomes alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tools import images
from torch import Tensor, nn

from cgro.attacks.ball import Budget, Budgets, perturbation_size
from cgro.attacks.images import Attack
from cgro.attacks.pgd import pgd
from cgro.base.errors import UserError
from cgro.base.norms import Norm
from cgro.base.randomness import spawn_streams
from cgro.data.batches import AUGMENTATIONS, Images
from cgro.models.convolutional import LeNet, SmallCNN
from cgro.models.residual import preact_resnet18
from cgro.training.config import Stack, TrainingConfig
from cgro.training.loop import Trainer
from cgro.training.objectives import AdversarialTrades, Mart, Mixture, Objective, Standard, Trades
from cgro.training.recipe import Recipe
from cgro.training.run import train_cell
from cgro.training.stacked import StackedNetwork, StackedTrainer
from cgro.training.stacked_runs import CURVES, train_stack
from cgro.training.temporal_ensembling import TemporalEnsembling

BASE = Recipe(attack=Attack(Budget("inf", 0.1), 2, 1.0), epochs=2, batch_size=8, weight_decay=0.01, radius_warmup=0.3)
RADII, SEEDS = (0.03, 0.1, 0.2), (5, 6, 7)
TOY = TrainingConfig(
    samples=30, held_out=0, width=3, batch_size=16, epochs=3, label_noise=1.0, radius_warmup=0.0, evaluation_images=30
)


def network(seed: int, kind: type[nn.Module] = SmallCNN) -> nn.Module:
    return kind(1, 8, 3, 4, generator=torch.Generator().manual_seed(seed))  # type: ignore[call-arg]


def data(seed: int) -> Images:
    """The same images for all, with labels of their own."""
    own = images(size=8)
    return Images(own.pixels, (own.labels + seed) % 3, own.white)


def recipes(norm: Norm = "inf", objective: str = "adversarial", base: Recipe = BASE) -> list[Recipe]:
    """Recipes that differ in the radius and the number of the objective."""
    numbers = {"mixture": Mixture, "trades": Trades, "trades-adversarial": AdversarialTrades, "mart": Mart}
    found = []
    for radius, number in zip(RADII, (0.2, 0.5, 0.9), strict=True):
        own: Objective = numbers[objective](number) if objective in numbers else base.objective
        scale = {"inf": 1, "2": 5, "1": 20}[norm]
        found.append(replace(base, objective=own, attack=Attack(Budget(norm, scale * radius), 2, 1.0)))
    return found


def stacked(found: list[Recipe], seeds: tuple[int, ...] = SEEDS, kind: type[nn.Module] = SmallCNN) -> StackedTrainer:
    return StackedTrainer(
        [network(s, kind) for s in seeds], [data(s) for s in seeds], found, [spawn_streams(s) for s in seeds]
    )


def weights(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize(
    ("objective", "norm", "kind"),
    [
        ("adversarial", "inf", SmallCNN),
        ("adversarial", "2", SmallCNN),
        ("adversarial", "1", SmallCNN),
        ("mixture", "inf", LeNet),
        ("trades", "inf", SmallCNN),
        ("trades-adversarial", "inf", SmallCNN),
        ("mart", "2", SmallCNN),
    ],
)
def test_each_network_is_the_one_that_is_trained_alone(objective: str, norm: Norm, kind: type[nn.Module]) -> None:
    """Weights and losses after two epochs; 20 images do not fill the last batch of 8."""
    found = recipes(norm, objective)
    together = stacked(found, kind=kind)
    together.advance(together.steps)
    for k, (seed, recipe, model) in enumerate(zip(SEEDS, found, together.model.networks(), strict=True)):
        alone = Trainer(network(seed, kind), data(seed), recipe, spawn_streams(seed))
        alone.advance(alone.steps_per_epoch)
        alone.reset_loss()
        alone.advance(alone.steps)
        moved = weights(alone.model) - weights(network(seed, kind))
        assert moved.norm() > 0.1
        assert (weights(model) - weights(alone.model)).norm() < 1e-4 * moved.norm()
        np.testing.assert_allclose(float(together.losses[k]), alone.mean_loss(), rtol=1e-4)


def test_standard_training_needs_no_attack() -> None:
    base = replace(BASE, attack=None, objective=Standard())
    together = stacked([base] * 3)
    together.advance(3)
    alone = Trainer(network(6), data(6), base, spawn_streams(6))
    alone.advance(3)
    torch.testing.assert_close(weights(together.model.networks()[1]), weights(alone.model), rtol=1e-4, atol=1e-5)


def test_a_network_that_diverges_leaves_the_others_alone() -> None:
    """Weights so large that its loss overflows."""
    found = recipes()
    whole, part = stacked(found), stacked(found[1:], SEEDS[1:])
    with torch.no_grad():
        for p in whole.model.stacked:
            p[0] *= 1e30
    for each in (whole, part):
        each.advance(4)
    assert not bool(whole.losses[0].isfinite())
    assert bool(whole.losses[1:].isfinite().all())
    for a, b in zip(whole.model.networks()[1:], part.model.networks(), strict=True):
        torch.testing.assert_close(weights(a), weights(b), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"averaging": "ema"}, "averaging must be none in a stack, got ema"),
        ({"weight_perturbation": 0.01}, "weight_perturbation must be 0.0 in a stack, got 0.01"),
        ({"augmentation": AUGMENTATIONS["crop"]}, "augmentation must be"),
        ({"replays": 2}, "replays must be 1"),
        ({"label_smoothing": 0.1}, "label_smoothing must be 0.0"),
        ({"attack_start": "normal"}, "attack_start must be uniform"),
        ({"objective": TemporalEnsembling()}, "objective TemporalEnsembling keeps something for each image"),
    ],
)
def test_what_a_stack_does_not_have_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        stacked([replace(BASE, **change)] * 3)


def test_what_differs_is_refused() -> None:
    other = {
        "epochs": replace(BASE, epochs=3),
        "objective": replace(BASE, objective=Trades()),
        "attack": replace(BASE, attack=Attack(Budget("2", 0.1), 2, 1.0)),
        "learning_rate": replace(BASE, learning_rate=0.1),
    }
    for name, recipe in other.items():
        with pytest.raises(UserError, match=f"{name} must be the same in a stack"):
            stacked([BASE, BASE, recipe])
    with pytest.raises(UserError, match="attack must be the same"):
        stacked([BASE, BASE, replace(BASE, attack=Attack(Budget("inf", 0.1), 3, 1.0))])
    with pytest.raises(UserError, match="one architecture"):
        StackedNetwork([network(0), SmallCNN(1, 8, 3, 5)])
    with pytest.raises(UserError, match="batch norm"):
        StackedNetwork([preact_resnet18(1, 16, 3, 1 / 32)])
    streams = [spawn_streams(0)] * 2
    with pytest.raises(UserError, match="equally many images"):
        StackedTrainer([network(0), network(1)], [data(0), data(1).take(torch.arange(5))], [BASE] * 2, streams)
    with pytest.raises(UserError, match="equally many, at least 1, got 1, 2, 2 and 2"):
        StackedTrainer([network(0)], [data(0)] * 2, [BASE] * 2, streams)


def test_curves_are_those_of_the_runs_alone() -> None:
    runs = tuple(
        replace(TOY, seed=seed, radius=radius, objective="mixture", beta=share, label_noise=noise)
        for seed, radius, share, noise in ((0, 0.02, 0.2, 1.0), (1, 0.1, 1.0, 0.5), (2, 0.3, 0.6, 0.0))
    )
    done: list[float] = []
    together = train_stack(Stack(runs), done.append)
    for k, run in enumerate(runs):
        alone = train_cell(run, lambda _done: None)
        for name in CURVES:
            np.testing.assert_allclose(together[name][k], alone[name], rtol=1e-4, atol=1e-9)
    assert sum(done) == pytest.approx(Stack(runs).work)
    assert together["epoch"].values.tolist() == [1, 2, 3]
    most = np.bincount(load_labels(runs[0])).max() / 30
    assert float(together["most_frequent"][0]) == most


def load_labels(run: TrainingConfig) -> np.ndarray:
    from cgro.training.run import Data

    return Data.of(run).train.labels.numpy()


@pytest.mark.parametrize("norm", ["inf", "2", "1"])
def test_points_with_radii_of_their_own(norm: Norm) -> None:
    """As good as an attack for each radius, bit for bit, and no point outside its own ball."""
    x = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    direction = torch.randn(1, 4, 4, generator=torch.Generator().manual_seed(1))
    budgets = [Budget(norm, radius) for radius in (0.05, 0.2, 0.7)]
    together = Budgets.of(budgets, [1, 2, 3], 4, torch.device("cpu"))

    def climb(budget: Budget | Budgets, points: Tensor, size: float | Tensor) -> Tensor:
        return pgd(
            lambda z: ((z - 0.5) ** 2 * direction).sum((1, 2, 3)), points, budget, steps=4, step_size=size, clamp=(0, 1)
        )

    found = climb(together, x, 0.4 * together.radius.float())
    for budget, own in zip(budgets, (slice(0, 1), slice(1, 3), slice(3, 6)), strict=True):
        torch.testing.assert_close(found[own], climb(budget, x[own], 0.4 * budget.radius), rtol=0, atol=1e-6)
        assert bool((perturbation_size(found[own], x[own], norm) <= budget.radius).all())
        assert bool((perturbation_size(found[own], x[own], norm) > 0.5 * min(budget.radius, 0.5)).any())
    with pytest.raises(UserError, match="norm must be the same in all networks, got 2, inf"):
        Budgets.of([Budget("2", 1.0), Budget("inf", 1.0)], [1, 1], 4, torch.device("cpu"))
