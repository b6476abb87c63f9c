"""Notebooks as pages: their text, code and stored outputs; nothing is executed."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from website.documents import Links
from website.ledger import ROOT
from website.text import fenced, image


def pages(links: Links, folder: Path) -> dict[str, str]:
    """A page for each notebook; its pictures are written to `folder`."""
    return {
        page: "\n\n".join(_cells(Path(path), links, folder))
        for path, page in links.pages.items()
        if path.endswith(".ipynb")
    }


def _cells(path: Path, links: Links, folder: Path) -> Iterator[str]:
    heading = path.stem
    for number, cell in enumerate(json.loads((ROOT / path).read_text(encoding="utf-8"))["cells"]):
        source = _joined(cell["source"])
        if cell["cell_type"] == "markdown":
            heading = next(iter(re.findall(r"^#+ (.+)$", source, re.MULTILINE)), heading)
            yield links.turned(source, path)
        elif cell["cell_type"] == "code" and source.strip():
            yield fenced(source, "python")
            for part, output in enumerate(_joined_streams(cell["outputs"])):
                yield from _output(output, f"{path.stem}-{number}-{part}", heading, links, folder)


def _joined_streams(outputs: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The outputs, with lines printed one after another as one."""
    for streams, group in groupby(outputs, key=lambda output: "text" in output):
        if streams:
            yield {"text": "".join(_joined(output["text"]) for output in group)}
        else:
            yield from group


def _output(output: dict[str, Any], name: str, heading: str, links: Links, folder: Path) -> Iterator[str]:
    data = output.get("data", {})
    if "image/png" in data:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.png").write_bytes(base64.b64decode(_joined(data["image/png"])))
        yield image(links.carried(folder / f"{name}.png", "images"), f"Output under the heading {heading}")
    elif (text := _joined(output.get("text", data.get("text/plain", "")))).strip():
        yield fenced(re.sub(r"\x1b\[[0-9;]*m", "", text))


def _joined(lines: str | list[str]) -> str:
    return lines if isinstance(lines, str) else "".join(lines)
