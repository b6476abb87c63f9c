"""The setting of one training run of the patch model: sizes, scales, objective, optimizer."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Annotated, Literal, get_args

import tyro

from cgro.base.errors import UserError
from cgro.base.fields import later
from cgro.base.validate import above, at_least, between, finite, one_of
from cgro.data.patches import require_gram, require_shape, require_sizes
from cgro.dynamics.activations import Activation, ActivationName
from cgro.dynamics.teachers import require_both_kinds, target

Attack = Literal["transfer", "worst", "pgd-l2", "pgd-linf"]
Sampling = Literal["auto", "vectors", "gram"]


_QUOTES = "[']"
_BY_NAME = tyro.conf.arg(  # type: ignore[call-overload]
    constructor=ActivationName, help_behavior_hint=lambda given: f"(default: {given.strip(_QUOTES)})"
)
"""The command line takes activations by name only."""


@dataclass(frozen=True)
class PatchSetting:
    """Adversarial training of the patch network: data, model, attack and full-batch gradient descent.

    Symbols of the papers: N samples, P patches, d dim, m filters, q exponent, alpha signal, sigma sqrt(d) noise_norm,
    sigma_0 init_scale, rho = delta/alpha radius_ratio, lambda adversarial_weight, eta learning_rate.

        >>> import cgro
        >>> setting = cgro.PatchSetting(samples=40, dim=10_000, radius_ratio=0.95)
        >>> setting.noise_patches, round(setting.radius, 3)
        (120, 1.9)

    activation may also be your own function phi of float64 torch tensors, value by value. All output
    weights are then +1 and the exponent is ignored; predictions, which need it, refuse such settings.

    Raises: UserError naming the first value out of range.
    """

    samples: int = 40
    """Training samples N, >= 1."""
    patches: int = 4
    """Patches per sample P, >= 2: one signal patch and P - 1 noise patches."""
    dim: int = 100
    """Patch dimension d, >= 2, or 3 with unlearnable samples."""
    filters: int = 20
    """Filters m, >= 1 (the relu activation trains 2m)."""
    exponent: float = 3.0
    """Exponent q of the activation, real, >= 2."""
    activation: Annotated[Activation, _BY_NAME] = "odd"
    """Activation. odd: sgn(z)|z|^q; relu: max(z, 0)^q with fixed output signs and symmetric initialization."""
    signal: float = 2.0
    """Signal strength alpha > 0, in input units."""
    noise_norm: float = 1.0
    """Typical norm of a noise patch, sigma sqrt(d) > 0, in input units."""
    init_scale: float = 0.1
    """Standard deviation sigma_0 > 0 of the initial filter weights."""
    radius_ratio: float | None = None
    """Perturbation radius divided by signal strength, rho = delta/alpha >= 0; None: 1 - 1/(sqrt(d) log d), as in the
    paper."""
    adversarial_weight: float = 0.5
    """Weight lambda of the adversarial loss, in [0, 1]; 0: standard training, 1: adversarial points only."""
    learning_rate: float = 0.05
    """Step size eta > 0 of full-batch gradient descent."""
    attack: Attack = "worst"
    """Training attack. transfer: signal alpha - delta; worst: exact worst case inside A; pgd-l2, pgd-linf: PGD on the
    whole input."""
    steps: int = 20_000
    """Gradient steps T, >= 1."""
    stop_loss: float = 0.0
    """A run stops once its training loss on the labels is below this value, in nats; 0: never."""
    unlearnable: float = later(0.0)
    """Probability p_un that a sample carries a second feature v in place of w*, 0 to 1."""
    visibility: float = later(0.0)
    """Factor kappa of initial weights and gradients along v, 0 to 1; 0: the network is blind to v."""
    teacher_learnable: float | None = later(None)
    """Margin y f_T of a teacher on samples with w*; None: trained on the label."""
    teacher_unlearnable: float | None = later(None)
    """Margin y f_T of a teacher on samples with v, 0 for ignorance; None: trained on the label."""
    sampling: Sampling = "auto"
    """Data. vectors: draw patches in R^d; gram: draw only their Gram matrix (d >= noise patches); auto: gram where
    possible."""

    def __post_init__(self) -> None:
        for name in ("unlearnable", "visibility"):
            between(name, getattr(self, name), 0, 1)
        for name in ("teacher_learnable", "teacher_unlearnable"):
            if getattr(self, name) is not None:
                finite(name, getattr(self, name))
        require_shape(self.samples, self.patches, self.dim, self.filters, self.features)
        require_both_kinds("unlearnable", self.unlearnable, self.samples)
        require_sizes(steps=self.steps)
        for name in ("signal", "noise_norm", "init_scale", "learning_rate"):
            above(name, getattr(self, name), 0)
        at_least("exponent", self.exponent, 2)
        between("adversarial_weight", self.adversarial_weight, 0, 1)
        at_least("stop_loss", self.stop_loss, 0)
        if self.radius_ratio is not None:
            at_least("radius_ratio", self.radius_ratio, 0)
        choices = {"attack": get_args(Attack), "activation": get_args(ActivationName), "sampling": get_args(Sampling)}
        for name, allowed in choices.items():
            value = getattr(self, name)
            if not (name == "activation" and callable(value)):
                one_of(name, value, allowed)
        if self.sampling == "gram":
            require_gram(self.dim, self.noise_patches)

    @property
    def features(self) -> int:
        """Number of features of the data: 2 with unlearnable samples, else 1."""
        return 2 if self.unlearnable > 0 else 1

    @property
    def targets(self) -> tuple[float, float]:
        """tau, the probability that the teacher gives the label of a learnable and of an unlearnable sample."""
        return target(self.teacher_learnable), target(self.teacher_unlearnable)

    @property
    def noise_patches(self) -> int:
        """n = N (P - 1)."""
        return self.samples * (self.patches - 1)

    @property
    def noise(self) -> float:
        """sigma, the standard deviation of a noise coordinate."""
        return self.noise_norm / math.sqrt(self.dim)

    @property
    def ratio(self) -> float:
        """rho = delta / alpha; the paper's value if none is given."""
        if self.radius_ratio is not None:
            return self.radius_ratio
        return 1.0 - 1.0 / (math.sqrt(self.dim) * max(math.log(self.dim), 1.0))

    @property
    def radius(self) -> float:
        """Perturbation radius delta, in input units."""
        return self.ratio * self.signal

    @property
    def draws_gram(self) -> bool:
        """Whether only the Gram matrix is drawn."""
        return self.sampling == "gram" or (self.sampling == "auto" and self.dim >= self.noise_patches)

    @property
    def shape(self) -> tuple[object, ...]:
        """What all runs of a batch must have in common."""
        scales = (
            "signal",
            "noise_norm",
            "init_scale",
            "radius_ratio",
            "adversarial_weight",
            "learning_rate",
            "stop_loss",
            "unlearnable",
            "visibility",
            "teacher_learnable",
            "teacher_unlearnable",
        )
        common = [getattr(self, f.name) for f in fields(self) if f.name not in (*scales, "dim", "sampling")]
        return (*common, self.features)

    @property
    def multiplications(self) -> float:
        """Floating-point operations of the matrix product in one step of the reduced dynamics."""
        filters = self.filters * (2 if self.activation == "relu" else 1)
        return 2.0 * self.noise_patches**2 * filters


def require_one_feature(setting: PatchSetting) -> None:
    """Refuse unlearnable samples and teachers where predictions and pictures do not take them into account.

    Raises: UserError naming the first field that is not at its default.
    """
    for name in ("unlearnable", "visibility", "teacher_learnable", "teacher_unlearnable"):
        value = getattr(setting, name)
        if value != getattr(PatchSetting, name):
            raise UserError(
                f"{name} must be left out, got {value}: experiment two-mechanisms has unlearnable samples and teachers"
            )
