"""Treatments of training images by weights and scores: BAT, GAIRAT, weights and targets by scores, random weights."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from test_training import BASE, trainer, weights
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from cgro.attacks.ball import Budget
from cgro.attacks.images import Attack
from cgro.base.errors import UserError
from cgro.data.batches import AUGMENTATIONS
from cgro.training.benign import Benign, benign_weights, discrimination, poisoning_score
from cgro.training.distributed import Team
from cgro.training.geometry_aware import GeometryAware, geometry_weights
from cgro.training.objectives import Adversarial, Mart, Trades
from cgro.training.observers import Batch, Observer, Seen, Weighted
from cgro.training.recipe import Recipe
from cgro.training.sample_weights import RandomWeights, SampleWeights, effective_sample_size
from cgro.training.schedules import triangle
from cgro.training.scored import Dropping, Reweighting, Smoothing, highest, shuffled

SCORES = torch.linspace(-0.9, 1, 20)[torch.randperm(20, generator=torch.Generator().manual_seed(3))]
STEPS = 4
LONG = replace(
    BASE,
    epochs=5,
    attack=Attack(Budget("inf", 0.1), STEPS, 0.4),
    augmentation=AUGMENTATIONS["crop-flip"],
    radius_warmup=0.0,
)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def bat_weights(logits: np.ndarray, y: np.ndarray, a: float) -> np.ndarray:
    found = []
    for p, label in zip(softmax(logits.astype(np.float64)), y, strict=True):
        others = [p[c] for c in range(len(p)) if c != label]
        found.append(1.0 if p[label] >= max(others) else math.exp(-a * max(others)))
    return np.array(found)


def pair_loss(h: Tensor, y: Tensor, tau: float, against: str = "others") -> Tensor:
    """The discrimination loss as a double loop."""
    h = torch.stack([row / row.norm() if bool(row.any()) else row for row in h])
    terms = []
    for i in range(len(y)):
        rest = [k for k in range(len(y)) if (k != i if against == "others" else y[k] != y[i])]
        partners = [j for j in range(len(y)) if j != i and y[j] == y[i]]
        if partners and rest:
            above, below = (sum(torch.exp(h[i] @ h[k] / tau) for k in part) for part in (partners, rest))
            terms.append(-torch.log(above / below))  # type: ignore[arg-type]
    return torch.stack(terms).mean() if terms else torch.zeros(())


def plain_loop(
    recipe: Recipe, loss: Callable[[nn.Module, Tensor, Tensor, Tensor, Tensor, list[Tensor], int], Tensor]
) -> Any:
    """The training of a recipe, written down again; only the draws are those of the trainer.

    `loss` gets the model, x, z, labels, indices, the logits of every step of the attack, and the epoch.
    """
    t = trainer(recipe)
    model = copy.deepcopy(t.model)
    velocity = [torch.zeros_like(p) for p in model.parameters()]
    for step in range(t.steps):
        drawn = t._batch()
        pixels = recipe.augmentation.apply(t.data.pixels[drawn.indices], drawn.drawn, t.data.grey)
        x, y = pixels.float() / t.data.white, t.data.labels[drawn.indices]
        assert drawn.start is not None
        z, seen = (x + drawn.start).clamp(0, 1), list[Tensor]()
        for _ in range(STEPS):
            z.requires_grad_(True)
            logits = model(z)
            seen.append(logits.detach())
            (g,) = torch.autograd.grad(cross_entropy(logits, y, reduction="sum"), z)
            z = torch.minimum(torch.maximum((z + 0.04 * g.sign()).detach(), x - 0.1), x + 0.1).clamp(0, 1)
        model.zero_grad()
        loss(model, x, z, y, drawn.indices, seen, step // 3).backward()
        with torch.no_grad():
            for q, v in zip(model.parameters(), velocity, strict=True):
                assert q.grad is not None
                v.mul_(0.9).add_(q.grad)
                q.sub_(0.05 * triangle((step + 1) / (t.steps + 1)) * v)
        t.advance(step + 1)
    torch.testing.assert_close(weights(t), torch.cat([p.detach().flatten() for p in model.parameters()]))
    return t


@pytest.mark.parametrize(("points", "against"), [("attacked", "others"), ("clean", "others"), ("attacked", "classes")])
def test_bat_is_what_a_plain_loop_does(points: Any, against: Any) -> None:
    objective = Benign(2.0, 0.3, temperature=0.5, start=2, points=points, against=against)
    kept, low = np.ones(20), []

    def loss(
        model: nn.Module, x: Tensor, z: Tensor, y: Tensor, indices: Tensor, seen: list[Tensor], epoch: int
    ) -> Tensor:
        logits = model(z)
        w = np.ones(len(y))
        if epoch >= 2:
            w = bat_weights(logits.detach().numpy(), y.numpy(), 2.0)
            low.append((w < 1).mean())
        kept[indices.numpy()] = w
        h = model.layers[:-1](z if points == "attacked" else x)  # type: ignore[index, operator]
        p = logits.log_softmax(1)
        fitted = sum(float(w[i]) * -p[i, y[i]] for i in range(len(y))) / w.sum()
        return fitted + 0.3 * pair_loss(h, y, 0.5, against)  # type: ignore[no-any-return]

    t = plain_loop(replace(LONG, objective=objective), loss)
    np.testing.assert_allclose(t.kept.of(objective)["weight"], kept, rtol=1e-4)
    assert 0.05 < np.mean(low) < 0.95, "some images are misclassified, and some are not"


@pytest.mark.parametrize("count", ["first", "all"])
def test_gairat_is_what_a_plain_loop_does(count: Any) -> None:
    objective = GeometryAware(start=2, count=count)
    kept, steps = np.ones(20), np.zeros(20)

    def loss(
        model: nn.Module, x: Tensor, z: Tensor, y: Tensor, indices: Tensor, seen: list[Tensor], epoch: int
    ) -> Tensor:
        kappa = np.zeros(len(y))
        for i in range(len(y)):
            right = [int(logits[i].argmax()) == int(y[i]) for logits in seen]
            kappa[i] = sum(right) if count == "all" else (right.index(False) if False in right else len(right))
        w = (1 + np.tanh(-1 + 5 * (1 - 2 * kappa / STEPS))) / 2 if epoch >= 2 else np.ones(len(y))
        kept[indices.numpy()], steps[indices.numpy()] = w, kappa
        p = model(z).log_softmax(1)
        return sum(float(w[i]) * -p[i, y[i]] for i in range(len(y))) / w.sum()  # type: ignore[return-value]

    t = plain_loop(replace(LONG, objective=objective), loss)
    np.testing.assert_allclose(t.kept.of(objective)["weight"], kept, rtol=1e-4, atol=1e-9)
    assert t.kept.of(objective)["kappa"].tolist() == steps.tolist()
    assert {0, STEPS} < set(steps), "from the start, never, and in between"


def test_gairat_takes_no_forward_pass_of_its_own() -> None:
    for objective in (Adversarial(), GeometryAware(start=0), RandomWeights(GeometryAware(start=0)), Benign(1.0, 0.2)):
        t, calls = trainer(replace(BASE, objective=objective)), []
        t.model.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        t.advance(1)
        assert len(calls) == 2 + 1, type(objective).__name__


@pytest.mark.parametrize("start", [True, False])
def test_kappa_counts_from_the_start_of_the_attack(start: bool) -> None:
    """An image that is misclassified where the attack starts has kappa 0; one that never is, K."""
    attack = Attack(Budget("inf", 1e-6), 3, 0.5, start=start)
    t = trainer(replace(BASE, objective=GeometryAware(start=0), attack=attack, batch_size=20))
    right = t.model(t.data.scaled(t.data.pixels)).argmax(1) == t.data.labels
    t.advance(1)
    assert 0 < int(right.sum()) < 20
    assert t.kept.of(t.recipe.objective)["kappa"].tolist() == (3 * right.long()).tolist()  # type: ignore[arg-type]


def test_known_weights() -> None:
    logits = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 1.0], [0.0, 1.0, 4.0]])
    y = torch.tensor([0, 0, 1])
    p = softmax(logits.numpy())
    torch.testing.assert_close(poisoning_score(logits, y).numpy(), np.array([p[0, 2], p[1, 1], p[2, 2]]))
    expected = [1.0, math.exp(-2 * p[1, 1]), math.exp(-2 * p[2, 2])]
    np.testing.assert_allclose(benign_weights(logits, y, 2.0), expected, rtol=1e-6)
    assert not benign_weights(logits.requires_grad_(), y).requires_grad
    kappa = torch.arange(11)
    formula = (1 + np.tanh(-1 + 5 * (1 - 2 * np.arange(11) / 10))) / 2
    np.testing.assert_allclose(geometry_weights(kappa, 10), formula, rtol=1e-5)
    assert bool((geometry_weights(kappa, 10).diff() < 0).all()), "those that are broken early count more"


@pytest.mark.parametrize("against", ["others", "classes"])
def test_the_discrimination_loss_is_a_double_loop(against: Any) -> None:
    g = torch.Generator().manual_seed(0)
    h, y = torch.randn(9, 5, generator=g, dtype=torch.float64), torch.tensor([0, 0, 1, 1, 1, 2, 3, 3, 0])
    first, second = h.clone().requires_grad_(), h.clone().requires_grad_()
    found, expected = discrimination(first, y, 0.2, against), pair_loss(second, y, 0.2, against)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    for loss in (found, expected):
        loss.backward()
    torch.testing.assert_close(first.grad, second.grad, rtol=1e-10, atol=1e-14)
    scaled = discrimination(1e3 * h, y, 0.2, against)
    torch.testing.assert_close(scaled, found, rtol=1e-12, atol=0, msg="cosines do not depend on lengths")


def test_the_discrimination_loss_has_gradients_at_the_edges() -> None:
    """Small temperatures, dead features, images without partners, a single one, and a single class."""
    g = torch.Generator().manual_seed(0)
    for h, y in (
        (torch.randn(6, 4, generator=g), [0, 0, 1, 1, 2, 3]),
        (torch.zeros(6, 4), [0, 0, 1, 1, 2, 3]),
        (torch.randn(6, 4, generator=g) * torch.tensor([[0.0], [1.0]] * 3), [0, 0, 1, 1, 2, 3]),
        (torch.randn(3, 4, generator=g), [0, 1, 2]),
        (torch.randn(1, 4, generator=g), [0]),
        (torch.randn(3, 4, generator=g), [1, 1, 1]),
    ):
        for against in ("others", "classes"):
            for tau in (1e-3, 1.0):
                h = h.detach().requires_grad_()
                loss = discrimination(h, torch.tensor(y), tau, against)  # type: ignore[arg-type]
                loss.backward()
                assert h.grad is not None
                assert bool(loss.isfinite())
                assert bool(h.grad.isfinite().all())
                assert float(h.grad.abs().max()) < 1e5
                assert against == "classes" or float(loss.detach()) >= -1e-6
                if len(set(y)) == len(y) or (len(set(y)) == 1 and against == "classes"):
                    assert float(loss.detach()) == 0


class Pulled(Observer):
    """Keeps what it sees."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []

    def observe(self, seen: Seen) -> dict[str, Tensor]:
        self.seen.append(seen)
        return {}


