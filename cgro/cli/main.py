"""The console command `cgro`: the first word names a command, a module beside this one with `Options` and `run`."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module, metadata

from cgro.base import interrupts, streams
from cgro.base.errors import UserError
from cgro.base.files import StorageError
from cgro.base.machine import available_cores
from cgro.data.folder import reading_from
from cgro.runs.registry import did_you_mean

COMMANDS = {
    "list": "list experiments, checks and figures",
    "simulate": "run an experiment; the fields of its configuration are options",
    "check": "check claims of the theory; the parameters of a single check are options",
    "train": "train one network on images; the fields of its configuration are options",
    "evaluate": "measure the clean and robust accuracy of trained networks",
    "figure": "draw figures of stored results",
    "memorize": "memorize a file of labelled points robustly, and certify the network",
    "memorized": "find the training images that a network memorizes, and which of them harm",
    "results": "list, open, compare, export and check stored results, and say what may be deleted",
    "reproduce": "run all experiments, checks and figures, and write RESULTS/report.html",
}
HELP = """usage: cgro [-h] [--version] COMMAND ...

Clean generalization and robust overfitting: simulate, check, draw.

commands (`cgro COMMAND --help` shows the options):
""" + "\n".join(f"  {name:<11}{words}" for name, words in COMMANDS.items())
USER_ERROR, READER_LEFT = 2, 141
KEPT = dict.fromkeys(("simulate", "reproduce", "memorized"), "finished cells are kept")
KEPT["train"] = "checkpoints are kept"
"""What a command keeps when it is interrupted; the other commands start over."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    0: success. 1: a check failed, or all runs of a simulation diverged. 2: user error, or output that cannot be
    written. 130, 143, 129: stopped by Ctrl-C, SIGTERM, SIGHUP. 141: standard output was closed by its reader.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    with streams.guarded(), interrupts.answered() as stop:
        logging.basicConfig(format="cgro: %(message)s")
        logging.getLogger("cgro").setLevel(logging.INFO)
        try:
            stop.listen()
            code = _flushed(arguments)
            stop.listening = False
            return code
        except (Exception, KeyboardInterrupt) as error:
            # Work stopped by a signal may end in any error, e.g. that of a worker that the signal killed.
            if stop.number is not None or isinstance(error, KeyboardInterrupt):
                stop.listening = False
                print(f"\ncgro: interrupted; {_how_to_resume(arguments, error)}", file=sys.stderr)
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
    """Run the command and flush its output; returns the exit code."""
    try:
        return _dispatch(arguments)
    except SystemExit as stop:
        if stop.code:
            raise
        return 0  # after a help page
    finally:
        sys.stdout.flush()


def _how_to_resume(arguments: Sequence[str], error: BaseException) -> str:
    if isinstance(error, StorageError):  # it says what is kept
        return streams.clean(str(error))
    kept = KEPT.get(arguments[0]) if arguments else None
    if kept is None:
        return "repeat the command to start again"
    return f"{kept}, repeat the command {'without --fresh ' if '--fresh' in arguments else ''}to resume"


def _dispatch(arguments: list[str]) -> int:
    """Read the command line and run the command. Imports only what it needs, so that help is immediate."""
    match arguments:
        case []:
            raise UserError("the following arguments are required: COMMAND; see `cgro --help`")
        case ["-h" | "--help", *_]:
            print(HELP)
            return 0
        case ["--version", *_]:
            print("cgro", _version())
            return 0
        case [name, *words]:
            if name not in COMMANDS:
                hint = did_you_mean(name, COMMANDS, cutoff=0.6)
                raise UserError(f"invalid choice: {name!r}; {hint}choose one of {', '.join(COMMANDS)}")
    if any("\0" in word for word in words):
        raise UserError(f"{next(word for word in words if chr(0) in word)}: a null character is not allowed")
    command = import_module(f"cgro.cli.{name}")
    if name == "list" and not words:  # faster than importing tyro
        return int(command.run(command.Options(), None))
    from cgro.cli.reading import Page, read

    page = command.page(words) if hasattr(command, "page") else Page(f"cgro {name}")
    options, rest = read(command.Options, words, page)
    if name not in ("list", "figure"):
        available_cores()  # refuses an invalid CGRO_THREADS before any work
    if getattr(options, "quiet", False):
        logging.getLogger("cgro").setLevel(logging.WARNING)
    with reading_from(getattr(options, "data_dir", None)):
        return int(command.run(options, rest))


def _version() -> str:
    try:
        return metadata.version("cgro")
    except metadata.PackageNotFoundError:
        return "not installed"
