"""The training loop: what an update does, what a run repeats, and what resumed and shared runs have in common."""

from __future__ import annotations

import copy
import functools
import math
import os
import socket
import subprocess
import sys
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from tools import PATHS, STARTED, Threshold, grey, images
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from cgro.attacks.ball import Budget, perturbation_size
from cgro.attacks.images import Attack
from cgro.attacks.modes import evaluating
from cgro.base.errors import UserError
from cgro.base.randomness import STREAMS, at, spawn_streams, torch_generator
from cgro.data.batches import AUGMENTATIONS
from cgro.models.convolutional import SmallCNN
from cgro.models.residual import preact_resnet18
from cgro.training.benign import Benign
from cgro.training.distributed import Team, synchronized
from cgro.training.geometry_aware import GeometryAware
from cgro.training.loop import Trainer
from cgro.training.objectives import Adversarial, Mart, Standard, Trades
from cgro.training.observers import Batch
from cgro.training.recipe import Recipe
from cgro.training.sample_weights import RandomWeights
from cgro.training.schedules import factor, triangle
from cgro.training.scored import Dropping, Reweighting, Smoothing
from cgro.training.self_adaptive import SelfAdaptive
from cgro.training.temporal_ensembling import TemporalEnsembling
from cgro.training.weight_perturbation import kept_buffers, perturbed_weights

SCORES = torch.linspace(-0.5, 1, 20)
ATTACK = Attack(Budget("inf", 0.1), 2, 1.0)
BASE = Recipe(attack=ATTACK, epochs=2, batch_size=8, learning_rate=0.05)
RECIPES = {
    "adversarial": BASE,
    "standard": replace(BASE, attack=None, objective=Standard()),
    "trades": replace(BASE, objective=Trades(6.0)),
    "mart": replace(BASE, objective=Mart(5.0)),
    "awp": replace(BASE, weight_perturbation=0.01),
    "free": replace(BASE, replays=3),
    "ema": replace(BASE, averaging="ema"),
    "swa": replace(BASE, averaging="swa"),
    "augmented": replace(BASE, augmentation=AUGMENTATIONS["crop-flip-cutout"]),
    "bfloat16": replace(BASE, precision="bfloat16"),
    "pieces": replace(BASE, micro_batch=3),
    "training mode": replace(BASE, attack_mode="training"),
    "normal": replace(BASE, attack_start="normal"),
    "ensembling": replace(
        BASE, objective=TemporalEnsembling(start=0, end=1.5), augmentation=AUGMENTATIONS["crop-flip"]
    ),
    "ensembling trades": replace(BASE, objective=TemporalEnsembling(Trades(6.0), start=1, end=2), micro_batch=3),
    "self-adaptive": replace(BASE, objective=SelfAdaptive(start=1)),
    "smoothed": replace(BASE, label_smoothing=0.2),
    "l2": replace(BASE, attack=Attack(Budget("2", 0.5), 2, 1.0)),
    "bat": replace(BASE, objective=Benign(2.0, start=1), augmentation=AUGMENTATIONS["crop-flip"]),
    "bat without pairs": replace(BASE, objective=Benign(2.0, 0.0), micro_batch=3),
    "gairat": replace(BASE, objective=GeometryAware(start=1), weight_perturbation=0.01),
    "random weights": replace(BASE, objective=RandomWeights(GeometryAware(start=0))),
    "reweighting": replace(BASE, objective=Reweighting(SCORES, base=Trades(6.0))),
    "smoothing": replace(BASE, objective=Smoothing(SCORES, by="rank")),
    "dropping": replace(BASE, objective=Dropping(SCORES > 0.8), weight_perturbation=0.01),
}


def trainer(recipe: Recipe = BASE, *, network: str = "cnn", seed: int = 0, team: Team | None = None) -> Trainer:
    g = torch.Generator().manual_seed(seed)
    model: nn.Module = SmallCNN(1, 8, 3, 4, generator=g)
    if network == "resnet":
        model = preact_resnet18(1, 16, 3, 1 / 32, generator=g)
    return Trainer(model, images(size=16 if network == "resnet" else 8), recipe, spawn_streams(seed), team)


