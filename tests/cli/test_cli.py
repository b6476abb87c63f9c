"""The command line: a mistake is one line and code 2, and a run may be killed at any moment and started again."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import xarray as xr
from tools import NAP_COUNT, NAPS, SMALL, Fork, Outcome, files_below, finish, full_disk, signalled, start

from cgro.base.errors import UserError
from cgro.cli import figure
from cgro.cli import list as listing
from cgro.cli.main import main
from cgro.plots import output
from cgro.runs import registry, store
from cgro.runs.cell_store import Cells, Name
from cgro.runs.packing import attributes

Cgro = Callable[..., Outcome]
DIAGRAM = ("simulate", "phase-diagram", "--quiet")
TINY = (*SMALL, "--steps", 20, "--x.count", 3, "--y.count", 2, "--seeds", 1, "--records", 2, "--test-samples", 16)

# What is typed after `simulate`, and what the one line must say.
MISTAKES: dict[str, tuple[str, ...]] = {
    "phase-diagram --samples 0": ("samples must be an integer of at least 1", "got 0"),
    "phase-diagram --patches -2": ("patches must be an integer of at least 1", "got -2"),
    "phase-diagram --filters 0": ("filters must be an integer of at least 1", "got 0"),
    "phase-diagram --dim 1": ("dim must be at least 2", "got 1"),
    "phase-diagram --steps 0": ("steps must be an integer of at least 1", "got 0"),
    "phase-diagram --seeds -1": ("seeds must be an integer of at least 1", "got -1"),
    "phase-diagram --seeds=0": ("seeds must be an integer of at least 1", "got 0"),
    "phase-diagram --seeds 1.5": ("--seeds", "'1.5'", "see `cgro simulate phase-diagram --help`"),
    "phase-diagram --seeds": ("--seeds", "Missing value", "see `cgro simulate phase-diagram --help`"),
    "phase-diagram --test-samples 0": ("test_samples must be an integer of at least 1", "got 0"),
    "phase-diagram --radius-ratio -0.1": ("radius_ratio must be at least 0", "got -0.1"),
    "phase-diagram --radius-ratio nan": ("radius_ratio must be finite", "got nan"),
    "phase-diagram --signal inf": ("signal must be finite", "got inf"),
    "phase-diagram --noise-norm -inf": ("noise_norm must be finite", "got -inf"),
    "phase-diagram --adversarial-weight 1.5": ("adversarial_weight must be in [0, 1]", "got 1.5"),
    "phase-diagram --adversarial-weight -1e-3": ("adversarial_weight must be in [0, 1]", "got -0.001"),
    "phase-diagram --exponent 1.9": ("exponent must be at least 2", "got 1.9"),
    "phase-diagram --sampling gram --dim 20 --samples 30": ("dim must be at least 30", "noise patches", "got 20"),
    "phase-diagram --activation tanh": ("'tanh'", "--activation", "'odd', 'relu'"),
    "phase-diagram --attack fgsm": ("'fgsm'", "--attack", "'transfer', 'worst', 'pgd-l2', 'pgd-linf'"),
    "phase-diagram --x.name radus_ratio": (
        "axis must be one of samples",
        "got 'radus_ratio'",
        "did you mean radius_ratio?",
    ),
    "phase-diagram --x.low nan": ("low of axis radius_ratio must be below high", "got nan"),
    "phase-diagram --x.count 1": ("count of axis radius_ratio must be at least 2", "got 1"),
    "phase-diagram --y.low -2": ("low of axis noise_norm must be greater than 0", "got -2"),
    "phase-diagram --x.name samples --x.low 1 --x.high inf": ("low and high of axis samples must be finite", "got inf"),
    "phase-diagram --x.name noise_norm": ("axes x and y must differ", "got noise_norm"),
    "phase-diagram --sedes 3": ("--sedes", "did you mean --seeds", "see `cgro simulate phase-diagram --help`"),
    "phase-diagram --sedes=3": ("--sedes", "did you mean --seeds"),
    "phase-diagram --setting.samples 3": ("--setting.samples", "see `cgro simulate phase-diagram --help`"),
    "phase-diagram --resuls x": ("--resuls", "did you mean --results"),
    "phase-diagram 7": ("7", "see `cgro simulate phase-diagram --help`"),
    "phase-diagram --preset huge": ("--preset", "'huge'", "'quick', 'paper'"),
    "phase-diagram --jobs two": ("--jobs", "'two'", "see `cgro simulate phase-diagram --help`"),
    "phase-diagram --jobs 0": ("--jobs", "must be a positive integer", "'0'"),
    "phase-diagram --jobs 1000000": ("--jobs", "jobs = 1,000,000", "of memory"),
    "phase-diagram --jobs=-1": ("--jobs", "must be a positive integer", "'-1'"),
    "phase-diagram --jobs=": ("--jobs", "must be a positive integer", "''"),
    "phase-diagram --dask=": ("--dask", "must not be empty"),
    "phase-diagram --data-dir=": ("--data-dir", "must name a folder, got ''"),
    "phase-diagram --device=": ("device", "auto, cpu, cuda"),
    "phase-diagram --x.name=": ("axis", "must be one of samples", "got ''"),
    "image-cgro --data=": ("''", "--data", "'digits', 'mnist'"),
    "phase-diagram --device tpu": ("device must be one of auto, cpu, cuda", "got 'tpu'"),
    "phase-diagram --attack pgd-l2": ("attack", "got 'pgd-l2'", "use --engine direct"),
    "phase-transition --records 1": ("records must be an integer of at least 2", "got 1"),
    "phase-transition --engine grim": ("'grim'", "--engine", "'gram', 'direct'"),
    "training-objective --weights 0.5 -0.5": ("adversarial_weight must be in [0, 1]", "got -0.5"),
    "dimension --dims 0": ("dim must be an integer of at least 1", "got 0"),
    "activation --odd 3 1": ("exponent must be at least 2", "got 1.0"),
    "attack --trainings.0.attack fast": ("'fast'", "--trainings.0.attack", "'pgd-linf'"),
    "attack --sampling gram --dim 120": ("sampling must be vectors", "got 'gram'"),
    "image-cgro --epochs 0": ("epochs must be an integer from 1 to", "got 0"),
    "image-cgro --radius nan": ("radius must be finite", "got nan"),
    "phase-diagrams": ("experiment 'phase-diagrams'", "did you mean phase-diagram", "see `cgro list`"),
    "zzz": ("experiment 'zzz': unknown; see `cgro list`",),
}


@pytest.mark.parametrize("typed", MISTAKES)
def test_a_mistake_is_one_line(typed: str, cgro: Cgro, tmp_path: Path) -> None:
    error = cgro("simulate", *typed.split(), "--results", tmp_path, "--quiet").error
    for part in MISTAKES[typed]:
        assert part in error
    if not MISTAKES[typed][0].startswith(("--", "'", "7")):  # found by us, not by the parser
        assert error.startswith(f"cgro: error: {MISTAKES[typed][0]}")
    assert not set("│╭╰─") & set(error)
    assert files_below(tmp_path) == []


@pytest.mark.parametrize(
    ("typed", "parts"),
    [
        ("", ("required: COMMAND", "see `cgro --help`")),
        (
            "simulat",
            (
                "'simulat'",
                "did you mean simulate?",
                "choose one of list, simulate, check, train, ",
            ),
        ),
        ("list --quiet", ("unrecognized arguments: --quiet", "see `cgro list --help`")),
        ("figure --resuls x", ("unrecognized arguments: --resuls", "did you mean --results")),
        ("figure phase-diagrm", ("figure 'phase-diagrm'", "did you mean phase-diagram", "see `cgro list`")),
        ("check zzz", ("check 'zzz'", "see `cgro list`")),
        ("reproduce --jobs 0", ("--jobs", "must be a positive integer, got '0'")),
        ("check --jobs abc", ("--jobs", "must be a positive integer, got 'abc'")),
        ("check --jobs 9999999", ("--jobs", "of memory")),
        ("check --jobs " + 5000 * "9", ("--jobs", "must be a positive integer")),
        ("check --presett deep", ("unrecognized arguments: --presett", "did you mean --preset")),
        ("check --results=", ("--results", "must name a folder, got ''")),
        ("train --results=", ("--results", "must name a folder, got ''")),
        ("train --preset huge", ("--preset", "'huge'", "'digits', 'mnist', 'cifar10'")),
        ("train --output=", ("--output", "must name a folder, got ''")),
        ("evaluate ", ("required: FILE",)),
        ("evaluate x.safetensors --seed -3", ("--seed", "must be a non-negative integer, got '-3'")),
        ("memorize x.csv --construction=", ("--construction", "must not be empty")),
        ("figure --preset huge", ("--preset", "'huge'", "'quick', 'paper'")),
        ("figure --result=", ("--result", "must name a file, got ''")),
        ("check end-stat --seed 1", ("check 'end-stat'", "did you mean end-state")),
        ("check --seed 1", ("unrecognized arguments: --seed 1", "parameters belong to one check, `cgro check NAME")),
        ("simulate --sedes 3 phase-diagram", ("required: NAME of an experiment, before the options",)),
        ("simulate", ("required: NAME", "see `cgro list`")),
        ("simulate --preset paper", ("required: NAME",)),
        (
            "simulate phase-diagram --y.nolog",
            ("unrecognized arguments: --y.nolog; did you mean --y.no-log or --y.log? see",),
        ),
    ],
)
def test_a_mistake_of_another_command_is_one_line(
    typed: str, parts: tuple[str, ...], cgro: Cgro, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    error = cgro(*typed.split()).error
    for part in parts:
        assert part in error
    assert files_below(tmp_path) == []


def test_a_process_says_the_same() -> None:
    assert finish(start("list", "--sedes")).error.startswith("cgro: error: unrecognized arguments: --sedes; see ")


def test_threads_out_of_range(cgro: Cgro, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CGRO_THREADS", "many")
    error = cgro(*DIAGRAM, *TINY, "--results", tmp_path).error
    assert error == "cgro: error: CGRO_THREADS must be a positive integer, got 'many': change or unset it"
    assert files_below(tmp_path) == []


def test_help_without_a_name_shows_the_common_options(cgro: Cgro) -> None:
    for arguments in (
        ["simulate", "--help"],
        ["check", "-h"],
        ["train", "--help"],
        ["simulate", "--preset", "paper", "-h"],
    ):
        outcome = cgro(*arguments)
        assert (outcome.code, outcome.err) == (0, "")
        assert "--preset" in outcome.out


def test_help_shows_every_field(cgro: Cgro) -> None:
    outcome = cgro("simulate", "phase-diagram", "--help")
    assert (outcome.code, outcome.err) == (0, "")
    for option in ("--samples", "--adversarial-weight", "--x.name", "--y.no-log", "--seeds", "--device"):
        assert option in outcome.out


def test_list_names_everything(cgro: Cgro, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    outcome = cgro("list")
    assert outcome.code == 0
    for kind in ("experiment", "check", "figure"):
        for name in registry.files(kind):
            assert name in outcome.out


# Suggestions

COMMANDS = (
    ("list",),
    ("simulate", "phase-diagram"),
    ("simulate", "image-phases"),
    ("check", "end-state"),
    ("train",),
    ("evaluate", "x.safetensors"),
    ("figure", "phase-diagram"),
    ("memorize", "x.csv"),
    ("memorized", "digits"),
    ("reproduce",),
)


WORDS = (
    "--name",
    "--checkpoint",
    "--points",
    "--own-options",
    "--preset",
    "--data-dir",
    "--y.no-log",
    "--radius",
    "--json",
)
"""Options of some of the commands, and names of what is no option: the suggestions for misspelled ones are examined."""


def typos(option: str) -> tuple[str, ...]:
    """The option with a letter dropped, with two letters exchanged, and with a letter too many."""
    k = len(option) // 2 + 1
    return option[:k] + option[k + 1 :], option[: k - 1] + option[k] + option[k - 1] + option[k + 1 :], f"{option}s"


def is_accepted(cgro: Cgro, command: tuple[str, ...], option: str) -> bool:
    """Whether the command takes the option; it is followed by one that no command takes, so that nothing runs."""
    error = cgro(*command, option, "--no-such-option").error
    return not re.search(rf"(unrecognized|unknown)[^;]*{re.escape(option)}(?![\w.-])", error, flags=re.IGNORECASE)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_suggested_options_exist(
    command: tuple[str, ...], cgro: Cgro, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # Each word with one of the three.
    errors = [cgro(*command, typos(option)[k % 3]).error for k, option in enumerate((*WORDS, "--help"))]
    suggested = {o for error in errors for o in re.findall(r"--[\w.-]+", "".join(re.findall(r"mean ([^?]*)\?", error)))}
    assert "--help" in suggested
    assert not is_accepted(cgro, command, "--no-such")
    assert [option for option in sorted(suggested - {"--help"}) if not is_accepted(cgro, command, option)] == []


# Storage


@pytest.fixture(scope="module")
def made_first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of results with a stored one, to be copied."""
    folder = tmp_path_factory.mktemp("made")
    assert main([*map(str, (*DIAGRAM, *TINY)), "--results", str(folder)]) == 0
    return folder


