"""Write docs/papers.md from the stored results: `python docs/papers`. A test compares it with what is written."""

from __future__ import annotations

from collections import Counter

import atypical
import dong
import li_li
import networks
import teachers
from entry import Comparison, Entry, Paper
from measured import PUBLISHED, ROOT, scale, stored

PAGE = ROOT / "docs" / "papers.md"
PAPERS = (
    li_li.PAPER, dong.PAPER, atypical.XU, atypical.ZHANG, atypical.FELDMAN, teachers.LEE, teachers.RICE, networks.LI,
    networks.YU, networks.KIM,
)  # fmt: skip
COLUMNS = ("measured here", "built and counted", "checked", "not reproduced")
HEAD = """\
# Figures and tables of the source papers

For every figure and table of the papers that cgro builds on: what makes it here, at which scale, and what was measured
beside what was published. Everything here ran on two CPU cores, so that networks and data are small; numbers are to be
compared by their direction, not by their size. Measured numbers are computed from the stored results
(`python docs/papers` writes this page, a test compares it).

Published numbers carry tags: [S] stated in a source that was read, [N] from notes about the paper, [M] measured with
the authors' own program, [read] read in the text of the paper. [R] marks statements that are recalled; recalled numbers
are not printed. Where the text of a paper was not at hand, its figures are described, without verified numbers.

*Measured here* means: the same quantities in a small setting, whether they agree or not. Bounds of theory papers are
*built and counted*, or *checked* by `cgro check`. What is *not reproduced* says why.
"""


def table(header: tuple[str, ...] | list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def here(entry: Entry) -> str:
    """What was measured, by which experiment, with its picture, and at which scale."""
    if not entry.stem:
        return "-"
    experiment = str(stored(entry.stem).attrs["experiment"])
    link = f"[{experiment}](../results/published/figures/{entry.picture}.png)" if entry.picture else experiment
    return f"{entry.measured()} ({link}: {scale(entry.stem)})"


def row(entry: Entry) -> list[str]:
    return [f"**{entry.place}.** {entry.shows}", entry.published, here(entry), entry.difference]


def compared(comparison: Comparison) -> str:
    return f"{comparison.about}\n\n{table(list(comparison.header), comparison.rows())}"


def section(paper: Paper) -> str:
    header = ["figure or table", "published", "measured here", "difference"]
    parts = [
        f"## {paper.title}",
        f"{paper.reference}. At hand: {paper.about[0].lower()}{paper.about[1:]}",
        table(header, [row(entry) for entry in paper.entries]),
        *map(compared, paper.tables),
    ]
    return "\n\n".join(parts)


def summary() -> str:
    """How many figures and tables of each paper there are, by what became of them."""
    rows, total = [], Counter()
    for paper in PAPERS:
        counts = Counter(entry.status for entry in paper.entries)
        total += counts
        rows.append([paper.title, str(len(paper.entries)), *(str(counts[column]) for column in COLUMNS)])
    rows.append(["all", str(total.total()), *(str(total[column]) for column in COLUMNS)])
    return table(["paper", "rows", *COLUMNS], rows)


def commands() -> str:
    """The commands that made the results, from their provenance."""
    stems = sorted({entry.stem for paper in PAPERS for entry in paper.entries if entry.stem})
    rows = [[f"[{stem}](../results/published/{stem}.nc)", f"`{stored(stem).attrs['command']}`"] for stem in stems]
    return "## Commands\n\nThe results above, and the commands that made them.\n\n" + table(["result", "command"], rows)


def page() -> str:
    """The whole page."""
    return "\n\n".join([HEAD.rstrip(), summary(), *map(section, PAPERS), commands()]) + "\n"


if __name__ == "__main__":
    assert PUBLISHED.is_dir()
    PAGE.write_text(page())
