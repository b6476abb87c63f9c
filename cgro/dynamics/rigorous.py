"""Gradient descent of the patch model, enclosed: every number is a ball that contains the exact real number.

The engine starts from the exact values of a seed's float64 draw and takes real-arithmetic gradient steps of the reduced
dynamics (see `gram`) in the ball arithmetic of python-flint, which rounds outward. Whatever it says of a trajectory is
a theorem about that trajectory: a comparison of balls is either certain or refused, never guessed.

The training set consists of the patches sigma X_i[j] and alpha y w*, and the filters start at sigma_0 W, with X, W,
sigma, sigma_0 and all other numbers of the setting taken as the float64 numbers that they are.

Two widths are of use. Without `rounding`, balls hold the exact trajectory and little else, so that their distance from
the states of another engine is that engine's error. With `rounding` = 2^-53 every step is widened by what any float64
implementation may lose in it: an engine outside of that tube does not compute this recursion.

Scope: one feature, labels as targets, the odd activation with an integer exponent, vectors small enough to draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from flint import arb, arb_mat, ctx
from jaxtyping import Float64

from cgro.base.errors import UserError
from cgro.base.validate import integer
from cgro.dynamics.runs import vector_draw
from cgro.dynamics.setting import PatchSetting, require_one_feature

Ends = tuple[float, float]
"""An interval that certainly contains a real number."""
TIMES = ("T_0", "T_n", "T_1")
_TINY = 1e-290
"""More than what underflow and the clipped exponential of the engines can lose."""


def upper(x: arb) -> float:
    """The upper end of a ball, rounded up."""
    return float(np.nextafter(float(x.upper()), np.inf))


def ends(x: arb) -> Ends:
    """The ends of a ball, rounded outward."""
    return -upper(-x), upper(x)


def median(balls: Sequence[arb]) -> arb:
    """The middle value of enclosed numbers, or the mean of the two middle values: order statistics of both ends."""
    low, high = sorted(x.lower() for x in balls), sorted(x.upper() for x in balls)
    middle = slice((len(balls) - 1) // 2, len(balls) // 2 + 1)
    return mean(low[middle]).union(mean(high[middle]))


def mean(balls: Sequence[arb]) -> arb:
    """The mean of enclosed numbers."""
    return sum(balls, arb(0)) / len(balls)


def power(x: arb, exponent: int) -> arb:
    """|x|^exponent."""
    result = x if exponent % 2 == 0 else abs(x)
    return result**exponent if exponent > 1 else result if exponent else arb(1)


def worst_signal_margin(setting: PatchSetting, U: arb) -> arb:
    """The signal's part of the smallest margin inside A: sgn(t)|t|^q U at the worse end t of the segment.

    The segment is [alpha - delta, alpha + delta]; the margin is monotone in t, upward for U >= 0, downward for U <= 0.
    """
    q, alpha, delta = int(setting.exponent), arb(setting.signal), arb(setting.radius)
    low, high = (t * power(t, q - 1) * U for t in (alpha - delta, alpha + delta))
    return low.min(high)


def require_rigorous(setting: PatchSetting) -> None:
    """Refuse what the enclosures do not cover. Raises: UserError."""
    require_one_feature(setting)
    if setting.activation != "odd":
        raise UserError(f"activation must be odd for a proved trajectory, got {setting.activation!r}")
    if setting.exponent != int(setting.exponent):
        raise UserError(f"exponent must be an integer for a proved trajectory, got {setting.exponent:g}")
    if setting.draws_gram:
        raise UserError("sampling must be vectors for a proved trajectory: a Gram matrix that is drawn has no patches")
    if setting.attack not in ("transfer", "worst"):
        raise UserError(f"attack must be transfer or worst for a proved trajectory, got {setting.attack!r}")


@dataclass(frozen=True)
class BallState:
    """Enclosures of one state, beside u and v."""

    slopes: list[arb]
    """|v|^(q-1), filter by filter."""
    signal: arb
    """U."""
    attacked: arb
    """t, the signal after the attack in training."""
    memorized: list[arb]
    """V_i."""
    clean: list[arb]
    """y f(X_i)."""
    trained: list[arb]
    """y f(X_i') under the attack in training."""
    robust: list[arb]
    """Smallest y f(X') inside A(X_i, delta)."""

    @property
    def losses(self) -> tuple[arb, arb]:
        """Clean and adversarial training loss, in nats."""
        return mean([(-m).exp().log1p() for m in self.clean]), mean([(-m).exp().log1p() for m in self.trained])


class BallEngine:
    """Enclosed gradient descent of one run.

    bits: precision of the midpoints. rounding: relative error of a floating-point operation by which steps are widened,
    0 for none.

    Raises: UserError for a setting outside the scope; `advance` raises it where a comparison cannot be decided, which
    more bits mend.
    """

    def __init__(self, setting: PatchSetting, seed: int, *, bits: int = 128, rounding: float = 0.0) -> None:
        require_rigorous(setting)
        from cgro.dynamics.crossings import LEVELS  # imports torch, which a configuration does not need

        self._levels = LEVELS
        self.setting, self.bits, self.rounding = setting, integer("bits", bits, low=53), rounding
        draw = vector_draw(setting, seed)
        self.labels = [int(y) for y in draw.labels]
        with ctx.workprec(self.bits):
            sigma, scale = arb(setting.noise), arb(setting.init_scale)
            self._patches = arb_mat(draw.noise[:, 1:].tolist()) * sigma
            self._start = arb_mat(draw.filters[:, 1:].tolist()) * scale
            self._gram = self._patches * self._patches.transpose()
            self.u = [arb(x) * scale for x in draw.filters[:, 0].tolist()]
            self.v = self._start * self._patches.transpose()
            self._coefficients = self._matrix([arb(0)] * (setting.filters * setting.noise_patches))
            self._ones = arb_mat([[1] * setting.filters])
            if rounding:
                self._absolute_gram = np.abs(_midpoints(self._gram))
                products = np.abs(draw.filters[:, 1:]) @ np.abs(draw.noise[:, 1:]).T
                size = setting.init_scale * setting.noise * (setting.dim + 8)
                self._widen(rounding * size * products, np.zeros(setting.filters))
        self.taken = 0
        self.falls = [0, 0]
        """Steps in which some u_r certainly falls, and in which it could not be shown not to."""
        self.rises = [0, 0]
        """Steps in which the objective certainly rises, and in which it could not be shown not to."""
        self.times: dict[str, int] = {}
        """The first step at which each level of `crossings` is reached; without rounding only."""
        with ctx.workprec(self.bits):
            self._look()

    def advance(self, steps: int) -> None:
        """Take gradient steps."""
        with ctx.workprec(self.bits):
            for _ in range(steps):
                before = self._objective()
                self._step()
                self.taken += 1
                self._look()
                after = self._objective()
                self.rises[0] += after > before
                self.rises[1] += not after <= before

    def filter_gram(self) -> arb_mat:
        """K, the inner products of the filters' components orthogonal to w*, from the filters themselves.

        Raises: ArithmeticError if the filters do not reproduce v, which would be a fault of this file.
        """
        with ctx.workprec(self.bits):
            filters = self._start + self._coefficients * self._patches
            if not (filters * self._patches.transpose()).overlaps(self.v):
                raise ArithmeticError("the filters and their products with the patches have come apart")
            return filters * filters.transpose()

    def deviation(self, u: Float64[np.ndarray, " F"], v: Float64[np.ndarray, "F n"]) -> tuple[Ends, Ends]:
        """The largest |u - exact| and |v - exact| of another engine's state, each between certain ends."""
        with ctx.workprec(self.bits):
            entries = zip(self.v.entries(), v.ravel().tolist(), strict=True)
            return (
                _largest([x - y for x, y in zip(self.u, u.tolist(), strict=True)]),
                _largest([x - y for x, y in entries]),
            )

    def contains(self, u: Float64[np.ndarray, " F"], v: Float64[np.ndarray, "F n"]) -> bool:
        """Whether another engine's state is finite and lies inside the balls."""
        balls, values = chain(self.u, self.v.entries()), chain(u.tolist(), v.ravel().tolist())
        pairs = zip(balls, values, strict=True)
        return all(np.isfinite(value) and ball.contains(arb(value)) for ball, value in pairs)

    @property
    def widest(self) -> tuple[float, float]:
        """The largest radii of the balls of u and of v."""
        return upper(max(x.rad() for x in self.u)), upper(max(x.rad() for x in self.v.entries()))

    def _matrix(self, entries: list[arb]) -> arb_mat:
        return arb_mat(self.setting.filters, self.setting.noise_patches, entries)

    def _look(self) -> None:
        self.state = self._state()
        self.losses = self.state.losses
        """Clean and adversarial training loss of the current state."""
        if not self.rounding:
            self._watch()

    def _state(self) -> BallState:
        s, q, each = self.setting, int(self.setting.exponent), self.setting.patches - 1
        v = self.v.entries()
        slopes = [x * x for x in v] if q == 3 else [power(x, q - 1) for x in v]
        by_patch = (self._ones * self._matrix([x * y for x, y in zip(slopes, v, strict=True)])).entries()
        V = [y * sum(by_patch[i * each : (i + 1) * each], arb(0)) for i, y in enumerate(self.labels)]
        U = sum((x * power(x, q - 1) for x in self.u), arb(0))
        t = self._attacked(U)
        clean, trained, robust = arb(s.signal) ** q * U, t * power(t, q - 1) * U, worst_signal_margin(s, U)
        return BallState(
            slopes, U, t, V, [clean + x for x in V], [trained + x for x in V], [robust + x for x in V]
        )  # fmt: skip

    def _attacked(self, U: arb) -> arb:
        """The signal t that the attack leaves: alpha - delta, or for U < 0 in the worst case alpha + delta."""
        alpha, delta = arb(self.setting.signal), arb(self.setting.radius)
        if self.setting.attack == "transfer" or U >= 0:
            return alpha - delta
        if U < 0:
            return alpha + delta
        raise UserError(
            f"the sign of U must be decided at step {self.taken}: raise bits above {self.bits}, "
            "or lower learning_rate if training diverges"
        )

    def _objective(self) -> arb:
        lam = arb(self.setting.adversarial_weight)
        return (1 - lam) * self.losses[0] + lam * self.losses[1]

    def _step(self) -> None:
        s, q, at = self.setting, int(self.setting.exponent), self.state
        lam, rate = arb(s.adversarial_weight), arb(s.learning_rate) * q / s.samples
        psi_clean = [(1 - lam) / (1 + m.exp()) for m in at.clean]
        psi_attacked = [lam / (1 + m.exp()) for m in at.trained]
        clean = rate * sum(psi_clean, arb(0)) * arb(s.signal) ** q
        attacked = rate * sum(psi_attacked, arb(0)) * at.attacked * power(at.attacked, q - 1)
        pull = [rate * y * (a + b) for a, b, y in zip(psi_clean, psi_attacked, self.labels, strict=True)]
        by_patch = [c for c in pull for _ in range(s.patches - 1)]
        change = self._matrix([x * c for x, c in zip(at.slopes, by_patch * s.filters, strict=True)])
        slopes = [power(x, q - 1) for x in self.u]
        rises = [(clean + attacked) * x for x in slopes]
        self.falls[0] += any(x < 0 for x in rises)
        self.falls[1] += not all(x >= 0 for x in rises)
        widths = self._widths(change, [(clean + abs(attacked)) * x for x in slopes]) if self.rounding else None
        self.u = [x + y for x, y in zip(self.u, rises, strict=True)]
        self.v = self.v + change * self._gram
        self._coefficients = self._coefficients + change
        if widths:
            self._widen(*widths)

    def _watch(self) -> None:
        """Note which levels are reached in this state."""
        middle = median(self.state.memorized)
        largest = max(abs(x).lower() for x in self.u).union(max(abs(x).upper() for x in self.u))
        values = (arb(self.setting.signal) * largest, middle, middle)
        for name, value, level in zip(TIMES, values, self._levels, strict=False):
            if name in self.times or value < level:
                continue
            if not value >= level:
                raise UserError(f"{name} must be decided at step {self.taken}: raise bits above {self.bits}")
            self.times[name] = self.taken

    def _widths(self, change: arb_mat, terms_of_u: list[arb]) -> tuple[np.ndarray, np.ndarray]:
        """What one step of a float64 implementation may lose in v and u, beside the last addition.

        terms_of_u: absolute values of what is added to u_r, since clean and attacked samples may pull in opposite ways.

        A sum of k products in any order, with or without fused operations, loses at most (k + 4) eps of the sum of
        absolute values; an exponential 4 eps of itself; and psi changes by at most the error of its margin, relative to
        itself. Everything is counted twice.
        """
        s, q, eps = self.setting, int(self.setting.exponent), self.rounding
        v, u = _sizes(self.v.entries()).reshape(s.filters, -1), _sizes(self.u)
        terms = s.filters * s.patches + s.samples + s.noise_patches + s.dim + 64
        margin = ((v**q).sum(0).reshape(s.samples, -1).sum(1) + (s.signal + s.radius) ** q * (u**q).sum()).max()
        relative = 2 * terms * eps * (2 + float(margin))
        change_of_v = _sizes(change.entries()).reshape(v.shape) @ self._absolute_gram
        return relative * change_of_v, relative * _sizes(terms_of_u)

    def _widen(self, v: np.ndarray, u: np.ndarray) -> None:
        """Widen the balls by these numbers and by the rounding of the numbers themselves."""
        entries, last = self.v.entries(), 2 * self.rounding
        wide_v = v.ravel() * (1 + 1e-9) + last * _sizes(entries) + _TINY
        wide_u = u * (1 + 1e-9) + last * _sizes(self.u) + _TINY
        self.v = self._matrix([x + arb(0, w) for x, w in zip(entries, wide_v.tolist(), strict=True)])
        self.u = [x + arb(0, w) for x, w in zip(self.u, wide_u.tolist(), strict=True)]


def _sizes(balls: Sequence[arb]) -> np.ndarray:
    """The largest absolute values in the balls, rounded up."""
    return np.array([float(x.abs_upper()) for x in balls]) * (1 + 1e-15)


def _midpoints(matrix: arb_mat) -> np.ndarray:
    return np.array([float(x) for x in matrix.entries()]).reshape(matrix.nrows(), matrix.ncols())


def _largest(differences: list[arb]) -> Ends:
    sizes = [ends(abs(x)) for x in differences]
    return max(0.0, max(low for low, _ in sizes)), max(high for _, high in sizes)
