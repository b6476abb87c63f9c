"""The three phases of adversarial training: predicted times (Li & Li, ICML 2025, arXiv:2306.01271, section 5).

    I    signal growth        [0, T_0]    until alpha max_r |u_r| reaches 1
    II   signal stalls        [T_0, T_n]  until the median V_i reaches 0.1
    III  noise memorization   from T_n;   T_1 is when the median V_i reaches 1

Simulated runs record these times, see `crossings`.

Signal and noise race from the first step on. While all margins are small, both losses drive both of them, the noise at
the rate kappa_n / lambda. If the signal wins, the clean loss is used up at T_0 and the noise continues at kappa_n:
memorization waits for the adversarial loss. If the noise wins (lambda near 1, weak signals), it never slows down, and
memorized margins end the growth of the signal before T_0.

Predictions carry the tags of their sources: [N] notes about the published version, [D] derived for this package.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import scipy  # its parts are imported when first used
from jaxtyping import Float64

from cgro.base.errors import UserError
from cgro.dynamics.setting import PatchSetting


def exponent_of(setting: PatchSetting) -> float:
    """q of the setting. Raises: UserError for your own activation, which need not be a power law."""
    if callable(setting.activation):
        raise UserError("activation must be odd or relu for predictions, which need an exponent, got a function")
    return setting.exponent


def growth_time(rate: float, exponent: float, start: float, end: float) -> float:
    """Time in which du/dt = rate u^(q-1) takes u from `start` to `end` (steps); infinite for rate <= 0."""
    if end <= start:
        return 0.0
    if rate <= 0:
        return math.inf
    power, rise = exponent - 2.0, math.log(end / start)
    # (start^-power - end^-power) / power, without cancellation when power is close to 0.
    return start**-power * (-math.expm1(-power * rise) / power if power else rise) / rate


def signal_rate(setting: PatchSetting) -> float:
    """kappa = (eta q alpha^q / 2) [(1 - lambda) + lambda (1 - rho)^q], with psi = 1/2 at zero margin [N]."""
    q, lam, rest = exponent_of(setting), setting.adversarial_weight, 1.0 - setting.ratio
    adversarial = math.copysign(abs(rest) ** q, rest)
    return setting.learning_rate * q * setting.signal**q / 2 * ((1 - lam) + lam * adversarial)


def noise_rate(setting: PatchSetting) -> float:
    """kappa_n = eta q sigma^2 d lambda / (2 N), the growth rate of memorized noise at adversarial loss log 2 [N]."""
    s = setting
    return s.learning_rate * exponent_of(s) * s.noise_norm**2 * s.adversarial_weight / (2 * s.samples)


def largest_normal(count: int) -> float:
    """Median of the largest of `count` standard normals; sqrt(2 log count) to leading order."""
    return float(scipy.stats.norm.ppf(0.5 ** (1 / count)))


def initial_signal(setting: PatchSetting) -> float:
    """u_0, the largest signal component at initialization: median of max_r u_r(0) ~ sigma_0 sqrt(2 log m) [D].

    Signed, because gradient descent only raises u: a negative component shrinks towards zero.
    """
    return setting.init_scale * largest_normal(max(setting.filters, 2))


def initial_noise(setting: PatchSetting) -> float:
    """z_0, a sample's largest noise component y v at initialization ~ sigma_0 sigma sqrt(2 d log(m (P-1))) [D]."""
    count = max(setting.filters * (setting.patches - 1), 2)
    return setting.init_scale * setting.noise_norm * largest_normal(count)


def signal_time(setting: PatchSetting) -> float:
    """T_0 ~ (1/u_0 - alpha)/kappa at q = 3, and its analogue for any q, in steps [D]."""
    return growth_time(signal_rate(setting), exponent_of(setting), initial_signal(setting), 1 / setting.signal)


def balanced_signal(setting: PatchSetting) -> float:
    """s = alpha^q U at which attack and clean loss balance; infinite for rho <= 1 [D].

    An attack with delta > alpha reverses the signal: with r = (rho - 1)^q its margin is -r s, and the signal stops
    growing where (1 - lambda) psi(s) = lambda r psi(-r s), psi(z) = 1/(1 + e^z). Zero if it cannot grow at all.
    """
    lam, r = setting.adversarial_weight, max(setting.ratio - 1.0, 0.0) ** exponent_of(setting)
    if lam * r == 0:
        return math.inf
    if 1 - lam <= lam * r:
        return 0.0

    def pull(s: float) -> float:
        return float((1 - lam) * scipy.special.expit(-s) - lam * r * scipy.special.expit(r * s))

    return float(scipy.optimize.brentq(pull, 0.0, math.log(2 * (1 - lam)) - math.log(lam * r) + 1))