@dataclass(frozen=True)
class Numbered(SampleWeights):
    """Weights that tell the images apart."""

    def losses(self, model: nn.Module, batch: Batch, z: Tensor) -> Weighted:
        return Weighted(cross_entropy(model(z), batch.y, reduction="none"), 1.0 + batch.indices)


def test_random_weights_are_the_same_weights_on_other_images() -> None:
    """In every batch; every order is equally likely, and each epoch has another one."""
    pulled, objective = Pulled(), RandomWeights(Numbered(), seed=1)
    t = trainer(replace(BASE, objective=objective, observers=(pulled,), epochs=200, batch_size=10))
    t.advance(t.steps)
    key, orders = t.kept.of(objective)["key"], []
    for seen in pulled.seen:
        own = 1.0 + seen.batch.indices
        assert seen.weights is not None
        assert torch.equal(seen.weights, own[key[seen.batch.indices].argsort()])
        orders.append([int((own == w).nonzero()) for w in seen.weights])
    found = np.array(orders)
    assert (np.sort(found, axis=1) == np.arange(10)).all()
    # 400 batches of 10: place p takes the weight of place r in 40 of them, up to 5 standard errors.
    counts = np.array([np.bincount(found[:, p], minlength=10) for p in range(10)])
    assert abs(counts - 40).max() < 5 * math.sqrt(40 * 0.9)
    last = t.kept.of(objective)["weight"]
    assert torch.equal(last.sort().values, torch.arange(1.0, 21.0))
    other = trainer(replace(t.recipe, objective=RandomWeights(Numbered(), seed=2)))
    assert not torch.equal(other.kept.state()["RandomWeights.key"], key)


