"""The options of every command, and how their values are read; imports nothing heavy, so that help is immediate."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from importlib import metadata
from typing import Any, NoReturn

from cgro.base.errors import UserError
from cgro.cli.option_values import count, file, folder, fraction, given, jobs, positive, seconds

PRESETS, CHECK_PRESETS = ("quick", "paper"), ("quick", "deep")
TRAIN_PRESETS = ("digits", "mnist", "cifar10")


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line, and which takes no abbreviations."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **(options | {"allow_abbrev": False}))

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see `{self.prog} --help`")

    def long_options(self) -> list[str]:
        """Every option that this parser takes, `--help` too."""
        own = [name for action in self._actions for name in action.option_strings if name.startswith("--")]
        return sorted({*own, "--help"})


class _Version(argparse.Action):
    """Prints the version; looked up only when asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        try:
            print("cgro", metadata.version("cgro"))
        except metadata.PackageNotFoundError:
            print("cgro, not installed")
        parser.exit()


def command_parsers() -> tuple[_Parser, dict[str, _Parser]]:
    """The parser of the command line, and that of each command by name."""
    parser = _Parser(prog="cgro", description="Clean generalization and robust overfitting: simulate, check, draw.")
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    made: dict[str, _Parser] = {}

    def add(name: str, words: str, *fill: Callable[[_Parser], None], add_help: bool = True) -> None:
        made[name] = commands.add_parser(name, help=words, add_help=add_help)
        for more in fill:
            more(made[name])

    add("list", "experiments, checks and figures with a line on each: a table, or tab-separated in a pipe")
    add(
        "simulate",
        "run an experiment; fields of its configuration are options",
        _add_results,
        _add_work,
        _add_simulate,
        add_help=False,
    )
    add(
        "check",
        "check claims of the theory; parameters of a single one are options",
        _add_results,
        _add_check,
        add_help=False,
    )
    add(
        "train",
        "train one network on images; fields of its configuration are options",
        _add_results,
        _add_train,
        add_help=False,
    )
    add("evaluate", "clean and robust accuracy of a trained network", _add_evaluate)
    add("figure", "draw figures of stored results", _add_results, _add_figure)
    add("memorize", "memorize a file of labelled points robustly", _add_memorize)
    add(
        "reproduce",
        "run every experiment and check, draw every figure, write RESULTS/report.html",
        _add_results,
        _add_work,
    )
    return parser, made


def _add_results(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--results",
        type=folder,
        # A string, so that it is examined like one that was typed. Empty is as good as unset.
        default=os.environ.get("CGRO_RESULTS") or "results",
        metavar="DIR",
        help="folder of results (default: CGRO_RESULTS, or ./results)",
    )


def _add_data_dir(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--data-dir", type=folder, metavar="DIR", help="folder of image data sets (default: CGRO_DATA)"
    )


