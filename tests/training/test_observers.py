"""Observers and the objectives that are observers: what they see, what they may change, and what is refused."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from test_training import BASE, RECIPES, trainer, weights
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from cgro.attacks.ball import project
from cgro.attacks.images import divergence
from cgro.base.errors import UserError
from cgro.data.batches import AUGMENTATIONS
from cgro.training.objectives import Adversarial, Mart, Standard, Trades
from cgro.training.observers import Batch, Observer, Remembering, Seen, Weighted
from cgro.training.recipe import Recipe
from cgro.training.schedules import triangle
from cgro.training.self_adaptive import SelfAdaptive
from cgro.training.temporal_ensembling import TemporalEnsembling


class Diary(Observer):
    """Counts visits, and keeps all that it sees."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []

    def initial(self, labels: Tensor, classes: int) -> dict[str, Tensor]:
        return {"visits": torch.zeros(len(labels), dtype=torch.int64)}

    def observe(self, seen: Seen) -> Mapping[str, Tensor]:
        self.seen.append(seen)
        return {"visits": seen.batch.state["visits"] + 1}


def observed(recipe: Recipe, **how: Any) -> tuple[Any, list[Seen]]:
    diary = Diary()
    t = trainer(replace(recipe, observers=(diary,)), **how)
    return t, diary.seen


def test_an_observer_sees_every_update_and_changes_nothing() -> None:
    t, seen = observed(RECIPES["trades"])
    before, twin = copy.deepcopy(t.model), trainer(RECIPES["trades"])
    t.advance(t.steps)
    twin.advance(twin.steps)
    assert torch.equal(weights(t), weights(twin))
    assert t.kept.state()["Diary.visits"].tolist() == [2] * 20
    assert [len(each.batch.indices) for each in seen] == [8, 8, 4] * 2
    assert [each.batch.epoch for each in seen] == [0, 0, 0, 1, 1, 1]
    assert [each.step for each in seen] == list(range(6))
    first = seen[0]
    assert first.clean is not None
    assert first.attacked is not None
    torch.testing.assert_close(first.clean, before(first.batch.x).detach())
    assert torch.equal(first.batch.y, t.data.labels[first.batch.indices])
    expected = cross_entropy(first.clean, first.batch.y, reduction="none")
    assert bool((first.losses >= expected).all())
    assert not first.losses.requires_grad


def test_an_observer_sees_the_logits_that_the_objective_needs() -> None:
    for name, clean, attacked in (("adversarial", False, True), ("standard", True, False), ("mart", True, True)):
        t, seen = observed(RECIPES[name])
        t.advance(1)
        assert ((seen[0].clean is not None), (seen[0].attacked is not None)) == (clean, attacked), name


@pytest.mark.parametrize("name", ["adversarial", "trades", "l2", "pieces"])
def test_an_observer_sees_the_first_gradient_of_the_attack(name: str) -> None:
    """Of what is maximized, at the random starts; the draws are those of the trainer."""
    t, seen = observed(RECIPES[name])
    model, drawn = copy.deepcopy(t.model).eval(), t._batch()
    t.advance(1)
    assert len(seen) == (3 if name == "pieces" else 1)
    for part in seen:
        x, y = part.batch.x, part.batch.y
        places = [int((drawn.indices == i).nonzero()) for i in part.batch.indices]
        assert drawn.attack is not None
        assert drawn.start is not None
        z = x + project(drawn.start[places], x, drawn.attack.budget, (0.0, 1.0))
        z.requires_grad_(True)
        own = cross_entropy(model(z), y, reduction="sum")
        if name == "trades":
            own = divergence(model(x).detach().log_softmax(1), model(z).log_softmax(1)).sum()
        assert part.gradient is not None
        torch.testing.assert_close(part.gradient, torch.autograd.grad(own, z)[0], rtol=1e-4, atol=1e-7)
    for other in ("standard", "free"):
        t, seen = observed(RECIPES[other])
        t.advance(1)
        assert seen[0].gradient is None


def passes(recipe: Recipe) -> int:
    """Forward passes of the first update."""
    t, count = trainer(recipe), []
    t.model.register_forward_hook(lambda *_: count.append(1))
    t.advance(1)
    return len(count)


