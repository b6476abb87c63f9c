"""What the checks of the CGRO classifier read in its weights: a network with any one weight changed is not accepted."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from scipy import sparse

from cgro.base.norms import Norm
from cgro.memorizers.task import Memorizer
from cgro.networks.relu import ReluNetwork
from cgro.proofs_check.cgro_classifier.common import NORMS, classifier, closed_beyond, read
from cgro.proofs_check.cgro_classifier.robust_training import bound_is_exact, proved


def built(norm: Norm) -> Memorizer:
    """Three points of the plane around a clean network of one hidden layer."""
    clean = ReluNetwork.of([(np.array([[1.0, -2.0], [0.5, 1.0]]), np.ones(2)), (np.array([[1.0, -1.0]]), np.ones(1))])
    points = np.array([[0.1, 0.2], [1.1, 0.3], [0.4, 1.2]])
    return classifier(points, np.array([1, -1, 1]), norm, 0.25, clean, 0.125)


def accepted(memorizer: Memorizer) -> bool:
    """As robust-training decides it."""
    try:
        reading = read(memorizer)
    except ValueError:
        return False
    radius, shell = Fraction(memorizer.task.radius), Fraction(memorizer.options["shell"])
    return proved(memorizer, reading, radius, radius + shell, Fraction(1)) and bound_is_exact(reading, Fraction(1))[0]


def changed(memorizer: Memorizer, place: int, factor: float) -> Memorizer:
    """With one weight or bias of the network, none of them 0, multiplied by a factor."""
    layers = []
    for weight, bias in memorizer.float_network.layers:
        parts = [sparse.csr_array(weight).toarray(), bias.copy()]
        for part in parts:
            spots = np.argwhere(part)
            if 0 <= place < len(spots):
                part[tuple(spots[place])] *= factor
            place -= len(spots)
        layers.append((sparse.csr_array(parts[0]), parts[1]))
    return replace(memorizer, network=ReluNetwork.of(layers))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("factor", [0.98, 1.02, -1.0])
def test_a_network_with_one_weight_changed_is_not_accepted(norm: Norm, factor: float) -> None:
    """But for weights of relu(c - B S) that act where c < 0, or for the right label: these change no claim."""
    memorizer = built(norm)
    network = memorizer.float_network
    weights, gate = network.size.nonzero, network.size.nonzero - 4 - 10
    idle = {gate + 1, gate + 3, gate + 4, gate + 6}
    assert [sparse.csr_array(w).nnz for w in network.weights[-2:]] == [10, 4]
    assert accepted(changed(memorizer, weights, factor))
    places = [*np.random.default_rng(0).choice(gate, 25, replace=False).tolist(), *range(gate, weights)]
    assert [k for k in places if k not in idle and accepted(changed(memorizer, k, factor))] == []


def test_squares_stay_closed_beyond_1() -> None:
    assert all(closed_beyond(levels) for levels in range(1, 7))