def weights(t: Trainer) -> Tensor:
    return torch.cat([p.detach().flatten() for p in t.model.parameters()])


def test_training_uses_perturbed_images() -> None:
    """The threshold model at distance 0.3 from its threshold, radius 0.1: loss log(1 + exp(-2 (0.3 - 0.1)))."""
    losses = []
    for radius in (1e-9, 0.1):
        recipe = Recipe(
            attack=Attack(Budget("inf", radius), 5, 1.0), epochs=1, batch_size=4, learning_rate=1e-9, radius_warmup=0.0
        )
        t = Trainer(Threshold(), grey([20, 80] * 4, [0, 1] * 4), recipe, spawn_streams(0))
        t.advance(t.steps)
        losses.append(t.mean_loss())
    np.testing.assert_allclose(losses, [math.log1p(math.exp(-2 * d)) for d in (0.3, 0.2)], rtol=1e-5)


def test_one_update_is_sgd_with_momentum_and_decay() -> None:
    """Second encoding of two updates on clean images, with the weights and learning rates written down again."""
    recipe = replace(RECIPES["standard"], batch_size=20, weight_decay=0.01, momentum=0.8)
    t = trainer(recipe)
    model = copy.deepcopy(t.model)
    velocity = [torch.zeros_like(p) for p in model.parameters()]
    x, y = t.data.scaled(t.data.pixels), t.data.labels
    for step in range(2):
        model.zero_grad()
        cross_entropy(model(x), y).backward()
        rate = 0.05 * triangle((step + 1) / 3)
        with torch.no_grad():
            for p, v in zip(model.parameters(), velocity, strict=True):
                v.mul_(0.8).add_(p.grad + 0.01 * p)
                p.sub_(rate * v)
    t.advance(2)
    torch.testing.assert_close(weights(t), torch.cat([p.detach().flatten() for p in model.parameters()]))


def test_weights_of_images_multiply_their_losses_and_targets_may_be_probabilities() -> None:
    first, second, third = trainer(), trainer(), trainer()
    second.weights[:] = 0.0
    third.targets = nn.functional.one_hot(third.targets, 3).float()
    before = weights(second)
    for t in (first, second, third):
        t.advance(4)
    assert torch.equal(weights(second), before)
    torch.testing.assert_close(weights(third), weights(first), rtol=1e-4, atol=1e-6)
    # Only images of weight 1 matter: training on them towards anything else changes nothing.
    half, other = trainer(), trainer()
    for t in (half, other):
        t.weights[10:] = 0
    other.targets[10:] = (other.targets[10:] + 1) % 3
    for t in (half, other):
        t.advance(t.steps)
    # Not the attack alone, but the update, must ignore them.
    assert torch.equal(weights(half), weights(other))


@pytest.mark.parametrize("name", RECIPES)
def test_runs_repeat_bit_by_bit_and_resume_bit_by_bit_from_every_step(name: str) -> None:
    whole = trainer(RECIPES[name])
    states = {}
    whole.advance(whole.steps, lambda: states.update({whole.step: {k: v.clone() for k, v in whole.state().items()}}))
    assert len(states) == whole.steps
    end = whole.state()
    for step in range(1, whole.steps, 2):
        again = trainer(RECIPES[name])
        again.load(states[step])
        assert again.step == step
        again.advance(again.steps)
        found = again.state()
        assert found.keys() == end.keys()
        assert all(torch.equal(found[key], end[key]) for key in end), (name, step)
    assert not torch.equal(weights(trainer(RECIPES[name], seed=1)), weights(trainer(RECIPES[name])))
    assert torch.isfinite(weights(whole)).all()