def test_no_forward_pass_is_added() -> None:
    """PGD-AT takes one for each step and one for the loss, TRADES one more for the clean image in the attack and one
    in the loss. Temporal ensembling adds its own clean prediction to PGD-AT, and none to TRADES."""
    adversarial, trades = BASE, RECIPES["trades"]
    assert (passes(adversarial), passes(trades)) == (2 + 1, 2 + 1 + 2)
    for recipe in (adversarial, trades):
        assert passes(replace(recipe, observers=(Diary(),))) == passes(recipe)
        assert passes(replace(recipe, objective=SelfAdaptive(recipe.objective, start=0))) == passes(recipe)  # type: ignore[arg-type]
        later = TemporalEnsembling(recipe.objective, start=1, end=2)  # type: ignore[arg-type]
        assert passes(replace(recipe, objective=later)) == passes(recipe)
    assert passes(replace(adversarial, objective=TemporalEnsembling(start=0, end=1))) == passes(adversarial) + 1
    assert passes(replace(trades, objective=TemporalEnsembling(Trades(6.0), start=0, end=1))) == passes(trades)


@pytest.mark.parametrize("base", [Adversarial(), Trades(6.0)])
def test_temporal_ensembling_is_what_a_plain_loop_does(base: Adversarial | Trades) -> None:
    """Five epochs with augmentation, written down again; only the draws are those of the trainer."""
    objective = TemporalEnsembling(base, start=1, end=3, largest=30)
    recipe = replace(BASE, epochs=5, objective=objective, augmentation=AUGMENTATIONS["crop-flip"], radius_warmup=0.0)
    t = trainer(recipe)
    model, running = copy.deepcopy(t.model), torch.zeros(20, 3)
    velocity = [torch.zeros_like(p) for p in model.parameters()]
    for step in range(t.steps):
        drawn, epoch = t._batch(), step // 3
        pixels = recipe.augmentation.apply(t.data.pixels[drawn.indices], drawn.drawn, t.data.grey)
        x, y = pixels.float() / t.data.white, t.data.labels[drawn.indices]
        w = 0.0 if epoch < 1 else 30 * float(torch.exp(torch.tensor(-5 * (1 - min((epoch - 1) / 2, 1)) ** 2)))
        p = x[:, :0].flatten(1)
        if epoch >= 1:
            with torch.no_grad():
                running[drawn.indices] = 0.9 * running[drawn.indices] + 0.1 * model(x).softmax(1)
            p = running[drawn.indices] / running[drawn.indices].sum(1, keepdim=True)
        clean = model(x).log_softmax(1).detach()

        def ascent(z: Tensor) -> Tensor:
            logits = model(z)
            value = cross_entropy(logits, y, reduction="none")  # noqa: B023
            if isinstance(base, Trades):
                value = 6 * (clean.exp() * (clean - logits.log_softmax(1))).sum(1)  # noqa: B023
            return value + (w * (logits.softmax(1) - p).square().mean(1) if w else 0)  # noqa: B023

        assert drawn.start is not None
        z = (x + drawn.start).clamp(0, 1)
        for _ in range(2):
            z.requires_grad_(True)
            (g,) = torch.autograd.grad(ascent(z).sum(), z)
            z = torch.minimum(torch.maximum((z + 0.1 * g.sign()).detach(), x - 0.1), x + 0.1).clamp(0, 1)
        model.zero_grad()
        logits, attacked = model(x), model(z)
        if isinstance(base, Trades):
            log_p, log_q = logits.log_softmax(1), attacked.log_softmax(1)
            loss = cross_entropy(logits, y, reduction="none") + 6 * (log_p.exp() * (log_p - log_q)).sum(1)
        else:
            loss = cross_entropy(attacked, y, reduction="none")
        if w:
            own = logits if isinstance(base, Trades) else attacked
            loss = loss + w * (own.softmax(1) - p).square().mean(1)
        loss.mean().backward()
        with torch.no_grad():
            for q, v in zip(model.parameters(), velocity, strict=True):
                assert q.grad is not None
                v.mul_(0.9).add_(q.grad)
                q.sub_(0.05 * triangle((step + 1) / (t.steps + 1)) * v)
        t.advance(step + 1)
        torch.testing.assert_close(t.kept.state()["TemporalEnsembling.running"], running, rtol=0, atol=1e-6)
    torch.testing.assert_close(weights(t), torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert bool((running.sum(1) - (1 - 0.9**4) < 1e-6).all())


def test_self_adaptive_targets_move_with_the_predictions_and_doubt_lowers_the_weight() -> None:
    """One update on a whole batch by the formulas: the targets, and the gradient that SGD took."""
    t = trainer(replace(BASE, batch_size=20, objective=SelfAdaptive(momentum=0.6, start=0)))
    diary: list[Batch] = []
    model = copy.deepcopy(t.model)
    original = SelfAdaptive.losses

    def spied(self: SelfAdaptive, network: nn.Module, batch: Batch, z: Tensor) -> Weighted:
        diary.append(replace(batch, x=z))
        return original(self, network, batch, z)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SelfAdaptive, "losses", spied)
        t.advance(1)
    batch = diary[0]
    logits = model(batch.x)
    moved = 0.6 * one_hot(batch.y, 3) + 0.4 * logits.detach().softmax(1)
    certainty = moved.max(1).values
    (certainty * -(moved * logits.log_softmax(1)).sum(1)).sum().div(certainty.sum()).backward()
    rate = 0.05 * triangle(1 / 3)
    expected = [p.detach() - rate * p.grad for p in model.parameters()]  # type: ignore[operator]
    torch.testing.assert_close(weights(t), torch.cat([p.flatten() for p in expected]))
    torch.testing.assert_close(t.kept.state()["SelfAdaptive.target"][batch.indices], moved)


