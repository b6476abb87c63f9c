"""Training of many small networks at once: their weights are stacked, and every operation acts on all of them.

Small networks leave a processor idle between operations: at widths up to 8 a stack trains several times faster than
one network after another, and more so on a GPU. Each network has its own data, labels, seed, radius and weight of the
second loss term, and draws the same random numbers as `Trainer` does for it alone; up to rounding it becomes the same
network, whatever the others are. The forward pass of the stack is that of `stacked_layers.py`; for networks of other
layers it is `torch.func.vmap` over one network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from cgro.attacks.ball import Budgets, random_start
from cgro.attacks.images import BOX, Attack
from cgro.attacks.modes import evaluating
from cgro.attacks.pgd import pgd
from cgro.base import interrupts
from cgro.base.errors import UserError
from cgro.base.randomness import Stream, at, torch_generator
from cgro.data.batches import Augmentation, Images
from cgro.training.descent import Descent
from cgro.training.objectives import Objective
from cgro.training.observers import Batch, Observer, Remembering
from cgro.training.optimization import STACKABLE
from cgro.training.recipe import Recipe
from cgro.training.stacked_layers import stacked_layers


class StackedNetwork(nn.Module):
    """K networks of one architecture as one module.

    It takes images (K B, C, S, S), B for each network one after another, and returns logits (K B, classes). Parameters
    are stacked along a new first dimension.

    Raises: UserError for networks of different architectures, and those whose images interact (batch norm).
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        shapes = [{name: tuple(p.shape) for name, p in network.named_parameters()} for network in networks]
        if any(each != shapes[0] for each in shapes):
            raise UserError("networks of a stack must be of one architecture and width: train them one by one")
        if any(isinstance(m, nn.modules.batchnorm._BatchNorm) for network in networks for m in network.modules()):
            raise UserError("networks of a stack must not have batch norm: train them one by one")
        parameters, buffers = stack_module_state(list(networks))
        self.names, self.count = list(parameters), len(networks)
        self.stacked = nn.ParameterList([parameters[name].detach() for name in self.names])
        self._buffers_of = buffers
        self._layers = stacked_layers(networks[0])
        self._networks = tuple(networks)  # a tuple, so that they are not submodules

    def forward(self, x: Tensor) -> Tensor:
        """Logits of all networks for their images."""
        parameters = dict(zip(self.names, self.stacked, strict=True))
        if self._layers is not None:
            known, values = parameters | self._buffers_of, x.unflatten(0, (self.count, -1)).permute(0, 2, 3, 4, 1)
            for layer in self._layers:
                values = layer(known, values)
            return values.transpose(1, 2).flatten(0, 1)
        return vmap(self._one)(parameters, self._buffers_of, x.unflatten(0, (self.count, -1))).flatten(0, 1)

    def _one(self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor) -> Tensor:
        found: Tensor = functional_call(self._networks[0], (parameters, buffers), (x,))
        return found

    def networks(self) -> tuple[nn.Module, ...]:
        """The networks one by one, with the weights that they have now."""
        for k, network in enumerate(self._networks):
            network.load_state_dict({n: p[k].detach() for n, p in zip(self.names, self.stacked, strict=True)}, False)
        return self._networks


@dataclass(frozen=True)
class Subsets:
    """Training images of K networks that are subsets of the same images, which are stored once.

    Raises: UserError unless `members` are indices of the images.
    """

    images: Images
    members: Int[Tensor, "K n"]
    """Indices of each network's images."""

    def __post_init__(self) -> None:
        given = self.members
        if given.ndim != 2 or not given.numel() or given.dtype != torch.int64:
            raise UserError(f"members must be int64 (networks, images), got {given.dtype} {tuple(given.shape)}")
        if int(given.min()) < 0 or int(given.max()) >= len(self.images):
            raise UserError(
                f"members must be indices of {len(self.images)} images, got {int(given.min())} to {int(given.max())}"
            )

    @classmethod
    def of(cls, data: Sequence[Images]) -> Subsets:
        """The images of each network, equally many. Raises: UserError for other numbers of them."""
        if len({len(images) for images in data}) > 1:
            raise UserError("data of a stack must be equally many images for each network: train them one by one")
        pixels = torch.cat([images.scaled(images.pixels) for images in data])
        labels = torch.cat([images.labels for images in data])
        return cls(Images(pixels, labels, 1), torch.arange(len(labels)).view(len(data), -1))


