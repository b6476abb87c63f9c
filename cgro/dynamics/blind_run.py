"""One training run with two features: accuracies, memorized noise and entropy of the targets at recorded steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float64
from torch import Tensor

from cgro.base.machine import single_thread
from cgro.base.randomness import at, torch_generator
from cgro.base.work import Context, PlainContext, Tick
from cgro.dynamics.patch_cnn import PatchCNN
from cgro.dynamics.sgd import descend
from cgro.dynamics.two_features import (
    FEATURES,
    Samples,
    TwoFeatureSetting,
    attacked_in_training,
    draw_filters,
    draw_samples,
    entropies,
    first_targets,
)
from cgro.dynamics.whole_input import margin_pgd

PARTS, CRITERIA, KINDS = ("train", "test"), ("clean", "robust"), ("learnable", "unlearnable")
SEEDS_TOGETHER = 5


@dataclass(frozen=True)
class BlindRun:
    """Runs of one setting with several seeds; a cell for `train_blind`."""

    setting: TwoFeatureSetting
    seeds: tuple[int, ...]
    records: int
    """Evaluated steps, evenly spaced from 0 to the last."""
    test_samples: int
    """Fresh samples that each record is evaluated on."""

    @property
    def work(self) -> float:
        """Run-steps."""
        return float(self.setting.steps * len(self.seeds))

    @property
    def steps(self) -> list[int]:
        """Evaluated steps."""
        return np.unique(np.linspace(0, self.setting.steps, self.records).round().astype(int)).tolist()


def train_blind_settings(
    settings: Sequence[TwoFeatureSetting], seeds: int, records: int, test_samples: int, context: Context | None = None
) -> list[xr.Dataset]:
    """What `train_blind` says of the seeds 0, 1, ..., for each setting; SEEDS_TOGETHER of them are a cell."""
    blocks = np.array_split(np.arange(seeds), math.ceil(seeds / SEEDS_TOGETHER))
    cells = [BlindRun(each, tuple(block.tolist()), records, test_samples) for each in settings for block in blocks]
    parts = iter((context or PlainContext()).map(train_blind, cells))
    return [xr.concat([next(parts) for _ in blocks], dim="seed", combine_attrs="override") for _ in settings]


@single_thread()
def train_blind(cell: BlindRun, tick: Tick) -> xr.Dataset:
    """accuracy (seed, step, part, criterion), memorized and target_entropy (seed, step, kind).

    The robust accuracy on training samples is that under the attack they were trained with; on fresh samples it is that
    under l_inf PGD on the whole input (`margin_pgd`). memorized: mean noise part of the margin of training samples of
    each kind, in nats. target_entropy: mean entropy of their targets, in nats, 0 to log 2. Both are NaN without samples
    of the kind.
    """
    runs = [_train_one(cell, seed, tick) for seed in cell.seeds]
    accuracy, memorized, doubt = zip(*runs, strict=True)
    return xr.Dataset(
        {
            "accuracy": (
                ("seed", "step", "part", "criterion"),
                np.array(accuracy),
                {"long_name": "Accuracy", "units": "fraction"},
            ),
            "memorized": (
                ("seed", "step", "kind"),
                np.array(memorized),
                {"long_name": "Mean noise part of the margin of training samples", "units": "nats"},
            ),
            "target_entropy": (
                ("seed", "step", "kind"),
                np.array(doubt),
                {"long_name": "Mean entropy of the targets of training samples", "units": "nats"},
            ),
        },
        {"seed": list(cell.seeds), "step": cell.steps, "part": list(PARTS), "criterion": list(CRITERIA)}
        | {"kind": list(KINDS)},
    )


def _train_one(cell: BlindRun, seed: int, tick: Tick) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    setting, root = cell.setting, np.random.SeedSequence(seed)
    data, fresh, weights, order = (np.random.default_rng(child) for child in root.spawn(4))
    samples, tests = draw_samples(setting, data), draw_samples(setting, fresh, cell.test_samples)
    W, targets = draw_filters(setting, weights), first_targets(samples, setting)
    drawn = order.integers(setting.samples, size=setting.steps)
    accuracy, memorized, doubt = [], [], []
    for before, step in zip([0, *cell.steps], cell.steps, strict=False):
        descend(W, samples, targets, drawn[before:step], setting, before=before)
        tick(float(step - before))
        accuracy.append(accuracies(W, samples, tests, setting, torch_generator(at(root, 4, step))))
        memorized.append(_means(_noise_margins(W, samples), samples))
        doubt.append(_means(entropies(targets), samples))
    return np.array(accuracy), np.array(memorized), np.array(doubt)


def accuracies(
    W: Float64[np.ndarray, "F d"],
    samples: Samples,
    tests: Samples,
    setting: TwoFeatureSetting,
    generator: torch.Generator,
) -> list[list[float]]:
    """Accuracy (part, criterion) of the filters, as in `train_blind`; the generator draws where PGD starts."""
    network = PatchCNN(torch.from_numpy(W)[None], 3.0, "relu")

    def right(X: Tensor | np.ndarray, labels: np.ndarray) -> float:
        with torch.no_grad():
            outputs = network(torch.as_tensor(X)[None])[0].numpy()
        return float((labels * outputs > 0).mean())

    attacked, y = attacked_in_training(samples, setting), samples.labels
    X, labels = torch.from_numpy(tests.X)[None], torch.from_numpy(tests.labels)[None]
    moved = margin_pgd(network, X, labels, "inf", setting.radius, [generator])[0]
    clean, robust = right(tests.X, tests.labels), right(moved, tests.labels)
    return [[right(samples.X, y), right(attacked, y)], [clean, robust]]


def _noise_margins(W: Float64[np.ndarray, "F d"], samples: Samples) -> Float64[np.ndarray, " N"]:
    """y sum_r a_r sum_p max(<w_r, xi_p>, 0)^3 of each training sample, xi the noise alone."""
    responses = np.maximum(samples.X[:, :, FEATURES:] @ W[:, FEATURES:].T, 0) ** 3
    half = len(W) // 2
    return samples.labels * (responses[..., :half].sum((1, 2)) - responses[..., half:].sum((1, 2)))


def _means(values: Float64[np.ndarray, " N"], samples: Samples) -> list[float]:
    """The mean over the training samples of each kind, NaN without any."""
    kinds = (~samples.unlearnable, samples.unlearnable)
    return [float(values[kind].mean()) if kind.any() else float("nan") for kind in kinds]
