"""The page of the papers' figures and tables is what its generator writes from the published results."""

from __future__ import annotations

import re
import runpy
from typing import Any

import pytest
from tools import ROOT

PAGE = ROOT / "docs" / "papers.md"


@pytest.fixture(scope="module")
def written() -> dict[str, Any]:
    """What `python docs/papers` defines."""
    return runpy.run_path(str(ROOT / "docs" / "papers"))


def test_the_page_is_what_the_results_say(written: dict[str, Any]) -> None:
    """Otherwise run `python docs/papers` and look at what changed."""
    assert PAGE.read_text().splitlines() == written["page"]().splitlines()


def test_every_row_says_what_was_measured_or_why_not(written: dict[str, Any]) -> None:
    entries = [entry for paper in written["PAPERS"] for entry in paper.entries]
    assert len(entries) > 50
    for entry in entries:
        if entry.stem:
            assert entry.difference, entry
        else:
            assert re.match(r"Not (reproduced|compared|built|drawn)|The statement|Orders", entry.difference), entry


def test_no_recalled_number_is_published(written: dict[str, Any]) -> None:
    """[R] marks statements only."""
    for paper in written["PAPERS"]:
        for entry in paper.entries:
            recalled = entry.published.rpartition("[S]")[2]
            assert "[R]" not in recalled or not re.search(r"\d", recalled), entry
            assert entry.published == "-" or re.search(r"\[(S|N|R|M|read)", entry.published), entry
