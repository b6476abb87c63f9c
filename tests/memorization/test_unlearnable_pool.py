"""S_U and what chance explains of it: enumeration, Monte Carlo, every sub-pool; the networks and arms behind them."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
import xarray as xr
from toy_configs import CONFIGS

from cgro.base.errors import UserError
from cgro.base.randomness import at, spawn_streams
from cgro.data.tampering import Tampering
from cgro.figures import unlearnable_images as figure
from cgro.figures import unlearnable_images_scores as scores_figure
from cgro.memorization.arms import ARMS, ArmRun, objective_of, train_arm, treated
from cgro.memorization.pool import PoolNetworks, train_pool
from cgro.memorization.subset_models import Study, answers
from cgro.memorization.unlearnable import (
    chance_of_errors,
    expected_by_chance,
    fewest_errors,
    missed_by_all,
    missed_by_all_by_chance,
    unlearnable,
)
from cgro.simulations import unlearnable_images
from cgro.training.config import TrainingConfig, is_stackable
from cgro.training.run import Own, TrainingRun
from cgro.training.tracing import packed

RATES = np.array([0.1, 0.5, 0.25, 0.9])
TOY: unlearnable_images.Config = CONFIGS["unlearnable-images"]
TRAINING = TrainingConfig(
    samples=60, held_out=40, width=4, radius=0.05, radius_warmup=0.0, batch_size=20, learning_rate=0.2, epochs=8,
    attack_steps=2, evaluation_steps=2, evaluation_images=40, evaluate_every=2,
)  # fmt: skip
WRONG = Tampering(mislabelled=0.2)


def nothing(_done: float) -> None:
    """A tick that is not shown."""


def test_the_law_of_independent_errors_is_that_of_all_outcomes() -> None:
    for least in range(len(RATES) + 2):
        outcomes = (bits for bits in product((0, 1), repeat=len(RATES)) if sum(bits) >= least)
        expected = sum(np.prod(np.where(bits, RATES, 1 - RATES)) for bits in outcomes)
        assert chance_of_errors(RATES, least) == pytest.approx(expected)
    assert chance_of_errors(RATES, 4) == pytest.approx(RATES.prod())
    for least in (0, 3, 20):
        assert chance_of_errors(np.full(20, 0.4), least) == pytest.approx(scipy.stats.binom.sf(least - 1, 20, 0.4))


@pytest.mark.parametrize(
    ("networks", "share", "least"),
    [(10, 1.0, 10), (10, 0.7, 7), (10, 0.71, 8), (3, 0.5, 2), (9, 0.01, 1), (100, 0.07, 7)],
)
def test_a_share_is_rounded_up_to_whole_networks(networks: int, share: float, least: int) -> None:
    assert fewest_errors(networks, share) == least
    wrong = np.tril(np.ones((networks, networks), dtype=bool))  # image i is missed by networks i, ..., K - 1
    np.testing.assert_array_equal(unlearnable(wrong, share), np.arange(networks, 0, -1) >= least)


def pool(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Errors of six networks on 30 images, harder ones in the second of two strata."""
    rng, strata = np.random.default_rng(seed), np.repeat([0, 1], [20, 10])
    return rng.random((6, 30)) < np.where(strata, 0.8, 0.3), strata


@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize("share", [0.5, 1.0])
def test_the_null_is_the_mean_over_errors_on_random_images(share: float, stratified: bool) -> None:
    """Monte Carlo over 4,000 permutations, within four standard errors."""
    wrong, strata = pool()
    strata = strata if stratified else np.zeros(30, dtype=int)
    rng, sizes = np.random.default_rng(1), []
    for _ in range(4000):
        shuffled = wrong.copy()
        for k, each in product(range(len(wrong)), np.unique(strata)):
            own = np.flatnonzero(strata == each)
            shuffled[k, own] = wrong[k, rng.permutation(own)]
        sizes.append(unlearnable(shuffled, share).sum())
    found = expected_by_chance(wrong, share, strata if stratified else None)
    assert abs(np.mean(sizes) - found) < 4 * np.std(sizes) / np.sqrt(len(sizes)) + 1e-12


