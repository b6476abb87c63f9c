"""What is wrong with the links of a folder of HTML pages, without a network."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

HOSTS = {"arxiv.org", "doi.org", "github.com", "openreview.net", "pradyunsg.me"}
"""Where links may lead outside: papers, code, and the author of the theme."""
_LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "srcset", "video": "src", "audio": "src"}
_LOADING = {"stylesheet", "preload", "icon", "shortcut icon", "preconnect", "dns-prefetch", "modulepreload"}


@dataclass
class Page(HTMLParser):
    """The anchors, links and loaded files of a page."""

    anchors: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    unnamed: list[str] = field(default_factory=list)
    """Images without an alternative text."""

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Called by the parser."""
        given = {name: value or "" for name, value in attributes}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag == "link" and given.get("rel") in _LOADING:
            self.loads.append(given["href"])
        if tag in _LOADS and _LOADS[tag] in given:
            self.loads.append(given[_LOADS[tag]])
        if tag == "img":
            self.images.append(given.get("src", ""))
            if not given.get("alt", "").strip():
                self.unnamed.append(given.get("src", ""))


def read(path: Path) -> Page:
    """The parsed page."""
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def pages_below(folder: Path) -> dict[Path, Page]:
    """All pages of a site."""
    return {path: read(path) for path in sorted(folder.rglob("*.html"))}


def problems(pages: dict[Path, Page]) -> list[str]:
    """Links that lead nowhere or to unknown hosts, loaded files that are missing or external, images without text."""
    found = []
    for path, page in pages.items():
        for link in page.links:
            if (why := _wrong_link(path, link, pages)) is not None:
                found.append(f"{path.name}: {link}: {why}")
        for link in page.loads:
            if _is_external(link):
                found.append(f"{path.name}: loads {link} from elsewhere")
            elif not link.startswith("data:") and not _target(path, link).is_file():
                found.append(f"{path.name}: loads {link}, which does not exist")
        found += [f"{path.name}: image {source} has no alternative text" for source in page.unnamed]
    return found


def styles_from_elsewhere(folder: Path) -> list[str]:
    """Addresses that style sheets load from other hosts."""
    sheets = [path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.css"))]
    return [url for text in sheets for url in re.findall(r"(?:url\(|@import)\s*['\"]?((?:https?:)?//[^'\")\s]+)", text)]


def _is_external(link: str) -> bool:
    return bool(urlsplit(link).netloc)


def _target(path: Path, link: str) -> Path:
    place = unquote(urlsplit(link).path)
    return (path.parent / place).resolve() if place else path


def _wrong_link(path: Path, link: str, pages: dict[Path, Page]) -> str | None:
    if _is_external(link):
        host = urlsplit(link).netloc.removeprefix("www.")
        return None if host in HOSTS else "unknown host"
    if urlsplit(link).scheme:
        return None if link.startswith("mailto:") else "unknown scheme"
    target, anchor = _target(path, link), unquote(urlsplit(link).fragment)
    if not target.is_file():
        return "no such page"
    if anchor and target in pages and anchor not in pages[target].anchors:
        return "no such anchor"
    return None
