"""`cgro.evaluate`: any torch classifier, any float images; accuracies by attack, and what speaks against them."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import cgro
from cgro.attacks.ball import Budget
from cgro.attacks.ensemble import AttackEnsemble
from cgro.attacks.images import correct, evaluation_attack
from cgro.base.errors import AccuracyWarning, UserError
from cgro.data.batches import Images
from cgro.data.images import load_images

BUDGET = Budget("inf", 0.1)


@pytest.fixture(scope="module")
def data() -> tuple[Tensor, Tensor]:
    digits = load_images("digits")
    return digits.test_images[:60] / digits.white, digits.test_labels[:60]


@pytest.fixture(scope="module")
def model() -> nn.Module:
    """A small network, trained for a moment, with its normalization inside."""
    digits = load_images("digits")
    x, y = digits.train_images / 16, digits.train_labels
    generator = torch.Generator().manual_seed(0)
    net = nn.Sequential(Normalized(), nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) / max(1, p.shape[-1]) ** 0.5)
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    return net


class Normalized(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x - 0.3) / 0.35


def test_accuracies_are_those_of_the_attacks_of_the_library(model: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    """The same attacks, streams and batches give the same images: there is no second implementation."""
    x, y = data
    found = cgro.evaluate(model, x, y, BUDGET, seed=3)
    stream, images = np.random.SeedSequence(3), Images((x * 16).byte(), y, 16)
    clean = correct(model, images)
    assert np.array_equal(found.correct.sel(attack="clean"), clean)
    pgd = np.zeros(len(y), bool)
    pgd[clean] = correct(model, images.take(clean.nonzero()[:, 0]), evaluation_attack(BUDGET, 20), stream)
    assert np.array_equal(found.correct.sel(attack="PGD-20"), pgd)
    left = images.take(torch.from_numpy(pgd).nonzero()[:, 0])
    for stage, mask in AttackEnsemble(BUDGET).correct(model, left, stream).items():
        if stage != "clean":
            assert np.array_equal(found.correct.sel(attack=f"strong: {stage}")[pgd], mask)
    assert float(found.accuracy[0]) > 0.8
    assert float(found.accuracy[-1]) < float(found.accuracy[0]) - 0.2


def test_every_attack_is_tried_on_what_is_left(model: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    found = cgro.evaluate(model, *data, BUDGET)
    assert (found.accuracy.diff("attack") <= 0).all()
    assert np.allclose(found.accuracy, found.correct.mean("image"))
    assert (found.low <= found.accuracy).all()
    assert (found.accuracy <= found.high).all()
    assert found.attrs["images"] == 60
    assert (found.attrs["norm"], found.attrs["radius"], found.attrs["confidence"]) == ("inf", 0.1, 0.95)
    assert found.attrs["warnings"] == []


def test_the_interval_is_that_of_wilson(model: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    found = cgro.evaluate(model, *data, BUDGET, strong=False, confidence=0.9).isel(attack=0)
    z, n, p = 1.6448536269514722, 60, float(found.accuracy)
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert np.allclose([found.low, found.high], [centre - half, centre + half], atol=1e-9)


def test_arrays_and_tensors_of_any_float_type_are_one(model: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    x, y = data
    first = cgro.evaluate(model, x, y, BUDGET, strong=False)
    for images, labels in ((x.numpy(), y.numpy()), (x.double(), y.int()), (x.numpy().astype(np.float64), y)):
        assert cgro.evaluate(model, images, labels, BUDGET, strong=False).identical(first)


def test_a_model_in_float64_sees_float64(model: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    import copy

    wide = copy.deepcopy(model).double()
    found = cgro.evaluate(wide, *data, BUDGET, strong=False)
    assert abs(float(found.accuracy[0]) - float(cgro.evaluate(model, *data, BUDGET, strong=False).accuracy[0])) < 0.02
    assert next(wide.parameters()).dtype == torch.float64


def test_images_need_not_be_square_and_may_have_any_channels() -> None:
    rng = np.random.default_rng(0)
    x = rng.random((12, 3, 5, 9))
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)
        found = cgro.evaluate(model, x, rng.integers(0, 3, 12), Budget("2", 0.1))
    assert found.sizes["image"] == 12


def test_a_custom_attack_is_evaluated_on_its_own(model: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    """It comes first, so that its row is its own strength, and what it breaks is broken in every later one."""

    def nothing(model: nn.Module, x: Tensor, y: Tensor, budget: Budget) -> Tensor:
        return x

    found = cgro.evaluate(model, *data, BUDGET, attacks={"nothing": nothing, "strong one": cgro.APGD(steps=30)})
    assert found.attack.values.tolist()[:4] == ["clean", "nothing", "strong one", "PGD-20"]
    assert float(found.accuracy[1]) == float(found.accuracy[0])
    assert float(found.accuracy[2]) < float(found.accuracy[1])
    assert (found.accuracy.diff("attack") <= 0).all()
    with pytest.raises(UserError, match="attack names must differ, got 'clean' twice"):
        cgro.evaluate(model, *data, BUDGET, attacks={"clean": nothing})


class Saturated(nn.Module):
    """The answers of a network as one-hot vectors: no gradients anywhere."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.one_hot(self.inner(x).argmax(1), 10).to(x)