def test_the_control_of_bat_has_its_losses_and_its_histogram() -> None:
    """One update of each from the same state: the same losses, the same weights in another order."""
    found = []
    for objective in (Benign(5.0, 0.2), RandomWeights(Benign(5.0, 0.2))):
        pulled = Pulled()
        t = trainer(replace(BASE, objective=objective, observers=(pulled,), batch_size=20))
        t.advance(1)
        found.append((pulled.seen[0], weights(t)))
        torch.testing.assert_close(t.kept.of(objective)["weight"][pulled.seen[0].batch.indices], pulled.seen[0].weights)
    (treated, after), (control, other) = found
    assert treated.weights is not None
    assert control.weights is not None
    assert torch.equal(treated.losses, control.losses)
    assert torch.equal(treated.weights.sort().values, control.weights.sort().values)
    assert not torch.equal(treated.weights, control.weights)
    assert not torch.allclose(after, other, rtol=1e-3, atol=1e-5)
    assert effective_sample_size(treated.weights) == pytest.approx(effective_sample_size(control.weights))


@pytest.mark.parametrize("base", [Adversarial(), Trades(6.0)])
def test_treatments_by_scores_are_what_their_rules_say(base: Any) -> None:
    """One update on a whole batch, against the gradient of the formula."""
    ranks = torch.tensor([float((s > SCORES).sum()) / 19 for s in SCORES])
    high = SCORES.clamp_min(0)
    chosen = SCORES.sort().values[-6] <= SCORES
    assert torch.equal(highest(SCORES, 0.3), chosen)
    for objective, w, s in (
        (Reweighting(SCORES, 3.0, base), torch.exp(-3 * high), torch.zeros(20)),
        (Dropping(chosen, base), 1.0 - chosen.float(), torch.zeros(20)),
        (Smoothing(SCORES, 0.6, base=base), torch.ones(20), 0.6 * high),
        (Smoothing(SCORES, 0.6, "rank", base), torch.ones(20), 0.6 * ranks),
    ):
        points: list[tuple[Tensor, Tensor, Tensor]] = []
        pulled = Pulled()
        t = trainer(replace(BASE, objective=objective, observers=(pulled,), batch_size=20))
        model = copy.deepcopy(t.model)
        original = type(objective).losses

        def spied(self: Any, network: nn.Module, batch: Batch, z: Tensor) -> Any:
            points.append((batch.x, z, batch.indices))  # noqa: B023
            return original(self, network, batch, z)  # noqa: B023

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(objective), "losses", spied)
            t.advance(1)
        x, z, indices = points[0]
        y, w, s = t.data.labels[indices], w[indices], s[indices][:, None]
        target = (1 - s) * torch.eye(3)[y] + s / 3
        p, q = model(x).log_softmax(1), model(z).log_softmax(1)
        losses = -(target * q).sum(1)
        if isinstance(base, Trades):
            losses = -(target * p).sum(1) + 6 * (p.exp() * (p - q)).sum(1)
        mean = (w * losses).sum() / w.sum()
        mean.backward()
        rate = 0.05 * triangle(1 / 3)
        expected = [each.detach() - rate * each.grad for each in model.parameters()]  # type: ignore[operator]
        torch.testing.assert_close(weights(t), torch.cat([each.flatten() for each in expected]))
        assert t.mean_loss() == pytest.approx(float(mean.detach()), rel=1e-5)
        kept = t.kept.of(objective)
        if isinstance(objective, Smoothing):
            torch.testing.assert_close(kept["smoothing"][indices], s[:, 0])
        else:
            torch.testing.assert_close(kept["weight"][indices], w)