def test_the_curve_over_sizes_is_the_mean_over_all_smaller_pools() -> None:
    wrong, strata = pool()
    found = missed_by_all(wrong)
    by_chance, within = missed_by_all_by_chance(wrong), missed_by_all_by_chance(wrong, strata)
    for j in range(1, 7):
        parts = [list(chosen) for chosen in combinations(range(6), j)]
        assert found[j - 1] == pytest.approx(np.mean([unlearnable(wrong[part]).sum() for part in parts]))
        for curve, of in ((by_chance, None), (within, strata)):
            assert curve[j - 1] == pytest.approx(np.mean([expected_by_chance(wrong[part], 1.0, of) for part in parts]))
    assert found[0] == pytest.approx(wrong.sum(axis=1).mean())
    assert found[-1] == unlearnable(wrong).sum()


def test_errors_that_are_the_same_exceed_chance_and_those_of_everybody_are_chance() -> None:
    same = np.repeat(np.arange(50)[None] < 10, 8, axis=0)
    assert missed_by_all(same) == pytest.approx(np.full(8, 10.0))
    assert expected_by_chance(same) == pytest.approx(50 * 0.2**8)
    assert expected_by_chance(same, 1.0, (np.arange(50) < 10).astype(int)) == pytest.approx(10)
    large = np.ones((1000, 3), dtype=bool)
    assert missed_by_all_by_chance(large) == pytest.approx(np.full(1000, 3.0))


