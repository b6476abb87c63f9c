"""Two causes of robust overfitting in the patch model, and where each begins [D].

1. The radius. Above rho* (`phases.critical_ratio`) all samples memorize their noise, and the signal fails under attack.
2. Unlearnable samples. A network that is blind to v can only memorize them, at any radius. An attack inside A does not
   notice. An l_inf attack on the whole input follows the memorized filters, whose l_1 norms are larger than that of w*:
   the features lie along axes, as in the public code, while the noise is spread over all coordinates.

At visibility 0 and q > 2, the noise components of an unlearnable sample grow independently of the other samples, and
the largest of them outgrows the others, at the rate kappa = eta q sigma^2 d / (2 N):

    dz/dt = kappa z^(q-1),    z(0) = sigma_0 sigma sqrt(d) g,    g the largest of m (P - 1) standard normals,

until z reaches 1 and the sample is memorized. So it is memorized by time t with probability
F(t) = 1 - Phi(g_t)^(m (P - 1)), g_t the value that takes the time t, and some unlearnable sample is with probability
1 - (1 - p_un F(t))^N. Lee & Chung (ICML 2026, arXiv:2605.21999 [N]) ask C/N <= p_un for their theorem: below log(2)/N
most training sets have no unlearnable sample.
"""

from __future__ import annotations

import math
from dataclasses import replace

import scipy  # its parts are imported when first used

from cgro.base.errors import UserError
from cgro.dynamics.phases import exponent_of, growth_time, initial_signal, noise_rate, signal_rate
from cgro.dynamics.setting import PatchSetting
from cgro.dynamics.teachers import target


def has_law(setting: PatchSetting) -> bool:
    """Whether the law of T_u applies: a network that is blind to v, and q > 2."""
    return setting.visibility == 0 and exponent_of(setting) > 2


def unlearnable_rate(setting: PatchSetting) -> float:
    """kappa (2 tau - 1), the growth rate of an unlearnable sample's noise at small margins; 0 for an ignorant teacher.

    Both losses see the same margin, so it does not depend on lambda. Below 0 the noise shrinks.
    """
    return noise_rate(replace(setting, adversarial_weight=1.0)) * (2 * target(setting.teacher_unlearnable) - 1)


def memorized_share(setting: PatchSetting, time: float) -> float:
    """F(t), the probability that an unlearnable sample is memorized within `time` steps.

    0 for a teacher whose margin is at most 1: the student has nothing to gain above it. A little early for a teacher
    with a margin close to 1, at which growth slows down.

    Raises: UserError for a network that sees v, or q = 2.
    """
    if not has_law(setting):
        raise UserError(
            f"the law of T_u needs visibility = 0 and exponent > 2, got {setting.visibility:g} and {setting.exponent:g}"
        )
    margin = setting.teacher_unlearnable
    if margin is not None and margin <= 1:
        return 0.0
    rate, power = unlearnable_rate(setting), exponent_of(setting) - 2.0
    start = (1 + power * rate * time) ** (-1 / power)
    normal = start / (setting.init_scale * setting.noise_norm)
    count = setting.filters * (setting.patches - 1)
    return -math.expm1(count * float(scipy.stats.norm.logcdf(normal)))


def collapse_probability(setting: PatchSetting, time: float) -> float:
    """1 - (1 - p_un F(t))^N, the probability that some unlearnable sample is memorized within `time` steps."""
    share = setting.unlearnable * memorized_share(setting, time)
    return -math.expm1(setting.samples * math.log1p(-share)) if share < 1 else 1.0


def memorized_time(setting: PatchSetting, share: float) -> float:
    """The t at which F(t) is this share, in (0, 1), in steps; infinite if never."""
    if memorized_share(setting, math.inf) <= share:
        return math.inf
    count = setting.filters * (setting.patches - 1)
    normal = float(scipy.stats.norm.ppf(math.exp(math.log1p(-share) / count)))
    start = setting.init_scale * setting.noise_norm * normal
    return growth_time(unlearnable_rate(setting), exponent_of(setting), start, 1.0) if normal > 0 else math.inf


def collapse_time(setting: PatchSetting, probability: float = 0.5) -> float:
    """T_u, the time by which an unlearnable sample is memorized with this probability, in steps; infinite if never."""
    each = -math.expm1(math.log1p(-probability) / setting.samples)
    return memorized_time(setting, each / setting.unlearnable) if each < setting.unlearnable else math.inf


def collapse_fraction(setting: PatchSetting, time: float) -> float:
    """The p_un at which half of the runs have memorized an unlearnable sample within `time` steps; infinite above 1."""
    share = memorized_share(setting, time)
    fraction = -math.expm1(-math.log(2) / setting.samples) / share if share else math.inf
    return fraction if fraction <= 1 else math.inf


def critical_visibility(setting: PatchSetting) -> float:
    """kappa* up to 1: a network that sees more of v learns it before it memorizes; infinite if none does, 0 if no
    sample is ever memorized.

    A race, up to a factor: the largest component along v starts at kappa u_0 and grows at the rate kappa p_un times
    that of the signal, for want of samples; the noise of a blind network reaches T_u. Measured transitions at q = 3
    lie higher, by less than a factor of 2.
    """
    blind = replace(setting, visibility=0.0)
    end = collapse_time(blind)

    def late(kappa: float) -> float:
        rate = kappa * setting.unlearnable * signal_rate(blind)
        return growth_time(rate, exponent_of(setting), kappa * initial_signal(blind), 1 / setting.signal) - end

    if math.isinf(end):
        return 0.0
    return float(scipy.optimize.brentq(late, 1e-9, 1.0)) if late(1.0) < 0 else math.inf


def linf_ratio(setting: PatchSetting) -> float:
    """rho from about which memorized noise fails an l_inf attack of radius delta on the whole input.

    A filter that memorized a patch xi is xi z / ||xi||^2 inside the noise space, so the attack raises its response in
    every patch by delta ||w||_1 = rho c z, c = alpha sqrt(2 d / pi) / (sigma sqrt d), to leading order in d. If
    training has brought the attacked signal margin and the memorized margin z^q to the same size, that balances at
    P (rho c)^q = 1. Runs with many memorized samples fail earlier.
    """
    gain = setting.signal * math.sqrt(2 * setting.dim / math.pi) / setting.noise_norm
    return setting.patches ** (-1 / exponent_of(setting)) / gain


def shift_ratio(setting: PatchSetting) -> float:
    """rho above which an l_inf attack needs no memorized noise: it moves every patch along w*.

    The signal margin is then s ((1 - rho)^q - (P - 1) rho^q), positive below 1 / (1 + (P - 1)^(1/q)).
    """
    return 1 / (1 + (setting.patches - 1) ** (1 / exponent_of(setting)))
