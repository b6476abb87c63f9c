"""Figures and report: drawn from results only, byte-stable, readable, self-contained."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure as Drawing
from matplotlib.image import imread
from tools import ROOT, files_below

from cgro.base.errors import UserError
from cgro.claims.claim import Claim, Finding, Verdict
from cgro.cli import commands
from cgro.cli.main import main
from cgro.dynamics.axes import Axis
from cgro.dynamics.reference import AMENDMENTS, comparisons
from cgro.dynamics.setting import PatchSetting
from cgro.plots.figure import Figure, Table
from cgro.plots.output import draw_figure
from cgro.plots.report import Check, Section, write_report
from cgro.plots.style import COLORS, RC, band, figure
from cgro.runs import store
from cgro.runs.registry import find, find_all
from cgro.simulations import (
    activation,
    attack,
    certified_cgro,
    cgro_construction,
    coverage,
    dimension,
    flatness,
    image_cgro,
    image_stages,
    memorization_capacity,
    memorizer_certificates,
    parameter_counts,
    phase_diagram,
    phase_transition,
    reference_points,
    robust_lower_bound,
    robust_overfitting,
    training_objective,
    width_sweep,
)
from cgro.training.config import TrainingConfig

SMALL = PatchSetting(samples=6, patches=2, dim=30, filters=4, steps=300, learning_rate=0.3)
TINY = TrainingConfig(samples=40, held_out=20, evaluation_images=20, epochs=2, width=2)
CONFIGS = {
    "phase-transition": phase_transition.Config(setting=SMALL, seeds=2, records=20, test_samples=32),
    "phase-diagram": phase_diagram.Config(
        setting=SMALL, x=Axis("radius_ratio", 0.5, 1.0, 3), y=Axis("noise_norm", 0.5, 2, 3, log=True), seeds=2
    ),
    "training-objective": training_objective.Config(setting=SMALL, weights=(0.0, 0.5, 1.0), seeds=2, records=3),
    "activation": activation.Config(setting=SMALL, odd=(2.0, 3.0), relu=(3.0,), seeds=2, records=5),
    "dimension": dimension.Config(setting=SMALL, dims=(30, 1000), seeds=2, records=3),
    "attack": attack.Config(setting=replace(SMALL, steps=20, sampling="vectors"), seeds=1, records=2, test_samples=10),
    "reference-points": reference_points.Config(seeds=2, points=("rho=1.8", "d=50"), records=2, test_samples=64),
    "image-cgro": image_cgro.Config(replace(TINY, samples=20, held_out=0)),
    "robust-overfitting": robust_overfitting.Config(TINY),
    "width-sweep": width_sweep.Config(TINY, widths=(1, 3)),
    "flatness": flatness.Config(TINY, at_epochs=(1, 2), ratios=(0.5, 1.0), search_steps=2),
    "image-stages": image_stages.Config(replace(TINY, evaluation_images=50, epochs=4), points=5),
    "parameter-counts": parameter_counts.Config(
        samples=(6, 10), dims=(2, 3), ratios=(0.3, 0.6), fixed_samples=8, fixed_dim=4, seeds=2
    ),
    "cgro-construction": cgro_construction.Config(
        dims=(3, 5), samples=10, test_samples=20, attack_points=3, verified=5, seeds=2
    ),
    "coverage": coverage.Config(
        samples=(6, 12), dims=(2, 3), radii=(0.05, 0.1), fixed_samples=8, test_samples=10, attack_points=3, seeds=2
    ),
    "robust-lower-bound": robust_lower_bound.Config(
        cells_per_side=(2, 3), largest_dim=4, largest_grid=10, line_cells=3, seeds=2, square_restarts=4
    ),
    "memorization-capacity": memorization_capacity.Config(
        samples=(4, 6),
        dims=(2, 3),
        fixed_samples=4,
        fixed_dim=2,
        largest_width=7,
        restarts=1,
        steps=100,
        seeds=2,
        descents=1,
        labels=("random", "linear"),
    ),
    "memorizer-certificates": memorizer_certificates.Config(
        samples=(4, 6), dims=(2,), ratios=(0.5,), general_samples=4, broken=2, nodes=1000
    ),
    "certified-cgro": certified_cgro.Config(
        samples=40, test_images=20, attacked_images=10, verified_images=3, width=2, epochs=2
    ),
}
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


@pytest.fixture(scope="module")
def results() -> dict[str, xr.Dataset]:
    """A toy result of every experiment."""
    return {
        name: find("experiment", name).run(config).assign_attrs(store.provenance(config, 1.0))
        for name, config in CONFIGS.items()
    }


def test_every_experiment_has_a_figure() -> None:
    assert {m.experiment for m in FIGURES.values()} == set(find_all("experiment")) == set(CONFIGS)


@pytest.mark.parametrize("name", sorted(FIGURES))
def test_figure_is_drawn_whole_and_byte_stable(name: str, results: dict[str, xr.Dataset], tmp_path: Path) -> None:
    module = FIGURES[name]
    result = results[module.experiment]
    before = result.copy(deep=True)
    first = draw_figure(module, name, result, tmp_path / "a")
    with mpl.rc_context(ODD):
        second = draw_figure(module, name, needed(module, result), tmp_path / "b")
    for kind in ("pdf", "png", "csv"):
        assert first[kind].read_bytes() == second[kind].read_bytes(), f"{kind} is not byte-stable"
    xr.testing.assert_identical(result, before)
    image = imread(first["png"])
    assert image.shape[1] >= 1200
    assert len(np.unique(image[..., :3].reshape(-1, 3), axis=0)) > 20
    rows = list(csv.reader(first["csv"].open()))
    assert len(rows) > 1
    assert {len(row) for row in rows} == {len(rows[0])}
    assert not re.search(r"\bnan\b", module.caption(result))


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
    "words": (lambda d: d.assign(robust_test_accuracy=d.robust_test_accuracy.astype(str)), "cannot be drawn of it ("),
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


def test_drawing_leaves_global_style_alone(results: dict[str, xr.Dataset], tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    draw_figure(FIGURES["dimension"], "dimension", results["dimension"], tmp_path)
    assert dict(mpl.rcParams) == before
    assert RC["pdf.fonttype"] == 42


def test_a_users_settings_do_not_reach_the_files(tmp_path: Path) -> None:
    """Those of a matplotlibrc and of a style, and a backend that is not there, change no byte."""
    (tmp_path / "odd" / "stylelib").mkdir(parents=True)
    odd = "text.usetex: True\naxes.grid: True\nfont.size: 20\nsavefig.bbox: tight\npdf.compression: 0\n"
    (tmp_path / "odd" / "matplotlibrc").write_text(odd)
    (tmp_path / "odd" / "stylelib" / "default.mplstyle").write_text(odd)
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MPL")}
    plain["PYTHONPATH"] = str(ROOT)
    users = {"MPLCONFIGDIR": str(tmp_path / "odd"), "MPLBACKEND": "no-such-backend", "PYTHONHASHSEED": "1"}
    for folder, more in (("a", {}), ("b", users)):
        command = [sys.executable, "-m", "cgro", "figure", "coverage", "--results", tmp_path / "none"]
        done = subprocess.run(
            [*command, "--output", tmp_path / folder], capture_output=True, text=True, cwd=tmp_path, env=plain | more
        )
        assert done.returncode == 0, done.stderr
    for kind in ("pdf", "png", "csv"):
        files = [tmp_path / folder / f"coverage.{kind}" for folder in "ab"]
        assert files[0].read_bytes() == files[1].read_bytes(), kind


def test_colors_are_distinct_also_in_grey() -> None:
    def luminance(color: str) -> float:
        r, g, b = mpl.colors.to_rgb(color)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    assert abs(luminance(COLORS["clean"]) - luminance(COLORS["robust"])) > 0.05
    assert len(set(COLORS.values())) == len(COLORS)


def test_band_leaves_out_missing_values() -> None:
    _, ax = figure()
    band(ax, np.arange(3), np.array([[1.0, np.nan, 3.0], [2.0, np.nan, np.nan]]), "black")
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [1.5, 3.0])


def _verdict(**changes: Any) -> Verdict:
    claim = Claim("a <b> claim", "a paper, 5.9", "[D]", "exact", lambda: None, {})
    found = Finding(True, 1.5, "here", "1", "1")
    return replace(Verdict.of("square-error", claim, {}, found, 1.0), **({"area": "an area"} | changes))


def _report(results: dict[str, xr.Dataset], folder: Path, figures: dict[str, Figure]) -> str:
    sections = []
    for name, module in figures.items():
        result = results[module.experiment]
        sections.append(Section.of(name, module, result, draw_figure(module, name, result, folder)))
    claim = Claim("a <b> claim", "a paper, 5.9", "[D]", "exact", lambda: None, {}, draw=_bar)
    checks = [
        Check.of(_verdict(), claim, xr.Dataset({"x": 1.0})),
        Check.of(_verdict(area="another area", outcome="fails"), claim, xr.Dataset()),
    ]
    table = Table("A table.", ("setting", "verdict"), [("base", "differs")], ["a note"])
    sections[0] = replace(sections[0], table=table)
    return write_report(folder / "report.html", sections, results, [("1.00", "a number")], checks).read_text()


def _bar(result: xr.Dataset) -> Drawing:
    fig, ax = figure(2, 2)
    ax.bar([0], [float(result["x"])])
    return fig


def test_report_is_one_self_contained_page(results: dict[str, xr.Dataset], tmp_path: Path) -> None:
    page = _report(results, tmp_path, FIGURES)
    assert not re.search(r"(src|href)=\"(?!data:|#)", page), "the page refers to something outside itself"
    assert page.count("data:image/png;base64,") == len(FIGURES) + 1
    assert page.index(">An area<") < page.index(">Another area<")
    assert '<td class="no">fails</td>' in page
    for name, module in FIGURES.items():
        assert f'id="{name}"' in page
        assert f"cgro figure {name}" in page
        assert f"cgro simulate {module.experiment}" in page
    assert "a &lt;b&gt; claim" in page
    assert '<td class="no">differs</td>' in page
    assert "a note" in page
    assert str(results["attack"].attrs["git_commit"])[:12] in page


def test_reproduce_writes_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, config in CONFIGS.items():
        toy = classmethod(lambda cls, config=config: config)
        monkeypatch.setattr(find("experiment", name).Config, "quick", toy)
    monkeypatch.setattr(commands.checking, "run_checks", lambda *_, **__: [(_verdict(), xr.Dataset())])
    assert main(["reproduce", "--results", str(tmp_path), "--quiet"]) == 0
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/png;base64,") == len(FIGURES)
    for row in comparisons(store.load(next((tmp_path / "reference-points").glob("*.nc")))):
        assert row.point in page
    assert AMENDMENTS[0][:30] in page
    assert {path.suffix for path in (tmp_path / "figures").iterdir()} == {".pdf", ".png", ".csv"}
    failed = _verdict(outcome="fails")
    monkeypatch.setattr(commands.checking, "run_checks", lambda *_, **__: [(failed, xr.Dataset())])
    assert main(["reproduce", "--results", str(tmp_path), "--quiet"]) == 1