def test_the_attack_ascends_with_smoothed_targets() -> None:
    t = trainer(replace(BASE, objective=Smoothing(SCORES, 0.6)))
    x, kept = t.data.scaled(t.data.pixels), t.kept.of(t.recipe.objective)  # type: ignore[arg-type]
    batch = Batch(x, t.data.labels, torch.arange(20), state=kept)
    expected = -(kept["target"] * t.model(x).log_softmax(1)).sum(1)
    torch.testing.assert_close(t.recipe.objective.ascent(t.model, batch)(x), expected)
    assert not torch.allclose(expected, cross_entropy(t.model(x), batch.y, reduction="none"))


def test_a_batch_without_weights_changes_nothing() -> None:
    """Of 20 images 19 are dropped, so that two batches of three have no weight at all."""
    t = trainer(replace(BASE, objective=Dropping(torch.arange(20) != 7), momentum=0.0))
    path = [weights(t)]
    t.advance(t.steps, lambda: path.append(weights(t)))
    changed = [not torch.equal(a, b) for a, b in itertools.pairwise(path)]
    assert sum(changed) == 2, "once in each of two epochs"
    assert bool(weights(t).isfinite().all())


def test_the_effective_sample_size() -> None:
    assert effective_sample_size(torch.ones(7)) == pytest.approx(7)
    assert effective_sample_size(np.array([0.0, 3.0, 0.0])) == 1
    assert effective_sample_size(torch.tensor([1.0, 2.0])) == pytest.approx(9 / 5)
    assert effective_sample_size(torch.full((4,), 1e-30)) == pytest.approx(4)
    assert effective_sample_size(torch.zeros(3)) == 0
    for wrong, words in (
        (torch.ones(2, 2), r"weights must be a row of one or more numbers, got shape \(2, 2\)"),
        (torch.tensor([1.0, -1.0]), "weights must be finite and at least 0, got -1 at 1"),
        (torch.tensor([math.nan]), "weights must be finite and at least 0, got nan at 0"),
    ):
        with pytest.raises(UserError, match=words):
            effective_sample_size(wrong)