def test_every_update_draws_anew() -> None:
    """Starts of the attack differ from update to update, and augmentation from batch to batch and epoch to epoch."""
    t = trainer(RECIPES["augmented"])
    starts, drawn = [], []
    for _ in range(t.steps):
        batch = t._batch()
        assert batch.start is not None
        # Random starts in units of the radius, which still rises: no two updates share them.
        assert batch.attack is not None
        starts.append(float((batch.start / batch.attack.budget.radius).flatten()[0]))
        drawn.append(tuple(batch.drawn.flatten().tolist()))
        t.advance(t.step + 1)
    assert len(set(starts)) == len(set(drawn)) == t.steps


def test_batch_norm_statistics_resume_too() -> None:
    whole = trainer(RECIPES["awp"], network="resnet")
    whole.advance(3)
    middle = {k: v.clone() for k, v in whole.state().items()}
    whole.advance(whole.steps)
    again = trainer(RECIPES["awp"], network="resnet")
    again.load(middle)
    again.advance(again.steps)
    assert all(torch.equal(a, b) for a, b in zip(again.state().values(), whole.state().values(), strict=True))


def test_pieces_of_a_batch_give_the_gradient_of_the_batch() -> None:
    whole, pieces = trainer(), trainer(RECIPES["pieces"])
    for t in (whole, pieces):
        t.advance(t.steps)
    torch.testing.assert_close(weights(pieces), weights(whole), rtol=1e-4, atol=1e-6)


def test_ramp_and_schedules() -> None:
    recipe = Recipe(
        attack=Attack(Budget("2", 3.0), 5, 1.0), epochs=1, batch_size=4, learning_rate=0.1, radius_warmup=0.4
    )
    radii = [recipe.attack_at(progress).budget.radius for progress in (0.1, 0.2, 0.4, 0.7, 1)]  # type: ignore[union-attr]
    assert radii == pytest.approx([0.75, 1.5, 3, 3, 3])
    assert replace(recipe, radius_warmup=0.0).attack_at(0.01) == recipe.attack
    assert [factor("cyclic", t) for t in (0, 0.1, 0.2, 0.6, 1)] == pytest.approx([0, 0.5, 1, 0.5, 0])
    assert [factor("piecewise", t) for t in (0, 0.49, 0.5, 0.74, 0.75, 1)] == [1, 1, 0.1, 0.1, 0.01, 0.01]
    assert [factor("cosine", t) for t in (0, 0.5, 1)] == pytest.approx([1, 0.5, 0])
    assert factor("constant", 0.7) == 1
    assert [factor("piecewise", t, (0.2, 0.3, 0.9)) for t in (0.1, 0.2, 0.5, 0.95)] == [1, 0.1, 0.01, 0.001]


def test_the_rate_drops_after_the_given_epochs() -> None:
    rates = {}
    for drops in ((), (1, 3)):
        t = trainer(replace(BASE, epochs=4, schedule="piecewise", drops=drops))
        found = rates[drops] = []
        t.advance(t.steps, lambda t=t, found=found: found.append(t.optimizer.rate / 0.05))
    # Three batches an epoch.
    assert rates[1, 3] == pytest.approx([1] * 3 + [0.1] * 6 + [0.01] * 3)
    assert rates[()] == pytest.approx([1] * 6 + [0.1] * 3 + [0.01] * 3)


def test_batch_norms_in_training_mode_see_every_step_of_the_attack() -> None:
    t = trainer(replace(BASE, attack_mode="training"), network="resnet")
    evaluation = trainer(BASE, network="resnet")
    for each in (t, evaluation):
        each.advance(2)
    assert int(t.model.norm.num_batches_tracked) == 2 * (1 + ATTACK.steps)  # type: ignore[union-attr, arg-type]
    assert all(p.requires_grad for p in t.model.parameters())
    assert not torch.equal(weights(t), weights(evaluation))
    with pytest.raises(UserError, match="attack_mode training needs whole batches: run it on one process"):
        trainer(replace(BASE, attack_mode="training"), team=Team(0, 2))


