"""The CGRO classifier: a clean classifier, gated by robust memorization of its training set.

    f_S(x) = f_clean(x) (1 - 1{x in U_i B_p(x_i, delta)}) + sum_i y_i 1{x in B_p(x_i, delta)}

Source: Li & Li, ICML 2025, arXiv:2306.01271, Lemma 4.5 and Theorem 4.4 [S]; the gate without
products and its proof are ours [D].
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from cgro.base.errors import UserError
from cgro.memorizers.indicators import Parts, indicators
from cgro.memorizers.task import Memorizer, Task
from cgro.networks.readout import Readout
from cgro.networks.relu import ReluNetwork, Size, compose, deepen, stack


def cgro_classifier(
    task: Task,
    *,
    clean: Any,
    shell: float | None = None,
    parts: Parts = "shared",
    domain: tuple[float, float] | None = None,
) -> Memorizer:
    """f^ with T_c = sum of the soft indicators of the training points of class c, and S = sum_c T_c:

        two labels:   f^ = relu(c - B S) - relu(-c - B S) + T_+ - T_-,               c = f_clean(x)
        C labels:     f^_k = relu(c_k - B S) - relu(-c_k - B S) + T_k

    With B >= |c| on the balls it holds exactly that
      a. the robust training error is 0: on a ball S >= 1 closes the gate, only its own label's T is > 0, margin >= 1;
      b. f^ = f_clean where all indicators are 0, that is farther than delta + gamma from all training points;
      c. robust error of f^ >= robust error of f_clean - P[dist_p(X, {X_i}) <= 2 delta + gamma].

    Args:
        task: the training set; 0..C-1 are the labels of a clean network with C > 1 outputs, -1 and +1 of one with one.
        clean: a ReluNetwork, or a torch network of Linear and ReLU.
        shell: width gamma > 0 of the shell in which the gate closes, at most separation - 2 radius; default the smaller
            of that and a quarter of the radius.
        parts: 'shared' for the smaller network, 'own' for indicators as in the paper's proof.
        domain: (low, high) of the coordinates of points to classify; default: those of the balls. With shared parts, b
            and c hold inside of it.

    Raises: UserError for a clean network that does not fit, a shell that is too wide; PrecisionError if float64 cannot
        tell the balls apart.
    """
    network = clean if isinstance(clean, ReluNetwork) else _from_torch(clean)
    readout = _readout(task, network)
    width = min(task.gap, task.radius / 4) if shell is None else float(shell)
    if not 0 < width <= task.gap:
        raise UserError(
            f"shell must be above 0 and at most {task.gap:g}, the distance between balls of different labels, got "
            f"{width:g}"
        )
    found = indicators(task, width, parts, domain)
    classes = np.array([-1, 1]) if readout == "sign" else np.arange(network.outputs)
    member = sparse.csr_array((task.data.labels[None, :] == classes[:, None]).astype(float))
    sums = ReluNetwork.of([*found.layers, (sparse.csr_array(member @ found.values), np.zeros(len(classes)))])
    depth = max(network.depth, sums.depth + 1)
    both = stack([deepen(network, depth), deepen(sums, depth, nonnegative=True)])
    gate = gate_network(network.outputs, len(classes), readout, _bound(network, task))
    K, C, neurons = network.outputs, len(classes), sum(sums.widths)
    claimed = Size(
        nonzero=sums.size.nonzero + 3 * network.size.nonzero + (depth + 1) * (4 * K + C) + 2 * K * (C + 2) + C,
        total=compose(gate, both).size.total,
        neurons=neurons + sum(network.widths) + depth * (2 * K + C) + 2 * K + C,
        depth=depth + 1,
        width=max(a + b for a, b in zip(_padded(sums, depth, C), _padded(network, depth, 2 * K), strict=True)),
    )
    options = {"clean": clean, "shell": shell, "parts": parts, "domain": domain}
    return Memorizer(task, compose(gate, both), readout, "cgro_classifier", options, claimed, 1.0)


def _padded(network: ReluNetwork, depth: int, carried: int) -> list[int]:
    return [*network.widths, *[carried] * (depth - network.depth), 2 * carried]


def gate_network(outputs: int, classes: int, readout: Readout, bound: float) -> ReluNetwork:
    """(c, T) -> f^."""
    eye, closing = np.eye(outputs), np.full((outputs, classes), -bound)
    hidden = np.block([[eye, closing], [-eye, closing], [np.zeros((classes, outputs)), np.eye(classes)]])
    votes = np.array([[-1.0, 1.0]]) if readout == "sign" else np.eye(classes)
    return ReluNetwork.of([(hidden, np.zeros(len(hidden))), (np.hstack([eye, -eye, votes]), np.zeros(outputs))])


def _readout(task: Task, network: ReluNetwork) -> Readout:
    labels = task.data.labels
    if network.inputs != task.data.dim:
        raise UserError(f"clean network must take {task.data.dim} inputs, as the points have, got {network.inputs}")
    if network.outputs == 1:
        if not np.isin(labels, (-1, 1)).all():
            raise UserError(f"labels must be -1 and +1 for one output, got {np.unique(labels).tolist()}: renumber them")
        return "sign"
    if labels.min() < 0 or labels.max() >= network.outputs:
        raise UserError(
            f"labels must be 0 to {network.outputs - 1} for a clean network with {network.outputs} outputs, got "
            f"{labels.min()} to {labels.max()}: renumber them"
        )
    return "argmax"


def _bound(network: ReluNetwork, task: Task) -> float:
    """B >= |c| on a box around all balls, by interval arithmetic; doubled, which exceeds any rounding error."""
    x = task.data.points
    center = (x.max(axis=0) + x.min(axis=0)) / 2
    radius = (x.max(axis=0) - x.min(axis=0)) / 2 + task.radius
    for k, (weight, bias) in enumerate(network.layers, 1):
        center, radius = weight @ center + bias, abs(weight) @ radius
        if k < network.depth:
            low, high = np.maximum(center - radius, 0), np.maximum(center + radius, 0)
            center, radius = (high + low) / 2, (high - low) / 2
    return 2 * float((np.abs(center) + radius).max()) + 1


def _from_torch(model: Any) -> ReluNetwork:
    from cgro.networks.relu_module import from_torch

    return from_torch(model)
