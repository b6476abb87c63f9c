"""Speed of subset models trained many at once, and the cost of following cheap scores.

    python benchmarks/memorization.py [--models 300] [--epochs 2] [--rounds 5] [--output FILE]

(a) 300 subset models of the small network on 1,000 digits (70 % of the images each, PGD-AT with 3 steps): stacks of 20
against one network after another in the same process. The peer is `Trainer` with its best number of threads, and the
rates are those of whole epochs of training. Every round measures both in turn: stacks on one thread in this process,
and all stacks by one worker process per core, as `cgro simulate memorization-scores` trains them. (b) Whether models
that were trained in stacks and one after another give the same memorization scores: differences in units of their
standard errors. (c) What the tracker adds to a step of PGD-AT: single steps with and without it alternate for a minute,
and the report has the ratio of their median times with a 95 % interval.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peers import best_threads, compared, publish, spread, thread_counts, threads
from torch.utils.flop_counter import FlopCounterMode
from training import NETWORKS, STEPS, advance, made_images

from cgro.attacks.ball import Budget
from cgro.attacks.images import Attack
from cgro.base.machine import available_cores
from cgro.base.randomness import at, spawn_streams, torch_generator
from cgro.data.tampering import Tampering
from cgro.memorization.scores import memorization, standard_errors
from cgro.memorization.subset_models import Study, SubsetModels, subset, train_subset_models
from cgro.memorization.tracker import Tracker
from cgro.models.zoo import image_model
from cgro.runs.workers import processes
from cgro.training.config import TrainingConfig
from cgro.training.loop import Trainer
from cgro.training.recipe import Recipe
from cgro.training.stacked import StackedTrainer, Subsets

STACK = 20
ALONE = 4
"""Networks that the peer trains in each round."""
TRAINING = TrainingConfig(
    samples=1000, held_out=0, width=8, radius=0.03, radius_warmup=0.0, attack_steps=3, batch_size=50,
    learning_rate=0.1, evaluation_images=10,
)  # fmt: skip


def parts(first: int, count: int, epochs: int) -> tuple[Any, ...]:
    """Networks, images, members, recipe and streams of some subset models."""
    training = replace(TRAINING, epochs=epochs)
    study, root = Study.of(training, Tampering()), spawn_streams(training.seed)
    streams = [{name: at(s, k + 2) for name, s in root.items()} for k in range(first, first + count)]
    members = torch.tensor(np.array([subset(len(study.train), 0.7, each["subset"]) for each in streams]))
    networks = [image_model("small-cnn", 1, 8, 10, 8, torch_generator(each["weights"])) for each in streams]
    return networks, study.train, members, training.recipe, streams


def stack_seconds(first: int, epochs: int) -> float:
    """Time that one stack takes to train."""
    networks, images, members, recipe, streams = parts(first, STACK, epochs)
    trainer = StackedTrainer(networks, Subsets(images, members), [recipe] * STACK, streams)
    start = time.perf_counter()
    trainer.advance(trainer.steps)
    return time.perf_counter() - start


def alone_seconds(epochs: int) -> float:
    """Time that some networks take one after another."""
    networks, images, members, recipe, streams = parts(0, ALONE, epochs)
    trainers = [
        Trainer(network, images.take(own), recipe, each)
        for network, own, each in zip(networks, members, streams, strict=True)
    ]
    start = time.perf_counter()
    for trainer in trainers:
        trainer.advance(trainer.steps)
    return time.perf_counter() - start


def operations() -> int:
    """Floating-point operations in the products of one step of one network.

    A forward pass and one back to the images for each step of the attack; then a forward pass, one back to the images
    and one to the weights; all are counted as equal.
    """
    networks, images, *_ = parts(0, 1, 1)
    batch = images.take(torch.arange(TRAINING.batch_size))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        networks[0](batch.scaled(batch.pixels))
    return int(counter.get_total_flops()) * (2 * TRAINING.attack_steps + 3)


def matrix_rate(size: int = 1024, repeats: int = 20) -> float:
    """float32 operations per second of matrix products on all cores, the best of several."""
    matrix, times = torch.randn(size, size), []
    with threads(available_cores()):
        for _ in range(repeats):
            start = time.perf_counter()
            matrix @ matrix
            times.append(time.perf_counter() - start)
    return 2 * size**3 / min(times)


def rates(models: int, epochs: int, rounds: int) -> dict[str, Any]:
    """Models per second: one after another, in stacks on one thread, and in stacks on all cores."""
    tried: dict[int, list[float]] = {count: [] for count in thread_counts()}
    one: list[float] = []
    every: list[float] = []
    firsts = range(0, models, STACK)
    with processes(available_cores()) as pool:
        list(pool.map(stack_seconds, firsts[: available_cores()], [1] * available_cores()))  # imports
        for _ in range(rounds):
            for count, found in tried.items():
                with threads(count):
                    found.append(ALONE / alone_seconds(epochs))
            with threads(1):
                one.append(STACK / stack_seconds(0, epochs))
            start = time.perf_counter()
            list(pool.map(stack_seconds, firsts, [epochs] * len(firsts)))
            every.append(len(firsts) * STACK / (time.perf_counter() - start))
    best, product_rate = best_threads(tried), matrix_rate()
    per_model = operations() * epochs * 700 / TRAINING.batch_size
    return {
        "gflop_per_model": per_model / 1e9,
        "matrix_product_gflops_all_cores": product_rate / 1e9,
        "share_of_matrix_product_rate_all_cores": per_model * statistics.median(every) / product_rate,
        "setting": f"small-cnn width 8, {models} subsets of 700 of 1,000 digits, batch 50, PGD-3, {epochs} epochs",
        "threads_one_after_another": best,
        "models_per_second_one_after_another": spread(tried[best]),
        "models_per_second_stacks_one_thread": spread(one),
        "models_per_second_stacks_all_cores": spread(every),
        "speedup_one_thread": spread([a / b for a, b in zip(one, tried[best], strict=True)]),
        "speedup_all_cores": spread([a / b for a, b in zip(every, tried[best], strict=True)]),
    }


def agreement(models: int, epochs: int) -> dict[str, float]:
    """Scores of the same models trained in stacks and one after another: their difference in standard errors."""
    training = replace(TRAINING, samples=200, epochs=epochs, evaluation_steps=3)
    found = []
    for count in (STACK, 1):
        cells = [SubsetModels(training, Tampering(mislabelled=0.05), 0.7, k, count) for k in range(0, models, count)]
        results = [train_subset_models(cell, lambda _done: None) for cell in cells]
        mask = np.concatenate([each["mask"].values for each in results])
        answer = np.concatenate([each["answer"].values[0] for each in results])
        found.append((mask, answer == results[0]["label"].values))
    (mask, together), (_, alone) = found
    difference = np.abs(memorization(mask, together) - memorization(mask, alone)) / standard_errors(mask, alone)
    return {
        "models": models,
        "answers_that_differ": float((together != alone).mean()),
        "largest_difference_in_standard_errors": float(difference.max()),
    }


def tracker_cost(network: str, batch: int) -> dict[str, float]:
    """Time of a step with the tracker over that of one without."""
    name, width, channels, size, radius = NETWORKS[network]
    recipe = Recipe(
        attack=Attack(Budget("inf", radius), STEPS, relative_step=2.5 / STEPS), epochs=10**6, batch_size=batch,
        learning_rate=1e-4, radius_warmup=0.0, schedule="constant",
    )  # fmt: skip
    data = made_images(4 * batch, channels, size, torch.device("cpu"))
    with_it, without = (
        Trainer(
            image_model(name, channels, size, 10, width, torch.Generator().manual_seed(0)),
            data,
            replace(recipe, observers=observers),
            spawn_streams(0),
        )
        for observers in ((Tracker(),), ())
    )
    for trainer in (with_it, without):
        trainer.advance(3)
    return compared(partial(advance, with_it), [partial(advance, without)], available_cores(), torch.device("cpu"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, default=300, help="subset models (default 300)")
    parser.add_argument("--epochs", type=int, default=2, help="epochs of each (default 2)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of measurement (default 5)")
    parser.add_argument("--output", type=Path, help="also write the numbers to this JSON file")
    options = parser.parse_args()
    where = f"{platform.machine()}, {os.cpu_count()} cores"
    report: dict[str, Any] = {"device": where, "torch": torch.__version__}
    report["stacks"] = rates(options.models, options.epochs, options.rounds)
    report["same_scores"] = agreement(60, 20)
    report["tracker"] = {name: tracker_cost(name, 128) for name in ("lenet", "resnet")}
    publish(report, options.output)


if __name__ == "__main__":
    main()
