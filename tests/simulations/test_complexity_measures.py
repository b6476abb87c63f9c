"""Complexity measures: each model is where its labels say, gaps and ranks are those of the models, refusals, words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy
import torch
import xarray as xr
from torch import nn
from toy_configs import CONFIGS

from cgro.attacks.images import evaluation_attack
from cgro.base.errors import UserError
from cgro.base.randomness import Stream, at, spawn_streams, torch_generator
from cgro.figures import complexity_measures as figure
from cgro.measures.complexity import boundary_proximity, squared_weights
from cgro.measures.components import margins_and_losses
from cgro.measures.rank_correlation import interval, verdict
from cgro.simulations.complexity_measures import ACCURACIES, CONTROL, Config, run
from cgro.training import stacked_runs
from cgro.training.config import Stack, TrainingConfig
from cgro.training.distributed import Team
from cgro.training.run import Data, TrainingRun, make_model

TOY: Config = CONFIGS["complexity-measures"]


@pytest.fixture(scope="module")
def result() -> xr.Dataset:
    return run(TOY)


def test_every_model_is_where_its_labels_say(result: xr.Dataset) -> None:
    """Objective, width, noise and seed of a model are those of the run that gives its accuracies and measures alone."""
    for k in (0, 5, 11):
        at_k = result.isel(model=k)
        own = replace(
            TOY.training,
            objective=str(at_k["objective"].values),
            width=int(at_k["width"]),
            label_noise=float(at_k["noise"]),
            seed=int(at_k["seed"]),
        )
        alone = TrainingRun(own)
        curves = alone.run(lambda _done: None).isel(epoch=-1)
        for name in ACCURACIES:
            assert float(at_k[name]) == pytest.approx(float(curves[name]), abs=0.051)
        model, train, test = alone.trainer.model, alone.data.train, alone.data.test
        values = at_k["value"].to_series()
        assert values["squared weights"] == pytest.approx(squared_weights(model), rel=1e-3)
        x = train.scaled(train.pixels)
        assert values["boundary proximity"] == pytest.approx(boundary_proximity(model, x, train.labels, own.budget))
        attack = evaluation_attack(own.budget, own.stronger.steps, restarts=1)
        train_loss, test_loss = (
            margins_and_losses(
                model, part, attack, torch_generator(at(spawn_streams(own.seed)["evaluation"], 0, 1), "cpu")
            )["attacked_loss"]
            for part in (train, test)
        )
        assert float(at_k["gap_size"].sel(gap="loss")) == pytest.approx(test_loss - train_loss, rel=0.01)
    assert [*zip(result["noise"].values, result["seed"].values, strict=True)] == [
        (noise, seed) for noise in TOY.noises for seed in range(4)
    ]


def test_ranks_are_those_of_the_models_in_each_pool(result: xr.Dataset) -> None:
    gap = result["robust_train_accuracy"] - result["robust_test_accuracy"]
    np.testing.assert_allclose(result["gap_size"].sel(gap="accuracy"), gap)
    np.testing.assert_allclose(result["value"].sel(measure=CONTROL), result["robust_train_accuracy"])
    sizes = []
    for pool, kept in (("without random labels", result["noise"] < 1), ("all models", result["noise"] <= 1)):
        sizes.append(int(kept.sum()))
        for kind in ("accuracy", "loss"):
            for measure in result["measure"].values:
                x = result["value"].sel(measure=measure).values[kept]
                y = result["gap_size"].sel(gap=kind).values[kept]
                found = result.sel(gap=kind, pool=pool, measure=measure)
                assert float(found["tau"]) == pytest.approx(scipy.stats.kendalltau(x, y).statistic)
                strata = (2 * result["noise"].values[kept]).astype(int)
                ends = interval(x, y, strata, draws=TOY.draws)
                assert (float(found["low"]), float(found["high"])) == pytest.approx(ends)
    assert sizes == [8, 12]
    names = result["verdict"].attrs["flag_meanings"].split()
    for gap_name in ("accuracy", "loss"):
        for measure in result["measure"].values:
            at_m = result.sel(gap=gap_name, measure=measure)
            assert names[int(at_m["verdict"])] == verdict(*(at_m[name].values for name in ("tau", "low", "high")))


def test_stacks_are_of_one_objective_and_width_and_cover_the_pool() -> None:
    config = replace(TOY, objectives=("trades", "mixture"), widths=(2, 3), seeds=5)
    models = [run for cell in config.cells for run in cell.stack.runs]
    assert models == config.models
    assert len(models) == len(set(models)) == 60
    for cell in config.cells:
        assert len(cell.stack.runs) <= 12
        assert len({(run.objective, run.width) for run in cell.stack.runs}) == 1


def test_a_run_that_diverges_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of two networks has weights so large that its loss overflows."""
    runs = tuple(replace(TOY.training, epochs=1, seed=seed) for seed in (0, 7))

    def with_large_weights(run: TrainingConfig, data: Data) -> nn.Module:
        model = make_model(run, data)
        with torch.no_grad():
            for p in model.parameters():
                p *= 1e30 if run.seed == 7 else 1
        return model

    monkeypatch.setattr(stacked_runs, "make_model", with_large_weights)
    with pytest.raises(UserError, match=r"learning_rate must be smaller, got 0.1: training diverged .*seed 7"):
        stacked_runs.train_networks(Stack(runs), lambda _done: None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"noises": (0.0, 0.5)}, "noises must include 1, random labels, got 0.0, 0.5"),
        ({"noises": (1.0, 1.5)}, r"noises must be in \[0, 1\], got 1.5"),
        ({"noises": (1.0, 0.0, 0.0)}, "noises must be one or more, all different"),
        ({"seeds": 3}, "models without random labels must be at least 8, got 6: a rank correlation of fewer"),
        ({"widths": ()}, "widths must be one or more, all different, got none"),
        ({"widths": (0,)}, "widths must be an integer of at least 1, got 0"),
        ({"objectives": ("standard",)}, "objectives must be one of"),
        ({"gammas": (0.1, 2.0)}, r"gammas must be in \(0, 1\], got 2.0"),
        ({"ascents": 0}, "ascents must be an integer of at least 1, got 0"),
        ({"draws": 0}, "draws must be an integer of at least 1, got 0"),
        ({"draws": 10**12}, "would need"),
        ({"training": replace(TOY.training, norm="2")}, "norm must be inf"),
        ({"training": replace(TOY.training, averaging="ema")}, "averaging must be none to train many at once, got ema"),
    ],
)
def test_mistakes_are_refused_before_anything_is_trained(changes: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        replace(TOY, **changes)  # type: ignore[arg-type]


def test_the_figure_says_which_measures_are_strong(result: xr.Dataset) -> None:
    made = result.copy(deep=True)
    made["verdict"][:] = 0
    assert "No measure is strong in both pools." in figure.caption(made)
    made["verdict"].loc[{"gap": "accuracy", "measure": "attacked margin"}] = 1
    made["verdict"].loc[{"gap": "accuracy", "measure": "squared weights"}] = 2
    for name, values in {"tau": (0.6, 0.7), "low": (0.4, 0.5), "high": (0.8, 0.9)}.items():
        made[name].loc[{"gap": "accuracy", "measure": "attacked margin"}] = np.array(values)
    words = figure.caption(made)
    assert "by its value, not its whole interval: attacked margin, 0.60 (0.40 to 0.80) and 0.70 (0.50 to 0.90)" in words
    assert "with its whole interval: squared weights" in words
    rows = {row[:2]: row for row in figure.table(made).rows}
    assert rows["accuracy", "attacked margin"][-1] == "value only, against the expected sign"
    assert rows["loss", "attacked margin"][-1] == "no"
    assert rows["accuracy", CONTROL][-1] == "control"
    header, numbers = figure.numbers(made)
    models = [dict(zip(header, row, strict=True)) for row in numbers if row[0] == "model"]
    assert len(models) == 12 * (2 + result.sizes["measure"])
    assert models[3]["value"] == float(result["gap_size"][0, 3])
    assert models[3]["noise"] == float(result["noise"][3])


def test_the_figure_says_what_is_left_within_one_noise_rate(result: xr.Dataset) -> None:
    """A measure that follows the noise rate alone is strong in both pools, and not within a rate."""
    made = result.isel(model=np.tile(np.arange(12), 4)).copy(deep=True)
    rng, noise = np.random.default_rng(0), made["noise"].values
    made["gap_size"].loc[{"gap": "accuracy"}] = noise + 0.01 * rng.random(48)
    made["value"].loc[{"measure": "squared weights"}] = noise + 0.01 * rng.random(48)
    made["value"].loc[{"measure": "clean margin"}] = made["gap_size"].sel(gap="accuracy")
    within = figure.within(made, "squared weights")
    assert within.low < 0 < within.high
    assert figure.within(made, "clean margin") == (1, 1, 1)
    assert figure.at_rate(made, "clean margin", 0.5) == (1, 1, 1)
    assert figure.at_rate(result, "clean margin", 0.5).words == "-"  # four models
    assert all(each.tau > 0.7 for each in figure.of_rate(made))
    words = figure.caption(made)
    assert f"The noise rate alone has tau {figure.of_rate(made)[1].words} with the gap of all models." in words
    assert "of one noise rate (diamonds) strong: clean margin 1.00 (1.00 to 1.00);" in words
    table = figure.table(made)
    rows = {row[:2]: dict(zip(table.header, row, strict=True)) for row in table.rows}
    assert rows["accuracy", "squared weights"]["pairs of one noise rate"] == within.words
    assert rows["accuracy", "clean margin"]["true labels (16)"] == "1.00 (1.00 to 1.00)"
    assert rows["accuracy", "label noise rate"]["all models (48)"] == figure.of_rate(made)[1].words
    header, numbers = figure.numbers(made)
    taus = {tuple(row[1:4]): row[header.index("tau")] for row in numbers if row[0] == "tau"}
    assert taus["accuracy", "random labels", "clean margin"] == 1
    assert taus["accuracy", "pairs of one noise rate", "squared weights"] == within.tau


def test_each_part_is_attacked_from_its_own_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `TrainingRun` does: the attack on test images begins elsewhere than that on training images."""
    asked: list[str] = []
    original = stacked_runs.evaluation_stream

    def noting(seed: int, epoch: int, part: str, team: Team) -> Stream:
        asked.append(part)
        return original(seed, epoch, part, team)

    monkeypatch.setattr(stacked_runs, "evaluation_stream", noting)
    trainer, data = stacked_runs.make_stack(Stack((TOY.training,)))
    for part in ("train", "test"):
        stacked_runs.accuracies(trainer.model.networks()[0], TOY.training, data[0], 1, part)
    assert asked == ["train", "test"]
