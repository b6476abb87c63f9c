"""Pages of commands: the help text of each, as a terminal without colours shows it."""

from __future__ import annotations

import contextlib
import io
import os
import re

from cgro.cli.main import COMMANDS, main
from website.experiments import toctree
from website.text import fenced, plain, table

COLUMNS = 88
"""Width of the help texts."""


def help_of(*words: str) -> str:
    """What `cgro WORDS --help` prints."""
    box = io.StringIO()
    kept = {name: os.environ.get(name) for name in ("COLUMNS", "NO_COLOR")}
    os.environ |= {"COLUMNS": str(COLUMNS), "NO_COLOR": "1"}
    try:
        with contextlib.redirect_stdout(box):
            main([*words, "--help"])
    finally:
        for name, value in kept.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
    text = re.sub(r"\x1b\[[0-9;]*m", "", box.getvalue())
    return "\n".join(line.rstrip() for line in text.splitlines())


def pages() -> dict[str, str]:
    """A page for each command, and their index."""
    made = {f"commands/{name}.md": _page(name, words) for name, words in COMMANDS.items()}
    listed = [[f"[cgro {name}](/commands/{name}.md)", plain(words)] for name, words in COMMANDS.items()]
    made["commands/index.md"] = "\n\n".join(
        [
            "# Commands",
            table(["command", "what it does"], listed),
            "Exit codes: 0 for success, 1 for a failed check or a simulation of which all runs diverged, 2 for an "
            "error of the user, which takes one line.",
            toctree(list(COMMANDS)),
        ]
    )
    return made


def _page(name: str, words: str) -> str:
    parts = [f"# cgro {name}", plain(words[:1].upper() + words[1:]) + ".", fenced(help_of(name))]
    if name == "simulate":
        parts.append("The options of each experiment are on [its own page](/experiments/index.md).")
    if name == "check":
        parts.append("The parameters of each check are on [the page of its claim](/claims/index.md).")
    return "\n\n".join(parts)
