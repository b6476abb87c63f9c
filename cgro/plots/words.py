"""Wording shared by captions, tables and the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy  # its parts are imported when first used

from cgro.claims.claim import Verdict


def method(attrs: Mapping[str, Any]) -> str:
    """How the networks of a result were trained."""
    return str(attrs.get("method", "PGD adversarial training"))


def lines(seeds: int) -> str:
    """What the lines and bands show for this number of seeds."""
    if seeds == 1:
        return "Lines: one seed."
    return f"Lines: means over {seeds} seeds; bands: minimum to maximum."


_TEX = {r"\sigma\sqrt{d}": "σ√d", r"\sigma_0": "σ₀", r"\rho": "ρ", r"\delta": "δ", r"\alpha": "α", r"\lambda": "λ"}
_TEX |= {r"\eta": "η", "$": ""}


def without_tex(label: str) -> str:
    """A label of an axis as plain text."""
    for tex, text in _TEX.items():
        label = label.replace(tex, text)
    return label


OBJECTIVE_WORDS = {
    "standard": "standard training",
    "adversarial": "PGD-AT",
    "mixture": "mixture",
    "trades": "TRADES",
    "trades-adversarial": "TRADES, adversarial CE",
    "mart": "MART",
    "free": "free training",
}
"""Training objectives in figures and captions."""


def trained_by(attrs: Mapping[str, Any], training: str) -> str:
    """The training of a result that compares its own objective, adversarial, with standard training."""
    return OBJECTIVE_WORDS[str(attrs["objective"]) if training == "adversarial" else training]


def short_training(attrs: Mapping[str, Any], training: str) -> str:
    """The same as the label of a row, short enough for one."""
    return "standard" if training == "standard" else trained_by(attrs, training)


def injected_images(attrs: Mapping[str, Any], seeds: int) -> str:
    """How a caption begins: network, data, perturbations, and what was done to which share of the images."""
    return (
        f"{attrs['model']} (width {attrs['width']:g}) on {attrs['data']}, {ball(attrs)}, {attrs['epochs']} epochs, "
        f"{seeds} seeds. Of all images {100 * attrs['rotated']:.3g} % are rotated and {100 * attrs['blended']:.3g} % "
        f"blended (atypical), and {100 * attrs['mislabelled']:.3g} % of the training images mislabelled."
    )


def with_noise(attrs: Mapping[str, Any]) -> str:
    """Label noise as an addition to the data; empty without any."""
    rate = float(attrs.get("label_noise", 0))
    return f" with {labels_redrawn(rate)}" if rate else ""


def labels_redrawn(rate: float) -> str:
    """Label noise in words."""
    if rate == 0:
        return "true labels"
    return "random labels" if rate == 1 else f"{100 * rate:.3g} % of the labels redrawn"


FEWEST = 3
"""Seeds that an interval needs: one of two seeds is mostly as wide as what it is to measure."""


def mean_interval(values: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """Mean over seeds and half the width of its t interval, NaN for one seed."""
    n = len(values)
    half = np.nan
    if n > 1:
        half = float(scipy.stats.t.ppf((1 + confidence) / 2, n - 1) * np.std(values, ddof=1) / np.sqrt(n))
    return float(np.mean(values)), half


def interval_ends(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means over the last axis, the seeds, and the reach of bars below and above them (2, ...).

    Bars are 95 % t intervals; minimum to maximum where there are too few seeds for one.
    """
    means = values.mean(axis=-1)
    if values.shape[-1] < FEWEST:
        return means, np.clip([means - values.min(axis=-1), values.max(axis=-1) - means], 0, None)
    half = np.array([mean_interval(row)[1] for row in values])
    return means, np.array([half, half])


def points(values: np.ndarray) -> str:
    """Changes over seeds, with their signs: mean and half of its 95 % t interval, or all where there are too few."""
    if len(values) < FEWEST:
        return ", ".join(f"{value:+.1f}" for value in values)
    mean, half = mean_interval(values)
    return f"{mean:+.1f} ± {half:.1f}"


def sign_verdict(values: np.ndarray) -> str:
    """Whether the mean is above 0: yes or no if the whole 95 % interval is on one side, undecided if it holds 0."""
    if len(values) < FEWEST:
        return f"needs {FEWEST} seeds"
    mean, half = mean_interval(values)
    return interval_verdict(mean - half, mean + half)


def interval_verdict(low: float, high: float) -> str:
    """Whether an interval is above 0: yes or no if it is on one side, undecided if it holds 0."""
    return "yes" if low > 0 else "no" if high < 0 else "undecided"


def agreed(*verdicts: str) -> str:
    """The verdict that all agree on; undecided if they differ, and what is needed if one needs more."""
    needs = [each for each in verdicts if each.startswith("needs")]
    return needs[0] if needs else verdicts[0] if len(set(verdicts)) == 1 else "undecided"


def ball(attrs: Mapping[str, Any]) -> str:
    """The perturbations of a result: norm and radius."""
    return f"l_{attrs.get('norm', 'inf')} radius {attrs['radius']:.3g}"


def found_words(verdict: Verdict) -> str:
    """Measured value and bound, with constant, counterexample and correction if there are any."""
    v = verdict
    parts = [
        f"{v.measured} (bound: {v.bound})" if v.bound not in ("", "-") else v.measured,
        v.constant and f"constant: {v.constant}",
        v.counterexample and f"counterexample: {v.counterexample}",
        v.outcome == "fails" and v.known_wrong and f"correct: {v.known_wrong}",
        v.confidence and f"confidence {v.confidence:.4g}",
    ]
    return "; ".join(part for part in parts if part)


def slack_words(verdict: Verdict) -> str:
    """The slack with three digits; "=" for an identity."""
    if verdict.outcome == "undecided":
        return "-"
    return "=" if verdict.slack is None else f"{verdict.slack:.3g}"