def test_normal_starts_are_a_thousandth_of_a_pixel_and_drawn_anew() -> None:
    recipe, starts = replace(RECIPES["trades"], attack_start="normal", batch_size=20), []
    t = trainer(recipe)
    for _ in range(2):
        start = t._batch().start
        assert start is not None
        starts.append(start)
        t.advance(t.step + 1)
    together = torch.stack(starts)
    # 2 x 20 x 64 draws: the standard deviation is right to 5 of its standard errors.
    assert float(together.std()) == pytest.approx(1e-3, rel=5 / math.sqrt(2 * together.numel()))
    assert float(together.mean().abs()) < 5e-3 / math.sqrt(together.numel())
    assert not torch.equal(starts[0], starts[1])
    again = trainer(recipe)
    again.advance(again.steps)
    assert torch.equal(weights(again), weights(t))


def test_free_training_keeps_its_perturbation_in_the_ball_and_replays_batches() -> None:
    t = trainer(RECIPES["free"])
    assert t.steps == 2 * 3 * 3
    seen: list[Tensor] = []
    t.model.register_forward_pre_hook(lambda _m, args: seen.append(args[0].detach().clone()))
    t.advance(t.steps_per_epoch)
    # The first replay of the first batch is clean, the next ones move the same images.
    clean = t.data.scaled(t.data.pixels)
    assert all(bool((clean == image).flatten(1).all(1).any()) for image in seen[0])
    sizes = [float(perturbation_size(z, seen[0], "inf").max()) for z in seen[:3]]
    assert sizes[0] == 0
    assert 0 < sizes[1] <= sizes[2] <= 0.1 + 1e-6
    assert float(t._free.abs().max()) <= 0.1 + 1e-7
    with pytest.raises(UserError, match="free training keeps one perturbation"):
        trainer(RECIPES["free"], team=Team(0, 2))


