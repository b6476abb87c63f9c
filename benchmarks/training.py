"""Speed of a PGD-10 training step, as ratios within one process, to the ideal and to a plain loop.

    python benchmarks/training.py [--network lenet] [--batch 128] [--rounds 9] [--compile] [--output FILE]

Peers: (a) the ideal: K passes with the gradient of the input and one pass with all gradients, for the same model,
precision, memory format and batch, and nothing else; (b) a plain loop as in public research code: float32, images in
the default memory format, `loss.backward()` in every PGD step. On a CPU all of them also run on one thread, and each
counts with its best number of threads. Every round measures ours and both peers in turn, so that a noisy machine slows
all of them. The report has the ratio of the fastest steps, and the median and range over rounds. (c) The cost of
temporal ensembling: one extra clean forward pass for PGD-AT, and none for TRADES. It is a few percent, less than the
noise of a round, so it is measured on its own, with the number of threads that is best for PGD-AT: single steps with
and without it alternate for a minute, and the report has the ratio of their median times with a 95 % interval.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from peers import best_threads, compared, publish, seconds, spread, thread_counts, threads
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from cgro.attacks.ball import Budget
from cgro.attacks.images import Attack
from cgro.attacks.modes import evaluating
from cgro.base.machine import available_cores, resolve_device
from cgro.base.randomness import spawn_streams
from cgro.data.batches import AUGMENTATIONS, Images
from cgro.models.zoo import image_model
from cgro.training.choices import Precision
from cgro.training.loop import Trainer
from cgro.training.objectives import Adversarial, Objective, Trades
from cgro.training.recipe import Recipe
from cgro.training.temporal_ensembling import TemporalEnsembling

STEPS = 10
NETWORKS: dict[str, tuple[str, float, int, int, float]] = {
    "lenet": ("lenet", 8, 1, 28, 0.3),
    "resnet": ("preact-resnet18", 0.25, 3, 32, 8 / 255),
    "resnet18": ("preact-resnet18", 1, 3, 32, 8 / 255),
}
"""Network, width, channels, image size and radius; resnet18 is for a GPU."""


def made_images(count: int, channels: int, size: int, device: torch.device) -> Images:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, channels, size, size), generator=generator, dtype=torch.uint8)
    return Images(pixels, torch.arange(count) % 10, 255).to(device)


def ideal_step(model: nn.Module, x: Tensor, y: Tensor, precision: Precision) -> Callable[[], None]:
    """The minimal work of a step of PGD adversarial training."""

    def step() -> None:
        cast = torch.autocast(x.device.type, torch.bfloat16) if precision == "bfloat16" else nullcontext()
        with evaluating(model):
            for _ in range(STEPS):
                z = x.detach().requires_grad_(True)
                with cast:
                    loss = cross_entropy(model(z), y, reduction="sum")
                torch.autograd.grad(loss, z)
        model.zero_grad()
        with cast:
            loss = cross_entropy(model(x), y)
        loss.backward()

    return step


def plain_step(model: nn.Module, data: Images, batch: int, radius: float) -> Callable[[], None]:
    """A step as in public research code."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    x, y = data.pixels[:batch].float() / data.white, data.labels[:batch]
    size = 2.5 * radius / STEPS

    def step() -> None:
        model.eval()
        delta = torch.empty_like(x).uniform_(-radius, radius)
        delta = ((x + delta).clamp(0, 1) - x).detach().requires_grad_(True)
        for _ in range(STEPS):
            cross_entropy(model(x + delta), y).backward()
            assert delta.grad is not None
            moved = (delta.detach() + size * delta.grad.sign()).clamp(-radius, radius)
            delta.data = (x + moved).clamp(0, 1) - x
            delta.grad.zero_()
        model.train()
        optimizer.zero_grad()
        cross_entropy(model(x + delta.detach()), y).backward()
        optimizer.step()

    return step


def clean_pass(model: nn.Module, x: Tensor, precision: Precision) -> Callable[[], None]:
    """Predictions of a batch in evaluation mode."""

    def step() -> None:
        cast = torch.autocast(x.device.type, torch.bfloat16) if precision == "bfloat16" else nullcontext()
        with evaluating(model), torch.no_grad(), cast:
            model(x)

    return step


def advance(trainer: Trainer) -> None:
    """One update."""
    trainer.advance(trainer.step + 1)


