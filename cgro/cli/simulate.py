"""`cgro simulate`: run one experiment; the fields of its configuration are options."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, get_args

import tyro

from cgro.base.errors import UserError
from cgro.cli.reading import Page, Rest, preset_in, summary
from cgro.cli.values import Name
from cgro.cli.work import Preset, Work, obtain, stored_context, worker_count
from cgro.runs.registry import find

if TYPE_CHECKING:  # imported where work begins
    from cgro.runs.experiment import Experiment

log = logging.getLogger(__name__)
ALL_DIVERGED = 1


@dataclass(frozen=True, kw_only=True)
class Options(Work):
    """Run an experiment. The fields of its configuration are options; `cgro simulate NAME --help` shows them."""

    name: Annotated[Name[str], tyro.conf.Positional]
    """Name of the experiment, see `cgro list`."""


def page(words: Sequence[str]) -> Page:
    """The configuration of the named experiment, with the values of the preset."""
    if not words or words[0].startswith("-"):
        if {"-h", "--help"} & set(words):
            return Page("cgro simulate")
        raise UserError("required: NAME of an experiment, before the options; see `cgro list`")
    experiment: Experiment[Any] = find("experiment", words[0])
    preset = preset_in(words, get_args(Preset))
    about = f"{summary(experiment.Config)} Defaults are those of --preset {preset}."
    return Page(f"cgro simulate {words[0]}", experiment.Config, experiment.preset(preset), about)


def run(options: Options, rest: Rest) -> int:
    """Run the experiment, store the result and print its path; returns 1 if all runs diverged."""
    from cgro.base.work import count_diverged

    name, config = options.name, rest.fields
    experiment: Experiment[Any] = find("experiment", name)
    with stored_context(options, experiment.cells or name, worker_count(options, experiment, config)) as context:
        path, result = obtain(experiment, name, config, context, options, rest.words)
    print(path)
    diverged, runs = count_diverged(result)
    if diverged:
        log.warning(
            "warning: %s runs diverged: a number overflowed, and later records are missing (NaN); "
            "give a smaller learning rate",
            f"all {runs:,}" if diverged == runs else f"{diverged:,} of {runs:,}",
        )
    return ALL_DIVERGED if runs and diverged == runs else 0
