"""Robust accuracy and time of the strong ensemble, against an independent library, on the same model and images.

    pip install 'cgro[attacks]'
    python benchmarks/attacks.py [CHECKPOINT ...] [--images 200] [--output FILE]

The peer is `pyautoattack`: the first two attacks of AutoAttack (APGD on the cross-entropy and on the targeted DLR
loss), with --standard all four. Without a checkpoint a small network is trained on digits. Accuracies are counted on
the points that each returns. Each is timed for one call, one after the other; the peer runs on one thread and on all
cores, and the faster time counts.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path

import numpy as np
import torch
from peers import thread_counts, threads
from torch import nn

from cgro.attacks.ball import Budget
from cgro.attacks.ensemble import AttackEnsemble
from cgro.base.machine import available_cores
from cgro.data.batches import Images
from cgro.training.config import TrainingConfig
from cgro.training.run import TrainingRun, load_model

NAMES = {"1": "L1", "2": "L2", "inf": "Linf"}
FIRST, ALL = ["apgd-ce", "apgd-t"], ["apgd-ce", "apgd-t", "fab-t", "square"]


def compare(model: nn.Module, images: Images, budget: Budget, batch: int, attacks: list[str]) -> dict:
    """The images that each leaves correct, and the ratio of their times."""
    from pyautoattack import AutoAttack

    x, y = images.scaled(images.pixels), images.labels
    start = time.perf_counter()
    ours = AttackEnsemble(budget).correct(model, images, np.random.SeedSequence(0), batch_size=batch)
    ours_time = time.perf_counter() - start
    peer = AutoAttack(
        model, attacks=attacks, version="custom", norm=NAMES[budget.norm], eps=budget.radius, seed=0, device=y.device
    )
    # Its own setting for l_1.
    peer.apgd.use_largereps = peer.apgd_targeted.use_largereps = budget.norm == "1"
    peer_times = {}
    for count in thread_counts() if y.device.type == "cpu" else (torch.get_num_threads(),):
        with threads(count):
            start = time.perf_counter()
            z, *_ = peer.run_standard_evaluation(x, y, batch_size=batch)
            peer_times[count] = time.perf_counter() - start
    peer_time = min(peer_times.values())
    with torch.no_grad():
        theirs = torch.cat([model(part).argmax(1) for part in z.split(batch)]) == y
    return {
        "norm": budget.norm,
        "radius": budget.radius,
        "images": len(images),
        "attacks_of_peer": attacks,
        "clean_accuracy": float(ours["clean"].double().mean()),
        "robust_accuracy": float(ours["apgd-targeted"].double().mean()),
        "robust_accuracy_of_peer": float(theirs.double().mean()),
        "seconds": ours_time,
        "seconds_of_peer": peer_time,
        "seconds_of_peer_by_threads": peer_times,
        "speedup": peer_time / ours_time,
    }


def trained() -> tuple[nn.Module, TrainingConfig, Images]:
    """A small network trained on digits."""
    config = TrainingConfig(epochs=15)
    run = TrainingRun(config)
    run.run(lambda _done: None)
    return run.trainer.model.eval(), config, run.data.test


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoints", nargs="*", type=Path, help="networks trained by `cgro train` (default: digits)")
    parser.add_argument("--images", type=int, default=200, help="test images (default 200)")
    parser.add_argument("--batch", type=int, default=200, help="images in a batch (default 200)")
    parser.add_argument("--standard", action="store_true", help="run all four attacks of the peer (slow)")
    parser.add_argument("--norms", nargs="+", help="NORM=RADIUS instead of the training budget, e.g. 2=0.5")
    parser.add_argument("--threads", type=int, default=available_cores(), help="CPU threads (default: all cores)")
    parser.add_argument("--output", type=Path, help="also write the numbers to this JSON file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    results = []
    for path in options.checkpoints or [None]:
        if path is None:
            model, config, images = trained()
        else:
            model, config, data = load_model(path, images=options.images)
            images = data.test
        images = images.take(torch.arange(min(options.images, len(images))))
        budgets = [config.budget]
        if options.norms:
            budgets = [Budget(norm, float(r)) for norm, _, r in (text.partition("=") for text in options.norms)]
        for budget in budgets:
            for attacks in [FIRST, ALL] if options.standard else [FIRST]:
                found = compare(model, images, budget, options.batch, attacks)
                results.append({"data": config.data, "model": config.model, "width": config.width} | found)
                print(json.dumps(results[-1], indent=2), flush=True)
    if options.output is not None:
        machine = f"{platform.machine()}, {options.threads} threads, torch {torch.__version__}"
        os.makedirs(options.output.parent, exist_ok=True)
        options.output.write_text(json.dumps({"machine": machine, "results": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