class StackedTrainer:
    """K networks in training, after `step` updates; each is trained as `Trainer` trains it alone, up to rounding.

    Args:
        networks: of one architecture, without batch norm.
        data: training images of each, equally many, or subsets of the same images.
        recipes: of each; they differ at most in the radius and in the numbers of the objective.
        streams: random streams of each.

    Raises: UserError for networks, data or recipes that do not go together, and for parts of a recipe that a stack
        does not have: observers, cures that are observers, averages, weight perturbation, augmentation, free training.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        data: Sequence[Images] | Subsets,
        recipes: Sequence[Recipe],
        streams: Sequence[dict[str, Stream]],
    ) -> None:
        count = len(data.members) if isinstance(data, Subsets) else len(data)
        if not networks or not len(networks) == count == len(recipes) == len(streams):
            raise UserError(
                "networks, data, recipes and streams must be equally many, at least 1, got "
                f"{len(networks)}, {count}, {len(recipes)} and {len(streams)}"
            )
        _require_alike(recipes)
        subsets = data if isinstance(data, Subsets) else Subsets.of(data)
        self.recipe, self.recipes, self.streams = recipes[0], list(recipes), list(streams)
        self.images, self.device = subsets.images, subsets.images.labels.device
        self.members = subsets.members.to(self.device)
        self.model = StackedNetwork([network.to(self.device) for network in networks])
        self.network = Remembering(self.model)
        recipe = self.recipe
        self.optimizer = Descent(
            self.model.parameters(),
            rate=recipe.learning_rate,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
        )
        self.step = 0
        self.steps_per_epoch = math.ceil(self.members.shape[1] / recipe.batch_size)
        self.steps = recipe.epochs * self.steps_per_epoch
        self.losses = torch.zeros(len(networks), dtype=torch.float64, device=self.device)
        """Mean loss of each network over the images of this epoch so far, in nats; not finite if it diverged."""
        self._seen = 0
        self._order = torch.empty(0)

    def advance(self, to: int, after_step: Callable[[], object] = lambda: None) -> None:
        """Update until `step` is `to`. Ctrl-C takes effect between two updates. A network that diverges does not stop
        the others; `losses` tells."""
        self.model.train()
        while self.step < to:
            with interrupts.postponed():
                self._update()
            after_step()

    def _update(self) -> None:
        recipe, epoch = self.recipe, self.step // self.steps_per_epoch
        first = self.step % self.steps_per_epoch * recipe.batch_size
        if first == 0:
            orders = [
                torch.randperm(self.members.shape[1], generator=self._generator("order", epoch, k=k))
                for k in self._each
            ]
            self._order, self._seen = torch.stack(orders).to(self.device), 0
            self.losses.zero_()
        self.optimizer.rate = recipe.rate_at((self.step + 1) / (self.steps + 1))
        indices = self._order[:, first : first + recipe.batch_size]
        count, chosen = indices.shape[1], self.members.gather(1, indices).flatten()
        x, y = self.images.scaled(self.images.pixels[chosen]), self.images.labels[chosen]
        batch = Batch(x, y, indices.flatten(), epoch)
        objective = _together([each.objective for each in self.recipes], count, self.device)
        self.network.begin(x)
        z = self._attacked(objective, batch, count)
        self.optimizer.zero_grad()
        self.network.begin(x, z)
        answer = objective.losses(self.network, batch, z)
        assert isinstance(answer, Tensor)
        (answer.sum() / count).backward()
        self.network.begin()
        self.optimizer.step()
        found = answer.detach().double().unflatten(0, (-1, count)).sum(1)
        self.losses = (self.losses * self._seen + found) / (self._seen + count)
        self._seen += count
        self.step += 1

    @property
    def _each(self) -> range:
        return range(len(self.recipes))

    def _generator(self, stream: str, number: int, *, k: int, device: torch.device | str = "cpu") -> torch.Generator:
        return torch_generator(at(self.streams[k][stream], number), device)

    def _attacked(self, objective: Objective, batch: Batch, count: int) -> Tensor:
        progress = (self.step + 1) / self.steps
        attacks = [recipe.attack_at(progress) for recipe in self.recipes] if objective.attacks else []
        attack, x = attacks[0] if attacks else None, batch.x
        if attack is None:
            return x
        found: list[Attack] = [each for each in attacks if each is not None]
        budgets = Budgets.of([each.budget for each in found], [count] * len(found), x.ndim, self.device)
        start = None
        if attack.start:
            likes = x.unflatten(0, (-1, count))
            start = torch.cat(
                [
                    random_start(
                        likes[k], found[k].budget, self._generator("attack", self.step, k=k, device=self.device)
                    )
                    for k in self._each
                ]
            )
        with evaluating(self.network):
            return pgd(
                objective.ascent(self.network, batch),
                x,
                budgets,
                steps=attack.steps,
                step_size=attack.relative_step * budgets.radius.to(x.dtype),
                decay=attack.decay,
                clamp=BOX,
                start=start,
                check=False,
            )


def _require_alike(recipes: Sequence[Recipe]) -> None:
    first = recipes[0]
    wanted = STACKABLE | {
        "augmentation": Augmentation(), "replays": 1, "label_smoothing": 0.0, "search": None, "observers": (),
    }  # fmt: skip
    for name, value in wanted.items():
        if getattr(first, name) != value:
            raise UserError(f"{name} must be {value} in a stack, got {getattr(first, name)}: train networks one by one")
    if isinstance(first.objective, Observer):
        raise UserError(f"objective {type(first.objective).__name__} keeps something for each image: train one by one")
    for recipe in recipes[1:]:
        for each in fields(Recipe):
            own, other = getattr(first, each.name), getattr(recipe, each.name)
            if each.name == "objective":
                alike = type(own) is type(other)
            elif each.name == "attack" and own is not None and other is not None:
                alike = replace(other, budget=own.budget) == own and other.budget.norm == own.budget.norm
            else:
                alike = own == other
            if not alike:
                raise UserError(f"{each.name} must be the same in a stack, got {own} and {other}: train one by one")


def _together(objectives: Sequence[Objective], count: int, device: torch.device) -> Objective:
    """One objective with the numbers of each network for its `count` images, where they differ."""
    first: Any = objectives[0]
    numbers = {each.name: [getattr(o, each.name) for o in objectives] for each in fields(first)}
    return replace(
        first,
        **{
            name: torch.tensor(values, device=device).repeat_interleave(count)
            for name, values in numbers.items()
            if len(set(values)) > 1
        },
    )