def _add_work(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--preset", choices=PRESETS, default="quick", help="quick: a minute; paper: full scale")
    add(
        "--jobs",
        type=jobs,
        metavar="N",
        help="worker processes (default: one for each core if a cell of the experiment uses one core, else 1)",
    )
    add("--dask", type=given, metavar="ADDRESS", help="compute on the Dask cluster with this scheduler address")
    add("--fresh", action="store_true", help="recompute stored results")
    add("--quiet", action="store_true", help="no progress, only the result")
    _add_data_dir(command)


def _add_simulate(simulate: argparse.ArgumentParser) -> None:
    simulate.add_argument(
        "name",
        nargs="?",
        metavar="NAME",
        help="experiment, see `cgro list`; `cgro simulate NAME --help` shows its fields",
    )


def _add_figure(figure: argparse.ArgumentParser) -> None:
    figure.description = (
        "Draw figures of stored results as PDF and PNG, with the numbers as CSV: of the newest stored result, or of a "
        "published one where the checkout has it."
    )
    add = figure.add_argument
    add("names", nargs="*", metavar="NAME", help="figures, see `cgro list` (default: all that have a result)")
    add("--preset", choices=PRESETS, help="draw the result of this preset (default: the newest result)")
    add("--result", type=file, metavar="FILE", help="draw this result file")
    add("--output", type=folder, metavar="DIR", help="folder of figures (default: RESULTS/figures)")


def _add_check(check: argparse.ArgumentParser) -> None:
    check.description = "A table, one row for each claim: source, evidence, where it was tested, slack, verdict."
    add = check.add_argument
    add("names", nargs="*", metavar="NAME", help="checks, see `cgro list` (default: all); `cgro check NAME --help`")
    add("--preset", choices=CHECK_PRESETS, default="quick", help="quick: a minute or two for all; deep: more cases")
    add("--json", action="store_true", help="print the verdicts as JSON")
    add("--jobs", type=jobs, metavar="N", help="worker processes (default: one for each core)")
    add(
        "--time-limit",
        type=seconds,
        default=float("inf"),
        metavar="S",
        help="seconds after which a check is undecided",
    )
    add("--seeds", type=count, default=0, metavar="N", help="repeat checks that draw with N other seeds")
    add("--quiet", action="store_true", help="no progress, only the result")


def _add_train(train: argparse.ArgumentParser) -> None:
    train.description = (
        "Adversarial training on digits, MNIST or CIFAR. Repeat an interrupted command to resume it; "
        "`torchrun --nproc-per-node N -m cgro train ...` shares it among N processes. "
        "`cgro train --preset NAME --help` shows the fields."
    )
    add = train.add_argument
    add("--preset", choices=TRAIN_PRESETS, help="data set, network and recipe (default: digits)")
    add("--output", type=folder, metavar="DIR", help="folder of the checkpoints (default: RESULTS/train/HASH)")
    add("--fresh", action="store_true", help="begin anew, deleting the checkpoints of this configuration")
    add(
        "--checkpoint-every",
        type=seconds,
        default=120.0,
        metavar="S",
        help="seconds between checkpoints, besides the last (default: 120)",
    )
    add("--quiet", action="store_true", help="no progress, only the result")
    _add_data_dir(train)


def _add_evaluate(evaluate: argparse.ArgumentParser) -> None:
    evaluate.description = (
        "Accuracy with Wilson intervals: clean, under PGD, and after each stage of a strong ensemble (PGD, APGD, "
        "targeted APGD). Radius and norm are those of the training unless given."
    )
    add = evaluate.add_argument
    add(
        "checkpoints",
        nargs="+",
        type=file,
        metavar="FILE",
        help="checkpoints of `cgro train`, or its folders: the best one of each",
    )
    add("--part", choices=("test", "held_out", "train"), default="test", help="images (default: test)")
    add(
        "--images",
        type=positive,
        default=1000,
        metavar="N",
        help="evaluate at most N images, 10 or more (default: 1000)",
    )
    add(
        "--steps", type=positive, default=20, metavar="K", help="steps of PGD, at least those of training (default: 20)"
    )
    add("--fast", action="store_true", help="leave the strong ensemble out")
    add("--norm", choices=("1", "2", "inf"), help="another norm than that of the training")
    add("--radius", type=fraction, help="another radius, in pixels in [0, 1], e.g. 8/255; needed with another norm")
    add("--batch", type=positive, default=256, metavar="N", help="images attacked at once (default: 256)")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute (default: auto)")
    add("--seed", type=count, default=0, help="seed of random starts (default: 0)")
    add("--json", action="store_true", help="print JSON in place of the table")
    add("--quiet", action="store_true", help="no progress, only the result")
    _add_data_dir(evaluate)


def _add_memorize(memorize: argparse.ArgumentParser) -> None:
    memorize.description = "A ReLU network that robustly memorizes labelled points, its certificate and its size."
    add = memorize.add_argument
    add(
        "points",
        type=file,
        metavar="FILE",
        help=".csv table with a label in each row, or .npz with points and labels",
    )
    add(
        "--label",
        type=given,
        metavar="NAME",
        help="column of the label (default: label, class, target or y, else the last)",
    )
    add("--norm", default="inf", metavar="P", help="norm of the perturbation: 1, 2 or inf (default: inf)")
    size = memorize.add_mutually_exclusive_group()
    size.add_argument("--radius", type=fraction, help="perturbation radius in input units, e.g. 0.03 or 8/255")
    size.add_argument(
        "--ratio", type=fraction, default=0.5, help="radius over half the separation, in (0, 1) (default: 0.5)"
    )
    add("--construction", type=given, metavar="NAME", help="which construction (default: the first for the norm)")
    add("--readout", choices=("sign", "label"), help="default: sign for the labels -1 and 1, label for others")
    add(
        "--verify",
        type=count,
        default=5,
        metavar="N",
        help="points certified again from the weights alone (default: 5)",
    )
    add(
        "--nodes",
        type=positive,
        default=10_000,
        metavar="N",
        help="MILP branch-and-bound nodes for each of them (default: 10000, seconds to minutes)",
    )
    add("--export", type=count, default=0, metavar="N", help="write ONNX and VNN-LIB properties of the first N points")
    add(
        "--export-dtype",
        choices=("float64", "float32"),
        help="numbers of the ONNX file (default: float64); a network rounded to float32 is certified again",
    )
    add("--output", type=folder, metavar="DIR", help="folder of the files (default: FILE without suffix, -memorizer)")
    add("--json", action="store_true", help="print the report as JSON, which report.json holds too")
