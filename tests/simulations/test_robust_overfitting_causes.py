"""Causes of robust overfitting: which runs are compared, which images are left out, and what figure and table say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from toy_configs import CONFIGS

from cgro.base.errors import UserError
from cgro.figures import robust_overfitting_causes as figure
from cgro.measures.hardness import detection, hardest, rank_agreement
from cgro.simulations.robust_overfitting_causes import Config, run
from cgro.training.config import TrainingConfig
from cgro.training.tracing import Traced, trace, unpacked

TOY: Config = replace(CONFIGS["robust-overfitting-causes"], fractions=(0.1, 0.2))
N = 40
TOY = replace(
    TOY,
    training=replace(
        TOY.training, samples=N, width=4, epochs=4, evaluate_every=4, batch_size=14, radius=0.02, radius_warmup=0.0
    ),
)


class Keeping:
    """A context that keeps what it was asked for, and what was found."""

    def __init__(self) -> None:
        self.found: dict[Traced, xr.Dataset] = {}
        self.rounds: list[list[Traced]] = []

    def map(self, function, cells):  # type: ignore[no-untyped-def]
        assert function is trace
        self.rounds.append(list(cells))
        results = [function(cell, lambda _done: None) for cell in cells]
        self.found |= dict(zip(cells, results, strict=True))
        return results


@pytest.fixture(scope="module")
def both() -> tuple[xr.Dataset, Keeping]:
    context = Keeping()
    return run(TOY, context), context


def test_runs_differ_in_what_they_should(both: tuple[xr.Dataset, Keeping]) -> None:
    first, other, network = (TOY.run_of(which, 1) for which in ("first", "other seed", "other network"))
    assert {first.data_seed, other.data_seed, network.data_seed} == {1}
    assert (first.training, first.early) == (replace(TOY.training, seed=1), 2)
    assert other.training == replace(TOY.training, seed=1001, evaluate_every=4)
    assert network.training == replace(TOY.training, seed=2001, evaluate_every=4, width=3)
    assert TOY.constant(1).training == replace(TOY.training, seed=1, schedule="constant", evaluate_every=4)
    rounds = both[1].rounds
    assert len(rounds[0]) == len(set(rounds[0])) == 2 * (3 + 1 + 1)  # the run with the noise of the training is shared
    assert len(rounds[1]) == 2 * 2 * 2 * 2
    judged = replace(TOY, judged_images=20)
    assert [judged.run_of(which, 0).judged_images for which in ("first", "other seed")] == [20, 0]


def test_images_are_left_out_by_the_losses_of_the_first_run(both: tuple[xr.Dataset, Keeping]) -> None:
    """Every accuracy is that of the run without the images that its coordinates say."""
    result, context = both
    cells = iter(context.rounds[1])
    differ = others = 0
    for pool in TOY.pools:
        for rule in ("hardest", "random"):
            for fraction, count in ((0.1, 4), (0.2, 8)):
                for seed in (0, 1):
                    cell = next(cells)
                    ranked = context.found[TOY.run_of("first", seed)]
                    wrong, labels = ranked["wrong"].values, ranked["label"].values
                    mask, best = unpacked(cell.left_out, N), np.zeros(N, bool)
                    candidates = np.flatnonzero(~wrong) if pool == "right" else np.arange(N)
                    best[candidates[np.argsort(-ranked["loss"].values[candidates])[:count]]] = True
                    assert mask.sum() == count
                    assert sorted(labels[mask]) == sorted(labels[best])
                    assert rule == "random" or (mask == best).all()
                    others += bool((mask != best).any())
                    assert pool == "all" or not wrong[mask].any()
                    at = {"pool": pool, "rule": rule, "fraction": fraction, "seed": seed}
                    assert result["wrong_removed"].sel(at) == wrong[mask].mean()
                    assert replace(cell, left_out="") == TOY.run_of("first", seed)
                    found = context.found[cell]["accuracy"].values
                    np.testing.assert_array_equal(result["accuracy_removed"].sel(at), found)
                    differ += bool((found != ranked["accuracy"].values).any())
    assert differ > 2
    assert others > 4  # of 8 random draws


def test_ranks_halves_and_noise_are_those_of_their_runs(both: tuple[xr.Dataset, Keeping]) -> None:
    result, context = both
    for seed in (0, 1):
        ranked = {which: context.found[TOY.run_of(which, seed)] for which in ("first", "other seed", "other network")}
        first = ranked["first"]
        losses, right = first["loss"].values, ~first["wrong"].values
        for pair in ("other seed", "other network"):
            other = ranked[pair]["loss"].values
            tau = result["tau"].sel(seed=seed, pair=pair)
            assert tau.sel(group="all") == rank_agreement(losses, other)
            assert tau.sel(group="right") == rank_agreement(losses[right], other[right])
            np.testing.assert_array_equal(result["loss"].sel(run=pair, seed=seed), other)
        np.testing.assert_array_equal(result["accuracy"].sel(seed=seed), first["accuracy"])
        for noise in TOY.noises:
            found = context.found[TOY.run_of("first", seed, noise)]
            np.testing.assert_array_equal(result["accuracy_noise"].sel(noise=noise, seed=seed), found["accuracy"])
            assert found.attrs["label_noise"] == noise
        assert np.isnan(result["auc"].sel(noise=0, seed=seed))
        assert result["auc"].sel(noise=0.5, seed=seed) == detection(losses, ~right)
        # The halves are ranked by another run than the one that fits them.
        hard = hardest(ranked["other seed"]["loss"].values, N // 2, np.ones(N, bool))
        for schedule, cell in (("with drops", TOY.run_of("first", seed)), ("constant", TOY.constant(seed))):
            fitted = context.found[cell]["fitted"].values
            at = result["half_fitted"].sel(schedule=schedule, seed=seed)
            np.testing.assert_allclose(at.sel(half="hard"), fitted[hard].mean(axis=0))
            np.testing.assert_allclose(at.sel(half="easy"), fitted[~hard].mean(axis=0))
    assert len(np.unique(result["half_fitted"])) > 4


def synthetic() -> xr.Dataset:
    """Three seeds; best 50 %, and last what `gaps` leave, in points."""

    def accuracy(gaps: np.ndarray) -> np.ndarray:
        """(..., checkpoint, attack); PGD would say something else."""
        strong = np.stack([0.5 + 0 * gaps, 0.5 - gaps / 100], axis=-1)
        return np.stack([0.9 + 0 * strong, strong], axis=-1)

    hard = np.array([[4.0, 4.1, 4.2], [1.0, 1.1, 1.2]])  # (fraction, seed)
    random = np.array([[6.0, 6.2, 6.1], [0.0, 4.0, 1.0]])
    fitted = np.zeros((2, 2, 3, 4))
    fitted[:, 0] = [0.5, 0.8, 0.9, 0.95]
    fitted[0, 1] = [[0, 0.1, 0.3, 0.4], [0, 0.1, 0.3, 0.41], [0, 0.1, 0.3, 0.42]]
    fitted[1, 1] = [0, 0.1, 0.4, 0.6]
    coords = {
        "pair": ["other seed", "other network"], "group": ["all", "right"], "seed": [0, 1, 2],
        "run": ["first", "other seed", "other network"], "noise": [0.0, 0.2, 0.4], "pool": ["all"],
        "rule": ["hardest", "random"], "fraction": [0.1, 0.3], "checkpoint": ["best", "last"],
        "attack": ["PGD", "ensemble"], "schedule": ["with drops", "constant"], "half": ["easy", "hard"],
        "update_epoch": [1, 2, 3, 4],
    }  # fmt: skip
    return xr.Dataset(
        {
            "tau": (("pair", "group", "seed"), np.full((2, 2, 3), [0.5, 0.52, 0.54])),
            "loss": (("run", "seed", "image"), np.ones((3, 3, 5))),
            "wrong": (("seed", "image"), np.zeros((3, 5), bool)),
            "auc": (("noise", "seed"), [[np.nan] * 3, [0.9, 0.8, 0.85], [0.5, 0.4, 0.6]]),
            "accuracy": (("seed", "checkpoint", "attack"), accuracy(np.array([7.0, 8, 9]))),
            "accuracy_removed": (
                ("pool", "rule", "fraction", "seed", "checkpoint", "attack"),
                accuracy(np.array([[hard, random]])),
            ),
            "wrong_removed": (("pool", "rule", "fraction", "seed"), np.zeros((1, 2, 2, 3))),
            "accuracy_noise": (
                ("noise", "seed", "checkpoint", "attack"),
                accuracy(np.array([[0.0, 0, 0], [3, 4, 5], [6, 8, 10]])),
            ),
            "half_fitted": (("schedule", "half", "seed", "update_epoch"), fitted),
        },
        coords,
        {"first_drop": 2},
    )


def test_the_table_compares_pairs_of_seeds() -> None:
    result = synthetic()
    np.testing.assert_allclose(figure.spared(result).sel(pool="all"), [[2, 2.1, 1.9], [-1, 2.9, -0.2]])
    np.testing.assert_allclose(figure.slope(result), [1.5, 2, 2.5])
    np.testing.assert_allclose(figure.late(result, "with drops"), [20, 21, 22])
    rows = {row[0]: row[1:] for row in figure.table(result).rows}
    less = "less is lost without the hardest {} % of all images than without random ones"
    # 2.0 with standard deviation 0.1: t(0.975, 2) / sqrt(3) = 2.484.
    assert rows[less.format(10)] == ("4.1 ± 0.2", "6.1 ± 0.2", "2.0 ± 0.2", "yes")
    assert rows[less.format(30)][-1] == "undecided"
    assert rows["the best checkpoint is better without the hardest 10 % of all images"][2] == "0.0 ± 0.0"
    assert rows["other seed: losses of all images are ranked alike (tau-b)"][-1] == "yes"
    assert rows["wrong labels have larger losses (AUC, 20 % redrawn)"][-1] == "yes"
    assert rows["wrong labels have larger losses (AUC, 40 % redrawn)"][2:] == ("0.00 ± 0.25", "undecided")
    assert not any("0 % redrawn" in name and "AUC, 0 %" in name for name in rows)
    noise = rows["more label noise costs more (points; slope for each 10 %)"]
    assert noise[0].startswith("8.0")
    assert noise[1:] == ("0.0 ± 0.0", "2.0 ± 1.2", "yes")
    late = rows["hard half: more is fitted after the first drop than before (% at the end, at the drop)"]
    assert late == ("41.0 ± 2.5", "10.0 ± 0.0", "21.0 ± 2.5", "yes")
    constant = rows["hard half: drops fit more of it than a constant rate (% at the end)"]
    assert constant == ("41.0 ± 2.5", "60.0 ± 0.0", "-19.0 ± 2.5", "no")


def test_two_seeds_have_no_interval() -> None:
    rows = figure.table(synthetic().isel(seed=[0, 1])).rows
    assert {row[-1] for row in rows} == {"needs 3 seeds"}
    assert rows[0][1] == "0.50, 0.52"


def test_numbers_are_the_plotted_ones() -> None:
    header, rows = figure.numbers(synthetic())
    assert header == ["quantity", "case", "at", "seed", "value"]
    assert [r[-1] for r in rows if r[:4] == ["points lost without images", "all, random", 0.3, 1]] == [pytest.approx(4)]
    assert [r[-1] for r in rows if r[:4] == ["fitted", "with drops, hard", 4.0, 2]] == [0.42]
    assert [r[-1] for r in rows if r[:4] == ["last accuracy without images", "all, hardest", 0.1, 0]] == [
        pytest.approx(0.46)
    ]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: replace(TOY, seeds=1001), "seeds must be an integer from 1 to 1,000, got 1,001"),
        (lambda: replace(TOY, pools=()), r"pools must be one or more different values, got \[\]"),
        (lambda: replace(TOY, pools=("wrong",)), "pools must be one of all, right, got 'wrong'"),
        (lambda: replace(TOY, fractions=(0.1, 0.1)), "fractions must be one or more different values"),
        (lambda: replace(TOY, fractions=(0.2, 0.1)), r"fractions must be increasing, got \[0.2, 0.1\]"),
        (lambda: replace(TOY, fractions=(0.0, 0.1)), r"fractions must be in \(0, 0.9\], got 0.0"),
        (lambda: replace(TOY, fractions=(0.5,)), "fractions must be at most 0.45 in pool right with label_noise 0.5"),
        (
            lambda: replace(TOY, fractions=(0.85,), pools=("all",)),
            "fractions must leave at least 10 of 40 images, got 0.85",
        ),
        (lambda: replace(TOY, noises=()), "noises must be one or more different values"),
        (lambda: replace(TOY, noises=(0.5, 1.5)), r"noises must be in \[0, 1\], got 1.5"),
        (lambda: replace(TOY, judged_images=-1), "judged_images must be a non-negative integer, got -1"),
        (lambda: replace(TOY, other_width=0), "width must be"),
        (lambda: replace(TOY, other_model="resnet"), "model must be one of"),
        (lambda: Config(replace(TOY.training, held_out=0)), "held_out must be at least 10, to choose the best"),
        (lambda: Config(replace(TOY.training, objective="standard")), "objective must be one of adversarial, mixture"),
        (lambda: Config(replace(TOY.training, epochs=1)), "epochs must be an integer of at least 2, got 1"),
        (lambda: Config(replace(TOY.training, epochs=10**12, evaluate_every=10**12)), "epochs = 1,000,000,000,000"),
    ],
)
def test_mistakes_are_refused_before_anything_is_trained(make: Callable[[], Config], words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        make()
    assert "\n" not in str(error.value)


def test_presets() -> None:
    assert Config.quick().early == 6
    assert Config.paper().early == 100
    assert TrainingConfig(epochs=9).first_drop == 4
    assert len(Config.paper().removals) == 6
