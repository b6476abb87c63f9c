"""An experiment's configuration, or a check's parameters, from the command line; a mistake becomes one line in place
of tyro's boxes."""

from __future__ import annotations

import argparse
import io
import re
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import make_dataclass
from itertools import dropwhile, takewhile
from typing import Annotated, Any, get_type_hints

import tyro
from docstring_parser import parse
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from cgro.base.errors import UserError
from cgro.base.numerals import read_integer, read_number
from cgro.base.validate import fraction
from cgro.claims.claim import Claim
from cgro.runs.experiment import Experiment
from cgro.runs.registry import did_you_mean


def parse_config(experiment: Experiment[Any], options: argparse.Namespace, fields: Sequence[str]) -> Any:
    """The configuration of `options.preset` with fields from the command line. Raises: UserError."""

    return parse_dataclass(
        experiment.Config,
        f"cgro simulate {options.name}",
        f"{experiment.Config.__doc__} Defaults are those of --preset {options.preset}.",
        options,
        fields,
        default=experiment.preset(options.preset),
    )


def parse_parameters(claim: Claim, name: str, options: argparse.Namespace, fields: Sequence[str]) -> dict[str, Any]:
    """Parameters of a check: those of `options.preset` with values from the command line. Raises: UserError."""
    preset = claim.preset(options.preset)
    hints = get_type_hints(claim.check)
    helps = {entry.arg_name: entry.description for entry in parse(claim.check.__doc__ or "").params}
    fields_of = [
        (key, Annotated[hints[key], tyro.conf.arg(help=helps.get(key, ""))], value) for key, value in preset.items()
    ]
    kind = make_dataclass("Parameters", fields_of)
    hypotheses = "".join(f" Hypothesis: {words}." for words in claim.hypotheses)
    words = f"{claim.statement}. {claim.source}.{hypotheses} Defaults are those of --preset {options.preset}."
    return vars(parse_dataclass(kind, f"cgro check {name}", words, options, fields))


def parse_dataclass(
    kind: Any, prog: str, description: str, options: argparse.Namespace, fields: Sequence[str], **more: Any
) -> Any:
    """An instance of `kind` from the command line; `prog` and `description` are for its help. Raises: UserError."""

    def read(arguments: Sequence[str]) -> Any:
        return tyro.cli(kind, args=list(arguments), prog=prog, description=description, registry=_registry(), **more)

    box = io.StringIO()
    try:
        with redirect_stderr(box):
            return read(fields)
    except SystemExit as stop:
        if not stop.code:  # --help
            raise
        ours = _user_error(stop)
        if ours is not None:
            raise ours from None
    known = [*_field_options(read), *options.own_options]
    named = [field.partition("=")[0] for field in fields if field.startswith("--")]
    wrong = [name for name in named if name not in known]
    hint = did_you_mean(wrong[0], known, cutoff=0.6) if wrong else ""
    raise UserError(f"{_message(box.getvalue())}; {hint}see `{prog} --help`")


def _registry() -> ConstructorRegistry:
    """Numbers are read as `cgro.base.numerals` does; real ones may be written as fractions, too, 8/255 say."""
    registry = ConstructorRegistry()

    @registry.primitive_rule
    def numbers(about: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
        if about.type not in (int, float):
            return None
        whole = about.type is int
        return PrimitiveConstructorSpec(
            nargs=1,
            metavar="INT" if whole else "FLOAT",
            instance_from_str=lambda words: _read(read_integer if whole else _real, words[0]),
            is_instance=lambda value: isinstance(value, int if whole else int | float) and not isinstance(value, bool),
            str_from_instance=lambda value: [str(value)],
        )

    return registry


def _real(text: str) -> float:
    return fraction(text) if "/" in text else read_number(text)


def _read(reader: Callable[[str], Any], text: str) -> Any:
    """What the reader makes of a text. Raises: ValueError, no UserError: the parser adds the name of the option."""
    try:
        return reader(text)
    except UserError as error:
        problem = str(error)
    raise ValueError(problem)


def _user_error(stop: BaseException) -> UserError | None:
    """The mistake that made tyro stop, if one of our dataclasses found it."""
    cause = stop.__context__
    while cause is not None and not isinstance(cause, UserError):
        cause = cause.__context__
    return cause


def _field_options(read: Callable[[Sequence[str]], Any]) -> list[str]:
    """The options of the help page: those in its left column, for text may speak of others."""
    page = io.StringIO()
    with redirect_stdout(page), suppress(SystemExit):
        read(["--help"])
    columns = re.findall(r"^[│ ] (-\S+(?:, -\S+)*)", page.getvalue(), flags=re.MULTILINE)
    return [option for column in columns for option in re.findall(r"--[a-z][\w.-]*", column)]


def _message(box: str) -> str:
    """The text of a box of tyro, without its title and its advice."""
    # On terminals that are not UTF-8 the frame is of blanks and hyphens.
    lines = [line.strip("│ ") for line in box.splitlines()[1:]]
    text = " ".join(takewhile(lambda line: not _is_rule(line), dropwhile(_is_rule, lines))).rstrip(" .")
    # An empty line parts the types that a value may have; the last of them is not None.
    text = re.sub(r"no type matching .* Got errors: .*- <class '\w+'>: ", "", text)
    return re.sub(r"^Error parsing (--\S+): must", r"\1 must", text)


def _is_rule(line: str) -> bool:
    return line != "" and set(line) <= set("─-╰╯ ")
