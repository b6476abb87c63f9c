"""`cgro.train`: a configuration in one call, and models, images, objectives and attacks of the user in its place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import cgro
from cgro.attacks.ball import Budget
from cgro.base.errors import UserError
from cgro.data.images import load_images
from cgro.training.config import TrainingConfig
from cgro.training.objectives import Adversarial, Standard
from cgro.training.observers import Batch
from cgro.training.run import TrainingRun
from cgro.training.train import Trained

CONFIG = TrainingConfig(
    samples=60, held_out=30, epochs=2, width=3, radius=0.1, attack_steps=2, evaluation_images=40, evaluation_steps=3,
    device="cpu",
)  # fmt: skip
OWN = replace(CONFIG, data="own")


@pytest.fixture(autouse=True)
def _same_start() -> None:
    """Networks of this file draw their weights by torch's own generator."""
    torch.manual_seed(0)


def linear(shape: tuple[int, ...] = (1, 8, 8), classes: int = 10) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), classes))


def digits() -> dict[str, tuple[Tensor, Tensor]]:
    """Those of scikit-learn as floats in [0, 1]."""
    data = load_images("digits")
    return {
        "train_set": (data.train_images / 16, data.train_labels),
        "test_set": (data.test_images / 16, data.test_labels),
    }


def same(a: Trained, b: Trained) -> bool:
    states = a.model.state_dict(), b.model.state_dict()
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_configuration_trains_as_it_does_from_the_command_line() -> None:
    run = TrainingRun(CONFIG)
    curves = run.run(lambda _done: None)
    found = cgro.train(CONFIG)
    assert found.curves.identical(curves)
    assert not found.model.training
    assert found.best.keys() == found.model.state_dict().keys()


def test_a_folder_keeps_checkpoints_and_a_second_call_returns_the_same(tmp_path: Path) -> None:
    first = cgro.train(CONFIG, folder=tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"best.safetensors", "last.safetensors"}
    second = cgro.train(CONFIG, folder=str(tmp_path))
    assert second.curves.identical(first.curves)
    assert same(first, second)


def test_arrays_train_like_the_data_set_that_they_hold() -> None:
    """Digits handed over as floats are the digits that the configuration names, to the bit."""
    named, own = cgro.train(CONFIG), cgro.train(OWN, **digits())
    assert same(named, own)
    assert own.curves.drop_attrs().identical(named.curves.drop_attrs())
    assert (own.curves.attrs["data"], named.curves.attrs["data"]) == ("own", "digits")


def test_augmentation_of_floats_is_that_of_bytes() -> None:
    """But for cutout, whose grey is 1/2 in place of 8/16."""
    config = replace(CONFIG, augmentation="crop")
    assert same(cgro.train(config), cgro.train(replace(config, data="own"), **digits()))


def test_a_custom_model_is_trained_in_place() -> None:
    model = linear()
    before = model[1].weight.detach().clone()
    found = cgro.train(CONFIG, model=model)
    assert found.model is model
    assert not torch.equal(model[1].weight, before)
    assert found.curves.attrs["model"] == "Sequential"
    assert found.curves.attrs["parameters"] == 650


def test_custom_arrays_may_be_rectangular_with_a_custom_model() -> None:
    rng = np.random.default_rng(0)
    x = rng.random((90, 3, 5, 9))
    y = (x.mean((1, 2, 3)) > np.median(x.mean((1, 2, 3)))).astype(int)
    parts = {"train_set": (x[:70], y[:70]), "test_set": (x[70:], y[70:])}
    config = replace(OWN, samples=None, held_out=10)
    found = cgro.train(config, model=linear((3, 5, 9), 2), **parts)
    assert (found.curves.attrs["train_images"], found.curves.attrs["test_images"]) == (60, 20)
    with pytest.raises(UserError, match="images must be square for model small-cnn, got 5 x 9"):
        cgro.train(config, **parts)
    with pytest.raises(UserError, match="images must be square to be augmented, got 5 x 9"):
        cgro.train(replace(config, augmentation="crop"), model=linear((3, 5, 9), 2), **parts)


class Doubled(Adversarial):
    """Twice the loss: as twice the learning rate, without momentum and decay."""

    def losses(self, model: nn.Module, batch: Batch, z: Tensor) -> Tensor:
        return 2 * cross_entropy(model(z), batch.y, reduction="none")


