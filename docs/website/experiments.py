"""Pages of experiments: configuration, presets, stored results with their figures and tables, claims, source."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from cgro.plots.figure import Table
from cgro.runs.experiment import Experiment
from website import known
from website.ledger import Row
from website.options import options_table
from website.published import Picture, figures, map_of, provenance, results_of
from website.text import collapsed, docstring, fenced, image, plain, table


def pages(rows: Sequence[Row], links: dict[str, str], pictures: Sequence[Picture]) -> dict[str, str]:
    """A page for each experiment, and their index; `links` are the links to claims by statement."""
    found: Mapping[str, Experiment[Any]] = known.objects("experiment")
    made = {
        f"experiments/{name}.md": _page(
            name,
            experiment,
            known.sources("experiment")[name],
            [links[row.claim] for row in rows if name in row.experiments],
            [picture for picture in pictures if picture.experiment == name],
        )
        for name, experiment in found.items()
    }
    listed = [
        [f"[{name}](/experiments/{name}.md)", plain(experiment.title), _stored(name)]
        for name, experiment in found.items()
    ]
    about = (
        "An experiment is a configuration and a function from it to a labelled data set. `cgro simulate NAME` runs it "
        "at its quick preset, `--preset paper` at the published scale, and every field of the configuration is an "
        "option. Results with a name are published, and shown on the experiment's page."
    )
    made["experiments/index.md"] = "\n\n".join(
        [
            "# Experiments",
            about,
            table(["experiment", "what it is", "published results"], listed),
            toctree(sorted(found)),
        ]
    )
    return made


def toctree(names: Sequence[str]) -> str:
    """Pages below this one, for the sidebar alone."""
    return fenced(":hidden:\n:titlesonly:\n\n" + "\n".join(names), "{toctree}")


def _stored(name: str) -> str:
    return ", ".join(each.removeprefix(f"{name}-") for each in results_of(name)) or "-"


def _page(
    name: str, experiment: Experiment[Any], source: str, claims: Sequence[str], pictures: Sequence[Picture]
) -> str:
    module = inspect.getmodule(experiment.run)
    quick, paper = experiment.preset("quick"), experiment.preset("paper")
    parts = [f"# {name}", plain(experiment.title) + ".", docstring(module.__doc__ if module else "")]
    parts += ["## Run it", fenced(f"cgro simulate {name}\ncgro simulate {name} --preset paper", "sh")]
    drawn = [figure for figure, about in figures().items() if about.experiment == name]
    if drawn:
        parts += ["Then draw " + " and ".join(f"[{each}](/figures/{each}.md)" for each in drawn) + ":"]
        parts += [fenced("\n".join(f"cgro figure {each}" for each in drawn), "sh")]
    parts += [
        table(
            ["preset", "what it computes"],
            [[f"`{each}`", plain(getattr(experiment.Config, each).__doc__ or "")] for each in ("quick", "paper")],
        )
    ]
    if (found := map_of(name)) is not None:
        result, explored = found
        parts += ["## Explore", f"From the result `{result}`.", fenced(explored.html(f"{name}-map"), "{raw} html")]
    parts += ["## Results", *_results(name, pictures)]
    if claims:
        parts += ["## Claims", "\n".join(f"- {claim}" for claim in claims)]
    parts += ["## Options", docstring(experiment.Config.__doc__), options_table((quick, paper), ("quick", "paper"))]
    parts += ["## What it returns", docstring(experiment.run.__doc__)]
    parts += ["## Source", collapsed(f"simulations/{name.replace('-', '_')}.py", source)]
    return "\n\n".join(part for part in parts if part)


def _results(name: str, pictures: Sequence[Picture]) -> list[str]:
    stored = results_of(name)
    if not stored:
        return [f"No result is published; `cgro simulate {name}` computes one."]
    parts = []
    for result in stored:
        parts.append(f"### {result}")
        shown = [picture for picture in pictures if picture.result == result]
        for picture in shown:
            parts += [image(f"/images/{picture.name}.png", picture.title), picture.legend]
            if picture.table is not None:
                parts += results_table(picture.table)
        parts.append(provenance(result))
    return parts


def results_table(shown: Table) -> list[str]:
    """The table of a figure, as in the report."""
    return [
        plain(shown.about),
        table([plain(each) for each in shown.header], [[plain(each) for each in row] for row in shown.rows]),
        *map(plain, shown.notes),
    ]
