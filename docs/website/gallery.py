"""Pages of figures, and the gallery of all published pictures."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from website import known
from website.experiments import toctree
from website.ledger import Row
from website.published import Picture, figures
from website.text import cell, collapsed, docstring, fenced, image, plain, table


def pages(rows: Sequence[Row], links: dict[str, str], pictures: Sequence[Picture]) -> dict[str, str]:
    """A page for each figure, and the gallery."""
    made = {
        f"figures/{name}.md": _page(
            name,
            [picture for picture in pictures if picture.figure == name],
            [links[row.claim] for row in rows if name in row.figures],
        )
        for name in figures()
    }
    parts = [
        "# All figures",
        "Every published picture, drawn from a stored result. Captions are computed from it.",
    ]
    for picture in pictures:
        experiment = picture.experiment
        parts += [f"## {picture.title} ({picture.words})"]
        parts += [image(f"/images/{picture.name}.png", picture.title), plain(picture.caption)]
        parts += [f"[Figure](/figures/{picture.figure}.md), [experiment](/experiments/{experiment}.md)"]
    made["figures/index.md"] = "\n\n".join([*parts, toctree(sorted(figures()))])
    return made


def _page(name: str, pictures: Sequence[Picture], claims: Sequence[str]) -> str:
    about = figures()[name]
    source = known.sources("figure")[name]
    parts = [f"# Figure {name}", plain(about.title) + ".", docstring(ast.get_docstring(ast.parse(source)))]
    parts += [f"It shows results of [{about.experiment}](/experiments/{about.experiment}.md):"]
    parts += [fenced(f"cgro simulate {about.experiment}\ncgro figure {name}", "sh")]
    if not pictures:
        parts += ["No picture is published; the two commands draw one."]
    for picture in pictures:
        parts += [f"## {picture.result}", image(f"/images/{picture.name}.png", picture.title), plain(picture.caption)]
    if claims:
        parts += ["## Claims", "\n".join(f"- {claim}" for claim in claims)]
    needs = [[plain(dims or "-"), ", ".join(map(cell, names.split()))] for dims, names in about.needs.items()]
    parts += ["## What it reads", table(["dimensions", "variables"], needs)]
    parts += ["## Source", collapsed(f"figures/{name.replace('-', '_')}.py", source)]
    return "\n\n".join(part for part in parts if part)