def test_a_custom_objective_is_minimized() -> None:
    config = replace(CONFIG, momentum=0.0)
    twice = cgro.train(config, objective=Doubled())
    faster = cgro.train(replace(config, learning_rate=2 * config.learning_rate))
    assert same(twice, faster)
    assert twice.curves.attrs["method"] == "Doubled"


def test_a_custom_attack_finds_the_points_that_are_trained_on() -> None:
    """It gets the radius of the warmup, and its points are moved into that ball."""
    radii: list[float] = []

    def nothing(model: nn.Module, x: Tensor, y: Tensor, budget: Budget) -> Tensor:
        radii.append(budget.radius)
        return x

    def far(model: nn.Module, x: Tensor, y: Tensor, budget: Budget) -> Tensor:
        return 1 - x

    idle = cgro.train(CONFIG, attack=nothing)
    clean = cgro.train(replace(CONFIG, objective="standard"))
    assert same(idle, clean)
    assert radii[0] < radii[-1] == CONFIG.radius
    assert idle.curves.attrs["method"] == "nothing"
    tiny = replace(CONFIG, radius=1e-7)
    close, still = cgro.train(tiny, attack=far), cgro.train(tiny, attack=nothing)
    first, second = close.curves, still.curves
    assert np.allclose(first.train_loss, second.train_loss, atol=1e-4)
    assert not same(cgro.train(CONFIG, attack=far), idle)


def test_attacks_of_the_library_have_the_same_shape() -> None:
    found = cgro.train(CONFIG, attack=cgro.PGD(steps=2))
    assert found.curves.attrs["method"] == "PGD"


def test_gradients_of_the_attack_do_not_reach_the_weights() -> None:
    """Gradients of the attack do not reach the weights."""

    def leaky(model: nn.Module, x: Tensor, y: Tensor, budget: Budget) -> Tensor:
        return x + 0 * model(x).sum()

    assert same(cgro.train(CONFIG, attack=leaky), cgro.train(replace(CONFIG, objective="standard")))


@pytest.mark.parametrize(
    ("config", "parts", "words"),
    [
        (OWN, {}, "data must be 'own' with arrays .*got 'own'"),
        (CONFIG, digits(), "data must be 'own' with arrays .*got 'digits'"),
        (OWN, {"train_set": digits()["train_set"]}, "give both train_set and test_set"),
        (replace(OWN, samples=5000), digits(), "samples must be .*got 5000"),
        (replace(OWN, held_out=1195), digits(), "held_out must be .*got 1195"),
        (replace(OWN, classes=(3, 12)), digits(), "classes must be two or more different ones of 0 to 9 .*got .3, 12."),
        (replace(OWN, radius=2.0), digits(), "radius must be .*got 2"),
        (replace(CONFIG, objective="trades"), {"objective": Doubled()}, "objective must be adversarial .*got trades"),
        (CONFIG, {"objective": Standard(), "attack": cgro.PGD()}, "objective Standard trains on clean images"),
        (CONFIG, {"attack": lambda m, x, y, b: x[:1]}, "attack must return one point for each"),
        (CONFIG, {"model": linear(classes=3)}, "labels must be 0 to 2 for a network with 3 classes, got 9"),
    ],
)
def test_parts_that_do_not_go_together_are_refused(config: TrainingConfig, parts: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        cgro.train(config, **parts)


def test_a_folder_is_refused_with_custom_parts(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="folder is for what a configuration names"):
        cgro.train(CONFIG, model=linear(), folder=tmp_path)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (lambda x, y: ((x * 255).byte(), y), "floats in .*got torch.uint8"),
        (lambda x, y: (x * 255, y), "float pixels must lie in"),
        (lambda x, y: (x, y.float()), "must have integer labels, got torch.float32"),
        (
            lambda x, y: (x[:, :, :7], y),
            r"test images must have one shape, got \(1, 7, 8\) and \(1, 8, 8\)",
        ),
        (lambda x, y: (x, y[:-1]), r"images must be uint8 or float \(N, C, H, W\) with labels"),
    ],
)
def test_invalid_images_are_refused(changed, words: str) -> None:
    given = digits()
    with pytest.raises(UserError, match=words):
        cgro.train(OWN, train_set=changed(*given["train_set"]), test_set=given["test_set"])
