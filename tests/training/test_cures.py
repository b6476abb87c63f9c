"""Cures by name: what they change in the recipe, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

import cgro
from cgro.base.errors import UserError
from cgro.data.catalog import TRAINING_IMAGES
from cgro.training.benign import Benign
from cgro.training.choices import SCORED, CureName
from cgro.training.config import TrainingConfig
from cgro.training.geometry_aware import GeometryAware
from cgro.training.objectives import Adversarial, Trades
from cgro.training.run import Data, make_trainer
from cgro.training.sample_weights import RandomWeights
from cgro.training.scored import Dropping, Reweighting, Smoothing
from cgro.training.self_adaptive import SelfAdaptive
from cgro.training.temporal_ensembling import TemporalEnsembling

CONFIG = TrainingConfig(epochs=20)
DIGITS = TRAINING_IMAGES["digits"]


@pytest.mark.parametrize(
    ("options", "changed"),
    [
        ({"cure": "temporal-ensembling"}, {"objective": TemporalEnsembling(Adversarial(), 0.9, 9, 15, 300)}),
        (
            {"cure": "temporal-ensembling", "objective": "trades", "beta": 2.0, "cure_start": 3, "cure_end": 4}
            | {"cure_strength": 30.0, "cure_momentum": 0.5},
            {"objective": TemporalEnsembling(Trades(2.0), 0.5, 3, 4, 30)},
        ),
        ({"cure": "self-adaptive", "cure_start": 0}, {"objective": SelfAdaptive(Adversarial(), 0.9, 0)}),
        ({"cure": "bat"}, {"objective": Benign(1.0, 0.2, start=2)}),
        (
            {"cure": "bat", "cure_strength": 2.0, "cure_discrimination": 0.0, "cure_start": 3, "micro_batch": 8},
            {"objective": Benign(2.0, 0.0, start=3)},
        ),
        ({"cure": "random-weights", "seed": 3}, {"objective": RandomWeights(Benign(1.0, 0.2, start=2), 3)}),
        ({"cure": "gairat"}, {"objective": GeometryAware(start=10)}),
        ({"cure": "label-smoothing"}, {"label_smoothing": 0.1}),
        ({"cure": "awp", "cure_strength": 0.01}, {"weight_perturbation": 0.01}),
        ({"cure": "ema"}, {"averaging": "ema"}),
        ({"cure": "swa"}, {"averaging": "swa", "averaging_start": 15}),
        ({"cure": "swa", "cure_start": 4}, {"averaging": "swa", "averaging_start": 4}),
        ({"cure": "weight-decay", "weight_decay": 1e-4}, {"weight_decay": 0.005}),
        ({"cure": "none"}, {}),
    ],
)
def test_a_cure_changes_what_it_names(options: dict[str, Any], changed: dict[str, Any]) -> None:
    plain = {name: value for name, value in options.items() if not name.startswith("cure")}
    recipe, before = TrainingConfig(epochs=20, **options).recipe, TrainingConfig(epochs=20, **plain).recipe
    found = {name: value for name, value in vars(recipe).items() if value != vars(before)[name]}
    assert found == changed


@pytest.mark.parametrize(("data", "size"), [("digits", 2), ("mnist", 7), ("cifar10", 8)])
def test_cutout_hides_a_quarter_of_the_side(data: Any, size: int) -> None:
    plain, cut = (TrainingConfig(data=data, radius=0.1, cure=cure).recipe.augmentation for cure in ("none", "cutout"))
    assert (plain.cutout, cut.cutout) == (0, size)


def scores_file(folder: Path, count: int = 20, name: str = "scores.csv") -> str:
    """Scores that fall from 1 with the index to -1, in an order of their own."""
    rows = [f"{i},{1 - 2 * i / count:g}" for i in reversed(range(count))]
    path = folder / name
    path.write_text("\n".join(["index,memorization", *rows, ""]))
    return str(path)


@pytest.mark.parametrize("cure", get_args(CureName))
def test_every_cure_trains(cure: CureName, tmp_path: Path) -> None:
    scores = scores_file(tmp_path, DIGITS) if cure in SCORED else None
    config = TrainingConfig(
        samples=20, held_out=10, epochs=4, width=2, attack_steps=1, evaluation_images=10, cure=cure, cure_scores=scores
    )
    found = cgro.train(config)
    assert found.curves.sizes["epoch"] == 4
    weighted = cure in ("bat", "gairat", "random-weights", "reweighting", "dropping")
    assert ("effective_sample_size" in found.curves) == weighted
    if weighted:
        sizes = found.curves["effective_sample_size"].values
        assert bool(((sizes > 0) & (sizes <= 20 + 1e-9)).all())
        assert sizes[-1] == pytest.approx(18) if cure == "dropping" else sizes[-1] < 20
    method = found.curves.attrs["method"]
    assert (method == "Fast adversarial training") == (cure == "none"), method


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cure": "temporal"}, "cure must be one of none, temporal-ensembling"),
        ({"cure_strength": 1.0}, "cure_strength must be left out with cure none, got 1"),
        ({"cure": "ema", "cure_start": 3}, "cure_start must be left out with cure ema, got 3"),
        ({"cure": "self-adaptive", "cure_end": 3}, "cure_end must be left out with cure self-adaptive, got 3"),
        ({"cure": "self-adaptive", "objective": "mart"}, "objective must be adversarial or trades with cure"),
        ({"cure": "label-smoothing", "objective": "mart"}, "objective must not be mart"),
        ({"cure": "label-smoothing", "cure_strength": 1.0}, "cure_strength must be below 1"),
        ({"cure": "awp", "objective": "free"}, "objective must not be free"),
        ({"cure": "awp", "weight_perturbation": 0.01}, "weight_perturbation must be 0 with cure awp, got 0.01"),
        ({"cure": "swa", "averaging": "ema"}, "averaging must be none with cure swa, got ema"),
        ({"cure": "swa", "cure_end": 3}, "cure_end must be left out with cure swa, got 3"),
        ({"cure": "swa", "cure_start": 20}, "cure_start must be below the number of epochs, 20, got 20"),
        ({"cure": "self-adaptive", "cure_start": 20}, "cure_start must be below the number of epochs, 20, got 20"),
        (
            {"cure": "temporal-ensembling", "cure_start": 9, "cure_end": 9},
            "cure_end must be after cure_start, got 9 to 9",
        ),
        ({"cure": "temporal-ensembling", "cure_momentum": 1.0}, r"cure_momentum must be in \[0, 1\), got 1.0"),
        ({"cure": "temporal-ensembling", "cure_strength": -1.0}, "cure_strength must be in"),
        (
            {"cure": "weight-decay", "cure_strength": 100.0},
            "weight_decay must be below 20 with learning_rate 0.05, got 100",
        ),
        ({"cure": "awp", "cure_strength": 3.0}, r"weight_perturbation must be in \[0, 1\]"),
        ({"cure": "bat", "objective": "trades"}, "objective must be adversarial with cure bat, got trades"),
        ({"cure": "gairat", "objective": "free"}, "objective must be adversarial with cure gairat, got free"),
        ({"cure": "gairat", "cure_strength": 2.0}, "cure_strength must be left out with cure gairat, got 2"),
        ({"cure": "bat", "cure_start": 20}, "cure_start must be below the number of epochs, 20, got 20"),
        (
            {"cure": "gairat", "cure_discrimination": 1.0},
            "cure_discrimination must be left out with cure gairat",
        ),
        ({"cure": "bat", "cure_discrimination": -1.0}, r"cure_discrimination must be in \[0, 1,000,000.0\], got -1"),
        (
            {"cure": "bat", "micro_batch": 8},
            "micro_batch must be left out with cure bat, got 8: its discrimination loss needs whole batches; choose a "
            "smaller batch_size, or set cure_discrimination to 0",
        ),
        (
            {"cure": "random-weights", "cure_discrimination": 0.0, "micro_batch": 8},
            "micro_batch must be left out with cure random-weights, got 8: weights change places within whole batches",
        ),
        ({"cure": "bat", "compile": True}, "compile must be false with cure bat"),
        ({"cure": "reweighting"}, "cure_scores must be given with cure reweighting: a .csv file with the columns"),
        ({"cure": "bat", "cure_scores": "a.csv"}, "cure_scores must be left out with cure bat, got a.csv: it belongs"),
        ({"cure": "dropping", "cure_scores": 3}, "cure_scores must be text, got 3"),
        ({"cure": "dropping", "cure_scores": "a.csv", "cure_strength": 1.0}, "cure_strength must be below 1"),
        ({"cure": "smoothing", "cure_scores": "a.csv", "objective": "mart"}, "objective must be adversarial or trades"),
        ({"cure": "cutout", "data": "own"}, "cure must not be cutout with own arrays"),
    ],
)
def test_an_impossible_cure_is_reported_in_one_line(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        TrainingConfig(epochs=20, **options)
    assert "\n" not in str(caught.value)


def test_scores_are_read_by_their_index(tmp_path: Path) -> None:
    """And a configuration names the file with its content: other scores are another configuration."""
    name = scores_file(tmp_path)
    expected = torch.tensor([1 - i / 10 for i in range(20)])
    for cure, kind in (("reweighting", Reweighting), ("smoothing", Smoothing)):
        objective = TrainingConfig(samples=20, cure=cure, cure_scores=name).recipe.objective  # type: ignore[arg-type]
        assert isinstance(objective, kind)
        torch.testing.assert_close(objective.scores, expected)
    config = TrainingConfig(samples=20, cure="dropping", cure_scores=name, cure_strength=0.25)
    assert isinstance(config.recipe.objective, Dropping)
    assert config.recipe.objective.dropped.nonzero()[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert str(config.cure_scores).startswith(f"{name}@")
    assert replace(config, seed=1).cure_scores == config.cure_scores
    Path(name).write_text(Path(name).read_text().replace("0,1\n", "0,0.9\n"))
    assert TrainingConfig(samples=20, cure="dropping", cure_scores=name).cure_scores != config.cure_scores
    with pytest.raises(UserError, match=r"scores.csv: changed since it was recorded as .{16}; train again"):
        _ = config.recipe
    Path(name).unlink()
    assert replace(config, seed=2).cure_scores == config.cure_scores, "an evaluation needs no scores"
    few = TrainingConfig(samples=21, epochs=2, width=2, cure="smoothing", cure_scores=scores_file(tmp_path))
    with pytest.raises(UserError, match="a row for each of the 21 training images, got none with index"):
        cgro.train(few)


def test_scores_stay_with_their_images_whatever_subset_is_drawn(tmp_path: Path) -> None:
    """Also with classes left out, and other columns in the file. Labels of other images are refused."""
    labels = cgro.load_images("digits").train_labels.tolist()
    rows = [f"{label},{i},{i / DIGITS},\n" for i, label in enumerate(labels)]
    header = " label ,index ,memorization,error\n"
    (tmp_path / "all.csv").write_text(header + "".join(rows))
    (tmp_path / "reversed.csv").write_text(
        header
        + "".join(f"{a},{b}" for a, b in zip(reversed(labels), (row.split(",", 1)[1] for row in rows), strict=True))
    )
    for seed in (0, 1):
        config = TrainingConfig(
            samples=30,
            held_out=100,
            classes=(3, 8),
            cure="reweighting",
            cure_scores=str(tmp_path / "all.csv"),
            seed=seed,
        )
        data = Data.of(config)
        whole = cgro.load_images("digits")
        assert torch.equal(data.train.pixels, whole.train_images[data.index])
        objective = make_trainer(config, data).recipe.objective
        assert isinstance(objective, Reweighting)
        torch.testing.assert_close(objective.scores, data.index / DIGITS, check_dtype=False)
        other = replace(config, cure_scores=str(tmp_path / "reversed.csv"))
        with pytest.raises(UserError, match=r"reversed.csv: label must be [38] for index \d+, got \d: the scores are"):
            make_trainer(other, data)
        make_trainer(replace(other, label_noise=0.5), data)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "columns must be index and memorization, each once, got none"),
        (b"index\n0\n", "columns must be index and memorization, each once, got index"),
        (b"index,memorization,score\n0,1,1\n", "columns must be index and memorization, each once, got index, memor"),
        (b"0,0.5\n1,0.5\n", "columns must be index and memorization, each once, got 0, 0.5"),
        (b"index,memorization\n", "it must have a row for each training image, got none"),
        (b"index,memorization\n0,0.5\n0,0.5\n", "index in row 3 must be 0 or more and there once, got 0"),
        (b"index,memorization\n-1,0.5\n", "index in row 2 must be 0 or more and there once, got -1"),
        (b"index,memorization\n0.0,0.5\n", "index in row 2 must be an integer in digits 0 to 9, got '0.0'"),
        (b"index,memorization\n0,nan\n", "memorization in row 2 must be finite, got nan"),
        (b"index,memorization\n0,-1.5\n", r"memorization in row 2 must be in \[-1, 1\], got -1.5"),
        (b"index,score\n\n0,x\n", "score in row 3 must be a number like 0.5 or 1e-3, got 'x'"),
        (b"index,memorization\n0\n", "row 2 must have 2 values, got 1"),
        (b'index,memorization\n0,"0.5\n', "it is not a CSV file"),
        (b"\xff\xfe\x00", "it is not text"),
        (None, "no such file; write one with the columns index and memorization"),
    ],
)
def test_files_that_are_no_scores_are_refused_in_one_line(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "scores.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=f"cure_scores {path}: {words}") as caught:
        TrainingConfig(samples=20, cure="reweighting", cure_scores=str(path))
    assert "\n" not in str(caught.value)


def test_a_custom_objective_is_not_replaced() -> None:
    with pytest.raises(UserError, match="cure must be none with an objective of yours, got self-adaptive"):
        cgro.train(TrainingConfig(epochs=4, cure="self-adaptive"), objective=Adversarial())
