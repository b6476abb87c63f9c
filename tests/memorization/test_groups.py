"""Groups of samples: what was put in is found, and chance alone is found as rarely as was promised."""

from __future__ import annotations

import numpy as np
import pytest

from cgro.base.errors import UserError
from cgro.memorization.groups import Groups, groups

MODELS, SAMPLES, TESTS = 200, 40, 60


def world(seed: int, *, effects: bool) -> tuple[Groups, np.ndarray]:
    """Samples 0 to 4 are memorized and each helps one of test samples 0 to 4; samples 5 and 6 harm 10 to 39."""
    rng = np.random.default_rng(seed)
    mask = np.argsort(rng.random((MODELS, SAMPLES)), axis=1) < 28
    own, test = np.full((MODELS, SAMPLES), 0.9), np.full((MODELS, TESTS), 0.85)
    if effects:
        own[:, :5] = np.where(mask[:, :5], 0.95, 0.1)
        test[:, :5] = np.where(mask[:, :5], 0.9, 0.2)
        test[:, 10:40] -= 0.15 * mask[:, 5:7].sum(axis=1, keepdims=True)
    correct, right = rng.random(own.shape) < own, rng.random(test.shape) < test
    return groups(mask, correct, right, draws=60, seed=seed), mask


def test_what_was_put_in_is_found() -> None:
    found, _ = world(0, effects=True)
    assert np.flatnonzero(found.atypical).tolist() == [0, 1, 2, 3, 4]
    assert found.atypical_test[:5].all()
    assert found.atypical_test[5:].mean() < 0.15
    assert np.flatnonzero(found.harmful).tolist() == [5, 6]
    # 30 test samples lose .15 by each; the rest is noise of the size that the threshold tells.
    assert found.harm[5:7] == pytest.approx(30 * 0.15 + 0.6 * found.harm_threshold, rel=0.35)


def test_chance_alone_is_rarely_found() -> None:
    """In 60 worlds without effects at a chance of 5 %: more than 9 with a finding have probability .001."""
    worlds = [world(seed, effects=False)[0] for seed in range(1, 61)]
    for name in ("atypical", "harmful"):
        assert sum(getattr(found, name).any() for found in worlds) <= 9, name


def test_without_atypical_samples_all_test_samples_are_typical() -> None:
    mask = np.argsort(np.random.default_rng(0).random((30, 6)), axis=1) < 3
    found = groups(mask, np.ones_like(mask), np.ones((30, 4)))
    assert not found.atypical.any()
    assert not found.atypical_test.any()
    assert np.isnan(found.influence_threshold)
    assert not found.harmful.any()
    assert found.harm.tolist() == [0.0] * 6


def test_numbers_out_of_range_are_refused() -> None:
    mask = np.eye(4)
    with pytest.raises(UserError, match=r"chance must be in \(0, 0.5\], got 0"):
        groups(mask, mask, mask, chance=0.0)
    with pytest.raises(UserError, match="draws must be an integer of at least 20, got 10"):
        groups(mask, mask, mask, draws=10)
    with pytest.raises(UserError, match="must be of the same models, got 4 and 3"):
        groups(mask, mask, mask[:3])


def test_without_test_samples_nothing_harms() -> None:
    rng = np.random.default_rng(0)
    mask = np.argsort(rng.random((100, 10)), axis=1) < 7
    correct = mask | (np.arange(10) > 0)
    found = groups(mask, correct, np.empty((100, 0), bool))
    assert np.flatnonzero(found.atypical).tolist() == [0]
    assert len(found.atypical_test) == 0
    assert found.harm.tolist() == 10 * [0.0]
    assert not found.harmful.any()
    assert np.isnan([found.influence_threshold, found.harm_threshold]).all()


def test_atypical_samples_exceed_what_is_asked_for() -> None:
    rng = np.random.default_rng(0)
    mask = np.argsort(rng.random((400, 10)), axis=1) < 7
    correct = np.where(mask, True, rng.random((400, 10)) < np.where(np.arange(10) < 5, 0.6, 0.2))
    strict, loose = (groups(mask, correct, correct, least=least) for least in (0.6, 0.0))
    assert np.flatnonzero(strict.atypical).tolist() == [5, 6, 7, 8, 9]
    assert strict.memorization_threshold == 0.6
    assert loose.atypical.all()
    assert loose.memorization_threshold < 0.3
    with pytest.raises(UserError, match=r"least must be in \[0, 1\], got 2"):
        groups(mask, correct, correct, least=2)