def test_self_adaptive_training_waits_for_its_epoch() -> None:
    plain, later = trainer(), trainer(replace(BASE, objective=SelfAdaptive(start=1)))
    for t in (plain, later):
        t.advance(3)
    assert torch.equal(later.kept.state()["SelfAdaptive.target"], one_hot(later.data.labels, 3).float())
    torch.testing.assert_close(weights(plain), weights(later), rtol=1e-4, atol=1e-6)
    later.advance(6)
    assert bool((later.kept.state()["SelfAdaptive.target"].max(1).values < 1).all())


@dataclass(frozen=True)
class Doubt(Adversarial):
    """Weights of its own."""

    share: float = 1.0

    def losses(self, model: nn.Module, batch: Batch, z: Tensor) -> Weighted:
        plain = super().losses(model, batch, z)
        assert isinstance(plain, Tensor)
        return Weighted(plain, self.share * (1 + batch.indices % 3))


@pytest.mark.parametrize("pieces", [None, 3])
def test_weights_of_an_objective_are_divided_by_their_sum(pieces: int | None) -> None:
    one, tenth, whole = (
        trainer(replace(BASE, objective=Doubt(share=share), micro_batch=size))
        for share, size in ((1.0, pieces), (0.1, pieces), (1.0, None))
    )
    plain = trainer()
    for t in (one, tenth, whole, plain):
        t.advance(t.steps)
    torch.testing.assert_close(weights(one), weights(tenth), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(weights(one), weights(whole), rtol=1e-4, atol=1e-6)
    assert not torch.allclose(weights(one), weights(plain), rtol=1e-3, atol=1e-4)


class Changes(Observer):
    """Returns what it is told to."""

    changes_targets = True

    def __init__(self, **rows: Any) -> None:
        self.rows = rows

    def initial(self, labels: Tensor, classes: int) -> dict[str, Tensor]:
        return {"own": torch.zeros(len(labels), 2)}

    def observe(self, seen: Seen) -> Mapping[str, Tensor]:
        if seen.step < 3:
            return {}
        return {name: make(len(seen.batch.indices)) for name, make in self.rows.items()}


def test_weights_and_targets_of_an_observer_count_from_the_next_visit_on() -> None:
    still = trainer(replace(BASE, observers=(Changes(weights=torch.zeros),), epochs=3))
    still.advance(6)
    before = weights(still)
    still.advance(9)
    assert not bool(still.weights.any())
    # Momentum alone moves weights whose gradients are 0.
    assert all(not bool(p.grad.any()) for p in still.model.parameters() if p.grad is not None)
    assert not torch.equal(weights(still), before)
    second = torch.tensor([0.0, 1.0, 0.0])
    taught = trainer(replace(BASE, observers=(Changes(targets=lambda n: second.repeat(n, 1)),), epochs=3))
    assert torch.equal(taught.targets, one_hot(taught.data.labels, 3).float())
    taught.advance(6)
    assert torch.equal(taught.targets, second.repeat(20, 1))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ({"weights": lambda n: torch.ones(n, 2)}, r"weights of observer Changes at step 4 must be .* of shape \(8,\)"),
        ({"weights": lambda n: torch.ones(n - 1)}, r"must be torch.float32 of shape \(8,\), got .* of shape \(7,\)"),
        ({"weights": lambda n: -torch.ones(n)}, "weights of observer Changes at step 4 must be finite and at least 0"),
        ({"weights": lambda n: torch.full((n,), torch.nan)}, "weights of observer Changes at step 4 must be finite"),
        (
            {"targets": lambda n: torch.ones(n, 2)},
            r"targets of observer Changes at step 4 must be .* of shape \(8, 3\)",
        ),
        ({"targets": lambda n: torch.ones(n, dtype=torch.int64)}, "targets of observer Changes at step 4 must be"),
        ({"targets": lambda n: torch.full((n, 3), torch.inf)}, "targets of observer Changes at step 4 must be finite"),
        ({"own": lambda n: torch.full((n, 2), torch.nan)}, "own of observer Changes at step 4 must be finite"),
        ({"other": torch.ones}, "other of observer Changes at step 4 must be one of own, weights, targets"),
    ],
)
def test_what_an_observer_returns_is_checked_and_named(rows: dict[str, Any], words: str) -> None:
    t = trainer(replace(BASE, observers=(Changes(**rows),)))
    with pytest.raises(UserError, match=words):
        t.advance(t.steps)
    if "shape" in words or "one of" in words:
        assert t.step == 3