def stalled_push(setting: PatchSetting) -> float:
    """psi~ = (1 - lambda) psi^c + lambda psi^a while the signal stalls: what still drives the noise [D].

    lambda / 2 for rho <= 1: the clean loss is used up, and the adversarial margin is still small.
    """
    lam, s = setting.adversarial_weight, balanced_signal(setting)
    if math.isinf(s):
        return lam / 2
    r = (setting.ratio - 1.0) ** exponent_of(setting)
    return float((1 - lam) * scipy.special.expit(-s) + lam * scipy.special.expit(r * s))


def memorization_time(setting: PatchSetting) -> float:
    """T_1, the time when noise that keeps growing is memorized, in steps [D]; infinite if nothing drives it (lambda =
    0).

    Let T = (1/z_0 - 1) lambda / kappa_n at q = 3 (and its analogue for any q) be the time at the full rate. Then

        T_1 = T                             if T <= T_0: memorization does not wait for the signal
        T_1 = T_0 + (T - T_0) / (2 psi~)    otherwise, psi~ as in `stalled_push`

    so T_1 ~ (1/z_0 - 1)/kappa_n for T_0 << T and rho <= 1. A signal that outgrows the attack (rho < rho*, see
    `critical_ratio`) ends the growth of the noise earlier; `predicted_times` takes that into account.
    """
    q, start = exponent_of(setting), signal_time(setting)
    full = growth_time(noise_rate(replace(setting, adversarial_weight=1.0)), q, initial_noise(setting), 1.0)
    if full <= start:
        return full
    push = stalled_push(setting)
    return start + (full - start) / (2 * push) if push else math.inf


def stalled_signal(setting: PatchSetting, time: float) -> float:
    """s = alpha^q U after `time` steps of phase II, starting from s = 1; negative times are before T_0 [D].

    ds/dt = q^2 eta (1 - lambda) alpha^2 s^(2 - 2/q) e^(-s): only the clean loss drives the signal, and s =
    Theta(log t). Before T_0 the largest component grows as in `signal_time`.
    """
    if time < 0:
        return _growing_signal(setting, -time)
    q = exponent_of(setting)
    push = q**2 * setting.learning_rate * (1 - setting.adversarial_weight) * setting.signal**2 * time
    if push == 0:
        return 1.0

    def missing(s: float) -> float:
        return float(scipy.integrate.quad(lambda x: math.exp(x) * x ** (2 / q - 2), 1.0, s)[0]) - push

    high = 2.0
    while missing(high) < 0:
        high *= 1.5
    return float(scipy.optimize.brentq(missing, 1.0, high))


def _growing_signal(setting: PatchSetting, early: float) -> float:
    """(alpha u)^q `early` steps before alpha u = 1, for du/dt = kappa u^(q-1); the value at u_0 if u does not grow."""
    q, alpha, rate = exponent_of(setting), setting.signal, signal_rate(setting)
    first = (alpha * initial_signal(setting)) ** q
    if math.isinf(early) or rate <= 0:
        return first
    power = q - 2.0
    rise = math.log1p(power * rate * early * alpha**-power) / power if power else rate * early
    return max(math.exp(-q * rise), first)


def critical_ratio(setting: PatchSetting) -> float:
    """rho* in [0, 1]: above it training ends in CGRO, below it robust [D, checked against measured diagrams].

    alpha^2 (1 - rho*)^q s^((q-2)/q) = (sigma^2 d / N) z_0^(q-2), with s the signal at T_1 (or at the end of training,
    if that is earlier): the adversarial push on the signal equals that on the memorized noise. If even clean samples
    push the noise harder than the signal, memorization wins at every radius, and rho* is 0. For q > 2, small sigma_0
    and d far above the number of noise patches; with more patches than dimensions memorization wins at smaller ratios.

        >>> import cgro
        >>> round(cgro.critical_ratio(cgro.PatchSetting(dim=10_000)), 3)
        0.914

    Raises: UserError for a teacher of learnable samples, with which the signal stops growing, and for your own
        activation, which has no exponent.
    """
    _require_labels(setting)
    q = exponent_of(setting)
    start = signal_time(setting)
    end = min(memorization_time(setting), float(setting.steps))
    s = stalled_signal(setting, end - start)
    noise_push = setting.noise_norm**2 / setting.samples * initial_noise(setting) ** (q - 2)
    return max(0.0, 1.0 - (noise_push / (setting.signal**2 * s ** ((q - 2) / q))) ** (1 / q))