def test_weight_perturbation_moves_along_the_gradient_and_back() -> None:
    model = SmallCNN(1, 8, 3, 4, generator=torch.Generator().manual_seed(0))
    data = images()
    x, y = data.scaled(data.pixels), data.labels

    def loss() -> Tensor:
        return cross_entropy(model(x), y)

    loss().backward()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    with perturbed_weights(model, 0.05):
        for name, p in model.named_parameters():
            moved = (p - before[name]).norm()
            expected = 0.05 * before[name].norm() if p.ndim > 1 else torch.tensor(0.0)
            torch.testing.assert_close(moved, expected, rtol=1e-4, atol=1e-6)
        raised = loss()
    assert raised > loss()
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    resnet = preact_resnet18(1, 16, 3, 1 / 32).train()
    statistics = [b.clone() for b in resnet.buffers()]
    with kept_buffers(resnet):
        resnet(torch.rand(4, 1, 16, 16))
        assert any(not torch.equal(a, b) for a, b in zip(statistics, resnet.buffers(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(statistics, resnet.buffers(), strict=True))


@pytest.mark.parametrize("start", [None, 2])
def test_swa_averages_the_ends_of_the_epochs_after_its_start(start: int | None) -> None:
    t = trainer(replace(RECIPES["swa"], epochs=8, averaging_start=start))
    ends: list[Tensor] = []
    while t.step < t.steps:
        t.advance(t.step + t.steps_per_epoch)
        if t.epoch > (6 if start is None else start):
            ends.append(weights(t))
    average = torch.cat([p.detach().flatten() for p in t.evaluated.parameters()])
    torch.testing.assert_close(average, torch.stack(ends).mean(0))


def test_ema_forgets_the_beginning() -> None:
    e = trainer(RECIPES["ema"])
    path: list[Tensor] = []
    e.advance(e.steps, lambda: path.append(weights(e)))
    expected = path[0]
    for k, point in enumerate(path[1:], 1):
        kept = min(0.999, (1 + k) / (10 + k))  # the beginning is soon forgotten
        expected = kept * expected + (1 - kept) * point
    torch.testing.assert_close(torch.cat([p.detach().flatten() for p in e.evaluated.parameters()]), expected)


@pytest.mark.parametrize("averaging", ["ema", "swa"])
def test_running_statistics_are_averaged_and_counts_are_copied(averaging) -> None:
    t = trainer(replace(RECIPES[averaging], epochs=8), network="resnet")
    path: list[dict[str, Tensor]] = []

    def note() -> None:
        if averaging == "ema" or (t.step % t.steps_per_epoch == 0 and t.epoch > 6):
            path.append({name: b.detach().clone() for name, b in t.model.named_buffers()})

    t.advance(t.steps, note)
    expected = path[0]
    for k, later in enumerate(path[1:], 1):
        kept = k / (k + 1) if averaging == "swa" else min(0.999, (1 + k) / (10 + k))
        expected = {name: kept * expected[name] + (1 - kept) * later[name] for name in later}
    found = dict(t.evaluated.named_buffers())
    for name, value in expected.items():
        whole = not found[name].is_floating_point()
        torch.testing.assert_close(found[name], path[-1][name] if whole else value.to(found[name]))


def test_diverging_training_names_the_step_and_keeps_no_state() -> None:
    t = trainer(replace(BASE, learning_rate=1e8))
    with pytest.raises(UserError, match=r"diverged at step \d+, in epoch \d+: the loss is (nan|inf); lower") as error:
        t.advance(t.steps)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="diverged"):
        t.state()


class Small(nn.Module):
    """A model whose memory ends at `most` images."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most, self.inner = most, SmallCNN(1, 8, 3, 2, generator=torch.Generator().manual_seed(0))

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > max(self.most, 1 - self.training):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 TiB")
        return self.inner(x)


@pytest.mark.parametrize(("most", "advice"), [(3, "2 fit; use --micro-batch 2"), (0, "a single one does not fit")])
def test_out_of_memory_says_what_fits(most: int, advice: str) -> None:
    t = Trainer(Small(most), images(), BASE, spawn_streams(0))
    with pytest.raises(UserError, match=f"out of memory with 8 images at once.*{advice}"):
        t.advance(1)
    if most:
        fitting = Trainer(Small(most), images(), replace(BASE, micro_batch=2), spawn_streams(0))
        fitting.advance(fitting.steps)


class Held(nn.Module):
    """A model with room for the activations of 16 images, which are there as long as their graph is."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.used = SmallCNN(1, 8, 3, 2, generator=torch.Generator().manual_seed(0)), 0

    def forward(self, x: Tensor) -> Tensor:
        if self.used + len(x) > 16:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 TiB")
        activations = x * 1.0
        self.used += len(x)
        weakref.finalize(activations, self._free, len(x))
        logits = self.inner(activations)
        logits.held = activations  # type: ignore[attr-defined]
        return logits

    def _free(self, count: int) -> None:
        self.used -= count


class Doubled(Adversarial):
    """Needs the activations of two passes at once."""

    def losses(self, model: nn.Module, batch: Batch, z: Tensor) -> Tensor:
        first, second = model(batch.x), model(z)
        return torch.nn.functional.cross_entropy(first + second, batch.y, reduction="none")


def test_the_memory_of_the_failed_pass_does_not_count_in_the_advice() -> None:
    recipe = replace(BASE, batch_size=12, objective=Doubled())
    t = Trainer(Held(), images(), recipe, spawn_streams(0))
    with pytest.raises(UserError, match="out of memory with 12 images at once: 6 fit; use --micro-batch 6"):
        t.advance(1)


def test_after_memory_ran_out_processes_do_not_wait_for_each_other() -> None:
    t = Trainer(Small(1), images(), BASE, spawn_streams(0), Team(0, 2))
    with pytest.raises(UserError, match="out of memory with 8 images at once on 2 processes; use --micro-batch 2"):
        t.advance(1)


def test_every_process_has_as_many_pieces() -> None:
    """Or one would wait in a batch norm while the others sum gradients."""
    for count in (1, 3, 64, 65):
        found = [trainer(replace(BASE, micro_batch=16), team=Team(rank, 4))._split(count) for rank in range(4)]
        assert len({len(pieces) for pieces in found}) == 1
        assert sorted(torch.cat([torch.cat(pieces) for pieces in found]).tolist()) == list(range(count))
        assert max(len(piece) for pieces in found for piece in pieces) <= 16


def test_batch_norms_of_processes_without_gpus_are_refused() -> None:
    resnet, cpu = preact_resnet18(1, 16, 3, 1 / 32), torch.device("cpu")
    assert synchronized(resnet, Team(), cpu) is resnet
    with pytest.raises(UserError, match="in step on GPUs only: train with one process"):
        synchronized(resnet, Team(0, 2), cpu)
    plain = SmallCNN(1, 8, 3, 4)
    assert synchronized(plain, Team(0, 2), cpu) is plain


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UserError, match="process 2 has no GPU: there are 1 here"):
        Team.joined(torch.device("cuda"))


