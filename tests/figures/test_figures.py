"""Figures and report: drawn from results only, byte-stable, readable, self-contained."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from fast_drawing import AS_PDF
from matplotlib.figure import Figure as Drawing
from matplotlib.image import imread
from tools import ROOT, files_below
from toy_configs import CONFIGS

from cgro.base.errors import UserError
from cgro.cli.main import main
from cgro.plots.figure import Figure
from cgro.plots.output import draw_figure, picture
from cgro.plots.style import RC, figure, house_style
from cgro.runs import store
from cgro.runs.registry import find, find_all

FIGURES = find_all("figure")
ODD = {
    "axes.facecolor": "yellow",
    "axes.formatter.limits": (0, 0),
    "axes.grid": True,
    "axes.unicode_minus": False,
    "figure.dpi": 33,
    "font.sans-serif": ["no such font"],
    "image.cmap": "gray",
    "lines.marker": "x",
    "mathtext.fontset": "stix",
    "path.sketch": (1, 100, 2),
    "path.simplify_threshold": 1.0,
    "pdf.compression": 0,
    "savefig.bbox": "tight",
    "savefig.transparent": True,
    "text.usetex": True,
    "xtick.direction": "in",
}
"""A user's settings, which the house style must not let through."""


def test_every_experiment_has_a_figure() -> None:
    assert {m.experiment for m in FIGURES.values()} == set(find_all("experiment")) == set(CONFIGS)


@pytest.mark.parametrize("name", sorted(FIGURES))
def test_figure_is_drawn_whole_and_byte_stable(
    name: str, results: dict[str, xr.Dataset], reproduced: Path, tmp_path: Path
) -> None:
    """Here and in the process of `cgro reproduce`, whatever the user's settings are.

    PDFs are slow: those of a few figures, among them ones with maps, formulas and error bars, show what writes them.
    """
    module = FIGURES[name]
    result = needed(module, results[module.experiment])
    before = result.copy(deep=True)
    with mpl.rc_context(ODD):
        users = dict(mpl.rcParams)
        drawn = draw_figure(module, name, result, tmp_path, ("pdf", "png") if name in AS_PDF else ("png",))
        assert dict(mpl.rcParams) == users
    for kind, path in drawn.items():
        assert path.read_bytes() == (reproduced / "figures" / path.name).read_bytes(), f"{kind} is not byte-stable"
    xr.testing.assert_identical(result, before)
    image = imread(drawn["png"])
    assert image.shape[1] >= 1200
    assert len(np.unique(np.rint(255 * image[..., :3]).astype(int) @ (1, 256, 256**2))) > 20
    rows = list(csv.reader(drawn["csv"].open()))
    assert len(rows) > 1
    assert {len(row) for row in rows} == {len(rows[0])}
    assert not re.search(r"\bnan\b", module.caption(results[module.experiment]))


def needed(module: Figure, result: xr.Dataset) -> xr.Dataset:
    """Nothing but the variables that the figure says it needs."""
    names = " ".join(module.needs.values()).split()
    return result.drop_vars([name for name in result.variables if name not in names])


@pytest.mark.parametrize("name", sorted(FIGURES))
def test_a_result_without_what_a_figure_needs_is_refused(name: str, results: dict[str, xr.Dataset]) -> None:
    module = FIGURES[name]
    result = needed(module, results[module.experiment])
    module.require(name, result)
    for variable in result.variables:
        with pytest.raises(UserError, match=f"figure {name} needs the variable {variable}; the result has "):
            module.require(name, result.drop_vars(variable))
        with pytest.raises(UserError, match=f"figure {name} needs .*{variable}"):
            module.require(name, result.rename({variable: f"{variable}_renamed"}))
    for attribute in module.attributes.split():
        lacking = result.drop_attrs(deep=False).assign_attrs({k: v for k, v in result.attrs.items() if k != attribute})
        with pytest.raises(UserError, match=f"figure {name} needs the attribute {attribute}"):
            module.require(name, lacking)
    for dim in result.dims:
        with pytest.raises(UserError, match="needs values of"):
            module.require(name, result.isel({dim: slice(0)}))


@pytest.mark.parametrize(
    ("experiment", "axis", "options"),
    [
        ("coverage", "radius", {"radii": ()}),
        ("parameter-counts", "ratio", {"ratios": ()}),
        ("memorization-capacity", "dim", {"dims": (), "samples": (4,), "steps": 5, "seeds": 1, "labels": ("linear",)}),
    ],
)
def test_an_axis_that_was_left_out_is_named(experiment: str, axis: str, options: dict[str, object]) -> None:
    config = replace(CONFIGS[experiment], **options)
    result = find("experiment", experiment).run(config, None)
    ((name, module),) = ((name, module) for name, module in FIGURES.items() if module.experiment == experiment)
    with pytest.raises(UserError, match=f"figure {name} needs values along {axis}; the result has them along samples"):
        module.require(name, result)


