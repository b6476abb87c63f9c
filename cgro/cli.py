"""The console command `cgro`: list, simulate, check, train, evaluate, figure, memorize, reproduce."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from cgro import interrupts, streams
from cgro.data.folder import reading_from
from cgro.errors import UserError
from cgro.registry import did_you_mean, option_names

PRESETS, CHECK_PRESETS = ("quick", "paper"), ("quick", "deep")
TRAIN_PRESETS = ("digits", "mnist", "cifar10")
USER_ERROR, READER_LEFT = 2, 141
KEPT = {"simulate": "finished cells are kept", "reproduce": "finished cells are kept", "train": "checkpoints are kept"}
"""What a command keeps when it is stopped; the others begin anew."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    0 done, 1 a check failed, 2 a user's mistake or an output that cannot be written, 130, 143 and 129 stopped by
    Ctrl-C, SIGTERM and SIGHUP, 141 nobody reads standard output.
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
                print(f"\ncgro: interrupted; {_how_to_go_on(arguments)}", file=sys.stderr)
                return stop.code
            if isinstance(error, streams.OutputLostError):
                if error.reader_left:
                    return READER_LEFT
                error = UserError(f"standard output: cannot write ({error}); write it elsewhere")
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


def _how_to_go_on(arguments: Sequence[str]) -> str:
    kept = KEPT.get(arguments[0]) if arguments else None
    if kept is None:
        return "repeat the command to start again"
    return f"{kept}, repeat the command {'without --fresh ' if '--fresh' in arguments else ''}to resume"


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see `{self.prog} --help`")


