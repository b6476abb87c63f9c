"""An experiment's configuration from the command line; a mistake becomes one line in place of tyro's boxes."""

from __future__ import annotations

import argparse
import io
import re
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from types import ModuleType
from typing import Any

import tyro

from cgro.experiment import UserError
from cgro.registry import did_you_mean, option_names


def parse_config(module: ModuleType, options: argparse.Namespace, fields: Sequence[str]) -> Any:
    """The configuration of `options.preset` with fields from the command line. Raises: UserError."""

    def parse(arguments: Sequence[str]) -> Any:
        return tyro.cli(
            module.Config,
            default=getattr(module.Config, options.preset)(),
            args=list(arguments),
            prog=f"cgro simulate {options.name}",
            description=f"{module.Config.__doc__} Defaults are those of --preset {options.preset}.",
        )

    box = io.StringIO()
    try:
        with redirect_stderr(box):
            return parse(fields)
    except SystemExit as stop:
        if not stop.code:  # --help
            raise
        ours = _user_error(stop)
        if ours is not None:
            raise ours from None
    known = _field_options(parse) + option_names(options)
    wrong = [field for field in fields if field.startswith("--") and field.split("=")[0] not in known]
    hint = did_you_mean(wrong[0], known) if wrong else ""
    raise UserError(f"{_message(box.getvalue())}; {hint}see `cgro simulate {options.name} --help`")


def _user_error(stop: BaseException) -> UserError | None:
    """The mistake that made tyro stop, if one of our dataclasses found it."""
    cause = stop.__context__
    while cause is not None and not isinstance(cause, UserError):
        cause = cause.__context__
    return cause


def _field_options(parse: Callable[[Sequence[str]], Any]) -> list[str]:
    page = io.StringIO()
    with redirect_stdout(page), suppress(SystemExit):
        parse(["--help"])
    return re.findall(r"--[a-z][\w.-]*", page.getvalue())


def _message(box: str) -> str:
    """The text of a box of tyro, without its title and its advice."""
    lines = (line.strip("│ ") for line in box.splitlines()[1:])
    return " ".join(lines).split(" ───")[0].rstrip(" .")
