"""Layers of a stack: outputs and gradients are those of every network alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tools import images
from torch import Tensor, nn

from cgro.base.errors import UserError
from cgro.models.convolutional import LeNet, Normalize, SmallCNN
from cgro.training.stacked import StackedNetwork, Subsets
from cgro.training.stacked_layers import stacked_layers


class Plain(nn.Module):
    """A network with a single sequence of layers."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


KNOWN: dict[str, Callable[[], nn.Module]] = {
    "small-cnn": lambda: SmallCNN(2, 9, 3, 4),
    "lenet": lambda: LeNet(2, 9, 3, 1),
    "strides": lambda: Plain(
        Normalize(0.3, 0.2), nn.Conv2d(2, 3, 4, stride=3, padding=2), nn.ReLU(), nn.Conv2d(3, 2, 1), nn.Flatten()
    ),
    "pooling": lambda: Plain(nn.MaxPool2d(2), nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(12, 3)),
}
UNKNOWN: dict[str, Callable[[], nn.Module]] = {
    "groups": lambda: Plain(nn.Conv2d(2, 4, 3, groups=2), nn.Flatten()),
    "dilation": lambda: Plain(nn.Conv2d(2, 4, 3, dilation=2), nn.Flatten()),
    "kernel": lambda: Plain(nn.Conv2d(2, 4, (3, 1)), nn.Flatten()),
    "no bias": lambda: Plain(nn.Conv2d(2, 4, 3, bias=False), nn.Flatten()),
    "reflection": lambda: Plain(nn.Conv2d(2, 4, 3, padding=1, padding_mode="reflect"), nn.Flatten()),
    "overlapping": lambda: Plain(nn.MaxPool2d(3, stride=2), nn.Flatten()),
    "activation": lambda: Plain(nn.Conv2d(2, 4, 3), nn.GELU(), nn.Flatten()),
    "nested": lambda: nn.Sequential(Plain(nn.Conv2d(2, 4, 3), nn.Flatten())),
}


def points(count: int, seed: int) -> Tensor:
    """Images of few grey values, so that several pixels of a pool are equally large."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, (count, 2, 9, 9), generator=generator).double() / 2


@pytest.mark.parametrize("name", [*KNOWN, *UNKNOWN])
def test_outputs_and_gradients_are_those_of_each_network_alone(name: str) -> None:
    """In float64, for the weights and for the images; K = 3 networks of B = 5 images each."""
    torch.manual_seed(0)
    networks = [(KNOWN | UNKNOWN)[name]().double() for _ in range(3)]
    assert (stacked_layers(networks[0]) is not None) == (name in KNOWN)
    x = torch.cat([points(5, k) for k in range(3)]).requires_grad_(True)
    stack = StackedNetwork(networks)
    out = stack(x)
    pull = torch.rand(out.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    gradients = torch.autograd.grad((out * pull).sum(), [x, *stack.stacked])
    for k, network in enumerate(networks):
        own = slice(5 * k, 5 * k + 5)
        z = x[own].detach().requires_grad_(True)
        alone = network(z)
        torch.testing.assert_close(out[own], alone)
        expected = torch.autograd.grad((alone * pull[own]).sum(), [z, *network.parameters()])
        torch.testing.assert_close(gradients[0][own], expected[0])
        for together, each in zip(gradients[1:], expected[1:], strict=True):
            torch.testing.assert_close(together[k], each)


def test_members_are_indices_of_the_images() -> None:
    own = images(size=8)
    for members in (torch.tensor([[0, 1], [2, 20]]), torch.tensor([[-1, 1]]), torch.tensor([0, 1]), torch.ones(2, 2)):
        with pytest.raises(UserError, match=r"members must be .*, got"):
            Subsets(own, members)