@pytest.fixture
def made(made_first: Path, tmp_path: Path) -> Path:
    """A stored result."""
    shutil.copytree(made_first, tmp_path / "results")
    (path,) = (tmp_path / "results" / "phase-diagram").glob("*.nc")
    return path


def test_a_result_says_how_it_was_made(made: Path) -> None:
    attributes = store.load(made).attrs
    assert attributes["experiment"] == "phase-diagram"
    assert attributes["command"].startswith("cgro simulate phase-diagram --samples 6 --patches 2")


def test_a_stored_result_is_not_made_again(made: Path, cgro: Cgro, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in files_below(tmp_path)}
    again = cgro(*DIAGRAM, *TINY, "--results", tmp_path / "results")
    assert (again.code, again.out.strip()) == (0, str(made))
    assert {path: path.stat().st_mtime_ns for path in files_below(tmp_path)} == before
    cgro(*DIAGRAM, *TINY, "--results", tmp_path / "results", "--fresh")
    assert all(path.stat().st_mtime_ns > before[path] for path in files_below(tmp_path))


def damage(path: Path) -> bytes:
    """Change a byte in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return bytes(content)


def test_a_damaged_result_is_named(made: Path, cgro: Cgro, tmp_path: Path) -> None:
    content = damage(made)
    error = cgro(*DIAGRAM, *TINY, "--results", tmp_path / "results").error
    assert f"result file {made}: damaged" in error
    assert "delete it and run again" in error
    assert made.read_bytes() == content
    assert f"{made}: damaged" in cgro("figure", "phase-diagram", "--result", made).error
    made.unlink()
    assert cgro(*DIAGRAM, *TINY, "--results", tmp_path / "results").code == 0


def test_a_damaged_cell_is_computed_again(
    made: Path, cgro: Cgro, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = store.load(made)
    made.unlink()
    damage(made.parent / "cells" / "cells.sqlite")
    outcome = cgro(*DIAGRAM, *TINY, "--results", tmp_path / "results")
    assert outcome.code == 0
    assert "damaged" in caplog.text
    assert store.load(made).drop_attrs(deep=False).identical(whole.drop_attrs(deep=False))


def test_a_result_under_the_name_of_another_is_not_read(made: Path, cgro: Cgro, tmp_path: Path) -> None:
    other = Path(cgro(*DIAGRAM, *TINY, "--seeds", 2, "--results", tmp_path / "results").out.strip())
    made.replace(other)
    error = cgro(*DIAGRAM, *TINY, "--seeds", 2, "--results", tmp_path / "results").error
    assert f"result file {other}: made with another configuration (seeds is" in error


@pytest.mark.usefixtures("undrawn")
def test_what_a_killed_process_left_is_removed_at_the_next_start(made: Path, cgro: Cgro, tmp_path: Path) -> None:
    left = [folder / f".r.nc.{'0' * 32}.tmp" for folder in (made.parent, tmp_path / "figures")]
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    assert cgro(*DIAGRAM, *TINY, "--results", tmp_path / "results").code == 0
    assert cgro("figure", "phase-diagram", "--result", made, "--output", tmp_path / "figures").code == 0
    assert not any(path.exists() for path in left)


def test_a_results_folder_that_cannot_be(cgro: Cgro, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    error = cgro(*DIAGRAM, *TINY, "--results", tmp_path / "file" / "results").error
    assert f"folder {tmp_path}/file/results/phase-diagram/cells: cannot write (Not a directory)" in error
    assert "make it writable, or choose another folder" in error
    assert files_below(tmp_path) == [tmp_path / "file"]


def test_a_full_results_folder(cgro: Cgro, tmp_path: Path) -> None:
    with full_disk():
        error = cgro(*DIAGRAM, *TINY, "--results", tmp_path).error
    assert "cannot write (" in error
    assert "free space" in error
    assert files_below(tmp_path) == []


# Figures


def test_a_figure_of_a_result(made: Path, cgro: Cgro, tmp_path: Path) -> None:
    outcome = cgro("figure", "phase-diagram", "--result", made, "--output", tmp_path / "figures")
    assert outcome.code == 0
    assert [Path(line).suffix for line in outcome.out.split()] == [".pdf", ".png", ".csv"]
    assert sorted(map(Path, outcome.out.split())) == files_below(tmp_path / "figures")


def test_a_figure_without_its_result_names_the_command(
    cgro: Cgro, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figure, "PUBLISHED", tmp_path / "nowhere")
    error = cgro("figure", "attack", "--results", tmp_path).error
    assert f"{tmp_path}/attack must hold a result, got none; " in error
    assert f"make one with `cgro simulate attack --results {tmp_path}`, or give a file with --result FILE" in error
    error = cgro("figure", "attack", "--preset", "paper", "--results", tmp_path).error
    assert f"`cgro simulate attack --preset paper --results {tmp_path}`" in error
    assert files_below(tmp_path) == []


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results are chosen and read, but not drawn, which takes a second each."""
    monkeypatch.setattr(output, "draw_figure", lambda *_: {})


