"""Patch data with a robust feature that the network cannot represent, and the network that is blind to it.

With probability 1 - p_un a sample carries alpha y u, and otherwise alpha y v, in one of its P patches; all patches have
noise N(0, sigma^2 (I - u u^T - v v^T)). The network sees a component along v by a factor kappa: exactly blind at
kappa = 0, where only the noise tells the label of an unlearnable sample. The network is that of the relu version of
`patch_cnn` at q = 3, with independent initial filters. It is trained by stochastic gradient descent on single samples,
which an attack has shifted by -y delta along both features in every patch, on targets

    loss_i = -tau_i log s(y f(X)) - (1 - tau_i) log s(-y f(X)),    s(z) = 1 / (1 + e^-z),

where tau = 1 is adversarial training, and tau = s(margin of a teacher) adversarial distillation. With temporal
ensembling the network teaches itself: each visit of a sample first moves its target towards the network's prediction,

    tau_i <- mu tau_i + (1 - mu) s(y f(X_i)),    X_i without the attack.

Source: Lee & Chung, ICML 2026, arXiv:2605.21999, section 5 and appendix A.5 [N], as in their public code [S]; kappa
> 0, the attack along v and temporal ensembling are ours [D]. Coordinates: u = e_1, v = e_2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from cgro.base.errors import UserError
from cgro.base.machine import require_memory
from cgro.base.validate import above, at_least, between, finite, integer
from cgro.data.patches import require_sizes
from cgro.dynamics.teachers import entropy, target

FEATURES = 2
"""Coordinates of u and v, before those of the noise."""
COLLAPSED = 0.5
"""Robust test accuracy below which a run has collapsed: no better than a coin toss."""


@dataclass(frozen=True)
class TwoFeatureSetting:
    """Data, network, loss and optimizer. Defaults are those of the public code of Lee & Chung.

    Raises: UserError naming the first value out of range.
    """

    samples: int = 200
    """Training samples N, >= 1."""
    patches: int = 4
    """Patches per sample P, >= 1; all carry noise."""
    dim: int = 100
    """Patch dimension d, >= 3."""
    filters: int = 80
    """Filters m of each sign, >= 1."""
    signal: float = 5.0
    """Signal strength alpha > 0, in input units."""
    noise_norm: float = 4.0
    """Typical norm of a noise patch, sigma sqrt(d) > 0, in input units."""
    init_scale: float = 0.01
    """Standard deviation sigma_0 > 0 of the initial filter weights."""
    radius_ratio: float = 0.1
    """Perturbation radius divided by signal strength, rho = delta/alpha >= 0, in training and evaluation."""
    learning_rate: float = 0.01
    """Step size eta > 0."""
    steps: int = 4_000
    """Gradient steps T on single samples, >= 1."""
    unlearnable: float = 0.1
    """Probability p_un that a sample carries v in place of u, 0 to 1."""
    visibility: float = 0.0
    """Factor kappa of initial weights and gradients along v, 0 to 1; 0: the network is blind to v."""
    teacher_learnable: float | None = None
    """Margin y f_T of the teacher on samples with u; None: trained on the label."""
    teacher_unlearnable: float | None = None
    """Margin y f_T of the teacher on samples with v, 0 for ignorance; None: trained on the label."""
    ensembling_momentum: float | None = None
    """Momentum mu of temporal ensembling, 0 <= mu < 1; None: targets stay as they are."""
    ensembling_start: int = 0
    """Step from which targets follow the network's predictions, >= 0."""

    def __post_init__(self) -> None:
        require_sizes(
            least={"dim": 3},
            samples=self.samples,
            patches=self.patches,
            dim=self.dim,
            filters=self.filters,
            steps=self.steps,
        )
        for name in ("signal", "noise_norm", "init_scale", "learning_rate"):
            above(name, getattr(self, name), 0)
        at_least("radius_ratio", self.radius_ratio, 0)
        for name in ("unlearnable", "visibility"):
            between(name, getattr(self, name), 0, 1)
        for name in ("teacher_learnable", "teacher_unlearnable"):
            if getattr(self, name) is not None:
                finite(name, getattr(self, name))
        integer("ensembling_start", self.ensembling_start, low=0)
        if self.ensembling_momentum is not None:
            between("ensembling_momentum", self.ensembling_momentum, 0, 1, open_high=True)
        elif self.ensembling_start > 0:
            raise UserError(f"ensembling_start must be 0 without ensembling_momentum, got {self.ensembling_start:,}")

    @property
    def noise(self) -> float:
        """sigma, the standard deviation of a noise coordinate."""
        return self.noise_norm / math.sqrt(self.dim)

    @property
    def radius(self) -> float:
        """delta, in input units."""
        return self.radius_ratio * self.signal

    @property
    def targets(self) -> tuple[float, float]:
        """tau at the start: the teacher's probability of the label of a learnable and of an unlearnable sample."""
        return target(self.teacher_learnable), target(self.teacher_unlearnable)

    @property
    def target_entropy(self) -> float:
        """Entropy of the target of an unlearnable sample at the start, in nats: the measure of a teacher [N]."""
        return entropy(self.targets[1])