def test_shuffled_scores_are_the_same_scores() -> None:
    control = shuffled(SCORES, seed=4)
    assert torch.equal(control.sort().values, SCORES.sort().values)
    assert not torch.equal(control, SCORES)
    assert torch.equal(control, shuffled(SCORES, seed=4))
    assert not torch.equal(control, shuffled(SCORES, seed=5))


@pytest.mark.parametrize("objective", [Benign(1.0, 0.2), RandomWeights(Benign(1.0, 0.0)), RandomWeights(Numbered())])
def test_batches_are_whole_where_images_interact(objective: SampleWeights) -> None:
    recipe = replace(BASE, objective=objective)
    name = type(objective).__name__
    for changes, size, words in (
        ({}, 2, "2 processes: run it on one process"),
        ({"micro_batch": 3}, 1, "micro_batch 3: leave micro_batch out"),
        ({"compile": True}, 1, "compile, which fills up small batches"),
    ):
        with pytest.raises(UserError, match=f"objective {name} needs whole batches, got {words}"):
            trainer(replace(recipe, **changes), team=Team(0, size))  # type: ignore[arg-type]
    trainer(replace(recipe, micro_batch=8))
    trainer(replace(BASE, objective=Benign(1.0, 0.0), micro_batch=3), team=Team(0, 2))


