"""Pages of claims: a row of the ledger, its formula, and the check that decides it; indices by area."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

from website import known
from website.checks import described
from website.experiments import toctree
from website.ledger import Row, formula
from website.published import Picture
from website.text import collapsed, docstring, image, plain, shortened, slug, table

AREAS = {
    "dynamics": "Training dynamics",
    "CGRO classifier": "The CGRO classifier",
    "memorizers": "Robust memorizers",
    "construction S": "Construction S",
    "sizes": "Sizes of networks",
    "lower bounds": "Lower bounds",
    "projections": "Projections",
    "gadgets": "Gadgets of ReLU networks",
    "adversarial training": "Adversarial training",
    "training": "Training on images",
    "memorization": "Memorized images",
    "other": "Other claims",
}
"""Areas and their titles, in the order of the index."""
_AREA_OF_PACKAGE = {
    "certify": "memorizers",
    "data": "memorization",
    "measures": "training",
    "attacks": "training",
    "base": "dynamics",
}


def area_of(row: Row) -> str:
    """The area of a claim: that of its check, or of the package that holds its formula."""
    area = _area_of(row)
    return area if area in AREAS else "other"


def _area_of(row: Row) -> str:
    if row.checks:
        return str(known.objects("check")[row.checks[0]].area)
    folder, package, *_ = row.formula.split("/")
    if folder != "cgro":  # a formula of a figure or an experiment
        return "dynamics"
    return _AREA_OF_PACKAGE.get(package, package)


@cache
def paths(rows: tuple[Row, ...]) -> dict[str, str]:
    """The page of each claim, by its statement; names are made of the first words."""
    made: dict[str, str] = {}
    for row in rows:
        name = f"claims/{slug(shortened(row.claim, 70))}"
        tries = (f"{name}{ending}" for ending in ("", *(f"-{k}" for k in range(2, 99))))
        made[row.claim] = next(path for path in tries if path not in made.values())
    return made


@cache
def links(rows: tuple[Row, ...]) -> dict[str, str]:
    """A link to each claim, with its statement."""
    return {claim: f"[{plain(claim)}](/{path}.md)" for claim, path in paths(rows).items()}


@cache
def homes(rows: tuple[Row, ...]) -> dict[str, str]:
    """The page that describes each check: that of the first claim that names it."""
    found: dict[str, str] = {}
    for row in rows:
        for name in row.checks:
            found.setdefault(name, paths(rows)[row.claim])
    return {name: found[name] for name in known.titles("check") if name in found}


def pages(rows: tuple[Row, ...], legend: str, pictures: Sequence[Picture]) -> dict[str, str]:
    """A page for each claim and area, and the index, which begins with the legend of the ledger."""
    where = paths(rows)
    made = {f"{where[row.claim]}.md": "\n\n".join(_page(rows, row, pictures)) for row in rows}
    areas = {area: own for area in AREAS if (own := [row for row in rows if area_of(row) == area])}
    for area, own in areas.items():
        listed = "\n".join(f"- {links(rows)[row.claim]}{_checked(row)}" for row in own)
        below = toctree([f"/{where[row.claim]}" for row in own])
        made[f"claims/{slug(area)}.md"] = "\n\n".join([f"# {AREAS[area]}", listed, below])
    counts = [
        [
            f"[{AREAS[area]}](/claims/{slug(area)}.md)",
            str(len(own)),
            str(sum(bool(row.checks) for row in own)),
        ]
        for area, own in areas.items()
    ]
    made["claims/index.md"] = "\n\n".join(
        [
            "# Claims",
            legend,
            "Each claim has a page. Where a check decides it, the page says what is proved or tested and why that "
            "suffices, and `cgro check NAME` runs it.",
            table(["area", "claims", "with a check"], counts),
            "## All checks",
            "\n".join(
                f"- [{name}](/{path}.md#check-{name}): {plain(known.titles('check')[name])}"
                for name, path in homes(rows).items()
            ),
            toctree([slug(area) for area in areas]),
        ]
    )
    return made


def _checked(row: Row) -> str:
    return "".join(f" `{name}`" for name in row.checks)


def _page(rows: tuple[Row, ...], row: Row, pictures: Sequence[Picture]) -> Iterator[str]:
    area, held = area_of(row), formula(row.formula)
    yield f"# {plain(shortened(row.claim))}"
    yield f"[Claims](/claims/index.md) / [{AREAS[area]}](/claims/{slug(area)}.md)"
    yield f"> {plain(row.claim)}"
    cells = {
        "formula": [f"`{held.path}`" + (f", `{held.name}`" if held.name else "")],
        "simulation": [f"[{name}](/experiments/{name}.md)" for name in row.experiments],
        "check": [f"[{name}](/{homes(rows)[name]}.md#check-{name})" for name in row.checks],
        "test": [f"`{path}`" for path in row.tests],
        "figure": [f"[{name}](/figures/{name}.md)" for name in row.figures],
    }
    yield table(["", ""], [[kind, ", ".join(found)] for kind, found in cells.items() if found])
    yield "## Formula"
    yield docstring(held.about)
    yield collapsed(f"Source of {held.name or held.path}", held.source)
    for picture in filter(None, (next((p for p in pictures if p.figure == name), None) for name in row.figures)):
        yield "## Figure"
        yield image(f"/images/{picture.name}.png", picture.title)
        yield picture.legend
    for name in row.checks:
        yield f"## Check {name}"
        if homes(rows)[name] == paths(rows)[row.claim]:
            yield from described(name)
        else:
            yield f"This check also decides [another claim](/{homes(rows)[name]}.md#check-{name}), which describes it."