def test_other_errors_are_not_mistaken_for_lack_of_memory() -> None:
    t = trainer()
    t.targets[3] = 7  # no class of the network
    with pytest.raises((RuntimeError, IndexError)):
        t.advance(t.steps)


def test_impossible_images_and_labels_are_named() -> None:
    with pytest.raises(UserError, match="labels must be 0 to 1 for a network with 2 classes, got 2"):
        Trainer(SmallCNN(1, 8, 2, 4), images(), BASE, spawn_streams(0))
    good = images()
    for change, message in (
        ({"pixels": good.pixels.half()}, "images must be uint8 or float"),
        ({"pixels": good.pixels.float()}, "float pixels must lie in"),
        ({"pixels": good.pixels[:3]}, r"with labels \(20,\)"),
        ({"white": 16}, "pixels must be at most white = 16"),
        ({"labels": good.labels - 1}, "labels must be 0, 1, ..., got -1"),
    ):
        with pytest.raises(UserError, match=message):
            replace(good, **change)


def test_a_state_of_another_model_is_refused_and_changes_nothing() -> None:
    t, other = trainer(), Trainer(SmallCNN(1, 8, 3, 5), images(), BASE, spawn_streams(0))
    before = weights(t)
    with pytest.raises(UserError, match=r"state of another model or recipe: model\.layers.* expected float32 of shape"):
        t.load(other.state())
    with pytest.raises(UserError, match="is absent, expected float32 of shape"):
        trainer(RECIPES["ema"]).load(t.state())
    assert torch.equal(weights(t), before)


def test_attack_mode_is_evaluation_and_comes_back_after_an_error() -> None:
    model = preact_resnet18(1, 16, 3, 1 / 32).train()

    def fail() -> None:
        with evaluating(model):
            assert not model.training
            assert not any(p.requires_grad for p in model.parameters())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert model.training
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("name", ["adversarial", "awp"])
def test_running_statistics_see_each_batch_once(name: str) -> None:
    t = trainer(RECIPES[name], network="resnet")
    t.advance(t.steps)
    assert int(t.model.norm.num_batches_tracked) == t.steps  # type: ignore[union-attr, arg-type]


def test_streams_are_independent_and_identified_by_position() -> None:
    draws = [
        float(torch.rand((), generator=torch_generator(stream)))
        for seed in (0, 1)
        for name in STREAMS
        for stream in (spawn_streams(seed)[name], at(spawn_streams(seed)[name], 0), at(spawn_streams(seed)[name], 0, 1))
    ]
    assert len(set(draws)) == 6 * len(STREAMS)
    # Appending a stream must not change those before it.
    first = np.random.SeedSequence(0).spawn(99)[0]
    assert spawn_streams(0)["subset"].generate_state(4).tolist() == first.generate_state(4).tolist()


SHARED = ("adversarial", "trades", "awp", "augmented", "ema", "bat without pairs", "gairat", "smoothing", "dropping")


