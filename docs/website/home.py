"""The home page and the theory: templates, filled with numbers of stored results and links to claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from jinja2 import Environment, FileSystemLoader, StrictUndefined

import cgro
from cgro.base.outward import at_least_words, at_most_words
from cgro.dynamics.phases import predicted_times
from cgro.dynamics.setting import PatchSetting
from cgro.memorizers.constructions import CONSTRUCTIONS
from cgro.runs.store import stored_config
from website import known
from website.ledger import Row
from website.published import Picture, figures, results_of, values
from website.text import image

TEMPLATES = Path(__file__).parent / "templates"


def pages(rows: Sequence[Row], links: Mapping[str, str], pictures: Sequence[Picture], contents: str) -> dict[str, str]:
    """The two pages; `contents` is the table of contents of the site, for the sidebar."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False
    )
    environment.filters |= {"steps": _steps, "error": _error}

    def claim(start: str, words: str = "claim") -> str:
        """A link to the one claim that begins so."""
        (found,) = (links[row.claim] for row in rows if row.claim.startswith(start))
        return f"[{words}]{found[found.rindex('(') :]}"

    def figure(name: str) -> str:
        """A picture with its live caption."""
        picture = next(each for each in pictures if each.name == name)
        shown = image(f"/images/{picture.name}.png", picture.title)
        return f"{shown}\n\n{picture.legend}"

    told = numbers() | {
        "claim": claim,
        "figure": figure,
        "contents": contents,
        "claims": len(rows),
        "checks": len(known.titles("check")),
        "experiments": len(known.titles("experiment")),
        "constructions": len(CONSTRUCTIONS),
    }
    return {name: environment.get_template(f"{name}.jinja").render(told) for name in ("index.md", "theory.md")}


def numbers() -> dict[str, Any]:
    """What the stored results say, by name."""
    phases, proved = _largest("phase-transition"), _largest("certified-transition")
    setting = PatchSetting(**stored_config(phases)["setting"])
    run = proved.sel(instance="adversarial")
    last = run.isel(step=-1)
    standard = proved["stage_memorized"].sel(instance="standard")
    memorizers = _largest("memorizer-certificates")
    whole = memorizers.isel(record=np.flatnonzero(~memorizers["broken"].values))
    return {
        "setting": setting,
        "critical": cgro.critical_ratio(setting),
        "measured": {name: float(phases[name].median()) for name in ("T_0", "T_n", "T_1")},
        "predicted": predicted_times(setting),
        "errors": {
            name: float(phases[name].isel(step=-1).mean())
            for name in ("clean_test_error", "robust_train_error", "robust_test_error")
        },
        "proved": {str(name): int(run["first_step"].sel(time=name)) for name in ("T_0", "T_n", "T_1")},
        "proved_robust": at_least_words(float(last["robust_test_error"].sel(bound="low")), 3),
        "proved_clean": at_most_words(float(last["clean_test_error"].sel(bound="high"))),
        "proved_standard": at_most_words(float(standard.sel(bound="high").max())),
        "diagram": highlight("phase-diagram"),
        "images": highlight("image-cgro"),
        "overfitting": highlight("robust-overfitting"),
        "mechanisms": highlight("two-mechanisms"),
        "gated": [_gated(values(name)) for name in results_of("certified-cgro")],
        "networks": whole.sizes["record"],
        "points": int(whole["samples"].sum()),
        "equal": int(whole["counts_equal"].sum()),
    }


def highlight(figure: str) -> tuple[str, str]:
    """A number of the largest stored result and its meaning."""
    about = figures()[figure]
    if about.highlight is None:
        raise ValueError(f"figure {figure} has no highlight")
    number, meaning = about.highlight(_largest(about.experiment))
    return number.replace(" %", "\N{NO-BREAK SPACE}%"), meaning


def _largest(experiment: str) -> xr.Dataset:
    return values(results_of(experiment)[0])


def _gated(result: xr.Dataset) -> dict[str, Any]:
    """Accuracies of a clean network and of the same network gated by a memorizer."""
    clean, gated = result["classifier"].values[:2]
    return {
        "clean": float(result["clean_test_accuracy"].sel(classifier=gated).mean()),
        "ungated": float(result["clean_test_accuracy"].sel(classifier=clean).mean()),
        "certified": float(result["certified_train_accuracy"].mean()),
        "data": str(stored_config(result)["data"]),
        "images": int(stored_config(result)["samples"]),
    }


def _steps(time: float) -> str:
    return f"{time:,.0f}"


def _error(value: float) -> str:
    return f"{100 * value:.0f}\N{NO-BREAK SPACE}%"