def predicted_transition(setting: PatchSetting) -> float:
    """The ratio at which training turns to CGRO, rho = rho*(rho); the setting's own ratio is ignored [D].

    rho* depends on rho a little, since the attack slows the signal down before T_0.

    Raises: UserError for a teacher of learnable samples.
    """
    ratio = critical_ratio(setting)
    for _ in range(100):  # a contraction: a handful of iterations suffice
        before, ratio = ratio, critical_ratio(replace(setting, radius_ratio=ratio))
        if abs(ratio - before) < 1e-12:
            break
    return ratio


def grown_component(setting: PatchSetting, start: float, largest: float) -> float:
    """Signal component at T_0, in 1 / input units, that began at `start` when the largest began at `largest` [D].

    All grow as du/dt = kappa u^(q-1) until the largest is 1 / alpha, so that u^-(q-2) falls by the same amount.
    """
    if start <= 0:
        return 0.0
    power, end = exponent_of(setting) - 2.0, 1.0 / setting.signal
    if largest >= end:
        return start
    if power == 0:
        return start * end / largest
    return float((start**-power - largest**-power + end**-power) ** (-1 / power))


def response_variance(C: Float64[np.ndarray, "F F"], noise_patches: int) -> float:
    """Var Z for the cubic network [D].

    Var Z = (P-1) sum_{r,r'} (9 s_r^2 s_r'^2 c_rr' + 6 c_rr'^3), c = sigma^2 K, s_r^2 = c_rr, since by Isserlis' theorem
    E[g^3 h^3] = 9 s_g^2 s_h^2 c + 6 c^3 for centred Gaussians with covariance c.
    """
    s = np.diag(C)
    return float(noise_patches * np.sum(9 * np.outer(s, s) * C + 6 * C**3))


@dataclass(frozen=True)
class PhaseTimes:
    """Predicted phase boundaries in steps; infinite where a boundary is never reached."""

    signal: float
    """T_0, end of signal growth."""
    memorized: float
    """T_1, when the noise is memorized."""


def predicted_times(setting: PatchSetting) -> PhaseTimes:
    """T_0 and T_1 predicted for this setting; infinite for a phase that loses the race or is never reached.

        >>> import cgro
        >>> times = cgro.predicted_times(cgro.PatchSetting(dim=10_000, radius_ratio=0.95))
        >>> round(times.signal), round(times.memorized)
        (12, 3613)

    Noise memorized before T_0 ends the growth of the signal; a signal that outgrows the attack (rho < rho*) ends the
    growth of the noise. T_1 is within a factor of 1.4 of the median of simulated runs (1.1 for d >> n), T_0 within a
    factor of 2, except close to rho* and where both times coincide.

    Raises: UserError for a teacher of learnable samples, and for your own activation.
    """
    _require_labels(setting)
    start, end = signal_time(setting), memorization_time(setting)
    if end <= start:
        return PhaseTimes(math.inf, end)
    never_one = balanced_signal(setting) < 1
    robust = setting.ratio < critical_ratio(setting)
    return PhaseTimes(math.inf if never_one else start, math.inf if robust else end)


def _require_labels(setting: PatchSetting) -> None:
    if setting.teacher_learnable is not None:
        raise UserError(f"teacher_learnable must be None for predictions, got {setting.teacher_learnable:g}")


def crossing(step: Float64[np.ndarray, " T"], values: Float64[np.ndarray, " T"], level: float) -> float:
    """First step at which `values` reaches `level`, interpolated in log(step) between records; NaN if never."""
    above = np.flatnonzero(values >= level)
    if not len(above):
        return math.nan
    k = int(above[0])
    if k == 0 or step[k - 1] == 0:
        return float(step[k])
    weight = (level - values[k - 1]) / (values[k] - values[k - 1])
    return float(math.exp((1 - weight) * math.log(step[k - 1]) + weight * math.log(step[k])))
