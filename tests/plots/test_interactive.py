"""The map to explore: what it shows under the pointer, after a click and by keyboard, in a page without a network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from cgro.plots.interactive import Map, Scale
from cgro.plots.interactive import Path as Line
from cgro.plots.words import without_tex
from cgro.runs.registry import find

ERRORS = np.array([[0.0, 0.125, 0.5], [0.0, np.nan, 0.25]])
MAP = Map(
    "A </script> map",
    Scale("radius ρ", [0.5, 0.75, 1.0], log=False),
    Scale("noise", [1.0, 10.0], log=True),
    {"robust test error": ERRORS, "clean test error": ERRORS / 5},
    np.array([0.8, np.nan]),
    "predicted",
    [0, 1, 10, 100],
    [
        Line("signal", "#009e73", np.arange(24.0).reshape(2, 3, 4), 0),
        Line("robust test", "#d55e00", np.full((2, 3, 4), 0.5), 1),
    ],
    (0, 1),
)


def test_the_page_holds_numbers_and_refers_to_nothing() -> None:
    page = MAP.html("a-map")
    assert '"robust test error":[[0.0,0.125,0.5],[0.0,null,0.25]]' in page
    assert '"curve":[0.8,null]' in page
    assert "NaN" not in page
    assert not re.search(r'(src|href)="', page)
    assert page.count("</script>") == 2, "text ends a script"


def test_a_result_without_trajectories_has_no_map(results: dict[str, xr.Dataset]) -> None:
    figure = find("figure", "phase-diagram")
    whole = results["phase-diagram"]
    shown = figure.interactive(whole)
    np.testing.assert_allclose(
        shown.panels["robust test error"], whole["robust_test_error"].mean("seed").values, rtol=1e-12
    )
    assert shown.paths[0].values.shape == (whole.sizes["y"], whole.sizes["x"], whole.sizes["step"])
    # A trajectory ends where the map says.
    (last,) = (p.values[:, :, -1] for p in shown.paths if p.label == "robust test")
    np.testing.assert_allclose(last, shown.panels["robust test error"], rtol=1e-6)
    assert figure.interactive(whole.drop_vars("signal_margin_path")) is None


def test_labels_are_plain() -> None:
    assert without_tex(r"perturbation ratio $\rho=\delta/\alpha$") == "perturbation ratio ρ=δ/α"


@pytest.fixture(scope="module")
def page(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The map in a browser, as wide as a phone."""
    path: Path = tmp_path_factory.mktemp("map") / "map.html"
    path.write_text(f"<!doctype html><meta charset=utf-8><title>m</title>{MAP.html('a-map')}{MAP.html('b-map')}")
    context = browser.new_context(viewport={"width": 400, "height": 800}, offline=True)
    shown = context.new_page()
    shown.errors = []
    shown.on("console", lambda message: shown.errors.append(message.text))
    shown.on("pageerror", lambda error: shown.errors.append(str(error)))
    shown.goto(path.as_uri())
    yield shown
    assert shown.errors == []
    context.close()


def test_pointing_and_clicking_tell_a_cell(page: Any) -> None:
    own = page.locator("#a-map")
    readout, cells = own.locator(".readout"), own.locator(".cells rect")
    assert cells.count() == 6
    text = "radius ρ 0.75, noise 1: robust test error 0.125, clean test error 0.025; predicted 0.8."
    assert readout.text_content() == text
    before = own.locator(".paths").inner_html()
    cells.nth(5).hover()
    assert readout.text_content() == (
        "radius ρ 1, noise 10: robust test error 0.25, clean test error 0.05; no predicted boundary in this row."
    )
    assert own.locator(".paths").inner_html() == before, "pointing changes the trajectory"
    own.locator(".paths").hover()
    assert readout.text_content() == text, "the chosen cell is forgotten"
    cells.nth(5).click()
    assert own.locator(".paths").inner_html() != before
    assert "noise 10" in readout.text_content()
    cells.nth(4).hover()
    assert "robust test error not trained" in readout.text_content()
    assert page.locator("#b-map .readout").text_content() == text, "maps of a page do not share their choice"


def test_arrow_keys_move_the_choice_and_stop_at_the_border(page: Any) -> None:
    own = page.locator("#b-map")
    own.locator(".map").focus()
    for key in ("ArrowLeft", "ArrowLeft", "ArrowUp"):
        page.keyboard.press(key)
    assert own.locator(".readout").text_content().startswith("radius ρ 0.5, noise 10:")


def test_another_error_recolours_the_map_and_nothing_scrolls_sideways(page: Any) -> None:
    def fills() -> list[str]:
        return [each.get_attribute("fill") for each in page.locator("#a-map .cells rect").all()]

    before = fills()
    assert len(set(before)) == 5  # 0 twice
    assert before[4] == "#e0e0e0"
    page.get_by_label("clean test error").first.check()
    assert fills() != before
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
