"""Steps of PGD to the first error: closed form on a threshold, agreement with robust accuracy, refused input."""

from __future__ import annotations

import pytest
import torch
from tools import Threshold, grey, network, own_labels

from cgro.attacks.ball import Budget
from cgro.attacks.images import Attack, correct, steps_to_error
from cgro.base.errors import UserError
from cgro.data.batches import Images


def scaled(data: Images) -> tuple[torch.Tensor, torch.Tensor]:
    return data.scaled(data.pixels), data.labels


def test_steps_are_the_distance_over_the_step() -> None:
    """Steps of 0.04 towards the mean pixel 1/2; a distance of 0.19 takes five, and 0.2 is the border of the ball."""
    x, y = scaled(grey([45, 41, 35, 31, 29, 60, 55, 69], [0, 0, 0, 0, 0, 0, 1, 1]))
    attack = Attack(Budget("inf", 0.2), 7, 0.2, start=False)
    assert steps_to_error(Threshold(), x, y, attack).tolist() == [2, 3, 4, 5, 8, 0, 2, 5]


def test_the_last_step_counts_and_the_ball_is_the_limit() -> None:
    x, y = scaled(grey([45, 41, 35], [0, 0, 0]))
    found = [
        steps_to_error(Threshold(), x, y, Attack(Budget("inf", radius), steps, 0.04 / radius, start=False)).tolist()
        for radius, steps in ((0.2, 0), (0.2, 2), (0.2, 3), (0.1, 9))
    ]
    assert found == [[1, 1, 1], [2, 3, 3], [2, 3, 4], [2, 3, 10]]


def test_images_without_an_error_are_those_that_withstand_the_attack() -> None:
    data, attack = own_labels(100), Attack(Budget("inf", 0.06), 6, 0.3, start=False)
    found = steps_to_error(network(), *scaled(data), attack)
    assert torch.equal(found > 6, correct(network(), data, attack))
    assert set(found.tolist()) >= {1, 2, 3, 7}
    for steps in (1, 3):
        shorter = Attack(attack.budget, steps, 0.3, start=False)
        assert torch.equal(found > steps, correct(network(), data, shorter))


def test_a_generator_draws_the_start() -> None:
    """From a random point of the ball some images are broken at once."""
    x, y = scaled(own_labels(100))
    attack = Attack(Budget("inf", 0.1), 3, 0.3)
    found = [steps_to_error(network(), x, y, attack, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert (found[0] == 0).any()
    assert (steps_to_error(network(), x, y, attack) > 0).all()


def test_bad_images_are_refused() -> None:
    with pytest.raises(UserError, match="labels"):
        steps_to_error(network(), torch.zeros(2, 1, 8, 8), torch.tensor([0, 10]), Attack(Budget("inf", 0.1), 1, 1.0))
    with pytest.raises(UserError, match=r"radius must be at most 1 in l_inf, got 2"):
        steps_to_error(network(), torch.zeros(1, 1, 8, 8), torch.tensor([0]), Attack(Budget("inf", 2.0), 1, 1.0))
