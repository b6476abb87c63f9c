"""Generate all pages and build the site."""

from __future__ import annotations

import shutil
from pathlib import Path

from sphinx.cmd.build import main as sphinx

from cgro.runs import registry
from website import (
    api,
    claims,
    commands,
    constructions,
    documents,
    experiments,
    gallery,
    home,
    known,
    ledger,
    notebooks,
    published,
)
from website.ledger import ROOT
from website.published import Picture, pictures
from website.sidebar import contents


def build(output: Path) -> int:
    """Build the site in `output`/html; returns the exit code of Sphinx."""
    made = generated(output / "drawn")
    write(output / "source", made)
    for path in (output / "html").rglob("*.html"):
        if str(path.relative_to(output / "html").with_suffix(".md")) not in made[0]:
            path.unlink()
    return render(output / "source", output)


def render(source: Path, output: Path) -> int:
    """Turn Markdown into HTML in `output`/html; every warning is an error. Returns the exit code of Sphinx."""
    folders = [str(source), str(output / "html")]
    settings = ["-c", str(Path(__file__).parent), "-d", str(output / "doctrees")]
    # -a: write all pages, since a new page or title is in the sidebar of others.
    return sphinx(["-W", "--keep-going", "-q", "-a", "-j", "auto", *settings, *folders])


def generated(drawn: Path) -> tuple[dict[str, str], dict[str, Path]]:
    """All pages, and the files that they show, by their places in the site."""
    text = (ROOT / "CLAIMS.md").read_text(encoding="utf-8")
    rows, shown = tuple(ledger.rows()), pictures(drawn)
    links = documents.Links(documents.sources() | _homes(rows, shown))
    to_claims = claims.links(rows)
    memorizers = Path("cgro/memorizers/README.md")
    pages = documents.pages(links) | notebooks.pages(links, drawn)
    pages |= claims.pages(rows, ledger.legend(text), shown)
    pages |= experiments.pages(rows, to_claims, shown) | gallery.pages(rows, to_claims, shown)
    pages |= constructions.pages(
        rows, to_claims, links.turned((ROOT / memorizers).read_text(encoding="utf-8"), memorizers)
    )
    pages |= commands.pages() | api.pages("[From Python](/python.md) shows them in use.")
    pages |= home.pages(rows, to_claims, shown, contents(page.removesuffix(".md") for page in (*pages, "theory.md")))
    return pages, links.files | {f"images/{picture.name}.png": picture.path for picture in shown}


def _homes(rows: tuple[ledger.Row, ...], shown: tuple[Picture, ...]) -> dict[str, str]:
    """The pages that show results, pictures and source files, by their paths in the repository."""
    own = {name: f"experiments/{result.experiment}.md" for name, result in published.results().items()}
    found = {f"results/published/{name}.nc": page for name, page in own.items()}
    found |= {f"results/published/figures/{picture.name}.png": f"figures/{picture.figure}.md" for picture in shown}
    found |= {f"simulations/{_file(name)}": f"experiments/{name}.md" for name in known.titles("experiment")}
    found |= {f"figures/{_file(name)}": f"figures/{name}.md" for name in known.titles("figure")}
    for name, path in registry.files("check").items():
        found[str(path.relative_to(ROOT))] = f"{claims.homes(rows)[name]}.md#check-{name}"
    return found


def _file(name: str) -> str:
    return f"{name.replace('-', '_')}.py"


def write(source: Path, made: tuple[dict[str, str], dict[str, Path]]) -> None:
    """Write what has changed, and remove what is no longer made."""
    pages, files = made
    for name, text in pages.items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text + "\n":
            path.write_text(text + "\n", encoding="utf-8")
    for name, path in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, source / name)
    for path in source.rglob("*"):
        if path.is_file() and str(path.relative_to(source)) not in {*pages, *files}:
            path.unlink()
