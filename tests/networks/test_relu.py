"""ReLU networks as plain weights: evaluation by numpy and torch, composition, counts, and conversion of torch
networks."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from tools import gaussian_network
from torch import nn

from cgro.base.errors import UserError
from cgro.certify.certify import certify
from cgro.models.convolutional import SmallCNN
from cgro.networks.exact import ExactNetwork
from cgro.networks.gadgets import absolute_value, maximum, minimum, sawtooth, square
from cgro.networks.readout import margin_rows, margins
from cgro.networks.relu import ReluNetwork, Size, add, compose, deepen, dense, identity, stack
from cgro.networks.relu_module import from_torch
from cgro.networks.unroll import unroll

NETWORKS = st.builds(
    gaussian_network,
    st.lists(st.integers(1, 6), min_size=2, max_size=5),
    st.integers(0, 10**6),
    st.sampled_from([0.4, 1.0]),
)


def by_hand(network: ReluNetwork, x: list[Fraction]) -> list[Fraction]:
    """Evaluation in exact rational arithmetic, neuron by neuron."""
    h = x
    for k, (weight, bias) in enumerate(network.layers, 1):
        rows = zip(dense(weight).tolist(), bias, strict=True)
        h = [sum((Fraction(w) * v for w, v in zip(row, h, strict=True)), Fraction(b)) for row, b in rows]
        if k < network.depth:
            h = [max(v, Fraction(0)) for v in h]
    return h


@given(NETWORKS, st.integers(0, 100))
def test_numpy_torch_and_exact_arithmetic_agree(network: ReluNetwork, seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=(3, network.inputs))
    out = network(x)
    scale = 1 + np.abs(out).max()
    np.testing.assert_allclose(network.module()(torch.tensor(x)).numpy(), out, rtol=0, atol=1e-12 * scale)
    exact = [float(v) for v in by_hand(network, [Fraction(v) for v in x[0].tolist()])]
    np.testing.assert_allclose(out[0], exact, rtol=0, atol=1e-12 * scale)
    assert network(x[:, None]).shape == (3, 1, network.outputs)
    assert network(x[:0]).shape == (0, network.outputs)
    assert from_torch(network.module()).same_as(network)


def test_gradients_flow_to_the_points() -> None:
    for density in (0.5, 1.0):
        module = gaussian_network([3, 5, 4, 1], 0, density).module()
        x = torch.randn(7, 3, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(module, (x,))


def test_large_batches_are_evaluated_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    network = gaussian_network([3, 50, 2], 0)
    x = np.random.default_rng(0).normal(size=(101, 3))
    whole = network(x)
    monkeypatch.setattr("cgro.networks.relu._CHUNK", 500)
    np.testing.assert_allclose(network(x), whole, rtol=1e-13)


@given(NETWORKS, st.integers(0, 100), st.integers(0, 4))
def test_composition(network: ReluNetwork, seed: int, more: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(5, network.inputs))
    close = {"rtol": 1e-10, "atol": 1e-10 * (1 + np.abs(network(x)).max())}
    np.testing.assert_allclose(deepen(network, network.depth + more)(x), network(x), **close)
    assert deepen(network, network.depth + more).depth == network.depth + more
    outer = gaussian_network([network.outputs, 3, 2], seed)
    both = compose(outer, network)
    assert both.depth == network.depth + 1
    np.testing.assert_allclose(both(x), outer(network(x)), rtol=1e-9, atol=1e-9 * (1 + np.abs(both(x)).max()))
    other = gaussian_network([network.inputs, 4, network.outputs], seed, density=0.5)
    np.testing.assert_allclose(stack([network, other])(x), np.hstack([network(x), other(x)]), **close)
    np.testing.assert_allclose(add(network, other, 2, -3)(x), 2 * network(x) - 3 * other(x), rtol=1e-8, atol=1e-8)
    nonnegative = compose(absolute_value(network.outputs), network)
    carried = deepen(nonnegative, nonnegative.depth + more, nonnegative=True)
    np.testing.assert_allclose(carried(x), np.abs(network(x)), **close)


def test_counts() -> None:
    weights = (np.array([[1.0, 0.0], [0.0, -2.0], [0.5, 0.25]]), sparse.csr_array([[0.0, 3.0, -1.0]]))
    network = ReluNetwork(weights, (np.array([0.0, 1.0, 0.0]), np.array([0.125])))
    assert network.size == Size(nonzero=4 + 1 + 2 + 1, total=3 * 3 + 4, neurons=3, depth=2, width=3)
    assert network.largest_weight == 3.0
    assert network.bits == 3  # 1/8
    assert ReluNetwork((np.array([[5.0]]),), (np.zeros(1),)).bits == 3
    assert ReluNetwork((np.array([[2.5]]),), (np.zeros(1),)).bits == 3  # 10.1
    assert identity(2).size == Size(2, 6, 0, 1, 0)


def test_a_network_cannot_be_changed() -> None:
    weight, bias = np.ones((2, 2)), np.ones(2)
    network = ReluNetwork((weight, sparse.csr_array(np.ones((1, 2)))), (bias, np.zeros(1)))
    weight[0, 0] = bias[0] = 7.0
    assert network(np.ones(2)) == 6.0
    for array in (network.weights[0], network.weights[1].data, network.biases[0]):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1.0


def test_same_compares_every_bit() -> None:
    network = gaussian_network([2, 3, 1], 0)
    sparser = ReluNetwork.of((sparse.csr_array(w), b) for w, b in network.layers)
    assert network.same_as(sparser)
    moved = network.biases[0].copy()
    moved[1] = np.nextafter(moved[1], np.inf)
    assert not network.same_as(ReluNetwork(network.weights, (moved, network.biases[1])))
    assert not network.same_as(gaussian_network([2, 4, 1], 0))


@pytest.mark.parametrize(
    ("weights", "biases", "message"),
    [
        ((), (), "0 weights and 0 biases"),
        ((np.ones((1, 1)),), (), "1 weights and 0 biases"),
        ((np.ones(2),), (np.ones(2),), r"weight of layer 1 must have shape \(outputs, inputs\), got \(2,\)"),
        ((np.ones((2, 1)), np.ones((1, 3))), (np.ones(2), np.ones(1)), "layer 2 must have 2 inputs"),
        ((np.ones((2, 1)),), (np.ones(1),), "layer 1 must have .* one bias"),
        ((np.full((1, 1), np.nan),), (np.ones(1),), "layer 1 must have finite weights and biases"),
        ((np.ones((1, 1)),), (np.full(1, np.inf),), "layer 1 must have finite weights and biases"),
    ],
)
def test_bad_layers_are_refused(weights: tuple, biases: tuple, message: str) -> None:
    with pytest.raises(UserError, match=message):
        ReluNetwork(weights, biases)


@pytest.mark.parametrize("bad", [np.ones((1, 2)) * 1j, [["1_0", "2"]], np.array([[1, None]]), [[1.0], [1.0, 2.0]]])
def test_weights_and_points_that_are_not_real_are_refused(bad: object) -> None:
    network = ReluNetwork.of([(np.ones((1, 2)), [0.0])])
    for refuse, name in (
        (lambda: network(bad), "points"),
        (lambda: ExactNetwork.of(network)(bad), "points"),
        (lambda: ReluNetwork.of([(bad, [0.0])]), "weights of layer 1"),
        (lambda: ReluNetwork.of([(np.ones((2, 1)), bad)]), "biases of layer 1"),
        (lambda: certify(network, bad, [1], "2", 0.1), "points"),
    ):
        with pytest.raises(UserError, match=f"{name} must be (real numbers|an array of numbers)"):
            refuse()
    with pytest.raises(UserError, match=r"weights of layer 1 must be real numbers, got type complex128"):
        ReluNetwork.of([(sparse.csr_array(np.ones((1, 2)) * 1j), [0.0])])


def test_mismatched_arguments_are_refused() -> None:
    f, g = gaussian_network([2, 1], 0), gaussian_network([3, 2], 0)
    with pytest.raises(UserError, match="points must have last dimension 2, the inputs of the network"):
        f(np.ones((4, 3)))
    with pytest.raises(UserError, match="outer network must take the 1 outputs of the inner one, got 3"):
        compose(g, f)
    with pytest.raises(UserError, match=r"the same number of inputs, got \[2, 3\]"):
        stack([f, g])
    with pytest.raises(UserError, match="equal numbers of outputs, got 1 and 2"):
        add(f, gaussian_network([2, 2], 0))
    with pytest.raises(UserError, match="depth must be at least"):
        deepen(f, 0)


def test_torch_networks_are_converted_exactly() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(6, 4), nn.ReLU()), nn.Linear(4, 3, bias=False))
    network = from_torch(model)
    x = torch.randn(5, 2, 3)
    np.testing.assert_allclose(network(x.flatten(1).double().numpy()), model.double()(x.double()).detach().numpy())
    assert (network.weights[0] == model[1][0].weight.detach().numpy()).all()


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ([nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1)], r"module model.1 must be one of .*got Tanh"),
        ([nn.Linear(2, 2), nn.Linear(2, 1)], r"module model.1 follows another Linear"),
        ([nn.ReLU(), nn.Linear(2, 1)], r"module model.0 is a ReLU that follows no Linear"),
        ([nn.Linear(2, 2), nn.ReLU()], r"must end in a Linear"),
    ],
)
def test_other_torch_networks_are_refused(modules: list[nn.Module], message: str) -> None:
    with pytest.raises(UserError, match=message):
        from_torch(nn.Sequential(*modules))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 9)])
def test_a_convolutional_network_unrolled_is_the_same(shape: tuple[int, int, int]) -> None:
    model = SmallCNN(shape[0], shape[1], 4, 3, generator=torch.Generator().manual_seed(0)).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, generator=torch.Generator().manual_seed(parameter.numel()))
    network = unroll(model, shape)
    x = torch.rand(6, *shape, dtype=torch.float64)
    np.testing.assert_allclose(network(x.flatten(1).numpy()), model(x).detach().numpy(), rtol=1e-11, atol=1e-9)


def test_layers_that_cannot_be_unrolled_are_refused() -> None:
    with pytest.raises(UserError, match=r"module 1 must be .*got MaxPool2d on an input of shape \(2, 4, 4\)"):
        unroll(nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.MaxPool2d(2)), (1, 4, 4))
    with pytest.raises(UserError, match="a Conv2d must take 1 channels, as many as its input has, got 3"):
        unroll(nn.Sequential(nn.Conv2d(3, 2, 3)), (1, 4, 4))
    for shape in ((1, 3, 6), (1, 3, 3), (1, 4, 5)):
        with pytest.raises(UserError, match=r"a Conv2d must have a kernel within its padded input of .*, got 5 x 5"):
            unroll(nn.Sequential(nn.Conv2d(1, 1, 5), nn.Flatten(), nn.Linear(1, 2)), shape)
    with pytest.raises(UserError, match="must end in a Linear"):
        unroll(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), (4,))


# Gadgets


@given(st.integers(1, 9), st.integers(0, 1000))
def test_maximum_minimum_and_absolute_value_are_exact(count: int, seed: int) -> None:
    x = np.random.default_rng(seed).random((20, count))
    np.testing.assert_allclose(maximum(count)(x)[:, 0], x.max(axis=1), rtol=0, atol=1e-15)
    np.testing.assert_allclose(minimum(count)(x)[:, 0], x.min(axis=1), rtol=0, atol=1e-15)
    np.testing.assert_array_equal(absolute_value(count)(x - 0.5), np.abs(x - 0.5))


@pytest.mark.parametrize("levels", [1, 2, 3, 6, 10])
def test_squares_are_too_large_by_at_most_the_bound(levels: int) -> None:
    t = np.linspace(0, 1, 2 ** (levels + 2) + 1)[:, None]
    error = square(levels)(t) - t**2
    assert error.min() >= -1e-15
    assert error.max() == pytest.approx(4.0 ** -(levels + 1), rel=1e-9)


def test_squares_of_groups_stay_above_one_outside() -> None:
    layers, error = sawtooth(6, 3, groups=2)
    total = np.array([[1, 1, 1, 0, 0, 0, -1, 0], [0, 0, 0, 1, 1, 1, 0, -1.0]])
    network = ReluNetwork.of([*layers, (total, np.zeros(2))])
    inside = np.random.default_rng(0).random((500, 6))
    excess = network(inside) - np.square(inside).reshape(-1, 2, 3).sum(axis=2)
    assert excess.min() >= -1e-15
    assert excess.max() <= error + 1e-15
    outside = inside.copy()
    outside[:, 4] += 1
    assert (network(outside)[:, 1] > 1).all()
    np.testing.assert_array_equal(network(outside)[:, 0], network(inside)[:, 0])


def test_levels_beyond_float64_are_refused() -> None:
    with pytest.raises(UserError, match=r"levels must be .*got 26"):
        square(26)


# Read-outs


def test_margins_are_positive_exactly_where_the_label_is_read() -> None:
    out = np.random.default_rng(0).normal(size=(200, 3))
    y = np.arange(200) % 3
    np.testing.assert_array_equal(margins("argmax", out, y) > 0, out.argmax(axis=1) == y)
    np.testing.assert_array_equal(margins("label", out[:, :1], y) > 0, np.rint(out[:, 0]) == y)
    sign = np.where(y == 0, 1, -1)
    np.testing.assert_array_equal(margins("sign", out[:, :1], sign) > 0, np.sign(out[:, 0]) == sign)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("vote", 1, [1]), "readout must be one of sign, label, argmax, got 'vote'"),
        (("sign", 2, [1]), "argmax for several, got 'sign' for 2"),
        (("argmax", 1, [0]), "argmax for several, got 'argmax' for 1"),
        (("sign", 1, [0, 1]), "labels must be -1 and .1 for readout sign"),
        (("argmax", 2, [0, 2]), "labels must be 0 to 1 for argmax of 2 outputs, got 0 to 2"),
        (
            ("label", 1, [-(2**63), 0]),
            r"labels must be at most 2\^51 in size",
        ),
        (("label", 1, [2**53 + 1]), "labels must be at most 2\\^51 in size, to be exact"),
    ],
)
def test_read_outs_that_do_not_fit_are_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(UserError, match=message):
        margin_rows(arguments[0], arguments[1], np.array(arguments[2]))
