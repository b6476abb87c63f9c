"""Image models: published parameter counts, shapes, seeds, and samples that do not interact in evaluation mode."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from cgro.base.errors import UserError
from cgro.models.convolutional import LeNet, SmallCNN, parameter_count
from cgro.models.residual import preact_resnet18, wide_resnet

MODELS: dict[str, Callable[..., nn.Module]] = {
    "lenet": lambda **options: LeNet(1, 28, 10, 2, **options),
    "small": lambda **options: SmallCNN(3, 32, 10, 4, **options),
    "preact": lambda **options: preact_resnet18(3, 32, 10, 1 / 16, **options),
    "wide": lambda **options: wide_resnet(3, 32, 10, 0.5, depth=10, **options),
}
SHAPES = {"lenet": (1, 28, 28), "small": (3, 32, 32), "preact": (3, 32, 32), "wide": (3, 32, 32)}


def made(name: str, seed: int = 0) -> nn.Module:
    return MODELS[name](generator=torch.Generator().manual_seed(seed)).eval()


def images(name: str, count: int = 3) -> torch.Tensor:
    return torch.rand(count, *SHAPES[name], generator=torch.Generator().manual_seed(1))


def test_parameter_counts_are_the_published_ones() -> None:
    # With the final batch norm of the paper, which adds 2 x 512 to the count that circulates without it.
    assert parameter_count(preact_resnet18(3, 32, 10)) == 11_171_146 + 1024
    assert parameter_count(wide_resnet(3, 32, 10, 10, depth=28)) == 36_479_194
    assert parameter_count(wide_resnet(3, 32, 10, 10, depth=34)) == 46_160_474


@pytest.mark.parametrize("width", [1, 16])
def test_lenet_is_that_of_the_challenge(width: int) -> None:
    a, b, hidden = 2 * width, 4 * width, 64 * width
    expected = (25 + 1) * a + (25 * a + 1) * b + (49 * b + 1) * hidden + (hidden + 1) * 10
    assert parameter_count(LeNet(1, 28, 10, width)) == expected
    if width == 16:
        assert (a, b, hidden) == (32, 64, 1024)


def test_width_scales_parameters_quadratically() -> None:
    half, one = (parameter_count(preact_resnet18(3, 32, 10, width)) for width in (0.5, 1.0))
    assert 3.9 < one / half < 4.1


@pytest.mark.parametrize("name", MODELS)
def test_a_seed_gives_the_same_network_and_leaves_the_global_one_alone(name: str) -> None:
    state = torch.get_rng_state()
    x = images(name)
    torch.testing.assert_close(made(name)(x), made(name)(x), rtol=0, atol=0)
    assert not torch.equal(made(name)(x), made(name, seed=1)(x))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", MODELS)
def test_samples_do_not_interact_in_evaluation_mode(name: str) -> None:
    model, x = made(name).double(), images(name).double().requires_grad_(True)
    (gradient,) = torch.autograd.grad(model(x)[0].sum(), x)
    assert gradient[0].abs().max() > 0
    assert gradient[1:].abs().max() == 0
    torch.testing.assert_close(model(x[1:2]), model(x)[1:2])


@pytest.mark.parametrize("name", MODELS)
def test_logits_are_finite_and_depend_on_the_image(name: str) -> None:
    logits = made(name)(images(name))
    assert logits.shape == (3, 10)
    assert bool(torch.isfinite(logits).all())
    assert not torch.equal(logits[0], logits[1])


def test_signals_keep_their_size_through_the_blocks() -> None:
    """At initialization the features before the last norm neither vanish nor explode."""
    model = preact_resnet18(3, 32, 10, 0.25, generator=torch.Generator().manual_seed(0)).train()
    h = model.stages(model.stem(model.normalize(images("preact", 16))))
    assert 0.1 < float(h.detach().std()) < 30


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: wide_resnet(3, 32, 10, depth=27), "depth must be 6 n + 4 for a wide residual network"),
        (lambda: preact_resnet18(3, 8, 10), "images of 3 x 8 x 8"),
        (lambda: LeNet(1, 2, 10), "size must be at least 4 and width at least 1, got 2"),
    ],
)
def test_bad_sizes_are_reported_in_one_line(call: Callable[[], nn.Module], words: str) -> None:
    with pytest.raises((UserError, ValueError)) as caught:
        call()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