@pytest.mark.parametrize(
    ("wrong", "share", "strata", "words"),
    [
        (np.ones((2, 3)), 1.0, None, r"wrong must be truth values .*got float64 \(2, 3\)"),
        (np.ones((0, 3), dtype=bool), 1.0, None, r"1 or more of both, got bool \(0, 3\)"),
        (np.ones((2, 3), dtype=bool), 0.0, None, r"share must be in \(0, 1\], got 0"),
        (np.ones((2, 3), dtype=bool), 1.0, np.zeros(2), r"one for each of 3 images, got shape \(2,\)"),
    ],
)
def test_what_is_not_a_pool_is_refused(wrong: Any, share: float, strata: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        expected_by_chance(wrong, share, strata)


@pytest.fixture(scope="module")
def networks() -> xr.Dataset:
    return train_pool(PoolNetworks(TRAINING, WRONG, (7, 8, 9, 10)), nothing)


def test_networks_are_judged_at_the_best_epoch_that_each_has_alone(networks: xr.Dataset) -> None:
    """Each network alone, up to its best epoch, misses the same images, but for rounding; not all end there."""
    assert is_stackable(TRAINING)
    study, root = Study.of(TRAINING, WRONG), spawn_streams(TRAINING.seed)["evaluation"]
    labels, held = study.train.labels.numpy(), study.data.held_out
    differing, first = 0, []
    for k, seed in enumerate(networks["network"].values):
        run = TrainingRun(replace(TRAINING, seed=int(seed)), own=Own(prepared=study.data))
        accuracies = {}
        for epoch in (1, 2, 4, 6, 8):
            run.trainer.advance(epoch * run.trainer.steps_per_epoch)
            given = answers(run.trainer.evaluated, 1, held, TRAINING.stronger, at(root, 0, 5, epoch))
            accuracies[epoch] = (given[1, 0] == held.labels.numpy()).mean()
            if epoch == int(networks["pool_best_epoch"][k]):
                missed = answers(run.trainer.evaluated, 1, study.train, TRAINING.stronger, at(root, 0, 5))[:, 0]
                differing += int(((missed != labels) != networks["wrong"].values[:, k]).sum())
        first.append(max(accuracies, key=lambda epoch: accuracies[epoch]) == int(networks["pool_best_epoch"][k]))
        best = float(networks["held_out_accuracy"][k])
        assert best == pytest.approx(max(accuracies.values()), abs=0.026)  # one image
        assert accuracies[int(networks["pool_best_epoch"][k])] == pytest.approx(best, abs=0.026)
    assert differing <= 4
    assert sum(first) >= 3  # of equal accuracies the first; rounding may decide otherwise
    assert len(set(networks["pool_best_epoch"].values.tolist())) > 1
    assert not (networks["wrong"].sel(criterion="clean") & ~networks["wrong"].sel(criterion="perturbed")).any()


def test_a_network_does_not_depend_on_its_stack(networks: xr.Dataset) -> None:
    alone = train_pool(PoolNetworks(TRAINING, WRONG, (9,)), nothing)
    own = networks.sel(network=[9])
    np.testing.assert_array_equal(alone["pool_best_epoch"], own["pool_best_epoch"])
    assert (alone["wrong"] != own["wrong"]).sum() <= 2


def test_of_equal_accuracies_the_first_epoch_is_the_best() -> None:
    training = replace(TRAINING, learning_rate=1e-12, radius=1e-9)  # nothing changes
    found = train_pool(PoolNetworks(training, WRONG, (7, 8)), nothing)
    assert found["pool_best_epoch"].values.tolist() == [1, 1]


def test_networks_that_share_no_stack_are_judged_at_the_best_epoch_of_their_curves() -> None:
    training = replace(TRAINING, augmentation="crop", learning_rate=0.1)
    assert not is_stackable(training)
    found = train_pool(PoolNetworks(training, WRONG, (9,)), nothing)
    study = Study.of(training, WRONG)
    run = TrainingRun(replace(training, seed=9), own=Own(prepared=study.data))
    curves = run.run(nothing)
    assert found["pool_best_epoch"].values.tolist() == [curves.attrs["best_epoch"]] == [2]
    assert float(found["held_out_accuracy"][0]) == float(curves["robust_held_out_accuracy"].max())
    run.trainer.evaluated.load_state_dict(run.best)
    with torch.no_grad():
        clean = run.trainer.evaluated.eval()(study.train.scaled(study.train.pixels)).argmax(1) != study.train.labels
    np.testing.assert_array_equal(found["wrong"].sel(criterion="clean").values[0], clean.numpy())


CHOSEN = np.arange(60) % 7 == 0


def arm(name: Any, chosen: np.ndarray = CHOSEN, **change: Any) -> ArmRun:
    return ArmRun(replace(TRAINING, seed=3, **change), WRONG, 0, name, packed(chosen), 1.0, 20, 1)


def test_controls_treat_as_many_images_of_each_label_and_the_same_in_both_arms() -> None:
    labels = Study.of(TRAINING, WRONG).train.labels.numpy()
    random = treated(arm("without random"), CHOSEN, labels)
    np.testing.assert_array_equal(np.bincount(labels[random]), np.bincount(labels[CHOSEN]))
    assert (random != CHOSEN).any()
    np.testing.assert_array_equal(treated(arm("smoothed random"), CHOSEN, labels), random)
    other = ArmRun(replace(TRAINING, seed=4), WRONG, 0, "without random", packed(CHOSEN), 1.0, 20, 1)
    assert (treated(other, CHOSEN, labels) != random).any()
    for name in ("without", "smoothed"):
        np.testing.assert_array_equal(treated(arm(name), CHOSEN, labels), CHOSEN)
    assert not treated(arm("all"), CHOSEN, labels).any()


def test_arms_drop_images_or_make_their_targets_uniform() -> None:
    labels = torch.arange(60) % 10
    weights = objective_of("without", CHOSEN, 1.0).initial(labels, 10)["weight"]  # type: ignore[attr-defined]
    np.testing.assert_array_equal(weights.numpy(), (~CHOSEN).astype(float))
    for strength, own in ((1.0, 0.1), (0.5, 0.55)):
        targets = objective_of("smoothed", CHOSEN, strength).initial(labels, 10)["target"]  # type: ignore[attr-defined]
        assert targets.sum(1).numpy() == pytest.approx(np.ones(60))
        at_label = targets[torch.arange(60), labels].numpy()
        assert at_label == pytest.approx(np.where(CHOSEN, own, 1.0))


def test_arms_of_a_seed_differ_in_the_treatment_alone() -> None:
    """Without chosen images all arms are the same run; with some they are not, and each is judged as it is."""
    nobody = np.zeros(60, dtype=bool)
    runs = {name: train_arm(arm(name, nobody), nothing) for name in ARMS}
    for found in runs.values():
        np.testing.assert_array_equal(found["correct"], runs["all"]["correct"])
        assert np.isnan(found["fitted"].sel(part="chosen")).all()
    assert "csl" in runs["all"]
    assert "csl" not in runs["without"]
    without, smoothed = (train_arm(arm(name), nothing) for name in ("without", "smoothed"))
    assert (without["correct"] != runs["all"]["correct"]).any()
    assert (without["correct"] != smoothed["correct"]).any()


def test_the_untreated_arm_is_a_plain_run_on_the_images_of_another_seed() -> None:
    found, study = train_arm(arm("all"), nothing), Study.of(TRAINING, WRONG)
    run = TrainingRun(replace(TRAINING, seed=3), own=Own(prepared=study.data))
    curves = run.run(nothing)
    np.testing.assert_array_equal(found["robust_test_accuracy"].values, curves["robust_test_accuracy"].values)
    assert int(found["best_epoch"]) == curves.attrs["best_epoch"]
    with torch.no_grad():
        logits = run.trainer.evaluated.eval()(study.train.scaled(study.train.pixels))
    right = (logits.argmax(1) == study.train.labels).numpy()
    for part, own in (("chosen", CHOSEN), ("others", ~CHOSEN)):
        fitted = found["fitted"].sel(checkpoint="last", criterion="clean", part=part)
        assert float(fitted) == pytest.approx(right[own].mean())
    assert found["csl"].values.min() > 0


@pytest.fixture(scope="module")
def result() -> xr.Dataset:
    return unlearnable_images.run(TOY)


def test_the_result_holds_together(result: xr.Dataset) -> None:
    wrong = result["wrong"].sel(criterion="perturbed").values
    np.testing.assert_array_equal(result["unlearnable"], unlearnable(wrong, TOY.share))
    np.testing.assert_allclose(result["missed"], wrong.mean(axis=0))
    assert result["expected"].values[0] == pytest.approx(expected_by_chance(wrong, TOY.share))
    assert not set(result["network"].values.tolist()) & set(result["seed"].values.tolist())
    xr.testing.assert_allclose(result["accuracy"], result["correct"].mean("test"))
    assert int(result["mislabelled"].sum()) == round(TOY.mislabelled * result.sizes["image"])
    assert result["arm"].values.tolist() == list(ARMS)


def test_a_pool_that_learns_nothing_is_refused() -> None:
    training = replace(TOY.training, radius=1.0)  # at which every image becomes any other
    with pytest.raises(UserError, match=r"share must leave an image that is learned, got 0\.5") as caught:
        unlearnable_images.run(replace(TOY, training=training, share=0.5))
    assert "\n" not in str(caught.value)


def made(lost: dict[str, float]) -> xr.Dataset:
    """A result whose arms lose these points from best to last under every attack: 3 seeds, 100 images."""
    correct = np.zeros((len(ARMS), 3, 2, 1, 100), dtype=bool)
    for k, name in enumerate(ARMS):
        correct[k, :, 0, 0, :60] = True
        for seed in range(3):
            correct[k, seed, 1, 0, : 60 - round(lost[name]) - seed] = True
    coords = {"arm": list(ARMS), "checkpoint": ["best", "last"], "attack": ["ensemble"], "seed": [0, 1, 2]}
    return xr.Dataset({"correct": (("arm", "seed", "checkpoint", "attack", "test"), correct)}, coords)


def test_differences_are_paired_and_their_verdicts_need_both_intervals() -> None:
    found = made({"all": 20, "without": 5, "without random": 20, "smoothed": 20, "smoothed random": 1})
    one = figure.difference(found, ("without", "all"), "lost")
    np.testing.assert_allclose(one.by_seed, -15)
    assert one.positive == "no"
    assert one.over_images[0] < -15 < one.over_images[1] < 0
    np.testing.assert_allclose(figure.difference(found, ("without", "all"), "last").by_seed, 15)
    np.testing.assert_allclose(figure.difference(found, ("without", "all"), "best").by_seed, 0)
    assert figure.difference(found, ("smoothed", "all"), "lost").positive == "undecided"
    assert figure.difference(found, ("smoothed", "smoothed random"), "lost").positive == "yes"


def test_without_wrong_labels_nothing_is_shown_twice(result: xr.Dataset) -> None:
    right = result.assign(mislabelled=xr.zeros_like(result["mislabelled"]))
    for shown, count, words in ((result, 2, "have a wrong label"), (right, 1, "(all labels are right)")):
        assert len(scores_figure.nulls(shown)) == 1 + count
        assert len(scores_figure.table(shown).rows) == 3 * count
        assert words in scores_figure.caption(shown)
    header, rows = scores_figure.numbers(result)
    assert [row[header.index("unlearnable")] for row in rows] == result["unlearnable"].values.astype(int).tolist()
    assert (
        scores_figure.errors(result).tolist()
        == result["wrong"].sel(criterion="perturbed").sum("network").values.tolist()
    )