def test_observers_may_not_change_undeclared_targets() -> None:
    class Sly(Changes):
        changes_targets = False

    t = trainer(replace(BASE, observers=(Sly(targets=lambda n: torch.ones(n, 3)),)))
    with pytest.raises(UserError, match="targets of observer Sly at step 4 must be one of own, weights"):
        t.advance(t.steps)
    with pytest.raises(UserError, match="observers must have different names, got two called Diary"):
        trainer(replace(BASE, observers=(Diary(), Diary())))
    with pytest.raises(UserError, match="MART needs labels"):
        trainer(replace(BASE, objective=Mart(5.0), observers=(Changes(),))).advance(1)


def test_observers_belong_to_the_state() -> None:
    """A run that is resumed goes on with their tensors; a state without them is of another recipe."""
    whole, _ = observed(BASE)
    whole.advance(4)
    state = {name: value.clone() for name, value in whole.state().items()}
    again, _ = observed(BASE)
    again.load(state)
    again.advance(again.steps)
    assert again.kept.state()["Diary.visits"].tolist() == [2] * 20
    with pytest.raises(UserError, match=r"observer\.Diary\.visits is"):
        trainer().load(state)
    with pytest.raises(UserError, match=r"observer\.Diary\.visits is absent"):
        observed(BASE)[0].load(trainer().state())


def test_standard_training_has_no_attacked_images() -> None:
    t, seen = observed(replace(BASE, attack=None, objective=Standard()))
    t.advance(1)
    assert seen[0].attacked is None


def test_points_pass_through_a_network_once_unless_they_or_the_gradients_asked_for_change() -> None:
    calls: list[Tensor] = []

    class Counted(nn.Module):
        def forward(self, points: Tensor) -> Tensor:
            calls.append(points)
            return 2 * points

    network, x, z = Remembering(Counted()), torch.ones(2, 3, requires_grad=True), torch.zeros(2, 3)
    network.begin(x)
    with torch.no_grad():
        first = network(x)
        assert network(z) is network(z)
        assert network(x) is first
        assert len(calls) == 2, "the last points and the named ones are remembered"
        z += 1
        assert bool((network(z) == 2).all()), "z was changed in place"
    assert network(x).requires_grad
    assert network(x) is network(x)
    assert len(calls) == 4
    network.begin()
    assert network.recall(x) is None


def test_a_search_holds_the_activations_of_one_pass() -> None:
    network, kept = Remembering(nn.Linear(3, 2)), []
    for _ in range(3):
        points = torch.ones(4, 3)
        kept.append(weakref.ref(network(points)))
        del points
    assert [each() is not None for each in kept] == [False, False, True]


def test_weight_perturbation_is_observed_once_before_it() -> None:
    t, seen = observed(RECIPES["awp"])
    model = copy.deepcopy(t.model)
    t.advance(1)
    assert len(seen) == 1
    first = seen[0]
    assert first.attacked is not None
    expected = cross_entropy(first.attacked, first.batch.y, reduction="none")
    torch.testing.assert_close(first.losses, expected)
    size = max((p - q).abs().max() for p, q in zip(model.parameters(), t.model.parameters(), strict=True))
    assert size > 0
    twin, plain = observed(BASE)
    twin.advance(1)
    assert torch.equal(first.attacked, plain[0].attacked)  # type: ignore[arg-type]


def test_averaged_predictions_are_of_evaluation_mode() -> None:
    """With batch norm they differ from those of training mode, whose running statistics they must not move."""
    objective = TemporalEnsembling(start=0, end=1)
    t = trainer(replace(BASE, batch_size=20, objective=objective), network="resnet")
    model = copy.deepcopy(t.model).eval()
    x = t.data.scaled(t.data.pixels)
    t.advance(1)
    expected = 0.1 * model(x).detach().softmax(1)
    torch.testing.assert_close(t.kept.state()["TemporalEnsembling.running"], expected, rtol=1e-4, atol=1e-6)
    trades = TemporalEnsembling(Trades(6.0), start=0, end=1)
    shared, alone = (passes(replace(BASE, objective=trades, attack_mode=mode)) for mode in ("evaluation", "training"))
    assert alone == shared + 1, "an attack in training mode must not take logits of evaluation mode"


def test_smoothed_targets() -> None:
    t = trainer(replace(BASE, label_smoothing=0.3))
    torch.testing.assert_close(t.targets, 0.7 * one_hot(t.data.labels, 3) + 0.1)