@pytest.mark.parametrize("path", sorted((ROOT / "results" / "published").glob("*.nc")), ids=lambda path: path.stem)
def test_published_results_have_what_their_figures_need(path: Path) -> None:
    result = store.load(path)
    for name, module in FIGURES.items():
        if result.attrs["experiment"] == module.experiment:
            module.require(name, result)


MADE_WRONG = {
    "lacks": (lambda d: d.drop_vars("clean_test_accuracy"), "needs the variable clean_test_accuracy"),
    "renamed": (
        lambda d: d.rename(epoch="step"),
        "needs clean_train_accuracy with dimensions (seed, epoch), got (seed, step)",
    ),
    "flat": (lambda d: d.isel(seed=0), "needs clean_train_accuracy with dimensions (seed, epoch), got (epoch)"),
    "empty": (lambda d: d.isel(epoch=slice(0)), "needs values of clean_train_accuracy"),
    "words": (lambda d: d.assign(robust_test_accuracy=d.robust_test_accuracy.astype(str)), "cannot be drawn from it ("),
    "unnamed": (
        lambda d: d.drop_attrs(deep=False).assign_attrs(config="{}", experiment="image-cgro"),
        "needs the attribute",
    ),
}


@pytest.mark.parametrize("which", MADE_WRONG)
def test_a_result_made_wrong_is_one_line(
    which: str, results: dict[str, xr.Dataset], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its digest is right, so it is what somebody wrote."""
    change, words = MADE_WRONG[which]
    path = tmp_path / "wrong.nc"
    store.save(change(results["image-cgro"].assign_attrs(experiment="image-cgro")), path)
    assert main(["figure", "image-cgro", "--result", str(path), "--output", str(tmp_path)]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if not line.endswith(f"drawn from {path}")]
    assert line.startswith(f"cgro: error: result file {path}: figure image-cgro ")
    assert words in line
    assert files_below(tmp_path) == [path]


def test_csv_holds_the_numbers_of_the_result(results: dict[str, xr.Dataset]) -> None:
    result = results["training-objective"]
    header, rows = FIGURES["training-objective"].numbers(result)
    column = header.index("signal_margin_mean")
    expected = result["signal_margin"].isel(step=-1).mean("seed").values
    np.testing.assert_allclose([row[column] for row in rows], expected)


def test_axes_are_laid_out_as_a_first_drawing_would() -> None:
    made: list[Drawing] = []

    def draw(_result: xr.Dataset) -> Drawing:
        fig, axes = figure(3, 2, ncols=2)
        axes[0].set_ylabel("a label\nof two lines")
        axes[1].set_title("a title")
        made.append(fig)
        return fig

    picture(draw, xr.Dataset())
    with house_style():
        expected = draw(xr.Dataset())
        expected.set_dpi(RC["savefig.dpi"])
        expected.draw_without_rendering()
    places = [[ax.get_position().bounds for ax in fig.axes] for fig in made]
    np.testing.assert_allclose(places[0], places[1], rtol=0, atol=1e-12)


def test_text_in_files_is_text() -> None:
    assert RC["pdf.fonttype"] == 42


def test_a_users_settings_do_not_reach_the_files(reproduced: Path, tmp_path: Path) -> None:
    """Those of a matplotlibrc and of a style, and a backend that is not there, change no byte."""
    (tmp_path / "odd" / "stylelib").mkdir(parents=True)
    odd = "text.usetex: True\naxes.grid: True\nfont.size: 20\nsavefig.bbox: tight\npdf.compression: 0\n"
    (tmp_path / "odd" / "matplotlibrc").write_text(odd)
    (tmp_path / "odd" / "stylelib" / "default.mplstyle").write_text(odd)
    users = {"MPLCONFIGDIR": str(tmp_path / "odd"), "MPLBACKEND": "no-such-backend", "PYTHONHASHSEED": "1"}
    (result,) = (reproduced / "image-phases").glob("*.nc")
    drawn = tmp_path / "drawn"
    command = [sys.executable, "-m", "cgro", "figure", "image-phases", "--result", result, "--output", drawn]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=os.environ | users | {"PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0, done.stderr
    for kind in ("pdf", "png", "csv"):
        files = [folder / f"image-phases.{kind}" for folder in (reproduced / "figures", drawn)]
        assert files[0].read_bytes() == files[1].read_bytes(), kind