def measure(
    network: str, batch: int, rounds: int, repeat: int, precision: Precision, compiled: bool, device: torch.device
) -> dict:
    """All ratios; with `compiled`, the networks of the trainer and of the ideal are compiled, that of the plain loop
    is not."""
    name, width, channels, size, radius = NETWORKS[network]
    data = made_images(4 * batch, channels, size, device)
    streams = spawn_streams(0)

    def fresh() -> nn.Module:
        return image_model(name, channels, size, 10, width, torch.Generator().manual_seed(0)).to(device)

    attack = Attack(Budget("inf", radius), STEPS, relative_step=2.5 / STEPS)
    recipe = Recipe(
        attack=attack,
        epochs=10**6,
        batch_size=batch,
        learning_rate=1e-4,
        radius_warmup=0.0,
        schedule="constant",
        precision=precision,
        compile=compiled,
    )
    if channels == 3:
        recipe = replace(recipe, augmentation=AUGMENTATIONS["crop-flip"])
    trainer = Trainer(fresh(), data, recipe, streams)
    variants: dict[str, Objective] = {
        "ensembled": TemporalEnsembling(Adversarial(), start=0, end=1),
        "trades": Trades(),
        "trades ensembled": TemporalEnsembling(Trades(), start=0, end=1),
    }
    others = {name: Trainer(fresh(), data, replace(recipe, objective=o), streams) for name, o in variants.items()}
    bare = fresh().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if compiled:
        bare.compile()
    x, y = data.scaled(data.pixels[:batch]), data.labels[:batch]
    works: dict[str, Callable[[], None]] = {
        "ours": partial(advance, trainer),
        "ideal": ideal_step(bare, x, y, precision),
        "plain": plain_step(fresh(), data, batch, radius),
    }
    parts: dict[str, Callable[[], None]] = {
        "clean": clean_pass(bare, x, precision),
        **{name: partial(advance, each) for name, each in others.items()},
    }
    for work in (works | parts).values():
        for _ in range(2):
            work()
    counts = sorted({*thread_counts(), torch.get_num_threads()}) if device.type == "cpu" else [torch.get_num_threads()]
    tried: dict[tuple[str, int], list[float]] = {(kind, count): [] for kind in works for count in counts}
    for _ in range(rounds):
        for (kind, count), found in tried.items():
            with threads(count):
                found.append(min(seconds(works[kind], device) for _ in range(repeat)))
    best = {
        kind: best_threads({c: [1 / t for t in found] for (k, c), found in tried.items() if k == kind})
        for kind in works
    }
    times = {kind: tried[kind, count] for kind, count in best.items()}
    return {
        "setting": f"{name} width {width:g}, {channels} x {size} x {size}, batch {batch}, PGD-{STEPS}, {precision}"
        + (", compiled" if compiled else ""),
        "threads": best,
        "images_per_second": spread([batch / t for t in times["ours"]]),
        "images_per_second_by_threads": {
            f"{kind}, {count}": spread([batch / t for t in found]) for (kind, count), found in tried.items()
        },
        "share_of_ideal_rate": ratio(times["ideal"], times["ours"]),
        "speedup_over_plain_loop": ratio(times["plain"], times["ours"]),
        "ensembling_over_pgd_and_a_clean_pass": compared(
            parts["ensembled"], [works["ours"], parts["clean"]], best["ours"], device
        ),
        "ensembling_over_trades": compared(parts["trades ensembled"], [parts["trades"]], best["ours"], device),
    }


def ratio(theirs: list[float], ours: list[float]) -> dict[str, float]:
    """Ratio of the fastest steps, as other processes can only add time; also the median and range over rounds."""
    return {"fastest": min(theirs) / min(ours)} | spread([t / o for t, o in zip(theirs, ours, strict=True)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--network", choices=NETWORKS, action="append", help="default: lenet and resnet; resnet18 on a GPU"
    )
    parser.add_argument("--batch", type=int, default=128, help="images in a batch (default 128)")
    parser.add_argument("--rounds", type=int, default=9, help="rounds of measurement (default 9)")
    parser.add_argument("--repeat", type=int, default=2, help="steps of each per round; the fastest counts (default 2)")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), help="default: bfloat16 on a GPU, else float32")
    parser.add_argument("--compile", action="store_true", help="compile the networks of the trainer and of the ideal")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default auto)")
    parser.add_argument("--threads", type=int, default=available_cores(), help="CPU threads (default: all cores)")
    parser.add_argument("--output", type=Path, help="also write the numbers to this JSON file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = resolve_device(options.device)
    precision: Precision = options.precision or ("bfloat16" if device.type == "cuda" else "float32")
    networks = options.network or (["resnet18"] if device.type == "cuda" else ["lenet", "resnet"])
    where = (
        torch.cuda.get_device_name() if device.type == "cuda" else f"{platform.machine()}, {options.threads} threads"
    )
    report = {
        "machine": f"{where}, torch {torch.__version__}",
        "results": [
            measure(n, options.batch, options.rounds, options.repeat, precision, options.compile, device)
            for n in networks
        ],
    }
    publish(report, options.output)


if __name__ == "__main__":
    main()