@pytest.mark.parametrize(
    "objective", [Benign(3.0, 0.0), GeometryAware(start=0), Reweighting(SCORES), Dropping(highest(SCORES, 0.4))]
)
def test_pieces_of_a_batch_share_its_sum_of_weights(objective: SampleWeights, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = trainer(replace(BASE, objective=objective))
    pieces = trainer(replace(BASE, objective=objective, micro_batch=3))
    monkeypatch.setattr(torch, "compile", lambda network: network)
    filled = trainer(replace(BASE, objective=objective, compile=True))
    for t in (whole, pieces, filled):
        t.advance(t.steps)
    for t in (pieces, filled):
        torch.testing.assert_close(weights(t), weights(whole), rtol=1e-4, atol=1e-6)
        assert t.mean_loss() == pytest.approx(whole.mean_loss(), rel=1e-5)
        for name, value in whole.kept.state().items():
            torch.testing.assert_close(t.kept.state()[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Benign(strength=-1.0), "strength must be at least 0, got -1.0"),
        (lambda: Benign(discrimination=math.nan), "discrimination must be finite, got nan"),
        (lambda: Benign(temperature=0.0), "temperature must be greater than 0, got 0.0"),
        (lambda: Benign(start=-1.0), "start must be at least 0"),
        (lambda: Benign(points="both"), "points must be one of attacked, clean, got 'both'"),
        (lambda: Benign(against="all"), "against must be one of others, classes, got 'all'"),
        (lambda: GeometryAware(shift=math.inf), "shift must be finite, got inf"),
        (lambda: GeometryAware(count="last"), "count must be one of first, all, got 'last'"),
        (lambda: RandomWeights(Benign(), seed=-1), "seed must be a non-negative integer, got -1"),
        (lambda: Reweighting(torch.tensor([0.0, 1.5])), r"scores must be in \[-1, 1\], got 1.5 at index 1"),
        (lambda: Reweighting(torch.tensor([math.nan])), r"scores must be in \[-1, 1\], got nan at index 0"),
        (
            lambda: Reweighting(torch.ones(2, 2)),
            r"scores must be a row of numbers, got torch.float32 of shape \(2, 2\)",
        ),
        (lambda: Reweighting(SCORES, -1.0), "strength must be at least 0, got -1.0"),
        (lambda: Smoothing(SCORES, 1.5), r"strength must be in \[0, 1\], got 1.5"),
        (lambda: Smoothing(SCORES, by="loss"), "by must be one of score, rank, got 'loss'"),
        (lambda: Smoothing(SCORES, base=Mart(5.0)), "base must be one of Adversarial, Trades, got 'Mart'"),
        (lambda: Dropping(SCORES), "dropped must be a row of truth values, got torch.float32"),
        (lambda: Dropping(torch.ones(20, dtype=torch.bool)), "dropped must leave an image, got all 20"),
        (lambda: highest(SCORES, 1.0), r"fraction must be in \[0, 1\), got 1.0"),
        (lambda: shuffled(SCORES, -1), "seed must be a non-negative integer, got -1"),
        (lambda: trained(Reweighting(SCORES[:19])), "scores must be one for each of the 20 training images, got 19"),
        (lambda: trained(Smoothing(SCORES[:19])), "scores must be one for each of the 20 training images, got 19"),
        (lambda: trained(Dropping(SCORES[:19] > 0)), "must be one for each of the 20 training images, got 19"),
        (lambda: trained(Benign(), label_smoothing=0.1), "BAT needs labels, not probabilities"),
        (lambda: trained(GeometryAware(), label_smoothing=0.1), "GAIRAT needs labels, not probabilities"),
        (
            lambda: trained(Smoothing(SCORES), label_smoothing=0.1),
            "smoothing by scores needs labels",
        ),
        (lambda: trained(GeometryAware(), search=lambda _model, x, _y, _budget: x), "GAIRAT counts the steps of PGD"),
        (lambda: trained(GeometryAware(), replays=2), "GAIRAT counts the steps of PGD"),
    ],
)
def test_what_cannot_be_is_reported_in_one_line(make: Callable[[], object], words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)


def trained(objective: Any, **changes: Any) -> None:
    trainer(replace(BASE, objective=objective, **changes)).advance(1)
