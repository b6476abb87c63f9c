"""Subset models: the subsets, the answers to clean and perturbed images, and their independence of the cell."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from cgro.attacks.ball import Budget
from cgro.attacks.images import Attack, correct
from cgro.base.errors import UserError
from cgro.base.randomness import at, spawn_streams
from cgro.data.batches import Images
from cgro.data.tampering import Tampering
from cgro.memorization.study import combined, scored, spearman
from cgro.memorization.subset_models import Study, SubsetModels, answers, subset, train_subset_models
from cgro.models.convolutional import SmallCNN
from cgro.training.config import TrainingConfig
from cgro.training.run import Data
from cgro.training.stacked import StackedNetwork

TINY = TrainingConfig(
    samples=30, held_out=0, evaluation_images=12, width=4, epochs=15, batch_size=10, learning_rate=0.1, radius=0.02,
    radius_warmup=0.0, attack_steps=1, evaluation_steps=2,
)  # fmt: skip
CELL = SubsetModels(TINY, Tampering(mislabelled=0.1), 0.7, 0, 3)


def trained(cell: SubsetModels) -> xr.Dataset:
    return train_subset_models(cell, lambda _done: None)


@pytest.fixture(scope="module")
def result() -> xr.Dataset:
    return trained(CELL)


def test_models_are_trained_on_their_subsets(result: xr.Dataset) -> None:
    """Each on 21 of 30 images; they fit those better than the others."""
    mask = result["mask"].values
    assert mask.sum(axis=1).tolist() == [21] * 3
    assert len({row.tobytes() for row in mask}) == 3
    right = result["answer"].values == result["label"].values
    assert right[0][mask].mean() > right[0][~mask].mean() + 0.2
    # A perturbed image is right only if the clean one is.
    assert not (right[1] & ~right[0]).any()
    assert np.bincount(result["kind"].values).tolist() == [27, 0, 0, 3]
    assert result["test_answer"].shape == (2, 3, 12)


def test_a_model_is_the_same_in_every_cell(result: xr.Dataset) -> None:
    alone = trained(replace(CELL, first=2, count=1))
    other = result.isel(model=[2])
    assert alone["model"].values.tolist() == [2]
    np.testing.assert_array_equal(alone["mask"], other["mask"])
    np.testing.assert_array_equal(alone["answer"], other["answer"])
    np.testing.assert_array_equal(alone["test_answer"], other["test_answer"])


def test_networks_with_batch_norm_are_trained_one_by_one() -> None:
    training = replace(TINY, data="cifar10", model="preact-resnet18", width=1 / 32, epochs=1, samples=10)
    pixels = torch.randint(0, 256, (10, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    own, kinds = Images(pixels, torch.arange(10), 255), torch.zeros(10, dtype=torch.int64)
    data = Data(own, own, own, own, classes=10, test_name="test images", files=None, index=torch.arange(10))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Study, "of", lambda *_: Study(data, kinds, own, kinds))
        found = trained(SubsetModels(training, Tampering(), 0.5, 0, 2))
    assert found["mask"].values.sum(axis=1).tolist() == [5, 5]
    assert found["answer"].shape == (2, 2, 10)


def test_standard_training_answers_clean_images_alone() -> None:
    found = trained(replace(CELL, training=replace(TINY, objective="standard", epochs=1), count=1))
    assert found["criterion"].values.tolist() == ["clean"]


def test_answers_are_those_of_the_attack_on_each_network() -> None:
    """Without random starts: what `correct` finds for each network alone, but for the one image in fifty that only an
    iterate before the last one breaks."""
    networks = [SmallCNN(1, 8, 3, 4, generator=torch.Generator().manual_seed(k)) for k in range(3)]
    pixels = torch.rand(50, 1, 8, 8, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        labels = networks[0](pixels).argmax(1)
    data, attack = Images(pixels, labels, 1), Attack(Budget("inf", 0.03), 3, 0.5, start=False)
    stream = spawn_streams(0)["evaluation"]
    found = answers(StackedNetwork(networks), 3, data, attack, stream)
    for k, network in enumerate(networks):
        np.testing.assert_array_equal(found[0, k] == labels.numpy(), correct(network, data).numpy())
        right, expected = found[1, k] == labels.numpy(), correct(network, data, attack).numpy()
        assert (right >= expected).all()
        assert (right != expected).sum() <= 1
    assert 0 < (found[1, 0] == labels.numpy()).mean() < 1
    wrong = found[0] != labels.numpy()
    np.testing.assert_array_equal(found[1][wrong], found[0][wrong])


class Silent(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.full((len(x), 3), torch.nan) + 0 * x.sum()


def test_an_output_that_is_not_finite_is_no_class() -> None:
    data = Images(torch.zeros(4, 1, 8, 8), torch.zeros(4, dtype=torch.int64), 1)
    assert (answers(Silent(), 1, data, None, spawn_streams(0)["evaluation"]) == -1).all()


def test_subsets_are_random_and_of_one_size() -> None:
    """Of 10 images, each is in a subset of 7 with probability .7: within five standard errors of 400 draws."""
    stream = np.random.SeedSequence(0)
    found = np.array([subset(10, 0.7, at(stream, k)) for k in range(400)])
    assert (np.diff(found) > 0).all()
    assert np.abs(np.bincount(found.ravel(), minlength=10) / 400 - 0.7).max() < 5 * np.sqrt(0.21 / 400)
    for ratio in (0.04, 0.96):
        with pytest.raises(UserError, match=f"ratio must leave some of 10 images in and some out, got {ratio}"):
            subset(10, ratio, stream)


def test_training_that_diverges_is_refused() -> None:
    cell = replace(CELL, training=replace(TINY, learning_rate=1e6, weight_decay=0.0), count=2)
    with pytest.raises(UserError, match=r"learning_rate must be smaller, got 1e\+06: [12] of 2 subset models diverged"):
        trained(cell)


def test_scores_of_a_study(result: xr.Dataset) -> None:
    """Cells together; the wrong class that models without a sample give most often, by hand."""
    whole = combined([result, trained(replace(CELL, first=3, count=5))])
    assert whole.sizes["model"] == 8
    found = scored(whole, draws=20)
    assert found["memorization"].dims == ("criterion", "sample")
    assert (found["low"] <= found["high"]).all()
    labels, mask = whole["label"].values, whole["mask"].values
    for c, answer in enumerate(whole["answer"].values):
        for i, y in enumerate(labels):
            given = answer[~mask[:, i], i]
            wrong = [(given == k).mean() for k in range(10) if k != y] if len(given) else [np.nan]
            np.testing.assert_allclose(found["wrong_class"].values[c, i], max(wrong))


def test_rank_correlations_leave_out_what_is_unknown() -> None:
    a = np.array([1.0, 2, 3, 4, 5, np.nan])
    rho, low, high = spearman(a, np.array([2.0, 1, 4, 3, 5, 6]))
    assert rho == pytest.approx(0.8)
    # Fisher's z with variance (1 + .32) / 2, by hand.
    assert (low, high) == pytest.approx(np.tanh(np.arctanh(0.8) + np.array([-1, 1]) * 1.959964 * np.sqrt(0.66)))
    assert spearman(a, a) == (1.0, 1.0, 1.0)
    assert np.isnan(spearman(a, np.ones(6))).all()
    with pytest.raises(UserError, match="scores must be of the same samples"):
        spearman(a, a[:3])