@dataclass(frozen=True)
class Samples:
    """Samples of a setting; the features are the first two coordinates."""

    X: Float64[np.ndarray, "N P d"]
    labels: Float64[np.ndarray, " N"]
    """-1 or +1."""
    unlearnable: Bool[np.ndarray, " N"]
    """Which carry v."""


def draw_samples(setting: TwoFeatureSetting, generator: np.random.Generator, count: int | None = None) -> Samples:
    """Training samples, or `count` fresh ones of the same law."""
    N, P, d = setting.samples if count is None else count, setting.patches, setting.dim
    labels = generator.choice([-1.0, 1.0], N)
    unlearnable = generator.random(N) < setting.unlearnable
    place = generator.integers(P, size=N)
    X = np.zeros((N, P, d))
    X[:, :, FEATURES:] = setting.noise * generator.normal(size=(N, P, d - FEATURES))
    X[np.arange(N), place, unlearnable.astype(int)] = setting.signal * labels
    return Samples(X, labels, unlearnable)


def attacked_in_training(samples: Samples, setting: TwoFeatureSetting) -> Float64[np.ndarray, "N P d"]:
    """The samples shifted by -y delta along both features in every patch."""
    attacked = samples.X.copy()
    attacked[:, :, :FEATURES] -= setting.radius * samples.labels[:, None, None]
    return attacked


def draw_filters(setting: TwoFeatureSetting, generator: np.random.Generator) -> Float64[np.ndarray, "F d"]:
    """Initial filters, those with output sign +1 first."""
    W = setting.init_scale * generator.normal(size=(2 * setting.filters, setting.dim))
    W[:, 1] *= setting.visibility
    return W


def first_targets(samples: Samples, setting: TwoFeatureSetting) -> Float64[np.ndarray, " N"]:
    """tau of each sample at the start, 0 to 1."""
    return np.where(samples.unlearnable, *reversed(setting.targets))


def entropies(targets: Float64[np.ndarray, " N"]) -> Float64[np.ndarray, " N"]:
    """Entropy of each target in nats, 0 to log 2."""
    return np.array([entropy(tau) for tau in targets.tolist()])


def require_room(setting: TwoFeatureSetting, *, records: int, seeds: int, test_samples: int, runs: int) -> None:
    """Refuse what does not fit into memory. runs: those with each seed.

    Raises: UserError naming the sizes.
    """
    width = setting.patches * max(setting.dim, 2 * setting.filters)
    shape = f"patches = {setting.patches:,}, dim = {setting.dim:,}, filters = {setting.filters:,}"
    for words, needed in (
        (f"samples = {setting.samples:,}, {shape}", 80.0 * setting.samples * width),
        (f"test_samples = {test_samples:,}, {shape}", 80.0 * test_samples * width),
        (f"steps = {setting.steps:,}", 16.0 * setting.steps),
        (f"records = {records:,}, seeds = {seeds:,}", 500.0 * records * seeds * runs),
    ):
        require_memory(needed, words)