def trained_by_a_team(state: Path) -> dict[str, Tensor | float]:
    """What one of its processes finds: weights and mean losses, also after resuming from the state of the first."""
    team = Team.joined(torch.device("cpu"))
    assert team.size == 2
    found: dict[str, Tensor | float] = {}
    for name in SHARED:
        t = trainer(RECIPES[name], team=team)
        t.advance(t.steps)
        found |= {
            name: weights(t),
            f"{name}-loss": t.mean_loss(),
            **{f"{name}.{k}": v for k, v in t.kept.state().items()},
        }
    t = trainer(RECIPES["adversarial"], team=team)
    t.advance(t.steps // 2)
    if team.rank == 0:
        save_file({name: value.contiguous() for name, value in t.state().items()}, state)
    team.wait()
    resumed = trainer(RECIPES["adversarial"], team=team)
    resumed.load(load_file(state))
    resumed.advance(resumed.steps)
    assert resumed.mean_loss() == found["adversarial-loss"]
    team.wait()
    dist.destroy_process_group()
    return found


SECOND = """
import os, sys
from pathlib import Path
from test_training import trained_by_a_team
print("imported", flush=True)
trained_by_a_team(Path(sys.argv[1]))
"""


def test_two_processes_train_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This one and another, connected by Gloo: weights within 1e-5 of those of one process, and the same mean loss; a
    run that is resumed from the state of one of them has it, too."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    team = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    paths = os.pathsep.join([PATHS, str(Path(__file__).parent)])
    second = subprocess.Popen(
        [sys.executable, "-c", SECOND, str(tmp_path / "state")],
        env=os.environ | team | {"RANK": "1", "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    STARTED.append(second)
    assert second.stdout is not None
    assert second.stdout.readline() == "imported\n"
    for name, value in (team | {"RANK": "0"}).items():
        monkeypatch.setenv(name, value)
    found = trained_by_a_team(tmp_path / "state")
    assert second.wait(60) == 0
    monkeypatch.undo()
    for name in SHARED:
        t = trainer(RECIPES[name])
        t.advance(t.steps)
        torch.testing.assert_close(found[name], weights(t), rtol=0, atol=1e-5)
        assert found[f"{name}-loss"] == pytest.approx(t.mean_loss(), rel=1e-5)
        for key, value in t.kept.state().items():
            torch.testing.assert_close(found[f"{name}.{key}"], value, rtol=0, atol=1e-5)


def test_a_compiled_network_trains_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced and differentiated as torch.compile does, but not translated to C++, which takes half a minute."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    plain, compiled = trainer(), trainer(replace(BASE, compile=True))
    for t in (plain, compiled):
        t.advance(1)
    torch.testing.assert_close(weights(compiled), weights(plain), rtol=1e-3, atol=1e-5)
    assert compiled.state().keys() == plain.state().keys()
    # The last of the batches of 8, 8 and 4 images is filled up: nothing is compiled for it, its gradient is its own.
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    for t in (plain, compiled):
        t.advance(3)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == graphs > 0
    torch.testing.assert_close(weights(compiled), weights(plain), rtol=1e-3, atol=1e-5)
    assert compiled.mean_loss() == pytest.approx(plain.mean_loss(), rel=1e-4)


@pytest.mark.parametrize("change", [{}, {"micro_batch": 3}, {"replays": 3}, {"weight_perturbation": 0.01}])
def test_padding_of_a_piece_changes_no_gradient(monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]) -> None:
    """Every forward pass of training has one shape; weights and losses are those without filling."""
    monkeypatch.setattr(torch, "compile", lambda network: network)
    plain, filled = trainer(replace(BASE, **change)), trainer(replace(BASE, compile=True, **change))
    shapes: list[int] = []
    filled.model.register_forward_pre_hook(lambda _m, args: shapes.append(len(args[0])))
    for t in (plain, filled):
        t.advance(t.steps)
    assert set(shapes) == {change.get("micro_batch", 8)}
    torch.testing.assert_close(weights(filled), weights(plain), rtol=1e-4, atol=1e-6)
    assert filled.mean_loss() == pytest.approx(plain.mean_loss(), rel=1e-5)
