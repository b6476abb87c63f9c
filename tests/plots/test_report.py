"""The report and the house style: one self-contained page, colours that stay apart, missing values left out."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure as Drawing
from tools import ROOT, TOY_VERDICT
from toy_configs import CONFIGS

from cgro.claims import checking
from cgro.claims.claim import Claim
from cgro.cli import reproduce
from cgro.cli.main import main
from cgro.dynamics.reference import AMENDMENTS, comparisons
from cgro.plots.figure import Figure, Table
from cgro.plots.report import Check, Section, Top, write_report
from cgro.plots.style import COLORS, band, figure
from cgro.runs import workers
from cgro.runs.registry import find_all
from cgro.runs.store import load
from cgro.simulations import dimension

FIGURES: dict[str, Figure] = find_all("figure")


def bar(result: xr.Dataset) -> Drawing:
    fig, ax = figure(2, 2)
    ax.bar([0], [float(result["x"])])
    return fig


def test_report_is_one_self_contained_page(results: dict[str, xr.Dataset], reproduced: Path, tmp_path: Path) -> None:
    sections = [
        Section.of(name, each, results[each.experiment], {"png": reproduced / "figures" / f"{name}.png"})
        for name, each in FIGURES.items()
    ]
    sections[0] = replace(
        sections[0], table=Table("A table.", ("setting", "verdict"), [("base", "differs")], ["a note"])
    )
    claim = Claim("a <b> claim", "a paper, 5.9", "[D]", "exact", lambda: None, {}, draw=bar)
    checks = [
        Check.of(TOY_VERDICT, claim, xr.Dataset({"x": 1.0})),
        Check.of(replace(TOY_VERDICT, area="another area", outcome="fails"), claim, xr.Dataset()),
    ]
    top = Top([("The point", "It holds.", "attack")], [("1.00", "a number")])
    page = write_report(
        tmp_path / "report.html",
        sections,
        results,
        top,
        checks,
    ).read_text()
    assert_self_contained(page, len(FIGURES) + 1)
    assert page.index(">An area<") < page.index(">Another area<")
    assert '<td class="no">fails</td>' in page
    for name, each in FIGURES.items():
        assert f'id="{name}"' in page
        assert f"cgro figure {name}" in page
        assert f"cgro simulate {each.experiment}" in page
    assert "a &lt;b&gt; claim" in page
    assert '<td class="no">differs</td>' in page
    assert "a note" in page
    assert '<b>The point.</b> It holds. <a href="#attack">' in page
    assert str(results["attack"].attrs["git_commit"])[:12] in page


def assert_self_contained(page: str, pictures: int) -> None:
    assert not re.search(r"(src|href)=\"(?!data:|#)", page), "the page refers to something outside itself"
    assert page.count("data:image/png;base64,") == pictures


def test_the_page_opens_with_what_the_results_say(results: dict[str, xr.Dataset]) -> None:
    top = Top.of(FIGURES, results)
    assert [heading for heading, *_ in top.messages] == [
        "The phenomenon",
        "Three stages",
        "Where the transition lies",
        "What is proved",
    ]
    assert all(text.endswith(".") and "nan" not in text for _, text, _ in top.messages)
    assert Top.of({}, {}).messages == []
    paper = Top.of(
        {"phase-transition": FIGURES["phase-transition"]},
        {"phase-transition": load(ROOT / "results" / "published" / "phase-transition-quick.nc")},
    )
    ((_, text, _),) = paper.messages
    assert re.search(r"learned until step \d+ \(predicted \d+\)", text)
    assert text.endswith("the robust test error 0.50; a coin toss would have 0.5.")


def test_reproduce_writes_everything(reproduced: Path, results: dict[str, xr.Dataset]) -> None:
    page = (reproduced / "report.html").read_text()
    assert_self_contained(page, len(FIGURES))
    for row in comparisons(results["reference-points"]):
        assert row.point in page
    assert AMENDMENTS[0][:30] in page
    drawn = {path.name for path in (reproduced / "figures").iterdir()}
    assert drawn == {f"{name}.{kind}" for name in FIGURES for kind in ("pdf", "png", "csv")}
    assert TOY_VERDICT.statement.replace("<b>", "&lt;b&gt;") in page


def test_reproduce_fails_with_a_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = CONFIGS["dimension"]
    monkeypatch.setattr(dimension.Config, "quick", classmethod(lambda _cls: toy))
    monkeypatch.setattr(workers, "processes", ThreadPoolExecutor)
    monkeypatch.setattr(
        reproduce, "find_all", lambda kind: {"dimension": find_all(kind)["dimension"]} if kind == "experiment" else {}
    )
    for outcome, code in (("fails", 1), ("undecided", 1), ("holds", 0)):
        found = [(replace(TOY_VERDICT, outcome=outcome), xr.Dataset())]
        monkeypatch.setattr(checking, "run_checks", lambda *_, found=found, **__: found)
        assert main(["reproduce", "--results", str(tmp_path), "--quiet", "--jobs", "1"]) == code
        assert f">{outcome}</td>" in (tmp_path / "report.html").read_text()


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
