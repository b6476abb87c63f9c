"""Reading the command line: options and configuration are dataclasses, parsed together; errors take one line."""

from __future__ import annotations

import io
import re
import shutil
import textwrap
import warnings
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, field, make_dataclass
from itertools import dropwhile, pairwise, takewhile
from typing import Annotated, Any, NamedTuple

import tyro

from cgro.base.errors import UserError
from cgro.cli.help_texts import dataclass_fields
from cgro.cli.values import REGISTRY
from cgro.runs.registry import did_you_mean

REGISTRY.struct_rule(dataclass_fields)
COMMON = "How to run it and where to store results."


@dataclass(frozen=True)
class Page:
    """The configuration that a command takes besides its own options, and the start of its help page."""

    call: str
    """The command as typed, without options."""
    fields: Any = None
    """A frozen dataclass, or None."""
    preset: Any = None
    """An instance of it with the defaults."""
    about: str | None = None
    """Description on the help page; None: the docstring of the command's options."""
    advice: str = ""
    """Advice in the message about unrecognized arguments."""


class Rest(NamedTuple):
    """The command line without the command's own options."""

    fields: Any
    """An instance of the page's dataclass, or None."""
    words: tuple[str, ...]
    """The arguments as typed."""


def read(options: type, words: Sequence[str], page: Page) -> tuple[Any, Rest]:
    """The command's options and the rest. Raises: UserError; SystemExit after a help page."""
    kind = options if page.fields is None else _together(options, page)
    about = page.about or summary(options)
    columns = shutil.get_terminal_size().columns
    how: dict[str, Any] = {
        "prog": page.call,
        # tyro keeps a line break only before a character that is not a letter.
        "description": textwrap.fill(about, min(120, columns), initial_indent="  ", subsequent_indent="  "),
        "registry": REGISTRY,
    }
    box = io.StringIO()
    try:
        with redirect_stderr(box):
            found, unknown = tyro.cli(kind, args=words, return_unknown_args=True, **how)
    except SystemExit as stop:
        if not stop.code:
            raise
        raise UserError(f"{_complaint(stop, box.getvalue())}; see `{page.call} --help`") from None
    if unknown:
        # The value of a flag, e.g. of --quiet=1, comes back without the flag.
        shown = [next((word for word in words if word.endswith(f"={part}")), part) for part in unknown]
        hint = did_you_mean(shown[0].partition("=")[0], _option_names(kind, how), cutoff=0.6)
        raise UserError(f"unrecognized arguments: {' '.join(shown)}; {hint}{page.advice}see `{page.call} --help`")
    if page.fields is None:
        return found, Rest(None, ())
    _, others = tyro.cli(options, args=words, return_unknown_args=True, registry=REGISTRY)
    return found.command, Rest(found.fields, tuple(others))


def summary(kind: type) -> str:
    """The first paragraph of the docstring, as one line."""
    return " ".join((kind.__doc__ or "").partition("\n\n")[0].split())


def preset_in(words: Sequence[str], allowed: Sequence[str]) -> str:
    """The preset on the command line; the first allowed one if none or an invalid one is given (`read` refuses it)."""
    asked = allowed[0]
    for word, after in pairwise([*words, ""]):
        option, equals, value = word.partition("=")
        if option == "--preset":
            asked = value if equals else after
    return asked if asked in allowed else allowed[0]


def _together(options: type, page: Page) -> type:
    """A dataclass of both; the help page shows the fields first, then the command's options."""
    return make_dataclass(
        "Together",
        [
            ("fields", Annotated[page.fields, tyro.conf.arg(name="")], field(default=page.preset)),
            ("command", Annotated[options, tyro.conf.OmitArgPrefixes, tyro.conf.arg(help=COMMON)]),
        ],
        frozen=True,
        kw_only=True,
    )


def _option_names(kind: Any, how: dict[str, Any]) -> list[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the only public access to a parser's options
        parser = tyro.extras.get_parser(kind, **how)
    return [name for action in parser._actions for name in action.option_strings if name.startswith("--")]


def _complaint(stop: SystemExit, box: str) -> str:
    """The error in one line: our own message if one of our types refused the value, else tyro's."""
    lines = [line.strip("│ ") for line in box.splitlines()[1:]]
    # On terminals without UTF-8 the frame consists of blanks and hyphens.
    text = " ".join(takewhile(lambda line: not _is_rule(line), dropwhile(_is_rule, lines))).rstrip(" .!")
    cause: BaseException | None = stop.__context__
    while cause is not None:
        if isinstance(cause, UserError):  # raised by one of our dataclasses
            raise cause from None
        if type(cause) is ValueError and (name := re.match(r"Error parsing (\S+):", text)):
            return f"{name[1]} {cause}"
        cause = cause.__context__
    text = re.sub(r"^Missing from .*?: (\S+) .*", r"the following arguments are required: \1", text)
    return re.sub(r"\. Expected \d+ values?$", "", text)


def _is_rule(line: str) -> bool:
    return line != "" and set(line) <= set("─-╰╯ ")
