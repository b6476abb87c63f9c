"""The sidebar: headings with pages, and below the open page's section its own pages only.

The theme would list all pages on every page; with hundreds of them that is slow to build and hard to read.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from website.text import fenced

HEADINGS = (
    ("", ("theory", "papers", "gallery")),
    ("How to", ("howto/index", "howto/*")),
    ("Notebooks", ("notebooks/*",)),
    ("Guides", ("overview", "python", "training", "results", "cluster", "speed", "*")),
    (
        "Reference",
        ("experiments/index", "figures/index", "claims/index", "constructions/index", "commands/index", "api/index"),
    ),
    ("Results in detail", ("construction_s", "open_gap")),
    ("Project", ("contributing", "changelog")),
)
"""Headings of the sidebar, and the pages below them; a star stands for all other pages of that folder."""
SHORT = {
    "constructions/index": "Robust memorizers",
    "construction_s": "Construction S",
    "open_gap": "Its open gap",
    "papers": "Figures of the papers",
}
"""Titles that are too long for the sidebar."""
_SECTIONS = {page.partition("/")[0] for page in dict(HEADINGS)["Reference"]}


def grouped(pages: Iterable[str]) -> list[tuple[str, list[str]]]:
    """The pages below each heading. Raises: ValueError for a page that has no place."""
    left = {page for page in pages if page.endswith("/index") or page.partition("/")[0] not in _SECTIONS} - {"index"}
    named = {page for _, group in HEADINGS for page in group}
    found = []
    for heading, group in HEADINGS:
        chosen: list[str] = []
        for page in group:
            others = sorted(
                each for each in left - named if each.rpartition("/")[0] == page.removesuffix("*").rstrip("/")
            )
            chosen += others if page.endswith("*") else [page] if page in left else []
        left -= set(chosen)
        found.append((heading, chosen))
    if left:
        raise ValueError(f"no place in the sidebar for {', '.join(sorted(left))}; add it to HEADINGS")
    return [(heading, chosen) for heading, chosen in found if chosen]


def contents(pages: Iterable[str]) -> str:
    """The same as hidden tables of contents, for the home page."""
    return "\n\n".join(
        fenced(
            f":hidden:\n:titlesonly:\n{f':caption: {heading}' if heading else ''}\n\n" + "\n".join(chosen), "{toctree}"
        )
        for heading, chosen in grouped(pages)
    )


def tree(env: BuildEnvironment, page: str, link: Callable[[str], str]) -> str:
    """The sidebar of a page in HTML, as the theme expects it."""
    parents = {child: parent for parent, children in env.toctree_includes.items() for child in children}
    path = [page]
    while path[-1] in parents:
        path.append(parents[path[-1]])
    below: Mapping[str, list[str]] = env.toctree_includes
    groups = grouped(env.found_docs)
    return "".join(
        (f'<p class="caption" role="heading"><span class="caption-text">{heading}</span></p>' if heading else "")
        + _list(env, chosen, below, path, link, 1)
        for heading, chosen in groups
    )


def _list(
    env: BuildEnvironment,
    pages: Iterable[str],
    below: Mapping[str, list[str]],
    path: list[str],
    link: Callable[[str], str],
    level: int,
) -> str:
    items = []
    for page in pages:
        current = " current" if page in path else ""
        title = html.escape(SHORT.get(page) or env.titles[page].astext())
        shown = f'<a class="reference internal{current}" href="{html.escape(link(page))}">{title}</a>'
        inner = _list(env, below[page], below, path, link, level + 1) if current and below.get(page) else ""
        items.append(f'<li class="toctree-l{level}{current}">{shown}{inner}</li>')
    return f'<ul class="{"current" if level == 1 else ""}">{"".join(items)}</ul>'


def _replaced(app: Sphinx, page: str, _template: str, context: dict[str, Any], _doctree: Any) -> None:
    context["toctree"] = lambda **_options: tree(app.env, page, context["pathto"])


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx; before the theme asks for the sidebar, it is replaced."""
    app.connect("html-page-context", _replaced, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
