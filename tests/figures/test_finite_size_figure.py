"""The width of the transition: what the published result says, and that the figure finds what was put in."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from tools import ROOT

from cgro.figures import finite_size
from cgro.runs.store import load

PAPER = ROOT / "results" / "published" / "finite-size-paper.nc"


def test_the_published_transition_sharpens_only_towards_a_ratio_of_one() -> None:
    """The row of the ledger, and the numbers of the gallery."""
    result = load(PAPER)
    found = finite_size.widths(result, "samples")
    assert list(found.value[[0, -1]]) == [10, 160]
    law = finite_size.exponent(found.value, found.width)
    assert law is not None
    assert (round(law.exponent, 2), round(law.low, 2), round(law.high, 2)) == (-0.24, -0.28, -0.21)
    relative = finite_size.exponent(found.value, found.width / (1 - found.middle))
    assert relative is not None
    assert relative.low < 0 < relative.high
    assert abs(relative.exponent) < 0.03
    np.testing.assert_allclose(found.width / (1 - found.middle), 0.03, atol=0.004)
    signal, both = finite_size.explained(result).T
    assert (round(float(signal.min()), 2), round(float(signal.max()), 2)) == (0.44, 0.70)
    assert (both > signal).all()
    by_dim = finite_size.widths(result, "dim")
    assert (round(by_dim.width[0], 4), round(by_dim.width[-1], 4)) == (0.0046, 0.0019)


def made_up(seeds: int = 400) -> xr.Dataset:
    """Widths 0.1 / N, of which the signal explains three quarters and the noise nothing."""
    rng = np.random.default_rng(0)
    sizes = [10, 20, 40, 80]
    signal, rest, noise = rng.normal(size=(3, len(sizes), seeds))
    turn = 0.8 + (0.1 / np.array(sizes))[:, None] * (np.sqrt(0.75) * signal + np.sqrt(0.25) * rest)
    variables = {"robust_side": turn - 1e-5, "cgro_side": turn + 1e-5, "second_signal": signal, "noise_start": noise}
    return xr.Dataset(
        {name: (("line", "seed"), v) for name, v in variables.items()} | {"predicted": ("line", np.full(4, 0.75))},
        {"axis": ("line", ["samples"] * 4), "value": ("line", sizes), "seed": np.arange(seeds)},
    )


def test_a_law_that_was_put_in_is_found() -> None:
    result = made_up()
    found = finite_size.widths(result, "samples")
    np.testing.assert_allclose(found.width, 0.1 / found.value, rtol=0.15)
    # Intervals of a standard deviation from 400 seeds: about 7 % on either side.
    np.testing.assert_allclose(found.low / found.width, 0.93, atol=0.02)
    np.testing.assert_allclose(found.high / found.width, 1.08, atol=0.03)
    law = finite_size.exponent(found.value, found.width)
    assert law is not None
    assert law.exponent == pytest.approx(-1, abs=0.1)
    signal, both = finite_size.explained(result).T
    np.testing.assert_allclose(signal, 0.75, atol=0.07)
    np.testing.assert_allclose(both, signal, atol=0.01)


def test_a_line_with_a_seed_beyond_the_ends_is_left_out() -> None:
    result = made_up(seeds=5)
    result["robust_side"][1, 3] = np.nan
    assert list(finite_size.widths(result, "samples").value) == [10, 40, 80]
    assert len(finite_size.explained(result)) == 3
    _, rows = finite_size.numbers(result)
    assert np.isnan(rows[1][2:6]).all()
