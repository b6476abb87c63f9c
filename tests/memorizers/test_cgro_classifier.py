"""The CGRO classifier: robust on every training ball, f_clean far from them, for every norm, read-out and indicator."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_memorizers import cloud, on_spheres
from tools import gaussian_network
from torch import nn

from cgro.base.errors import UserError
from cgro.base.norms import Norm, distances
from cgro.base.randomness import spawn_streams
from cgro.certify.certify import certify
from cgro.certify.exact import exact_margin
from cgro.certify.structural import structural_margins
from cgro.data.batches import Images
from cgro.memorizers.constructions import memorize
from cgro.memorizers.indicators import indicators
from cgro.memorizers.task import Memorizer, memorization_task
from cgro.networks.readout import margin_rows, margins
from cgro.networks.relu import PrecisionError, ReluNetwork
from cgro.simulations import certified_cgro, cgro_construction
from cgro.training.loop import Trainer
from cgro.training.objectives import Standard
from cgro.training.recipe import Recipe

NORMS: tuple[Norm, ...] = ("1", "2", "inf")
DOMAIN = (-0.5, 1.5)


def gated(norm: Norm, parts: str, classes: int, seed: int = 0, ratio: float = 0.8, **options: object) -> Memorizer:
    """Around a random network on 12 random points in four dimensions."""
    points, labels = cloud(12, 4, classes, seed)
    clean = gaussian_network([4, 6, 5, 1 if classes == 2 else classes], seed)
    radius = ratio * memorization_task(points, labels, norm, 1e-9).separation.distance / 2
    return memorize(
        points,
        labels,
        norm,
        radius,
        construction="cgro_classifier",
        clean=clean,
        parts=parts,
        domain=DOMAIN,
        **options,
    )


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("parts", ["shared", "own"])
@pytest.mark.parametrize("norm", NORMS)
@settings(max_examples=20)
@example(seed=116, ratio=0.25)  # the clean network is large on the balls, so that the gate has to close
@given(seed=st.integers(0, 10**6), ratio=st.floats(0.1, 0.95))
def test_robust_on_training_balls_and_clean_elsewhere(
    norm: Norm, parts: str, classes: int, seed: int, ratio: float
) -> None:
    m = gated(norm, parts, classes, seed, ratio)
    labels = m.task.data.labels
    for points in (m.task.data.points, *on_spheres(m, 6, seed)):
        assert margins(m.readout, m.network(points), labels).min() >= 1 - 1e-9
    assert (structural_margins(m) == 1).all()
    fresh = np.random.default_rng(seed).uniform(*DOMAIN, size=(200, 4))
    far = distances(fresh, m.task.data.points, norm).min(axis=1) > m.task.radius * 1.25
    clean = m.options["clean"]
    np.testing.assert_allclose(m.network(fresh[far]), clean(fresh[far]), rtol=1e-9, atol=1e-9)
    assert m.network.size.nonzero <= m.claimed.nonzero
    assert m.network.size.total == m.claimed.total
    assert m.network.size.depth == m.claimed.depth
    assert m.network.size.width <= m.claimed.width
    assert m.network.size.neurons <= m.claimed.neurons


@pytest.mark.parametrize("parts", ["shared", "own"])
@pytest.mark.parametrize("norm", NORMS)
def test_indicators_are_one_inside_and_zero_outside(norm: Norm, parts: str) -> None:
    points, labels = cloud(9, 3, 2, 1)
    task = memorization_task(points, labels, norm, 0.6 * memorization_task(points, labels, norm, 1e-9).gap / 2)
    shell = task.gap / 3
    found = indicators(task, shell, parts, DOMAIN)
    network = ReluNetwork.of([*found.layers, (found.values, np.zeros(9))])
    x = np.random.default_rng(0).uniform(*DOMAIN, size=(20_000, 3))
    x = np.concatenate(
        [x, points, points + np.random.default_rng(1).uniform(-0.2, 0.2, size=(400, 9, 3)).reshape(-1, 9, 3)[0]]
    )
    value, apart = network(x), distances(x, points, norm)
    np.testing.assert_allclose(value[apart <= task.radius], 1, rtol=0, atol=1e-9)
    np.testing.assert_allclose(value[apart >= task.radius + shell], 0, rtol=0, atol=1e-9)
    assert value.min() >= -1e-9
    assert value.max() <= 1 + 1e-9
    assert (apart <= task.radius).any()


@pytest.mark.parametrize("parts", ["shared", "own"])
@pytest.mark.parametrize("norm", NORMS)
def test_the_margin_is_one_in_exact_arithmetic(norm: Norm, parts: str) -> None:
    for seed in range(4):
        # Wide shells make biases below 1, where 1 + b would be rounded.
        shell = 3 * gated(norm, parts, 2, seed, 0.3).task.radius if seed else None
        m = gated(norm, parts, 2, seed, 0.3, shell=shell)
        rows, offsets = margin_rows("sign", 1, m.task.data.labels)
        inside = next(on_spheres(m, 1, seed))
        for points in (m.task.data.points, m.task.data.points + 0.99 * (inside - m.task.data.points)):
            for x, row, offset in zip(points, rows, offsets, strict=True):
                assert exact_margin(m.float_network, x, row, offset) >= 1


def test_own_indicators_hold_beyond_every_domain() -> None:
    for norm in NORMS:
        m = gated(norm, "own", 2)
        x = np.random.default_rng(0).uniform(-50, 50, size=(500, 4))
        np.testing.assert_allclose(m.network(x), m.options["clean"](x), rtol=1e-9, atol=1e-7)


def test_size_is_linear_in_points_and_in_dimensions() -> None:
    for norm, parts, slope in (("inf", "shared", 6), ("inf", "own", 10), ("1", "shared", 8), ("2", "shared", 2)):
        sizes = {}
        for samples, dim in ((40, 30), (80, 30), (40, 60)):
            points, labels = cloud(samples, dim, 2, 0)
            radius = 0.25 * memorization_task(points, labels, norm, 1e-9).separation.distance
            clean = gaussian_network([dim, 1], 0)
            m = memorize(points, labels, norm, radius, construction="cgro_classifier", clean=clean, parts=parts)
            sizes[samples, dim] = m.network.size.nonzero
        by_points = (sizes[80, 30] - sizes[40, 30]) / 40 / 30
        assert by_points == pytest.approx(slope, rel=0.35), (norm, parts)
        if norm != "2":
            assert (sizes[40, 60] - sizes[40, 30]) / 30 / 40 == pytest.approx(slope, rel=0.35), (norm, parts)


def test_the_interval_tier_proves_it_again_in_l_inf() -> None:
    for parts in ("shared", "own"):
        m = gated("inf", parts, 3)
        result = certify(
            m.network,
            m.task.data.points,
            m.task.data.labels,
            "inf",
            m.task.radius,
            readout="argmax",
            tiers=("interval",),
        )
        assert result.certified.all() or parts == "own"
        assert parts == "own" or result.lower.min() == pytest.approx(1, abs=1e-6)


def test_a_torch_network_may_be_the_clean_one() -> None:
    torch.manual_seed(0)
    clean = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    points, labels = cloud(9, 4, 3, 0)
    m = memorize(points, labels, "inf", 0.01, construction="cgro_classifier", clean=clean)
    assert margins("argmax", m.network(points), labels).min() >= 1 - 1e-9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clean": gaussian_network([3, 1], 0)}, "clean network must take 4 inputs, as the points have, got 3"),
        (
            {"clean": gaussian_network([4, 2], 0), "labels": [0, 1, 2, 0]},
            "labels must be 0 to 1 for a clean",
        ),
        ({"clean": gaussian_network([4, 1], 0), "labels": [0, 1, 0, 1]}, "labels must be -1 and"),
        ({"clean": gaussian_network([4, 1], 0), "shell": 9.0}, "shell must be .*got 9"),
        ({"clean": gaussian_network([4, 1], 0), "shell": 0.0}, "shell must be .*got 0"),
        ({"clean": nn.Sequential(nn.Linear(4, 1), nn.Sigmoid())}, "module model.1 must be .*got Sigmoid"),
    ],
)
def test_mismatched_arguments_are_refused(options: dict, message: str) -> None:
    points, _ = cloud(4, 4, 2, 0)
    labels = options.pop("labels", [-1, 1, -1, 1])
    with pytest.raises(UserError, match=message):
        memorize(points, labels, "inf", 0.01, construction="cgro_classifier", **options)


@pytest.mark.parametrize(("norm", "shell"), [("1", 1e-14), ("2", 1e-8), ("inf", 1e-8)])
def test_a_shell_lost_to_rounding_is_refused(norm: Norm, shell: float) -> None:
    points, labels = cloud(6, 2, 2, 0)
    with pytest.raises(PrecisionError):
        memorize(
            points + 1e9,
            labels,
            norm,
            0.01,
            construction="cgro_classifier",
            clean=gaussian_network([2, 1], 0),
            shell=shell,
        )


# The experiments


def test_the_experiment_on_synthetic_data_shows_cgro() -> None:
    config = cgro_construction.Config(dims=(12,), norms=("inf",), samples=40, test_samples=100, seeds=1)
    result = cgro_construction.run(config).squeeze()
    assert result["clean_test_error"].values.tolist() == [0, 0]
    assert result["robust_train_error"].values.tolist() == [1, 0]
    assert result["certified_train_accuracy"].item() == result["verified_accuracy"].item() == 1
    test = result["robust_test_error"].values
    assert test[0] == 1
    assert test[1] >= test[0] - result["coverage"].item()
    assert test[1] > 0.9


@pytest.mark.parametrize("norm", NORMS)
def test_attack_points_stay_in_the_ball(norm: Norm, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = cgro_construction.Config(samples=8, test_samples=30).cell(5, norm, 0)
    data = cell.draw(30, np.random.SeedSequence(0))
    seen: list[np.ndarray] = []
    clean = cgro_construction.weak_classifier(5)

    def never_wrong(x: np.ndarray) -> np.ndarray:
        seen.append(x)
        return data.labels[:, None] * np.ones((1, 1))

    cgro_construction.attacked_error(never_wrong, data, cell, np.random.default_rng(0))
    assert len(seen) == cell.attack_points
    for z in seen:
        size = np.linalg.norm(z - data.points, ord={"1": 1, "2": 2, "inf": np.inf}[norm], axis=1)
        assert size.max() <= cell.radius * (1 + 1e-9)
        assert size.min() > 0.1 * cell.radius
    assert cgro_construction.attacked_error(clean, data, cell, np.random.default_rng(0)) == 1


def test_the_experiment_on_digits_shows_cgro() -> None:
    config = certified_cgro.Config(
        samples=200, test_images=60, attacked_images=40, verified_images=5, width=8, epochs=12
    )
    result = certified_cgro.run(config).squeeze()
    clean = result["clean_test_accuracy"].values
    assert clean[0] == clean[1] > 0.8
    assert result["certified_train_accuracy"].item() == 1
    assert result["verified"].item() == 5
    robust = result["robust_train_accuracy"].values
    assert robust[0] < 0.7
    assert robust[1] == 1
    test = result["robust_test_accuracy"].values
    assert test[1] <= test[0] + result["coverage"].item()


def test_clean_training_leaves_images_alone() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    seen = []
    model.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].clone()))
    pixels = torch.arange(16, dtype=torch.uint8).reshape(4, 1, 2, 2)
    images = Images(pixels, torch.tensor([0, 1, 0, 1]), white=16)
    Trainer(
        model,
        images,
        Recipe(attack=None, epochs=1, batch_size=4, learning_rate=0.1, objective=Standard()),
        spawn_streams(0),
    ).advance(1)
    assert torch.equal(seen[-1].sum((1, 2, 3)).sort().values, (pixels.float() / 16).sum((1, 2, 3)))


def test_a_radius_that_images_do_not_admit_is_refused() -> None:
    with pytest.raises(
        UserError,
        match=r"radius must be below .*, got 0\.4: points .* with labels \d and \d are .* apart in l_inf",
    ):
        certified_cgro.run(certified_cgro.Config(samples=200, radius=0.4, epochs=1, width=1))
    with pytest.raises(UserError, match=r"radius must be .*got 8"):
        certified_cgro.Config(radius=8)
    with pytest.raises(UserError, match=r"radius, shell and separation must be .*got 0\.25, 0\.02 and 0\.5"):
        cgro_construction.Config(radius=0.25)
