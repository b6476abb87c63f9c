"""Written pages: the Markdown files of the repository, with links that lead to pages of the site."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from website.ledger import ROOT

ELSEWHERE = {
    "README.md": "index.md",
    "CLAIMS.md": "claims/index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "cgro/memorizers/README.md": "constructions/index.md",
    "proofs_check/construction_s/README.md": "construction_s.md",
}
"""Pages of the site whose files are not in docs/, by path."""
_FILES = {".json", ".csv", ".cff"}
"""Endings of files that the site carries along."""
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")


@dataclass
class Links:
    """Turns links between files of the repository into links between pages."""

    pages: dict[str, str]
    """The page of each file that has one, both as paths."""
    files: dict[str, Path] = field(default_factory=dict)
    """Files that the site carries, by their place in it; filled while links are turned."""

    def turned(self, text: str, home: Path) -> str:
        """The text of the file `home` (relative to the repository), outside of code, with its links turned."""
        return _outside_fences(text, lambda part: _LINK.sub(lambda found: self._link(found, home), part))

    def _link(self, found: re.Match[str], home: Path) -> str:
        mark, words, target = found.groups()
        if "://" in target or target.startswith(("#", "mailto:")):
            return found[0]
        path, _, anchor = target.partition("#")
        place = os.path.normpath(home.parent / path)
        if mark:
            return f"![{words}]({self.carried(ROOT / place, 'images')})"
        if place in self.pages:
            return f"[{words}](/{self.pages[place]}{'#' + anchor if anchor else ''})"
        if Path(place).suffix in _FILES and (ROOT / place).is_file():
            return f"[{words}]({self.carried(ROOT / place, 'files')})"
        return words if place in words or "`" in words else f"{words} (`{place}`)"

    def carried(self, path: Path, folder: str) -> str:
        """The link to a file that the site carries along."""
        self.files[f"{folder}/{path.name}"] = path
        return f"/{folder}/{path.name}"


def _outside_fences(text: str, change: Callable[[str], str]) -> str:
    parts = re.split(r"(^```.*?^```[^\n]*$)", text, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if number % 2 else change(part) for number, part in enumerate(parts))


def sources() -> dict[str, str]:
    """The page of each written file: those of docs/ keep their places."""
    website = Path(__file__).parent
    own = [path for path in sorted((ROOT / "docs").rglob("*.md")) if website not in path.parents]
    notebooks = sorted((ROOT / "docs").rglob("*.ipynb"))
    kept = [path for path in (*own, *notebooks) if ".ipynb_checkpoints" not in path.parts]
    within = {str(path.relative_to(ROOT)): str(path.relative_to(ROOT / "docs").with_suffix(".md")) for path in kept}
    return {**ELSEWHERE, **within}


def pages(links: Links) -> dict[str, str]:
    """The written pages as they are, except those that generated pages include."""
    included = ("README.md", "CLAIMS.md", "cgro/memorizers/README.md")
    return {
        page: links.turned((ROOT / path).read_text(encoding="utf-8"), Path(path))
        for path, page in links.pages.items()
        if path.endswith(".md") and path not in included
    }
