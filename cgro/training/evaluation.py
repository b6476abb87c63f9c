"""The accuracies that `cgro evaluate` reports for a trained network; no attack is weaker than the one in training.

The attack of the learning curves comes first, with the same random starts. Each further attack is tried on the images
that survived the earlier ones. Every reported accuracy is thus at most that of the learning curve on the same images.
"""

from __future__ import annotations

import warnings
from dataclasses import replace

import torch
from torch import Tensor, nn

from cgro.attacks.ball import Budget
from cgro.attacks.evaluation import Evaluation, Tick, evaluated
from cgro.attacks.images import correct
from cgro.base.errors import AccuracyWarning
from cgro.base.machine import in_batches_that_fit
from cgro.base.randomness import Stream
from cgro.data.batches import Images
from cgro.training.config import TrainingConfig
from cgro.training.distributed import Team
from cgro.training.run import CURVE_BATCH, evaluation_stream


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
    ensemble_steps: int = 100,
    batch_size: int = 256,
    tick: Tick = lambda _done: None,
) -> Evaluation:
    """Accuracy on clean images, under PGD, and after each attack of the strong ensemble.

    steps: of PGD, raised to those of training if they are fewer; images: from `part` of the data, starting with those
    of the learning curve; epoch: of the checkpoint, from 1; processes: how many measured it; fast: PGD only;
    ensemble_steps: of its APGD. `tick` is called with the number of images done: each counts once under PGD and, unless
    `fast`, once under the ensemble.
    """
    return evaluated(
        model,
        images,
        budget,
        steps=max(steps, config.stronger.steps),
        stream=stream,
        strong=not fast,
        ensemble_steps=ensemble_steps,
        before=_as_in_training(model, config, images, budget, part, epoch, processes),
        batch_size=batch_size,
        tick=tick,
    )


def _as_in_training(
    model: nn.Module, config: TrainingConfig, images: Images, budget: Budget, part: str, epoch: int, processes: int
) -> Tensor:
    """Which images are correct under the attack of the learning curve, with its batches and starts."""
    attack, found = replace(config.stronger, budget=budget), torch.zeros_like(images.labels, dtype=torch.bool)
    everything = torch.arange(len(images), device=found.device).split(min(config.evaluation_images, len(images)))

    def attacked(indices: Tensor, team: Team) -> None:
        stream = evaluation_stream(config.seed, epoch, part, team)
        found[indices] = in_batches_that_fit(
            lambda size: correct(model, images.take(indices), attack, stream, batch_size=size),
            config.micro_batch or CURVE_BATCH,
        )

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)  # `Evaluation.complaints` reports it once
        for rank in range(processes):
            team = Team(rank, processes)
            if len(own := team.share(everything[0])):
                attacked(own, team)
        if len(everything) > 1:
            attacked(torch.cat(everything[1:]), Team())
    return found