@pytest.fixture
def loud(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What the command line says besides its result; an earlier --quiet must not silence it."""
    caplog.set_level("INFO", logger="cgro")
    return caplog


@pytest.mark.usefixtures("undrawn")
def test_a_figure_is_of_the_newest_result(
    made: Path, cgro: Cgro, tmp_path: Path, loud: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {name: registry.find("figure", name) for name in ("attack", "phase-diagram")}
    monkeypatch.setattr(figure, "find_all", lambda _kind: few)
    monkeypatch.setattr(figure, "PUBLISHED", tmp_path / "nowhere")
    results = tmp_path / "results"
    other = Path(cgro(*DIAGRAM, *TINY, "--samples", 5, "--results", results).out.strip())
    for newest in (made, other):
        os.utime(newest)
        loud.clear()
        assert cgro("figure", "phase-diagram", "--results", results).code == 0
        assert f"phase-diagram: drawn from {newest}" in loud.messages
    loud.clear()
    assert cgro("figure", "--results", results, "--output", tmp_path / "all").code == 0
    assert f"phase-diagram: drawn from {newest}" in loud.messages
    assert "attack: no result yet; run `cgro simulate attack`" in loud.messages


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("options", "drawn"),
    [
        ((), "phase-diagram-paper.nc"),
        (("--preset", "paper"), "phase-diagram-paper.nc"),
        (("--preset", "quick"), "phase-diagram-quick.nc"),
    ],
)
def test_a_figure_is_of_the_published_result_where_none_is_stored(
    options: tuple[str, ...], drawn: str, cgro: Cgro, tmp_path: Path, loud: pytest.LogCaptureFixture
) -> None:
    assert cgro("figure", "phase-diagram", *options, "--results", tmp_path).code == 0
    assert f"phase-diagram: drawn from {figure.PUBLISHED / drawn}" in loud.messages


@pytest.mark.usefixtures("undrawn")
def test_published_results_are_also_found_beside_the_users_own(
    cgro: Cgro, tmp_path: Path, loud: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a clone, where cgro is installed elsewhere."""
    published = tmp_path / "published" / "phase-diagram-quick.nc"
    published.parent.mkdir()
    shutil.copy(figure.PUBLISHED / published.name, published)
    monkeypatch.setattr(figure, "PUBLISHED", tmp_path / "nowhere")
    assert cgro("figure", "phase-diagram", "--results", tmp_path).code == 0
    assert f"phase-diagram: drawn from {published}" in loud.messages


def test_a_preset_that_was_not_run_is_not_replaced_by_another(made: Path, cgro: Cgro, tmp_path: Path) -> None:
    """Whoever asks for a preset gets its result, stored or published, or none."""
    error = cgro("figure", "robust-overfitting", "--preset", "paper", "--results", tmp_path / "results").error
    assert "robust-overfitting must hold a result of --preset paper, got none; make one with" in error


def test_a_figure_of_the_wrong_file(made: Path, cgro: Cgro, tmp_path: Path) -> None:
    error = cgro("figure", "phase-transition", "--result", made).error
    assert f"result file {made}: holds phase-diagram, not phase-transition" in error
    cells = made.parent / "cells" / "cells.sqlite"
    assert "damaged or not made by cgro" in cgro("figure", "phase-diagram", "--result", cells).error
    assert "name the figure" in cgro("figure", "--result", made).error
    assert "not found" in cgro("figure", "phase-diagram", "--result", tmp_path / "no.nc").error
    assert "cannot be read (Is a directory)" in cgro("figure", "phase-diagram", "--result", tmp_path).error


def test_a_folder_of_figures_that_cannot_be(made: Path, cgro: Cgro, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    before = files_below(tmp_path)
    error = cgro("figure", "phase-diagram", "--result", made, "--output", tmp_path / "file" / "figures").error
    assert f"folder {tmp_path}/file/figures: cannot write (Not a directory)" in error
    assert files_below(tmp_path) == before


def test_a_cluster_needs_its_package(cgro: Cgro, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    error = cgro(*DIAGRAM, *TINY, "--results", tmp_path, "--dask", "tcp://127.0.0.1:9").error
    assert "--dask: the package distributed is not installed; pip install 'cgro[dask]'" in error
    assert files_below(tmp_path) == []


def test_errors_are_one_line_whatever_their_text(cgro: Cgro, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise UserError("first\n  second")

    monkeypatch.setattr(listing, "run", fail)
    assert cgro("list").error == "cgro: error: first second"


# Killed, interrupted, run twice at once


def stored_cells(folder: Path, experiment: str = "naps") -> Cells:
    return Cells(folder / experiment / "cells")


def cells(folder: Path) -> dict[Name, str]:
    """Finished cells with the time at which each was made."""
    stored = stored_cells(folder)
    names = stored.names()
    found = {names[k]: attributes(cell) for k, cell in stored.find(names).items()}
    return {name: f"{made['created']} {made['wall_seconds']}" for name, made in found.items()}


def wait_for_cells(process: Fork, folder: Path, count: int) -> None:
    """Until that many cells are finished."""
    end = time.monotonic() + 60
    while len(stored_cells(folder).names()) < count:
        assert time.monotonic() < end, "no cell in a minute"
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def assert_completes(cgro: Cgro, folder: Path) -> None:
    """The same command again ends with the bits of an undisturbed run, and writes no finished cell again."""
    from toy_package.experiments import naps

    kept = cells(folder)
    outcome = cgro(*NAPS, "--results", folder)
    assert (outcome.code, outcome.err) == (0, "")
    after = cells(folder)
    assert len(after) == NAP_COUNT
    assert {name: after[name] for name in kept} == kept
    found = store.load(Path(outcome.out.strip()))
    undisturbed = naps.run(naps.Config(NAP_COUNT, seconds=0))
    xr.testing.assert_identical(found.drop_attrs(deep=False), undisturbed)
    assert found["dream"].values.tobytes() == undisturbed["dream"].values.tobytes()


@pytest.mark.usefixtures("toys")
def test_a_killed_sweep_goes_on(cgro: Cgro, tmp_path: Path) -> None:
    """SIGKILL at a random moment while it starts, and again after three cells."""
    for finished in (0, 3):
        process = Fork(*NAPS, "--results", tmp_path)
        wait_for_cells(process, tmp_path, finished)
        time.sleep(random.uniform(0, 0.3))
        process.kill()
        assert finish(process).code == -signal.SIGKILL
        kept = cells(tmp_path)
        assert finished <= len(kept) < NAP_COUNT
        assert not list((tmp_path / "naps").glob("*.nc"))
    assert_completes(cgro, tmp_path)


def test_an_interrupt_that_python_drops_is_raised_again(cgro: Cgro, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted:
        def __del__(self) -> None:
            raise KeyboardInterrupt

    def work(*_: object) -> int:
        Interrupted()
        time.sleep(10)
        return 0

    monkeypatch.setattr(listing, "run", work)
    outcome = cgro("list")
    assert outcome.code == 130
    assert outcome.err == "\ncgro: interrupted; repeat the command to start again\n"


def test_ctrl_c_reaches_a_sweep_that_computes(cgro: Cgro, tmp_path: Path) -> None:
    """Six blocks, each a tenth of a second in a compiled loop."""
    blocks = ("--x.name", "samples", "--x.low", 3, "--x.high", 8, "--x.count", 6, "--y.count", 2, "--seeds", 1)
    stored = stored_cells(tmp_path, "phase-diagram")
    with signalled(signal.SIGINT, stored.names):
        outcome = cgro(*DIAGRAM, *SMALL, *blocks, "--steps", 100_000, "--test-samples", 16, "--results", tmp_path)
    assert outcome.code == 130
    assert outcome.out == ""
    assert outcome.err.split("\n") == [
        "",
        "cgro: interrupted; finished cells are kept, repeat the command to resume",
        "",
    ]
    assert 1 <= len(stored.names()) < 6


@pytest.mark.usefixtures("toys")
def test_two_processes_share_a_folder(cgro: Cgro, tmp_path: Path) -> None:
    process = Fork(*NAPS, "--results", tmp_path)
    wait_for_cells(process, tmp_path, 1)
    outcomes = cgro(*NAPS, "--results", tmp_path), finish(process)
    assert [(o.code, o.err) for o in outcomes] == [(0, "")] * 2
    assert outcomes[0].out == outcomes[1].out
    assert {path.suffix for path in files_below(tmp_path)} == {".nc", ".sqlite"}
    assert_completes(cgro, tmp_path)