def _parser() -> tuple[_Parser, dict[str, argparse.ArgumentParser]]:
    results = _Parser(add_help=False)
    results.add_argument(
        "--results",
        type=Path,
        default=Path(os.environ.get("CGRO_RESULTS", "results")),
        metavar="DIR",
        help="folder of results (default: CGRO_RESULTS, or ./results)",
    )
    work = _Parser(add_help=False)
    work.add_argument("--preset", choices=PRESETS, default="quick", help="quick: a minute; paper: full scale")
    work.add_argument(
        "--jobs",
        type=int,
        metavar="N",
        help="worker processes (default: one for each core if a cell of the experiment uses one core, else 1)",
    )
    work.add_argument("--dask", metavar="ADDRESS", help="compute on the Dask cluster with this scheduler address")
    work.add_argument("--fresh", action="store_true", help="compute again what is stored")
    work.add_argument("--quiet", action="store_true", help="no progress, only the result")
    work.add_argument("--data-dir", type=Path, metavar="DIR", help="folder of image data sets (default: CGRO_DATA)")

    parser = _Parser(
        prog="cgro",
        description="Clean generalization and robust overfitting: simulate, check, draw.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("list", help="experiments, checks and figures with a line on each")
    simulate = commands.add_parser(
        "simulate",
        parents=[results, work],
        allow_abbrev=False,
        help="run an experiment; fields of its configuration are options",
        add_help=False,
    )
    simulate.add_argument("name", help="experiment, see `cgro list`; `cgro simulate NAME --help` shows its fields")
    check = commands.add_parser(
        "check",
        parents=[results],
        allow_abbrev=False,
        help="check claims of the theory; parameters of a single one are options",
        add_help=False,
    )
    _add_check(check)
    train = commands.add_parser(
        "train",
        parents=[results],
        allow_abbrev=False,
        help="train one network on images; fields of its configuration are options",
        add_help=False,
    )
    _add_train(train)
    _add_evaluate(
        commands.add_parser("evaluate", allow_abbrev=False, help="clean and robust accuracy of a trained network")
    )
    figure = commands.add_parser("figure", parents=[results], allow_abbrev=False, help="draw figures of stored results")
    figure.add_argument("names", nargs="*", metavar="NAME", help="figures (default: all)")
    figure.add_argument("--preset", choices=PRESETS, default="quick", help="which preset's result to draw")
    figure.add_argument("--result", type=Path, metavar="FILE", help="draw this result file instead of a preset's")
    figure.add_argument("--output", type=Path, metavar="DIR", help="folder of figures (default: RESULTS/figures)")
    _add_memorize(
        commands.add_parser("memorize", allow_abbrev=False, help="memorize a file of labelled points robustly")
    )
    commands.add_parser(
        "reproduce",
        parents=[results, work],
        allow_abbrev=False,
        help="run every experiment and check, draw every figure, write RESULTS/report.html",
    )
    return parser, {"simulate": simulate, "check": check, "train": train}


def _add_check(check: argparse.ArgumentParser) -> None:
    check.description = "A table, one row for each claim: source, evidence, where it was tested, slack, verdict."
    add = check.add_argument
    add("names", nargs="*", metavar="NAME", help="checks, see `cgro list` (default: all); `cgro check NAME --help`")
    add("--preset", choices=CHECK_PRESETS, default="quick", help="quick: a minute or two for all; deep: more cases")
    add("--json", action="store_true", help="print the verdicts as JSON")
    add("--jobs", type=int, metavar="N", help="worker processes (default: one for each core)")
    add(
        "--time-limit",
        type=_seconds,
        default=float("inf"),
        metavar="S",
        help="seconds after which a check is undecided",
    )
    add("--seeds", type=_count, default=0, metavar="N", help="repeat checks that draw with N other seeds")
    add("--quiet", action="store_true", help="no progress, only the result")


def _add_train(train: argparse.ArgumentParser) -> None:
    train.description = (
        "Adversarial training on digits, MNIST or CIFAR. The same command goes on where it was interrupted; "
        "`torchrun --nproc-per-node N -m cgro train ...` shares it among N processes. "
        "`cgro train --preset NAME --help` shows the fields."
    )
    add = train.add_argument
    add("--preset", choices=TRAIN_PRESETS, default="digits", help="data set, network and recipe (default: digits)")
    add("--output", type=Path, metavar="DIR", help="folder of the checkpoints (default: RESULTS/train/HASH)")
    add("--fresh", action="store_true", help="begin anew, deleting the checkpoints of this configuration")
    add(
        "--checkpoint-every",
        type=_seconds,
        default=120.0,
        metavar="S",
        help="seconds between checkpoints, besides evaluated epochs (default: 120)",
    )
    add("--quiet", action="store_true", help="no progress, only the result")
    add("--data-dir", type=Path, metavar="DIR", help="folder of image data sets (default: CGRO_DATA)")


def _add_evaluate(evaluate: argparse.ArgumentParser) -> None:
    evaluate.description = (
        "Accuracy with Wilson intervals: clean, under PGD, and after each stage of a strong ensemble (PGD, APGD, "
        "targeted APGD). Radius and norm are those of the training unless given."
    )
    add = evaluate.add_argument
    add("checkpoint", type=Path, metavar="FILE", help="best.safetensors or last.safetensors of `cgro train`")
    add("--part", choices=("test", "held_out", "train"), default="test", help="images (default: test)")
    add(
        "--images",
        type=_positive,
        default=1000,
        metavar="N",
        help="evaluate at most N images, 10 or more (default: 1000)",
    )
    add("--steps", type=_positive, default=20, metavar="K", help="steps of plain PGD (default: 20)")
    add("--fast", action="store_true", help="leave the strong ensemble out")
    add("--norm", choices=("1", "2", "inf"), help="another norm than that of the training")
    add("--radius", type=float, help="another radius, in units of pixels in [0, 1]; needed with another norm")
    add("--batch", type=_positive, default=256, metavar="N", help="images attacked at once (default: 256)")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute (default: auto)")
    add("--seed", type=_count, default=0, help="seed of random starts (default: 0)")
    add("--json", action="store_true", help="print JSON in place of the table")
    add("--quiet", action="store_true", help="no progress, only the result")
    add("--data-dir", type=Path, metavar="DIR", help="folder of image data sets (default: CGRO_DATA)")


def _add_memorize(memorize: argparse.ArgumentParser) -> None:
    memorize.description = "A ReLU network that robustly memorizes labelled points, its certificate and its size."
    add = memorize.add_argument
    add(
        "points",
        type=Path,
        metavar="FILE",
        help=".csv table with a label in each row, or .npz with points and labels",
    )
    add("--label", metavar="NAME", help="column of the label (default: label, class, target or y, else the last)")
    add("--norm", default="inf", metavar="P", help="norm of the perturbation: 1, 2 or inf (default: inf)")
    size = memorize.add_mutually_exclusive_group()
    size.add_argument("--radius", type=_fraction, help="perturbation radius in input units, e.g. 0.03 or 8/255")
    size.add_argument(
        "--ratio", type=_fraction, default=0.5, help="radius over half the separation, in (0, 1) (default: 0.5)"
    )
    add("--construction", metavar="NAME", help="which construction (default: the first for the norm)")
    add("--readout", choices=("sign", "label"), help="default: sign for the labels -1 and 1, label for others")
    add(
        "--verify",
        type=_count,
        default=5,
        metavar="N",
        help="points certified again from the weights alone (default: 5)",
    )
    add("--time-limit", type=_seconds, default=60.0, metavar="S", help="seconds of MILP for each of them (default: 60)")
    add("--export", type=_count, default=0, metavar="N", help="write ONNX and VNN-LIB properties of the first N points")
    add(
        "--export-dtype",
        choices=("float64", "float32"),
        help="numbers of the ONNX file (default: float64); a network rounded to float32 is certified again",
    )
    add("--output", type=Path, metavar="DIR", help="folder of the files (default: FILE without suffix, -memorizer)")
    add("--json", action="store_true", help="print the report as JSON, which report.json holds too")


def _fraction(text: str) -> float:
    from cgro.validate import fraction

    try:
        return fraction(text)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of points: allowed are 0, 1, 2, ...")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no count: allowed are 1, 2, ...")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no time: allowed are seconds above 0")
    return value


def _dispatch(arguments: list[str]) -> int:
    parser, open_ended = _parser()
    # Their --help after a name is that of the experiment or check.
    if arguments and arguments[0] in open_ended and set(arguments[1:]) <= {"-h", "--help"}:
        open_ended[arguments[0]].print_help()
        return 0
    options, rest = parser.parse_known_args(arguments)
    if rest and options.command not in open_ended:
        hint = did_you_mean(rest[0], option_names(options))
        raise UserError(f"unrecognized arguments: {' '.join(rest)}; {hint}see `cgro {options.command} --help`")
    # The heavy imports come after parsing, so that help and usage errors are immediate.
    if options.command == "memorize":
        from cgro import memorizing

        return memorizing.run(options)
    if getattr(options, "quiet", False):
        logging.getLogger("cgro").setLevel(logging.WARNING)
    with reading_from(getattr(options, "data_dir", None)):
        return _run(options, rest)


def _run(options: argparse.Namespace, rest: list[str]) -> int:
    if options.command in ("train", "evaluate"):
        from cgro import learning

        return learning.train(options, rest) if options.command == "train" else learning.evaluate(options)
    from cgro import commands

    match options.command:
        case "list":
            return commands.show_list()
        case "simulate":
            return commands.simulate(options, rest)
        case "check":
            return commands.check(options, rest)
        case "figure":
            return commands.figure(options)
        case _:
            return commands.reproduce(options)
