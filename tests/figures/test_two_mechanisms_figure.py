"""The figure of two mechanisms: what it counts, at which ratio, and what it leaves out."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import xarray as xr

from cgro.dynamics import two_mechanisms as law
from cgro.figures import two_mechanisms as figure
from cgro.simulations.two_mechanisms import EVALUATIONS, Config

STEPS = (0, 100, 200, 300, 400)
RATIOS, FRACTIONS = (0.02, 0.12, 0.2, 1.0), (0.0, 0.05)


def made(**changes: object) -> xr.Dataset:
    """No error but under l_inf; with unlearnable samples seeds 1 and 2 collapse, seed 3 diverged."""
    config = Config(ratios=RATIOS, fractions=FRACTIONS, seeds=4)
    config = replace(config, setting=replace(config.setting, steps=400, **changes))  # type: ignore[arg-type]
    error = np.zeros((2, 4, 4, 5, 4))
    error[..., 0, 3] = 1.0  # untrained
    error[1, :, 1, :, 3] = [1.0, 0.0, 0.0, 0.5, 1.0]
    error[1, :, 2, :, 3] = [1.0, 0.0, 0.2, 0.2, 0.3]
    error[1, :, 3, 2:] = np.nan
    T_u = np.full((2, 4, 4), np.nan)
    T_u[1, :, 1], T_u[1, :, 2] = 200.0, 300.0
    return xr.Dataset(
        {
            "error": (("fraction", "ratio", "seed", "step", "evaluation"), error),
            "T_u": (("fraction", "ratio", "seed"), T_u),
        },
        {"fraction": list(FRACTIONS), "ratio": list(RATIOS), "seed": range(4), "step": list(STEPS),
         "evaluation": list(EVALUATIONS)},
        {"config": json.dumps(asdict(config))},
    )  # fmt: skip


def test_runs_are_counted_without_those_that_diverged() -> None:
    result = made()
    assert figure.between(result) == 0.2
    rows = figure.shares(result, 0.2)
    assert [row[:3] for row in rows] == [(0.0, 0, 4), (0.05, 2, 3)]
    assert rows[0][3] == 0
    assert rows[1][3] == pytest.approx(law.collapse_probability(figure.setting(result, 0.05, 0.2), 400))
    header, numbers = figure.numbers(result)
    own = dict(zip(header, numbers[-2], strict=True))
    assert [own[name] for name in ("fraction", "ratio", "runs", "collapsed_linf", "collapsed_l2")] == [
        0.05,
        0.2,
        3,
        2,
        0,
    ]
    text = figure.caption(result)
    assert "of which 4 runs diverged and are left out" in text
    assert f"0 of 4 at 0 (predicted 0.0), 2 of 3 at 0.05 (predicted {3 * rows[1][3]:.1f})" in text


def test_onsets_are_interpolated_after_the_untrained_network() -> None:
    """25 % between 0 at step 200 and 50 % at 300, and between 20 % at step 300 and 30 % at 400."""
    np.testing.assert_allclose(figure.onsets(made(), 0.2), [250 / 200, 350 / 300])
    assert "a median of 1.2 T_u, interpolated between records every 100 steps" in figure.caption(made())


def test_nothing_is_predicted_where_the_law_does_not_apply() -> None:
    result = made(visibility=0.5)
    assert np.isnan(figure.shares(result, 0.2)[1][3])
    assert "predicted 3" not in figure.caption(result)
    assert figure.highlight(result)[0] == "none"
    figure.draw(result)
    assert np.isnan(figure.boundaries(made(teacher_learnable=2.0))["rho*"])
    figure.draw(made(teacher_learnable=2.0, teacher_unlearnable=0.0))


@pytest.mark.parametrize("ratios", [[0.02], [1.0], [0.02, 1.0]])
def test_without_a_ratio_between_the_boundaries_there_are_only_maps(ratios: list[float]) -> None:
    result = made().sel(ratio=ratios)
    assert figure.between(result) is None
    assert "(d)" not in figure.caption(result)
    assert len([ax for ax in figure.draw(result).axes if ax.get_title(loc="left")]) == 3
