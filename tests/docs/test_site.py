"""The documentation site: everything has its page, links lead somewhere, and a browser shows it without a network."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from site_links import Page, pages_below, problems, styles_from_elsewhere
from tools import ROOT, made_once
from website import constructions, documents, notebooks, options, published, text
from website.build import render
from website.commands import help_of
from website.ledger import rows
from website.sidebar import grouped

import cgro
from cgro.cli.main import COMMANDS
from cgro.memorizers.constructions import CONSTRUCTIONS
from cgro.runs import registry

KINDS = (
    *("index", "theory", "papers", "gallery", "overview", "changelog", "howto/gpu", "notebooks/own_points"),
    *("experiments/index", "experiments/certified-transition", "experiments/bat", "claims/index", "claims/dynamics"),
    *("figures/index", "figures/phase-diagram", "constructions/index", "constructions/cgro_classifier"),
    *("commands/simulate", "api/train", "search"),
)
"""Pages of every kind, among them the longest."""
WIDE = """() => [...document.querySelectorAll('article *')]
    .filter(part => part.offsetParent && getComputedStyle(part).display != 'inline')
    .filter(part => !part.closest('.table-wrapper, .highlight, pre'))
    .filter(part => part.getBoundingClientRect().right > innerWidth + 1)
    .map(part => part.outerHTML.slice(0, 80))"""
"""What sticks out of the page; tables and code scroll inside their boxes. The theme hides it from the page's width."""
LARGEST = 5_000_000
"""Bytes of a page with all that it loads."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, made by one worker for all as `make docs` makes it."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "site"
    with made_once(folder) as missing:
        if missing:
            command = [sys.executable, "-m", "website", str(folder)]
            environment = {**os.environ, "PYTHONPATH": str(ROOT / "docs")}
            done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, timeout=600)
            assert done.returncode == 0, done.stderr
            assert done.stderr == ""
            assert done.stdout == f"Open {(folder / 'html' / 'index.html').as_uri()}\n"
    return folder / "html"


@pytest.fixture(scope="module")
def pages(built: Path) -> dict[Path, Page]:
    """Its pages, parsed."""
    return pages_below(built)


def test_make_docs_builds_the_site() -> None:
    assert "\ndocs: $(STAMP)\n\tPYTHONPATH=docs $(BIN)/python -m website\n" in (ROOT / "Makefile").read_text()


def test_everything_has_its_page(built: Path) -> None:
    wanted = [f"experiments/{name}" for name in registry.titles("experiment")]
    wanted += [f"figures/{name}" for name in registry.titles("figure")]
    wanted += [f"constructions/{name}" for name in CONSTRUCTIONS]
    wanted += [f"commands/{name}" for name in COMMANDS]
    wanted += [f"api/{name}" for name in cgro.__all__]
    wanted += [page.removesuffix(".md") for page in documents.sources().values()]
    assert [page for page in wanted if not (built / f"{page}.html").is_file()] == []


def test_every_claim_has_a_page_of_its_own_with_its_statement(built: Path) -> None:
    quotes = [re.search(r"<blockquote>(.*?)</blockquote>", path.read_text(), re.DOTALL) for path in claim_pages(built)]
    shown = {re.sub(r"\W", "", re.sub(r"<[^>]*>|&\w+;", "", quote[1])) for quote in quotes if quote}
    wanted = {re.sub(r"\W", "", re.sub(r"[<>&]", "", row.claim)) for row in rows()}
    assert shown == wanted
    assert len(wanted) == len(rows())


def claim_pages(built: Path) -> list[Path]:
    return sorted((built / "claims").glob("*.html"))


def test_every_check_is_described_once(built: Path) -> None:
    shown = "".join(re.sub(r"<[^>]*>", "", path.read_text()) for path in claim_pages(built))
    assert sorted(re.findall(r"cgro check ([\w-]+) --preset deep", shown)) == sorted(registry.titles("check"))


def test_every_published_picture_is_in_the_gallery(built: Path, pages: dict[Path, Page]) -> None:
    shown = {Path(source).name for source in pages[built / "figures" / "index.html"].images}
    assert {path.name for path in (published.FOLDER / "figures").glob("*.png")} <= shown


def test_every_link_leads_somewhere_and_nothing_is_loaded_from_elsewhere(built: Path, pages: dict[Path, Page]) -> None:
    assert problems(pages) == []
    assert styles_from_elsewhere(built) == []


def test_no_page_is_large(built: Path, pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        loaded = {
            (path.parent / link.partition("?")[0]).resolve() for link in page.loads if not link.startswith("data:")
        }
        assert path.stat().st_size + sum(each.stat().st_size for each in loaded) <= LARGEST, path
    assert (built / "searchindex.js").stat().st_size <= LARGEST


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ('<a href="b.html">', None),
        ('<a href="b.html#there">', None),
        ('<a href="https://arxiv.org/abs/2306.01271">', None),
        ('<a href="c.html">', "a.html: c.html: no such page"),
        ('<a href="b.html#nowhere">', "a.html: b.html#nowhere: no such anchor"),
        ('<a href="#nowhere">', "a.html: #nowhere: no such anchor"),
        ('<a href="https://example.org">', "a.html: https://example.org: unknown host"),
        ('<script src="https://example.org/a.js">', "a.html: loads https://example.org/a.js from elsewhere"),
        ('<link rel="stylesheet" href="none.css">', "a.html: loads none.css, which does not exist"),
        ('<img src="b.html">', "a.html: image b.html has no alternative text"),
    ],
)
def test_the_guard_sees_a_broken_link(source: str, wrong: str | None, tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(source)
    (tmp_path / "b.html").write_text('<p id="there">')
    assert problems(pages_below(tmp_path)) == ([wrong] if wrong else [])


def test_the_guard_sees_a_style_from_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "a.css").write_text("@import 'https://example.org/a.css'; b { background: url(local.png) }")
    assert styles_from_elsewhere(tmp_path) == ["https://example.org/a.css"]


def test_a_warning_fails_the_build(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "index.md").write_text("# Title\n\n[broken](/nowhere.md)\n")
    assert render(source, tmp_path) != 0
    assert "nowhere.md" in capfd.readouterr().err


def test_a_page_without_a_place_in_the_sidebar_is_refused() -> None:
    with pytest.raises(ValueError, match="no place in the sidebar for elsewhere/page"):
        grouped(["theory", "elsewhere/page"])


@pytest.mark.parametrize("name", ["phase-diagram", "bat", "certified-transition"])
def test_the_options_of_an_experiment_are_those_of_the_command(name: str) -> None:
    experiment = registry.find("experiment", name)
    shown = {option.flag for option in options.options((experiment.preset("quick"),))}
    line = re.compile(r"^\W*?(--[\w.-]+)", re.MULTILINE)
    assert shown == set(line.findall(help_of("simulate", name))) - set(line.findall(help_of("simulate")))


@pytest.mark.parametrize("name", [name for name in CONSTRUCTIONS if name != "cgro_classifier"])
def test_the_example_of_a_construction_works(name: str) -> None:
    rng = np.random.default_rng(0)
    points, labels = rng.random((20, 4)), np.repeat([-1, 1], 10)
    norm = constructions.norms_of(name)[0]
    order = float(norm)
    least = min(np.linalg.norm(a - b, order) for a in points[:10] for b in points[10:])
    memorizer = cgro.memorize(points, labels, norm, constructions.ratio_of(name) * least / 2, construction=name)
    assert memorizer.network.size == memorizer.claimed


def test_help_texts_are_plain() -> None:
    assert all(ord(character) < 127 or character.isprintable() or character == "\n" for character in help_of("check"))


def test_docstrings_become_markdown() -> None:
    source = """A *sum* of a_i with |x| < 1.

        f(x) = x_1

    Words that
    go on, with
      a. one, and
      b. two.

    Args:
        name: what
            it is.

    Raises: UserError.
    """
    assert text.docstring(source).split("\n\n") == [
        r"A \*sum\* of a\_i with \|x\| \< 1.",
        "```text\nf(x) = x_1\n```",
        "Words that go on, with",
        "- a. one, and\n- b. two.",
        "Arguments:",
        "- `name`: what it is.",
        "Raises: UserError.",
    ]


def test_titles_are_short_and_without_tags() -> None:
    assert text.shortened("Short [D, M]") == "Short"
    long = text.shortened("A claim of many words, which goes on and on until nobody reads it to its end any more [D]")
    assert long == "A claim of many words, which goes on and on until nobody reads it to its end …"


def test_links_between_files_become_links_between_pages() -> None:
    links = documents.Links({"docs/a.md": "a.md", "CLAIMS.md": "claims/index.md", "figures/b.py": "figures/b.md"})
    turned = links.turned(
        "[x](a.md#b) [y](../CLAIMS.md) [v](../figures/b.py) [z](../cgro/__init__.py) [`w.py`](../cgro/w.py)\n"
        "[o](https://arxiv.org) ![p](../results/published/figures/bat-digits.png)\n```\n[c](a.md)\n```\n",
        Path("docs/b.md"),
    )
    assert turned == (
        "[x](/a.md#b) [y](/claims/index.md) [v](/figures/b.md) z (`cgro/__init__.py`) `w.py`\n"
        "[o](https://arxiv.org) ![p](/images/bat-digits.png)\n```\n[c](a.md)\n```\n"
    )
    assert links.files == {"images/bat-digits.png": ROOT / "results/published/figures/bat-digits.png"}


def test_a_notebook_is_shown_with_its_stored_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs: list[dict[str, Any]] = [
        {"output_type": "stream", "text": ["0\n"]},
        {"output_type": "stream", "text": ["1\n"]},
        {"output_type": "execute_result", "data": {"text/plain": ["2"], "text/html": ["<b>2</b>"]}},
        {"output_type": "display_data", "data": {"image/png": "aGk=", "text/plain": ["<Figure>"]}},
    ]
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "[x](a.md)"]},
        {"cell_type": "code", "source": ["print(1)\n", "2"], "outputs": outputs},
    ]
    monkeypatch.setattr(notebooks, "ROOT", tmp_path)
    monkeypatch.setattr(documents, "ROOT", tmp_path)
    (tmp_path / "n.ipynb").write_text(json.dumps({"cells": cells}))
    links = documents.Links({"n.ipynb": "n.md", "a.md": "a.md"})
    made = notebooks.pages(links, tmp_path / "drawn")["n.md"]
    assert made.split("\n\n")[:4] == [
        "# Title\n[x](/a.md)",
        "```python\nprint(1)\n2\n```",
        "```text\n0\n1\n```",
        "```text\n2\n```",
    ]
    assert ":alt: Output under the heading Title" in made
    assert (links.files["images/n-1-2.png"]).read_bytes() == b"hi"


def opened(browser: Any, built: Path, page: str, query: str = "") -> tuple[Any, list[str]]:
    """A page on a telephone without a network, and what it complains about."""
    context = browser.new_context(viewport={"width": 400, "height": 800})
    context.set_offline(True)
    tab, complaints = context.new_page(), []
    tab.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("requestfailed", lambda request: complaints.append(f"{request.url} is not loaded"))
    tab.goto((built / f"{page}.html").as_uri() + query)
    return tab, complaints


def test_a_browser_shows_every_kind_of_page(browser: Any, built: Path) -> None:
    for page in KINDS:
        tab, complaints = opened(browser, built, page)
        tab.evaluate("document.querySelectorAll('img').forEach(image => image.loading = 'eager')")
        tab.wait_for_function("[...document.images].every(image => image.complete)")
        assert (
            tab.evaluate("[...document.images].filter(image => image.naturalWidth == 0).map(image => image.src)") == []
        )
        assert tab.evaluate("document.documentElement.scrollWidth") <= 400, page
        assert tab.evaluate(WIDE) == [], page
        assert complaints == [], page
        tab.context.close()


def test_the_search_finds_the_critical_ratio(browser: Any, built: Path) -> None:
    tab, complaints = opened(browser, built, "search", "?q=critical+ratio")
    tab.wait_for_selector("#search-results li a")
    found = tab.eval_on_selector_all("#search-results li a", "links => links.map(link => link.getAttribute('href'))")
    assert "theory.html#the-critical-ratio" in found
    assert any(link.startswith("claims/attacked-training-points-end-up-fitted") for link in found)
    assert complaints == []


def test_the_guard_sees_faults_in_a_browser(browser: Any, tmp_path: Path) -> None:
    source = '<article><div style="width: 900px">wide</div></article><script>nothing()</script><img src="no.png">'
    (tmp_path / "a.html").write_text(source)
    tab, complaints = opened(browser, tmp_path, "a")
    tab.wait_for_function("[...document.images].every(image => image.complete)")
    assert tab.evaluate("document.documentElement.scrollWidth") > 400
    assert len(tab.evaluate(WIDE)) == 1
    assert any("nothing is not defined" in each for each in complaints)
    assert any("no.png" in each for each in complaints)
    assert tab.evaluate("document.images[0].naturalWidth") == 0
