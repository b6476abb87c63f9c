"""The console command `cgro`: list, simulate, check, train, evaluate, figure, memorize, reproduce."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from cgro.base import interrupts, streams
from cgro.base.errors import UserError
from cgro.base.files import StorageError
from cgro.base.machine import available_cores
from cgro.cli.options import TRAIN_PRESETS, command_parsers
from cgro.data.folder import reading_from
from cgro.runs.registry import Kind, did_you_mean, require

OPEN_ENDED = ("simulate", "check", "train")
"""Commands that take fields of a configuration or parameters of a check as options, too."""
NAMED: dict[str, Kind] = {"simulate": "experiment", "check": "check", "figure": "figure"}
"""Commands that name what they work on, and of which kind it is."""
USER_ERROR, READER_LEFT = 2, 141
KEPT = {"simulate": "finished cells are kept", "reproduce": "finished cells are kept", "train": "checkpoints are kept"}
"""What a command keeps when it is stopped; the others begin anew."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    0 done, 1 a check failed or all runs of a simulation diverged, 2 a user's mistake or an output that cannot be
    written, 130, 143 and 129 stopped by Ctrl-C, SIGTERM and SIGHUP, 141 nobody reads standard output.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    with streams.guarded(), interrupts.answered() as stop:
        logging.basicConfig(format="cgro: %(message)s")
        logging.getLogger("cgro").setLevel(logging.INFO)
        try:
            return _flushed(arguments)
        except (Exception, KeyboardInterrupt) as error:
            # What a signal stops may end in any error: that of a worker that it ended, say.
            if stop.number is not None or isinstance(error, KeyboardInterrupt):
                stop.given = True
                print(f"\ncgro: interrupted; {_how_to_go_on(arguments, error)}", file=sys.stderr)
                return stop.code
            if isinstance(error, streams.OutputLostError):
                if error.reader_left:
                    return READER_LEFT
                error = UserError(f"standard output: cannot write ({error}); write it elsewhere")
            if isinstance(error, OSError) and error.filename is not None:
                error = UserError(f"{os.fsdecode(error.filename)}: {error.strerror}; give another path")
            if isinstance(error, UserError):
                print(f"cgro: error: {streams.clean(str(error))}", file=sys.stderr)
                return USER_ERROR
            raise


def _flushed(arguments: list[str]) -> int:
    """The command's exit code, once its output has left; --help raises SystemExit."""
    try:
        return _dispatch(arguments)
    finally:
        sys.stdout.flush()


def _how_to_go_on(arguments: Sequence[str], error: BaseException) -> str:
    if isinstance(error, StorageError):  # it says what is kept
        return streams.clean(str(error))
    kept = KEPT.get(arguments[0]) if arguments else None
    if kept is None:
        return "repeat the command to start again"
    return f"{kept}, repeat the command {'without --fresh ' if '--fresh' in arguments else ''}to resume"


def _dispatch(arguments: list[str]) -> int:
    parser, commands = command_parsers()
    options, rest = parser.parse_known_args(arguments)
    own = commands[options.command]
    options.own_options, options.typed = own.long_options(), arguments
    if options.command in OPEN_ENDED:
        # Their --help after a name is that of the experiment or check.
        if {"-h", "--help"} & set(rest) and not (_names(options) or options.preset in TRAIN_PRESETS):
            own.print_help()
            return 0
        if options.command == "simulate" and options.name is None:
            raise UserError("the following arguments are required: NAME, an experiment; see `cgro list`")
    elif rest:
        hint = did_you_mean(rest[0].partition("=")[0], options.own_options, cutoff=0.6)
        raise UserError(f"unrecognized arguments: {' '.join(rest)}; {hint}see `cgro {options.command} --help`")
    if any("\0" in word for word in arguments):
        raise UserError(f"{next(word for word in arguments if chr(0) in word)}: no name or path holds the character 0")
    if options.command not in ("list", "figure"):
        available_cores()  # refuses a wrong CGRO_THREADS before any work
    for name in _names(options):
        _require_name(NAMED[options.command], name, options, rest)
    if getattr(options, "quiet", False):
        logging.getLogger("cgro").setLevel(logging.WARNING)
    with reading_from(getattr(options, "data_dir", None)):
        return _run(options, rest)


def _names(options: argparse.Namespace) -> list[str]:
    """The experiment, the checks or the figures that the command line names."""
    names = [getattr(options, "name", None), *getattr(options, "names", [])]
    return [name for name in names if name is not None]


def _require_name(kind: Kind, name: str, options: argparse.Namespace, rest: list[str]) -> None:
    """Refuse an unknown name; after an unknown option it is the value of that, and the option is the mistake."""
    try:
        require(kind, name)
    except UserError:
        if not rest or not rest[0].startswith("-") or options.typed.index(rest[0]) > options.typed.index(name):
            raise
        hint = did_you_mean(rest[0].partition("=")[0], options.own_options, cutoff=0.6)
        article = "an experiment" if kind == "experiment" else f"a {kind}"
        raise UserError(
            f"{rest[0]}: unknown; {hint}options of {article} follow its name, "
            f"`cgro {options.command} NAME {rest[0]} ...`"
        ) from None


def _run(options: argparse.Namespace, rest: list[str]) -> int:
    """Run the command; each imports what it needs only now, so that help and mistakes are immediate."""
    match options.command:
        case "list":
            from cgro.cli import listing

            return listing.show_list()
        case "simulate":
            from cgro.cli import commands

            return commands.simulate(options, rest)
        case "check":
            from cgro.cli import commands

            return commands.check(options, rest)
        case "train":
            from cgro.cli import learning

            options.preset = options.preset or "digits"
            return learning.train(options, rest)
        case "evaluate":
            from cgro.cli import learning

            return learning.evaluate(options)
        case "figure":
            with _without_windows():
                from cgro.cli import drawing

                return drawing.figure(options)
        case "memorize":
            from cgro.cli import memorizing

            return memorizing.run(options)
        case _:
            with _without_windows():
                from cgro.cli import reproducing

                return reproducing.reproduce(options)


@contextmanager
def _without_windows() -> Iterator[None]:
    """Figures go to files: a user's backend, missing here perhaps, must not keep matplotlib from loading."""
    before = os.environ.get("MPLBACKEND")
    os.environ["MPLBACKEND"] = "agg"
    try:
        yield
    finally:
        if before is None:
            del os.environ["MPLBACKEND"]
        else:
            os.environ["MPLBACKEND"] = before
