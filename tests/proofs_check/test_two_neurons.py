"""Set splitting and robust memorization by two neurons: random families, decided by programs that share no proof."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from cgro.certify.certify import certify
from cgro.proofs_check.lower_bounds.two_neuron_hardness import Family, memorizable, network, points_of, splittings


def family(n: int, seed: int) -> Family:
    """Each of the 2- and 3-sets of n elements with the same random probability."""
    sets = [*combinations(range(n), 2), *combinations(range(n), 3)]
    generator = np.random.default_rng([n, seed])
    share = generator.random()
    return tuple(c for c in sets if generator.random() < share)


@pytest.mark.parametrize("n", [3, 4, 5])
def test_a_family_splits_if_and_only_if_its_points_are_memorized(n: int) -> None:
    """Unknown real weights against all splittings; the network of a splitting is certified by the library."""
    answers = set()
    for seed in range(12):
        sets = family(n, seed)
        points, labels = points_of(n, sets)
        part = next(splittings(n, sets), None)
        answers.add(part is not None)
        assert memorizable(points, labels) is (part is not None), sets
        if part is not None:
            found = certify(network(n, part, 4.0), points, labels, "inf", 1 / (8 * n), readout="sign")
            assert found.certified.all()
            assert found.lower.min() == pytest.approx(1, abs=1e-9)
    assert answers == {True, False}
