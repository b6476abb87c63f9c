"""`cgro check`: check claims of the theory; the parameters of a single check are options."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, make_dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_type_hints

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cgro.base.machine import available_cores
from cgro.cli.help_texts import reflowed
from cgro.cli.reading import Page, Rest, preset_in
from cgro.cli.values import Choice, Count, Flag, Jobs, Names, Quiet, Results, Seconds
from cgro.cli.work import results_folder
from cgro.runs.registry import find, find_all

if TYPE_CHECKING:  # imported where work begins
    from cgro.claims.claim import Claim, Verdict

CHECK_FAILED = 1
Preset = Literal["quick", "deep"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Check claims of the theory. Prints one row per claim: source, evidence, tested range, slack and verdict."""

    names: Names = ()
    """Checks to run, see `cgro list`; by default all. `cgro check NAME --help` shows the parameters of a check."""
    results: Results = field(default_factory=results_folder)
    preset: Choice[Preset] = "quick"
    """quick: all checks in a minute or two; deep: more cases."""
    json: Flag = False
    """Print the verdicts as JSON."""
    jobs: Jobs[int | None] = None
    """Number of worker processes; by default one per core."""
    time_limit: Seconds[float] = math.inf
    """Time limit per check in seconds; a check that exceeds it is undecided."""
    seeds: Count[int] = 0
    """Repeat randomized checks with this many additional seeds."""
    perturb: Flag = False
    """Instead of checking the claims as they are, move each of their constants up and down, and print the smallest move
    that is refuted."""
    quiet: Quiet = False


def page(words: Sequence[str]) -> Page:
    """The parameters of the check, if exactly one is named, with the values of the preset."""
    names = list(takewhile(lambda word: not word.startswith("-"), words))
    if len(names) != 1:
        return Page("cgro check", advice="parameters belong to one check, `cgro check NAME --parameter ...`; ")
    claim: Claim = find("check", names[0])
    preset = preset_in(words, get_args(Preset))
    hypotheses = "".join(f" Hypothesis: {hypothesis}." for hypothesis in claim.hypotheses)
    about = f"{claim.statement}. {claim.source}.{hypotheses} Defaults are those of --preset {preset}."
    parameters = _parameters(claim, preset)
    return Page(f"cgro check {names[0]}", parameters, parameters(), about)


def _parameters(claim: Claim, preset: Any) -> type:
    """A dataclass of the parameters, described as in the docstring of the check."""
    from docstring_parser import parse

    hints = get_type_hints(claim.check)
    helps = {entry.arg_name: reflowed(entry.description or "") for entry in parse(claim.check.__doc__ or "").params}
    fields = [
        (name, Annotated[hints.get(name, type(value)), tyro.conf.arg(help=helps.get(name, ""))], value)
        for name, value in claim.preset(preset).items()
    ]
    return make_dataclass("Parameters", fields, frozen=True)


def run(options: Options, rest: Rest) -> int:
    """Run checks and print a table of verdicts, or JSON; returns 1 if a verdict is not as expected."""
    claims = {name: find("check", name) for name in options.names} if options.names else find_all("check")
    from cgro.claims import checking

    wanted = {
        name: claim.preset(options.preset) if rest.fields is None else vars(rest.fields)
        for name, claim in claims.items()
    }
    jobs = available_cores() if options.jobs is None else options.jobs
    if options.perturb:
        return _perturb(options, list(claims), jobs)
    run: dict[str, Any] = {"jobs": jobs, "time_limit": options.time_limit, "quiet": options.quiet}
    verdicts = [verdict for verdict, _ in checking.run_checks(wanted, options.results / "check", **run)]
    again = checking.repeat(verdicts, options.seeds, options.results / "check", **run) if options.seeds else {}
    verdicts = [checking.shown(v, again.get(v.name, ())) for v in verdicts]
    if options.json:
        print(json.dumps([asdict(v) | {"as_expected": v.as_expected} for v in verdicts], indent=2))
    else:
        _print_verdicts(verdicts, in_full=bool(options.names))
    return 0 if all(v.as_expected for v in verdicts) else CHECK_FAILED


def _perturb(options: Options, names: Sequence[str], jobs: int) -> int:
    """Print how far each constant can be moved; returns 0, since a loose constant is no failure."""
    from cgro.claims.tolerance import tolerances

    found = tolerances(
        names, options.results / "tolerance", preset=options.preset, jobs=jobs, quiet=options.quiet
    )  # fmt: skip
    if options.json:
        print(json.dumps([asdict(each) for each in found], indent=2))
        return 0
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("check", "constant", "down", "up", "where it is not refuted"):
        table.add_column(heading, overflow="fold")
    for each in found:
        moves = ("-" if move is None else f"{move:.0%}" for move in (each.below, each.above))
        table.add_row(*map(escape, (each.check, each.constant, *moves, each.otherwise)))
    console = _console()
    console.print(table)
    return 0


def _console() -> Console:
    console = Console()
    if not console.is_terminal:
        console.width = 140
    return console


def _print_verdicts(verdicts: Sequence[Verdict], *, in_full: bool) -> None:
    """Print the table, and below it the findings: all of them, or only for claims that do not simply hold."""
    from cgro.plots.words import found_words, slack_words

    console = _console()
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading, ratio in (("check", 5), ("claim", 12), ("evidence", 3), ("tested", 8)):
        table.add_column(heading, overflow="fold", ratio=ratio)
    table.add_column("slack", justify="right")
    table.add_column("verdict")
    area = ""
    for v in verdicts:
        if v.area != area:
            area = v.area
            table.add_row(f"[bold]{escape(area)}[/bold]")
        claim = f"{escape(v.statement)}\n[dim]{escape(f'{v.source} {v.tag}')}[/dim]"
        cells = (escape(word) for word in (v.name, v.evidence, v.tested, slack_words(v)))
        name, evidence, tested, slack = cells
        table.add_row(name, claim, evidence, tested, slack, f"[{_color(v)}]{v.words}[/{_color(v)}]")
    console.print(table)
    for v in verdicts:
        if in_full or v.outcome != "holds" or not v.as_expected:
            console.print(f"\n[bold]{escape(v.name)}[/bold]: {escape(found_words(v))}", highlight=False)
    outcomes, kinds = Counter(v.words for v in verdicts), Counter(v.evidence for v in verdicts)
    console.print(f"\nVerdicts: {_listed(outcomes)}. Evidence: {_listed(kinds)}.", highlight=False, soft_wrap=True)


def _color(verdict: Verdict) -> str:
    return "green" if verdict.as_expected else "yellow" if verdict.outcome == "undecided" else "red"


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {word}" for word, count in counts.most_common())
