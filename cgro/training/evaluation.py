"""The accuracies of a trained network that `cgro evaluate` reports, none by an attack weaker than its training saw.

The attack of the learning curves comes first, with the random starts that it had there; each further attack is tried
on the images that those before have left. So every number is at most that of the learning curve on the same images.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from cgro.attacks.ball import Budget
from cgro.attacks.ensemble import AttackEnsemble
from cgro.attacks.gradient_masking import Look, look
from cgro.attacks.images import correct, evaluation_attack
from cgro.attacks.modes import judging
from cgro.base.errors import AccuracyWarning
from cgro.base.machine import in_batches_that_fit
from cgro.base.norms import cube_diameter
from cgro.base.randomness import Stream
from cgro.data.batches import Images
from cgro.training.config import TrainingConfig
from cgro.training.distributed import Team
from cgro.training.run import CURVE_BATCH, evaluation_stream

Tick = Callable[[float], object]
ANYWHERE = 100
"""Images that are attacked without a limit."""
FEW = 0.05
"""Share of them that may resist."""


@dataclass(frozen=True)
class Evaluation:
    """Which images are correct, bool (N,), by the name of the attack, and what speaks against the numbers."""

    masks: dict[str, Tensor]
    clean: Look
    resisting: int
    """Of `tried` correct images, those that no perturbation was found for that may be as large as the box."""
    tried: int

    def record(self) -> dict[str, Any]:
        """For JSON: signs of masked gradients."""
        about = {"attacked_without_limit": self.tried, "correct_without_limit": self.resisting}
        return self.clean.record() | about | {"warnings": self.complaints()}

    def complaints(self) -> list[str]:
        """What makes robust accuracy doubtful, a sentence each."""
        found = self.clean.complaints()
        if self.resisting > FEW * self.tried and not self.clean.constant:
            found.append(
                f"{self.resisting} of {self.tried} images stay correct where every pixel may become anything: "
                "gradients are masked, or the network answers nearly everything with one class"
            )
        return found


def evaluate_network(
    model: nn.Module,
    config: TrainingConfig,
    images: Images,
    budget: Budget,
    *,
    part: str,
    epoch: int,
    processes: int = 1,
    steps: int,
    stream: Stream,
    fast: bool = False,
    batch_size: int = 256,
    tick: Tick = lambda _done: None,
) -> Evaluation:
    """Clean, under PGD of `steps` or as many as training took, and after each stage of the strong ensemble.

    images: of `part` of the data, beginning with those of the learning curve; epoch: of the checkpoint, from 1;
    processes: how many measured it. `tick` is told how many images are done: each once under PGD, and unless `fast`
    once under the ensemble.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)  # told once, by `complaints`

        def fitting(work: Callable[[int], Any]) -> Any:
            return in_batches_that_fit(work, batch_size)

        def seen(size: int) -> Look:
            with judging(model):
                return look(model, images, size)

        clean = fitting(seen)
        left = clean.right & _as_in_training(model, config, images, budget, part, epoch, processes)
        attack = evaluation_attack(budget, max(steps, config.stronger.steps))

        def pgd(data: Images) -> dict[str, Tensor]:
            return {"pgd": fitting(lambda size: correct(model, data, attack, stream, batch_size=size, tick=tick))}

        def strong(data: Images) -> dict[str, Tensor]:
            return fitting(lambda size: AttackEnsemble(budget).correct(model, data, stream, batch_size=size, tick=tick))

        masks = {"clean": clean.right, f"PGD-{attack.steps}": _after(left, images, pgd, tick)["pgd"]}
        if not fast:
            stages = _after(masks[f"PGD-{attack.steps}"], images, strong, tick)
            masks |= {f"strong: {name}": mask for name, mask in stages.items() if name != "clean"}
        resisting, tried = _anywhere(model, images, clean.right, budget, stream, batch_size)
    return Evaluation(masks, clean, resisting, tried)


def _as_in_training(
    model: nn.Module, config: TrainingConfig, images: Images, budget: Budget, part: str, epoch: int, processes: int
) -> Tensor:
    """Which images are correct under the attack of the learning curve, in its batches and from its starts."""
    attack, found = replace(config.stronger, budget=budget), torch.zeros_like(images.labels, dtype=torch.bool)
    everything = torch.arange(len(images), device=found.device).split(min(config.evaluation_images, len(images)))

    def attacked(indices: Tensor, team: Team) -> None:
        stream = evaluation_stream(config.seed, epoch, part, team)
        found[indices] = in_batches_that_fit(
            lambda size: correct(model, images.take(indices), attack, stream, batch_size=size),
            config.micro_batch or CURVE_BATCH,
        )

    for rank in range(processes):
        team = Team(rank, processes)
        if len(own := team.share(everything[0])):
            attacked(own, team)
    if len(everything) > 1:
        attacked(torch.cat(everything[1:]), Team())
    return found


def _after(
    left: Tensor, images: Images, attack: Callable[[Images], dict[str, Tensor]], tick: Tick
) -> dict[str, Tensor]:
    """Masks (N,) of an attack on the images that are left; the others are errors."""
    tick(int((~left).sum()))
    indices = left.nonzero()[:, 0]
    found = {}
    for name, mask in attack(images.take(indices)).items():
        found[name] = torch.zeros_like(left)
        found[name][indices] = mask
    return found


def _anywhere(
    model: nn.Module, images: Images, right: Tensor, budget: Budget, stream: Stream, batch_size: int
) -> tuple[int, int]:
    """How many of some correct images stay so under any change, and how many were tried.

    The whole box is allowed, in which every other image lies, so none should: where many do, the attack is blind.
    """
    data = images.take(right.nonzero()[:ANYWHERE, 0])
    whole = Budget(budget.norm, cube_diameter(budget.norm, math.prod(images.pixels.shape[1:])))
    attack = evaluation_attack(whole)
    mask = in_batches_that_fit(lambda size: correct(model, data, attack, stream, batch_size=size), batch_size)
    return int(mask.sum()), len(data)