def test_masked_gradients_are_reported(model: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    with pytest.warns(AccuracyWarning) as told:
        found = cgro.evaluate(Saturated(model), *data, BUDGET, strong=False)
    assert [str(each.message) for each in told] == found.attrs["warnings"]
    assert any("gradient of the cross-entropy vanishes" in line for line in found.attrs["warnings"])
    assert any("every pixel may become anything" in line for line in found.attrs["warnings"])
    assert found.attrs["vanishing_gradients"] > 0


def test_the_model_is_left_as_it_was(model: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    cgro.evaluate(model, *data, BUDGET, strong=False)
    assert model.training
    assert all(p.requires_grad for p in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"images": lambda x: (x * 255).byte()}, "images must be floats in .0, 1., got torch.uint8: divide 8-bit"),
        ({"images": lambda x: x * 255}, "got 0 to 255 with white 1: divide 8-bit values"),
        ({"images": lambda x: x - 0.1}, "float pixels must lie in .0, 1. with white 1, got -0.1"),
        ({"images": lambda x: x * torch.nan}, "float pixels must lie in .0, 1. with white 1, got nan"),
        ({"images": lambda x: x[:, 0]}, r"images must be uint8 or float \(N, C, H, W\)"),
        ({"images": lambda x: x[:0], "labels": lambda y: y[:0]}, "images must be at least one, got none"),
        ({"images": lambda x: "pixels"}, "images must be|images are"),
        ({"labels": lambda y: y[:-1]}, "images must be uint8 or float"),
        ({"labels": lambda y: y + 5}, "labels must be 0 to 9 for 10 logits, got 5 to 14"),
        ({"labels": lambda y: y.float()}, "labels must be a tensor of integers"),
        ({"model": lambda m: torch.relu}, "model must be a torch.nn.Module"),
        ({"budget": lambda b: Budget("inf", 8.0)}, "radius must be at most 1 in l_inf, got 8"),
    ],
)
def test_inconsistent_arguments_are_refused(model, data, change: dict, words: str) -> None:
    given = {"model": model, "images": data[0], "labels": data[1], "budget": BUDGET}
    given |= {name: made(given[name]) for name, made in change.items()}
    with pytest.raises(UserError, match=words):
        cgro.evaluate(**given)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"confidence": 1.0}, {"seed": -1}, {"batch_size": 0}])
def test_options_out_of_range_are_refused(model, data, wrong: dict) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        cgro.evaluate(model, *data, BUDGET, **wrong)
